/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/common.h"
#include "base/die.h"
#include "base/mem.h"
#include "base/quote.h"
#include "base/text.h"
#include "blocks.h"
#include "contents.h"
#include "findings.h"

/* ---- The envelope and the structure ---- */

#define ZEROS_MIN     512u /* a disk's sector: fewer happen in sound data */
#define ALL_ZEROS_MIN 16u  /* every chunk begins with some */

static size_t zeros_at_end(const uint8_t *p, size_t n)
{
	size_t z = 0;

	while (z < n && p[n - 1 - z] == 0)
		z++;
	return z;
}

static void check_zeros(struct look *l)
{
	size_t zeros = zeros_at_end(l->file, l->n);

	if (zeros == l->n && zeros >= ALL_ZEROS_MIN)
		finding_add(l->out, FINDING_ZEROS, 0, -1, "all %zu bytes are zero", l->n);
	else if (zeros >= ZEROS_MIN)
		finding_add(l->out, FINDING_ZEROS, (int64_t)(l->n - zeros), -1,
			    "the last %zu of %zu bytes are zero", zeros, l->n);
}

static void add_reason(struct look *l, const char *fmt, ...) PRINTF(2, 3);
static void add_reason(struct look *l, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	finding_add(l->out, (enum finding_kind)l->reason, (int64_t)l->chunk.reason_off, -1, "%s",
		    text);
}

static uint32_t be32_at(const struct look *l, uint64_t off)
{
	uint32_t x;

	memcpy(&x, l->file + off, sizeof(x));
	return be32toh(x);
}

static void check_envelope(struct look *l)
{
	unsigned long long meta = l->n >= 4 ? be32_at(l, 0) : 0;

	if (l->reason == CR_REASON_TRUNCATED && meta > l->n)
		add_reason(l, "the metadata needs %llu byte%s, the file has %zu", meta, plural(meta),
			   l->n);
	else if (l->reason == CR_REASON_TRUNCATED)
		add_reason(l, "the file ends after %zu byte%s", l->n, plural(l->n));
	else
		add_reason(l, "the metadata is said to be %llu byte%s long, and is right up to byte %llu",
			   meta, plural(meta), (unsigned long long)l->chunk.reason_off);
}

static void check_data_length(struct look *l)
{
	unsigned long long have = l->n - l->chunk.reason_off - 4;
	unsigned long long said = be32_at(l, l->chunk.reason_off);

	unsigned long long off_by = said > have ? said - have : have - said;

	add_reason(l, "the data is said to be %llu byte%s long, %llu %s there: %llu %s", said,
		   plural(said), have, have == 1 ? "is" : "are", off_by,
		   said < have ? "too many" : off_by == 1 ? "is missing" : "are missing");
}

/* Blocks of which cr_chunk_parse() said that one is out of range. */
static void check_block_range(struct look *l)
{
	const struct cr_chunk *c = &l->chunk;
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;

	while (cr_chunk_meta_next(l->file + c->metas_off, c, &cursor, &b) > 0) {
		if (b.off <= l->n && b.bytes <= l->n - b.off &&
		    l->n - b.off - b.bytes >= CR_CHUNK_CRC_BYTES)
			continue;
		finding_add(l->out, (enum finding_kind)l->reason, (int64_t)c->reason_off,
			    (int64_t)cursor.blocks - 1, "it is said to be %llu byte%s at %llu of %zu",
			    (unsigned long long)b.bytes, plural(b.bytes), (unsigned long long)b.off, l->n);
		return;
	}
	add_reason(l, "%s", cr_chunk_reason_text(l->reason));
}

/* Of a section; where it is the finding's offset says. */
static void checksum_wrong(struct look *l, const char *section, uint64_t bytes)
{
	add_reason(l, "the checksum of the %llu byte%s of %s is wrong", (unsigned long long)bytes,
		   plural(bytes), section);
}

