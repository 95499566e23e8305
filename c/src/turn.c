/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thread has done for a wave is told in portions: the batch's callback hears of good files, what was
 * read is closed, the lanes get what is for another thread, the wave how many of its files are over. In this
 * order, since the batch may return when the last has been counted.
 */
#include <unistd.h>

#include "internal.h"

/* ThreadSanitizer knows close(2), and takes a number that close_range(2) freed for one in use. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#define TSAN __has_feature(thread_sanitizer)
#else
#define TSAN 0
#endif

static void hand_over(struct cr_turn *turn)
{
	const struct cr_batch *batch = turn->wave->batch;
	uint32_t n = turn->n_ready;

	turn->n_ready = 0;
	if (n)
		batch->done(batch->arg, turn->ready, n);
}

static void ready(struct cr_turn *turn, const struct cr_file *f)
{
	const struct cr_batch *batch = turn->wave->batch;

	if (!batch->done || f->req->want_bytes < batch->done_bytes_min)
		return;
	if (turn->n_ready == CR_WINDOW_FILES)
		hand_over(turn);
	turn->ready[turn->n_ready++] = (uint32_t)(f->req - batch->reqs);
}

/* Descriptors that follow one another, as those of files that were opened one after the other mostly do,
 * are closed by one system call (5.9): a hot file of 4 KB then takes a tenth less time. All in the range
 * are ours. Nothing was written, so an error of close has nothing to say; the descriptor is gone in any
 * case, EINTR included. */
static void close_run(const int *fds, uint32_t n)
{
	if (n > 1 && !TSAN && close_range((unsigned int)fds[0], (unsigned int)fds[n - 1], 0) == 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		close(fds[i]);
}

void cr_turn_close(struct cr_turn *turn)
{
	const int *fds = turn->fds;
	uint32_t run = 0;

	for (uint32_t i = 1; i <= turn->n_fds; i++) {
		if (i < turn->n_fds && fds[i] == fds[i - 1] + 1)
			continue;
		close_run(fds + run, i - run);
		run = i;
	}
	turn->n_fds = 0;
}

/* A file whose ends were read is the caller's, who will read its blocks. Number 0 says that there is none. */
static bool keep_open(struct cr_file *f)
{
	if (!(f->wave->batch->flags & CR_KEEP_OPEN) || f->req->status != CR_OK || !f->head_bytes || f->fd == 0)
		return false;
	f->req->fd = f->fd;
	f->fd = -1;
	return true;
}

static void close_later(struct cr_turn *turn, struct cr_file *f)
{
	if (keep_open(f))
		return;
	if (turn->n_fds == CR_WINDOW_FILES)
		cr_turn_close(turn);
	turn->fds[turn->n_fds++] = f->fd;
	f->fd = -1;
}

void cr_turn_add(struct cr_turn *turn, struct cr_file *f, enum cr_next next)
{
	CR_ASSERT(next != NEXT_AGAIN);
	if (turn->wave != f->wave) {
		cr_turn_flush(turn);
		turn->wave = f->wave;
	}
	if (next == NEXT_DONE) {
		CR_ASSERT(f->state == FILE_DONE);
		CR_ASSERT(f->fd >= 0 || f->req->status != CR_PENDING);
		if (f->req->status == CR_OK && !f->grew)
			ready(turn, f);
		if (f->fd >= 0 && f->req->status != CR_PENDING)
			close_later(turn, f);
		turn->done++;
	} else {
		cr_list_add(&turn->cold[next == NEXT_RING ? LANE_RING : LANE_BLOCK], f);
	}
}

void cr_turn_flush(struct cr_turn *turn)
{
	struct cr_list *block = &turn->cold[LANE_BLOCK], *ring = &turn->cold[LANE_RING];
	struct cr_wave *wave = turn->wave;
	uint32_t done = turn->done, left;
	enum cr_lane to;
	struct cr_ctx *ctx;
	bool cold;

	if (!wave)
		return;
	hand_over(turn);
	cr_turn_close(turn);
	turn->wave = NULL;
	turn->done = 0;
	ctx = wave->ctx;
	pthread_mutex_lock(&ctx->mu);
	left = atomic_load_explicit(&wave->left, memory_order_relaxed);
	cold = block->n || ring->n;
	cr_lane_post(wave, LANE_BLOCK, block);
	/* one or two files are sooner read by a thread each */
	to = ctx->ring_off || left < CR_RING_FILES_MIN ? LANE_BLOCK : LANE_RING;
	cr_lane_post(wave, to, ring);
	CR_ASSERT(left >= done);
	if (done && atomic_fetch_sub_explicit(&wave->left, done, memory_order_release) == done)
		pthread_cond_signal(&wave->over);
	if (cold) /* it lets go of mu: the wave may be gone then */
		cr_workers_call(ctx);
	pthread_mutex_unlock(&ctx->mu);
}
