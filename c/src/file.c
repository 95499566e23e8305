/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one file: what each result of a system call means for it. A back-end feeds results in
 * and does what the answer says; statuses are set here and nowhere else.
 *
 *	IDLE -> OPENING -> DONE (sized, still open) ... IDLE -> READING -> CLOSING -> DONE
 *	             \-> CLOSING -> DONE (not a file to read)
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

static void set_state(struct cr_file *f, enum cr_file_state next)
{
	switch (next) {
	case FILE_OPENING:
	case FILE_READING:
		CR_ASSERT(f->state == FILE_IDLE);
		break;
	case FILE_CLOSING:
		CR_ASSERT(f->fd >= 0 && f->state != FILE_CLOSING && f->state != FILE_DONE);
		break;
	case FILE_DONE:
		CR_ASSERT(f->state != FILE_DONE);
		break;
	case FILE_IDLE:
		CR_ASSERT(f->state == FILE_DONE);
		break;
	}
	f->state = (uint8_t)next;
}

void cr_file_fail(struct cr_file *f, enum cr_status status, int os_errno)
{
	CR_ASSERT(f->req->status == CR_PENDING && status != CR_PENDING);
	f->req->os_errno = (uint32_t)os_errno;
	f->req->status = status;
}

static enum cr_next fail_and_close(struct cr_file *f, enum cr_status status, int os_errno)
{
	cr_file_fail(f, status, os_errno);
	set_state(f, FILE_CLOSING);
	return NEXT_CLOSE;
}

/* EINTR and EAGAIN mean "again" for a file, but not for ever. */
static bool may_retry(struct cr_file *f, int err)
{
	return (err == EINTR || err == EAGAIN) && ++f->retries <= CR_RETRIES_MAX;
}

/* path_bytes is the caller's: what is counted here must not be there when it is used again. */
static bool path_ok(const struct cr_req *req)
{
	uint32_t bytes = req->path_bytes;

	if (!bytes)
		bytes = (uint32_t)strnlen(req->path, CR_PATH_BYTES_MAX);
	return cr_path_ok(req->path, bytes);
}

enum cr_next cr_file_begin(struct cr_file *f)
{
	enum cr_status why;

	if (f->job->step == STEP_READ) {
		if (cr_job_stopped(f->job, &why))
			return fail_and_close(f, why, 0);
		set_state(f, FILE_READING);
		return NEXT_AGAIN;
	}
	if (cr_job_stopped(f->job, &why)) {
		cr_file_fail(f, why, 0);
		return NEXT_DONE;
	}
	if (!path_ok(f->req)) {
		cr_file_fail(f, CR_BAD_PATH, 0);
		return NEXT_DONE;
	}
	set_state(f, FILE_OPENING);
	return NEXT_AGAIN;
}

static enum cr_status open_status(int err)
{
	switch (err) {
	case ENOENT:       return CR_NOT_FOUND;
	case ELOOP:        /* RESOLVE_NO_SYMLINKS, O_NOFOLLOW */
	case EXDEV:        return CR_REFUSED; /* RESOLVE_BENEATH */
	case ENXIO:        return CR_NOT_REGULAR; /* a socket, or a device without its driver */
	case ENAMETOOLONG: return CR_BAD_PATH;
	default:           return CR_IO;
	}
}

/* The status of a file whose bytes are all there. */
static void judge(struct cr_file *f)
{
	struct cr_req *req = f->req;
	uint32_t flags = f->job->batch->flags;
	enum cr_status status = CR_OK;
	bool blocks_ok = false;

	if (flags & CR_CHECK_CHUNK) {
		struct cr_verdict v;

		cr_chunk_verify(req->buf, req->size_bytes, &v);
		f->crc = v.crc;
		req->blocks_bad = v.blocks_bad;
		if (v.reason != CR_REASON_NONE) {
			req->reason = v.reason;
			status = CR_BAD_FORMAT;
		}
		blocks_ok = v.blocks_bad == 0 && v.blocks_moved == 0;
	}
	if (flags & (CR_CHECK_CRC | CR_CHECK_CHUNK)) {
		req->crc_got = f->crc;
		/* It outranks the structure, as in Loki: what the CRC calls damaged is damaged, and
		 * where it shows inside says little. reason stays readable. */
		if (f->crc != req->crc_want)
			status = CR_BAD_CRC;
	}
	if (status == CR_OK && blocks_ok)
		req->flags |= CR_REQ_BLOCKS_OK;
	req->status = status;
}

