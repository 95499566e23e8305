/* SPDX-License-Identifier: Apache-2.0 */
/* cr_evict: the rules one by one, a model of all of them, hostile numbers, and which policy keeps more. */
#include <errno.h>
#include <string.h>

#include "evict_replay.h"
#include "fixture.h"

static struct cr_evict *open_evict(uint32_t items_max)
{
	struct cr_evict *e = NULL;

	assert_int_equal(cr_evict_open(items_max, &e), 0);
	assert_non_null(e);
	return e;
}

static void add(struct cr_evict *e, uint64_t hash, uint64_t size_bytes)
{
	assert_int_equal(cr_evict_add(e, hash, size_bytes, false, NULL), 0);
}

static void touch(struct cr_evict *e, uint64_t hash, uint32_t times)
{
	for (uint32_t i = 0; i < times; i++)
		assert_int_equal(cr_evict_touch(e, &hash, 1), 1);
}

static uint64_t victim(struct cr_evict *e)
{
	struct cr_evict_item item;

	assert_true(cr_evict_victim(e, 0, 0, &item));
	assert_false(cr_evict_find(e, item.hash, NULL));
	return item.hash;
}

static struct cr_evict_stats stats_of(struct cr_evict *e)
{
	struct cr_evict_stats stats;

	cr_evict_stats(e, &stats);
	return stats;
}

/* ---- The rules ---- */

static void what_is_new_goes_in_order(void **state)
{
	struct cr_evict *e = open_evict(8);

	(void)state;
	for (uint64_t i = 0; i < 8; i++)
		add(e, i, 100);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(victim(e), i);
	assert_int_equal(stats_of(e).items, 0);
	assert_int_equal(stats_of(e).bytes, 0);
	cr_evict_close(e);
}

static void two_uses_keep_a_new_file(void **state)
{
	struct cr_evict *e = open_evict(8);

	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		add(e, i, 100);
	touch(e, 0, 1);
	touch(e, 1, 2);
	touch(e, 2, 3);
	assert_int_equal(victim(e), 0);
	assert_int_equal(victim(e), 3); /* 1 and 2 went over to the main queue */
	assert_int_equal(stats_of(e).small_items, 0);
	assert_int_equal(victim(e), 1); /* where they start without uses */
	assert_int_equal(victim(e), 2);
	cr_evict_close(e);
}

static void what_comes_again_is_kept(void **state)
{
	struct cr_evict *e = open_evict(8);

	(void)state;
	add(e, 1, 100);
	add(e, 2, 100);
	assert_int_equal(victim(e), 1);
	add(e, 1, 100); /* remembered: into the main queue */
	assert_int_equal(stats_of(e).small_items, 1);
	assert_int_equal(victim(e), 2);
	assert_int_equal(victim(e), 1);
	add(e, 1, 100); /* what went from the main queue is not remembered */
	assert_int_equal(stats_of(e).small_items, 1);
	cr_evict_close(e);
}

static void the_main_queue_gives_a_round_a_use(void **state)
{
	struct cr_evict *e = open_evict(8);

	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cr_evict_add(e, i, 100, true, NULL), 0);
	assert_int_equal(stats_of(e).small_items, 0);
	touch(e, 0, 9); /* counted up to 3 */
	touch(e, 1, 1);
	assert_int_equal(victim(e), 2);
	assert_int_equal(victim(e), 3);
	assert_int_equal(victim(e), 1);
	assert_int_equal(victim(e), 0);
	cr_evict_close(e);
}

static void the_small_queue_has_a_tenth(void **state)
{
	struct cr_evict *e = open_evict(64);
	struct cr_evict_item item;

	(void)state;
	for (uint64_t i = 0; i < 18; i++)
		assert_int_equal(cr_evict_add(e, i, 100, true, NULL), 0);
	add(e, 100, 100); /* 100 of 1900 bytes: less than a tenth, so the main queue gives */
	assert_int_equal(victim(e), 0);
	add(e, 101, 100); /* 200 of 1900 */
	assert_int_equal(victim(e), 100);
	/* A scan takes turns in its tenth, and pushes nothing else out. */
	for (uint64_t i = 1000; i < 2000; i++) {
		while (cr_evict_victim(e, 1800, 64, &item))
			assert_true(item.hash >= 100);
		add(e, i, 100);
	}
	assert_int_equal(stats_of(e).items - stats_of(e).small_items, 17);
	cr_evict_close(e);
}

