/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block, inflated, is one entry after the other:
 *
 *	varint time in ns | uvarint line length | line
 *	format 4: | uvarint length of what follows | uvarint pairs | pairs of uvarint symbols
 *
 * Loki does not use the length of what follows; neither does this.
 */
#include "entries.h"

#include <stdlib.h>
#include <string.h>

#include "../../c/src/bytes.h"

/* ---- Symbols ---- */

static const char *symbols_split(struct symbols *sy, uint64_t count)
{
	const uint8_t *text = (const uint8_t *)sy->text.p;
	size_t at = 0, n = sy->text.n, head;
	uint64_t bytes;

	if (count > n) /* each takes a byte at least */
		return "it announces more strings than it has bytes";
	if (count > sy->cap) {
		sy->cap = (uint32_t)count;
		sy->list = mem_resize(sy->list, count * sizeof(*sy->list));
	}
	for (uint64_t i = 0; i < count; i++) {
		head = cr_uvarint(text + at, n - at, &bytes);
		if (head == 0)
			return "the length of a string is malformed";
		at += head;
		if (bytes > n - at)
			return "a string is longer than what is left";
		memset(&sy->list[i], 0, sizeof(sy->list[i]));
		sy->list[i].off = (uint32_t)at;
		sy->list[i].bytes = (uint32_t)bytes;
		at += bytes;
	}
	sy->n = (uint32_t)count;
	sy->unused_bytes = n - at;
	return NULL;
}

const char *symbols_read(struct symbols *sy, struct scratch *s, const uint8_t *file,
			 const struct cr_chunk *c)
{
	const uint8_t *p = file + c->symbols_off;
	uint64_t count;
	size_t head;

	sy->n = 0;
	sy->text.n = 0;
	sy->text.max = 2 * (size_t)RAW_BYTES_MAX;
	sy->unused_bytes = 0;
	if (c->version < 4)
		return NULL;
	head = cr_uvarint(p, c->symbols_bytes, &count);
	if (head == 0)
		count = 0; /* Loki goes on without symbols */
	if (c->symbols_bytes == head)
		return count ? "it ends before its first string" : NULL;
	switch (inflate(s, c->codec, p + head, c->symbols_bytes - head, 0, &s->symbols_raw)) {
	case CR_DECODE_OK:
		break;
	case CR_DECODE_ROOM:
		return "it inflates to more than 64 MiB";
	default:
		if (count) /* else nobody asks for it */
			return "it does not inflate";
		sy->unused_bytes = c->symbols_bytes - head;
		return NULL;
	}
	bytes_add(&sy->text, s->symbols_raw.p, s->symbols_raw.n);
	return symbols_split(sy, count);
}

