/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of every codec: what is right comes back into exactly the room it takes, what is wrong is
 * not called right, and nothing is read or written outside. What Loki's readers make of the same
 * bytes is compared in go/internal/blockread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>

#include "block_build.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void put_raw(struct buf *b, const struct buf *raw)
{
	put(b, raw->p, raw->n);
}

static const struct codec {
	uint32_t codec;
	const char *name;
	void (*put)(struct buf *b, const struct buf *raw);
	bool checked;  /* has a checksum over the raw bytes */
	bool says;     /* ROOM says how many bytes it takes, exactly */
	bool may_end;  /* at some cuts it is right and shorter */
} codecs[] = {
	{ CR_CODEC_NONE, "none", put_raw, false, true, true },
	{ CR_CODEC_GZIP, "gzip", put_gzip, true, true, false },
	{ CR_CODEC_LZ4_64K, "lz4", put_lz4, false, false, false },
	{ CR_CODEC_SNAPPY, "snappy", put_snappy, true, true, true },
	{ CR_CODEC_FLATE, "flate", put_flate, false, false, false },
	{ CR_CODEC_ZSTD, "zstd", put_zstd, true, false, false },
};

static struct cr_decompressor *decompressor;

static int open_decompressor(void **state)
{
	(void)state;
	return cr_decompressor_open(&decompressor);
}

static int close_decompressor(void **state)
{
	(void)state;
	cr_decompressor_close(decompressor);
	return 0;
}

/* Decompresses from and into allocations of exactly the given sizes, so that AddressSanitizer sees every
 * byte too far. The caller frees *dst. */
static struct cr_decompress decompress(uint32_t codec, const uint8_t *src, size_t n, size_t cap, uint8_t **dst)
{
	uint8_t *copy = exact_copy(src, n);
	struct cr_decompress d = { .codec = codec, .src = copy, .src_bytes = n, .cap_bytes = cap };
	uint32_t status;

	*dst = malloc(cap + !cap);
	assert_non_null(*dst);
	d.dst = *dst;
	status = cr_block_decompress(decompressor, &d);
	assert_int_equal(status, d.status);
	assert_in_range(d.status, CR_DECOMPRESS_OK, CR_DECOMPRESS_STATUS_COUNT - 1);
	if (d.status == CR_DECOMPRESS_OK)
		assert_true(d.raw_bytes <= cap);
	else if (d.status != CR_DECOMPRESS_ROOM)
		assert_int_equal(d.raw_bytes, 0);
	free(copy);
	return d;
}

/* The status alone, with room for cap bytes; and what came out is raw. */
static uint32_t status_of(uint32_t codec, const struct buf *src, size_t cap, const struct buf *raw)
{
	uint8_t *dst;
	struct cr_decompress d = decompress(codec, src->p, src->n, cap, &dst);

	if (d.status == CR_DECOMPRESS_OK) {
		assert_int_equal(d.raw_bytes, raw->n);
		if (raw->n)
			assert_memory_equal(dst, raw->p, raw->n);
	}
	free(dst);
	return d.status;
}

static const size_t sizes[] = { 0, 1, 2, 17, 300, 5000, 65536, 65537, 150000, 262144, 300001 };

static void whole_blocks_come_back(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < COUNT(codecs); i++) {
		for (k = 0; k < COUNT(sizes); k++) {
			struct buf raw = lines(sizes[k]), block = { 0 };

			codecs[i].put(&block, &raw);
			assert_int_equal(status_of(codecs[i].codec, &block, raw.n, &raw), CR_DECOMPRESS_OK);
			assert_int_equal(status_of(codecs[i].codec, &block, raw.n + 1, &raw), CR_DECOMPRESS_OK);
			assert_int_equal(status_of(codecs[i].codec, &block, raw.n + 70000, &raw), CR_DECOMPRESS_OK);
			free(raw.p);
			free(block.p);
		}
	}
}