static void victims_come_while_there_is_too_much(void **state)
{
	struct cr_evict *e = open_evict(8);
	struct cr_evict_item item;

	(void)state;
	assert_false(cr_evict_victim(e, 0, 0, &item));
	for (uint64_t i = 0; i < 4; i++)
		add(e, i, 100 + i);
	assert_false(cr_evict_victim(e, 406, 4, &item));
	assert_true(cr_evict_victim(e, 405, 4, &item));
	assert_int_equal(item.hash, 0);
	assert_int_equal(item.size_bytes, 100);
	assert_false(cr_evict_victim(e, 306, 3, &item));
	assert_true(cr_evict_victim(e, UINT64_MAX, 2, &item)); /* too many files */
	assert_int_equal(stats_of(e).items, 2);
	cr_evict_close(e);
}

static void slots_are_a_files_own(void **state)
{
	struct cr_evict *e = open_evict(3);
	uint32_t slots[3], again;
	struct cr_evict_item item;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(cr_evict_add(e, 10 + i, 1, false, &slots[i]), 0);
		assert_true(slots[i] < 3);
		for (uint32_t k = 0; k < i; k++)
			assert_int_not_equal(slots[i], slots[k]);
	}
	assert_int_equal(cr_evict_add(e, 13, 1, false, NULL), -ENOSPC);
	assert_int_equal(cr_evict_add(e, 11, 5, false, &again), 0); /* known: there is room */
	assert_int_equal(again, slots[1]);
	assert_true(cr_evict_remove(e, 11, &item));
	assert_int_equal(item.slot, slots[1]);
	assert_int_equal(item.size_bytes, 5);
	assert_false(cr_evict_remove(e, 11, NULL));
	assert_int_equal(cr_evict_add(e, 13, 1, false, &again), 0);
	assert_int_equal(again, slots[1]);
	cr_evict_close(e);
}

/* ---- Hostile numbers ---- */

static void hostile_sizes(void **state)
{
	struct cr_evict *e = open_evict(1000);
	struct cr_evict_item item;

	(void)state;
	assert_int_equal(cr_evict_add(e, 1, UINT64_MAX, false, NULL), -EFBIG);
	assert_int_equal(cr_evict_add(e, 1, CR_EVICT_BYTES_MAX + 1ull, false, NULL), -EFBIG);
	assert_int_equal(stats_of(e).items, 0);
	for (uint64_t i = 0; i < 1000; i++) /* their sum is not cut to 32 bits */
		add(e, i, CR_EVICT_BYTES_MAX);
	assert_int_equal(stats_of(e).bytes, 1000ull * CR_EVICT_BYTES_MAX);
	add(e, 5, 0);
	assert_int_equal(stats_of(e).bytes, 999ull * CR_EVICT_BYTES_MAX);
	assert_int_equal(cr_evict_add(e, 6, UINT64_MAX, false, NULL), -EFBIG); /* and keeps its size */
	assert_int_equal(stats_of(e).bytes, 999ull * CR_EVICT_BYTES_MAX);
	for (uint64_t i = 0; i < 1000; i++)
		assert_true(cr_evict_victim(e, UINT64_MAX, 0, &item));
	assert_int_equal(stats_of(e).bytes, 0);
	for (uint64_t i = 0; i < 1000; i++) /* nothing but empty files: they go by their number */
		add(e, i, 0);
	assert_false(cr_evict_victim(e, 0, 1000, &item));
	assert_true(cr_evict_victim(e, 0, 999, &item));
	cr_evict_close(e);
}

static void wrong_bounds(void **state)
{
	struct cr_evict *e = (struct cr_evict *)1;

	(void)state;
	assert_int_equal(cr_evict_open(0, &e), -EINVAL);
	assert_null(e);
	assert_int_equal(cr_evict_open(CR_EVICT_ITEMS_MAX + 1, &e), -EINVAL);
	assert_int_equal(cr_evict_open(UINT32_MAX, &e), -EINVAL);
	cr_evict_close(NULL);
}

/* A victim is found in bounded time though all files were used as often as is counted. */
static void all_files_are_hot(void **state)
{
	struct cr_evict *e = open_evict(2000);

	(void)state;
	for (uint64_t i = 0; i < 2000; i++) {
		assert_int_equal(cr_evict_add(e, i, 1, true, NULL), 0);
		touch(e, i, 3);
	}
	/* With every file looked at 3 times before the first goes, this would be file 0. */
	assert_int_equal(victim(e), CR_EVICT_STEPS_MAX - 1);
	cr_evict_close(e);
}

/* ---- A model: arrays instead of links, the newest first ---- */

