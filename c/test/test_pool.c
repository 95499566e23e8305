/* SPDX-License-Identifier: Apache-2.0 */
/* cr_pool: classes, reuse, retention, wrong releases, many threads. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

#define PAGE      4096u
#define MIB       (1u << 20)
#define POISON    0xDB
#define SIZES_MAX (16u << 20) /* debug builds fill what is released */
#define THREADS   8u
#define ROUNDS    400u
#define HELD      6u

static struct cr_pool *open_pool(uint64_t retain_bytes_max)
{
	struct cr_pool *pool = NULL;

	assert_int_equal(cr_pool_open(retain_bytes_max, &pool), 0);
	assert_non_null(pool);
	return pool;
}

static struct cr_pool_stats stats_of(struct cr_pool *pool)
{
	struct cr_pool_stats stats;

	cr_pool_stats(pool, &stats);
	return stats;
}

static void sizes(void **state)
{
	struct cr_pool *pool = open_pool(0);

	(void)state;
	/* around the edges of the classes */
	for (uint32_t base = 1; base <= SIZES_MAX; base *= 2) {
		for (uint32_t quarter = 0; quarter < 4; quarter++) {
			for (int32_t off = -1; off <= 1; off++) {
				uint32_t size = base + base / 4 * quarter + (uint32_t)off, cap = 0;
				uint8_t *buf = size ? cr_pool_get(pool, size, &cap) : NULL;

				if (size == 0)
					continue;
				assert_non_null(buf);
				assert_int_equal((uintptr_t)buf % PAGE, 0);
				assert_true(cap >= size);
				assert_true(cap <= PAGE || cap - size <= size / 4 + 1);
				buf[0] = 1;
				buf[size - 1] = 2;
				buf[cap - 1] = 3; /* cap_bytes is real room: ASan looks */
				assert_int_equal(cr_pool_release(pool, buf), 0);
			}
		}
	}
	assert_int_equal(stats_of(pool).retained_buffers, 0);
	assert_int_equal(cr_pool_close(pool), 0);
}

static void limits(void **state)
{
	struct cr_pool *pool = open_pool(0);
	uint32_t cap = 0;
	void *buf;

	(void)state;
	assert_null(cr_pool_get(pool, 0, NULL));
	assert_null(cr_pool_get(pool, CR_FILE_BYTES_MAX + 1, &cap));
	assert_null(cr_pool_get(pool, UINT32_MAX, &cap));
	assert_int_equal(stats_of(pool).out_buffers, 0);
	buf = cr_pool_get(pool, CR_FILE_BYTES_MAX, &cap); /* NULL is fine: memory may be short */
	if (buf) {
		assert_true(cap >= CR_FILE_BYTES_MAX);
#ifndef CR_DEBUG /* which fills it */
		assert_int_equal(cr_pool_release(pool, buf), 0);
		buf = NULL;
#endif
	}
	assert_int_equal(cr_pool_close(pool), buf ? 1 : 0);
	if (buf)
		free((char *)buf - PAGE); /* so that no leak is seen */
	assert_int_equal(cr_pool_close(NULL), 0);
}

static void reuse(void **state)
{
	struct cr_pool *pool = open_pool(10 * MIB);
	uint32_t cap_a, cap_b;
	uint8_t *a = cr_pool_get(pool, 900000, &cap_a), *b;

	(void)state;
	assert_int_equal(stats_of(pool).out_buffers, 1);
	assert_int_equal(stats_of(pool).out_bytes, cap_a);
	memset(a, 7, cap_a);
	assert_int_equal(cr_pool_release(pool, a), 0);
	assert_int_equal(stats_of(pool).out_bytes, 0);
	assert_int_equal(stats_of(pool).retained_bytes, cap_a);
	b = cr_pool_get(pool, 890000, &cap_b); /* the same class */
	assert_ptr_equal(a, b);
	assert_int_equal(cap_a, cap_b);
#ifdef CR_DEBUG
	assert_int_equal(b[0], POISON);
	assert_int_equal(b[cap_b - 1], POISON);
#endif
	assert_int_equal(stats_of(pool).retained_buffers, 0);
	a = cr_pool_get(pool, 100, NULL); /* another class */
	assert_ptr_not_equal(a, b);
	assert_int_equal(cr_pool_release(pool, a), 0);
	assert_int_equal(cr_pool_release(pool, b), 0);
	assert_int_equal(stats_of(pool).retained_buffers, 2);
	assert_int_equal(cr_pool_close(pool), 0);
}

static void retains_no_more_than_told(void **state)
{
	struct cr_pool *pool = open_pool(3 * MIB);
	void *bufs[10];

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		bufs[i] = cr_pool_get(pool, MIB, NULL);
	for (uint32_t i = 0; i < 10; i++) {
		assert_int_equal(cr_pool_release(pool, bufs[i]), 0);
		assert_true(stats_of(pool).retained_bytes <= 3 * MIB);
	}
	assert_int_equal(stats_of(pool).retained_buffers, 3);
	assert_int_equal(stats_of(pool).out_buffers, 0);
	assert_int_equal(stats_of(pool).out_bytes, 0);
	assert_int_equal(cr_pool_close(pool), 0);
}

