/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that may block, and how many of them there are.
 *
 * A few have a ring each and do the reads that a ring can wait for; they are there from the start. The
 * others make one blocking call at a time, and help to try files of large batches. One of these is always
 * there. More are woken or started while files wait, as many as the storage is worth: a disk that answers
 * in 0.1 ms is busy with a few, a server that takes 10 ms wants all that it may get. Whoever has had nothing
 * to do for CR_IDLE_MS ends.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "internal.h"

/* ---- Sleeping and waking; mu is held ---- */

static void idle_remove(struct cr_idle *idle, const struct cr_worker *w)
{
	struct cr_worker **at = &idle->first;

	while (*at != w) /* bounded: w is in there */
		at = &(*at)->next_idle;
	*at = w->next_idle;
	idle->n--;
}

static bool wake_one(struct cr_ctx *ctx, enum cr_lane lane)
{
	struct cr_idle *idle = &ctx->idle[lane];
	struct cr_worker *w = idle->first;

	if (!w)
		return false;
	idle->first = w->next_idle;
	idle->n--;
	w->woken = true;
	ctx->waking += lane == LANE_BLOCK;
	pthread_cond_signal(&w->wake);
	return true;
}

/* Until it is woken. False: nobody did for long, and it is not the last of its kind. */
static bool sleep_idle(struct cr_worker *w)
{
	struct cr_ctx *ctx = w->ctx;
	struct cr_idle *idle = &ctx->idle[w->lane];
	struct timespec ts = cr_time_after(CR_IDLE_MS * 1000000ull);

	w->woken = false;
	w->next_idle = idle->first;
	idle->first = w;
	idle->n++;
	while (!w->woken) {
		bool long_ago;

		if (w->lane == LANE_RING) { /* they stay */
			pthread_cond_wait(&w->wake, &ctx->mu);
			continue;
		}
		long_ago = pthread_cond_timedwait(&w->wake, &ctx->mu, &ts) == ETIMEDOUT;
		if (w->woken || !long_ago)
			continue;
		if (ctx->threads[LANE_BLOCK] > 1 + ctx->starting) {
			idle_remove(idle, w);
			return false;
		}
		if (ctx->starting) /* in vain, perhaps: then this is the last one */
			ts = cr_time_after(CR_IDLE_MS * 1000000ull);
		else
			pthread_cond_wait(&w->wake, &ctx->mu);
	}
	ctx->waking -= w->lane == LANE_BLOCK;
	return true;
}

/* ---- Starting ---- */

struct start { /* what a new thread with a ring and its opener say to each other; guarded by ctx->mu */
	struct cr_worker *w;
	pthread_cond_t    answered;
	bool              done;
	int               err;
	const char       *step;
};

static int thread_create(struct cr_worker *w, void *(*main)(void *), void *arg)
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
	err = pthread_create(&w->thread, &attr, main, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

/* A place for a thread, ended ones joined first; NULL: all are taken. mu is held, and let go of to join. */
static struct cr_worker *place_take(struct cr_ctx *ctx, enum cr_lane lane)
{
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++) {
		struct cr_worker *w = &ctx->workers[i];
		bool ended = w->state == WORKER_ENDED;

		if (w->state != WORKER_NONE && !ended)
			continue;
		w->state = WORKER_RUNS;
		ctx->threads[lane]++;
		if (ended) {
			pthread_mutex_unlock(&ctx->mu);
			pthread_join(w->thread, NULL);
			pthread_mutex_lock(&ctx->mu);
		}
		w->ctx = ctx;
		w->lane = lane;
		w->window = CR_WINDOW_FILES;
		w->in_flight = 0;
		w->turn.wave = NULL;
		return w;
	}
	return NULL;
}

static void place_give_back(struct cr_worker *w)
{
	w->ctx->threads[w->lane]--;
	w->state = WORKER_NONE;
}

static void *block_main(void *arg);

/* mu is held, and let go of meanwhile: a thread takes longer to start than anything else done under it. */
static int block_start(struct cr_ctx *ctx)
{
	struct cr_worker *w;
	int err;

	ctx->starting++; /* before mu is let go of for the first time */
	w = place_take(ctx, LANE_BLOCK);
	if (!w) {
		ctx->starting--;
		return -EAGAIN;
	}
	ctx->waking++;
	pthread_mutex_unlock(&ctx->mu);
	err = thread_create(w, block_main, w);
	pthread_mutex_lock(&ctx->mu);
	ctx->starting--;
	if (err) {
		ctx->waking--;
		place_give_back(w);
		ctx->no_thread_until_ns = cr_now_ns() + CR_NO_THREAD_MS * 1000000ull;
		if (ctx->queued[LANE_BLOCK] > ctx->waking) /* who came meanwhile counted on it */
			wake_one(ctx, LANE_BLOCK);
	}
	pthread_cond_broadcast(&ctx->started);
	return err;
}

