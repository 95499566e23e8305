/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues between the threads that call and those that may block. Each lane is a circle of waves, and
 * each wave has its own files in it: threads take from the waves in turn, so that a large batch does not
 * hold up a small one.
 */
#include "internal.h"

void cr_list_add(struct cr_list *list, struct cr_file *f)
{
	f->next = NULL;
	if (list->last)
		list->last->next = f;
	else
		list->first = f;
	list->last = f;
	list->n++;
}

struct cr_file *cr_list_take(struct cr_list *list)
{
	struct cr_file *f = list->first;

	if (!f)
		return NULL;
	list->first = f->next;
	if (!list->first)
		list->last = NULL;
	list->n--;
	return f;
}

/* ---- The circle of waves in a lane ---- */

static void enter(struct cr_wave *wave, enum cr_lane lane)
{
	struct cr_wave *first = wave->ctx->lanes[lane];

	if (!first) {
		wave->lane_prev[lane] = wave->lane_next[lane] = wave;
		wave->ctx->lanes[lane] = wave;
		return;
	}
	wave->lane_next[lane] = first; /* last in turn */
	wave->lane_prev[lane] = first->lane_prev[lane];
	wave->lane_prev[lane]->lane_next[lane] = wave;
	first->lane_prev[lane] = wave;
}

static void leave(struct cr_wave *wave, enum cr_lane lane)
{
	struct cr_ctx *ctx = wave->ctx;

	if (wave->lane_next[lane] == wave) {
		ctx->lanes[lane] = NULL;
	} else {
		wave->lane_prev[lane]->lane_next[lane] = wave->lane_next[lane];
		wave->lane_next[lane]->lane_prev[lane] = wave->lane_prev[lane];
		if (ctx->lanes[lane] == wave)
			ctx->lanes[lane] = wave->lane_next[lane];
	}
	wave->lane_prev[lane] = wave->lane_next[lane] = NULL;
}

/* ---- Files that wait for a thread ---- */

void cr_lane_post(struct cr_wave *wave, enum cr_lane lane, struct cr_list *files)
{
	struct cr_list *waiting = &wave->waiting[lane];

	if (!files->n)
		return;
	wave->ctx->queued[lane] += files->n;
	if (!waiting->n) {
		*waiting = *files;
		enter(wave, lane);
	} else {
		waiting->last->next = files->first;
		waiting->last = files->last;
		waiting->n += files->n;
	}
	*files = (struct cr_list){ 0 };
}

struct cr_file *cr_lane_take_own(struct cr_wave *wave, enum cr_lane lane)
{
	struct cr_file *f = cr_list_take(&wave->waiting[lane]);

	if (!f)
		return NULL;
	wave->ctx->queued[lane]--;
	if (!wave->waiting[lane].n)
		leave(wave, lane);
	return f;
}

struct cr_file *cr_lane_take(struct cr_ctx *ctx, enum cr_lane lane)
{
	struct cr_wave *wave = ctx->lanes[lane];

	if (!wave)
		return NULL;
	ctx->lanes[lane] = wave->lane_next[lane];
	return cr_lane_take_own(wave, lane);
}

/* ---- Files that nobody has tried ---- */

/* A file whose fd is -1 in the read step failed in the open step; left does not count it. */
static bool wants(const struct cr_wave *wave, const struct cr_file *f)
{
	return wave->step == STEP_OPEN || f->fd >= 0;
}

void cr_lane_share(struct cr_wave *wave)
{
	wave->shared = true;
	wave->ctx->queued[LANE_TRY]++;
	enter(wave, LANE_TRY);
}

uint32_t cr_lane_try(struct cr_wave *wave, struct cr_file **files)
{
	uint64_t bytes = 0;
	uint32_t n = 0;

	for (; n < wave->slice && wave->next < wave->n; wave->next++) {
		struct cr_file *f = &wave->files[wave->next];

		if (!wants(wave, f))
			continue;
		bytes += wave->step == STEP_READ ? f->req->want_bytes : 0;
		if (n > 0 && bytes > CR_SLICE_BYTES)
			break;
		files[n++] = f;
	}
	if (wave->next == wave->n && wave->lane_next[LANE_TRY]) {
		wave->ctx->queued[LANE_TRY]--;
		leave(wave, LANE_TRY);
	}
	return n;
}

uint32_t cr_lane_take_try(struct cr_ctx *ctx, struct cr_file **files)
{
	while (ctx->lanes[LANE_TRY]) { /* bounded: a wave without files left leaves the lane */
		struct cr_wave *wave = ctx->lanes[LANE_TRY];
		uint32_t n;

		ctx->lanes[LANE_TRY] = wave->lane_next[LANE_TRY];
		n = cr_lane_try(wave, files);
		if (n)
			return n;
	}
	return 0;
}
