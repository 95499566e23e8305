/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a context: the back-end is chosen here, once, and the workers live here. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static uint32_t usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1; /* more than 1024 CPUs: CPU_SETSIZE; the options can say better */
	return CPU_COUNT(&set) > 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

static uint32_t open_files_default(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY ||
	    lim.rlim_cur / 4 > CR_OPEN_FILES_CAP)
		return CR_OPEN_FILES_CAP;
	return lim.rlim_cur / 4 > 0 ? (uint32_t)(lim.rlim_cur / 4) : 1;
}

static int options_take(struct cr_ctx *ctx, const struct cr_options *opt)
{
	if (opt->backend > CR_BACKEND_THREADS || opt->workers > CR_WORKERS_MAX ||
	    opt->ring_entries > CR_RING_ENTRIES_MAX ||
	    (opt->ring_entries & (opt->ring_entries - 1)) != 0 || (opt->flags & ~CR_OPT_SQPOLL) ||
	    opt->file_bytes_max > CR_FILE_BYTES_MAX || opt->cpus > CPU_SETSIZE)
		return -EINVAL;
	ctx->cpus = opt->cpus ? opt->cpus : usable_cpus();
	ctx->n_workers = opt->workers;
	ctx->ring_entries = opt->ring_entries;
	ctx->flags = opt->flags;
	ctx->file_bytes_max = opt->file_bytes_max ? opt->file_bytes_max : CR_FILE_BYTES_DEFAULT;
	ctx->open_files_max = opt->open_files_max ? opt->open_files_max : open_files_default();
	return 0;
}

/* ---- Workers ---- */

struct start { /* what a new thread and its opener say to each other; guarded by ctx->mu */
	struct cr_worker *w;
	pthread_cond_t    answered;
	bool              done;
	int               err;
	const char       *step;
};

/* The ring is set up on the thread that will use it: IORING_SETUP_SINGLE_ISSUER binds it. */
static void *thread_main(void *arg)
{
	struct start *start = arg;
	struct cr_worker *w = start->w;
	struct cr_ctx *ctx = w->ctx;
	const char *step = "";
	int err = w->ops->open(w, &step);

	pthread_mutex_lock(&ctx->mu);
	start->err = err;
	start->step = step;
	start->done = true;
	pthread_cond_signal(&start->answered);
	pthread_mutex_unlock(&ctx->mu);
	if (err)
		return NULL;
	cr_worker_main(w);
	w->ops->close(w);
	return NULL;
}

static int thread_create(struct cr_worker *w, struct start *start)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	/* No signal of the program is for us: Go's profiler and preemption would run handlers on a
	 * thread that Go does not know. (It knows it from the first done callback on, and then
	 * unblocks those that it needs itself.) */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, CR_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&w->thread, &attr, thread_main, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

/* *no_thread: the system had no thread for it, which says nothing about the back-end. */
static int worker_start(struct cr_ctx *ctx, struct cr_worker *w, const char **step, bool *no_thread)
{
	struct start start = { .w = w };
	int err;

	*w = (struct cr_worker){ .ctx = ctx, .ops = ctx->ops, .window = CR_WINDOW_FILES };
	pthread_cond_init(&start.answered, NULL);
	*step = "pthread_create";
	err = thread_create(w, &start);
	*no_thread = err != 0;
	if (err == 0) {
		pthread_mutex_lock(&ctx->mu);
		while (!start.done)
			pthread_cond_wait(&start.answered, &ctx->mu);
		pthread_mutex_unlock(&ctx->mu);
		err = start.err;
		*step = start.step;
		if (err)
			pthread_join(w->thread, NULL);
	}
	pthread_cond_destroy(&start.answered);
	return err;
}

static void workers_stop(struct cr_ctx *ctx, uint32_t n)
{
	pthread_mutex_lock(&ctx->mu);
	ctx->stopping = true;
	pthread_cond_broadcast(&ctx->work);
	pthread_mutex_unlock(&ctx->mu);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(ctx->workers[i].thread, NULL);
	ctx->stopping = false;
	while (ctx->guests) {
		struct cr_worker *w = ctx->guests;

		ctx->guests = w->next_free;
		w->ops->close(w);
	}
	ctx->n_guests = 0;
}