static void wrong_releases(void **state)
{
	struct cr_pool *pool = open_pool(10 * MIB), *other = open_pool(10 * MIB);
	uint8_t *buf = cr_pool_get(pool, 100000, NULL);
	void *foreign = aligned_alloc(PAGE, 2 * PAGE);

	(void)state;
	assert_non_null(foreign);
	memset(foreign, 0, 2 * PAGE);
	memset(buf, 0, 100000);
	assert_int_equal(cr_pool_release(pool, NULL), -EINVAL);
	assert_int_equal(cr_pool_release(pool, buf + 1), -EINVAL);
	assert_int_equal(cr_pool_release(pool, buf + 16 * PAGE), -EINVAL);
	assert_int_equal(cr_pool_release(other, buf), -EINVAL);
	assert_int_equal(cr_pool_release(pool, (char *)foreign + PAGE), -EINVAL);
	assert_int_equal(stats_of(pool).out_buffers, 1);
	assert_int_equal(cr_pool_release(pool, buf), 0);
	assert_int_equal(cr_pool_release(pool, buf), -EALREADY);
	assert_int_equal(stats_of(pool).retained_buffers, 1);
	free(foreign);
	assert_int_equal(cr_pool_close(pool), 0);
	assert_int_equal(cr_pool_close(other), 0);
}

#ifdef CR_DEBUG
static void gone_buffers(void **state)
{
	struct cr_pool *pool = open_pool(0);
	uint8_t *buf = cr_pool_get(pool, 100, NULL);

	(void)state;
	assert_int_equal(cr_pool_release(pool, buf), 0); /* given back to the system */
	assert_int_equal(cr_pool_release(pool, buf), -EINVAL);
	assert_int_equal(cr_pool_close(pool), 0);
}
#endif

static void still_out_at_close(void **state)
{
	struct cr_pool *pool = open_pool(MIB);
	uint8_t *a = cr_pool_get(pool, 5000, NULL), *b = cr_pool_get(pool, 5000, NULL);
	uint8_t *c = cr_pool_get(pool, 5000, NULL);

	(void)state;
	assert_int_equal(cr_pool_release(pool, b), 0);
	assert_int_equal(cr_pool_close(pool), 2);
	memset(a, 1, 5000); /* still valid */
	memset(c, 1, 5000);
	free(a - PAGE);
	free(c - PAGE);
}

static void as_callback(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .backend = CR_BACKEND_THREADS }; /* what valgrind sees */
	struct cr_pool *pool = open_pool(MIB);
	struct cr_req reqs[4] = {
		{ .path = "a" }, { .path = "none" }, { .path = "b" }, { .path = "a" }
	};
	struct cr_batch b = { .reqs = reqs, .n = 4, .alloc = cr_pool_alloc, .arg = pool };
	uint8_t want[9000];

	fx_write(fx, "a", 5000);
	fx_write(fx, "b", 9000);
	assert_int_equal(cr_ctx_open(fx->dir, &opt, &fx->ctx), 0);
	for (uint32_t round = 0; round < 20; round++) {
		assert_int_equal(cr_batch_read(fx->ctx, &b), 0);
		for (uint32_t i = 0; i < 4; i++) {
			if (i == 1) {
				assert_int_equal(reqs[i].status, CR_NOT_FOUND);
				continue;
			}
			assert_int_equal(reqs[i].status, CR_OK);
			fx_content(reqs[i].path, want, reqs[i].size_bytes);
			assert_memory_equal(want, reqs[i].buf, reqs[i].size_bytes);
		}
		assert_int_equal(stats_of(pool).out_buffers, 3);
		for (uint32_t i = 0; i < 4; i++)
			if (reqs[i].status == CR_OK)
				assert_int_equal(cr_pool_release(pool, reqs[i].buf), 0);
		assert_int_equal(stats_of(pool).retained_buffers, 3);
	}
	assert_int_equal(cr_pool_close(pool), 0);
}

static void *get_and_release(void *arg)
{
	struct cr_pool *pool = arg;
	uint64_t random = (uintptr_t)&random | 1;
	uint8_t *held[HELD] = { 0 };
	uint32_t size[HELD];

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t i = fx_random(&random) % HELD;

		if (held[i]) {
			/* nobody else got it meanwhile */
			FX_CHECK(held[i][0] == (uint8_t)size[i] &&
				 held[i][size[i] - 1] == (uint8_t)size[i]);
			FX_CHECK(cr_pool_release(pool, held[i]) == 0);
			held[i] = NULL;
			continue;
		}
		size[i] = 1 + fx_random(&random) % 100000;
		held[i] = cr_pool_get(pool, size[i], NULL);
		FX_CHECK(held[i]);
		held[i][0] = held[i][size[i] - 1] = (uint8_t)size[i];
	}
	for (uint32_t i = 0; i < HELD; i++)
		if (held[i])
			FX_CHECK(cr_pool_release(pool, held[i]) == 0);
	return NULL;
}

static void many_threads(void **state)
{
	struct cr_pool *pool = open_pool(MIB);
	pthread_t threads[THREADS];

	(void)state;
	for (uint32_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_release, pool), 0);
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(stats_of(pool).out_buffers, 0);
	assert_int_equal(stats_of(pool).out_bytes, 0);
	assert_true(stats_of(pool).retained_bytes <= MIB);
	assert_int_equal(cr_pool_close(pool), 0);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, sizes),
		FX_TEST_ON(FX_ONCE, limits),
		FX_TEST_ON(FX_ONCE, reuse),
		FX_TEST_ON(FX_ONCE, retains_no_more_than_told),
		FX_TEST_ON(FX_ONCE, wrong_releases),
#ifdef CR_DEBUG
		FX_TEST_ON(FX_ONCE, gone_buffers),
#endif
		FX_TEST_ON(FX_ONCE, still_out_at_close),
		FX_TEST_ON(FX_ONCE, as_callback),
		FX_TEST_ON(FX_ONCE, many_threads),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
