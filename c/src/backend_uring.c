/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring: reads of many files by one thread, which is the only one that ever submits to its ring. Only
 * includer of liburing.h.
 *
 * A file comes here when a plain read said that it would block. The first of its requests starts the
 * read-ahead, and completes when the pages are there: without a thread of the kernel's, on file systems
 * with FMODE_BUF_RASYNC (ext4, xfs, btrfs). For the others there are at most CR_IOWQ_MAX of these a ring.
 *
 * Opens and closes are plain system calls of other threads: an open that blocks would take a thread of
 * the kernel's in any case, and these can't be shared between rings, nor bounded for all of them. Needs
 * Linux 5.15, to bound what the kernel starts.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>

#include "internal.h"

#define TAG_MASK 7u /* low bits of a request's user data, which are free in a pointer */

_Static_assert(_Alignof(struct cr_file) > TAG_MASK, "a pointer to a file has room for the tag");

struct ring {
	struct io_uring uring;
	uint32_t        refused; /* times in a row that io_uring_enter did nothing */
};

/* ---- Set-up ---- */

/* Newer flags are only faster: drop one after the other where the kernel says EINVAL. Without them the
 * ring has one issuer all the same. It starts disabled, to be restricted first (5.10). */
static int ring_init(struct io_uring *uring, uint32_t entries)
{
	static const unsigned int optional[] = {
		IORING_SETUP_DEFER_TASKRUN, /* 6.1 */
		IORING_SETUP_SINGLE_ISSUER, /* 6.0 */
	};
	unsigned int flags = IORING_SETUP_R_DISABLED | optional[0] | optional[1];
	int err;

	for (uint32_t i = 0;; i++) {
		struct io_uring_params params = { .flags = flags };

		err = io_uring_queue_init_params(entries, uring, &params);
		if (err != -EINVAL || i == sizeof(optional) / sizeof(optional[0]))
			return err;
		flags &= ~optional[i];
	}
}

/* Before it is enabled a ring can be told to take nothing but reads: then whoever gets hold of it in this
 * process can neither open nor write nor connect through it. And the kernel is told how many threads it
 * may start for it (5.15): 4 for each CPU would be its own choice. */
static int bound_and_enable(struct io_uring *uring, const char **step)
{
	struct io_uring_restriction rules[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ },
	};
	unsigned int threads[2] = { CR_IOWQ_MAX, 1 }; /* regular files; others (0 would change nothing) */
	int err;

	*step = "io_uring_register_iowq_max_workers";
	err = io_uring_register_iowq_max_workers(uring, threads);
	if (err < 0)
		return err;
	*step = "io_uring_register_restrictions";
	err = io_uring_register_restrictions(uring, rules, sizeof(rules) / sizeof(rules[0]));
	if (err)
		return err;
	*step = "io_uring_enable_rings";
	return io_uring_enable_rings(uring);
}

/* A sandbox may allow the set-up and refuse the rest: better known now than with files queued. The ring
 * also shows that it is restricted: a NOP is not among what it takes. */
static int try_enter(struct io_uring *uring)
{
	struct io_uring_cqe *cqe;
	int res;

	io_uring_prep_nop(io_uring_get_sqe(uring));
	do {
		res = io_uring_submit_and_wait(uring, 1);
	} while (res == -EINTR);
	if (res < 0)
		return res;
	if (io_uring_peek_cqe(uring, &cqe) != 0)
		return -EIO;
	res = cqe->res;
	io_uring_cqe_seen(uring, cqe);
	return res == -EACCES ? 0 : -EIO;
}

static int uring_open(struct cr_worker *w, const char **step)
{
	uint32_t entries = w->ctx->ring_entries ? w->ctx->ring_entries : CR_RING_ENTRIES;
	struct ring *ring;
	int err;

	*step = "memory";
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	*step = "io_uring_setup";
	err = ring_init(&ring->uring, entries);
	if (err)
		goto fail_free;
	err = bound_and_enable(&ring->uring, step);
	if (!err) {
		*step = "io_uring_enter";
		err = try_enter(&ring->uring);
	}
	if (err)
		goto fail_exit;
	w->ring = ring;
	if (w->window > entries)
		w->window = entries;
	return 0;
fail_exit:
	io_uring_queue_exit(&ring->uring);
fail_free:
	free(ring);
	return err;
}

static void uring_close(struct cr_worker *w)
{
	struct ring *ring = w->ring;

	io_uring_queue_exit(&ring->uring);
	free(ring);
	w->ring = NULL;
}

/* ---- Requests ---- */

/* The tag goes up with every answer: one that comes twice must not pass for that of the file's next
 * request. */
static void queue_read(struct cr_worker *w, struct cr_file *f)
{
	struct ring *ring = w->ring;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	CR_ASSERT(sqe); /* a file has one request at a time, and the window is no larger than the queue */
	io_uring_prep_read(sqe, f->fd, cr_file_to(f), cr_file_ask(f), cr_file_off(f));
	sqe->user_data = (uintptr_t)f | f->tag;
}

