/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C kernels against each other and against ISA-L's crc32_iscsi(), in GB/s (10^9 bytes).
 *
 * Every round gives each contender one turn of about TURN_NS on the same buffer, so that whatever
 * else the machine does hits all of them alike. Shown: median, and the 10th and 90th percentile.
 */
#include <isa-l/crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "chunkring.h"
#include "crc32c.h"

#define TURN_NS        2000000u
#define WARM_UP_BYTES  (1u << 20)
#define ROUNDS_DEFAULT 101u
#define ROUNDS_MAX     1001u
#define CONTENDERS_MAX 8u
#define COMBINES       100000u

static const size_t sizes[] = { 4u << 10, 64u << 10, 256u << 10, 16u << 20 };
#define SIZES      (sizeof(sizes) / sizeof(sizes[0]))
#define BYTES_MAX  (16u << 20)
#define OFFSET_MAX 4096u

struct contender {
	const char *name;
	uint32_t (*update)(uint32_t crc, const void *p, size_t n);
	unsigned int calls; /* in one turn */
	double gbps[ROUNDS_MAX];
};

static volatile uint32_t sink;

static uint32_t isal(uint32_t crc, const void *p, size_t n)
{
	return ~crc32_iscsi((unsigned char *)(uintptr_t)p, (int)n, ~crc);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds of one call. The crc is carried on, so that calls can't overlap more than real ones
 * whose result is compared. */
static double turn(const struct contender *c, unsigned int calls, const uint8_t *p, size_t n)
{
	double start = now_ns();
	uint32_t crc = 0;
	unsigned int i;

	for (i = 0; i < calls; i++)
		crc = c->update(crc, p, n);
	sink = crc;
	return (now_ns() - start) / calls;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(struct contender *c, unsigned int contenders, unsigned int rounds,
		    const uint8_t *p, size_t n)
{
	unsigned int i, r, warm_up = 1 + (unsigned int)(WARM_UP_BYTES / n);
	double isal_median = 0;

	for (i = 0; i < contenders; i++)
		c[i].calls = 1 + (unsigned int)(TURN_NS / turn(&c[i], warm_up, p, n));
	for (r = 0; r < rounds; r++) {
		for (i = 0; i < contenders; i++)
			c[i].gbps[r] = (double)n / turn(&c[i], c[i].calls, p, n);
	}
	for (i = 0; i < contenders; i++) {
		double median;

		qsort(c[i].gbps, rounds, sizeof(c[i].gbps[0]), by_value);
		median = c[i].gbps[rounds / 2];
		if (i == 0)
			isal_median = median;
		printf("%8zu KiB  %-12s %7.2f  [%6.2f %6.2f]  %5.2f x ISA-L\n", n >> 10, c[i].name,
		       median, c[i].gbps[rounds / 10], c[i].gbps[rounds - 1 - rounds / 10],
		       median / isal_median);
	}
}

/* Every product waits for the one before it: this is latency, the worst a caller can see. */
static void measure_combine(const struct cr_crc32c_kernel *k)
{
	double start = now_ns();
	uint32_t crc = 1;
	unsigned int i;

	for (i = 0; i < COMBINES; i++)
		crc = cr_crc32c_combine_by(k, crc, i, 65000 + i % 1000);
	sink = crc;
	printf("combine of 64 KiB, %-12s %6.1f ns\n", k->name, (now_ns() - start) / COMBINES);
}

int main(int argc, char **argv)
{
	static struct contender contenders[CONTENDERS_MAX];
	unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : ROUNDS_DEFAULT;
	size_t offset = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	const struct cr_crc32c_kernel *const *k;
	unsigned int n = 0;
	size_t kernels, i;
	uint8_t *buf;

	k = cr_crc32c_kernels(&kernels);
	buf = aligned_alloc(OFFSET_MAX, BYTES_MAX + OFFSET_MAX);
	if (!buf || !rounds || rounds > ROUNDS_MAX || offset > OFFSET_MAX) {
		fprintf(stderr, "usage: %s [rounds [offset of the data in a page]]\n", argv[0]);
		return 2;
	}
	for (i = 0; i < BYTES_MAX + OFFSET_MAX; i++)
		buf[i] = (uint8_t)(i * 2654435761u >> 13);

	contenders[n++] = (struct contender){ .name = "isa-l", .update = isal };
	for (i = 0; i < kernels && n < CONTENDERS_MAX; i++) {
		if (k[i]->supported())
			contenders[n++] = (struct contender){ .name = k[i]->name,
							      .update = k[i]->update };
	}
	for (i = 1; i < n; i++) {
		if (contenders[i].update(1, buf + offset, 99999) != isal(1, buf + offset, 99999)) {
			fprintf(stderr, "%s is wrong\n", contenders[i].name);
			return 1;
		}
	}
	printf("chosen: %s; %u rounds; data at a page + %zu; GB/s: median [10 %% 90 %%]\n",
	       cr_crc32c_kernel(), rounds, offset);
	for (i = 0; i < SIZES; i++)
		measure(contenders, n, rounds, buf + offset, sizes[i]);
	for (i = 0; i < kernels; i++) {
		if (k[i]->supported())
			measure_combine(k[i]);
	}
	free(buf);
	return 0;
}
