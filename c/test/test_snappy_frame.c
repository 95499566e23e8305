/* SPDX-License-Identifier: Apache-2.0 */
/* Snappy: what is right comes back, what is wrong is named, and nothing is read past its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../src/bytes.h"
#include "../src/snappy_frame.h"
#include "snappy_build.h"

/* ---- bytes.h ---- */

static void uvarint_takes_what_go_takes(void **state)
{
	static const struct {
		const char *bytes;
		size_t n, took;
		uint64_t x;
	} cases[] = {
		{ "", 0, 0, 0 },
		{ "\x00", 1, 1, 0 },
		{ "\x7f", 1, 1, 127 },
		{ "\x80", 1, 0, 0 },
		{ "\x80\x01", 2, 2, 128 },
		{ "\x80\x00", 2, 2, 0 },
		{ "\xff\xff\xff\xff\x0f", 5, 5, UINT32_MAX },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, 10, 0 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 9, 9, INT64_MAX },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, 10, UINT64_MAX },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, 0, 0 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 10, 0, 0 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, 0, 0 },
	};
	uint64_t x;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *p = exact_copy((const uint8_t *)cases[i].bytes, cases[i].n);

		x = 0;
		assert_int_equal(cr_uvarint(p, cases[i].n, &x), cases[i].took);
		assert_true(x == cases[i].x);
		free(p);
	}
}

static void zigzag_covers_int64(void **state)
{
	static const int64_t numbers[] = { 0, -1, 1, -2, 63, 64, INT64_MAX, INT64_MIN };
	struct cr_reader r;
	struct buf b = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		put_varint(&b, numbers[i]);
	r = (struct cr_reader){ .p = b.p, .end = b.p + b.n };
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_true(cr_read_varint(&r) == numbers[i]);
	assert_false(r.bad);
	free(b.p);
}

static void reader_error_is_sticky(void **state)
{
	static const uint8_t bytes[] = { 5, 0x80 };
	struct cr_reader r = { .p = bytes, .end = bytes + sizeof(bytes) };

	(void)state;
	assert_true(cr_read_uvarint(&r) == 5);
	assert_true(cr_read_uvarint(&r) == 0);
	assert_true(r.bad);
	assert_true(cr_read_uvarint(&r) == 0);
	assert_true(cr_be32((const uint8_t *)"\x01\x02\x03\x04") == 0x01020304);
	assert_true(cr_be64((const uint8_t *)"\x80\x00\x00\x00\x00\x00\x00\x01") ==
		    UINT64_C(0x8000000000000001));
	assert_true(cr_le32((const uint8_t *)"\x01\x02\x03\x84") == 0x84030201);
}

/* ---- blocks ---- */

/* Inflates exact copies, so that one byte too far is seen. */
static bool inflates_to(const struct buf *block, const uint8_t *raw, size_t n)
{
	uint8_t *src = exact_copy(block->p, block->n);
	uint8_t *dst = malloc(n ? n : 1);
	bool ok;

	assert_non_null(dst);
	ok = cr_snappy_inflate(src, block->n, dst, n) && (n == 0 || memcmp(dst, raw, n) == 0);
	free(src);
	free(dst);
	return ok;
}

static void fill_log_text(uint8_t *p, size_t n, uint64_t seed)
{
	static const char words[] = "level=info msg=\"GET /api/v1/push\" status=204 at=http.go ";
	size_t i, from;

	for (i = 0; i < n;) {
		from = next_random(&seed) % (sizeof(words) - 1);
		for (; i < n && from < sizeof(words) - 1 && (next_random(&seed) & 31); i++, from++)
			p[i] = (uint8_t)words[from];
	}
}

static void block_comes_back(void **state)
{
	static uint8_t raw[5000];
	static const size_t sizes[] = { 0, 1, 2, 15, 16, 17, 59, 60, 61, 64, 255, 256, 257, 300,
					1000, 5000 };
	struct buf block = { 0 };
	size_t i;

	(void)state;
	fill_log_text(raw, sizeof(raw), 7);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		block.n = 0;
		put_block(&block, raw, sizes[i]);
		assert_true(inflates_to(&block, raw, sizes[i]));
		if (sizes[i] >= 300)
			assert_true(block.n < sizes[i]);
	}
	free(block.p);
}

