/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the core share. One batch flows through them like this:
 *
 *	batch.c            cr_batch_read: waves of files; step "open" for all, one allocation callback,
 *	                   step "read" for all; what deserves another try, as a smaller wave
 *	wave.c             one step of a wave on the calling thread: it does what can't block and waits
 *	worker.c           the threads that may block, and how many of them there are
 *	lane.c             the queues between the two: files by what they wait for
 *	turn.c             what a thread has done for a wave and not told it yet
 *	backend_threads.c  a step of one file by plain system calls
 *	backend_uring.c    reads of many files by one thread
 *	file.c             decides what each result means: the only place that sets a status
 *	ends.c             which parts of a file are read, and whether they tell all that is in it
 *
 * block_read.c goes through the same calls with a batch of one, on the thread that called.
 *
 * Locking: ctx->mu guards everything that says "mu"; nothing else is shared. It is never held over a
 * system call on a file, nor over a callback.
 */
#ifndef CR_INTERNAL_H
#define CR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "limits.h"

/* For our own mistakes only, never for what a file or the system says. On in release builds: it
 * costs per file, not per byte. */
#define CR_ASSERT(cond) ((cond) ? (void)0 : __builtin_trap())

struct cr_wave;
struct cr_worker;

enum cr_file_state {
	FILE_IDLE = 0, /* before a step, and between the two */
	FILE_OPENING,
	FILE_READING,
	FILE_DONE,     /* its step is over */
};

/* One file of a wave. Owned by the thread that took it, from take to cr_turn_add(). */
struct cr_file {
	struct cr_req  *req;
	struct cr_wave *wave;
	struct cr_file *next;      /* in a lane */
	int             fd;        /* -1: none */
	uint32_t        got_bytes;
	uint32_t        crc;       /* of the bytes got so far */
	uint32_t        retries;
	uint32_t        advised_bytes; /* that the kernel knows to be wanted soon, from the start */
	uint8_t         state;     /* enum cr_file_state; set_state() in file.c is the only writer */
	uint8_t         tag;       /* backend_uring.c: tells its requests apart */
	bool            no_ring;   /* the ring failed to read it: plain calls have the last word */
	uint8_t         place;     /* in its worker's flying */
	uint8_t         tries;     /* before this one */
	bool            measure;   /* what fstat says of its size is not true: count its bytes */
	bool            grew;      /* out: it is longer than it was said to be, and deserves another try */
	bool            whole;     /* its ends did not tell what is in it */
	bool            more;      /* out: they did not, and it deserves another try: longer ones, or whole */
	uint8_t         ends_tries; /* with ends, before this one */
	uint32_t        head_bytes; /* > 0: these and the last tail_bytes of it are read, one behind the other */
	uint32_t        tail_bytes;
};

enum cr_step { STEP_OPEN, STEP_READ };

/* What a file waits for. */
enum cr_lane {
	LANE_TRY,   /* to be looked at: whoever takes it may not block */
	LANE_BLOCK, /* a thread that may block */
	LANE_RING,  /* a thread with a ring; reads only */
	LANES
};

/* Files that wait for the same, first in, first out. */
struct cr_list {
	struct cr_file *first, *last;
	uint32_t        n;
};

/* Some files of a batch, as many as may be open at a time, in one of their two steps. On the caller's
 * stack. */
struct cr_wave {
	struct cr_ctx   *ctx;
	struct cr_batch *batch;
	struct cr_file  *files;
	uint32_t         n;
	enum cr_step     step;
	uint64_t         deadline_ns;   /* CLOCK_MONOTONIC; 0 = none */
	uint32_t         slice;         /* files that are tried at a time */
	bool             shared;        /* in LANE_TRY: others help to try */
	uint32_t         next;          /* mu if shared: first file that nobody has tried in this step */
	struct cr_list   waiting[LANES]; /* mu; LANE_TRY is next .. n instead */
	struct cr_wave  *lane_prev[LANES], *lane_next[LANES]; /* mu; NULL: not in that lane */
	_Atomic uint32_t left;          /* files whose step is not over; lowered under mu by all but the
					 * caller, so that the wave ends only after the last thread has
					 * let go of it */
	pthread_cond_t   over;          /* left became 0 */
};

/*
 * What a thread has done for a wave and not told it yet: cr_turn_flush() tells. A turn has files of one
 * wave at a time.
 */
