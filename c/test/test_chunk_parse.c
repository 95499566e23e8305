/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk file: what Loki can decode is accepted, everything else is named, and no byte outside
 * the file is ever read (run under AddressSanitizer: every file is an allocation of its size).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "bytes.h"
#include "corpus.h"
#include "snappy_build.h"

#define BLOCKS_MAX 8u
#define SAME       UINT64_MAX /* what the builder would write by itself */

static const char json[] = "{\"fingerprint\":5,\"userID\":\"tenant\",\"from\":1.5,\"through\":2.5,"
			   "\"metric\":{\"__name__\":\"logs\",\"app\":\"app\"},\"encoding\":129}\n";

enum frames { STORED, COMPRESSED, SPLIT };

/* What to make. Zero in most fields is the ordinary thing; start from ordinary(). */
struct spec {
	uint8_t version, codec;
	bool legacy;
	enum frames frames;
	uint32_t blocks;
	uint64_t num;                  /* blocks that the metas announce; SAME */
	struct {
		uint64_t bytes;        /* real */
		uint64_t off_said, bytes_said; /* SAME */
		bool bad_crc;
	} block[BLOCKS_MAX];
	uint64_t metas_cut;            /* bytes left away from the end of the metas */
	uint64_t metas_zeros;          /* zeros at their end */
	uint64_t gap;                  /* zeros between the last block and the metas */
	uint64_t symbols;
	uint64_t symbol_bytes;         /* of payload */
};

/* What was made, and where. All offsets count from the start of the file. */
struct made {
	struct buf b;
	size_t frames_end, data_off, header_end, symbols_off, symbols_bytes, metas_off, metas_bytes;
	size_t block_off[BLOCKS_MAX];
};

static struct spec ordinary(uint8_t version)
{
	struct spec s = { .version = version, .codec = version == 1 ? 1 : 0, .blocks = 3,
			  .num = SAME, .symbols = version == 4 ? 2 : 0,
			  .symbol_bytes = version == 4 ? 9 : 0, .frames = COMPRESSED };
	uint32_t i;

	for (i = 0; i < BLOCKS_MAX; i++) {
		s.block[i].bytes = 40 + 13 * i;
		s.block[i].off_said = s.block[i].bytes_said = SAME;
	}
	return s;
}

static void put_crc_of(struct buf *b, size_t off)
{
	put_be(b, cr_crc32c(0, b->p + off, b->n - off), 4);
}

static void put_envelope(struct made *m, const struct spec *s)
{
	size_t n = sizeof(json) - 1;
	struct buf *b = &m->b;

	put_be(b, 0, 4);
	put_stream_frame(b);
	if (s->frames == SPLIT) {
		put_frame(b, true, (const uint8_t *)json, 50);
		put_frame_head(b, 0xfe, 5);
		put(b, "\0\0\0\0\0", 5);
		put_frame(b, false, (const uint8_t *)json + 50, n - 50);
	} else {
		put_frame(b, s->frames == COMPRESSED, (const uint8_t *)json, n);
	}
	m->frames_end = b->n;
	b->p[3] = (uint8_t)(s->legacy ? b->n - 4 : b->n); /* tests stay below 256 */
	put_be(b, 0, 4);
	m->data_off = b->n;
}

static void put_symbols(struct made *m, const struct spec *s)
{
	struct buf *b = &m->b;
	uint64_t i;

	m->symbols_off = b->n;
	put_uvarint(b, s->symbols);
	for (i = 0; i < s->symbol_bytes; i++)
		put_u8(b, 'a' + i);
	m->symbols_bytes = b->n - m->symbols_off;
	put_crc_of(b, m->symbols_off);
}

static void put_blocks(struct made *m, const struct spec *s)
{
	struct buf *b = &m->b;
	uint64_t j;
	uint32_t i;

	for (i = 0; i < s->blocks; i++) {
		m->block_off[i] = b->n;
		for (j = 0; j < s->block[i].bytes; j++)
			put_u8(b, 'A' + i + (j * j >> 3));
		put_crc_of(b, m->block_off[i]);
		if (s->block[i].bad_crc)
			b->p[b->n - 1] ^= 0x10;
	}
	for (j = 0; j < s->gap; j++)
		put_u8(b, 0);
}

static uint64_t either(uint64_t said, uint64_t real)
{
	return said == SAME ? real : said;
}

static void put_metas(struct made *m, const struct spec *s)
{
	struct buf *b = &m->b;
	uint64_t i;

	m->metas_off = b->n;
	put_uvarint(b, either(s->num, s->blocks));
	for (i = 0; i < s->blocks; i++) {
		put_uvarint(b, 100 + i);
		put_varint(b, INT64_C(1700000000000000000) + (int64_t)i);
		put_varint(b, -5 - (int64_t)i);
		put_uvarint(b, either(s->block[i].off_said, m->block_off[i] - m->data_off));
		if (s->version >= 3)
			put_uvarint(b, 1000 + i);
		put_uvarint(b, either(s->block[i].bytes_said, s->block[i].bytes));
	}
	b->n -= s->metas_cut;
	for (i = 0; i < s->metas_zeros; i++)
		put_u8(b, 0);
	m->metas_bytes = b->n - m->metas_off;
	put_crc_of(b, m->metas_off);
}

static void write_be(uint8_t *p, uint64_t x, unsigned int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)x;
		x >>= 8;
	}
}

/* Free m->b.p. */
static void make(struct made *m, const struct spec *s)
{
	struct buf *b = &m->b;

	*m = (struct made){ 0 };
	put_envelope(m, s);
	put_be(b, 0x012ee56a, 4);
	put_u8(b, s->version);
	if (s->version != 1)
		put_u8(b, s->codec);
	m->header_end = b->n;
	if (s->version >= 4)
		put_symbols(m, s);
	put_blocks(m, s);
	put_metas(m, s);
	if (s->version >= 4) {
		put_be(b, m->symbols_bytes, 8);
		put_be(b, m->symbols_off - m->data_off, 8);
		put_be(b, m->metas_bytes, 8);
	}
	put_be(b, m->metas_off - m->data_off, 8);
	write_be(b->p + m->data_off - 4, b->n - m->data_off, 4);
}

/* Makes the section checksums right again after bytes were changed. */
static void reseal(struct made *m)
{
	uint8_t *p = m->b.p;

	write_be(p + m->metas_off + m->metas_bytes,
		 cr_crc32c(0, p + m->metas_off, m->metas_bytes), 4);
	if (m->symbols_off)
		write_be(p + m->symbols_off + m->symbols_bytes,
			 cr_crc32c(0, p + m->symbols_off, m->symbols_bytes), 4);
}

