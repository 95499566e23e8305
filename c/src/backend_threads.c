/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step of one file by plain system calls. Every file goes this way first, without blocking; all of it
 * goes this way where io_uring is refused, and whatever a ring can't do: the reference for what any
 * back-end does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* 6.5; one number on all architectures */
#endif

/* ---- Open ---- */

/* O_NONBLOCK says EAGAIN while another process gives back a lease (a file server's oplock or delegation)
 * and while a file comes back from tape. Loki's own client waits in open(2), for at most
 * /proc/sys/fs/lease-break-time (45 s), where no cancel is heard: so that comes last. */
static int open_leased(const struct cr_file *f)
{
	const struct timespec nap = { 0, CR_LEASE_NAP_MS * 1000000L };
	enum cr_status why;

	for (uint32_t slept_ms = 0; slept_ms < CR_LEASE_WAIT_MS; slept_ms += CR_LEASE_NAP_MS) {
		int fd;

		if (cr_wave_stopped(f->wave, &why))
			return -EAGAIN;
		nanosleep(&nap, NULL);
		fd = cr_path_open(f->wave->ctx, f->req->path);
		if (fd != -EAGAIN)
			return fd;
	}
	return cr_path_open_waiting(f->wave->ctx, f->req->path);
}

int cr_plain_open(struct cr_file *f, bool wait)
{
	struct cr_ctx *ctx = f->wave->ctx;
	int fd;

	if (wait) {
		fd = cr_path_open(ctx, f->req->path);
		return fd == -EAGAIN ? open_leased(f) : fd;
	}
	fd = cr_path_open_cached(ctx, f->req->path);
	/* Nobody can tell whether it would block: try as long as opens here are quick. */
	return fd == -EOPNOTSUPP ? cr_path_open(ctx, f->req->path) : fd;
}

/* Whether opens are worth trying without blocking: not after two in a row that took long all the same.
 * (One may have waited for a CPU.) */
static bool opens_are_quick(struct cr_ctx *ctx)
{
	uint32_t slow = atomic_load_explicit(&ctx->slow_opens, memory_order_relaxed);

	if (slow) /* a count that is lost to another thread is no matter */
		atomic_store_explicit(&ctx->slow_opens, slow - 1, memory_order_relaxed);
	return slow == 0;
}

static void note_open(struct cr_ctx *ctx, uint64_t ns)
{
	uint32_t streak = atomic_load_explicit(&ctx->slow_streak, memory_order_relaxed);

	if (ns <= CR_SLOW_OPEN_NS) {
		if (streak)
			atomic_store_explicit(&ctx->slow_streak, 0, memory_order_relaxed);
	} else if (streak + 1 < CR_SLOW_STREAK) {
		atomic_store_explicit(&ctx->slow_streak, streak + 1, memory_order_relaxed);
	} else { /* the streak stays: one more, after these, and it begins anew */
		atomic_store_explicit(&ctx->slow_opens, CR_SLOW_OPENS, memory_order_relaxed);
	}
}

static enum cr_next try_open(struct cr_file *f)
{
	struct cr_ctx *ctx = f->wave->ctx;
	enum cr_next next;
	uint64_t begin;
	int fd;

	if (!opens_are_quick(ctx))
		return NEXT_BLOCK;
	begin = cr_now_ns();
	fd = ctx->ops->open(f, false);
	next = fd == -EAGAIN ? NEXT_BLOCK : cr_file_opened(f, fd, false);
	note_open(ctx, cr_now_ns() - begin);
	return next;
}

/* One that was opened to no avail while nobody might block has its descriptor already. */
static enum cr_next wait_open(struct cr_file *f)
{
	int fd = f->fd >= 0 ? f->fd : f->wave->ctx->ops->open(f, true);
	enum cr_status why;

	if (fd == -EAGAIN && cr_wave_stopped(f->wave, &why)) { /* it gave up waiting for that */
		cr_file_stop(f, why);
		return NEXT_DONE;
	}
	return cr_file_opened(f, fd, true);
}