struct cr_turn {
	struct cr_wave *wave;
	uint32_t        done;                   /* files whose step is over */
	uint32_t        ready[CR_WINDOW_FILES]; /* good ones, for the batch's callback */
	uint32_t        n_ready;
	int             fds[CR_WINDOW_FILES];   /* to close */
	uint32_t        n_fds;
	struct cr_list  cold[LANES];            /* files for another thread */
};

/*
 * A back-end is one const table in one file. The core never asks which one runs.
 *
 * open and read are plain system calls. With wait false they never block: -EAGAIN is then the answer of
 * what would. They may be called by any thread.
 *
 * The others are a ring: one thread's way to read many files at a time (NULL, in a back-end without).
 * All are called by that thread, but for ring_close, which may be another's after the thread has ended.
 * ring_start: begins reads of n files, no more than w->window has room for.
 * ring_reap:  handles what has completed; wait: blocks until something has, a signal came or
 *             CR_RING_LOOK_NS passed. Called with w->in_flight > 0.
 * Both finish files, in any order, by cr_turn_add(&w->turn, ...); a file counts in w->in_flight from start
 * until then. They return 0, or -errno where the ring has refused to go on: the thread must end then
 * before anything else touches the files in w->flying, for only its end stops the kernel.
 */
struct cr_backend_ops {
	const char *name;
	int     (*open)(struct cr_file *f, bool wait);                     /* fd or -errno */
	/* bytes or -errno */
	int64_t (*read)(const struct cr_file *f, void *to, uint32_t ask, uint64_t off, bool wait);
	int     (*ring_open)(struct cr_worker *w, const char **step); /* 0 or -errno and what failed */
	int     (*ring_start)(struct cr_worker *w, struct cr_list *files);
	int     (*ring_reap)(struct cr_worker *w, bool wait);
	void    (*ring_close)(struct cr_worker *w);
};

extern const struct cr_backend_ops cr_uring_ops, cr_threads_ops;

enum cr_worker_state {
	WORKER_NONE = 0, /* no thread */
	WORKER_RUNS,
	WORKER_ENDED,    /* its thread has ended or is about to, and waits to be joined */
	WORKER_REFUSED,  /* the same, with files in its ring that are to be read by others then */
	WORKER_JOINED,   /* by the thread that sees to these files */
};

/* A thread of the context. */
struct cr_worker {
	struct cr_ctx    *ctx;
	pthread_t         thread;
	enum cr_worker_state state;     /* mu */
	enum cr_lane      lane;         /* LANE_RING, or LANE_BLOCK, which does what LANE_TRY has, too */
	pthread_cond_t    wake;
	bool              woken;        /* mu */
	struct cr_worker *next_idle;    /* mu */
	struct cr_turn    turn;
	/* with a ring */
	void             *ring;         /* the back-end's own */
	uint32_t          window;       /* most files in flight */
	uint32_t          in_flight;
	struct cr_file   *flying[CR_WINDOW_FILES]; /* the first in_flight ones */
};

/* Threads that do nothing; the last that fell asleep is the first to be woken, so that those which are
 * not needed sleep on and end. */
struct cr_idle {
	struct cr_worker *first;
	uint32_t          n;
};

enum cr_read_ahead { READ_AHEAD_UNKNOWN = 0, READ_AHEAD_YES, READ_AHEAD_NO };

struct cr_ctx {
	int                          dir_fd;
	uint32_t                     cpus;           /* usable ones when it was opened */
	uint32_t                     file_bytes_max;
	uint32_t                     open_files_max;
	uint32_t                     page_bytes;
	uint32_t                     ring_entries;
	uint32_t                     threads_max;    /* of all kinds, the kernel's included */
	uint32_t                     rings_max;      /* threads with a ring, */
	uint32_t                     ring_threads_max; /* ... and what the kernel may start for them */
	uint32_t                     blocked_max;    /* threads that may block */
	const struct cr_backend_ops *ops;
	_Atomic int                  backend_errno;  /* why io_uring does not run */
	const char *_Atomic          backend_step;
	_Atomic bool                 ring_off;       /* no ring, or given up for good */
	_Atomic uint32_t             ring_wrong;     /* reads in a row that only a plain call could do, */
	_Atomic int                  ring_wrong_errno; /* ... and what the ring said */
	_Atomic bool                 no_openat2;     /* refused once: component-wise from then on */
	_Atomic bool                 no_cached_open; /* kernels before 5.12 */
	_Atomic bool                 no_cachestat;   /* kernels before 6.5, and overlayfs */
	_Atomic uint32_t             read_ahead;     /* enum cr_read_ahead: is it worth telling the kernel what comes */
	_Atomic uint32_t             slow_streak;    /* opens in a row that should not have blocked and took long */
	_Atomic uint32_t             slow_opens;     /* so many opens are not tried: they would block */

