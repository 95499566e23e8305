/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel in memory under the library: files, descriptors, a clock and io_uring, in which things go
 * wrong as a seed says. The library's own calls come here through the linker's --wrap (Makefile,
 * WRAP_test_sim), so back-ends, containment and batches run as they are shipped.
 *
 * What happens to a file follows from the seed, the file and how often it was touched, whatever
 * the threads do. Time passes with calls and, where all wait for it, by leaps.
 */
#ifndef CR_SIM_KERNEL_H
#define CR_SIM_KERNEL_H

#include "fixture.h"

#define SIM_FILES_MAX 400u
#define SIM_NAME_BYTES 32u

/* What becomes of a file besides what becomes of all. */
enum sim_fate {
	SIM_PLAIN,
	SIM_MISSING,
	SIM_DIRECTORY,
	SIM_OPEN_FAILS,  /* err, the first times */
	SIM_STAT_FAILS,  /* err */
	SIM_READ_FAILS,  /* err, times, from read number at on */
	SIM_SHRINKS,     /* to other_bytes, before read number at */
	SIM_GROWS,       /* the same */
	SIM_REPLACED,    /* by rename, before open or read number at: what is open stays */
	SIM_OVERWRITTEN, /* in place, before read number at */
	SIM_LIES,        /* fstat says other_bytes */
	SIM_GROWS_ON,    /* at every read, up to other_bytes */
	SIM_FATES
};

#define SIM_ALWAYS UINT32_MAX

struct sim_file {
	char          name[SIM_NAME_BYTES];
	enum sim_fate fate;
	uint32_t      bytes, other_bytes;
	int           err;
	uint32_t      times, at;
	uint32_t      opens, reads, calls; /* so far */
	uint32_t      late_reads;          /* that gave bytes after the batch was canceled */
	uint32_t      late_looks;          /* places that were looked at after that by calls that may block, */
	uint64_t      late_off;            /* ... and the last of them */
	bool          changed;             /* what fate says has happened */
	bool          chunk;               /* its content is a chunk, */
	uint32_t      chunk_bytes;         /* ... of about so many, */
	bool          damaged;             /* ... with a bit flipped that is no block's */
	struct sim_inode *inode;           /* what the name stands for */
};

/* Chances are of 1024. */
struct sim_plan {
	uint64_t seed;
	uint32_t short_read, eintr, eagain, canceled, close_fails;
	uint32_t late;            /* a completion waits for a later round */
	uint32_t refused;         /* io_uring_enter: EAGAIN, EBUSY, ENOMEM, EINTR */
	uint32_t refuses_from;    /* ... and from this round of each ring on with refuses_errno, for ever */
	int      refuses_errno;
	uint32_t ring_wrong;      /* a read in a ring says EOPNOTSUPP */
	uint32_t no_thread;       /* pthread_create: EAGAIN */
	uint32_t part;            /* ... takes only some */
	uint32_t cq_entries;      /* 0: as the kernel does. Fewer overflow sooner */
	uint32_t uncached;        /* openat2(RESOLVE_CACHED), preadv2(RWF_NOWAIT) say EAGAIN */
	uint32_t slow;            /* calls that may block do so for slow_ns */
	uint64_t slow_ns;
	uint32_t unknown_flags;   /* IORING_SETUP_* */
	int      setup_err;       /* of every io_uring_setup */
	bool     no_restrictions, no_openat2, no_cached, no_nowait, no_cachestat, no_close_range;
	bool     overlayfs;       /* the store's file system: cachestat(2) lies */
	size_t   no_memory_for;   /* malloc of so many bytes fails */
	uint32_t duplicate;       /* a completion comes twice */
	uint32_t cancel_at;       /* the call at which *cancel is set; 0: never */
	uint32_t cancel_at_cut;   /* ... or the read that gives a part: its file has begun and is not whole */
	uint32_t *cancel;
};

extern struct sim_plan sim_plan;
extern const int       sim_crashes[5]; /* signals */
extern struct sim_file sim_files[SIM_FILES_MAX];
extern uint32_t        sim_n_files;
extern _Atomic uint32_t sim_duplicated;

/* Asked at every read: may the library write there now? */
extern bool (*sim_buffer_live)(const void *buf, size_t bytes);

/* From now on, or not any more, this thread may block, and reads on whoever cancels a batch. */
void sim_may_block(bool may);

void sim_begin(const struct sim_plan *plan); /* no files; from here on calls come to the simulation */
struct sim_file *sim_file_add(const char *name, uint32_t bytes, enum sim_fate fate);
/* The same of a chunk, of about that many bytes. */
struct sim_file *sim_chunk_add(const char *name, uint32_t bytes, enum sim_fate fate);
uint32_t sim_content_bytes(const struct sim_file *f, uint32_t version); /* of a chunk */
void sim_end(void);                          /* nothing may be left; calls go to the system again */

uint32_t sim_open_fds(void);  /* of files; the store's own directory is not counted */
uint32_t sim_threads(void);   /* of the library */
uint32_t sim_pending(void);   /* requests in simulated rings */
uint64_t sim_calls(void);     /* simulated calls since sim_begin() */
uint64_t sim_timeouts(void);  /* waits that came to their end without a signal, the same */

/* Content of version 0 (first) or 1 (replaced, overwritten) of a file. */
void sim_content(const struct sim_file *f, uint32_t version, uint8_t *out, size_t bytes);

/* ---- sim_watch.c ---- */

void sim_watch(struct cr_ctx *ctx);        /* from now on; NULL: none */
void sim_watch_call(void);                 /* the library makes a call */
void sim_watch_start(void);                /* it starts a thread, which counts already */
/* It begins a wait, or that came to its end without a signal. mu is held. */
void sim_watch_wait(pthread_cond_t *cond, const pthread_mutex_t *mu);
void sim_watch_timeout(pthread_cond_t *cond, const pthread_mutex_t *mu);

#endif
