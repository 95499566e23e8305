/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs the files of a job: the thread that called, and pool threads that help. All of them take
 * slices of files from the jobs in turn and push them through a back-end.
 *
 * The caller works too, because a hand-over costs more than a small batch: it never sleeps while
 * its own job has files that nobody took.
 */
#include <errno.h>
#include <time.h>

#include "internal.h"

uint64_t cr_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool cr_job_stopped(const struct cr_job *job, enum cr_status *why)
{
	const uint32_t *cancel = job->batch->cancel;

	if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) {
		*why = CR_CANCELED;
		return true;
	}
	if (job->deadline_ns && cr_now_ns() >= job->deadline_ns) {
		*why = CR_TIMED_OUT;
		return true;
	}
	return false;
}

/* ---- The ring of jobs that have files to take; ctx->mu is held ---- */

static void post(struct cr_ctx *ctx, struct cr_job *job)
{
	if (!ctx->jobs) {
		job->prev_job = job->next_job = job;
		ctx->jobs = job;
	} else { /* last in turn */
		job->next_job = ctx->jobs;
		job->prev_job = ctx->jobs->prev_job;
		job->prev_job->next_job = job;
		ctx->jobs->prev_job = job;
	}
	job->posted = true;
}

static void unpost(struct cr_ctx *ctx, struct cr_job *job)
{
	if (job->next_job == job) {
		ctx->jobs = NULL;
	} else {
		job->prev_job->next_job = job->next_job;
		job->next_job->prev_job = job->prev_job;
		if (ctx->jobs == job)
			ctx->jobs = job->next_job;
	}
	job->posted = false;
}

/* A file whose fd is -1 in the read step has failed before; left does not count it. */
static bool wants(const struct cr_job *job, const struct cr_file *f)
{
	return job->step == STEP_OPEN || f->fd >= 0;
}

static uint32_t take_from(struct cr_job *job, struct cr_file **files, uint32_t room)
{
	uint32_t max = room < job->slice ? room : job->slice, n = 0;
	uint64_t bytes = 0;

	for (; n < max && job->next < job->n; job->next++) {
		struct cr_file *f = &job->files[job->next];

		if (!wants(job, f))
			continue;
		bytes += f->req->size_bytes; /* 0 in the open step */
		if (n > 0 && bytes > CR_SLICE_BYTES)
			break;
		files[n++] = f;
	}
	if (job->next == job->n && job->posted)
		unpost(job->ctx, job);
	return n;
}

/* From whichever job is next in turn. */
static uint32_t take_any(struct cr_ctx *ctx, struct cr_file **files, uint32_t room)
{
	while (ctx->jobs && room) { /* bounded: a job without files left leaves the ring */
		struct cr_job *job = ctx->jobs;
		uint32_t n;

		ctx->jobs = job->next_job;
		n = take_from(job, files, room);
		if (n)
			return n;
	}
	return 0;
}

/* ---- Running ---- */

static void hand_over(struct cr_worker *w)
{
	const struct cr_batch *batch = w->ready_batch;
	uint32_t n = w->n_ready;

	w->n_ready = 0;
	w->ready_batch = NULL;
	if (n)
		batch->done(batch->arg, w->ready, n);
}

/* A good file, just checked. */
void cr_worker_ready(struct cr_worker *w, const struct cr_file *f)
{
	const struct cr_batch *batch = f->job->batch;

	if (!batch->done || f->req->size_bytes < batch->done_bytes_min)
		return;
	if (w->n_ready && (w->ready_batch != batch || w->n_ready == CR_WINDOW_FILES))
		hand_over(w);
	w->ready_batch = batch;
	w->ready[w->n_ready++] = (uint32_t)(f->req - batch->reqs);
}

void cr_worker_flush(struct cr_worker *w)
{
	struct cr_job *job = w->done_job;
	uint32_t done = w->done;

	hand_over(w); /* before: the batch must not end while a callback runs */
	w->done_job = NULL;
	w->done = 0;
	if (!done)
		return;
	pthread_mutex_lock(&w->ctx->mu);
	CR_ASSERT(atomic_load_explicit(&job->left, memory_order_relaxed) >= done);
	if (atomic_fetch_sub_explicit(&job->left, done, memory_order_release) == done)
		pthread_cond_signal(&job->over);
	pthread_mutex_unlock(&w->ctx->mu);
}

/* Starts n files (0 is fine) and handles what has completed. Hot files complete while they are
 * started, so the window stays nearly empty and what was read is checksummed from the cache; cold
 * ones don't, so it fills up to the depth that a disk wants. */
static void run(struct cr_worker *w, struct cr_file **files, uint32_t n)
{
	if (n) {
		w->in_flight += n;
		w->ops->start(w, files, n);
	}
	if (w->in_flight)
		w->ops->reap(w, n == 0 || w->in_flight == w->window);
	cr_worker_flush(w);
}

static void wake(struct cr_ctx *ctx, uint32_t helpers) /* mu is held */
{
	if (helpers > ctx->idle)
		helpers = ctx->idle;
	while (helpers-- > 0)
		pthread_cond_signal(&ctx->work);
}