/* Walks what a parse left, sound or not. */
static void use_parsed(const uint8_t *p, const struct cr_chunk *chunk)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_block block;
	uint64_t i = 0;
	int rc;

	while ((rc = cr_chunk_meta_next(p + chunk->metas_off, chunk, &cursor, &block)) == 1) {
		assert_true(++i <= chunk->blocks);
		assert_int_equal(block.state, CR_BLOCK_UNKNOWN);
		assert_true(block.found_off == block.off);
	}
	assert_true(rc == 0 ? i == chunk->blocks : rc == -EBADMSG);
}

/* Finds the blocks of a sound chunk, as many of each kind as a verdict says, and each where it is. */
static void find_blocks(const uint8_t *p, const struct cr_chunk *chunk, const struct cr_verdict *v)
{
	struct cr_block_cursor cursor = { 0 };
	uint64_t states[4] = { 0 };
	struct cr_block block;
	int rc;

	while ((rc = cr_chunk_block_next(p, chunk, &cursor, &block)) == 1) {
		assert_in_range(block.state, CR_BLOCK_RECORDED, CR_BLOCK_BAD);
		states[block.state]++;
		assert_true((block.found_off == block.off) == (block.state != CR_BLOCK_MOVED));
		if (block.state == CR_BLOCK_BAD)
			continue;
		assert_true(block.found_off >= chunk->data_off && block.found_off <= chunk->file_bytes);
		assert_true(block.bytes + CR_CHUNK_CRC_BYTES <= chunk->file_bytes - block.found_off);
		assert_int_equal(cr_crc32c(0, p + block.found_off, block.bytes),
				 cr_be32(p + block.found_off + block.bytes));
	}
	assert_int_equal(states[CR_BLOCK_RECORDED], v->blocks_good);
	assert_int_equal(states[CR_BLOCK_MOVED], v->blocks_moved);
	/* those that the metas announce and don't describe are bad ones to Loki */
	if (rc == 0)
		assert_int_equal(states[CR_BLOCK_BAD], v->blocks_bad);
	else
		assert_true(rc == -EBADMSG && states[CR_BLOCK_BAD] < v->blocks_bad);
}

static void use_json(const uint8_t *p, const struct cr_chunk *chunk)
{
	uint8_t *out = malloc(chunk->json_bytes + !chunk->json_bytes);

	assert_non_null(out);
	assert_int_equal(cr_chunk_json(p, chunk, out, chunk->json_bytes), 0);
	if (chunk->json_bytes)
		assert_int_equal(cr_chunk_json(p, chunk, out, chunk->json_bytes - 1), -ENOSPC);
	free(out);
}

/* Everything the library can say of n bytes, and what must hold whatever they are. */
static struct cr_verdict verdict_of(const uint8_t *p, size_t n)
{
	uint8_t *copy = exact_copy(p, n);
	struct cr_chunk chunk;
	struct cr_verdict v;

	cr_chunk_verify(copy, n, &v);
	assert_int_equal(v.crc, cr_crc32c(0, copy, n));
	assert_true(v.reason < CR_REASON_COUNT);
	assert_int_equal(cr_chunk_parse(copy, n, &chunk), v.reason);
	assert_true(chunk.file_bytes == n);
	assert_true(chunk.reason_off <= n);
	use_parsed(copy, &chunk);
	if (v.reason == CR_REASON_NONE) {
		assert_true(chunk.blocks == (uint64_t)v.blocks_good + v.blocks_moved +
			    v.blocks_bad);
		find_blocks(copy, &chunk, &v);
		use_json(copy, &chunk);
	}
	free(copy);
	return v;
}

static enum cr_chunk_reason reason_of(const struct made *m)
{
	return verdict_of(m->b.p, m->b.n).reason;
}

static void expect_verdict(const struct spec *s, enum cr_chunk_reason reason, uint32_t good,
			   uint32_t moved, uint32_t bad)
{
	struct cr_verdict v;
	struct made m;

	make(&m, s);
	v = verdict_of(m.b.p, m.b.n);
	assert_string_equal(cr_chunk_reason_name(v.reason), cr_chunk_reason_name(reason));
	if (reason == CR_REASON_NONE) {
		assert_int_equal(v.blocks_good, good);
		assert_int_equal(v.blocks_moved, moved);
		assert_int_equal(v.blocks_bad, bad);
	}
	free(m.b.p);
}

static void expect_reason(const struct spec *s, enum cr_chunk_reason reason)
{
	expect_verdict(s, reason, 0, 0, 0);
}

/* ---- what is right ---- */

static void check_fields(const struct made *m, const struct spec *s)
{
	struct cr_chunk chunk;
	struct cr_block_cursor cursor = { 0 };
	struct cr_block block;
	char text[sizeof(json)];
	uint32_t i;

	assert_int_equal(cr_chunk_parse(m->b.p, m->b.n, &chunk), CR_REASON_NONE);
	assert_int_equal(chunk.frames_off, 4);
	assert_int_equal(chunk.frames_bytes, m->frames_end - 4);
	assert_int_equal(chunk.json_bytes, sizeof(json) - 1);
	assert_int_equal(chunk.data_off, m->data_off);
	assert_int_equal(chunk.data_bytes, m->b.n - m->data_off);
	assert_int_equal(chunk.version, s->version);
	assert_int_equal(chunk.codec, s->codec);
	assert_int_equal(chunk.body_off, m->header_end);
	assert_int_equal(chunk.footer_off, m->b.n - (s->version == 4 ? 32 : 8));
	assert_int_equal(chunk.reason_off, 0);
	assert_int_equal(chunk.symbols_off, m->symbols_off);
	assert_int_equal(chunk.symbols_bytes, m->symbols_bytes);
	assert_int_equal(chunk.symbols, s->symbols);
	assert_int_equal(chunk.metas_off, m->metas_off);
	assert_int_equal(chunk.metas_bytes, m->metas_bytes);
	assert_int_equal(chunk.blocks, s->blocks);
	for (i = 0; i < s->blocks; i++) {
		assert_int_equal(cr_chunk_block_next(m->b.p, &chunk, &cursor, &block), 1);
		assert_int_equal(block.off, m->block_off[i]);
		assert_int_equal(block.found_off, m->block_off[i]);
		assert_int_equal(block.state, CR_BLOCK_RECORDED);
		assert_int_equal(block.bytes, s->block[i].bytes);
		assert_int_equal(block.entries, 100 + i);
		assert_int_equal(block.uncompressed_bytes, s->version >= 3 ? 1000 + i : 0);
		assert_true(block.mint_ns == INT64_C(1700000000000000000) + i);
		assert_true(block.maxt_ns == -5 - (int64_t)i);
	}
	assert_int_equal(cr_chunk_block_next(m->b.p, &chunk, &cursor, &block), 0);
	assert_int_equal(cr_chunk_json(m->b.p, &chunk, text, sizeof(text)), 0);
	assert_memory_equal(text, json, sizeof(json) - 1);
	m->b.p[m->frames_end - 1] ^= 1; /* the file changed under the parsed chunk */
	assert_int_equal(cr_chunk_json(m->b.p, &chunk, text, sizeof(text)), -EBADMSG);
	m->b.p[m->frames_end - 1] ^= 1;
}

