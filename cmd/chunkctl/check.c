/* SPDX-License-Identifier: Apache-2.0 */
#include "check_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quote.h"
#include "../../c/src/bytes.h"
#include "../../c/src/snappy_frame.h"

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

/* Where the metadata's frames stop being right. */
static uint64_t bad_frame(const struct look *l, enum cr_frame_status *status)
{
	struct cr_frame_walk w = { .src = l->file, .src_bytes = l->n, .pos = 4,
				   .raw_bytes_max = CR_META_BYTES_MAX };
	uint64_t end = l->n >= 4 ? cr_be32(l->file) : 0;

	*status = CR_FRAME_OK;
	while (w.pos < end && w.pos < l->n && *status == CR_FRAME_OK)
		*status = cr_frame_next(&w);
	return w.pos;
}

static void add_reason(struct look *l, uint64_t off, const char *detail)
{
	finding_add(l->out, (enum finding_kind)l->reason, (int64_t)off, -1, "%s", detail);
}

static void check_envelope(struct look *l)
{
	enum cr_frame_status status;
	uint64_t at = bad_frame(l, &status), meta = l->n >= 4 ? cr_be32(l->file) : 0;
	char text[128];

	if (l->reason == CR_REASON_TRUNCATED && l->n >= 4 && meta > l->n)
		snprintf(text, sizeof(text), "the metadata needs %llu bytes, the file has %zu",
			 (unsigned long long)meta, l->n);
	else if (l->reason == CR_REASON_TRUNCATED)
		snprintf(text, sizeof(text), "the file ends after %zu bytes", l->n);
	else
		snprintf(text, sizeof(text), "the metadata is said to be %llu bytes long, and is "
			 "right up to byte %llu", (unsigned long long)meta, (unsigned long long)at);
	add_reason(l, l->reason == CR_REASON_TRUNCATED ? l->n : at, text);
}

static void check_data_length(struct look *l)
{
	uint64_t at = l->chunk.frames_off + l->chunk.frames_bytes, have = l->n - at - 4;
	uint64_t said = cr_be32(l->file + at);
	char text[128];

	snprintf(text, sizeof(text),
		 "the data is said to be %llu bytes long, %llu are there: %llu %s",
		 (unsigned long long)said, (unsigned long long)have,
		 (unsigned long long)(said > have ? said - have : have - said),
		 said > have ? "are missing" : "too many");
	add_reason(l, at, text);
}

/* Blocks of which cr_chunk_parse() said that one is out of range. */
static void check_block_range(struct look *l)
{
	struct cr_block b;
	uint64_t cursor = 0, i = 0;

	while (cr_chunk_block_next(l->file, &l->chunk, &cursor, &b) > 0) {
		if (b.off > l->n || b.bytes > l->n - b.off || l->n - b.off - b.bytes < 4) {
			finding_add(l->out, (enum finding_kind)l->reason,
				    (int64_t)l->chunk.metas_off,
				    (int64_t)i, "it is said to be %llu bytes at %llu of %zu",
				    (unsigned long long)b.bytes, (unsigned long long)b.off, l->n);
			return;
		}
		i++;
	}
	finding_add(l->out, (enum finding_kind)l->reason, (int64_t)l->chunk.metas_off, -1,
		    "%s", cr_chunk_reason_text(l->reason));
}

static void check_structure(struct look *l)
{
	const struct cr_chunk *c = &l->chunk;
	const uint8_t *data = l->file + c->data_off;
	char text[128];

	switch (l->reason) {
	case CR_REASON_NONE:
	case CR_REASON_COUNT:
		return;
	case CR_REASON_TRUNCATED:
		if (c->data_off) { /* the data ends before its header or its footer */
			snprintf(text, sizeof(text), "%llu bytes of data are no chunk",
				 (unsigned long long)c->data_bytes);
			add_reason(l, l->n, text);
			return;
		}
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
		snprintf(text, sizeof(text), "%08x instead of 012ee56a", cr_be32(data));
		add_reason(l, c->data_off, text);
		return;
	case CR_REASON_VERSION:
		snprintf(text, sizeof(text), "version %u", c->version);
		add_reason(l, c->data_off + 4, text);
		return;
	case CR_REASON_CODEC:
		snprintf(text, sizeof(text), "codec %u", c->codec);
		add_reason(l, c->data_off + 5, text);
		return;
	case CR_REASON_METAS_RANGE:
		add_reason(l, l->n - (c->version == 4 ? 16 : 8), "the footer is wrong");
		return;
	case CR_REASON_SYMBOLS_RANGE:
		add_reason(l, l->n - 32, "the footer is wrong");
		return;
	case CR_REASON_BLOCK_RANGE:
	case CR_REASON_BLOCK_OVERLAP:
		check_block_range(l);
		return;
	case CR_REASON_METAS_CRC:
	case CR_REASON_METAS_FORMAT:
		snprintf(text, sizeof(text), "%llu bytes from there, with their checksum behind",
			 (unsigned long long)c->metas_bytes);
		add_reason(l, c->metas_off, text);
		return;
	case CR_REASON_SYMBOLS_CRC:
	case CR_REASON_SYMBOLS_FORMAT:
		snprintf(text, sizeof(text), "%llu bytes from there, with their checksum behind",
			 (unsigned long long)c->symbols_bytes);
		add_reason(l, c->symbols_off, text);
		return;
	}
}

