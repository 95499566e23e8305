/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring: opens, reads and closes of a slice of files in one system call. Only includer of
 * liburing.h.
 *
 * What is in the page cache completes inside io_uring_enter(2), on this thread; what is not goes on
 * in the kernel while more is submitted. Every file has at most one request under way, so a window
 * of files is also the bound of the submission and completion queues.
 *
 * Sizes come from fstat(2): a statx in the ring always goes through a kernel worker thread (twice
 * the cost of the system call, kernel 6.18). Closes ride along with the next slice's reads; no
 * IOSQE_IO_LINK from read to close, because a short read must go on.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "open_how.h"

#define REFUSED_NAP_MS 1u    /* io_uring_enter out of memory: the kernel asks for another try */
#define REFUSED_MAX    1000u /* ... then plain system calls do it */
#define SQPOLL_IDLE_MS 10u
#define TAG_MASK       7u    /* low bits of a request's user data, which are free in a pointer */

_Static_assert(_Alignof(struct cr_file) > TAG_MASK, "a pointer to a file has room for the tag");

static const struct open_how open_how = CR_OPEN_HOW;

/* ---- Set-up ---- */

static bool ops_supported(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool ok = probe && io_uring_opcode_supported(probe, IORING_OP_OPENAT2) &&
		  io_uring_opcode_supported(probe, IORING_OP_READ) &&
		  io_uring_opcode_supported(probe, IORING_OP_CLOSE);

	io_uring_free_probe(probe);
	return ok;
}

/* Newer flags are only faster: drop one after the other where the kernel says EINVAL. */
static int ring_init(struct io_uring *ring, uint32_t entries, unsigned int flags)
{
	static const unsigned int optional[] = {
		IORING_SETUP_DEFER_TASKRUN, /* 6.1 */
		IORING_SETUP_SINGLE_ISSUER, /* 6.0 */
		IORING_SETUP_COOP_TASKRUN,  /* 5.19 */
	};
	int err;

	for (uint32_t i = 0;; i++) {
		struct io_uring_params params = { .flags = flags,
						  .sq_thread_idle = SQPOLL_IDLE_MS };

		err = io_uring_queue_init_params(entries, ring, &params);
		if (err != -EINVAL || i == sizeof(optional) / sizeof(optional[0]))
			return err;
		flags &= ~optional[i];
	}
}

/* Between set-up and start (5.10) a ring can be told to take nothing but what is used here: then
 * whoever gets hold of it in this process can neither write nor connect nor rename through it. */
static int restrict_and_enable(struct io_uring *ring)
{
	struct io_uring_restriction rules[] = {
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_PROBE },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_OPENAT2 },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CLOSE },
	};
	int err = io_uring_register_restrictions(ring, rules, sizeof(rules) / sizeof(rules[0]));

	return err ? err : io_uring_enable_rings(ring);
}

/* Where the kernel knows no restrictions, or a sandbox lets nobody ask for them: without. */
static int ring_start(struct io_uring *ring, uint32_t entries, unsigned int flags, bool *restricted)
{
	int err = ring_init(ring, entries, flags | IORING_SETUP_R_DISABLED);

	*restricted = false;
	if (err && err != -EINVAL)
		return err;
	if (!err) {
		*restricted = restrict_and_enable(ring) == 0;
		if (*restricted)
			return 0;
		io_uring_queue_exit(ring);
	}
	return ring_init(ring, entries, flags);
}

/* A sandbox may allow the set-up and refuse the rest: better known now than with files queued. A
 * restricted ring shows that it is one: a NOP is not among what it takes. */
static int try_enter(struct io_uring *ring, bool restricted)
{
	struct io_uring_cqe *cqe;
	int res;

	io_uring_prep_nop(io_uring_get_sqe(ring));
	do {
		res = io_uring_submit_and_wait(ring, 1);
	} while (res == -EINTR);
	if (res < 0)
		return res;
	if (io_uring_peek_cqe(ring, &cqe) != 0)
		return -EIO;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	if (restricted)
		return res == -EACCES ? 0 : -EIO;
	return res;
}

