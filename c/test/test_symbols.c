/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libchunkring.a in a program that has another zstd, lz4, libdeflate and liburing: those here, of
 * which each call ends the program. The library must use its own. Linked with the archive alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "chunkring.h"

#define FOREIGN(name)                                                                              \
	void name(void);                                                                           \
	void name(void)                                                                            \
	{                                                                                          \
		fprintf(stderr, "%s of another library was called\n", #name);                      \
		abort();                                                                           \
	}

FOREIGN(ZSTD_createDCtx)
FOREIGN(ZSTD_freeDCtx)
FOREIGN(ZSTD_getFrameHeader)
FOREIGN(ZSTD_decompressBegin)
FOREIGN(ZSTD_decompressContinue)
FOREIGN(ZSTD_nextSrcSizeToDecompress)
FOREIGN(ZSTD_isError)
FOREIGN(LZ4F_createDecompressionContext)
FOREIGN(LZ4F_getFrameInfo)
FOREIGN(LZ4F_decompress)
FOREIGN(LZ4F_isError)
FOREIGN(libdeflate_crc32)
FOREIGN(io_uring_queue_init_params)
FOREIGN(io_uring_get_sqe)
FOREIGN(io_uring_submit_and_wait)
FOREIGN(io_uring_submit_and_get_events)
FOREIGN(io_uring_queue_exit)
FOREIGN(XXH64)
FOREIGN(XXH32)

static const char *testdata(void)
{
	const char *dir = getenv("CR_TESTDATA");

	return dir ? dir : "testdata";
}

/* Reads a chunk with the library and inflates its blocks. */
static void check_chunk(struct cr_ctx *ctx, const char *name)
{
	struct cr_req req[2] = { { .path = name }, { .path = name } };
	struct cr_batch batch = { .reqs = req, .n = 2 };
	struct cr_block_cursor cursor = { 0 };
	struct cr_decompressor *decompressor;
	struct cr_chunk chunk;
	struct cr_block block;
	struct cr_pool *pool;
	uint32_t blocks = 0;

	assert_int_equal(cr_pool_open(0, &pool), 0);
	assert_int_equal(cr_decompressor_open(&decompressor), 0);
	batch.alloc = cr_pool_alloc;
	batch.arg = pool;
	assert_int_equal(cr_batch_read(ctx, &batch), 0);
	for (uint32_t i = 0; i < 2; i++)
		assert_string_equal(cr_status_name(req[i].status), "ok");
	assert_int_equal(cr_chunk_parse(req[1].buf, req[1].size_bytes, &chunk), CR_REASON_NONE);
	while (cr_chunk_block_next(req[1].buf, &chunk, &cursor, &block) == 1) {
		uint8_t *out = malloc(1 << 20);
		struct cr_decompress d = { .src = (uint8_t *)req[1].buf + block.found_off,
				       .src_bytes = block.bytes, .dst = out,
				       .cap_bytes = 1 << 20, .codec = chunk.codec };

		assert_non_null(out);
		assert_string_equal(cr_decompress_status_name(cr_block_decompress(decompressor, &d)), "ok");
		free(out);
		blocks++;
	}
	assert_true(blocks > 0);
	cr_decompressor_close(decompressor);
	for (uint32_t i = 0; i < 2; i++)
		cr_pool_release(pool, req[i].buf);
	assert_int_equal(cr_pool_close(pool), 0);
}

static void its_own_libraries(void **state)
{
	static const char *const names[] = { "v4-zstd.chunk", "v4-lz4-64k.chunk", "v4-gzip.chunk",
					     "v4-flate.chunk", "v4-snappy.chunk" };
	const char *backends = getenv("CR_TEST_BACKENDS"); /* valgrind does not see what a ring writes */
	struct cr_options opt = { .backend = backends && !strstr(backends, "uring") ?
						     CR_BACKEND_THREADS :
						     CR_BACKEND_AUTO };
	char dir[4096];
	struct cr_ctx *ctx;

	(void)state;
	snprintf(dir, sizeof(dir), "%s/good", testdata());
	assert_int_equal(cr_ctx_open(dir, &opt, &ctx), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check_chunk(ctx, names[i]);
	cr_ctx_close(ctx);
}

static void versions_are_told(void **state)
{
	static const char *const libraries[] = { "liburing ", "libzstd ", "libdeflate ", "liblz4 " };

	(void)state;
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		const char *at = strstr(cr_version(), libraries[i]);

		assert_non_null(at);
		assert_in_range(at[strlen(libraries[i])], '0', '9');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_own_libraries),
		cmocka_unit_test(versions_are_told),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