/* Short patterns overlap their own copy; every distance and length near the word sizes. */
static void block_repeats_patterns(void **state)
{
	uint8_t raw[200];
	struct buf block = { 0 };
	size_t distance, n, tail, i;

	(void)state;
	for (distance = 1; distance <= 20; distance++) {
		for (n = 1; n <= 64; n++) {
			for (tail = 0; tail <= 20; tail += 5) {
				for (i = 0; i < distance; i++)
					raw[i] = (uint8_t)(i * 37 + 1);
				for (i = distance; i < distance + n; i++)
					raw[i] = raw[i - distance];
				memset(raw + distance + n, '.', tail);
				block.n = 0;
				put_uvarint(&block, distance + n + tail);
				put_literal(&block, raw, distance, 0);
				put_copy(&block, n, distance, 2 + (n & 1));
				if (tail)
					put_literal(&block, raw + distance + n, tail, 0);
				assert_true(inflates_to(&block, raw, distance + n + tail));
			}
		}
	}
	free(block.p);
}

static void block_literal_forms(void **state)
{
	static uint8_t raw[70000];
	static const size_t sizes[] = { 1, 60, 61, 256, 257, 65536, 70000 };
	struct buf block = { 0 };
	unsigned int form;
	size_t i;

	(void)state;
	fill_log_text(raw, sizeof(raw), 3);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (form = 1; form <= 5; form++) {
			if ((form == 1 && sizes[i] > 60) || (form == 2 && sizes[i] > 256) ||
			    (form == 3 && sizes[i] > 65536))
				continue;
			block.n = 0;
			put_uvarint(&block, sizes[i]);
			put_literal(&block, raw, sizes[i], form);
			assert_true(inflates_to(&block, raw, sizes[i]));
			block.n--; /* the source ends early */
			assert_false(inflates_to(&block, raw, sizes[i]));
		}
	}
	free(block.p);
}

static void bad_blocks_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t n, raw;
	} cases[] = {
		{ "", 0, 0 },
		{ "\x80", 1, 0 },
		{ "\xff\xff\xff\xff\x10", 5, 1 },         /* beyond 32 bits */
		{ "\x01", 1, 1 },                         /* nothing in it */
		{ "\x00\x00" "a", 3, 0 },                 /* more than it said */
		{ "\x01\x04" "ab", 4, 1 },
		{ "\x02\x00" "a", 3, 2 },                 /* less than it said */
		{ "\x02\x00" "a", 3, 1 },                 /* not what the caller expects */
		{ "\x02\x04" "a", 3, 2 },                 /* the literal is cut */
		{ "\x02\xf0", 2, 2 },                     /* its length is cut */
		{ "\x02\xf4\x01", 3, 2 },
		{ "\x02\xf8\x01\x00", 4, 2 },
		{ "\x02\xfc\x01\x00\x00", 5, 2 },
		{ "\x02\xfc\xff\xff\xff\xff" "ab", 8, 2 }, /* 2^32 bytes */
		{ "\x05\x00" "a\x01", 4, 5 },             /* copies cut, all three forms */
		{ "\x02\x00" "a\x02\x01", 5, 2 },
		{ "\x02\x00" "a\x03\x01\x00\x00", 7, 2 },
		{ "\x05\x00" "a\x01\x00", 5, 5 },         /* distance 0 */
		{ "\x02\x00" "a\x02\x00\x00", 6, 2 },
		{ "\x02\x00" "a\x03\x00\x00\x00\x00", 8, 2 },
		{ "\x05\x00" "a\x01\x02", 5, 5 },         /* from before the start */
		{ "\x02\x00" "a\x02\x02\x00", 6, 2 },
		{ "\x02\x00" "a\x03\xff\xff\xff\xff", 8, 2 },
		{ "\x04\x00" "a\x01\x01", 5, 4 },         /* one byte beyond the end */
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *src = exact_copy((const uint8_t *)cases[i].bytes, cases[i].n);
		uint8_t *dst = malloc(cases[i].raw + 1);

		assert_non_null(dst);
		assert_false(cr_snappy_inflate(src, cases[i].n, dst, cases[i].raw));
		free(src);
		free(dst);
	}
}

/* ---- frames ---- */