/* ---- Read ---- */

bool cr_plain_cached(const struct cr_file *f, uint64_t off, uint64_t bytes)
{
	struct { __u64 off, len; } range = { off, bytes };
	struct { __u64 cached, dirty, writeback, evicted, recently_evicted; } pages;
	struct cr_ctx *ctx = f->wave->ctx;
	uint64_t page = ctx->page_bytes, end = off + bytes;

	if (atomic_load_explicit(&ctx->no_cachestat, memory_order_relaxed))
		return false;
	if (syscall(SYS_cachestat, f->fd, &range, &pages, 0) != 0) {
		if (errno == ENOSYS || errno == EPERM)
			atomic_store_explicit(&ctx->no_cachestat, true, memory_order_relaxed);
		return false;
	}
	return pages.cached >= (end + page - 1) / page - off / page;
}

static int64_t plain_pread(const struct cr_file *f, void *to, uint32_t ask, uint64_t off)
{
	ssize_t res = pread(f->fd, to, ask, (off_t)off);

	return res < 0 ? -errno : res;
}

int64_t cr_plain_read(const struct cr_file *f, void *to, uint32_t ask, uint64_t off, bool wait)
{
	struct iovec iov = { to, ask };
	ssize_t res;

	if (wait)
		return plain_pread(f, to, ask, off);
	res = preadv2(f->fd, &iov, 1, (off_t)off, RWF_NOWAIT);
	if (res >= 0)
		return res;
	if (errno == EAGAIN)
		return -EAGAIN;
	/* EOPNOTSUPP: FUSE, NFS, overlayfs and tmpfs don't know RWF_NOWAIT (6.18); ENOSYS: a sandbox that
	 * does not know preadv2(2) */
	return cr_plain_cached(f, off, ask) ? plain_pread(f, to, ask, off) : -EOPNOTSUPP;
}

/* A read that may not block has the kernel begin to fetch: of a file that is read at its ends both parts, so that
 * whoever waits for the first one finds the second under way. Its bytes are read again where they are wanted. */
static void start_tail(const struct cr_file *f)
{
	const struct cr_req *req = f->req;

	if (f->got_bytes < f->head_bytes)
		f->wave->ctx->ops->read(f, (char *)req->buf + f->head_bytes, f->tail_bytes,
					req->size_bytes - f->tail_bytes, false);
}

static enum cr_next try_read(struct cr_file *f)
{
	struct cr_ctx *ctx = f->wave->ctx;
	uint32_t ask = cr_file_ask(f);
	int64_t res;

	if (ask > CR_SLICE_BYTES)
		ask = CR_SLICE_BYTES; /* checksummed while in L2 */
	res = ctx->ops->read(f, cr_file_to(f), ask, cr_file_off(f), false);
	if (res >= 0)
		return cr_file_read(f, res, ask, false);
	if (res == -EAGAIN)
		start_tail(f);
	/* Only what a ring could wait for says EAGAIN; other errors are for pread(2) to say. */
	if (res == -EAGAIN && !f->no_ring && !atomic_load_explicit(&ctx->ring_off, memory_order_relaxed))
		return NEXT_RING;
	return NEXT_BLOCK;
}

/* Has the kernel fetch what comes next, all at once instead of in read-ahead's steps. Each call fetches no
 * more than the device's read-ahead (FUSE, NFS: 128 KiB), which the man page does not say (mm/readahead.c,
 * force_page_cache_ra). */
static void advise(struct cr_file *f)
{
	uint64_t end = (uint64_t)f->got_bytes + CR_ADVISE_BYTES;

	if (end > f->req->size_bytes)
		end = f->req->size_bytes;
	if (f->advised_bytes < f->got_bytes)
		f->advised_bytes = f->got_bytes;
	if (end - f->advised_bytes <= CR_READAHEAD_BYTES)
		return; /* the read itself does that */
	for (; f->advised_bytes < end; f->advised_bytes += CR_READAHEAD_BYTES)
		posix_fadvise(f->fd, f->advised_bytes, CR_READAHEAD_BYTES, POSIX_FADV_WILLNEED);
}