static void good_files_of_every_kind(void **state)
{
	struct made m;
	struct spec s;
	uint8_t version;
	unsigned int kind;

	(void)state;
	for (version = 1; version <= 4; version++) {
		for (kind = 0; kind < 12; kind++) {
			s = ordinary(version);
			s.frames = kind % 3;
			s.legacy = kind / 3 % 2;
			s.blocks = kind >= 6 ? BLOCKS_MAX : kind % 3;
			if (kind >= 9) { /* long enough for checksums to be joined */
				s.block[0].bytes = 700;
				s.block[3].bytes = 5000;
				s.symbol_bytes = version == 4 ? 2000 : 0;
			}
			make(&m, &s);
			check_fields(&m, &s);
			free(m.b.p);
			expect_verdict(&s, CR_REASON_NONE, s.blocks, 0, 0);
		}
	}
}

static void every_codec_of_loki(void **state)
{
	struct spec s = ordinary(4);
	unsigned int codec;
	uint8_t version;

	(void)state;
	for (version = 2; version <= 4; version++) {
		s = ordinary(version);
		for (codec = 0; codec < 256; codec++) {
			s.codec = (uint8_t)codec;
			expect_verdict(&s, codec == 2 || codec > 9 ? CR_REASON_CODEC :
				       CR_REASON_NONE, 3, 0, 0);
		}
	}
}

static void names_and_texts(void **state)
{
	uint32_t i, j;

	(void)state;
	for (i = 0; i < CR_REASON_COUNT; i++) {
		assert_non_null(cr_chunk_reason_name(i));
		assert_non_null(cr_chunk_reason_text(i));
		for (j = 0; j < i; j++)
			assert_string_not_equal(cr_chunk_reason_name(i), cr_chunk_reason_name(j));
	}
	assert_string_equal(cr_chunk_reason_name(CR_REASON_METAS_CRC), "metas_crc");
	assert_string_equal(cr_chunk_reason_name(CR_REASON_COUNT), "unknown");
	assert_string_equal(cr_chunk_reason_text(UINT32_MAX), "unknown reason");
}

/* ---- the envelope ---- */

/* n bytes at off become x, big-endian. */
static enum cr_chunk_reason reason_with(const struct spec *s, size_t off, uint64_t x,
					unsigned int n)
{
	enum cr_chunk_reason reason;
	struct made m;

	make(&m, s);
	write_be(m.b.p + off, x, n);
	reason = reason_of(&m);
	free(m.b.p);
	return reason;
}

static void envelope_lengths(void **state)
{
	struct spec s = ordinary(3);
	struct made m;
	size_t i, end;

	(void)state;
	make(&m, &s);
	end = m.frames_end;
	for (i = 0; i < m.b.n; i++) {
		enum cr_chunk_reason r = reason_with(&s, 0, i, 4);

		if (i + 4 > m.b.n)
			assert_int_equal(r, CR_REASON_TRUNCATED);
		else if (i == end || i + 4 == end)
			assert_int_equal(r, CR_REASON_NONE);
		else if (i == 14 || i == 10) /* the stream's name and no JSON */
			assert_int_equal(r, CR_REASON_DATA_LENGTH);
		else
			assert_true(r == CR_REASON_META_LENGTH || r == CR_REASON_META_FRAME ||
				    r == CR_REASON_META_FRAME_CRC);
	}
	assert_int_equal(reason_with(&s, 0, 13, 4), CR_REASON_META_LENGTH);
	assert_int_equal(reason_with(&s, 0, 0, 4), CR_REASON_META_LENGTH);
	assert_int_equal(reason_with(&s, 0, m.b.n, 4), CR_REASON_TRUNCATED);
	assert_int_equal(reason_with(&s, 0, UINT32_MAX, 4), CR_REASON_TRUNCATED);
	assert_int_equal(reason_with(&s, m.data_off - 4, 0, 4), CR_REASON_DATA_LENGTH);
	assert_int_equal(reason_with(&s, m.data_off - 4, m.b.n - m.data_off + 1, 4),
			 CR_REASON_DATA_LENGTH);
	assert_int_equal(reason_with(&s, m.data_off - 4, UINT32_MAX, 4), CR_REASON_DATA_LENGTH);
	assert_int_equal(reason_with(&s, 4, 0, 1), CR_REASON_META_FRAME);     /* no stream name */
	assert_int_equal(reason_with(&s, 18, 0, 1), CR_REASON_META_FRAME_CRC);
	assert_int_equal(reason_with(&s, 15, end, 1), CR_REASON_META_LENGTH); /* frame too long */
	free(m.b.p);
}

/* Without a 4 GiB file: legacy frames that end where the file does. */
static void envelope_without_data(void **state)
{
	struct buf b = { 0 };
	struct cr_verdict v;

	(void)state;
	put_be(&b, 0, 4);
	put_stream_frame(&b);
	b.p[3] = 10; /* legacy: frames end at 14, then 3 bytes of data length */
	put(&b, "\0\0\0", 3);
	v = verdict_of(b.p, b.n);
	assert_int_equal(v.reason, CR_REASON_TRUNCATED);
	put_u8(&b, 0);
	v = verdict_of(b.p, b.n); /* data of 0 bytes */
	assert_int_equal(v.reason, CR_REASON_TRUNCATED);
	assert_int_equal(verdict_of(NULL, 0).reason, CR_REASON_TRUNCATED);
	free(b.p);
}