static void too_little_room_is_told(void **state)
{
	size_t i, k, c;

	(void)state;
	for (i = 0; i < COUNT(codecs); i++) {
		for (k = 1; k < COUNT(sizes); k++) {
			struct buf raw = lines(sizes[k]), block = { 0 };
			const size_t caps[] = { 0, raw.n / 2, raw.n - 1 };

			codecs[i].put(&block, &raw);
			for (c = 0; c < COUNT(caps); c++) {
				uint8_t *dst;
				struct cr_decompress d = decompress(codecs[i].codec, block.p, block.n, caps[c], &dst);

				assert_int_equal(d.status, CR_DECOMPRESS_ROOM);
				if (codecs[i].says)
					assert_int_equal(d.raw_bytes, raw.n);
				else
					assert_true(d.raw_bytes == 0 || d.raw_bytes >= raw.n);
				free(dst);
			}
			free(raw.p);
			free(block.p);
		}
	}
}

static void every_cut_is_found(void **state)
{
	size_t i, n;

	(void)state;
	for (i = 0; i < COUNT(codecs); i++) {
		struct buf raw = lines(700), block = { 0 };

		codecs[i].put(&block, &raw);
		for (n = 0; n < block.n; n++) {
			uint8_t *dst;
			struct cr_decompress d = decompress(codecs[i].codec, block.p, n, raw.n, &dst);

			if (d.status == CR_DECOMPRESS_OK) {
				/* No frame at all is no error in LZ4 and zstd. */
				assert_true(codecs[i].may_end || n == 0);
				assert_true(d.raw_bytes < raw.n);
				if (d.raw_bytes)
					assert_memory_equal(dst, raw.p, d.raw_bytes);
			}
			free(dst);
		}
		free(raw.p);
		free(block.p);
	}
}

static void every_flipped_bit_is_found_or_harmless(void **state)
{
	size_t i, bit;

	(void)state;
	for (i = 0; i < COUNT(codecs); i++) {
		struct buf raw = lines(700), block = { 0 };

		codecs[i].put(&block, &raw);
		for (bit = 0; bit < 8 * block.n; bit++) {
			uint8_t *dst;
			struct cr_decompress d;

			block.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
			d = decompress(codecs[i].codec, block.p, block.n, raw.n + 1000, &dst);
			if (d.status == CR_DECOMPRESS_OK && codecs[i].checked && d.raw_bytes) {
				assert_int_equal(d.raw_bytes, raw.n);
				assert_memory_equal(dst, raw.p, raw.n);
			}
			block.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
			free(dst);
		}
		assert_int_equal(status_of(codecs[i].codec, &block, raw.n, &raw), CR_DECOMPRESS_OK);
		free(raw.p);
		free(block.p);
	}
}

/* Three bytes changed at random: for AddressSanitizer, and no checksum may lie. */
static void random_damage_stays_in_bounds(void **state)
{
	uint64_t seed = 99;
	size_t i, round, k;

	(void)state;
	for (i = 0; i < COUNT(codecs); i++) {
		struct buf raw = lines(70000), block = { 0 };

		codecs[i].put(&block, &raw);
		for (round = 0; round < 400; round++) {
			uint8_t *copy = exact_copy(block.p, block.n), *dst;
			struct cr_decompress d;

			for (k = 0; k < 3; k++) {
				uint64_t x = next_random(&seed);
				size_t at = round % 4 == 0 ? (x >> 8) % 40 : (x >> 8) % block.n;

				copy[at] = (uint8_t)x;
			}
			d = decompress(codecs[i].codec, copy, block.n, raw.n, &dst);
			if (d.status == CR_DECOMPRESS_OK && codecs[i].checked && d.raw_bytes == raw.n)
				assert_memory_equal(dst, raw.p, raw.n);
			free(dst);
			free(copy);
		}
		free(raw.p);
		free(block.p);
	}
}

static void pieces_one_after_the_other(void **state)
{
	static const uint32_t joins[] = { CR_CODEC_GZIP, CR_CODEC_LZ4_4M, CR_CODEC_SNAPPY, CR_CODEC_ZSTD };
	struct buf a = lines(1000), none = { 0 };
	size_t i, k;

	(void)state;
	for (i = 0; i < COUNT(joins); i++) {
		struct buf block = { 0 }, raw = { 0 };

		for (k = 0; k < COUNT(codecs); k++) {
			if (codecs[k].codec != joins[i] && !(k == 2 && i == 1))
				continue;
			codecs[k].put(&block, &a);
			codecs[k].put(&block, &none);
			codecs[k].put(&block, &a);
		}
		put(&raw, a.p, a.n);
		put(&raw, a.p, a.n);
		assert_int_equal(status_of(joins[i], &block, raw.n, &raw), CR_DECOMPRESS_OK);
		assert_int_equal(status_of(joins[i], &block, raw.n - 1, &raw), CR_DECOMPRESS_ROOM);
		put_u8(&block, 0);
		assert_int_equal(status_of(joins[i], &block, raw.n, &raw), CR_DECOMPRESS_BAD);
		free(block.p);
		free(raw.p);
	}
	free(a.p);
}