void cr_plain_fetch(const struct cr_file *f, uint64_t off, uint64_t bytes, bool backward)
{
	struct cr_ctx *ctx = f->wave->ctx;
	uint64_t page = ctx->page_bytes, before = off % page;

	if (atomic_load_explicit(&ctx->read_ahead, memory_order_relaxed) == READ_AHEAD_NO)
		return;
	/* Whole pages: a step that begins within one has a page more than the kernel takes at once, and it would
	 * leave out the last. */
	off -= before;
	bytes = (bytes + before + page - 1) / page * page;
	for (uint64_t done = 0; done < bytes;) { /* in steps: see advise() */
		uint64_t step = bytes - done < CR_READAHEAD_BYTES ? bytes - done : CR_READAHEAD_BYTES;

		done += step;
		posix_fadvise(f->fd, (off_t)(backward ? off + bytes - done : off + done - step), (off_t)step,
			      POSIX_FADV_WILLNEED);
	}
}

/* Whether reads here go through the page cache (FUSE's direct IO does not, though it fetches ahead into it when
 * it is told to: all would be read twice). The first large file of a context shows it, by a short read, or the
 * first that is read in parts. Where nobody can tell, they do. */
void cr_plain_learn(const struct cr_file *f, uint64_t off, uint64_t got)
{
	struct cr_ctx *ctx = f->wave->ctx;
	bool yes = cr_plain_cached(f, off, got) || atomic_load_explicit(&ctx->no_cachestat, memory_order_relaxed);

	atomic_store_explicit(&ctx->read_ahead, yes ? READ_AHEAD_YES : READ_AHEAD_NO, memory_order_relaxed);
}

static enum cr_next wait_read(struct cr_file *f)
{
	struct cr_ctx *ctx = f->wave->ctx;
	uint32_t ask = cr_file_ask(f);
	uint64_t off = cr_file_off(f);
	enum cr_read_ahead ahead = atomic_load_explicit(&ctx->read_ahead, memory_order_relaxed);
	bool learns = ahead == READ_AHEAD_UNKNOWN && (ask > CR_READAHEAD_BYTES || f->head_bytes);
	int64_t res;

	if (ask == 0) /* only its judgment might block */
		return cr_file_judge(f, true);
	if (learns && ask > CR_READAHEAD_BYTES)
		ask = CR_READAHEAD_BYTES;
	if (ahead == READ_AHEAD_YES && f->got_bytes < f->head_bytes)
		cr_plain_fetch(f, f->req->size_bytes - f->tail_bytes, f->tail_bytes, false);
	else if (ahead == READ_AHEAD_YES && !f->head_bytes)
		advise(f);
	res = ctx->ops->read(f, cr_file_to(f), ask, off, true);
	if (res > 0 && learns)
		cr_plain_learn(f, off, (uint64_t)res);
	if (res > 0 && f->no_ring)
		cr_ring_was_wrong(ctx);
	return cr_file_read(f, res, ask, true);
}

/* ---- Both ---- */

enum cr_next cr_file_run(struct cr_file *f, bool wait)
{
	enum cr_next next = f->state == FILE_IDLE ? cr_file_begin(f) : NEXT_AGAIN;
	bool opens = f->wave->step == STEP_OPEN;
	enum cr_status why;

	while (next == NEXT_AGAIN) { /* bounded by the size and CR_RETRIES_MAX: file.c */
		if (wait && cr_wave_stopped(f->wave, &why)) {
			cr_file_stop(f, why);
			return NEXT_DONE;
		}
		if (opens)
			next = wait ? wait_open(f) : try_open(f);
		else
			next = wait ? wait_read(f) : try_read(f);
	}
	return next;
}

const struct cr_backend_ops cr_threads_ops = {
	.name = "threads",
	.open = cr_plain_open,
	.read = cr_plain_read,
};