/* ---- The metadata ---- */

/* Loki reads frames until the object is closed and wants the data right behind the last of them. */
static bool frames_go_on(const struct look *l, size_t json_end)
{
	struct cr_frame_walk w = { .src = l->file + l->chunk.frames_off,
				   .src_bytes = l->chunk.frames_bytes,
				   .raw_bytes_max = CR_META_BYTES_MAX };

	while (w.pos < w.src_bytes && w.raw_bytes < json_end)
		if (cr_frame_next(&w) != CR_FRAME_OK)
			return false;
	return w.pos < w.src_bytes;
}

#define TENANT_SHOWN_MAX 50u /* bytes of each in the detail */

static void tenants_differ(struct look *l, const struct meta *m)
{
	uint32_t has = m->tenant_bytes, said = l->key->tenant_bytes;
	struct bytes text = { 0 };

	bytes_adds(&text, "tenant ");
	text_quote(&text, m->text.p ? m->text.p + m->tenant : "",
		   has < TENANT_SHOWN_MAX ? has : TENANT_SHOWN_MAX);
	bytes_adds(&text, ", the name says ");
	text_quote(&text, l->key->tenant, said < TENANT_SHOWN_MAX ? said : TENANT_SHOWN_MAX);
	finding_add(l->out, FINDING_WRONG_KEY, l->chunk.frames_off, -1, "%s", bytes_string(&text));
	bytes_free(&text);
}