static void skippable_frames_are_skipped(void **state)
{
	static const uint32_t skips[] = { CR_CODEC_LZ4_64K, CR_CODEC_ZSTD };
	struct buf raw = lines(1000);
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(skips); i++) {
		struct buf block = { 0 };

		put_le(&block, 0x184d2a5f, 4);
		put_le(&block, 3, 4);
		put(&block, "abc", 3);
		(i ? put_zstd : put_lz4)(&block, &raw);
		put_le(&block, 0x184d2a50, 4);
		put_le(&block, 0, 4);
		assert_int_equal(status_of(skips[i], &block, raw.n, &raw), CR_DECOMPRESS_OK);
		put_le(&block, 0x184d2a50, 4);
		put_le(&block, 1, 4);
		assert_int_equal(status_of(skips[i], &block, raw.n, &raw), CR_DECOMPRESS_BAD);
		free(block.p);
	}
	free(raw.p);
}

/* What inflates to 64 MiB costs 64 KiB. */
static void bombs_stop_at_the_bound(void **state)
{
	struct buf raw = { .p = calloc(1, 64 << 20), .n = 64 << 20 };
	size_t i;

	(void)state;
	assert_non_null(raw.p);
	for (i = 1; i < COUNT(codecs); i++) {
		struct buf block = { 0 };

		if (codecs[i].codec == CR_CODEC_SNAPPY)
			continue; /* its builder takes minutes; a frame is at most 64 KiB */
		codecs[i].put(&block, &raw);
		assert_true(block.n < raw.n / 100);
		assert_int_equal(status_of(codecs[i].codec, &block, 65536, &raw), CR_DECOMPRESS_ROOM);
		free(block.p);
	}
	free(raw.p);
}

static void lz4_preferences(void **state)
{
	struct buf raw = lines(200000);
	unsigned int bits;

	(void)state;
	for (bits = 0; bits < 64; bits++) {
		LZ4F_preferences_t prefs = {
			.frameInfo = {
				.blockSizeID = LZ4F_max64KB + (bits & 1),
				.blockMode = bits & 2 ? LZ4F_blockLinked : LZ4F_blockIndependent,
				.contentChecksumFlag = bits & 4 ? LZ4F_contentChecksumEnabled : 0,
				.blockChecksumFlag = bits & 8 ? LZ4F_blockChecksumEnabled : 0,
				.contentSize = bits & 16 ? raw.n : 0,
			},
			.compressionLevel = bits & 32 ? 9 : 0,
		};
		struct buf block = { 0 };

		put_lz4_frame(&block, &raw, &prefs);
		assert_int_equal(status_of(CR_CODEC_LZ4_1M, &block, raw.n, &raw), CR_DECOMPRESS_OK);
		if (bits & 12) { /* the last checksum, and so one of the last bytes before an end mark */
			block.p[block.n - (bits & 4 ? 1 : 5)] ^= 1;
			assert_int_equal(status_of(CR_CODEC_LZ4_1M, &block, raw.n, &raw), CR_DECOMPRESS_BAD);
		}
		free(block.p);
	}
	free(raw.p);
}

/* Every length of what is left after whole stripes and words, in both places that have one. */
static void lz4_checksums_of_every_length(void **state)
{
	LZ4F_preferences_t prefs = { .frameInfo = {
		.contentChecksumFlag = LZ4F_contentChecksumEnabled,
		.blockChecksumFlag = LZ4F_blockChecksumEnabled,
	} };
	size_t n, i;

	(void)state;
	for (n = 0; n < 70; n++) {
		struct buf raw = lines(n), block = { 0 };

		put_lz4_frame(&block, &raw, &prefs);
		assert_int_equal(status_of(CR_CODEC_LZ4_1M, &block, n, &raw), CR_DECOMPRESS_OK);
		for (i = 1; i <= (n ? 12 : 4); i++) { /* content's, end mark, the block's */
			if (i > 4 && i <= 8)
				continue;
			block.p[block.n - i] ^= 1;
			assert_int_equal(status_of(CR_CODEC_LZ4_1M, &block, n, &raw), CR_DECOMPRESS_BAD);
			block.p[block.n - i] ^= 1;
		}
		free(block.p);
		free(raw.p);
	}
}

