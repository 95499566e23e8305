/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the core share. One batch flows through them like this:
 *
 *	batch.c    cr_batch_read: waves; step "open" for all files, one allocation callback, step
 *	           "read" for all files
 *	worker.c   a thread (pool thread or the caller itself) takes slices of files and runs them
 *	backend_*  starts and completes the system calls of a file
 *	file.c     decides what each result means: the only place that sets a status
 *
 * Locking: ctx->mu guards everything that says so; nothing else is shared. It is never held over a
 * system call on a file.
 */
#ifndef CR_INTERNAL_H
#define CR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

/* For our own mistakes only, never for what a file or the system says. On in release builds: it
 * costs per file, not per byte. */
#define CR_ASSERT(cond) ((cond) ? (void)0 : __builtin_trap())

struct cr_job;
struct cr_worker;

enum cr_file_state {
	FILE_IDLE = 0, /* in no back-end: before a step, between steps */
	FILE_OPENING,
	FILE_READING,
	FILE_CLOSING,
	FILE_DONE,     /* its step is over */
};

/* One file of a wave. Owned by the thread that took it, from take to cr_file_finish(). */
struct cr_file {
	struct cr_req *req;
	struct cr_job *job;
	int            fd;        /* -1: none */
	uint32_t       got_bytes;
	uint32_t       crc;       /* of the bytes got so far */
	uint32_t       retries;
	uint8_t        state;     /* enum cr_file_state; set_state() in file.c is the only writer */
	uint8_t        tag;       /* backend_uring.c: tells its requests apart */
};

enum cr_step { STEP_OPEN, STEP_READ };

/* One wave of a batch, in one of its two steps; lives on the caller's stack. */
struct cr_job {
	struct cr_ctx         *ctx;
	struct cr_batch       *batch;
	struct cr_file        *files;
	uint32_t               n;
	enum cr_step           step;
	uint64_t               deadline_ns; /* CLOCK_MONOTONIC; 0 = none */
	uint32_t               slice;       /* files a thread takes at a time */
	uint32_t               next;        /* mu: first file that nobody took in this step */
	bool                   posted;      /* mu: on ctx's ring of jobs */
	bool                   has_buffers; /* from the callback already: this is another try */
	struct cr_job         *prev_job, *next_job; /* mu */
	_Atomic uint32_t       left;        /* files whose step is not over; lowered under mu, so
					     * that the caller frees the job only after the last
					     * thread let go of it */
	pthread_cond_t         over;        /* left became 0 */
};

/*
 * A back-end is one const table in one file. The core never asks which one runs.
 *
 * start: begins job->step of n files (1..CR_SLICE_FILES_MAX, and no more than the window has room).
 * reap:  handles what has completed; wait: blocks until something has, or a signal came (it is called
 *        again). Called with in_flight > 0.
 * Either may finish files, in any order, by cr_file_finish(); a file counts in w->in_flight from
 * start until then. Nothing touches a file's buffer after cr_file_finish().
 */
struct cr_backend_ops {
	const char *name;
	int  (*open)(struct cr_worker *w, const char **step); /* 0 or -errno and what failed */
	void (*start)(struct cr_worker *w, struct cr_file **files, uint32_t n);
	void (*reap)(struct cr_worker *w, bool wait);
	void (*close)(struct cr_worker *w);                   /* nothing is in flight */
};

extern const struct cr_backend_ops cr_uring_ops, cr_threads_ops;

/* What runs files: a pool thread, or a calling thread for the time of one step ("guest"). */
struct cr_worker {
	struct cr_ctx               *ctx;
	const struct cr_backend_ops *ops;
	void                        *state;     /* the back-end's own */
	bool                         guest;     /* used by changing threads, one at a time */
	uint32_t                     window;    /* most files in flight */
	uint32_t                     in_flight;
	struct cr_job               *done_job;  /* files finished but not yet told to done_job */
	uint32_t                     done;
	const struct cr_batch       *ready_batch; /* good files for ready_batch->done */
	uint32_t                     ready[CR_WINDOW_FILES];
	uint32_t                     n_ready;
	struct cr_worker            *next_free; /* mu: list of guests */
	pthread_t                    thread;
};

