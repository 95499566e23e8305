/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cr_batch_read: waves of files, each opened and sized, given buffers by ONE callback, read.
 *
 * A wave is as many files as may be open at a time; a usual batch is one wave. The two steps are
 * apart because a file's size is not known before it is open, and a callback into a garbage-collected
 * caller is too dear for each file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

#define FILES_ON_STACK 16u /* small batches need no malloc, and a batch goes on without memory */
#define STALE_TRIES    3u  /* ESTALE: NFS wants the path walked again */

static void job_open(struct cr_job *job, struct cr_ctx *ctx, struct cr_batch *batch,
		     uint64_t deadline_ns)
{
	memset(job, 0, sizeof(*job));
	job->ctx = ctx;
	job->batch = batch;
	job->deadline_ns = deadline_ns;
	pthread_cond_init(&job->over, NULL); /* can't fail on Linux */
}

/* ---- Descriptors: what all waves together may hold ---- */

static void nap(struct timespec *until, uint32_t ms)
{
	clock_gettime(CLOCK_MONOTONIC, until); /* the clock of fds_free */
	until->tv_nsec += (long)ms * 1000000;
	if (until->tv_nsec >= 1000000000) {
		until->tv_sec++;
		until->tv_nsec -= 1000000000;
	}
}

/* How many of want files the next wave may open; 0 when the job was stopped while it waited. */
static uint32_t files_promise(struct cr_job *job, uint32_t want)
{
	struct cr_ctx *ctx = job->ctx;
	enum cr_status why;
	uint32_t n = 0;

	if (want > CR_WAVE_FILES_MAX)
		want = CR_WAVE_FILES_MAX;
	pthread_mutex_lock(&ctx->mu);
	while (n == 0) {
		uint32_t free_files = ctx->open_files_max - ctx->open_files;
		struct timespec until;

		/* never all that is left: the next batch must not wait for this one */
		n = free_files >= 2 * want || free_files <= 1 ? free_files : (free_files + 1) / 2;
		if (n > want)
			n = want;
		if (n)
			break;
		if (cr_job_stopped(job, &why))
			break;
		nap(&until, CR_STARVED_NAP_MS); /* the cancel word wakes nobody: look again */
		pthread_cond_timedwait(&ctx->fds_free, &ctx->mu, &until);
	}
	ctx->open_files += n;
	pthread_mutex_unlock(&ctx->mu);
	return n;
}

static void files_give_back(struct cr_ctx *ctx, uint32_t n)
{
	pthread_mutex_lock(&ctx->mu);
	ctx->open_files -= n;
	pthread_cond_broadcast(&ctx->fds_free);
	pthread_mutex_unlock(&ctx->mu);
}

/* ---- One wave ---- */

static void fail_open_file(struct cr_file *f, enum cr_status status)
{
	cr_file_fail(f, status, 0);
	cr_file_close_now(f);
}

static void get_buffers(struct cr_job *job, uint32_t first)
{
	const struct cr_batch *b = job->batch;
	enum cr_status why = CR_PENDING;
	uint32_t open_files = 0;
	int err = 0;

	for (uint32_t i = 0; i < job->n; i++)
		open_files += job->files[i].fd >= 0;
	if (!open_files)
		return;
	if (!cr_job_stopped(job, &why) && b->alloc && !job->has_buffers)
		err = b->alloc(b->arg, b->reqs, first, job->n);
	for (uint32_t i = 0; i < job->n; i++) {
		struct cr_file *f = &job->files[i];

		if (f->fd < 0)
			continue;
		if (why != CR_PENDING)
			fail_open_file(f, why);
		else if (err || !f->req->buf)
			fail_open_file(f, CR_NO_BUFFER);
		else if (f->req->cap_bytes < f->req->size_bytes)
			fail_open_file(f, CR_TOO_SMALL);
	}
}

static void run_wave(struct cr_job *job, uint32_t first, uint32_t n)
{
	struct cr_batch *b = job->batch;
	uint64_t begin, opened, allocated;

	job->n = n;
	for (uint32_t i = 0; i < n; i++)
		job->files[i] = (struct cr_file){ .req = &b->reqs[first + i],
						  .job = job, .fd = -1 };
	begin = cr_now_ns();
	cr_step_run(job, STEP_OPEN);
	opened = cr_now_ns();
	get_buffers(job, first);
	allocated = cr_now_ns();
	cr_step_run(job, STEP_READ);
	b->open_ns += opened - begin;
	b->alloc_ns += allocated - opened;
	b->read_ns += cr_now_ns() - allocated;
}