/* A snappy frame holds 64 KiB of zeros in 3 KiB, so the sum of frames needs its own limit. */
static void envelope_inflates_to_4_mib(void **state)
{
	static uint8_t zeros[65536];
	struct buf b = { 0 }, block = { 0 };
	unsigned int i, extra;
	size_t n;

	(void)state;
	put_uvarint(&block, sizeof(zeros));
	put_literal(&block, zeros, 64, 0);
	for (n = 64; n < sizeof(zeros); n += 64)
		put_copy(&block, 64, 1, 2);
	for (extra = 0; extra < 3; extra++) {
		b.n = 0;
		put_be(&b, 0, 4);
		put_stream_frame(&b);
		for (i = 0; i < 64; i++)
			put_frame_of(&b, 0, &block, zeros, sizeof(zeros));
		if (extra)
			put_frame(&b, extra == 1, zeros, 1);
		write_be(b.p, b.n, 4);
		put_be(&b, 0, 4);
		assert_int_equal(verdict_of(b.p, b.n).reason,
				 extra ? CR_REASON_META_TOO_BIG : CR_REASON_TRUNCATED);
	}
	/* Frames behind the metadata's length: Loki reads on into them. */
	for (extra = 0; extra < 3; extra++) {
		b.n = 0;
		put_be(&b, 0, 4);
		put_stream_frame(&b);
		put_frame(&b, true, zeros, 100);
		write_be(b.p, b.n, 4);
		n = b.n;
		for (i = 0; i < 63 + extra; i++)
			put_frame_of(&b, 0, &block, zeros, sizeof(zeros));
		assert_int_equal(verdict_of(b.p, b.n).reason,
				 extra ? CR_REASON_META_TOO_BIG : CR_REASON_DATA_LENGTH);
		b.p[n + 4] ^= 1; /* until one with a wrong checksum */
		assert_int_equal(verdict_of(b.p, b.n).reason, CR_REASON_DATA_LENGTH);
	}
	free(b.p);
	free(block.p);
}

/* ---- header and footer ---- */

static void header_fields(void **state)
{
	struct spec s = ordinary(2);
	struct made m;
	unsigned int version;

	(void)state;
	make(&m, &s);
	assert_int_equal(reason_with(&s, m.data_off, 0x012ee56b, 4), CR_REASON_MAGIC);
	for (version = 0; version < 256; version++) {
		if (version < 1 || version > 4)
			assert_int_equal(reason_with(&s, m.data_off + 4, version, 1),
					 CR_REASON_VERSION);
	}
	free(m.b.p);
}

/* With value at off the file is refused, and the place is told. */
static void expect_place(const struct spec *s, size_t off, uint64_t value, unsigned int bytes,
			 uint64_t want)
{
	struct cr_chunk chunk;
	struct made m;

	make(&m, s);
	write_be(m.b.p + off, value, bytes);
	assert_int_not_equal(cr_chunk_parse(m.b.p, m.b.n, &chunk), CR_REASON_NONE);
	assert_int_equal(chunk.reason_off, want);
	free(m.b.p);
}

static void the_place_is_told(void **state)
{
	struct spec s = ordinary(4);
	struct made m;
	size_t end;

	(void)state;
	make(&m, &s);
	end = m.b.n;
	expect_place(&s, 0, UINT32_MAX, 4, end);             /* the metadata is cut */
	expect_place(&s, 8, 0, 4, 4);                        /* the first frame */
	expect_place(&s, m.data_off - 4, 1, 4, m.data_off - 4); /* the data length */
	expect_place(&s, m.data_off, 0, 4, m.data_off);      /* the magic number */
	expect_place(&s, m.data_off + 4, 9, 1, m.data_off + 4); /* the version */
	expect_place(&s, m.data_off + 5, 2, 1, m.data_off + 5); /* the codec */
	expect_place(&s, end - 8, UINT64_MAX, 8, end - 16);  /* where the metas are */
	expect_place(&s, end - 24, UINT64_MAX, 8, end - 32); /* where the symbols are */
	expect_place(&s, m.metas_off, 77, 1, m.metas_off);
	expect_place(&s, m.symbols_off, 77, 1, m.symbols_off);
	s.block[1].bytes_said = 1u << 20;
	expect_place(&s, 4, 0xff, 1, m.metas_off); /* the byte that is there: only the block is wrong */
	free(m.b.p);
}

/* What is in front of the data may be anything, or nothing. */
static void data_alone(void **state)
{
	struct cr_chunk chunk, alone;
	uint32_t data_off;
	struct spec s;
	struct made m;

	(void)state;
	for (uint8_t version = 1; version <= 4; version++) {
		s = ordinary(version);
		make(&m, &s);
		assert_int_equal(cr_chunk_parse(m.b.p, m.b.n, &chunk), CR_REASON_NONE);
		memset(m.b.p, 0xdb, m.data_off);
		assert_true(cr_chunk_find_data(m.b.p, m.b.n, &data_off));
		assert_int_equal(data_off, m.data_off);
		assert_true(cr_chunk_resembles(m.b.p, m.b.n));
		assert_int_equal(cr_chunk_parse_data(m.b.p, m.b.n, data_off, &alone), CR_REASON_NONE);
		chunk.frames_off = chunk.frames_bytes = chunk.json_bytes = 0;
		assert_same_chunk(&alone, &chunk);
		assert_int_equal(cr_chunk_parse_data(m.b.p, m.b.n - 1, data_off, &alone),
				 CR_REASON_METAS_RANGE);
		assert_int_equal(cr_chunk_parse_data(m.b.p, 4, 5, &alone), CR_REASON_TRUNCATED);
		m.b.p[m.data_off] ^= 1;
		assert_false(cr_chunk_find_data(m.b.p, m.b.n, &data_off));
		assert_false(cr_chunk_resembles(m.b.p, m.b.n));
		free(m.b.p);
	}
	assert_false(cr_chunk_resembles(NULL, 0));
	assert_true(cr_chunk_resembles("\0\0\0\x0e\xff\x06\0\0sNaPpY", 14));
	assert_false(cr_chunk_resembles("\0\0\0\x0e\xff\x06\0\0sNaPp", 13));
}

/* Data of every length: the shortest is too short for something in every version. */
static void data_of_every_length(void **state)
{
	static const size_t footer[] = { 0, 12, 12, 12, 32 };
	struct spec s;
	struct made m;
	enum cr_chunk_reason reason;
	uint8_t version;
	size_t n;

	(void)state;
	for (version = 1; version <= 4; version++) {
		s = ordinary(version);
		make(&m, &s);
		for (n = 0; n < m.b.n - m.data_off; n++) {
			write_be(m.b.p + m.data_off - 4, n, 4);
			reason = verdict_of(m.b.p, m.data_off + n).reason;
			assert_int_not_equal(reason, CR_REASON_NONE);
			if (n < footer[version])
				assert_int_equal(reason, CR_REASON_TRUNCATED);
		}
		free(m.b.p);
	}
}