static int uring_open(struct cr_worker *w, const char **step)
{
	uint32_t entries = w->ctx->ring_entries ? w->ctx->ring_entries : CR_RING_ENTRIES;
	unsigned int flags;
	struct io_uring *ring;
	bool restricted;
	int err;

	if (w->ctx->flags & CR_OPT_SQPOLL)
		flags = IORING_SETUP_SQPOLL;
	else if (w->guest) /* many threads in turn: no SINGLE_ISSUER */
		flags = IORING_SETUP_COOP_TASKRUN;
	else
		flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	*step = "memory";
	ring = malloc(sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	*step = "io_uring_setup";
	err = ring_start(ring, entries, flags, &restricted);
	if (err == 0 && !ops_supported(ring)) {
		*step = "probe of openat2, read, close";
		io_uring_queue_exit(ring);
		err = -EOPNOTSUPP;
	}
	if (err == 0) {
		*step = "io_uring_enter";
		err = try_enter(ring, restricted);
		if (err)
			io_uring_queue_exit(ring);
	}
	if (err) {
		free(ring);
		return err;
	}
	w->state = ring;
	if (w->window > entries)
		w->window = entries;
	return 0;
}

static void uring_close(struct cr_worker *w)
{
	io_uring_queue_exit(w->state);
	free(w->state);
	w->state = NULL;
}

/* ---- Requests ---- */

static struct io_uring_sqe *next_sqe(struct cr_worker *w)
{
	struct io_uring *ring = w->state;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	/* One entry a file and a window of files: full only while a polling kernel thread (SQPOLL)
	 * has not fetched the entries yet. */
	while (!sqe) {
		CR_ASSERT(ring->flags & IORING_SETUP_SQPOLL);
		io_uring_submit(ring);
		io_uring_sqring_wait(ring);
		sqe = io_uring_get_sqe(ring);
	}
	return sqe;
}

/* The tag goes up with every answer: one that comes twice must not pass for that of the file's next
 * request. */
static void name_request(struct io_uring_sqe *sqe, const struct cr_file *f)
{
	sqe->user_data = (uintptr_t)f | f->tag;
}

static struct cr_file *file_of(uint64_t user_data)
{
	return (struct cr_file *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK);
}

static void queue_open(struct cr_worker *w, struct cr_file *f)
{
	struct io_uring_sqe *sqe = next_sqe(w);

	io_uring_prep_openat2(sqe, w->ctx->dir_fd, f->req->path, (struct open_how *)&open_how);
	name_request(sqe, f);
}

static void queue_read(struct cr_worker *w, struct cr_file *f)
{
	struct io_uring_sqe *sqe = next_sqe(w);

	io_uring_prep_read(sqe, f->fd, (char *)f->req->buf + f->got_bytes, cr_file_ask(f),
			   f->got_bytes);
	name_request(sqe, f);
}

static void queue_close(struct cr_worker *w, struct cr_file *f)
{
	struct io_uring_sqe *sqe = next_sqe(w);

	io_uring_prep_close(sqe, f->fd);
	name_request(sqe, f);
}

/* ---- Results ---- */

/* A file system without async buffered reads says EAGAIN in the ring, for ever, since the files are
 * opened O_NONBLOCK: then read it here. */
static int64_t read_here(const struct cr_file *f)
{
	return cr_file_pread(f, cr_file_ask(f));
}

static void on_result(struct cr_worker *w, struct cr_file *f, int res)
{
	int64_t got = res;

	switch (f->state) {
	case FILE_OPENING:
		if (res == -ECANCELED) /* no kernel worker thread to be had (RLIMIT_NPROC): not run */
			res = cr_path_open(w->ctx, f->req->path);
		switch (cr_file_opened(f, res)) {
		case NEXT_AGAIN: queue_open(w, f); return;
		case NEXT_CLOSE: queue_close(w, f); return;
		case NEXT_DONE:  cr_file_finish(w, f); return;
		}
		break;
	case FILE_READING:
		if (res == -EAGAIN || res == -ECANCELED)
			got = read_here(f);
		if (cr_file_read(w, f, got, cr_file_ask(f)) == NEXT_AGAIN)
			queue_read(w, f);
		else
			queue_close(w, f);
		return;
	case FILE_CLOSING:
		/* As with close(2), the descriptor is gone whatever the result (which may be any errno
		 * of a FUSE flush): closing it again would hit another thread's. Only a canceled request
		 * did not run. */
		if (res == -ECANCELED)
			close(f->fd);
		cr_file_closed(f);
		cr_file_finish(w, f);
		return;
	}
	CR_ASSERT(false);
}

/* Handles all that has completed; no system call. */
static uint32_t handle_ready(struct cr_worker *w)
{
	struct io_uring *ring = w->state;
	uint32_t handled = 0;
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(ring, &cqe) == 0 && cqe) { /* bounded: one entry a file, and
							       * handling only queues */
		struct cr_file *f = file_of(cqe->user_data);
		int res = cqe->res;

		CR_ASSERT(w->in_flight > 0); /* else the file is gone */
		CR_ASSERT(f->tag == (cqe->user_data & TAG_MASK));
		f->tag = (f->tag + 1) & TAG_MASK;
		io_uring_cqe_seen(ring, cqe);
		on_result(w, f, res);
		handled++;
	}
	return handled;
}