	pthread_mutex_t              mu;
	pthread_cond_t               fds_free;       /* open_files went down */
	struct cr_wave              *lanes[LANES];   /* mu: rings of waves with files in that lane */
	uint32_t                     queued[LANES];  /* mu: files in LANE_BLOCK and LANE_RING; waves in
						      * LANE_TRY */
	struct cr_idle               idle[LANES];    /* mu: LANE_BLOCK and LANE_RING */
	uint32_t                     threads[LANES]; /* mu: that run, the same */
	uint32_t                     waking;         /* mu: LANE_BLOCK threads that were woken or started and
						      * have not looked yet */
	uint32_t                     starting;       /* mu: of threads[LANE_BLOCK], which may not come to be */
	pthread_cond_t               started;        /* starting went down */
	uint64_t                     block_ns;       /* mu: how long calls that block take here */
	uint64_t                     window_ns;      /* mu: when the present CR_BLOCK_WINDOW_NS began, */
	uint64_t                     shortest_ns;    /* ... the shortest call in it, */
	uint64_t                     before_ns;      /* ... and in the one before */
	uint64_t                     last_call_ns;   /* mu: when one ended or began with none under way */
	uint64_t                     no_thread_until_ns; /* mu: the system had none to give */
	bool                         refused;        /* mu: a worker is WORKER_REFUSED */
	uint32_t                     open_files;     /* mu: descriptors promised to waves */
	bool                         stopping;       /* mu */
	struct cr_worker             workers[CR_WORKERS_MAX];
};

/* ctx.c: as cr_ctx_open, trying the given back-ends in order; for tests. */
int cr_ctx_open_with(const char *dir, const struct cr_options *opt,
		     const struct cr_backend_ops *const *order, struct cr_ctx **out);

/* thread_limit.c: how many threads the process may have at most, by RLIMIT_NPROC and its control
 * groups' pids.max; UINT32_MAX: no limit. */
uint32_t cr_thread_limit(void);

/* batch.c: descriptors that all batches may hold together. Returns how many of want (at least one) the wave may
 * open; 0 when it was stopped while it waited. */
uint32_t cr_files_promise(struct cr_wave *wave, uint32_t want);
void     cr_files_give_back(struct cr_ctx *ctx, uint32_t n);

/* stop.c */
uint64_t cr_now_ns(void); /* CLOCK_MONOTONIC, as all conditions that are waited on with a time */
struct timespec cr_time_after(uint64_t ns); /* by that clock */
bool     cr_wave_stopped(const struct cr_wave *wave, enum cr_status *why);

/* wave.c: on the calling thread; returns when the step is over for every file. */
void cr_step_run(struct cr_wave *wave, enum cr_step step);

/* lane.c; mu is held. */
void     cr_list_add(struct cr_list *list, struct cr_file *f);
struct cr_file *cr_list_take(struct cr_list *list);
void     cr_lane_post(struct cr_wave *wave, enum cr_lane lane, struct cr_list *files); /* empties files */
void     cr_lane_share(struct cr_wave *wave); /* puts it into LANE_TRY */
uint32_t cr_lane_try(struct cr_wave *wave, struct cr_file **files); /* the next slice; without mu if the
								      * wave is not shared */
uint32_t cr_lane_take_try(struct cr_ctx *ctx, struct cr_file **files); /* of the wave in turn */
struct cr_file *cr_lane_take(struct cr_ctx *ctx, enum cr_lane lane);   /* the same; NULL: none */
struct cr_file *cr_lane_take_own(struct cr_wave *wave, enum cr_lane lane);