static void footer_ranges(void **state)
{
	static const uint64_t huge[] = {
		1u << 20, UINT32_MAX, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - 3, UINT64_MAX,
	};
	struct spec s;
	struct made m;
	uint8_t version;
	size_t i, end, data;

	(void)state;
	for (version = 1; version <= 4; version++) {
		s = ordinary(version);
		make(&m, &s);
		end = m.b.n;
		data = end - m.data_off;
		for (i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
			assert_int_equal(reason_with(&s, end - 8, huge[i], 8),
					 CR_REASON_METAS_RANGE);
			if (version < 4)
				continue;
			assert_int_equal(reason_with(&s, end - 16, huge[i], 8),
					 CR_REASON_METAS_RANGE);
			assert_int_equal(reason_with(&s, end - 24, huge[i], 8),
					 CR_REASON_SYMBOLS_RANGE);
			assert_int_equal(reason_with(&s, end - 32, huge[i], 8),
					 CR_REASON_SYMBOLS_RANGE);
		}
		if (version < 4) {
			assert_int_equal(reason_with(&s, end - 8, data - 11, 8),
					 CR_REASON_METAS_RANGE);
			assert_int_equal(reason_with(&s, end - 8, data - 13, 8),
					 CR_REASON_METAS_CRC);
		} else { /* up to the last byte, and one beyond */
			uint64_t off = m.metas_off - m.data_off;

			assert_int_equal(reason_with(&s, end - 16, data - off - 4, 8),
					 CR_REASON_METAS_CRC);
			assert_int_equal(reason_with(&s, end - 16, data - off - 3, 8),
					 CR_REASON_METAS_RANGE);
			assert_int_equal(reason_with(&s, end - 32, data - 6 - 4, 8),
					 CR_REASON_SYMBOLS_CRC);
			assert_int_equal(reason_with(&s, end - 32, data - 6 - 3, 8),
					 CR_REASON_SYMBOLS_RANGE);
		}
		assert_int_equal(reason_with(&s, m.metas_off + m.metas_bytes, 1, 4),
				 CR_REASON_METAS_CRC);
		free(m.b.p);
	}
}

/* off + bytes of a section may come out small by wrapping. */
static void footer_sums_wrap(void **state)
{
	struct spec s = ordinary(4);
	struct made m;
	size_t end;

	(void)state;
	make(&m, &s);
	end = m.b.n;
	write_be(m.b.p + end - 16, UINT64_MAX - 1, 8);
	write_be(m.b.p + end - 8, 10, 8);
	assert_int_equal(reason_of(&m), CR_REASON_METAS_RANGE);
	write_be(m.b.p + end - 16, 10, 8);
	write_be(m.b.p + end - 8, UINT64_MAX - 1, 8);
	assert_int_equal(reason_of(&m), CR_REASON_METAS_RANGE);
	write_be(m.b.p + end - 16, m.metas_bytes, 8);
	write_be(m.b.p + end - 8, m.metas_off - m.data_off, 8);
	write_be(m.b.p + end - 32, UINT64_MAX - 5, 8);
	assert_int_equal(reason_of(&m), CR_REASON_SYMBOLS_RANGE);
	free(m.b.p);
}

static void symbol_counts(void **state)
{
	struct spec s = ordinary(4);
	struct made m;

	(void)state;
	s.symbols = 0;
	s.symbol_bytes = 0;
	expect_verdict(&s, CR_REASON_NONE, 3, 0, 0);
	s.symbols = 1;
	expect_reason(&s, CR_REASON_SYMBOLS_FORMAT);
	s.symbol_bytes = 1;
	expect_verdict(&s, CR_REASON_NONE, 3, 0, 0);
	s.symbols = UINT64_C(1) << 32;
	expect_verdict(&s, CR_REASON_NONE, 3, 0, 0);
	s.symbols++;
	expect_reason(&s, CR_REASON_SYMBOLS_FORMAT);
	s.symbols = UINT64_MAX;
	expect_reason(&s, CR_REASON_SYMBOLS_FORMAT);

	s = ordinary(4); /* a malformed count is 0 */
	make(&m, &s);
	memset(m.b.p + m.symbols_off, 0xff, m.symbols_bytes);
	reseal(&m);
	assert_int_equal(reason_of(&m), CR_REASON_NONE);
	m.b.p[m.symbols_off + m.symbols_bytes] ^= 1;
	assert_int_equal(reason_of(&m), CR_REASON_SYMBOLS_CRC);
	free(m.b.p);
}

/* Loki takes sections wherever they are; a section without a byte has the CRC 0. */
static void sections_anywhere(void **state)
{
	struct spec s = ordinary(4);
	struct made m;
	size_t end, i;

	(void)state;
	s.gap = 8;
	s.block[2].bytes = 600;
	make(&m, &s);
	end = m.b.n;
	/* Structured metadata of 0 bytes in the zeros behind the last block. "Expected" is then
	 * behind that, so each block is where its meta says and nowhere else. */
	write_be(m.b.p + end - 32, 0, 8);
	write_be(m.b.p + end - 24, m.metas_off - 8 - m.data_off, 8);
	assert_int_equal(reason_of(&m), CR_REASON_NONE);
	/* Structured metadata that is the metas. */
	write_be(m.b.p + end - 32, m.metas_bytes, 8);
	write_be(m.b.p + end - 24, m.metas_off - m.data_off, 8);
	assert_int_equal(reason_of(&m), CR_REASON_NONE);
	free(m.b.p);

	s = ordinary(3); /* metas without a byte: no blocks */
	s.blocks = 0;
	s.metas_cut = 1;
	expect_verdict(&s, CR_REASON_NONE, 0, 0, 0);
	s.version = 4;
	s.symbols = 0;
	make(&m, &s);
	for (i = 0; i < 8; i++) /* ... and structured metadata likewise */
		m.b.p[m.b.n - 32 + i] = 0;
	write_be(m.b.p + m.symbols_off, 0, 4);
	assert_int_equal(reason_of(&m), CR_REASON_NONE);
	free(m.b.p);
}

/* ---- block metas ---- */

static void block_counts(void **state)
{
	struct spec s = ordinary(3);
	struct made m;
	uint64_t room;

	(void)state;
	make(&m, &s);
	room = m.metas_bytes - 1;
	free(m.b.p);
	s.num = room + 1;
	expect_reason(&s, CR_REASON_METAS_FORMAT);
	s.num = UINT64_C(1) << 31;
	expect_reason(&s, CR_REASON_METAS_FORMAT);
	s.num = UINT64_C(1) << 63;
	expect_reason(&s, CR_REASON_METAS_FORMAT);
	s.num = UINT64_MAX - 1;
	expect_reason(&s, CR_REASON_METAS_FORMAT);
	s.num = 1; /* the other metas are not looked at */
	expect_verdict(&s, CR_REASON_NONE, 1, 0, 0);
	s.num = 0;
	expect_verdict(&s, CR_REASON_NONE, 0, 0, 0);
}