static void check_structure(struct look *l)
{
	const struct cr_chunk *c = &l->chunk;

	switch (l->reason) {
	case CR_REASON_NONE:
	case CR_REASON_COUNT:
		return;
	case CR_REASON_TRUNCATED:
		if (c->data_off) /* the data ends before its header or its footer */
			add_reason(l, "the data of %llu byte%s are no chunk",
				   (unsigned long long)c->data_bytes, plural(c->data_bytes));
		else
			check_envelope(l);
		return;
	case CR_REASON_META_LENGTH:
	case CR_REASON_META_FRAME:
	case CR_REASON_META_FRAME_CRC:
	case CR_REASON_META_TOO_BIG:
		check_envelope(l);
		return;
	case CR_REASON_DATA_LENGTH:
		check_data_length(l);
		return;
	case CR_REASON_MAGIC:
		add_reason(l, "%08x instead of 012ee56a", be32_at(l, c->data_off));
		return;
	case CR_REASON_VERSION:
		add_reason(l, "version %u", c->version);
		return;
	case CR_REASON_CODEC:
		add_reason(l, "codec %u", c->codec);
		return;
	case CR_REASON_METAS_RANGE:
	case CR_REASON_SYMBOLS_RANGE:
		add_reason(l, "the footer is wrong");
		return;
	case CR_REASON_BLOCK_RANGE:
	case CR_REASON_BLOCK_OVERLAP:
		check_block_range(l);
		return;
	case CR_REASON_METAS_CRC:
		checksum_wrong(l, "metas", c->metas_bytes);
		return;
	case CR_REASON_METAS_FORMAT:
		add_reason(l, "%llu byte%s of metas", (unsigned long long)c->metas_bytes,
			   plural(c->metas_bytes));
		return;
	case CR_REASON_SYMBOLS_CRC:
		checksum_wrong(l, "structured metadata", c->symbols_bytes);
		return;
	case CR_REASON_SYMBOLS_FORMAT:
		add_reason(l, "%llu byte%s of structured metadata",
			   (unsigned long long)c->symbols_bytes, plural(c->symbols_bytes));
		return;
	}
}

/* ---- The metadata ---- */

#define TENANT_SHOWN_MAX 50u /* bytes of each in the detail */

static void tenants_differ(struct look *l, const struct cr_meta *m)
{
	uint32_t has = m->tenant_bytes, said = l->key->tenant_bytes;
	struct bytes text = { 0 };

	bytes_adds(&text, "tenant ");
	text_quote(&text, m->tenant, has < TENANT_SHOWN_MAX ? has : TENANT_SHOWN_MAX);
	bytes_adds(&text, ", the name says ");
	text_quote(&text, l->key->tenant, said < TENANT_SHOWN_MAX ? said : TENANT_SHOWN_MAX);
	finding_add(l->out, FINDING_WRONG_KEY, l->chunk.frames_off, -1, "%s", bytes_string(&text));
	bytes_free(&text);
}

static void compare_key(struct look *l, const struct cr_meta *m)
{
	const struct cr_key *k = l->key;
	char a[TIME_TEXT_BYTES], b[TIME_TEXT_BYTES];
	int64_t at = l->chunk.frames_off;

	if (m->tenant_bytes != k->tenant_bytes ||
	    memcmp(m->tenant, k->tenant, k->tenant_bytes) != 0)
		tenants_differ(l, m);
	if (m->fingerprint != k->fingerprint)
		finding_add(l->out, FINDING_WRONG_KEY, at, -1, "stream %llx, the name says %llx",
			    (unsigned long long)m->fingerprint, (unsigned long long)k->fingerprint);
	if (m->from_ms != k->from_ms)
		finding_add(l->out, FINDING_WRONG_KEY, at, -1, "from %s, the name says %s",
			    time_text_ms(m->from_ms, a), time_text_ms(k->from_ms, b));
	if (m->through_ms != k->through_ms)
		finding_add(l->out, FINDING_WRONG_KEY, at, -1, "through %s, the name says %s",
			    time_text_ms(m->through_ms, a), time_text_ms(k->through_ms, b));
}

#define ENCODING_GZIP_LOG 128u /* both are MemChunks; Loki writes 129 */
#define ENCODING_LOG      129u