static void compare_key(struct look *l, const struct meta *m)
{
	const struct key *k = l->key;
	char a[TIME_TEXT_BYTES], b[TIME_TEXT_BYTES];
	int64_t at = l->chunk.frames_off;

	if (m->tenant_bytes != k->tenant_bytes ||
	    memcmp(m->text.p ? m->text.p + m->tenant : "", k->tenant, k->tenant_bytes) != 0)
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
	struct meta *m = &l->s->meta;
	int64_t at = l->chunk.frames_off;

	if (!l->chunk.frames_bytes)
		return; /* the envelope has a finding of its own */
	if (!chunk_json(l->file, &l->chunk, l->s)) {
		finding_add(l->out, FINDING_JSON, at, -1,
			    "the frames of the metadata don't inflate");
		return;
	}
	if (!meta_read(m, l->s->json.p, l->s->json.n)) {
		finding_add(l->out, FINDING_JSON, at, -1, "at byte %zu of %zu (inflated): %s",
			    m->error_at, l->s->json.n, m->error);
		return;
	}
	if (frames_go_on(l, m->end))
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

static void check_block(struct look *l, const struct block *b, int64_t i)
{
	char a[TIME_TEXT_BYTES], z[TIME_TEXT_BYTES];
	uint64_t end = i ? b[-1].off + b[-1].meta.bytes + 4 : b->off;

	if (b->state == BLOCK_BAD)
		finding_add(l->out, FINDING_BLOCK_CRC, (int64_t)b->off, i, "%llu bytes, %llu lines",
			    (unsigned long long)b->meta.bytes, (unsigned long long)b->meta.entries);
	if (b->state == BLOCK_MOVED)
		finding_add(l->out, FINDING_BLOCK_OFFSET, (int64_t)b->off, i, "its meta says %llu",
			    (unsigned long long)b->meta.off);
	else if (b->state == BLOCK_GOOD && b->off != end)
		finding_add(l->out, FINDING_BLOCK_OFFSET, (int64_t)b->off, i,
			    "the one before it ends at %llu", (unsigned long long)end);
	if (b->meta.mint_ns > b->meta.maxt_ns || !within_key(l, &b->meta))
		finding_add(l->out, FINDING_TIME_RANGE, (int64_t)b->off, i, "%s to %s",
			    time_text(b->meta.mint_ns, a), time_text(b->meta.maxt_ns, z));
}

struct part { /* of the data */
	uint64_t off, end;
};

static int by_off(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Sections and blocks cover the data without a hole in all that Loki writes. all: the metas list no
 * more blocks than they count; else what is in a hole may be one. */
static void check_gaps(struct look *l, bool all)
{
	const struct cr_chunk *c = &l->chunk;
	const struct block_list *blocks = &l->s->blocks;
	uint64_t footer = c->version == 4 ? 32 : 8, at = c->data_off + (c->version == 1 ? 5 : 6);
	struct part few[64], *parts = few;
	uint32_t n = 0;

	if (blocks->n + 3 > LEN(few))
		parts = mem_get((blocks->n + 3) * sizeof(*parts));
	for (uint32_t i = 0; i < blocks->n; i++)
		parts[n++] = (struct part){ blocks->list[i].off,
					    blocks->list[i].off + blocks->list[i].meta.bytes + 4 };
	parts[n++] = (struct part){ c->metas_off, c->metas_off + c->metas_bytes + 4 };
	if (c->version == 4)
		parts[n++] = (struct part){ c->symbols_off, c->symbols_off + c->symbols_bytes + 4 };
	parts[n++] = (struct part){ l->n - footer, l->n };
	qsort(parts, n, sizeof(*parts), by_off);
	for (uint32_t i = 0; i < n; i++) {
		if (parts[i].off > at)
			finding_add(l->out, all && blocks->n ? FINDING_GAP : FINDING_UNLISTED,
				    (int64_t)at, -1, "%llu bytes",
				    (unsigned long long)(parts[i].off - at));
		if (parts[i].end > at)
			at = parts[i].end;
	}
	if (parts != few)
		free(parts);
}

/* Where the metas end that were read up to cursor. True: behind their last block is nothing. */
static bool check_metas_tail(struct look *l, uint64_t cursor)
{
	uint64_t done = cursor ? cursor & UINT32_MAX : 1; /* no block: the byte that says so */

	if (l->s->blocks.cut) {
		finding_add(l->out, FINDING_METAS_END, (int64_t)l->chunk.metas_off, -1,
			    "%u of %llu blocks are described", l->s->blocks.n,
			    (unsigned long long)l->chunk.blocks);
		return false;
	}
	if (done >= l->chunk.metas_bytes)
		return true;
	finding_add(l->out, FINDING_GAP, (int64_t)(l->chunk.metas_off + done), -1,
		    "%llu bytes of the block metas describe nothing",
		    (unsigned long long)(l->chunk.metas_bytes - done));
	return false;
}

static void check_blocks(struct look *l)
{
	uint64_t cursor = 0;
	struct cr_block b;

	blocks_find(l->file, &l->chunk, &l->s->blocks);
	for (uint32_t i = 0; i < l->s->blocks.n; i++)
		check_block(l, &l->s->blocks.list[i], i);
	while (cr_chunk_block_next(l->file, &l->chunk, &cursor, &b) > 0)
		;
	if (l->chunk.blocks == 0)
		finding_add(l->out, FINDING_NO_BLOCKS, (int64_t)l->chunk.metas_off, -1,
			    "no blocks");
	check_gaps(l, check_metas_tail(l, cursor));
}

/* ---- All of it ---- */

void check_sound_chunk(const struct key *key, const uint8_t *file, size_t n, uint32_t flags,
		       struct scratch *s, struct findings *out)
{
	struct look l = { .key = key, .file = file, .n = n, .flags = flags, .s = s, .out = out };

	l.reason = cr_chunk_parse(file, n, &l.chunk);
	if (l.reason != CR_REASON_NONE) /* it was sound a moment ago */
		die("a chunk in memory changed while it was looked at: bad memory?");
	check_json(&l);
	check_blocks(&l);
	if (flags & CHECK_DEEP)
		check_deep(&l);
}

void check_chunk(const struct key *key, const uint8_t *file, size_t n, uint32_t flags,
		 struct scratch *s, struct findings *out)
{
	struct look l = { .key = key, .file = file, .n = n, .flags = flags, .s = s, .out = out };
	uint32_t crc;

	if (n == 0) {
		finding_add(out, FINDING_EMPTY, 0, -1, "0 bytes");
		return;
	}
	crc = cr_crc32c(0, file, n);
	if (key && crc != key->crc) {
		finding_add(out, FINDING_BAD_CRC, 0, -1, "%08x over %zu bytes, the name says %08x",
			    crc,
			    n, key->crc);
		check_zeros(&l);
	}
	l.reason = cr_chunk_parse(file, n, &l.chunk);
	check_structure(&l);
	check_json(&l);
	if (l.reason != CR_REASON_NONE)
		return;
	check_blocks(&l);
	if (flags & CHECK_DEEP)
		check_deep(&l);
}