/* Rings for callers. Having fewer is no error: a caller without one uses plain system calls. */
static void guests_start(struct cr_ctx *ctx)
{
	uint32_t want = ctx->cpus < CR_GUESTS_MAX ? ctx->cpus : CR_GUESTS_MAX;
	const char *step;

	while (ctx->n_guests < want) {
		struct cr_worker *w = &ctx->guest_workers[ctx->n_guests];

		*w = (struct cr_worker){ .ctx = ctx, .ops = ctx->ops, .guest = true,
					 .window = CR_WINDOW_FILES };
		if (ctx->ops->open(w, &step) != 0)
			return;
		w->next_free = ctx->guests;
		ctx->guests = w;
		ctx->n_guests++;
	}
}

static int backend_start(struct cr_ctx *ctx, const struct cr_backend_ops *ops, const char **step)
{
	uint32_t n = ctx->n_workers;

	if (!n) {
		n = ctx->cpus < CR_CPUS_DEFAULT_MAX ? ctx->cpus : CR_CPUS_DEFAULT_MAX;
		if (ops == &cr_threads_ops && n < CR_THREADS_WORKERS)
			n = CR_THREADS_WORKERS;
	}
	ctx->ops = ops;
	for (uint32_t i = 0; i < n; i++) {
		bool no_thread;
		int err = worker_start(ctx, &ctx->workers[i], step, &no_thread);

		if (err && no_thread && i > 0) {
			n = i; /* fewer are no error: callers work too */
			break;
		}
		if (err) {
			workers_stop(ctx, i);
			return err;
		}
	}
	ctx->n_workers = n;
	guests_start(ctx);
	return 0;
}

/* ---- Contract ---- */

int cr_ctx_open_with(const char *dir, const struct cr_options *opt,
		     const struct cr_backend_ops *const *order, struct cr_ctx **out)
{
	static const struct cr_options defaults;
	const char *step = "";
	pthread_condattr_t monotonic;
	struct cr_ctx *ctx;
	int err;

	if (!dir || !out || !order[0])
		return -EINVAL;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	ctx->backend_step = "";
	err = options_take(ctx, opt ? opt : &defaults);
	if (err)
		goto fail_free;
	ctx->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ctx->dir_fd < 0) {
		err = -errno;
		goto fail_free;
	}
	pthread_mutex_init(&ctx->mu, NULL); /* these can't fail on Linux */
	pthread_cond_init(&ctx->work, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* it is waited on with a time */
	pthread_cond_init(&ctx->fds_free, &monotonic);
	pthread_condattr_destroy(&monotonic);
	for (; *order; order++) {
		err = backend_start(ctx, *order, &step);
		if (!err) {
			*out = ctx;
			return 0;
		}
		if (!ctx->backend_errno) { /* the first refusal is the one to explain */
			ctx->backend_errno = -err;
			ctx->backend_step = step;
		}
	}
	pthread_cond_destroy(&ctx->fds_free);
	pthread_cond_destroy(&ctx->work);
	pthread_mutex_destroy(&ctx->mu);
	close(ctx->dir_fd);
fail_free:
	free(ctx);
	return err;
}

int cr_ctx_open(const char *dir, const struct cr_options *opt, struct cr_ctx **out)
{
	static const struct cr_backend_ops *const preferred[] = { &cr_uring_ops, &cr_threads_ops,
								  NULL };
	bool threads = opt && opt->backend == CR_BACKEND_THREADS;

	return cr_ctx_open_with(dir, opt, preferred + (threads ? 1 : 0), out);
}

void cr_ctx_close(struct cr_ctx *ctx)
{
	if (!ctx)
		return;
	CR_ASSERT(!ctx->jobs && ctx->open_files == 0); /* a batch is running: the caller's bug */
	workers_stop(ctx, ctx->n_workers);
	pthread_cond_destroy(&ctx->fds_free);
	pthread_cond_destroy(&ctx->work);
	pthread_mutex_destroy(&ctx->mu);
	close(ctx->dir_fd);
	free(ctx);
}

const char *cr_backend_name(const struct cr_ctx *ctx)
{
	return ctx->ops->name;
}

int cr_backend_errno(const struct cr_ctx *ctx, const char **step)
{
	if (step)
		*step = ctx->backend_step;
	return ctx->backend_errno;
}

uint32_t cr_workers(const struct cr_ctx *ctx)
{
	return ctx->n_workers;
}