/* Walks all of b with and without an out; both must agree. */
static enum cr_frame_status walk_all(const struct buf *b, uint64_t max, uint64_t *raw_bytes)
{
	uint8_t *src = exact_copy(b->p, b->n);
	uint8_t *out = malloc(max ? max : 1);
	struct cr_frame_walk check = { .src = src, .src_bytes = b->n, .raw_bytes_max = max };
	struct cr_frame_walk inflate = check;
	enum cr_frame_status status = CR_FRAME_OK;
	size_t pos;

	assert_non_null(out);
	inflate.out = out;
	while (status == CR_FRAME_OK && check.pos < b->n) {
		pos = check.pos;
		status = cr_frame_next(&check);
		assert_int_equal(cr_frame_next(&inflate), status);
		assert_int_equal(check.pos, inflate.pos);
		assert_true(check.raw_bytes == inflate.raw_bytes);
		assert_true(status == CR_FRAME_OK ? check.pos >= pos + 4 : check.pos == pos);
	}
	*raw_bytes = check.raw_bytes;
	free(src);
	free(out);
	return status;
}

static enum cr_frame_status walk_status(const struct buf *b)
{
	uint64_t raw_bytes;

	return walk_all(b, 1 << 20, &raw_bytes);
}

static void frames_come_back(void **state)
{
	static uint8_t raw[3 * 65536];
	uint8_t *out = malloc(sizeof(raw));
	struct buf b = { 0 };
	struct cr_frame_walk walk;
	uint64_t raw_bytes;

	(void)state;
	assert_non_null(out);
	fill_log_text(raw, sizeof(raw), 11);
	put_stream_frame(&b);
	put_frame(&b, false, raw, 65536);
	put_frame_head(&b, 0xfe, 3); /* padding */
	put(&b, "\0\0\0", 3);
	put_frame_head(&b, 0x80, 0); /* skippable, empty */
	put_stream_frame(&b);        /* as where two streams were joined */
	put_frame(&b, true, raw + 65536, 4000);
	put_frame(&b, true, raw, 0);
	put_frame(&b, false, raw, 0);
	put_frame(&b, false, raw + 69536, 1);
	assert_int_equal(walk_all(&b, sizeof(raw), &raw_bytes), CR_FRAME_OK);
	assert_true(raw_bytes == 69537);
	assert_int_equal(walk_all(&b, 69537, &raw_bytes), CR_FRAME_OK);
	assert_int_equal(walk_all(&b, 69536, &raw_bytes), CR_FRAME_TOO_BIG);
	assert_int_equal(walk_all(&b, 69535, &raw_bytes), CR_FRAME_TOO_BIG);
	assert_int_equal(walk_all(&b, 65536, &raw_bytes), CR_FRAME_TOO_BIG);
	assert_int_equal(walk_all(&b, 0, &raw_bytes), CR_FRAME_TOO_BIG);

	walk = (struct cr_frame_walk){ .src = b.p, .src_bytes = b.n, .out = out,
				       .raw_bytes_max = sizeof(raw) };
	while (walk.pos < b.n)
		assert_int_equal(cr_frame_next(&walk), CR_FRAME_OK);
	assert_memory_equal(out, raw, 69537);
	free(b.p);
	free(out);
}

static void frame_errors_are_named(void **state)
{
	static uint8_t raw[65537];
	struct buf b = { 0 }, body = { 0 };
	unsigned int type;

	(void)state;
	put_frame(&b, false, raw, 10); /* no stream frame in front */
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	b.n = 0;
	put(&b, "\xff\x06\x00\x00sNaPpX", 10);
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	b.n = 0;
	put(&b, "\xff\x05\x00\x00sNaPp", 9);
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	b.n = 0;
	put(&b, "\xff\x07\x00\x00sNaPpYY", 11);
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	for (type = 2; type < 0x80; type++) {
		b.n = 0;
		put_stream_frame(&b);
		put_frame_head(&b, (uint8_t)type, 0);
		assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	}
	for (type = 0; type < 2; type++) { /* too short for their checksum */
		b.n = 0;
		put_stream_frame(&b);
		put_frame_head(&b, (uint8_t)type, 3);
		put(&b, raw, 3);
		assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	}
	for (type = 0; type < 2; type++) { /* one byte more than a frame may hold */
		b.n = body.n = 0;
		put_stream_frame(&b);
		if (type == 0)
			put_block(&body, raw, sizeof(raw));
		else
			put(&body, raw, sizeof(raw));
		put_frame_of(&b, (uint8_t)type, &body, raw, sizeof(raw));
		assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	}
	b.n = 0; /* longer than Loki's reader has room for */
	put_stream_frame(&b);
	put_frame_head(&b, 0xfe, CR_FRAME_BODY_BYTES_MAX + 1);
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	b.n = body.n = 0; /* a compressed frame without a length, then one whose block is bad */
	put_stream_frame(&b);
	put_frame_of(&b, 0, &body, raw, 0);
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	b.n = 0;
	put_stream_frame(&b);
	put(&body, "\x05\x00" "a", 3);
	put_frame_of(&b, 0, &body, raw, 0);
	assert_int_equal(walk_status(&b), CR_FRAME_BAD);
	free(b.p);
	free(body.p);
}