void cr_wake_for_blocking(struct cr_worker *w)
{
	struct cr_ctx *ctx = w->ctx;

	pthread_mutex_lock(&ctx->mu);
	if (ctx->jobs)
		wake(ctx, 1);
	pthread_mutex_unlock(&ctx->mu);
}

void *cr_worker_main(void *arg)
{
	struct cr_worker *w = arg;
	struct cr_ctx *ctx = w->ctx;
	struct cr_file *files[CR_SLICE_FILES_MAX];

	for (;;) { /* until cr_ctx_close() */
		uint32_t n;

		pthread_mutex_lock(&ctx->mu);
		for (;;) {
			n = take_any(ctx, files, w->window - w->in_flight);
			if (n || w->in_flight || ctx->stopping)
				break;
			ctx->idle++;
			pthread_cond_wait(&ctx->work, &ctx->mu);
			ctx->idle--;
		}
		pthread_mutex_unlock(&ctx->mu);
		if (!n && !w->in_flight)
			return NULL;
		run(w, files, n);
	}
}

/* ---- The caller's side ---- */

/* A ring of its own for the step, or plain system calls: always for one file, where a ring has
 * nothing to gather, and when all are lent. */
static struct cr_worker *guest_borrow(struct cr_job *job, struct cr_worker *plain)
{
	struct cr_ctx *ctx = job->ctx;
	struct cr_worker *w = NULL;

	if (job->n > 1) {
		pthread_mutex_lock(&ctx->mu);
		w = ctx->guests;
		if (w)
			ctx->guests = w->next_free;
		pthread_mutex_unlock(&ctx->mu);
	}
	if (w)
		return w;
	*plain = (struct cr_worker){ .ctx = ctx, .ops = &cr_threads_ops, .guest = true,
				     .window = CR_SLICE_FILES_MAX };
	return plain;
}

static void guest_return(struct cr_worker *w, const struct cr_worker *plain)
{
	CR_ASSERT(w->in_flight == 0 && w->done == 0);
	if (w == plain)
		return;
	pthread_mutex_lock(&w->ctx->mu);
	w->next_free = w->ctx->guests;
	w->ctx->guests = w;
	pthread_mutex_unlock(&w->ctx->mu);
}

/* Resets the job for the step. Returns how many threads could help the caller while everything is
 * in the page cache: no more than CPUs, and none for what is sooner done than woken for. */
static uint32_t step_begin(struct cr_job *job, enum cr_step step)
{
	uint32_t left = 0, helpers, slice;
	uint64_t bytes = 0;

	job->step = step;
	job->next = 0;
	for (uint32_t i = 0; i < job->n; i++) {
		struct cr_file *f = &job->files[i];

		if (!wants(job, f))
			continue;
		if (f->state == FILE_DONE)
			cr_file_rest(f);
		left++;
		bytes += f->req->size_bytes;
	}
	atomic_store_explicit(&job->left, left, memory_order_relaxed);
	slice = left / (4 * job->ctx->cpus);
	if (slice < CR_SLICE_FILES_MIN)
		slice = CR_SLICE_FILES_MIN;
	job->slice = slice < CR_SLICE_FILES_MAX ? slice : CR_SLICE_FILES_MAX;
	helpers = left / CR_HELPER_FILES + (uint32_t)(bytes / (2 * CR_SLICE_BYTES));
	return helpers < job->ctx->cpus ? helpers : job->ctx->cpus - 1;
}

/* The last files are with other threads. They end soon when they are hot: look for a moment before
 * paying for a sleep and a wake-up. */
static void wait_over(struct cr_job *job)
{
	struct cr_ctx *ctx = job->ctx;
	uint64_t until = 0;

	while (atomic_load_explicit(&job->left, memory_order_acquire)) {
		uint64_t now = cr_now_ns();

		if (!until)
			until = now + CR_SPIN_NS;
		if (now >= until)
			break;
	}
	pthread_mutex_lock(&ctx->mu); /* also waits until the last finisher is out of flush */
	while (atomic_load_explicit(&job->left, memory_order_acquire))
		pthread_cond_wait(&job->over, &ctx->mu);
	pthread_mutex_unlock(&ctx->mu);
}

void cr_step_run(struct cr_job *job, enum cr_step step)
{
	struct cr_ctx *ctx = job->ctx;
	struct cr_file *files[CR_SLICE_FILES_MAX];
	struct cr_worker plain, *w;
	uint32_t helpers = step_begin(job, step);

	if (atomic_load_explicit(&job->left, memory_order_relaxed) == 0)
		return;
	w = guest_borrow(job, &plain);
	pthread_mutex_lock(&ctx->mu);
	if (job->n > 1) {
		post(ctx, job);
		wake(ctx, helpers);
	}
	for (;;) { /* bounded: each turn takes files or completes some */
		uint32_t n = take_from(job, files, w->window - w->in_flight);

		pthread_mutex_unlock(&ctx->mu);
		if (!n && !w->in_flight)
			break;
		run(w, files, n);
		pthread_mutex_lock(&ctx->mu);
	}
	guest_return(w, &plain);
	wait_over(job);
}