/* ---- What deserves another try when the wave's own descriptors are closed ---- */

static bool starved(const struct cr_req *req)
{
	return req->status == CR_IO && (req->os_errno == EMFILE || req->os_errno == ENFILE);
}

static bool stale(const struct cr_req *req)
{
	return req->status == CR_IO && req->os_errno == ESTALE;
}

static void req_reset(struct cr_req *req)
{
	req->size_bytes = req->status = req->os_errno = 0;
	req->crc_got = req->reason = req->blocks_bad = req->flags = 0;
}

/* naps: left for the whole batch. */
static void retry_file(struct cr_job *job, uint32_t i, uint32_t *naps)
{
	struct cr_req *req = &job->batch->reqs[i];
	enum cr_status why;

	for (uint32_t tries = 0; starved(req) || (stale(req) && tries < STALE_TRIES); tries++) {
		if (cr_job_stopped(job, &why)) {
			if (starved(req)) {
				req_reset(req);
				req->status = why;
			}
			break;
		}
		if (starved(req) && tries > 0) { /* the first is free: our own are closed now */
			struct timespec ts = { 0, CR_STARVED_NAP_MS * 1000000L };

			if (*naps == 0)
				break;
			--*naps;
			nanosleep(&ts, NULL);
		}
		/* It was sized, so the callback was asked for it: not a second time. */
		job->has_buffers |= req->size_bytes > 0;
		req_reset(req);
		run_wave(job, i, 1);
	}
	job->has_buffers = false;
}

static void retry_wave(struct cr_job *job, uint32_t first, uint32_t n, uint32_t *naps)
{
	for (uint32_t i = first; i < first + n; i++)
		retry_file(job, i, naps);
}

static int batch_check(const struct cr_ctx *ctx, const struct cr_batch *b)
{
	if (!ctx || !b || !b->reqs || b->n == 0 || b->n > CR_BATCH_MAX)
		return -EINVAL;
	if (b->flags & ~(CR_CHECK_CRC | CR_CHECK_CHUNK))
		return -EINVAL;
	for (uint32_t i = 0; i < b->n; i++)
		if (!b->reqs[i].path)
			return -EINVAL;
	return 0;
}

int cr_batch_read(struct cr_ctx *ctx, struct cr_batch *b)
{
	struct cr_file few[FILES_ON_STACK], *files = few;
	uint32_t files_max = FILES_ON_STACK, naps = CR_STARVED_WAIT_MS / CR_STARVED_NAP_MS;
	struct cr_job job;

	if (batch_check(ctx, b) != 0)
		return -EINVAL;
	b->open_ns = b->alloc_ns = b->read_ns = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		req_reset(&b->reqs[i]);
		if (b->alloc) { /* what an earlier batch left is nobody's buffer now */
			b->reqs[i].buf = NULL;
			b->reqs[i].cap_bytes = 0;
		}
	}
	if (b->n > FILES_ON_STACK) {
		uint32_t want = b->n < CR_WAVE_FILES_MAX ? b->n : CR_WAVE_FILES_MAX;

		files = malloc(want * sizeof(*files));
		if (files)
			files_max = want;
		else
			files = few;
	}
	job_open(&job, ctx, b, b->timeout_ms ? cr_now_ns() + b->timeout_ms * 1000000ull : 0);
	job.files = files;
	for (uint32_t first = 0; first < b->n;) {
		uint32_t n = b->n - first < files_max ? b->n - first : files_max;
		uint32_t promised = b->n > 1 ? files_promise(&job, n) : 0;

		if (promised) /* else stopped, and the wave opens nothing and says so; or one file */
			n = promised;
		run_wave(&job, first, n);
		retry_wave(&job, first, n, &naps);
		if (promised)
			files_give_back(ctx, promised);
		first += n;
	}
	pthread_cond_destroy(&job.over);
	if (files != few)
		free(files);
	return 0;
}
