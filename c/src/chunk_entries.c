/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block, inflated, is one entry after the other:
 *
 *	varint time in ns | uvarint line length | line
 *	format 4: | uvarint length of what follows | uvarint pairs | pairs of uvarint symbols
 *
 * Loki does not use the length of what follows; neither does this.
 */
#include <string.h>

#include "bytes.h"
#include "chunk_symbols.h"
#include "grow.h"
#include "layout.h"

#define CUT_METADATA "the structured metadata of an entry is cut or malformed"

void cr_entries_begin(struct cr_entries *r, const void *raw, size_t raw_bytes, uint8_t version,
		      struct cr_symbols *symbols)
{
	*r = (struct cr_entries){ .raw = raw, .raw_bytes = raw_bytes, .version = version,
				  .symbols = symbols, .pairs = r->pairs };
}

void cr_entries_free(struct cr_entries *r)
{
	cr_buf_free(&r->pairs);
}

static int fail(struct cr_entries *r, const char *error)
{
	r->error = error;
	return -EBADMSG;
}

static bool number(struct cr_entries *r, uint64_t *out)
{
	size_t n = cr_uvarint((const uint8_t *)r->raw + r->off, r->raw_bytes - r->off, out);

	r->off += n;
	return n > 0;
}

/* Loki cuts symbols to 32 bits and takes what doesn't exist for "". */
static void pair_set(struct cr_entries *r, struct cr_pair *p, uint32_t name, uint32_t value)
{
	struct cr_symbols *sy = r->symbols;

	p->name = p->value = "";
	if (name < sy->n)
		r->nameless |= !cr_symbols_name(sy, name, p);
	if (value < sy->n)
		cr_symbols_value(sy, value, p);
	r->bad_ref |= name >= sy->n || value >= sy->n;
}

static int by_name(const void *a, const void *b)
{
	const struct cr_pair *x = a, *y = b;
	size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
	int diff = memcmp(x->name, y->name, n);

	if (diff)
		return diff;
	if (x->name_bytes != y->name_bytes)
		return x->name_bytes < y->name_bytes ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool same_name(const struct cr_pair *a, const struct cr_pair *b)
{
	return a->name_bytes == b->name_bytes && memcmp(a->name, b->name, a->name_bytes) == 0;
}

/* By name; of those with one name the last counts. How many are left. */
static uint32_t pairs_sort(struct cr_pair *pairs, uint32_t n)
{
	uint32_t kept = 0;
	bool sorted = true;

	for (uint32_t i = 1; i < n && sorted; i++)
		sorted = by_name(&pairs[i - 1], &pairs[i]) < 0 && !same_name(&pairs[i - 1], &pairs[i]);
	if (sorted)
		return n;
	qsort(pairs, n, sizeof(*pairs), by_name);
	for (uint32_t i = 0; i < n; i++) {
		if (kept && same_name(&pairs[kept - 1], &pairs[i]))
			kept--;
		pairs[kept++] = pairs[i];
	}
	return kept;
}

static int pairs_read(struct cr_entries *r, struct cr_entry *e)
{
	uint64_t bytes, n, name, value;
	struct cr_pair *pairs;

	if (!number(r, &bytes) || !number(r, &n))
		return fail(r, CUT_METADATA);
	if (n > (r->raw_bytes - r->off) / 2)
		return fail(r, "an entry announces more structured metadata than the block has bytes");
	e->stored_pairs = n;
	if (r->symbols && n && cr_grow(&r->pairs, n * sizeof(*pairs)) != 0)
		return -ENOMEM;
	pairs = r->pairs.p;
	for (uint64_t i = 0; i < n; i++) {
		if (!number(r, &name) || !number(r, &value))
			return fail(r, CUT_METADATA);
		if (!r->symbols)
			continue;
		pairs[i] = (struct cr_pair){ .order = (uint32_t)i };
		pair_set(r, &pairs[i], (uint32_t)name, (uint32_t)value);
		e->stored_bytes += pairs[i].stored_bytes;
	}
	if (r->symbols && n) {
		e->pairs = pairs;
		e->pairs_n = pairs_sort(pairs, (uint32_t)n);
	}
	return 1;
}

int cr_entries_next(struct cr_entries *r, struct cr_entry *e)
{
	uint64_t time, bytes;

	*e = (struct cr_entry){ 0 };
	if (r->error)
		return -EBADMSG;
	if (r->off == r->raw_bytes)
		return 0;
	if (!number(r, &time) || !number(r, &bytes))
		return fail(r, "an entry's time or length is cut or malformed");
	if (bytes >= CR_LINE_BYTES_MAX)
		return fail(r, "a line is longer than Loki's bound of 1 GiB");
	if (bytes > r->raw_bytes - r->off)
		return fail(r, "the block ends inside a line");
	e->ns = cr_zigzag(time);
	e->line = (const char *)r->raw + r->off;
	e->line_bytes = bytes;
	r->off += bytes;
	return r->version < CR_VERSION_SYMBOLS ? 1 : pairs_read(r, e);
}
