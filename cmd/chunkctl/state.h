/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an interrupted walk goes on: a small text file, replaced atomically while the walk runs.
 * For every folder that was listed in part it has the position up to which all is finished.
 */
#ifndef CHUNKCTL_STATE_H
#define CHUNKCTL_STATE_H

#include "util.h"
#include "walk.h"

#define STATE_PENDING_MAX 65536u

struct state_dir { /* a folder that is listed: the store or a tenant */
	char    *name;   /* "ROOT-NUMBER/" and the tenant, or just that */
	int64_t  off;    /* everything before is finished */
	bool     done;
};

struct state {
	const char       *path;
	char             *options;   /* another walk's state must not be taken for this one's */
	struct state_dir *dirs;
	uint32_t          n_dirs, cap_dirs;
	uint64_t          sums[SUMS_MAX];
	char            **pending;   /* files to look at again, absolute */
	uint32_t          n_pending;
	uint64_t          saved_ns;
	bool              resumed;
};

/* Reads path if it is there. False, with a complaint, where it is not ours or can't be read. */
bool state_open(struct state *st, const char *path, const char *options);
/* Its number in dirs; made if it is new. */
uint32_t state_dir(struct state *st, const char *name);
bool state_save(struct state *st); /* complains */
void state_pending(struct state *st, const char *path);
void state_remove(struct state *st); /* the walk is finished */
void state_free(struct state *st);

#endif