/* Loki reads zeros behind the end of the metas, and drops the blocks that this makes. */
static void blocks_beyond_the_metas(void **state)
{
	struct spec s = ordinary(4);

	(void)state;
	s.num = 5;
	expect_verdict(&s, CR_REASON_NONE, 3, 0, 2);
	s.gap = 4; /* a good empty block where the next would be: Loki sees the malformed number */
	expect_reason(&s, CR_REASON_METAS_FORMAT);
	s.gap = 0;
	s.num = 25; /* "expected" moves on, 4 bytes a block, to the zeros of the footer */
	expect_reason(&s, CR_REASON_METAS_FORMAT);
	s.num = 45;
	expect_reason(&s, CR_REASON_BLOCK_OVERLAP);
	s.num = SAME;
	s.metas_cut = 1; /* the last length: it is 0 then */
	expect_verdict(&s, CR_REASON_NONE, 2, 0, 1);
	s.metas_cut = 25;
	expect_verdict(&s, CR_REASON_NONE, 1, 0, 2);
	s.metas_cut = 0;
	s.num = 4;
	s.metas_zeros = 6; /* a whole meta of zeros: a block at 0, which holds the magic */
	expect_verdict(&s, CR_REASON_NONE, 3, 0, 1);
}

/* Loki's varints may be longer than they need. */
static void overlong_numbers(void **state)
{
	static const struct {
		const char *meta;
		size_t bytes;
		enum cr_chunk_reason reason;
		uint32_t good, bad;
	} cases[] = {
		{ "\x81\x80\x00\x00\x00\x00\x86\x00\x83\x80\x80\x80\x80\x80\x80\x80\x80\x00", 18,
		  CR_REASON_NONE, 1, 0 },
		/* eleven bytes: that number and the length are 0 */
		{ "\x01\x00\x00\x00\x06\x83\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 16,
		  CR_REASON_NONE, 0, 1 },
		/* a tenth byte of 2: overflow, so the offset is 0, too */
		{ "\x01\x00\x00\x00\x86\x80\x80\x80\x80\x80\x80\x80\x80\x02\x03", 15,
		  CR_REASON_NONE, 0, 1 },
	};
	struct spec s = ordinary(2);
	struct made m;
	struct buf b;
	struct cr_verdict v;
	size_t i, at;

	(void)state;
	s.blocks = 1;
	s.block[0].bytes = 3;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make(&m, &s);
		b = m.b;
		at = b.n = m.metas_off;
		put(&b, cases[i].meta, cases[i].bytes);
		put_crc_of(&b, at);
		put_be(&b, at - m.data_off, 8);
		write_be(b.p + m.data_off - 4, b.n - m.data_off, 4);
		v = verdict_of(b.p, b.n);
		assert_int_equal(v.reason, cases[i].reason);
		assert_int_equal(v.blocks_good, cases[i].good);
		assert_int_equal(v.blocks_bad, cases[i].bad);
		free(b.p);
	}
}

/* ---- where blocks are ---- */

static uint64_t data_bytes_of(const struct spec *s)
{
	struct made m;

	make(&m, s);
	free(m.b.p);
	return m.b.n - m.data_off;
}

static void blocks_with_bad_crc_are_dropped(void **state)
{
	struct spec s;
	uint8_t version;
	uint32_t bad, i;

	(void)state;
	for (version = 1; version <= 4; version++) {
		for (bad = 0; bad < 8; bad++) {
			s = ordinary(version);
			for (i = 0; i < 3; i++)
				s.block[i].bad_crc = bad >> i & 1;
			i = (bad & 1) + (bad >> 1 & 1) + (bad >> 2);
			expect_verdict(&s, CR_REASON_NONE, 3 - i, 0, i);
		}
	}
}

static void blocks_with_wrong_offset_are_found(void **state)
{
	struct spec s = ordinary(4);

	(void)state;
	s.block[0].off_said = 0;
	expect_verdict(&s, CR_REASON_NONE, 2, 1, 0);
	s.block[1].off_said = 1;
	s.block[2].off_said = 2;
	expect_verdict(&s, CR_REASON_NONE, 0, 3, 0);
	s.block[1].off_said = 1u << 20; /* outside: found at the other place all the same */
	s.block[2].off_said = INT64_MAX - s.block[2].bytes;
	expect_verdict(&s, CR_REASON_NONE, 0, 3, 0);
	s.block[1].bad_crc = true; /* outside, and not at the other place */
	expect_reason(&s, CR_REASON_BLOCK_RANGE);
	s.block[1].off_said = 1; /* dropped; the one behind it is found by its length */
	expect_verdict(&s, CR_REASON_NONE, 0, 2, 1);
	s.block[0].bytes = s.block[2].bytes = 900;
	s.block[2].off_said = 3;
	expect_verdict(&s, CR_REASON_NONE, 0, 2, 1);
}

/* Each block's place and state, not only how many there are of a kind. */
static void blocks_are_where_they_are_found(void **state)
{
	static const uint32_t states[] = { CR_BLOCK_BAD, CR_BLOCK_MOVED, CR_BLOCK_RECORDED };
	struct cr_block_cursor cursor = { 0 };
	struct spec s = ordinary(4);
	struct cr_block block;
	struct cr_chunk chunk;
	struct made m;

	(void)state;
	s.block[0].bad_crc = true;
	s.block[1].off_said = 1u << 20;
	make(&m, &s);
	assert_int_equal(cr_chunk_parse(m.b.p, m.b.n, &chunk), CR_REASON_NONE);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(cr_chunk_block_next(m.b.p, &chunk, &cursor, &block), 1);
		assert_int_equal(block.state, states[i]);
		assert_int_equal(block.found_off, m.block_off[i]);
	}
	assert_int_equal(block.found_off, block.off);
	assert_int_equal(cr_chunk_block_next(m.b.p, &chunk, &cursor, &block), 0);
	free(m.b.p);
}

