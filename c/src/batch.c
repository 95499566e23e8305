/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cr_batch_read: waves of files, each opened and sized, given buffers by ONE callback, read.
 *
 * A wave is as many files as may be open at a time; a usual batch is one wave. The two steps are
 * apart because a file's size is not known before it is open, and a callback into a garbage-collected
 * caller is too dear for each file. What deserves another try is a smaller wave, when the descriptors of
 * the first are closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define FILES_ON_STACK 16u /* small batches need no malloc, and a batch goes on without memory */

static void wave_init(struct cr_wave *wave, struct cr_ctx *ctx, struct cr_batch *batch)
{
	pthread_condattr_t monotonic;

	memset(wave, 0, sizeof(*wave));
	wave->ctx = ctx;
	wave->batch = batch;
	wave->deadline_ns = batch->timeout_ms ? cr_now_ns() + batch->timeout_ms * 1000000ull : 0;
	pthread_condattr_init(&monotonic); /* none of these can fail on Linux */
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&wave->over, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

/* ---- Descriptors: what all waves together may hold ---- */

uint32_t cr_files_promise(struct cr_wave *wave, uint32_t want)
{
	struct cr_ctx *ctx = wave->ctx;
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
		if (cr_wave_stopped(wave, &why))
			break;
		until = cr_time_after(CR_STARVED_NAP_MS * 1000000ull); /* the cancel word wakes nobody */
		pthread_cond_timedwait(&ctx->fds_free, &ctx->mu, &until);
	}
	ctx->open_files += n;
	pthread_mutex_unlock(&ctx->mu);
	return n;
}

void cr_files_give_back(struct cr_ctx *ctx, uint32_t n)
{
	pthread_mutex_lock(&ctx->mu);
	ctx->open_files -= n;
	pthread_cond_broadcast(&ctx->fds_free);
	pthread_mutex_unlock(&ctx->mu);
}

/* ---- One wave ---- */

static bool wants_room(const struct cr_file *f)
{
	return f->fd >= 0 && (!f->req->buf || f->req->cap_bytes < f->req->want_bytes);
}

static void fail_open_file(struct cr_file *f, enum cr_status status)
{
	cr_file_fail(f, status, 0);
	close(f->fd);
	f->fd = -1;
}

/* One callback for the wave's requests and what lies between them, which has a status already. */
static int ask_for_room(const struct cr_wave *wave)
{
	const struct cr_batch *b = wave->batch;
	bool wanted = false;
	uint32_t first, n;

	for (uint32_t i = 0; i < wave->n && !wanted; i++)
		wanted = wants_room(&wave->files[i]);
	if (!wanted || !b->alloc)
		return 0;
	first = (uint32_t)(wave->files[0].req - b->reqs);
	n = (uint32_t)(wave->files[wave->n - 1].req - b->reqs) + 1 - first;
	return b->alloc(b->arg, b->reqs, first, n);
}

static void get_buffers(struct cr_wave *wave)
{
	enum cr_status why = CR_PENDING;
	int err = 0;

	if (!cr_wave_stopped(wave, &why))
		err = ask_for_room(wave);
	for (uint32_t i = 0; i < wave->n; i++) {
		struct cr_file *f = &wave->files[i];

		if (f->fd < 0)
			continue;
		if (why != CR_PENDING)
			fail_open_file(f, why);
		else if (err || !f->req->buf)
			fail_open_file(f, CR_NO_BUFFER);
		else if (f->req->cap_bytes < f->req->want_bytes)
			fail_open_file(f, CR_TOO_SMALL);
	}
}

/* The first n of wave->files. */
static void run_wave(struct cr_wave *wave, uint32_t n)
{
	struct cr_batch *b = wave->batch;
	uint64_t begin, opened, allocated;

	wave->n = n;
	begin = cr_now_ns();
	cr_step_run(wave, STEP_OPEN);
	opened = cr_now_ns();
	get_buffers(wave);
	allocated = cr_now_ns();
	cr_step_run(wave, STEP_READ);
	b->open_ns += opened - begin;
	b->alloc_ns += allocated - opened;
	b->read_ns += cr_now_ns() - allocated;
}

/* ---- What deserves another try when the wave's own descriptors are closed ---- */

static bool starved(const struct cr_req *req)
{
	return req->status == CR_IO && (req->os_errno == EMFILE || req->os_errno == ENFILE);
}

static bool stale(const struct cr_file *f)
{
	return f->req->status == CR_IO && f->req->os_errno == ESTALE && f->tries < CR_STALE_TRIES;
}

static void req_reset(struct cr_req *req)
{
	req->want_bytes = req->size_bytes = req->head_bytes = req->tail_bytes = 0;
	req->status = req->os_errno = req->op = 0;
	req->crc_got = req->reason = req->blocks_bad = req->flags = 0;
	req->fd = 0;
}

/* Moves what deserves it to the front, in order, and returns how many. */
static uint32_t again(struct cr_file *files, uint32_t n, bool patient)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n; i++)
		if ((patient && starved(files[i].req)) || stale(&files[i]) || files[i].grew || files[i].more)
			files[kept++] = files[i];
	return kept;
}

