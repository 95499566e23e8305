/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the walk share:
 *
 *	walk.c        threads, the folders given, the end
 *	walk_queue.c  units and spans on their way from the lister to the jobs
 *	walk_list.c   the lister: arguments and folders into units
 *	walk_job.c    the jobs: units into files, each told what it is
 *	walk_count.c  how many names there are, for the progress
 *	walk_foreign.c  folders that are not the store's
 *	walk_empty.c  arguments without a chunk
 *
 * The lister (the calling thread) reads the store directory and the tenants' folders. What it finds
 * it cuts into units: some files, or some folders of streams, which the jobs list themselves. Both
 * are taken in the order of their inode numbers, which on ext4 is nearly that on the disk: small
 * files are read several times faster cold.
 *
 * A span is what is sorted at once, and the grain of a resumed walk: the position in the state
 * moves on when all units of the first unfinished span are finished. So with a state spans are
 * small, and few are open: what an interrupt costs is bounded, in the order of the walk, by
 * SPANS_MAX of them.
 */
#ifndef CHUNKCTL_WALK_INNER_H
#define CHUNKCTL_WALK_INNER_H

#include <pthread.h>

#include "base/bytes.h"
#include "base/stop.h"
#include "names.h"
#include "state.h"
#include "walk.h"

#define SPANS_MAX 64u

struct span {
	struct state_at end;       /* what is finished with it */
	uint32_t        left;      /* units; walk_inner.mu */
	uint64_t        names;
	uint64_t        sums[SUMS_MAX];
	struct span  *next;      /* of all, in order */
};

struct unit {
	const struct root *root;
	char               prefix[CR_TENANT_BYTES_MAX + 1]; /* "" or a tenant */
	bool               folders;                      /* of streams; else files */
	struct names       names;
	struct span     *span;                       /* NULL: single files */
	uint64_t           sums[SUMS_MAX];
	struct unit       *next;
};

struct tally { /* of one argument's chunks; atomic */
	uint64_t taken, filtered;
};

struct walk_inner {
	pthread_mutex_t mu;
	pthread_cond_t  room, found;     /* for the lister, for the jobs */
	struct unit    *first, *last;
	uint32_t        queued, spans;
	bool            listed;          /* no more units come */
	struct span  *oldest, *newest; /* spans whose end is not in the state yet */
	uint64_t        done, total;     /* names of units, for the progress */
	bool            counted;
	struct root    *roots;
	struct root     files;           /* of single files */
	struct bytes    passed_over;     /* the first of them, for a message */
	uint32_t        n_roots;
	struct tally   *tallies;         /* of the roots, and behind them that of single files */
	uint32_t        judged_from;     /* roots before it are an earlier run's, or in part */
	bool            lists;           /* an argument is no folder */
};

/* Nothing more is to be begun. */
static inline bool walk_over(const struct walk *w)
{
	return stopped() || __atomic_load_n(&w->enough, __ATOMIC_RELAXED);
}

struct unit *unit_new(const struct root *root, const char *prefix, bool folders,
		      struct span *span);
void unit_put(struct walk *w, struct unit *u);
struct unit *unit_take(struct walk *w); /* NULL: no more come */
/* A unit that counts for this run only: of single files, or cut short by a stop. */
void unit_count(struct walk *w, const struct unit *u);
void unit_free(struct unit *u);
/* The span has one unit more than it is given: span_leave() without a unit takes it away. */
struct span *span_open(struct walk *w);
void span_enter(struct walk *w, struct span *x);
void span_leave(struct walk *w, struct span *x, const struct unit *u);
void span_pop(struct walk *w); /* takes the oldest away; mu is held, but at the end */

void walk_list(struct walk *w);
bool walk_is_file(const char *path); /* an argument that is no folder */
bool walk_wants_tenant(const struct walk *w, const struct root *root, const char *tenant);

struct walk_job { /* one thread's */
	struct walk *walk;
	void        *arg;  /* the command's */
	char        *list; /* LIST_BYTES */
	struct names names;
	struct bytes path;
};

/* A folder of the store directory that could not be read: whether no chunk can lie in it, and so
 * the walk passes it over, as Loki and chunkring do. */
bool walk_pass_over(struct walk *w, const struct root *root, const char *name, int err);
void walk_tell_passed_over(struct walk *w); /* one message, in the end */

void walk_tell_empty(struct walk *w); /* counts and complains, in the end */

void walk_do_unit(struct walk_job *j, struct unit *u);

void *walk_count(void *walk); /* a thread */

#endif