static void blocks_outside_are_refused(void **state)
{
	static const uint64_t huge[] = { 1u << 20, INT64_MAX - 53, INT64_MAX - 52, INT64_MAX,
					 UINT64_C(1) << 63, UINT64_MAX - 40, UINT64_MAX - 1 };
	struct spec s = ordinary(3);
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		s = ordinary(3);
		s.block[1].bytes_said = huge[i];
		expect_reason(&s, CR_REASON_BLOCK_RANGE);
		s.block[1].off_said = huge[i];
		expect_reason(&s, CR_REASON_BLOCK_RANGE);
		s.block[1].bytes_said = SAME; /* "expected" has it, but Loki's int gets negative */
		if (huge[i] > INT64_MAX - 53)
			expect_reason(&s, CR_REASON_BLOCK_RANGE);
		else
			expect_verdict(&s, CR_REASON_NONE, 2, 1, 0);
	}
}

/* A block may end with the data only if its CRC is before that: else Loki panics. */
static void block_crc_beyond_the_end(void **state)
{
	struct spec s = ordinary(3);
	uint64_t n, bytes = s.block[2].bytes, i;

	(void)state;
	s.block[2].off_said = 10; /* keeps the length of the number */
	s.block[2].off_said = data_bytes_of(&s) - bytes;
	n = data_bytes_of(&s);
	for (i = 0; i < 10; i++) {
		s.block[2].off_said = n - bytes - i;
		assert_true(data_bytes_of(&s) == n);
		if (i < 4)
			expect_reason(&s, CR_REASON_BLOCK_RANGE);
		else
			expect_verdict(&s, CR_REASON_NONE, 2, 1, 0);
	}
	s.block[2].off_said = n - bytes + 1; /* wholly outside is no panic, so "expected" counts */
	expect_verdict(&s, CR_REASON_NONE, 2, 1, 0);

	/* The same at the other place: dropped blocks push "expected" to the end. */
	for (i = 0; i < 10; i++) {
		s = ordinary(3);
		s.blocks = 2;
		s.block[0].bytes_said = 180;
		s.block[0].off_said = 7;
		s.block[1].off_said = 8;
		s.block[1].bytes = 40;
		s.block[0].bytes = 200;
		n = data_bytes_of(&s) - (6 + 180 + 4); /* from "expected" to the end */
		s.block[1].bytes_said = n - i;
		if (i < 4)
			expect_reason(&s, CR_REASON_BLOCK_RANGE);
		else
			expect_verdict(&s, CR_REASON_NONE, 0, 0, 2);
	}
}

static void blocks_longer_than_the_data(void **state)
{
	struct spec s = ordinary(3);
	uint64_t off, n;
	uint32_t i;

	(void)state;
	for (i = 0; i < BLOCKS_MAX; i++) /* all of them the first one */
		s.block[i].bytes = i ? 0 : 300;
	s.blocks = BLOCKS_MAX;
	off = 6;
	for (i = 1; i < BLOCKS_MAX; i++) {
		s.block[i].off_said = off;
		s.block[i].bytes_said = 300;
	}
	expect_reason(&s, CR_REASON_BLOCK_OVERLAP);

	/* Up to the last byte of the sum, CRCs included. */
	s = ordinary(2);
	s.blocks = 2;
	s.block[0].bytes = 300;
	s.block[1].bytes = 200;
	s.block[1].off_said = 6;
	s.block[1].bytes_said = 200;
	n = data_bytes_of(&s);
	s.block[1].bytes_said = n - 304 - 4;
	assert_true(data_bytes_of(&s) == n);
	expect_verdict(&s, CR_REASON_NONE, 1, 0, 1);
	s.block[1].bytes_said++;
	expect_reason(&s, CR_REASON_BLOCK_OVERLAP);
}

/* ---- damage ---- */

static void every_cut(void **state)
{
	struct spec s;
	struct made m;
	uint8_t version;
	size_t n;

	(void)state;
	for (version = 1; version <= 4; version++) {
		s = ordinary(version);
		s.legacy = version & 1;
		s.frames = SPLIT;
		s.block[1].bytes = 600;
		make(&m, &s);
		for (n = 0; n < m.b.n; n++) {
			enum cr_chunk_reason reason = verdict_of(m.b.p, n).reason;

			if (n >= m.data_off)
				assert_int_equal(reason, CR_REASON_DATA_LENGTH);
			else
				assert_int_equal(reason, CR_REASON_TRUNCATED);
		}
		free(m.b.p);
	}
}

static void flip_every_bit(struct made *m, bool seal)
{
	struct buf good = { 0 };
	size_t bit;

	put(&good, m->b.p, m->b.n);
	for (bit = 0; bit < 8 * m->b.n; bit++) {
		m->b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (seal)
			reseal(m);
		reason_of(m);
		memcpy(m->b.p, good.p, good.n);
	}
	free(good.p);
}

static void every_flip(void **state)
{
	struct spec s;
	struct made m;
	uint8_t version;

	(void)state;
	for (version = 1; version <= 4; version++) {
		s = ordinary(version);
		s.frames = version & 1 ? SPLIT : COMPRESSED;
		s.block[1].bytes = 600;
		make(&m, &s);
		flip_every_bit(&m, false);
		flip_every_bit(&m, true);
		assert_int_equal(reason_of(&m), CR_REASON_NONE);
		free(m.b.p);
	}
}

