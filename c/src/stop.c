/* SPDX-License-Identifier: Apache-2.0 */
/* The clock, and when a batch is to begin nothing new: its time has passed, or its caller has given up. */
#include <time.h>

#include "internal.h"

uint64_t cr_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct timespec cr_time_after(uint64_t ns)
{
	uint64_t then = cr_now_ns() + ns;

	return (struct timespec){ (time_t)(then / 1000000000u), (long)(then % 1000000000u) };
}

bool cr_wave_stopped(const struct cr_wave *wave, enum cr_status *why)
{
	const uint32_t *cancel = wave->batch->cancel;

	if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) {
		*why = CR_CANCELED;
		return true;
	}
	if (wave->deadline_ns && cr_now_ns() >= wave->deadline_ns) {
		*why = CR_TIMED_OUT;
		return true;
	}
	return false;
}
