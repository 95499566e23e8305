/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an interrupted walk goes on: a small text file, replaced atomically while the walk runs. A
 * walk has one order (roots, in each its own files and then its tenants by name, in each folder the
 * file system's order), so one position tells all that is finished.
 */
#ifndef CHUNKCTL_STATE_H
#define CHUNKCTL_STATE_H

#include "walk.h"

#define STATE_PENDING_MAX 65536u

#define STATE_END_OF_FOLDER INT64_MAX /* what ext4 and btrfs say themselves */

struct state_at {
	uint32_t root;
	char     tenant[CR_TENANT_BYTES_MAX + 1]; /* "": the root's own files */
	int64_t  off;                          /* in that folder: what comes before it is finished */
};

struct state_pending { /* a file to look at again */
	uint32_t root;
	char    *file;
};

struct state {
	const char       *path;
	char             *options;   /* another walk's state must not be taken for this one's */
	uint32_t          n_roots;
	struct state_at   at;
	uint64_t          names;     /* of finished units, for the progress */
	uint64_t          sums[SUMS_MAX];
	struct state_pending *pending;
	uint32_t          n_pending;
	uint64_t          saved_ns;
	bool              resumed;
};

/* Reads path if it is there. False, with a complaint, where it is not ours or can't be read. */
bool state_open(struct state *st, const char *path, const char *options, uint32_t n_roots);
bool state_save(struct state *st); /* complains */
void state_pending(struct state *st, uint32_t root, const char *file);
void state_remove(struct state *st); /* the walk is finished */
void state_free(struct state *st);

#endif
