/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often a cache of chunk files has what is read, by how it evicts; and what a decision and a file cost.
 * Prints tables; with a file name, writes the hit ratios there as JSON, for bench/mkreport.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "evict_replay.h"

static const double parts[] = { 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9 }; /* of all files' bytes */
#define PARTS     (sizeof(parts) / sizeof(parts[0]))
#define COST_FILES (1u << 20)

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static long resident_kib(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : 0;
}

static double hot_ratio(const struct replay *r)
{
	return (double)r->hot_hits / (double)r->hot_reads;
}

/* One trace: a row a size of the cache, a column a policy. */
static bool print_trace(enum replay_trace trace, uint64_t bytes, FILE *json)
{
	printf("\n%s: %% of reads (but the scan's) that hit\n%8s", replay_traces[trace], "cache");
	for (unsigned int p = 0; p < POLICIES; p++)
		printf(" %9s", replay_policies[p]);
	for (size_t i = 0; i < PARTS; i++) {
		printf("\n%6.0f %%", parts[i] * 100);
		for (unsigned int p = 0; p < POLICIES; p++) {
			struct replay r = { .cache_bytes = (uint64_t)((double)bytes * parts[i]) };

			if (!replay_run(trace, p, &r))
				return false;
			printf(" %9.1f", hot_ratio(&r) * 100);
			if (json)
				fprintf(json, "%s\n  {\"trace\": \"%s\", \"policy\": \"%s\", \"cache\": %g, \"hits\": %.4f}",
					trace || p || i ? "," : "", replay_traces[trace], replay_policies[p],
					parts[i], hot_ratio(&r));
		}
	}
	printf("\n");
	return true;
}

static bool print_cost(void)
{
	long before = resident_kib();
	uint64_t random = 1, hash;
	struct cr_evict_item victim;
	struct cr_evict *e;
	double start, fill, hit, evict;

	if (cr_evict_open(COST_FILES, &e) != 0)
		return false;
	start = now_ns();
	for (uint64_t i = 0; i < COST_FILES; i++)
		cr_evict_add(e, i, 1, false, NULL);
	fill = now_ns() - start;
	start = now_ns();
	for (uint64_t i = 0; i < COST_FILES; i++) {
		hash = replay_random(&random) % COST_FILES;
		cr_evict_touch(e, &hash, 1);
	}
	hit = now_ns() - start;
	start = now_ns();
	for (uint64_t i = 0; i < 2 * COST_FILES; i++) { /* as many that went are remembered */
		cr_evict_victim(e, 0, 0, &victim);
		cr_evict_add(e, COST_FILES + i, 1, false, NULL);
	}
	evict = now_ns() - start;
	printf("\n%u files: %.0f ns to add one, %.0f to use one, %.0f to evict one and add another; %.1f bytes of memory a file\n",
	       COST_FILES, fill / COST_FILES, hit / COST_FILES, evict / (2.0 * COST_FILES),
	       (double)(resident_kib() - before) * 1024 / COST_FILES);
	cr_evict_close(e);
	return true;
}

int main(int argc, char **argv)
{
	FILE *json = argc > 1 ? fopen(argv[1], "w") : NULL;
	bool ok = (argc < 2 || json) && print_cost();

	if (ok)
		printf("\n%u files, %.1f GB, %u reads\n", REPLAY_FILES, (double)replay_bytes_all() / 1e9, REPLAY_READS);
	if (json)
		fprintf(json, "[");
	for (unsigned int t = 0; ok && t < TRACES; t++)
		ok = print_trace(t, replay_bytes_all(), json);
	if (json) {
		fprintf(json, "\n]\n");
		ok = fclose(json) == 0 && ok;
	}
	if (!ok)
		fprintf(stderr, "bench-evict: no memory, or %s can't be written\n", argc > 1 ? argv[1] : "the table");
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