#define MODEL_ITEMS 8u /* one bucket: what went is forgotten in order */
#define MODEL_STEPS 200000u

struct model_file {
	uint64_t hash;
	uint32_t size_bytes, uses;
};

struct model {
	struct model_file small[MODEL_ITEMS], main[MODEL_ITEMS];
	uint32_t          small_n, main_n;
	struct { uint64_t hash, at; } gone[MODEL_ITEMS];
	uint64_t          now;
};

static void front(struct model_file *list, uint32_t *n, struct model_file f)
{
	memmove(list + 1, list, *n * sizeof(*list));
	list[0] = f;
	++*n;
}

static struct model_file drop(struct model_file *list, uint32_t *n, uint32_t i)
{
	struct model_file f = list[i];

	memmove(list + i, list + i + 1, (--*n - i) * sizeof(*list));
	return f;
}

static uint64_t model_bytes(const struct model_file *list, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += list[i].size_bytes;
	return sum;
}

static struct model_file *model_find(struct model *m, uint64_t hash)
{
	for (uint32_t i = 0; i < m->small_n; i++)
		if (m->small[i].hash == hash)
			return &m->small[i];
	for (uint32_t i = 0; i < m->main_n; i++)
		if (m->main[i].hash == hash)
			return &m->main[i];
	return NULL;
}

static void model_add(struct model *m, uint64_t hash, uint32_t size_bytes, bool kept)
{
	struct model_file *f = model_find(m, hash), new = { hash, size_bytes, 0 };

	if (f) {
		f->size_bytes = size_bytes;
		return;
	}
	for (uint32_t i = 0; i < MODEL_ITEMS; i++)
		if (m->gone[i].at && m->gone[i].hash == hash) {
			kept = kept || m->now - m->gone[i].at <= m->small_n + m->main_n;
			m->gone[i].at = 0;
		}
	if (kept)
		front(m->main, &m->main_n, new);
	else
		front(m->small, &m->small_n, new);
}

static void model_remember(struct model *m, uint64_t hash)
{
	uint32_t oldest = 0;

	for (uint32_t i = 0; i < MODEL_ITEMS; i++)
		if (m->gone[i].at < m->gone[oldest].at)
			oldest = i;
	m->gone[oldest].hash = hash;
	m->gone[oldest].at = ++m->now;
}

static struct model_file model_victim(struct model *m)
{
	struct model_file f;

	for (;;) {
		uint64_t small = model_bytes(m->small, m->small_n);
		bool full = small * 10 >= small + model_bytes(m->main, m->main_n);

		if (m->small_n && (full || !m->main_n)) {
			f = drop(m->small, &m->small_n, m->small_n - 1);
			if (f.uses < 2) {
				model_remember(m, f.hash);
				return f;
			}
			f.uses = 0;
		} else {
			f = drop(m->main, &m->main_n, m->main_n - 1);
			if (f.uses == 0)
				return f;
			f.uses--;
		}
		front(m->main, &m->main_n, f);
	}
}

static void model_remove(struct model *m, uint64_t hash)
{
	struct model_file *f = model_find(m, hash);

	if (f >= m->small && f < m->small + m->small_n)
		drop(m->small, &m->small_n, (uint32_t)(f - m->small));
	else
		drop(m->main, &m->main_n, (uint32_t)(f - m->main));
}

static void model_step(struct model *m, struct cr_evict *e, uint64_t *random)
{
	uint64_t hash = fx_random(random) % 24;
	uint32_t size_bytes = fx_random(random) % 4 ? (uint32_t)(fx_random(random) % 1000) : 0;
	struct model_file *known = model_find(m, hash), want;
	struct cr_evict_item item;
	bool kept = fx_random(random) % 8 == 0;

	assert_int_equal(cr_evict_find(e, hash, &item), known != NULL);
	if (known)
		assert_int_equal(item.size_bytes, known->size_bytes);
	switch (fx_random(random) % 8) {
	case 0:
		assert_int_equal(cr_evict_remove(e, hash, NULL), known != NULL);
		if (known)
			model_remove(m, hash);
		break;
	case 1:
	case 2:
	case 3:
		assert_int_equal(cr_evict_touch(e, &hash, 1), known != NULL);
		if (known && known->uses < 3)
			known->uses++;
		break;
	default:
		if (!known && m->small_n + m->main_n == MODEL_ITEMS) {
			want = model_victim(m);
			assert_true(cr_evict_victim(e, UINT64_MAX, MODEL_ITEMS - 1, &item));
			assert_int_equal(item.hash, want.hash);
			assert_int_equal(item.size_bytes, want.size_bytes);
		}
		model_add(m, hash, size_bytes, kept);
		assert_int_equal(cr_evict_add(e, hash, size_bytes, kept, NULL), 0);
	}
	assert_int_equal(stats_of(e).small_items, m->small_n);
	assert_int_equal(stats_of(e).items, m->small_n + m->main_n);
	assert_int_equal(stats_of(e).small_bytes, model_bytes(m->small, m->small_n));
	assert_int_equal(stats_of(e).bytes - stats_of(e).small_bytes, model_bytes(m->main, m->main_n));
}