static void check_json(struct look *l)
{
	struct cr_meta *m = &l->s->meta;
	int64_t at = l->chunk.frames_off;

	if (!l->chunk.frames_bytes)
		return; /* the envelope has a finding of its own */
	l->meta = chunk_meta(l->file, &l->chunk, l->s, m);
	if (!l->meta && !m->error)
		finding_add(l->out, FINDING_JSON, at, -1,
			    "the frames of the metadata don't decompress");
	else if (!l->meta)
		finding_add(l->out, FINDING_JSON, at, -1, "at byte %zu of %zu (decompressed): %s",
			    m->end_bytes, l->s->json.n, m->error);
	if (!l->meta)
		return;
	if (!cr_chunk_json_is_last(l->file, &l->chunk, m->end_bytes))
		finding_add(l->out, FINDING_JSON, at, -1,
			    "snappy frames behind the end of the object");
	if (m->trailing || m->twice || m->other_case)
		finding_add(l->out, FINDING_JSON_ODD, at, -1, "%s",
			    m->trailing ? "something follows the object" :
			    m->twice ? "a field is there twice" : "a field's name in another case");
	if (l->key)
		compare_key(l, m);
	if (!m->has_encoding)
		finding_add(l->out, FINDING_ENCODING, at, -1,
			    "none: Loki makes an empty chunk of it");
	else if (m->encoding != ENCODING_LOG && m->encoding != ENCODING_GZIP_LOG)
		finding_add(l->out, FINDING_ENCODING, at, -1, "%u", m->encoding);
}

/* ---- The blocks ---- */

/* Down and up to milliseconds, as Loki rounds a chunk's bounds. */
static bool within_key(const struct look *l, const struct cr_block *b)
{
	int64_t from, through;

	if (!l->key)
		return true;
	if (__builtin_mul_overflow(l->key->from_ms, (int64_t)NS_PER_MS, &from) ||
	    __builtin_mul_overflow(l->key->through_ms, (int64_t)NS_PER_MS, &through))
		return true; /* beyond what nanoseconds can say */
	return b->mint_ns >= from && b->maxt_ns <= through;
}

static void check_block(struct look *l, const struct cr_block *b, int64_t i)
{
	char a[TIME_TEXT_BYTES], z[TIME_TEXT_BYTES];
	uint64_t end = i ? b[-1].found_off + b[-1].bytes + CR_CHUNK_CRC_BYTES : b->found_off;

	if (b->state == CR_BLOCK_BAD)
		finding_add(l->out, FINDING_BLOCK_CRC, (int64_t)b->found_off, i,
			    "%llu byte%s, %llu line%s", (unsigned long long)b->bytes, plural(b->bytes),
			    (unsigned long long)b->entries, plural(b->entries));
	if (b->state == CR_BLOCK_MOVED)
		finding_add(l->out, FINDING_BLOCK_OFFSET, (int64_t)b->found_off, i, "its meta says %llu",
			    (unsigned long long)b->off);
	else if (b->state == CR_BLOCK_RECORDED && b->found_off != end)
		finding_add(l->out, FINDING_BLOCK_OFFSET, (int64_t)b->found_off, i,
			    "the one before it ends at %llu", (unsigned long long)end);
	if (b->mint_ns > b->maxt_ns || !within_key(l, b))
		finding_add(l->out, FINDING_TIME_RANGE, (int64_t)b->found_off, i, "%s to %s",
			    time_text(b->mint_ns, a), time_text(b->maxt_ns, z));
}

struct part { /* of the data */
	uint64_t off, end;
};

