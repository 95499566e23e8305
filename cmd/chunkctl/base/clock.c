/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

#include <sys/resource.h>
#include <time.h>

#include "stop.h"

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

#define NAP_NS (100 * NS_PER_MS) /* how soon a sleeper notices that it is to stop */

void sleep_until_ns(uint64_t until)
{
	for (uint64_t now = now_ns(); now < until && !stopped(); now = now_ns()) {
		uint64_t left = until - now < NAP_NS ? until - now : NAP_NS;
		struct timespec ts = { .tv_nsec = (long)left };

		nanosleep(&ts, NULL);
	}
}

double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