/* ---- Submission ---- */

/* io_uring_enter kept failing: take back what the kernel has not fetched and do it with system
 * calls. Not for SQPOLL, where the kernel may be fetching. */
static void run_unsubmitted(struct cr_worker *w)
{
	struct io_uring *ring = w->state;
	struct io_uring_sq *sq = &ring->sq;
	struct cr_file *files[CR_RING_ENTRIES_MAX];
	uint32_t n = 0, mask = *sq->kring_mask;

	for (unsigned int at = *sq->khead; at != sq->sqe_tail; at++)
		files[n++] = file_of(sq->sqes[at & mask].user_data);
	sq->sqe_head = sq->sqe_tail = *sq->khead;
	*sq->ktail = *sq->khead;
	for (uint32_t i = 0; i < n; i++) {
		struct cr_file *f = files[i];

		/* both bounded by file.c */
		while (f->state == FILE_OPENING &&
		       cr_file_opened(f, cr_path_open(w->ctx, f->req->path)) == NEXT_AGAIN)
			;
		while (f->state == FILE_READING)
			cr_file_read(w, f, read_here(f), cr_file_ask(f));
		if (f->state == FILE_CLOSING) {
			close(f->fd);
			cr_file_closed(f);
		}
		cr_file_finish(w, f);
	}
}

/* Hands the queued requests to the kernel, which runs those that need not wait; then, if wait, until
 * at least one of all has completed. */
static void enter(struct cr_worker *w, bool wait)
{
	struct io_uring *ring = w->state;

	for (uint32_t refused = 0;;) {
		int res = wait ? io_uring_submit_and_wait(ring, 1)
			       : io_uring_submit_and_get_events(ring);

		if (res >= 0 || res == -EINTR)
			return; /* the caller looks and comes again */
		CR_ASSERT(res == -EAGAIN || res == -EBUSY || res == -ENOMEM);
		if (io_uring_cq_ready(ring))
			return; /* room for the kernel's answers first */
		if (++refused > REFUSED_MAX && !(ring->flags & IORING_SETUP_SQPOLL)) {
			run_unsubmitted(w);
			return;
		}
		struct timespec ts = { 0, REFUSED_NAP_MS * 1000000L };
		nanosleep(&ts, NULL);
	}
}

static void uring_start(struct cr_worker *w, struct cr_file **files, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct cr_file *f = files[i];

		switch (cr_file_begin(f)) {
		case NEXT_CLOSE: queue_close(w, f); break;
		case NEXT_DONE:  cr_file_finish(w, f); break;
		case NEXT_AGAIN:
			if (f->job->step == STEP_OPEN)
				queue_open(w, f);
			else
				queue_read(w, f);
			break;
		}
	}
	enter(w, false);
}

static void uring_reap(struct cr_worker *w, bool wait)
{
	if (handle_ready(w) || !wait)
		return;
	enter(w, true);
	handle_ready(w);
}

const struct cr_backend_ops cr_uring_ops = {
	.name = "uring",
	.open = uring_open,
	.start = uring_start,
	.reap = uring_reap,
	.close = uring_close,
};