/* Bytes that this process has from the allocator; 0 where a sanitizer's counts nothing. */
static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* Whatever a frame asks for, the decompressor keeps no buffer of its size. */
static void lz4_decompressor_holds_little(void **state)
{
	LZ4F_preferences_t prefs = { .frameInfo = { .blockSizeID = LZ4F_max4MB,
						    .blockMode = LZ4F_blockLinked } };
	struct buf raw = lines(5 << 20), blocks[4] = { 0 };
	struct cr_decompressor *own;
	size_t before, i;

	(void)state;
	for (i = 0; i < COUNT(blocks); i++) {
		prefs.frameInfo.contentChecksumFlag = i & 1 ? LZ4F_contentChecksumEnabled : 0;
		prefs.frameInfo.blockChecksumFlag = i & 2 ? LZ4F_blockChecksumEnabled : 0;
		put_lz4_frame(&blocks[i], &raw, &prefs);
	}
	before = allocated();
	if (before == 0)
		print_message("a sanitizer's allocator: what is held is not counted\n");
	assert_int_equal(cr_decompressor_open(&own), 0);
	for (i = 0; i < COUNT(blocks); i++) {
		uint8_t *dst = malloc(raw.n);
		struct cr_decompress d = { .codec = CR_CODEC_LZ4_4M, .src = blocks[i].p,
				       .src_bytes = blocks[i].n, .dst = dst, .cap_bytes = raw.n };

		assert_non_null(dst);
		assert_int_equal(cr_block_decompress(own, &d), CR_DECOMPRESS_OK);
		assert_int_equal(d.raw_bytes, raw.n);
		assert_memory_equal(dst, raw.p, raw.n);
		free(dst);
		assert_true(allocated() - before < 4096);
	}
	cr_decompressor_close(own);
	for (i = 0; i < COUNT(blocks); i++)
		free(blocks[i].p);
	free(raw.p);
}

static void unsure_is_not_bad(void **state)
{
	struct buf raw = lines(3000), block = { 0 };

	(void)state;
	put_lz4(&block, &raw);
	block.n -= 4; /* the end mark */
	assert_int_equal(status_of(CR_CODEC_LZ4_64K, &block, raw.n, &raw), CR_DECOMPRESS_UNSURE);
	block.n = 0;
	put_le(&block, 0x184c2102, 4); /* the legacy format */
	assert_int_equal(status_of(CR_CODEC_LZ4_64K, &block, raw.n, &raw), CR_DECOMPRESS_UNSURE);
	block.n = 0;
	put_gzip(&block, &raw);
	block.p[3] = 1; /* "probably text": Loki sets no flag */
	assert_int_equal(status_of(CR_CODEC_GZIP, &block, raw.n, &raw), CR_DECOMPRESS_UNSURE);
	block.p = realloc(block.p, ZSTD_compressBound(raw.n));
	assert_non_null(block.p);
	block.n = ZSTD_compress(block.p, ZSTD_compressBound(raw.n), raw.p, raw.n, 3); /* no checksum */
	assert_int_equal(status_of(CR_CODEC_ZSTD, &block, raw.n, &raw), CR_DECOMPRESS_UNSURE);
	free(block.p);
	free(raw.p);
}

/* A compressed block has at least two headers in it. Found by fuzzing. */
static void zstd_compressed_block_of_no_bytes(void **state)
{
	static const uint8_t frames[][13] = {
		{ 0x28, 0xb5, 0x2f, 0xfd, 0, 0, 5, 0, 0 },
		{ 0x28, 0xb5, 0x2f, 0xfd, 4, 0, 5, 0, 0, 0x99, 0xe9, 0xd8, 0x51 }, /* checksum */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(frames); i++) {
		uint8_t *dst;
		struct cr_decompress d = decompress(CR_CODEC_ZSTD, frames[i], i ? 13 : 9, 100, &dst);

		assert_int_equal(d.status, CR_DECOMPRESS_BAD);
		free(dst);
	}
}