/* A flip in a block never fails the chunk: Loki drops that block. */
static void flips_in_blocks_are_counted(void **state)
{
	struct spec s = ordinary(4);
	struct cr_verdict v;
	struct made m;
	size_t bit;

	(void)state;
	s.block[1].bytes = 600;
	make(&m, &s);
	for (bit = 8 * m.block_off[0]; bit < 8 * m.metas_off; bit++) {
		m.b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		v = verdict_of(m.b.p, m.b.n);
		assert_int_equal(v.reason, CR_REASON_NONE);
		assert_int_equal(v.blocks_good, 2);
		assert_int_equal(v.blocks_bad, 1);
		m.b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(m.b.p);
}

/* Metas, symbols and footer changed at random, with right checksums: deep into the block walk. */
static void random_damage_behind_the_checksums(void **state)
{
	static const uint8_t likely[] = { 0, 1, 4, 6, 0x7f, 0x80, 0x81, 0xff };
	uint32_t seen[CR_REASON_COUNT] = { 0 };
	uint64_t seed = 2024, round, i, x;
	struct buf good = { 0 };
	struct spec s;
	struct made m;
	size_t at;

	(void)state;
	for (round = 0; round < 40000; round++) {
		if (round % 10000 == 0) {
			s = ordinary((uint8_t)(round / 10000 + 1));
			s.gap = 12;
			s.metas_zeros = 3;
			make(&m, &s);
			good.n = 0;
			put(&good, m.b.p, m.b.n);
		}
		for (i = next_random(&seed) % 4 + 1; i; i--) {
			x = next_random(&seed);
			at = x & 64 ? m.metas_off + (x >> 32) % m.metas_bytes :
			     m.data_off + 4 + (x >> 32) % (m.b.n - m.data_off - 4);
			m.b.p[at] = x & 128 ? likely[x & 7] : m.b.p[at] ^ (1u << (x & 7));
		}
		reseal(&m);
		seen[reason_of(&m)]++;
		memcpy(m.b.p, good.p, good.n);
		if (round % 10000 == 9999)
			free(m.b.p);
	}
	free(good.p);
	assert_true(seen[CR_REASON_NONE] && seen[CR_REASON_BLOCK_RANGE]);
	assert_true(seen[CR_REASON_METAS_FORMAT] && seen[CR_REASON_BLOCK_OVERLAP]);
}

/* ---- files written by Loki, and what stock Loki made of them when damaged ---- */

static const char *testdata(void)
{
	const char *dir = getenv("CR_TESTDATA");

	return dir ? dir : "testdata";
}

/* What an index.json says of a file. */
struct entry {
	char path[256], checksum[16], blocks[16], must[16], outer_crc_ok[16];
};

/* Copies the value of a key from a line of an index, which holds one file a line. "" if there is
 * none. The values asked for have no escapes. */
static void copy_value(const char *line, const char *key, char *out, size_t cap)
{
	char quoted[32];
	const char *at;
	size_t n;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(line, quoted);
	if (at)
		at += strlen(quoted);
	if (at && *at == '"')
		at++;
	n = at ? strcspn(at, "\",}") : 0;
	assert_true(n < cap);
	if (n)
		memcpy(out, at, n);
	out[n] = 0;
}

static struct cr_verdict verdict_of_file(const char *folder, const char *name)
{
	char path[4096];
	uint8_t piece[65536];
	struct buf b = { 0 };
	struct cr_verdict v;
	size_t n;
	FILE *f;

	assert_true(snprintf(path, sizeof(path), "%s/%s/%s", testdata(), folder, name) <
		    (int)sizeof(path));
	f = fopen(path, "rb");
	if (!f)
		fail_msg("%s is in the index but can't be opened", path);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		put(&b, piece, n);
	assert_false(ferror(f));
	fclose(f);
	v = verdict_of(b.p, b.n);
	free(b.p);
	return v;
}

/* Without the test data, skips: never a pass. */
static void each_file(const char *folder,
		      void (*see)(const struct entry *e, const struct cr_verdict *v))
{
	char path[4096], line[4096];
	unsigned int seen = 0;
	struct cr_verdict v;
	struct entry e;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/index.json", testdata(), folder);
	f = fopen(path, "r");
	if (!f) {
		print_message("no %s\n", path);
		skip();
	}
	while (fgets(line, sizeof(line), f)) {
		copy_value(line, "path", e.path, sizeof(e.path));
		if (!e.path[0])
			continue;
		copy_value(line, "checksum", e.checksum, sizeof(e.checksum));
		copy_value(line, "blocks", e.blocks, sizeof(e.blocks));
		copy_value(line, "must", e.must, sizeof(e.must));
		copy_value(line, "outer_crc_ok", e.outer_crc_ok, sizeof(e.outer_crc_ok));
		v = verdict_of_file(folder, e.path);
		see(&e, &v);
		seen++;
	}
	fclose(f);
	assert_true(seen > 0);
}

static void see_good(const struct entry *e, const struct cr_verdict *v)
{
	if (v->reason != CR_REASON_NONE || v->blocks_bad || v->blocks_moved ||
	    v->blocks_good != strtoul(e->blocks, NULL, 10) ||
	    v->crc != strtoul(e->checksum, NULL, 16))
		fail_msg("%s: %s; %u good, %u moved, %u bad of %s; crc %08x, not %s", e->path,
			 cr_chunk_reason_text(v->reason), v->blocks_good, v->blocks_moved,
			 v->blocks_bad, e->blocks, v->crc, e->checksum);
}

static void good_files_of_loki(void **state)
{
	(void)state;
	each_file("good", see_good);
}

/* Damage inside the compressed symbols is seen only by who inflates them. */
static bool in_the_symbols(const char *path)
{
	return strncmp(path, "symbols/inner-symbols-len-", 26) == 0 ||
	       strcmp(path, "symbols/inner-symbols-garbage-none.chunk") == 0;
}

static void see_bad(const struct entry *e, const struct cr_verdict *v)
{
	bool crc_ok = v->crc == strtoul(e->checksum, NULL, 16);
	bool refused = v->reason != CR_REASON_NONE;

	if (crc_ok != (strcmp(e->outer_crc_ok, "true") == 0))
		fail_msg("%s: crc %08x, and the key's is %s", e->path, v->crc, e->checksum);
	if (!crc_ok)
		return;
	if ((strcmp(e->must, "accept") == 0 && refused) ||
	    (strcmp(e->must, "reject") == 0 && !refused && !in_the_symbols(e->path)))
		fail_msg("%s: must %s, but: %s", e->path, e->must, cr_chunk_reason_text(v->reason));
}

static void bad_files_of_every_kind(void **state)
{
	(void)state;
	each_file("bad", see_bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_of_every_kind),
		cmocka_unit_test(every_codec_of_loki),
		cmocka_unit_test(names_and_texts),
		cmocka_unit_test(envelope_lengths),
		cmocka_unit_test(envelope_without_data),
		cmocka_unit_test(envelope_inflates_to_4_mib),
		cmocka_unit_test(header_fields),
		cmocka_unit_test(the_place_is_told),
		cmocka_unit_test(data_alone),
		cmocka_unit_test(data_of_every_length),
		cmocka_unit_test(footer_ranges),
		cmocka_unit_test(footer_sums_wrap),
		cmocka_unit_test(symbol_counts),
		cmocka_unit_test(sections_anywhere),
		cmocka_unit_test(block_counts),
		cmocka_unit_test(blocks_beyond_the_metas),
		cmocka_unit_test(overlong_numbers),
		cmocka_unit_test(blocks_with_bad_crc_are_dropped),
		cmocka_unit_test(blocks_with_wrong_offset_are_found),
		cmocka_unit_test(blocks_are_where_they_are_found),
		cmocka_unit_test(blocks_outside_are_refused),
		cmocka_unit_test(block_crc_beyond_the_end),
		cmocka_unit_test(blocks_longer_than_the_data),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(every_flip),
		cmocka_unit_test(flips_in_blocks_are_counted),
		cmocka_unit_test(random_damage_behind_the_checksums),
		cmocka_unit_test(good_files_of_loki),
		cmocka_unit_test(bad_files_of_every_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
