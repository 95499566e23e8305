/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain system calls, one file after the other: where io_uring is refused, for a batch of one, and
 * the reference for what any back-end does.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

static int threads_open(struct cr_worker *w, const char **step)
{
	(void)w;
	(void)step;
	return 0;
}

static void run_open(struct cr_worker *w, struct cr_file *f)
{
	bool cold = f->job->n == 1; /* nobody to wake: no reason to look first */
	enum cr_next next;

	do {
		int fd = cold ? -EAGAIN : cr_path_open_cached(w->ctx, f->req->path);

		if (fd == -EAGAIN) { /* the path has to be read from the disk or a server */
			if (!cold)
				cr_wake_for_blocking(w);
			cold = true;
			fd = cr_path_open(w->ctx, f->req->path);
		}
		next = cr_file_opened(f, fd);
	} while (next == NEXT_AGAIN); /* bounded by CR_RETRIES_MAX */
	if (next == NEXT_CLOSE) {
		close(f->fd);
		cr_file_closed(f);
	}
}

/* What is in the page cache, without ever blocking. */
static ssize_t read_cached(const struct cr_file *f, uint32_t ask)
{
	struct iovec iov = { (char *)f->req->buf + f->got_bytes, ask };

	return preadv2(f->fd, &iov, 1, f->got_bytes, RWF_NOWAIT);
}

static void run_read(struct cr_worker *w, struct cr_file *f)
{
	bool cold = false;
	enum cr_next next;

	do {
		uint32_t ask = cr_file_ask(f);
		ssize_t res = -1;

		if (ask > CR_SLICE_BYTES && !cold)
			ask = CR_SLICE_BYTES; /* checksummed while in L2 */
		if (!cold)
			res = read_cached(f, ask);
		if (res <= 0) { /* not cached, or a file system without RWF_NOWAIT */
			if (!cold) {
				cold = true;
				/* all of the file at once instead of readahead's steps */
				posix_fadvise(f->fd, 0, 0, POSIX_FADV_WILLNEED);
				if (f->job->n > 1)
					cr_wake_for_blocking(w);
				ask = cr_file_ask(f);
			}
			res = cr_file_pread(f, ask);
		}
		next = cr_file_read(w, f, res, ask);
	} while (next == NEXT_AGAIN); /* bounded by the size and CR_RETRIES_MAX */
	close(f->fd);
	cr_file_closed(f);
}

static void threads_start(struct cr_worker *w, struct cr_file **files, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct cr_file *f = files[i];
		enum cr_next next = cr_file_begin(f);

		if (next == NEXT_CLOSE) {
			close(f->fd);
			cr_file_closed(f);
		} else if (next == NEXT_AGAIN) {
			if (f->job->step == STEP_OPEN)
				run_open(w, f);
			else
				run_read(w, f);
		}
		cr_file_finish(w, f);
	}
}

static void threads_reap(struct cr_worker *w, bool wait)
{
	(void)w;
	(void)wait;
	CR_ASSERT(false); /* start leaves nothing in flight */
}

static void threads_close(struct cr_worker *w)
{
	(void)w;
}

const struct cr_backend_ops cr_threads_ops = {
	.name = "threads",
	.open = threads_open,
	.start = threads_start,
	.reap = threads_reap,
	.close = threads_close,
};
