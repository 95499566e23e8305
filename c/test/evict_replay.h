/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces of reads of chunk files, replayed against a cache of so many bytes that evicts by cr_evict, FIFO or
 * LRU. test_evict.c asserts which of them wins; bench/evict shows by how much.
 */
#ifndef CR_TEST_EVICT_REPLAY_H
#define CR_TEST_EVICT_REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "chunkring.h"

#define REPLAY_FILES 10000u
#define REPLAY_READS 300000u
#define REPLAY_HOT   (REPLAY_FILES / 20) /* files of the hot set, and those called recent */

enum replay_trace { TRACE_ZIPF, TRACE_SCAN, TRACE_RECENT, TRACE_LOOP, TRACES };
enum replay_policy { POLICY_FIFO, POLICY_LRU, POLICY_S3FIFO, POLICIES };

static const char *const replay_traces[TRACES] = { "zipf", "hot set + scan", "80 % recent + 20 % scan", "loop" };
static const char *const replay_policies[POLICIES] = { "FIFO", "LRU", "S3-FIFO" };

struct replay {
	uint64_t cache_bytes;
	/* out */
	uint64_t reads, hits;
	uint64_t hot_reads, hot_hits; /* of what is not part of a scan */
	uint64_t held_bytes_max;
};

static inline uint64_t replay_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545F4914F6CDD1Du;
}

/* 8 KB to 1.3 MB, the same for a file each time. */
static inline uint32_t replay_size(uint32_t file)
{
	uint64_t seed = (uint64_t)file * 0x9E3779B97F4A7C15u + 1;

	return 8192u << (replay_random(&seed) >> 32) % 7 | (uint32_t)(seed >> 51);
}

static inline uint64_t replay_bytes_all(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < REPLAY_FILES; i++)
		sum += replay_size(i);
	return sum;
}

/* Zipf with an exponent of one, in steps: each doubling of the rank is read as often as the one before. */
static inline uint32_t replay_zipf(uint64_t *random, uint32_t n)
{
	uint32_t levels = 32 - (uint32_t)__builtin_clz(n), first, rank;

	do {
		first = 1u << replay_random(random) % levels;
		rank = first + (uint32_t)(replay_random(random) % first) - 1;
	} while (rank >= n);
	return rank;
}

/* The file that is read at time i; *hot: not by a scan. */
static inline uint32_t replay_next(enum replay_trace trace, uint64_t i, uint64_t *random, bool *hot)
{
	uint32_t newest;

	*hot = true;
	switch (trace) {
	case TRACE_ZIPF:
		return replay_zipf(random, REPLAY_FILES);
	case TRACE_SCAN: /* one query after the other over everything, beside dashboards */
		*hot = replay_random(random) >> 63;
		return *hot ? (uint32_t)(replay_random(random) % REPLAY_HOT) :
			      (uint32_t)(REPLAY_HOT + i / 2 % (REPLAY_FILES - REPLAY_HOT));
	case TRACE_RECENT: /* new chunks come, and are what is asked for */
		newest = REPLAY_HOT + (uint32_t)(i * (REPLAY_FILES - REPLAY_HOT) / REPLAY_READS);
		*hot = replay_random(random) % 10 < 8;
		return *hot ? newest - (uint32_t)(replay_random(random) % REPLAY_HOT) :
			      (uint32_t)(i / 5 % (newest + 1));
	default:
		return (uint32_t)(i % REPLAY_FILES);
	}
}

/* FIFO and LRU: one list, the oldest at prev[0]; file f is node f + 1. */
struct replay_list {
	uint32_t prev[REPLAY_FILES + 1], next[REPLAY_FILES + 1];
	bool     held[REPLAY_FILES + 1];
	uint64_t bytes;
};

static inline void list_unlink(struct replay_list *l, uint32_t at)
{
	l->next[l->prev[at]] = l->next[at];
	l->prev[l->next[at]] = l->prev[at];
}

static inline void list_push(struct replay_list *l, uint32_t at)
{
	l->prev[at] = 0;
	l->next[at] = l->next[0];
	l->prev[l->next[0]] = at;
	l->next[0] = at;
}

static inline bool list_read(struct replay_list *l, bool lru, uint32_t file, uint64_t cache_bytes)
{
	uint32_t at = file + 1;

	if (l->held[at]) {
		if (lru) {
			list_unlink(l, at);
			list_push(l, at);
		}
		return true;
	}
	while (l->bytes + replay_size(file) > cache_bytes) {
		uint32_t victim = l->prev[0];

		list_unlink(l, victim);
		l->held[victim] = false;
		l->bytes -= replay_size(victim - 1);
	}
	list_push(l, at);
	l->held[at] = true;
	l->bytes += replay_size(file);
	return false;
}

static inline bool evict_read(struct cr_evict *e, uint32_t file, uint64_t cache_bytes)
{
	uint64_t hash = file;
	struct cr_evict_item victim;

	if (cr_evict_touch(e, &hash, 1))
		return true;
	while (cr_evict_victim(e, cache_bytes - replay_size(file), REPLAY_FILES, &victim))
		;
	if (cr_evict_add(e, hash, replay_size(file), false, NULL))
		abort(); /* there is a slot for every file */
	return false;
}

/* False: no memory. r->cache_bytes is more than any file has. */
static inline bool replay_run(enum replay_trace trace, enum replay_policy policy, struct replay *r)
{
	struct replay_list *l = calloc(1, sizeof(*l));
	struct cr_evict *e = NULL;
	uint64_t random = 88172645463325252u;
	struct cr_evict_stats stats;
	bool hot, hit, ok = l && cr_evict_open(REPLAY_FILES, &e) == 0;

	for (uint64_t i = 0; ok && i < REPLAY_READS; i++) {
		uint32_t file = replay_next(trace, i, &random, &hot);

		if (policy == POLICY_S3FIFO)
			hit = evict_read(e, file, r->cache_bytes);
		else
			hit = list_read(l, policy == POLICY_LRU, file, r->cache_bytes);
		r->reads++;
		r->hits += hit;
		r->hot_reads += hot;
		r->hot_hits += hit && hot;
		cr_evict_stats(e, &stats);
		if (stats.bytes > r->held_bytes_max)
			r->held_bytes_max = stats.bytes;
	}
	cr_evict_close(e);
	free(l);
	return ok;
}

#endif