static void batch_goes_on_after_an_error(void **state)
{
	struct buf raw = lines(3000), gzip = { 0 }, zstd = { 0 };
	uint8_t *out = malloc(4 * raw.n);
	struct cr_decompress d[4];
	size_t i;

	(void)state;
	assert_non_null(out);
	put_gzip(&gzip, &raw);
	put_zstd(&zstd, &raw);
	for (i = 0; i < 4; i++)
		d[i] = (struct cr_decompress){ .src = gzip.p, .src_bytes = gzip.n, .dst = out + i * raw.n,
					   .cap_bytes = raw.n, .codec = CR_CODEC_GZIP };
	d[1].codec = 2; /* was never used */
	d[2].codec = CR_CODEC_ZSTD;
	assert_int_equal(cr_block_decompress_batch(decompressor, d, 4), 2);
	assert_int_equal(d[0].status, CR_DECOMPRESS_OK);
	assert_int_equal(d[1].status, CR_DECOMPRESS_CODEC);
	assert_int_equal(d[2].status, CR_DECOMPRESS_BAD);
	assert_int_equal(d[3].status, CR_DECOMPRESS_OK);
	assert_memory_equal(out + 3 * raw.n, raw.p, raw.n);
	assert_int_equal(cr_block_decompress_batch(decompressor, d, 0), 0);
	d[0].codec = UINT32_MAX;
	assert_int_equal(cr_block_decompress(decompressor, &d[0]), CR_DECOMPRESS_CODEC);
	free(out);
	free(raw.p);
	free(gzip.p);
	free(zstd.p);
}

static void statuses_have_names(void **state)
{
	uint32_t i, k;

	(void)state;
	for (i = 0; i < CR_DECOMPRESS_STATUS_COUNT; i++)
		for (k = 0; k < i; k++)
			assert_string_not_equal(cr_decompress_status_name(i), cr_decompress_status_name(k));
	assert_string_equal(cr_decompress_status_name(CR_DECOMPRESS_STATUS_COUNT), "unknown");
}

/* A decompressor each; blocks and tables are shared. */
static void *decompress_all(void *blocks)
{
	const struct buf *block = blocks;
	struct cr_decompressor *own;
	uint8_t *out = malloc(100000);
	intptr_t ok = 0;
	size_t i, round;

	if (!out || cr_decompressor_open(&own) != 0)
		return NULL;
	for (round = 0; round < 20; round++) {
		for (i = 0; i < COUNT(codecs); i++) {
			struct cr_decompress d = { .src = block[i].p, .src_bytes = block[i].n, .dst = out,
					       .cap_bytes = 100000, .codec = codecs[i].codec };

			ok += cr_block_decompress(own, &d) == CR_DECOMPRESS_OK && d.raw_bytes == 100000;
		}
	}
	cr_decompressor_close(own);
	free(out);
	return (void *)ok;
}

static void decompressors_run_beside_each_other(void **state)
{
	struct buf raw = lines(100000), block[COUNT(codecs)] = { 0 };
	pthread_t threads[4];
	void *ok;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(codecs); i++)
		codecs[i].put(&block[i], &raw);
	for (i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, decompress_all, block), 0);
	for (i = 0; i < COUNT(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &ok), 0);
		assert_int_equal((intptr_t)ok, 20 * COUNT(codecs));
	}
	for (i = 0; i < COUNT(codecs); i++)
		free(block[i].p);
	free(raw.p);
	cr_decompressor_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_blocks_come_back),
		cmocka_unit_test(too_little_room_is_told),
		cmocka_unit_test(every_cut_is_found),
		cmocka_unit_test(every_flipped_bit_is_found_or_harmless),
		cmocka_unit_test(random_damage_stays_in_bounds),
		cmocka_unit_test(pieces_one_after_the_other),
		cmocka_unit_test(skippable_frames_are_skipped),
		cmocka_unit_test(bombs_stop_at_the_bound),
		cmocka_unit_test(lz4_preferences),
		cmocka_unit_test(lz4_checksums_of_every_length),
		cmocka_unit_test(lz4_decompressor_holds_little),
		cmocka_unit_test(unsure_is_not_bad),
		cmocka_unit_test(zstd_compressed_block_of_no_bytes),
		cmocka_unit_test(batch_goes_on_after_an_error),
		cmocka_unit_test(statuses_have_names),
		cmocka_unit_test(decompressors_run_beside_each_other),
	};

	return cmocka_run_group_tests(tests, open_decompressor, close_decompressor);
}