enum cr_next cr_file_opened(struct cr_file *f, int res)
{
	struct stat st;

	CR_ASSERT(f->state == FILE_OPENING && f->fd < 0);
	if (res < 0) {
		if (may_retry(f, -res))
			return NEXT_AGAIN;
		enum cr_status status = open_status(-res);

		cr_file_fail(f, status, status == CR_IO || status == CR_REFUSED ? -res : 0);
		return NEXT_DONE;
	}
	f->fd = res;
	f->retries = 0;
	if (fstat(f->fd, &st) != 0)
		return fail_and_close(f, CR_IO, errno);
	if (!S_ISREG(st.st_mode))
		return fail_and_close(f, CR_NOT_REGULAR, 0);
	if (st.st_size < 0 || (uint64_t)st.st_size > f->job->ctx->file_bytes_max)
		return fail_and_close(f, CR_TOO_BIG, 0);
	f->req->size_bytes = (uint32_t)st.st_size;
	if (st.st_size == 0) { /* nothing to allocate or read, but still to judge */
		judge(f);
		set_state(f, FILE_CLOSING);
		return NEXT_CLOSE;
	}
	return NEXT_DONE;
}

uint32_t cr_file_ask(const struct cr_file *f)
{
	uint32_t left = f->req->size_bytes - f->got_bytes;

	return left < CR_READ_BYTES_MAX ? left : CR_READ_BYTES_MAX;
}

int64_t cr_file_pread(const struct cr_file *f, uint32_t ask)
{
	ssize_t res = pread(f->fd, (char *)f->req->buf + f->got_bytes, ask, f->got_bytes);

	return res < 0 ? -errno : res;
}

enum cr_next cr_file_read(struct cr_worker *w, struct cr_file *f, int64_t res, int64_t asked)
{
	struct cr_req *req = f->req;
	enum cr_status why;

	CR_ASSERT(f->state == FILE_READING);
	CR_ASSERT(res <= asked);
	if (res < 0) {
		if (may_retry(f, (int)-res))
			return NEXT_AGAIN;
		return fail_and_close(f, CR_IO, (int)-res);
	}
	if (res == 0)
		return fail_and_close(f, CR_SHORT, 0);
	/* Piece by piece, while it is in the cache. With CR_CHECK_CHUNK the pieces are the blocks,
	 * which are known only when the footer is there. */
	if ((f->job->batch->flags & (CR_CHECK_CRC | CR_CHECK_CHUNK)) == CR_CHECK_CRC)
		f->crc = cr_crc32c(f->crc, (const char *)req->buf + f->got_bytes, (size_t)res);
	f->got_bytes += (uint32_t)res;
	f->retries = 0;
	if (f->got_bytes < req->size_bytes) {
		if (cr_job_stopped(f->job, &why))
			return fail_and_close(f, why, 0);
		return NEXT_AGAIN;
	}
	judge(f);
	if (req->status == CR_OK)
		cr_worker_ready(w, f);
	set_state(f, FILE_CLOSING);
	return NEXT_CLOSE;
}

void cr_file_closed(struct cr_file *f)
{
	CR_ASSERT(f->state == FILE_CLOSING);
	f->fd = -1;
}

void cr_file_close_now(struct cr_file *f)
{
	/* Nothing was written, so an error of close has nothing to say; on Linux the descriptor is
	 * gone in any case, EINTR included. */
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

void cr_file_finish(struct cr_worker *w, struct cr_file *f)
{
	CR_ASSERT(w->in_flight > 0);
	CR_ASSERT(f->fd >= 0 || f->req->status != CR_PENDING);
	if (w->done_job != f->job) {
		cr_worker_flush(w);
		w->done_job = f->job;
	}
	if (f->job->step == STEP_OPEN && f->req->status == CR_OK)
		cr_worker_ready(w, f); /* empty: there was nothing to read */
	set_state(f, FILE_DONE);
	w->done++;
	w->in_flight--;
}

void cr_file_rest(struct cr_file *f)
{
	set_state(f, FILE_IDLE);
}