/* turn.c */
enum cr_next {
	NEXT_AGAIN, /* do the same once more */
	NEXT_DONE,  /* the step is over */
	NEXT_BLOCK, /* for a thread that may block */
	NEXT_RING,  /* for a thread with a ring */
};
void cr_turn_add(struct cr_turn *turn, struct cr_file *f, enum cr_next next); /* not NEXT_AGAIN */
void cr_turn_close(struct cr_turn *turn);
void cr_turn_flush(struct cr_turn *turn);

/* worker.c */
int  cr_workers_start(struct cr_ctx *ctx, const char **step); /* 0 or -errno and what failed */
void cr_workers_stop(struct cr_ctx *ctx);
void cr_workers_call(struct cr_ctx *ctx); /* mu is held, and let go of for a moment: wakes or starts threads for what
					   * waits, as many as the storage is worth */
void cr_workers_help(struct cr_ctx *ctx, uint32_t n); /* the same for n that help to try */
void cr_workers_watch(struct cr_ctx *ctx); /* the same, after a look at how long threads have been blocked */

void cr_ring_leave(struct cr_ctx *ctx, int err, const char *step); /* for good; mu is held */
void cr_ring_was_wrong(struct cr_ctx *ctx); /* a plain call read what a ring could not */

/* backend_threads.c: the file's step by plain system calls, as far as it goes. wait: it may block; else
 * NEXT_BLOCK and NEXT_RING are answers, too. */
enum cr_next cr_file_run(struct cr_file *f, bool wait);
int     cr_plain_open(struct cr_file *f, bool wait);
int64_t cr_plain_read(const struct cr_file *f, void *to, uint32_t ask, uint64_t off, bool wait);
/* Whether the page cache has all of a part of the file, by a system call that reads nothing; false where nobody
 * can tell. */
bool    cr_plain_cached(const struct cr_file *f, uint64_t off, uint64_t bytes);
/* Has the kernel fetch a part of the file, where reads go through the page cache. It does not wait for it, but may
 * block all the same. backward: its end first. */
void    cr_plain_fetch(const struct cr_file *f, uint64_t off, uint64_t bytes, bool backward);
/* A read of the file through the page cache, or past it: of off gave got bytes. */
void    cr_plain_learn(const struct cr_file *f, uint64_t off, uint64_t got);

/* file.c: what a result means. Pure of IO but for fstat, and reads behind the end that a file was said to
 * have. A file whose status is set may still be open: cr_turn_add() sees to it. */
enum cr_next cr_file_begin(struct cr_file *f);           /* NEXT_AGAIN: go ahead */
enum cr_next cr_file_opened(struct cr_file *f, int res, bool wait); /* fd or -errno */
enum cr_next cr_file_read(struct cr_file *f, int64_t res, int64_t asked, bool wait); /* bytes or -errno */
enum cr_next cr_file_judge(struct cr_file *f, bool wait); /* all its bytes are there */
uint64_t     cr_file_off(const struct cr_file *f);       /* in the file, of the next read, */
void        *cr_file_to(const struct cr_file *f);        /* ... where its bytes go, */
uint32_t     cr_file_ask(const struct cr_file *f);       /* ... and how many it asks for: 0, all are there */
void         cr_file_reset(struct cr_file *f);           /* DONE -> IDLE, between steps */
void         cr_file_fail(struct cr_file *f, enum cr_status status, int os_errno);
void         cr_file_stop(struct cr_file *f, enum cr_status why); /* one that waits in a lane: its step is over */

enum cr_status cr_file_open_status(int err); /* of a file that could not be opened */

/* ends.c */
enum cr_ends_next {
	ENDS_GOOD,
	ENDS_MORE,  /* longer ones, or the whole file: f says which */
	ENDS_BLOCK, /* for a thread that may block */
	ENDS_STOP,  /* the batch was stopped meanwhile */
};
void cr_ends_plan(struct cr_file *f); /* its size is known: which parts of it are to be read */
enum cr_ends_next cr_ends_judge(struct cr_file *f, bool wait);

/* path.c */
bool cr_path_ok(const char *path, uint32_t path_bytes);
int  cr_path_open(struct cr_ctx *ctx, const char *path); /* fd or -errno; contained, blocking */
int  cr_path_open_cached(struct cr_ctx *ctx, const char *path); /* -EAGAIN where it would block; -EOPNOTSUPP
								 * where nobody can tell */
int  cr_path_open_waiting(struct cr_ctx *ctx, const char *path); /* regular files only; waits for a lease */

#endif