static void begin_again(struct cr_file *files, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct cr_file *f = &files[i];
		uint8_t tries = starved(f->req) || f->more ? f->tries : f->tries + 1;

		req_reset(f->req);
		*f = (struct cr_file){ .req = f->req, .wave = f->wave, .fd = -1, .tries = tries,
				       .measure = f->grew || f->measure, .whole = f->whole,
				       .ends_tries = f->ends_tries + f->more,
				       .head_bytes = f->head_bytes, .tail_bytes = f->tail_bytes };
	}
}

/* What was not opened, and what was not read whole, is not what these files failed of. */
static void stop(struct cr_file *files, uint32_t n, enum cr_status why)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!starved(files[i].req) && !files[i].grew && !files[i].more)
			continue;
		req_reset(files[i].req);
		files[i].req->status = why;
	}
}

/* Without a descriptor for a single file the batch waits for the rest of the process to give some back.
 * naps: left for the whole batch. */
static bool wait_for_descriptors(uint32_t *naps)
{
	const struct timespec ts = { 0, CR_STARVED_NAP_MS * 1000000L };

	if (*naps == 0)
		return false;
	--*naps;
	nanosleep(&ts, NULL);
	return true;
}

/* Bounded: each turn ends files, or counts one of their tries or of the batch's naps. */
static void run_again(struct cr_wave *wave, uint32_t n, uint32_t *naps)
{
	struct cr_file *files = wave->files;
	uint32_t limit = n, left;
	bool first = true, patient = true;
	enum cr_status why;

	for (left = again(files, n, patient); left; left = again(files, left, patient)) {
		uint32_t turn = left < limit ? left : limit, n_starved = 0;

		if (cr_wave_stopped(wave, &why)) {
			stop(files, left, why);
			return;
		}
		begin_again(files, turn);
		run_wave(wave, turn);
		for (uint32_t i = 0; i < turn; i++)
			n_starved += starved(files[i].req);
		/* as many at a time as there were descriptors for; more when that was not the limit */
		if (n_starved == 0)
			limit = 2 * turn;
		else
			limit = n_starved < turn ? turn - n_starved : 1;
		if (n_starved == turn && !first)
			patient = wait_for_descriptors(naps);
		first = false;
	}
}

static int batch_check(const struct cr_ctx *ctx, const struct cr_batch *b)
{
	if (!ctx || !b || !b->reqs || b->n == 0 || b->n > CR_BATCH_MAX)
		return -EINVAL;
	if (b->flags & ~(CR_CHECK_CRC | CR_CHECK_CHUNK | CR_READ_ENDS | CR_KEEP_OPEN))
		return -EINVAL;
	if (b->flags & CR_KEEP_OPEN && !(b->flags & CR_READ_ENDS))
		return -EINVAL;
	if (b->flags & CR_READ_ENDS && (!(b->flags & CR_CHECK_CHUNK) || b->seal > CR_SEAL_ALWAYS))
		return -EINVAL;
	for (uint32_t i = 0; i < b->n; i++)
		if (!b->reqs[i].path)
			return -EINVAL;
	return 0;
}

static void reset(struct cr_batch *b)
{
	b->open_ns = b->alloc_ns = b->read_ns = 0;
	b->backend_errno = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		req_reset(&b->reqs[i]);
		if (b->alloc) { /* what an earlier batch left is nobody's buffer now */
			b->reqs[i].buf = NULL;
			b->reqs[i].cap_bytes = 0;
		}
	}
}

int cr_batch_read(struct cr_ctx *ctx, struct cr_batch *b)
{
	struct cr_file few[FILES_ON_STACK], *files = few;
	uint32_t files_max = FILES_ON_STACK, naps = CR_STARVED_WAIT_MS / CR_STARVED_NAP_MS;
	struct cr_wave wave;

	if (batch_check(ctx, b) != 0)
		return -EINVAL;
	reset(b);
	if (b->n > FILES_ON_STACK) {
		uint32_t want = b->n < CR_WAVE_FILES_MAX ? b->n : CR_WAVE_FILES_MAX;

		files = malloc(want * sizeof(*files));
		if (files)
			files_max = want;
		else
			files = few;
	}
	wave_init(&wave, ctx, b);
	wave.files = files;
	for (uint32_t first = 0; first < b->n;) {
		uint32_t n = b->n - first < files_max ? b->n - first : files_max;
		uint32_t promised = cr_files_promise(&wave, n);

		if (promised) /* else stopped: the wave opens nothing and says so */
			n = promised;
		for (uint32_t i = 0; i < n; i++)
			files[i] = (struct cr_file){ .req = &b->reqs[first + i], .wave = &wave, .fd = -1 };
		run_wave(&wave, n);
		run_again(&wave, n, &naps);
		cr_files_give_back(ctx, promised);
		first += n;
	}
	pthread_cond_destroy(&wave.over);
	if (files != few)
		free(files);
	b->backend_errno = (uint32_t)ctx->backend_errno;
	return 0;
}
