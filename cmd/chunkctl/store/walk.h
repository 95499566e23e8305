/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store directories into chunk names, with bounded memory whatever their size: one thread lists,
 * `jobs` threads work on what it found, in units. Both layouts, all tenants; what else Loki keeps in
 * the same directory (index/, rules/, loki_cluster_seed.json, ...) is left alone.
 */
#ifndef CHUNKCTL_WALK_H
#define CHUNKCTL_WALK_H

#include "base/common.h"

#define JOBS_MAX  64u
#define ROOTS_MAX 1024u
#define QUARANTINE_DIR ".chunkctl-quarantine" /* in a store: not walked into */
#define SUMS_MAX  64u /* counters that a command keeps per unit */

struct root {
	const char *path;   /* as given; "/" for single files */
	int         fd;
	uint32_t    no;     /* ROOTS_MAX: of single files */
	char        tenant[CR_TENANT_BYTES_MAX + 1]; /* its own last two components, in case it is a */
	char        fp[CR_TENANT_BYTES_MAX + 1];     /* tenant's or a stream's folder itself */
};

enum found_kind {
	FOUND_CHUNK,     /* key is set, but for single files with another name */
	FOUND_TEMPORARY, /* of PutChunks, before its rename */
	FOUND_NAME,      /* among the chunks, with a name that is none */
	FOUND_MISPLACED,
	FOUND_SYMLINK,
	FOUND_SPECIAL,   /* a FIFO, a socket, a device */
	FOUND_OTHER,     /* not a chunk and not in their way */
	FOUND_TROUBLE,   /* a folder that can't be read, a name whose type can't be told: err */
};

struct found {
	enum found_kind    kind;
	const struct root *root;
	const char        *path; /* relative to the root; valid during the call */
	const struct cr_key  *key;  /* or NULL */
	int                err;
	uint64_t          *sums; /* SUMS_MAX counters of this unit, see walk_sums() */
};

struct filter {
	const char **tenants; /* n_tenants 0: all */
	uint32_t     n_tenants;
	int64_t      since_ms, until_ms; /* chunks that overlap [since, until) */
	bool         timed;
};

bool filter_takes(const struct filter *f, const struct cr_key *key);

struct state; /* state.h */

struct walk {
	/* in */
	const char   **args;  /* directories, files, "-" for a list on standard input */
	uint32_t       n_args;
	bool           nul;   /* that list ends its names with NUL, not newline */
	bool           quiet; /* no word on what was passed over */
	bool           allow_empty; /* no word on arguments without a chunk */
	struct filter  filter;
	uint32_t       jobs;
	struct state  *state; /* or NULL */
	bool           enough; /* atomic; a command sets it to end the walk early: finished all the same */
	void          *arg;
	void        *(*open)(void *arg);  /* once a job, on its thread; NULL: the job is arg */
	void         (*file)(void *job, const struct found *f);
	void         (*unit_end)(void *job); /* returns when all files it was given are finished; or NULL */
	void         (*close)(void *job);    /* or NULL */
	/* out, final after walk_run() */
	uint64_t       empty;    /* arguments without a chunk (that the filter takes) */
	uint64_t       filtered; /* chunks that the filter left out */
	bool           trouble;  /* an argument or a folder could not be read; complained of */
	uint64_t       unreadable; /* folders of the store that could not be read; complained of */
	uint64_t       passed_over; /* folders that could not be read, and can't hold chunks */
	bool           finished; /* not stopped */
	uint64_t       sums[SUMS_MAX]; /* of all units that are finished */
	struct walk_inner *inner;
};

/* Runs to the end or until stopped(). */
void walk_run(struct walk *w);

/* Thread-safe while it runs: units of progress done and in all (0: still counting). */
void walk_progress(struct walk *w, uint64_t *done, uint64_t *total);

#endif
