/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "check.h"
#include "codec.h"
#include "contents.h"
#include "findings.h"

struct block_sum {
	uint64_t entries, line_bytes, pairs, pair_bytes;
	int64_t  min_ns, max_ns, last_ns;
	bool     disorder;
};

/* Loki takes a block for new as long as it holds no text: of empty lines at its start only the last
 * counts for the first time that its meta gives. */
static void sum_entry(struct block_sum *sum, const struct cr_entry *e)
{
	if (sum->entries && e->ns < sum->last_ns)
		sum->disorder = true;
	if ((!sum->line_bytes && !sum->pairs) || e->ns < sum->min_ns)
		sum->min_ns = e->ns;
	if (!sum->entries || e->ns > sum->max_ns)
		sum->max_ns = e->ns;
	sum->last_ns = e->ns;
	sum->line_bytes += e->line_bytes;
	sum->pairs += e->stored_pairs;
	sum->pair_bytes += e->stored_bytes;
	sum->entries++;
}

/* What Loki calls the uncompressed size is that of the lines and, by version, 8 bytes for each pair of
 * structured metadata or the length of its strings. */
static bool size_right(const struct cr_block *b, const struct block_sum *sum)
{
	uint64_t said = b->uncompressed_bytes;

	return said == sum->line_bytes || said == sum->line_bytes + 8 * sum->pairs ||
	       said == sum->line_bytes + sum->pair_bytes;
}

static void compare_sum(struct look *l, const struct cr_block *b, int64_t i,
			const struct block_sum *sum)
{
	char a[TIME_TEXT_BYTES], z[TIME_TEXT_BYTES];

	if (sum->entries != b->entries)
		finding_add(l->out, FINDING_ENTRY_COUNT, (int64_t)b->found_off, i,
			    "%llu, its meta says %llu",
			    (unsigned long long)sum->entries, (unsigned long long)b->entries);
	if (sum->entries && (sum->min_ns < b->mint_ns || sum->max_ns > b->maxt_ns))
		finding_add(l->out, FINDING_ENTRY_TIME, (int64_t)b->found_off, i, "%s to %s",
			    time_text(sum->min_ns, a), time_text(sum->max_ns, z));
	if (sum->disorder)
		finding_add(l->out, FINDING_ENTRY_ORDER, (int64_t)b->found_off, i, "%llu line%s",
			    (unsigned long long)sum->entries, plural(sum->entries));
	if (l->chunk.version >= 3 && !size_right(b, sum))
		finding_add(l->out, FINDING_RAW_SIZE, (int64_t)b->found_off, i,
			    "%llu byte%s, its meta says %llu",
			    (unsigned long long)(sum->line_bytes + 8 * sum->pairs),
			    plural(sum->line_bytes + 8 * sum->pairs),
			    (unsigned long long)b->uncompressed_bytes);
}

static void check_entries(struct look *l, const struct cr_block *b, int64_t i, struct cr_entries *r)
{
	struct block_sum sum = { 0 };
	struct cr_entry e;

	while (entries_next(r, &e))
		sum_entry(&sum, &e);
	l->out->entries += sum.entries;
	if (r->bad_ref)
		finding_add(l->out, FINDING_SYMBOL_REF, (int64_t)b->found_off, i, "in this block");
	if (r->nameless)
		finding_add(l->out, FINDING_METADATA_NAME, (int64_t)b->found_off, i, "in this block");
	if (r->error)
		finding_add(l->out, FINDING_ENTRY, (int64_t)b->found_off, i,
			    "after %llu of %llu line%s, at byte %zu of %zu (decompressed): %s",
			    (unsigned long long)sum.entries, (unsigned long long)b->entries,
			    plural(b->entries),
			    r->off, r->raw_bytes, r->error);
	else
		compare_sum(l, b, i, &sum);
}

void check_deep(struct look *l)
{
	struct cr_symbols symbols = { 0 };
	struct cr_entries r = { 0 };
	const char *error = symbols_read(&symbols, l->s, l->file, &l->chunk);

	if (error)
		finding_add(l->out, FINDING_SYMBOLS, (int64_t)l->chunk.symbols_off, -1, "%s",
			    error);
	else if (symbols.unused_bytes && l->chunk.symbols_bytes > 1)
		finding_add(l->out, FINDING_GAP, (int64_t)l->chunk.symbols_off, -1,
			    "in the structured metadata: %llu byte%s of no string",
			    (unsigned long long)symbols.unused_bytes, plural(symbols.unused_bytes));
	for (uint32_t i = 0; i < l->s->blocks.n; i++) {
		const struct cr_block *b = &l->s->blocks.list[i];
		uint32_t status;

		if (b->state == CR_BLOCK_BAD)
			continue;
		status = block_decompress(l->s, l->file, &l->chunk, b, &l->s->raw);
		if (status != CR_DECOMPRESS_OK) {
			finding_add(l->out, FINDING_PAYLOAD, (int64_t)b->found_off, i,
				    "%llu byte%s of %s: %s",
				    (unsigned long long)b->bytes, plural(b->bytes), codec_name(l->chunk.codec),
				    status == CR_DECOMPRESS_ROOM ? "it decompresses to more than 64 MiB" :
				    status == CR_DECOMPRESS_UNSURE ? "nothing that Loki's encoder writes" :
				    "malformed");
			continue;
		}
		cr_entries_begin(&r, l->s->raw.p, l->s->raw.bytes, l->chunk.version,
				 error ? NULL : &symbols);
		check_entries(l, b, i, &r);
	}
	cr_entries_free(&r);
	cr_symbols_free(&symbols);
}