struct cr_ctx {
	int                          dir_fd;
	uint32_t                     cpus;           /* usable ones when it was opened */
	uint32_t                     file_bytes_max;
	uint32_t                     open_files_max;
	uint32_t                     ring_entries;
	uint32_t                     flags;          /* CR_OPT_* */
	const struct cr_backend_ops *ops;
	int                          backend_errno;
	const char                  *backend_step;
	_Atomic bool                 no_openat2;     /* refused once: component-wise from then on */
	_Atomic bool                 no_cached_open; /* kernels before 5.12 */

	pthread_mutex_t              mu;
	pthread_cond_t               work;           /* a job was posted, or stopping */
	pthread_cond_t               fds_free;       /* open_files went down */
	struct cr_job               *jobs;           /* mu: ring of jobs with files to take */
	uint32_t                     idle;           /* mu: workers asleep on work */
	uint32_t                     open_files;     /* mu: descriptors promised to waves */
	bool                         stopping;       /* mu */
	struct cr_worker            *guests;         /* mu: free ones */
	struct cr_worker             workers[CR_WORKERS_MAX];
	uint32_t                     n_workers;
	struct cr_worker             guest_workers[CR_GUESTS_MAX];
	uint32_t                     n_guests;
};

/* ctx.c: as cr_ctx_open, trying the given back-ends in order; for tests. */
int cr_ctx_open_with(const char *dir, const struct cr_options *opt,
		     const struct cr_backend_ops *const *order, struct cr_ctx **out);

/* worker.c */
void *cr_worker_main(void *worker);
void  cr_step_run(struct cr_job *job, enum cr_step step); /* on the calling thread; returns when the
							    * step is over for every file */
void  cr_wake_for_blocking(struct cr_worker *w); /* w is about to block on the disk: let another
						   * thread go on with the rest */

/* file.c: what a result means. Pure of IO but for fstat, close and cr_file_pread. */
enum cr_next {
	NEXT_AGAIN, /* do the same once more */
	NEXT_CLOSE, /* the status is set: close, then cr_file_closed() */
	NEXT_DONE,  /* the step is over: cr_file_finish() */
};
enum cr_next cr_file_begin(struct cr_file *f);            /* NEXT_AGAIN: go ahead */
enum cr_next cr_file_opened(struct cr_file *f, int res);  /* fd or -errno */
enum cr_next cr_file_read(struct cr_worker *w, struct cr_file *f, int64_t res,
			  int64_t asked); /* bytes or -errno */
void         cr_file_closed(struct cr_file *f);
void         cr_file_close_now(struct cr_file *f);        /* for paths where speed is no matter */
int64_t      cr_file_pread(const struct cr_file *f, uint32_t ask); /* plain, blocking; or -errno */
uint32_t     cr_file_ask(const struct cr_file *f);        /* bytes the next read asks for */
void         cr_file_finish(struct cr_worker *w, struct cr_file *f);
void         cr_file_rest(struct cr_file *f);             /* DONE -> IDLE, between steps */
void         cr_file_fail(struct cr_file *f, enum cr_status status, int os_errno);
bool         cr_job_stopped(const struct cr_job *job, enum cr_status *why);

/* worker.c: collects good files for the caller's done callback. */
void cr_worker_ready(struct cr_worker *w, const struct cr_file *f);

/* worker.c: calls that callback, then tells the job how many of its files this worker finished. */
void cr_worker_flush(struct cr_worker *w);

/* path.c */
bool cr_path_ok(const char *path, uint32_t path_bytes);
int  cr_path_open(struct cr_ctx *ctx, const char *path); /* fd or -errno; contained, blocking */
int  cr_path_open_cached(struct cr_ctx *ctx, const char *path); /* -EAGAIN where it would block */

uint64_t cr_now_ns(void); /* CLOCK_MONOTONIC */

#endif