/* ---- How many ---- */

static uint32_t wanted(const struct cr_ctx *ctx, uint64_t block_ns)
{
	uint64_t n = block_ns / CR_BLOCK_NS_EACH, least = CR_BLOCKED_MIN;

	if (least < ctx->cpus)
		least = ctx->cpus;
	if (n < least)
		n = least;
	return n < ctx->blocked_max ? (uint32_t)n : ctx->blocked_max;
}

/* One at a time, and no more than two: each that has come wakes two others while files wait, which is
 * soon all of them, and costs nobody much. */
static void call(struct cr_ctx *ctx, uint64_t block_ns)
{
	uint32_t most = wanted(ctx, block_ns);

	if (ctx->queued[LANE_RING] && wake_one(ctx, LANE_RING) &&
	    ctx->queued[LANE_RING] > CR_SLICE_FILES_MIN)
		wake_one(ctx, LANE_RING);
	for (int i = 0; i < 2; i++) {
		uint32_t busy = ctx->threads[LANE_BLOCK] - ctx->idle[LANE_BLOCK].n;

		if (ctx->queued[LANE_BLOCK] <= ctx->waking || busy >= most)
			return;
		if (wake_one(ctx, LANE_BLOCK))
			continue;
		if (ctx->threads[LANE_BLOCK] >= ctx->blocked_max ||
		    (ctx->no_thread_until_ns && cr_now_ns() < ctx->no_thread_until_ns))
			return;
		if (block_start(ctx) != 0)
			return; /* those that run do it all */
	}
}

void cr_workers_call(struct cr_ctx *ctx)
{
	call(ctx, ctx->block_ns);
}

/* While nothing ends, calls take at least that long. */
void cr_workers_watch(struct cr_ctx *ctx)
{
	uint64_t now, quiet_ns;

	if (!ctx->queued[LANE_BLOCK])
		return;
	now = cr_now_ns();
	quiet_ns = now > ctx->last_call_ns ? now - ctx->last_call_ns : 0;
	call(ctx, quiet_ns > ctx->block_ns ? quiet_ns : ctx->block_ns);
}

void cr_workers_help(struct cr_ctx *ctx, uint32_t n)
{
	while (n-- > 0) {
		if (wake_one(ctx, LANE_BLOCK))
			continue;
		if (ctx->threads[LANE_BLOCK] >= ctx->cpus ||
		    ctx->threads[LANE_BLOCK] >= ctx->blocked_max || block_start(ctx) != 0)
			return;
	}
}

/* ---- Threads that make one call at a time ---- */

/* A thread whose ring refused to go on has ended, or is about to. When it has, the kernel has let go of
 * what was in the ring, and others may read those files. */
static bool rescue(struct cr_worker *by)
{
	struct cr_ctx *ctx = by->ctx;
	struct cr_worker *w = NULL;

	for (uint32_t i = 0; i < CR_WORKERS_MAX && ctx->refused && !w; i++)
		if (ctx->workers[i].state == WORKER_REFUSED)
			w = &ctx->workers[i];
	if (!w)
		return false;
	w->state = WORKER_JOINED;
	ctx->refused = false;   /* another may be there, but rings are refused together: seldom */
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++)
		ctx->refused |= ctx->workers[i].state == WORKER_REFUSED;
	pthread_mutex_unlock(&ctx->mu);
	pthread_join(w->thread, NULL);
	ctx->ops->ring_close(w);
	for (uint32_t i = 0; i < w->in_flight; i++) {
		w->flying[i]->no_ring = true;
		cr_turn_add(&by->turn, w->flying[i], NEXT_BLOCK);
	}
	cr_turn_flush(&by->turn);
	pthread_mutex_lock(&ctx->mu);
	place_give_back(w);
	return true;
}

/* The shortest call of the last moments: a busy disk answers late, too, but some calls find it idle, and one
 * that had to wait for a CPU is not the shortest. */
static void note_call(struct cr_ctx *ctx, uint64_t now, uint64_t ns)
{
	if (now - ctx->window_ns >= CR_BLOCK_WINDOW_NS) {
		ctx->before_ns = now - ctx->window_ns < 2 * CR_BLOCK_WINDOW_NS ? ctx->shortest_ns : UINT64_MAX;
		ctx->shortest_ns = ns;
		ctx->window_ns = now;
	} else if (ns < ctx->shortest_ns) {
		ctx->shortest_ns = ns;
	}
	ctx->block_ns = ctx->before_ns < ctx->shortest_ns ? ctx->before_ns : ctx->shortest_ns;
}