static struct cr_file *file_of(uint64_t user_data)
{
	return (struct cr_file *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK);
}

static void take_off(struct cr_worker *w, struct cr_file *f)
{
	CR_ASSERT(w->in_flight > 0 && w->flying[f->place] == f);
	w->in_flight--;
	w->flying[f->place] = w->flying[w->in_flight];
	w->flying[f->place]->place = f->place;
}

/* ---- Results ---- */

/* Whatever the ring says against a file, pread(2) has the last word: EAGAIN and EOPNOTSUPP only mean
 * "not this way" (EAGAIN: kernels before 6.5 for O_NONBLOCK files on devices without NOWAIT; EOPNOTSUPP:
 * some file systems before 6.12). A ring that says EAGAIN says it of every file: it is left at once. */
static void on_failure(struct cr_worker *w, struct cr_file *f, int err)
{
	struct cr_ctx *ctx = w->ctx;

	f->no_ring = true;
	ctx->ring_wrong_errno = err;
	if (err == EAGAIN) {
		pthread_mutex_lock(&ctx->mu);
		cr_ring_leave(ctx, err, "read in the ring");
		pthread_mutex_unlock(&ctx->mu);
	}
}

static void on_result(struct cr_worker *w, struct cr_file *f, int res)
{
	enum cr_next next = NEXT_BLOCK;

	if (res >= 0) {
		w->ctx->ring_wrong = 0;
		next = cr_file_read(f, res, cr_file_ask(f), false);
	} else {
		on_failure(w, f, -res);
	}
	if (next == NEXT_AGAIN) {
		queue_read(w, f);
		return;
	}
	take_off(w, f);
	cr_turn_add(&w->turn, f, next);
}

/* Handles all that has completed; no system call. */
static uint32_t handle_ready(struct cr_worker *w)
{
	struct ring *ring = w->ring;
	uint32_t handled = 0;
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&ring->uring, &cqe) == 0 && cqe) { /* bounded: one entry a file, and
								     * handling only queues */
		struct cr_file *f = file_of(cqe->user_data);
		int res = cqe->res;

		CR_ASSERT(w->in_flight > 0); /* else the file is gone */
		CR_ASSERT(f->tag == (cqe->user_data & TAG_MASK));
		f->tag = (f->tag + 1) & TAG_MASK;
		io_uring_cqe_seen(&ring->uring, cqe);
		on_result(w, f, res);
		handled++;
	}
	return handled;
}

/* ---- Submission ---- */

/* Hands the queued requests to the kernel, which runs those that need not wait; then, if wait, until one of
 * all has completed or there may be more to read. Returns -errno where the ring is no use any more. */
static int enter(struct cr_worker *w, bool wait)
{
	struct ring *ring = w->ring;
	struct __kernel_timespec look = { 0, CR_RING_LOOK_NS };
	const struct timespec nap = { 0, CR_RING_REFUSED_NAP_NS };
	struct io_uring_cqe *cqe;
	int res;

	/* 5.11 knows a timeout without a request of its own */
	if (wait && (ring->uring.features & IORING_FEAT_EXT_ARG))
		res = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &look, NULL);
	else
		res = wait ? io_uring_submit_and_wait(&ring->uring, 1)
			   : io_uring_submit_and_get_events(&ring->uring);
	if (res >= 0 || res == -EINTR || res == -ETIME) {
		ring->refused = 0;
		return 0; /* the caller looks and comes again */
	}
	if (res != -EAGAIN && res != -EBUSY && res != -ENOMEM)
		return res;
	if (io_uring_cq_ready(&ring->uring))
		return 0; /* room for the kernel's answers first */
	if (++ring->refused >= CR_RING_REFUSED_MAX)
		return res;
	nanosleep(&nap, NULL);
	return 0;
}

static int uring_start(struct cr_worker *w, struct cr_list *files)
{
	for (struct cr_file *f; (f = cr_list_take(files));) {
		enum cr_status why;

		if (cr_wave_stopped(f->wave, &why)) {
			cr_file_stop(f, why);
			cr_turn_add(&w->turn, f, NEXT_DONE);
			continue;
		}
		f->place = (uint8_t)w->in_flight;
		w->flying[w->in_flight++] = f;
		queue_read(w, f);
	}
	return w->in_flight ? enter(w, false) : 0;
}

static int uring_reap(struct cr_worker *w, bool wait)
{
	int err;

	if (handle_ready(w) || !wait)
		return 0;
	err = enter(w, true);
	if (!err)
		handle_ready(w);
	return err;
}

const struct cr_backend_ops cr_uring_ops = {
	.name = "uring",
	.open = cr_plain_open,
	.read = cr_plain_read,
	.ring_open = uring_open,
	.ring_start = uring_start,
	.ring_reap = uring_reap,
	.ring_close = uring_close,
};
