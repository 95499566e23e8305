/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of chunkctl verify share:
 *
 *	verify.c          options; what the walk and the scan find
 *	verify_settle.c   another look at files that were being written
 *	verify_summary.c  what is said in the end
 */
#ifndef CHUNKCTL_VERIFY_H
#define CHUNKCTL_VERIFY_H

#include <pthread.h>

#include "base/out.h"
#include "chunk/findings.h"
#include "store/scan.h"
#include "store/state.h"
#include "store/walk.h"

/* Counters of a walk's units; state files hold them by number: state.c's version goes up with a
 * change. */
enum sum {
	SUM_FILES, /* checked */
	SUM_BYTES, SUM_ENTRIES,
	SUM_ERROR, SUM_PARTIAL, SUM_WARNING, /* files, by their worst finding */
	SUM_FINDINGS, SUM_TEMPORARY, SUM_OTHER, SUM_VANISHED, SUM_UNNAMED,
	SUM_ENDS, SUM_UNCHECKED, /* files whose blocks nobody looked at, and the bytes of these */
	SUM_UNREADABLE, /* files and folders that the system did not let us read: no findings */
	SUM_KIND, /* and enum finding_kind */
};

_Static_assert(SUM_KIND + FINDING_COUNT <= SUMS_MAX, "every kind has a counter");

struct again { /* a file to look at again */
	const char *root;    /* an argument */
	uint32_t    root_no;
	char       *file;    /* below it */
	int64_t     mtime_ns;
	uint32_t    tries;
	uint64_t    due_ns;
};

struct verify {
	struct walk        walk;
	struct scan_shared scan;
	struct out         out;
	struct state       state;
	bool               json, quiet, colours;
	uint64_t           settle_ns, begin_ns;
	pthread_mutex_t    mu;
	struct again      *again; /* mu */
	uint32_t           n_again, cap_again;
	uint64_t           busy;  /* files that never came to rest */
	uint64_t           files, bytes, findings; /* atomic; for the progress: bytes read */
	uint64_t           sums[SUMS_MAX]; /* what was looked at again, and earlier runs */
};

/* Counts and prints what is wrong with a file; nothing where f is NULL or empty. */
void verify_publish(struct verify *v, uint64_t *sums, const char *root, const char *path,
		    const struct cr_key *key, uint64_t size, const struct findings *f);

/* The same for what could not be read, so that nothing is known about it. err: an errno, or 0. */
void verify_unreadable(struct verify *v, uint64_t *sums, const char *root, const char *path,
		       const struct cr_key *key, int err, const char *why);

/* Whether a file that does not check out deserves another look, which settle() gives it: it was
 * written just now, or another program held a lease on it. *gone: it is not there any more and
 * counts for nothing. */
bool unsettled(struct verify *v, const struct found *f, bool leased, bool *gone);
void settle(struct verify *v);
/* Files that an interrupted run had not settled: out of the state, and into it. */
void settle_load(struct verify *v);
void settle_save(struct verify *v);
void settle_free(struct verify *v);

/* Prints it; returns the exit code. */
int verify_summary(struct verify *v);

#endif