/* mu is held before and after. */
static void run_blocking(struct cr_worker *w, struct cr_file *f)
{
	uint64_t begin = cr_now_ns(), bytes = f->wave->step == STEP_READ ? f->req->want_bytes : 0, end;
	struct cr_ctx *ctx = w->ctx;

	if (ctx->threads[LANE_BLOCK] - ctx->idle[LANE_BLOCK].n == 1)
		ctx->last_call_ns = begin;
	cr_workers_call(ctx); /* more may wait */
	pthread_mutex_unlock(&ctx->mu);
	cr_turn_add(&w->turn, f, cr_file_run(f, true));
	end = cr_now_ns();
	cr_turn_flush(&w->turn);
	pthread_mutex_lock(&ctx->mu);
	ctx->last_call_ns = end;
	note_call(ctx, end, (end - begin) / (1 + bytes / CR_BLOCK_BYTES));
}

static void run_tries(struct cr_worker *w, struct cr_file **files, uint32_t n)
{
	pthread_mutex_unlock(&w->ctx->mu);
	for (uint32_t i = 0; i < n; i++)
		cr_turn_add(&w->turn, files[i], cr_file_run(files[i], false));
	cr_turn_flush(&w->turn);
	pthread_mutex_lock(&w->ctx->mu);
}

static void *block_main(void *arg)
{
	struct cr_file *f, *files[CR_SLICE_FILES_MAX];
	struct cr_worker *w = arg;
	struct cr_ctx *ctx = w->ctx;
	uint32_t n;

	prctl(PR_SET_NAME, "cr-worker");
	pthread_mutex_lock(&ctx->mu);
	ctx->waking--;
	for (;;) { /* until cr_ctx_close(), or CR_IDLE_MS without work */
		if (rescue(w))
			continue;
		if ((f = cr_lane_take(ctx, LANE_BLOCK)))
			run_blocking(w, f);
		else if ((n = cr_lane_take_try(ctx, files)))
			run_tries(w, files, n);
		else if (ctx->stopping || !sleep_idle(w))
			break;
	}
	ctx->threads[LANE_BLOCK]--;
	w->state = WORKER_ENDED;
	pthread_mutex_unlock(&ctx->mu);
	return NULL;
}

/* ---- Threads with a ring ---- */

/* Half of what waits when another could take the rest. */
static struct cr_list take_reads(struct cr_worker *w)
{
	struct cr_ctx *ctx = w->ctx;
	uint32_t n = ctx->queued[LANE_RING], room = w->window - w->in_flight;
	struct cr_list list = { 0 };

	if (ctx->idle[LANE_RING].n)
		n = (n + 1) / 2;
	if (n > room)
		n = room;
	while (n-- > 0)
		cr_list_add(&list, cr_lane_take(ctx, LANE_RING));
	if (ctx->queued[LANE_RING])
		wake_one(ctx, LANE_RING);
	return list;
}

/* Starts the reads (none is fine) and handles what has completed. */
static int run_ring(struct cr_worker *w, struct cr_list *list)
{
	const struct cr_backend_ops *ops = w->ctx->ops;
	bool new = list->n > 0;
	int err = new ? ops->ring_start(w, list) : 0;

	if (!err && w->in_flight)
		err = ops->ring_reap(w, !new || w->in_flight == w->window);
	cr_turn_flush(&w->turn);
	return err;
}

static void ring_loop(struct cr_worker *w)
{
	struct cr_ctx *ctx = w->ctx;
	int err = 0;

	pthread_mutex_lock(&ctx->mu);
	while (!err) { /* until cr_ctx_close(), or the rings are left */
		struct cr_list list = take_reads(w);

		if (!list.n && !w->in_flight) {
			if (ctx->stopping || ctx->ring_off)
				break;
			sleep_idle(w);
			continue;
		}
		pthread_mutex_unlock(&ctx->mu);
		err = run_ring(w, &list);
		pthread_mutex_lock(&ctx->mu);
	}
	if (err)
		cr_ring_leave(ctx, -err, "io_uring_enter");
	ctx->threads[LANE_RING]--;
	w->state = err ? WORKER_REFUSED : WORKER_ENDED;
	if (err) {
		ctx->threads[LANE_RING]++; /* until it is joined */
		ctx->refused = true;
		wake_one(ctx, LANE_BLOCK); /* if none sleeps, all look before they do */
	}
	pthread_mutex_unlock(&ctx->mu);
	if (!err)
		ctx->ops->ring_close(w);
}

