/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold at every step of the core, whichever thread takes it: the simulated kernel asks at every
 * call, at every thread's start and around every wait that has an end. All of it is said of what ctx->mu
 * guards, at a moment when nobody holds it, so the core may be in the midst of nothing.
 */
#include <string.h>

#include "sim_kernel.h"

static struct cr_ctx *_Atomic watched;

/* What was the first in each lane when this thread's wave, which had been stopped, last began to wait. */
static _Thread_local struct {
	uint64_t              deadline_ns;
	enum cr_step          step;
	const struct cr_file *first[LANES];
} left_over;

#define WATCH(cond, what) ((cond) ? (void)0 : fx_fail(__FILE__, __LINE__, what))

void sim_watch(struct cr_ctx *ctx)
{
	memset(&left_over, 0, sizeof(left_over));
	watched = ctx;
}

void sim_watch_call(void)
{
	struct cr_ctx *ctx = watched;

	if (!ctx || pthread_mutex_trylock(&ctx->mu) != 0)
		return; /* the thread that holds it, perhaps this one, is in the midst of something */
	WATCH(ctx->threads[LANE_BLOCK] <= ctx->blocked_max, "more threads that may block than allowed");
	WATCH(ctx->threads[LANE_RING] <= ctx->rings_max, "more threads with a ring than allowed");
	WATCH(ctx->open_files <= ctx->open_files_max, "more descriptors are promised than allowed");
	WATCH(!ctx->ring_off || !ctx->queued[LANE_RING], "reads wait for rings that were left");
	for (enum cr_lane lane = LANE_BLOCK; lane < LANES; lane++)
		WATCH(!ctx->queued[lane] || ctx->threads[lane] > ctx->idle[lane].n,
		      "files wait while every thread that could take them sleeps");
	pthread_mutex_unlock(&ctx->mu);
}

void sim_watch_start(void)
{
	struct cr_ctx *ctx = watched;
	uint32_t run = 0, places = 0;

	if (!ctx)
		return;
	pthread_mutex_lock(&ctx->mu);
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++) {
		run += ctx->workers[i].state == WORKER_RUNS;
		places += ctx->workers[i].state != WORKER_NONE;
	}
	WATCH(run <= ctx->blocked_max + ctx->rings_max, "more threads run than allowed");
	WATCH(sim_threads() <= places, "a thread that nobody is going to join");
	pthread_mutex_unlock(&ctx->mu);
}

static const struct cr_worker *sleeper(const struct cr_ctx *ctx, const pthread_cond_t *cond)
{
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++)
		if (cond == &ctx->workers[i].wake)
			return &ctx->workers[i];
	return NULL;
}

/* With ctx->mu a thread waits for descriptors, for work, or for the end of its wave's step. */
static struct cr_wave *wave_of(const struct cr_ctx *ctx, pthread_cond_t *cond)
{
	if (cond == &ctx->fds_free || sleeper(ctx, cond))
		return NULL;
	return (struct cr_wave *)(void *)((char *)cond - offsetof(struct cr_wave, over));
}

/* A caller that was told to stop takes back what waits in the lanes before it waits on. What others have
 * put there meanwhile may stay, until it looks again. */
void sim_watch_wait(pthread_cond_t *cond, const pthread_mutex_t *mu)
{
	struct cr_ctx *ctx = watched;
	struct cr_wave *wave;
	enum cr_status why;

	if (!ctx || mu != &ctx->mu || !(wave = wave_of(ctx, cond)))
		return;
	if (!cr_wave_stopped(wave, &why)) {
		memset(&left_over, 0, sizeof(left_over));
		return;
	}
	for (enum cr_lane lane = LANE_BLOCK; lane < LANES; lane++) {
		const struct cr_file *first = wave->waiting[lane].first;

		WATCH(!first || first != left_over.first[lane] || wave->step != left_over.step ||
		      wave->deadline_ns != left_over.deadline_ns,
		      "files of a stopped wave stay in a lane");
		left_over.first[lane] = first;
	}
	left_over.step = wave->step;
	left_over.deadline_ns = wave->deadline_ns;
}

/* The wait came to its end without a signal: then what it waited for has not come either. */
void sim_watch_timeout(pthread_cond_t *cond, const pthread_mutex_t *mu)
{
	struct cr_ctx *ctx = watched;
	const struct cr_worker *w;

	if (!ctx || mu != &ctx->mu)
		return;
	if (cond == &ctx->fds_free)
		WATCH(ctx->open_files == ctx->open_files_max,
		      "descriptors are free, and nobody woke who waits for them");
	else if ((w = sleeper(ctx, cond)))
		WATCH(!w->woken, "a thread has work, and nobody woke it");
	else
		WATCH(wave_of(ctx, cond)->left > 0, "a step is over, and nobody woke its caller");
}