static void as_the_model_says(void **state)
{
	struct cr_evict *e = open_evict(MODEL_ITEMS);
	static struct model m;
	uint64_t random = 1;

	(void)state;
	for (uint32_t i = 0; i < MODEL_STEPS; i++)
		model_step(&m, e, &random);
	cr_evict_close(e);
}

/* ---- Which policy keeps more ---- */

static struct replay replayed(enum replay_trace trace, enum replay_policy policy, double part)
{
	struct replay r = { .cache_bytes = (uint64_t)((double)replay_bytes_all() * part) };

	assert_true(replay_run(trace, policy, &r));
	assert_true(r.held_bytes_max <= r.cache_bytes);
	return r;
}

static void zipf_keeps_more_than_lru(void **state)
{
	static const double parts[] = { 0.02, 0.1, 0.5 };

	(void)state;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t ours = replayed(TRACE_ZIPF, POLICY_S3FIFO, parts[i]).hits;
		uint64_t lru = replayed(TRACE_ZIPF, POLICY_LRU, parts[i]).hits;

		assert_true(ours > lru);
		assert_true(lru > replayed(TRACE_ZIPF, POLICY_FIFO, parts[i]).hits);
	}
}

/* A hot set of 5 % of the data in a cache of 10 %, and a scan of all the rest. */
static void scans_leave_the_hot_set(void **state)
{
	struct replay ours = replayed(TRACE_SCAN, POLICY_S3FIFO, 0.1);

	(void)state;
	assert_true(ours.hot_hits * 100 >= ours.hot_reads * 98);
	assert_true(ours.hot_hits > replayed(TRACE_SCAN, POLICY_LRU, 0.1).hot_hits);
	assert_true(ours.hot_hits > replayed(TRACE_SCAN, POLICY_FIFO, 0.1).hot_hits);
}

/* What is new is read most, for a while: nothing is better than LRU there. */
static void recent_files_are_kept(void **state)
{
	struct replay ours = replayed(TRACE_RECENT, POLICY_S3FIFO, 0.1);

	(void)state;
	assert_true(ours.hot_hits > replayed(TRACE_RECENT, POLICY_FIFO, 0.1).hot_hits);
	assert_true(ours.hot_hits * 100 >= replayed(TRACE_RECENT, POLICY_LRU, 0.1).hot_hits * 97);
}

static void loops_hit(void **state)
{
	(void)state;
	assert_int_equal(replayed(TRACE_LOOP, POLICY_LRU, 0.75).hits, 0);
	assert_int_equal(replayed(TRACE_LOOP, POLICY_FIFO, 0.75).hits, 0);
	assert_true(replayed(TRACE_LOOP, POLICY_S3FIFO, 0.75).hits > REPLAY_READS / 3);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, what_is_new_goes_in_order),
		FX_TEST_ON(FX_ONCE, two_uses_keep_a_new_file),
		FX_TEST_ON(FX_ONCE, what_comes_again_is_kept),
		FX_TEST_ON(FX_ONCE, the_main_queue_gives_a_round_a_use),
		FX_TEST_ON(FX_ONCE, the_small_queue_has_a_tenth),
		FX_TEST_ON(FX_ONCE, victims_come_while_there_is_too_much),
		FX_TEST_ON(FX_ONCE, slots_are_a_files_own),
		FX_TEST_ON(FX_ONCE, hostile_sizes),
		FX_TEST_ON(FX_ONCE, wrong_bounds),
		FX_TEST_ON(FX_ONCE, all_files_are_hot),
		FX_TEST_ON(FX_ONCE, as_the_model_says),
		FX_TEST_ON(FX_ONCE, zipf_keeps_more_than_lru),
		FX_TEST_ON(FX_ONCE, scans_leave_the_hot_set),
		FX_TEST_ON(FX_ONCE, recent_files_are_kept),
		FX_TEST_ON(FX_ONCE, loops_hit),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
