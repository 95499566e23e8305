/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks. */
#ifndef CHUNKCTL_CLOCK_H
#define CHUNKCTL_CLOCK_H

#include "common.h"

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

uint64_t now_ns(void);    /* monotonic */
int64_t  wall_ns(void);   /* since 1970 */
void     sleep_until_ns(uint64_t monotonic_ns); /* ends early when stopped() */
double   cpu_seconds(void);

#endif