void symbols_free(struct symbols *sy)
{
	bytes_free(&sy->text);
	free(sy->list);
	*sy = (struct symbols){ 0 };
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Prometheus' rule for names that come from OpenTelemetry: runs of what a name can't have become one
 * '_', __x__ keeps its ends, a leading digit gets "key_". https://github.com/prometheus/otlptranslator */
static void normalize(struct symbols *sy, uint32_t i)
{
	struct bytes name = { 0 };
	size_t n = sy->list[i].bytes, from = 0, to = n;
	const char *s = sy->text.p + sy->list[i].off;
	bool reserved = n >= 4 && memcmp(s, "__", 2) == 0 && memcmp(s + n - 2, "__", 2) == 0;
	bool gap = false, only = true;

	if (reserved) {
		from = 2;
		to = n - 2;
		bytes_adds(&name, "__");
	}
	for (size_t j = from; j < to; j++) {
		bool good = is_name_char(s[j]);

		if (good || !gap)
			bytes_addc(&name, good ? s[j] : '_');
		gap = !good;
		only &= !good;
	}
	if (reserved)
		bytes_adds(&name, "__");
	sy->list[i].name = (uint32_t)sy->text.n;
	sy->list[i].nameless = only && n;
	if (name.n && name.p[0] >= '0' && name.p[0] <= '9')
		bytes_adds(&sy->text, "key_");
	if (!sy->list[i].nameless) {
		bytes_add(&sy->text, name.p, name.n);
	} else if (bytes_room(&sy->text, n)) {
		/* Loki gives up here; the operator is to see what it is. Room first: the source lies
		 * in the same text. */
		bytes_add(&sy->text, sy->text.p + sy->list[i].off, n);
	}
	sy->list[i].name_bytes = (uint32_t)(sy->text.n - sy->list[i].name);
	bytes_free(&name);
}

/* ---- Entries ---- */

void entries_begin(struct entry_reader *r, const struct bytes *raw, uint8_t version,
		   struct symbols *symbols)
{
	r->begin = r->p = (const uint8_t *)raw->p;
	r->end = r->begin + raw->n;
	r->version = version;
	r->symbols = symbols;
	r->error = NULL;
	r->bad_ref = r->nameless = false;
}

void entries_end(struct entry_reader *r)
{
	free(r->pairs);
	r->pairs = NULL;
	r->cap_pairs = 0;
}

static bool fail(struct entry_reader *r, const char *error)
{
	r->error = error;
	return false;
}

static bool number(struct entry_reader *r, uint64_t *out)
{
	size_t n = cr_uvarint(r->p, (size_t)(r->end - r->p), out);

	r->p += n;
	return n > 0;
}

/* Loki cuts symbols to 32 bits and takes what doesn't exist for "". */
static void pair_set(struct entry_reader *r, struct entry *e, struct pair *p, uint32_t name,
		     uint32_t value)
{
	struct symbols *sy = r->symbols;

	p->name = p->value = "";
	p->name_bytes = p->value_bytes = 0;
	if (name < sy->n) {
		if (sy->list[name].name_bytes == 0 && sy->list[name].bytes)
			normalize(sy, name);
		r->nameless |= sy->list[name].nameless;
		p->name_bytes = sy->list[name].name_bytes;
		e->stored_bytes += sy->list[name].bytes;
	}
	if (value < sy->n) {
		p->value_bytes = sy->list[value].bytes;
		e->stored_bytes += p->value_bytes;
	}
	/* normalize() may move the text: pointers last. */
	if (name < sy->n)
		p->name = sy->text.p + sy->list[name].name;
	if (value < sy->n)
		p->value = sy->text.p + sy->list[value].off;
	r->bad_ref |= name >= sy->n || value >= sy->n;
}

static int by_name(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
	int diff = memcmp(x->name, y->name, n);

	if (diff)
		return diff;
	if (x->name_bytes != y->name_bytes)
		return x->name_bytes < y->name_bytes ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool same_name(const struct pair *a, const struct pair *b)
{
	return a->name_bytes == b->name_bytes && memcmp(a->name, b->name, a->name_bytes) == 0;
}

/* By name; of those with one name the last counts. */
static void pairs_sort(struct entry *e)
{
	uint32_t n = 0;
	bool sorted = true;

	for (uint32_t i = 1; i < e->n_pairs && sorted; i++)
		sorted = by_name(&e->pairs[i - 1], &e->pairs[i]) < 0 &&
			 !same_name(&e->pairs[i - 1], &e->pairs[i]);
	if (sorted)
		return;
	qsort(e->pairs, e->n_pairs, sizeof(*e->pairs), by_name);
	for (uint32_t i = 0; i < e->n_pairs; i++) {
		if (n && same_name(&e->pairs[n - 1], &e->pairs[i]))
			n--;
		e->pairs[n++] = e->pairs[i];
	}
	e->n_pairs = n;
}

/* Names first: normalizing appends to the text, which may move it under pointers. */
static void pairs_fill(struct entry_reader *r, struct entry *e, const uint8_t *from, uint64_t n)
{
	const uint8_t *end = r->p;
	uint64_t name = 0, value = 0;
	size_t text = SIZE_MAX;

	while (text != r->symbols->text.n) { /* twice at most: a name is made once */
		text = r->symbols->text.n;
		e->stored_bytes = 0;
		r->p = from;
		for (uint64_t i = 0; i < n; i++) {
			number(r, &name);
			number(r, &value);
			pair_set(r, e, &r->pairs[i], (uint32_t)name, (uint32_t)value);
			r->pairs[i].order = (uint32_t)i;
		}
	}
	r->p = end;
	e->pairs = r->pairs;
	e->n_pairs = (uint32_t)n;
	pairs_sort(e);
}

static bool pairs_read(struct entry_reader *r, struct entry *e)
{
	uint64_t bytes, n, name, value;
	const uint8_t *from;

	if (!number(r, &bytes) || !number(r, &n))
		return fail(r, "the structured metadata of an entry is cut or malformed");
	if (n > (uint64_t)(r->end - r->p) / 2)
		return fail(r,
			    "an entry announces more structured metadata than the block has bytes");
	e->stored_pairs = n;
	from = r->p;
	for (uint64_t i = 0; i < n; i++)
		if (!number(r, &name) || !number(r, &value))
			return fail(r, "the structured metadata of an entry is cut or malformed");
	if (!r->symbols || n == 0)
		return true;
	if (n > r->cap_pairs) {
		r->cap_pairs = (uint32_t)n;
		r->pairs = mem_resize(r->pairs, n * sizeof(*r->pairs));
	}
	pairs_fill(r, e, from, n);
	return true;
}

bool entries_next(struct entry_reader *r, struct entry *e)
{
	uint64_t time, bytes;

	*e = (struct entry){ 0 };
	if (r->p == r->end || r->error)
		return false;
	if (!number(r, &time) || !number(r, &bytes))
		return fail(r, "an entry's time or length is cut or malformed");
	if (bytes >= LINE_BYTES_MAX)
		return fail(r, "a line is longer than Loki's bound of 1 GiB");
	if (bytes > (uint64_t)(r->end - r->p))
		return fail(r, "the block ends inside a line");
	e->ns = cr_zigzag(time);
	e->line = (const char *)r->p;
	e->line_bytes = bytes;
	r->p += bytes;
	return r->version < 4 || pairs_read(r, e);
}