static int by_off(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static struct part section(uint64_t off, uint64_t bytes)
{
	return (struct part){ off, off + bytes + CR_CHUNK_CRC_BYTES };
}

/* Sections and blocks cover the data without a hole in all that Loki writes. all: the metas list no
 * more blocks than they count; else what is in a hole may be one. */
static void check_gaps(struct look *l, bool all)
{
	const struct cr_chunk *c = &l->chunk;
	const struct block_list *blocks = &l->s->blocks;
	struct part few[64], *parts = few;
	uint64_t at = c->body_off;
	uint32_t n = 0;

	if (blocks->n + 3 > LEN(few))
		parts = mem_get((blocks->n + 3) * sizeof(*parts));
	for (uint32_t i = 0; i < blocks->n; i++)
		parts[n++] = section(blocks->list[i].found_off, blocks->list[i].bytes);
	parts[n++] = section(c->metas_off, c->metas_bytes);
	if (c->symbols_off)
		parts[n++] = section(c->symbols_off, c->symbols_bytes);
	parts[n++] = (struct part){ c->footer_off, l->n };
	qsort(parts, n, sizeof(*parts), by_off);
	for (uint32_t i = 0; i < n; i++) {
		if (parts[i].off > at)
			finding_add(l->out, all && blocks->n ? FINDING_GAP : FINDING_UNLISTED,
				    (int64_t)at, -1, "%llu byte%s",
				    (unsigned long long)(parts[i].off - at), plural(parts[i].off - at));
		if (parts[i].end > at)
			at = parts[i].end;
	}
	if (parts != few)
		free(parts);
}

/* True: behind the meta of the last block is nothing. */
static bool check_metas_tail(struct look *l)
{
	const struct block_list *blocks = &l->s->blocks;
	uint64_t done = blocks->n ? blocks->metas_bytes : 1; /* no block: the byte that says so */

	if (blocks->cut) {
		finding_add(l->out, FINDING_METAS_END, (int64_t)l->chunk.metas_off, -1,
			    "%u of %llu block%s described", blocks->n,
			    (unsigned long long)l->chunk.blocks, plural(l->chunk.blocks));
		return false;
	}
	if (done >= l->chunk.metas_bytes)
		return true;
	finding_add(l->out, FINDING_GAP, (int64_t)(l->chunk.metas_off + done), -1,
		    "behind the block metas: %llu byte%s that describe nothing",
		    (unsigned long long)(l->chunk.metas_bytes - done),
		    plural(l->chunk.metas_bytes - done));
	return false;
}

/* True: the metas describe all blocks, and nothing follows. */
static bool check_metas(struct look *l)
{
	for (uint32_t i = 0; i < l->s->blocks.n; i++)
		check_block(l, &l->s->blocks.list[i], i);
	if (l->chunk.blocks == 0)
		finding_add(l->out, FINDING_NO_BLOCKS, (int64_t)l->chunk.metas_off, -1,
			    "no blocks");
	return check_metas_tail(l);
}

static void check_blocks(struct look *l)
{
	blocks_find(l->file, &l->chunk, &l->s->blocks);
	check_gaps(l, check_metas(l));
}

/* ---- All of it ---- */

static void still_sound(bool sound)
{
	if (!sound) /* it was a moment ago */
		die("a chunk in memory changed while it was looked at: bad memory?");
}

/* There are no gaps: of a file with one the ends are not enough. */
uint64_t check_ends(struct look *l, uint32_t head_bytes, uint32_t tail_bytes)
{
	struct cr_ends ends = { .file_bytes = l->n, .head = l->file, .head_bytes = head_bytes,
				.tail = l->file + head_bytes, .tail_bytes = tail_bytes };
	uint64_t unread = 0;

	still_sound(cr_chunk_outline(&ends, &l->chunk) == CR_ENDS_OK);
	l->reason = CR_REASON_NONE;
	check_json(l);
	blocks_list(l->file + head_bytes + tail_bytes - (l->n - l->chunk.metas_off), &l->chunk,
		    &l->s->blocks);
	check_metas(l);
	for (uint32_t i = 0; i < l->s->blocks.n; i++)
		unread += l->s->blocks.list[i].bytes;
	return unread;
}

void check_sound_chunk(struct look *l)
{
	l->reason = cr_chunk_parse(l->file, l->n, &l->chunk);
	still_sound(l->reason == CR_REASON_NONE);
	check_json(l);
	check_blocks(l);
	if (l->flags & CHECK_DEEP)
		check_deep(l);
}

void check_chunk(struct look *l)
{
	if (l->n == 0) {
		l->reason = CR_REASON_TRUNCATED;
		finding_add(l->out, FINDING_EMPTY, 0, -1, "0 bytes");
		return;
	}
	l->crc = cr_crc32c(0, l->file, l->n);
	if (l->key && l->crc != l->key->crc) {
		finding_add(l->out, FINDING_BAD_CRC, 0, -1, "%08x over %zu byte%s, the name says %08x",
			    l->crc, l->n, plural(l->n), l->key->crc);
		check_zeros(l);
	}
	l->reason = cr_chunk_parse(l->file, l->n, &l->chunk);
	check_structure(l);
	check_json(l);
	if (l->reason != CR_REASON_NONE)
		return;
	check_blocks(l);
	if (l->flags & CHECK_DEEP)
		check_deep(l);
}