static bool frames_hold(const struct buf *b, const uint8_t *raw, size_t n)
{
	uint8_t out[300];
	struct cr_frame_walk walk = { .src = b->p, .src_bytes = b->n, .out = out,
				      .raw_bytes_max = sizeof(out) };

	while (walk.pos < b->n && cr_frame_next(&walk) == CR_FRAME_OK)
		;
	return walk.pos == b->n && walk.raw_bytes == n && memcmp(out, raw, n) == 0;
}

static void every_cut_and_flip_is_found(void **state)
{
	uint8_t raw[300];
	struct buf b = { 0 }, cut;
	size_t n, bit, first_end = 10, second_end;
	enum cr_frame_status status;

	(void)state;
	fill_log_text(raw, sizeof(raw), 5);
	put_stream_frame(&b);
	put_frame(&b, true, raw, 200);
	second_end = b.n;
	put_frame(&b, false, raw + 200, 100);
	assert_int_equal(walk_status(&b), CR_FRAME_OK);
	for (n = 1; n < b.n; n++) {
		cut = (struct buf){ .p = b.p, .n = n };
		assert_int_equal(walk_status(&cut), n == first_end || n == second_end ?
				 CR_FRAME_OK : CR_FRAME_SHORT);
	}
	for (bit = 0; bit < 8 * b.n; bit++) {
		b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		status = walk_status(&b);
		/* The top bit of a type makes it a skippable frame: legal. */
		if ((bit / 8 == first_end || bit / 8 == second_end) && bit % 8 == 7)
			assert_int_equal(status, CR_FRAME_OK);
		else /* a repeat from another place where the same bytes are is no damage */
			assert_true(status != CR_FRAME_OK || frames_hold(&b, raw, sizeof(raw)));
		b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(walk_status(&b), CR_FRAME_OK);
	b.p[first_end + 4] ^= 1; /* the checksum itself */
	assert_int_equal(walk_status(&b), CR_FRAME_BAD_CRC);
	b.p[first_end + 4] ^= 1;
	b.p[second_end + 8] ^= 1; /* stored text */
	assert_int_equal(walk_status(&b), CR_FRAME_BAD_CRC);
	free(b.p);
}

/* Random elements behind a length: nothing to compare with but the sanitizers. */
static void random_blocks_stay_in_bounds(void **state)
{
	uint64_t seed = 42;
	uint8_t src[64], *copy, *dst;
	size_t round, i, n, raw, good = 0;

	(void)state;
	for (round = 0; round < 200000; round++) {
		n = 1 + next_random(&seed) % sizeof(src);
		raw = next_random(&seed) % 100;
		src[0] = (uint8_t)raw;
		for (i = 1; i < n; i++)
			src[i] = (uint8_t)(next_random(&seed) >> 32 & (round & 1 ? 0xff : 0x1f));
		copy = exact_copy(src, n);
		dst = malloc(raw + !raw);
		assert_non_null(dst);
		good += cr_snappy_inflate(copy, n, dst, raw);
		free(copy);
		free(dst);
	}
	assert_true(good > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uvarint_takes_what_go_takes),
		cmocka_unit_test(zigzag_covers_int64),
		cmocka_unit_test(reader_error_is_sticky),
		cmocka_unit_test(block_comes_back),
		cmocka_unit_test(block_repeats_patterns),
		cmocka_unit_test(block_literal_forms),
		cmocka_unit_test(bad_blocks_are_refused),
		cmocka_unit_test(frames_come_back),
		cmocka_unit_test(frame_errors_are_named),
		cmocka_unit_test(every_cut_and_flip_is_found),
		cmocka_unit_test(random_blocks_stay_in_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
