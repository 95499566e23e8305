/* SPDX-License-Identifier: Apache-2.0 */
/* One line on a terminal's stderr that shows how far a walk is. */
#ifndef CHUNKCTL_PROGRESS_H
#define CHUNKCTL_PROGRESS_H

#include "common.h"

struct progress_now {
	uint64_t files, bytes, findings;
	uint64_t done, total; /* in whatever the walk counts by; total 0: not known yet */
};

typedef void (*progress_fn)(void *arg, struct progress_now *out);

/* Starts drawing a few times a second, if stderr is a terminal. ask must be thread-safe. */
void progress_start(progress_fn ask, void *arg, bool wanted);
void progress_stop(void); /* and takes the line away */
bool progress_runs(void);

#endif
