/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step of a wave, as the thread that called sees it. It tries every file without ever blocking: what
 * is in the page cache is opened, read and checked here, since a hand-over costs more than that. What
 * would block is for the context's threads, and is waited for.
 */
#include <errno.h>
#include <time.h>

#include "internal.h"

/* Resets the wave for the step. Returns how many threads could help to try while everything is in the
 * page cache: fewer than CPUs, and none for what is sooner done than woken for. */
static uint32_t step_begin(struct cr_wave *wave, enum cr_step step)
{
	uint32_t left = 0, helpers, slice;
	uint64_t bytes = 0;

	wave->step = step;
	wave->next = 0;
	wave->shared = false;
	for (uint32_t i = 0; i < wave->n; i++) {
		struct cr_file *f = &wave->files[i];

		if (step == STEP_READ && f->fd < 0)
			continue;
		if (f->state == FILE_DONE)
			cr_file_reset(f);
		left++;
		bytes += step == STEP_READ ? f->req->want_bytes : 0;
	}
	atomic_store_explicit(&wave->left, left, memory_order_relaxed);
	slice = left / (4 * wave->ctx->cpus);
	if (slice < CR_SLICE_FILES_MIN)
		slice = CR_SLICE_FILES_MIN;
	wave->slice = slice < CR_SLICE_FILES_MAX ? slice : CR_SLICE_FILES_MAX;
	helpers = left / CR_HELPER_FILES + (uint32_t)(bytes / (2 * CR_SLICE_BYTES));
	return helpers < wave->ctx->cpus ? helpers : wave->ctx->cpus - 1;
}

static uint32_t next_slice(struct cr_wave *wave, struct cr_file **files)
{
	uint32_t n;

	if (!wave->shared)
		return cr_lane_try(wave, files);
	pthread_mutex_lock(&wave->ctx->mu);
	n = cr_lane_try(wave, files);
	pthread_mutex_unlock(&wave->ctx->mu);
	return n;
}

/* Returns whether files went to other threads. The caller lowers the count without the lock, which only keeps
 * the caller from ending the wave under others. */
static bool tell(struct cr_wave *wave, struct cr_turn *turn)
{
	bool handed_over = turn->cold[LANE_BLOCK].n || turn->cold[LANE_RING].n;

	if (handed_over || turn->n_ready) {
		cr_turn_flush(turn);
	} else {
		cr_turn_close(turn);
		atomic_fetch_sub_explicit(&wave->left, turn->done, memory_order_relaxed);
		turn->done = 0;
	}
	return handed_over;
}

/* What waits in the lanes when the wave is stopped: nobody needs to block for it any more, and whoever
 * could take it may be blocked for long. mu is held. */
static void take_back(struct cr_wave *wave, enum cr_status why)
{
	struct cr_ctx *ctx = wave->ctx;
	struct cr_turn turn = { 0 };

	for (enum cr_lane lane = LANE_BLOCK; lane < LANES; lane++)
		for (struct cr_file *f; (f = cr_lane_take_own(wave, lane));)
			cr_list_add(&turn.cold[lane], f);
	if (!turn.cold[LANE_BLOCK].n && !turn.cold[LANE_RING].n)
		return;
	pthread_mutex_unlock(&ctx->mu); /* close(2) */
	for (enum cr_lane lane = LANE_BLOCK; lane < LANES; lane++)
		for (struct cr_file *f; (f = cr_list_take(&turn.cold[lane]));) {
			cr_file_stop(f, why);
			cr_turn_add(&turn, f, NEXT_DONE);
		}
	cr_turn_flush(&turn);
	pthread_mutex_lock(&ctx->mu);
}

/* Hot files that others help with end soon: look for a moment before paying for a sleep and a wake-up. */
static void spin(const struct cr_wave *wave)
{
	uint64_t until = cr_now_ns() + CR_SPIN_NS;

	while (atomic_load_explicit(&wave->left, memory_order_acquire) && cr_now_ns() < until)
		;
}

/* The last files are with other threads. While they are waited for, look up now and then: for the end of the
 * caller's patience, and whether the storage is so slow that more threads should wait for it. */
static void wait_over(struct cr_wave *wave)
{
	struct cr_ctx *ctx = wave->ctx;
	uint64_t tick = CR_TICK_NS_MIN;
	struct timespec until;
	enum cr_status why;

	pthread_mutex_lock(&ctx->mu); /* also waits until the last finisher is out of its flush */
	while (atomic_load_explicit(&wave->left, memory_order_acquire)) {
		if (cr_wave_stopped(wave, &why))
			take_back(wave, why);
		else
			cr_workers_watch(ctx);
		if (atomic_load_explicit(&wave->left, memory_order_acquire) == 0)
			break;
		until = cr_time_after(tick);
		pthread_cond_timedwait(&wave->over, &ctx->mu, &until);
		if (tick < CR_TICK_NS_MAX)
			tick *= 2;
	}
	pthread_mutex_unlock(&ctx->mu);
}

void cr_step_run(struct cr_wave *wave, enum cr_step step)
{
	struct cr_ctx *ctx = wave->ctx;
	struct cr_file *files[CR_SLICE_FILES_MAX];
	struct cr_turn turn = { 0 };
	uint32_t helpers = step_begin(wave, step), n;
	bool others = helpers > 0;

	if (helpers) {
		pthread_mutex_lock(&ctx->mu);
		cr_lane_share(wave);
		cr_workers_help(ctx, helpers);
		pthread_mutex_unlock(&ctx->mu);
	}
	while ((n = next_slice(wave, files))) { /* bounded: a file is tried once in a step */
		for (uint32_t i = 0; i < n; i++)
			cr_turn_add(&turn, files[i], cr_file_run(files[i], false));
		others |= tell(wave, &turn);
	}
	if (helpers)
		spin(wave);
	if (others)
		wait_over(wave);
	CR_ASSERT(atomic_load_explicit(&wave->left, memory_order_relaxed) == 0);
}