/* The ring is set up on the thread that will use it: IORING_SETUP_SINGLE_ISSUER binds it. */
static void *ring_main(void *arg)
{
	struct start *start = arg;
	struct cr_worker *w = start->w;
	struct cr_ctx *ctx = w->ctx;
	const char *step = "";
	int err;

	prctl(PR_SET_NAME, "cr-worker-ring");
	err = ctx->ops->ring_open(w, &step);
	pthread_mutex_lock(&ctx->mu);
	start->err = err;
	start->step = step;
	start->done = true;
	pthread_cond_signal(&start->answered);
	pthread_mutex_unlock(&ctx->mu);
	if (!err)
		ring_loop(w);
	return NULL;
}

/* *no_thread: the system had no thread for it, which says nothing about the back-end. */
static int ring_start(struct cr_ctx *ctx, const char **step, bool *no_thread)
{
	struct start start = { 0 };
	int err;

	pthread_cond_init(&start.answered, NULL); /* can't fail on Linux */
	pthread_mutex_lock(&ctx->mu);
	start.w = place_take(ctx, LANE_RING);
	pthread_mutex_unlock(&ctx->mu);
	*step = "pthread_create";
	err = thread_create(start.w, ring_main, &start);
	*no_thread = err != 0;
	pthread_mutex_lock(&ctx->mu);
	if (!err) {
		while (!start.done)
			pthread_cond_wait(&start.answered, &ctx->mu);
		err = start.err;
		*step = start.step;
		if (err)
			pthread_join(start.w->thread, NULL);
	}
	if (err)
		place_give_back(start.w);
	pthread_mutex_unlock(&ctx->mu);
	pthread_cond_destroy(&start.answered);
	return err;
}

void cr_ring_leave(struct cr_ctx *ctx, int err, const char *step)
{
	struct cr_wave *wave;

	if (ctx->ring_off)
		return;
	ctx->ring_off = true;
	ctx->backend_step = step;
	ctx->backend_errno = err;
	while ((wave = ctx->lanes[LANE_RING])) { /* bounded: each turn empties one wave's lane */
		struct cr_list files = { 0 };

		for (struct cr_file *f; (f = cr_lane_take_own(wave, LANE_RING));)
			cr_list_add(&files, f);
		cr_lane_post(wave, LANE_BLOCK, &files);
	}
	while (wake_one(ctx, LANE_RING)) /* to end */
		;
	cr_workers_call(ctx);
}

void cr_ring_was_wrong(struct cr_ctx *ctx)
{
	if (atomic_fetch_add(&ctx->ring_wrong, 1) + 1 < CR_RING_WRONG_MAX)
		return;
	pthread_mutex_lock(&ctx->mu);
	cr_ring_leave(ctx, ctx->ring_wrong_errno, "read in the ring");
	pthread_mutex_unlock(&ctx->mu);
}

/* ---- All of them ---- */

int cr_workers_start(struct cr_ctx *ctx, const char **step)
{
	int err;

	*step = "pthread_create";
	pthread_mutex_lock(&ctx->mu);
	err = block_start(ctx);
	pthread_mutex_unlock(&ctx->mu);
	ctx->ring_off = !ctx->ops->ring_open;
	for (uint32_t i = 0; !err && ctx->ops->ring_open && i < ctx->rings_max; i++) {
		bool no_thread;

		err = ring_start(ctx, step, &no_thread);
		if (err && no_thread && i > 0) {
			err = 0; /* fewer are no error */
			break;
		}
	}
	if (err)
		cr_workers_stop(ctx);
	return err;
}

void cr_workers_stop(struct cr_ctx *ctx)
{
	pthread_mutex_lock(&ctx->mu);
	ctx->stopping = true;
	while (ctx->starting) /* for files that are read by now */
		pthread_cond_wait(&ctx->started, &ctx->mu);
	while (wake_one(ctx, LANE_RING) || wake_one(ctx, LANE_BLOCK))
		;
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++) {
		struct cr_worker *w = &ctx->workers[i];

		if (w->state == WORKER_NONE || w->state == WORKER_JOINED)
			continue;
		pthread_mutex_unlock(&ctx->mu);
		pthread_join(w->thread, NULL);
		pthread_mutex_lock(&ctx->mu);
		w->state = WORKER_NONE;
	}
	ctx->stopping = false;
	pthread_mutex_unlock(&ctx->mu);
}
