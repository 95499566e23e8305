/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one file: what each result of a system call means for it. Whoever makes the call feeds its
 * result in and does what the answer says; statuses are set here and nowhere else.
 *
 *	IDLE -> OPENING -> DONE (sized) ... IDLE -> READING -> DONE (status is set)
 *	             \-> DONE (status is set: not a file to read)
 *
 * The size that a file is said to have is a hint: on some file systems it is 0, old or wrong. Where the file
 * ends is what a read says.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define MEASURE_BYTES 65536u /* read at a time to count a file's bytes */

static void set_state(struct cr_file *f, enum cr_file_state next)
{
	switch (next) {
	case FILE_OPENING:
	case FILE_READING:
		CR_ASSERT(f->state == FILE_IDLE);
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

/* The status is set. */
static enum cr_next end(struct cr_file *f)
{
	CR_ASSERT(f->req->status != CR_PENDING);
	set_state(f, FILE_DONE);
	return NEXT_DONE;
}

static enum cr_next fail(struct cr_file *f, enum cr_status status, int os_errno)
{
	cr_file_fail(f, status, os_errno);
	return end(f);
}

static enum cr_next fail_io(struct cr_file *f, enum cr_op op, int os_errno)
{
	f->req->op = op;
	return fail(f, CR_IO, os_errno);
}

void cr_file_stop(struct cr_file *f, enum cr_status why)
{
	fail(f, why, 0);
}

void cr_file_reset(struct cr_file *f)
{
	set_state(f, FILE_IDLE);
}

/* EINTR and EAGAIN mean "again" for a file, but not for ever. */
static bool may_retry(struct cr_file *f, int err)
{
	return (err == EINTR || err == EAGAIN) && ++f->retries <= CR_RETRIES_MAX;
}

/* Don't store the count in req->path_bytes: the caller may use the request again with another path. */
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

	if (cr_wave_stopped(f->wave, &why))
		return fail(f, why, 0);
	if (f->wave->step == STEP_READ) {
		set_state(f, FILE_READING);
		return NEXT_AGAIN;
	}
	if (!path_ok(f->req))
		return fail(f, CR_BAD_PATH, 0);
	set_state(f, FILE_OPENING);
	return NEXT_AGAIN;
}

enum cr_status cr_file_open_status(int err)
{
	switch (err) {
	case ENOENT:       return CR_NOT_FOUND;
	case ELOOP:        return CR_REFUSED; /* RESOLVE_NO_SYMLINKS, O_NOFOLLOW */
	case ENXIO:        return CR_NOT_REGULAR; /* a socket, or a device without its driver */
	case ENAMETOOLONG: return CR_BAD_PATH;
	default:           return CR_IO;
	}
}

/* The status of a file whose bytes are all there. */
static void judge(struct cr_file *f)
{
	struct cr_req *req = f->req;
	uint32_t flags = f->wave->batch->flags;
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

/* Whether the file has a byte behind the size that it was said to have. One that can't tell is asked
 * again, too. */
static bool more_behind(const struct cr_file *f)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	for (uint32_t i = 0; i < CR_RETRIES_MAX; i++) {
		ssize_t got = preadv2(f->fd, &iov, 1, f->req->size_bytes, RWF_NOWAIT);

		if (got < 0 && errno == EAGAIN)
			return true; /* it is there, but not in the page cache */
		if (got < 0)
			got = pread(f->fd, &byte, 1, f->req->size_bytes);
		if (got >= 0 || (errno != EINTR && errno != EAGAIN))
			return got != 0;
	}
	return true;
}

/* All that the file was said to hold is read. A file that says more than what was read is not judged by
 * its first part: batch.c tries it again, measured. Right bytes need no look. */
static enum cr_next whole(struct cr_file *f)
{
	bool checked = f->wave->batch->flags & (CR_CHECK_CRC | CR_CHECK_CHUNK);

	judge(f);
	if ((!checked || f->req->status != CR_OK) && f->tries < CR_GREW_TRIES)
		f->grew = more_behind(f);
	return end(f);
}

/* Its ends don't tell: batch.c reads more of it. Nobody sees this status. */
static enum cr_next want_more(struct cr_file *f)
{
	f->more = true;
	return fail(f, CR_TOO_SMALL, 0);
}

/* The file ended before the size that it was said to have. It may be all of the chunk: the checksum
 * knows. */
static enum cr_next ended_early(struct cr_file *f)
{
	struct cr_req *req = f->req;
	uint32_t said = req->size_bytes;

	if (f->head_bytes) {
		f->whole = true;
		return want_more(f);
	}
	req->size_bytes = req->want_bytes = f->got_bytes;
	judge(f);
	if (req->status != CR_OK) {
		req->status = CR_SHORT;
		req->size_bytes = req->want_bytes = said;
		req->crc_got = req->reason = req->blocks_bad = 0;
	}
	return end(f);
}

static enum cr_next ends(struct cr_file *f, bool wait)
{
	switch (cr_ends_judge(f, wait)) {
	case ENDS_MORE:  return want_more(f);
	case ENDS_BLOCK: return NEXT_BLOCK;
	case ENDS_STOP:  return NEXT_AGAIN; /* whoever may block looks for that first */
	case ENDS_GOOD:  break;
	}
	f->req->head_bytes = f->head_bytes;
	f->req->tail_bytes = f->tail_bytes;
	f->req->status = CR_OK;
	return end(f);
}

enum cr_next cr_file_judge(struct cr_file *f, bool wait)
{
	CR_ASSERT(f->state == FILE_READING && f->got_bytes == f->req->want_bytes);
	return f->head_bytes ? ends(f, wait) : whole(f);
}

/* ---- Open and size ---- */

/* The file's size by reading it, or -errno: for who says 0 though there is more, or less than there is.
 * Bounded: by the stop of the batch, and a file that is too big. */
static int64_t measured(struct cr_file *f)
{
	int64_t most = f->wave->ctx->file_bytes_max, bytes = 0;
	char scratch[MEASURE_BYTES];
	enum cr_status why;
	ssize_t got;

	do {
		if (cr_wave_stopped(f->wave, &why))
			return -ECANCELED;
		got = pread(f->fd, scratch, sizeof(scratch), bytes);
		if (got < 0 && !may_retry(f, errno))
			return -errno;
		if (got > 0)
			bytes += got;
	} while (got != 0 && bytes <= most);
	f->retries = 0;
	return bytes;
}

static enum cr_next sized(struct cr_file *f, int64_t bytes)
{
	if (bytes > f->wave->ctx->file_bytes_max)
		return fail(f, CR_TOO_BIG, 0);
	f->req->size_bytes = (uint32_t)bytes;
	cr_ends_plan(f);
	if (bytes == 0) { /* nothing to allocate or read, but still to judge */
		judge(f);
		return end(f);
	}
	set_state(f, FILE_DONE);
	return NEXT_DONE;
}

static enum cr_next measure(struct cr_file *f)
{
	int64_t bytes = measured(f);
	enum cr_status why;

	if (bytes >= 0)
		return sized(f, bytes);
	if (bytes == -ECANCELED && cr_wave_stopped(f->wave, &why))
		return fail(f, why, 0);
	return fail_io(f, CR_OP_READ, (int)-bytes);
}

/* The size of what is surely worth a read, or 0: fstat(2) has to say. lseek(2) takes a third of its time, 4 %
 * of a hot file of 4 KB. What it takes for a file though it is none has an end like one: a small block device,
 * which has no chunk's checksum, and on some file systems a folder, which says EISDIR to a read. */
static int64_t quick_size(const struct cr_file *f)
{
	off_t end = f->measure ? 0 : lseek(f->fd, 0, SEEK_END);

	return end > 0 && end <= f->wave->ctx->file_bytes_max ? end : 0;
}

enum cr_next cr_file_opened(struct cr_file *f, int res, bool wait)
{
	struct stat st;
	int64_t bytes;

	CR_ASSERT(f->state == FILE_OPENING);
	if (res < 0) {
		if (res == -EINTR && may_retry(f, EINTR)) /* EAGAIN was waited for */
			return NEXT_AGAIN;
		enum cr_status status = cr_file_open_status(-res);

		if (status == CR_IO)
			return fail_io(f, CR_OP_OPEN, -res);
		return fail(f, status, status == CR_REFUSED ? -res : 0);
	}
	f->fd = res;
	f->retries = 0;
	bytes = quick_size(f);
	if (bytes > 0)
		return sized(f, bytes);
	if (fstat(f->fd, &st) != 0)
		return fail_io(f, CR_OP_STAT, errno);
	if (!S_ISREG(st.st_mode))
		return fail(f, CR_NOT_REGULAR, 0);
	if (st.st_size < 0)
		return fail(f, CR_TOO_BIG, 0);
	if (st.st_size > 0 && !f->measure)
		return sized(f, st.st_size);
	return wait ? measure(f) : NEXT_BLOCK;
}

/* ---- Read ---- */

uint64_t cr_file_off(const struct cr_file *f)
{
	if (f->got_bytes < f->head_bytes)
		return f->got_bytes;
	/* the last bytes of what is read are the last of the file, whatever is left out before them */
	return f->req->size_bytes - (f->req->want_bytes - f->got_bytes);
}

void *cr_file_to(const struct cr_file *f)
{
	return (char *)f->req->buf + f->got_bytes;
}

uint32_t cr_file_ask(const struct cr_file *f)
{
	uint32_t end = f->got_bytes < f->head_bytes ? f->head_bytes : f->req->want_bytes;
	uint32_t left = end - f->got_bytes;

	return left < CR_READ_BYTES_MAX ? left : CR_READ_BYTES_MAX;
}

enum cr_next cr_file_read(struct cr_file *f, int64_t res, int64_t asked, bool wait)
{
	struct cr_req *req = f->req;
	enum cr_status why;

	CR_ASSERT(f->state == FILE_READING);
	CR_ASSERT(res <= asked);
	if (res < 0) {
		if (may_retry(f, (int)-res))
			return NEXT_AGAIN;
		if (res == -EISDIR)
			return fail(f, CR_NOT_REGULAR, 0);
		return fail_io(f, CR_OP_READ, (int)-res);
	}
	if (res == 0)
		return ended_early(f);
	/* Piece by piece, while it is in the cache. With CR_CHECK_CHUNK the pieces are the blocks,
	 * which are known only when the footer is there. */
	if ((f->wave->batch->flags & (CR_CHECK_CRC | CR_CHECK_CHUNK)) == CR_CHECK_CRC)
		f->crc = cr_crc32c(f->crc, (const char *)req->buf + f->got_bytes, (size_t)res);
	f->got_bytes += (uint32_t)res;
	f->retries = 0;
	if (f->got_bytes < req->want_bytes) {
		if (cr_wave_stopped(f->wave, &why))
			return fail(f, why, 0);
		return NEXT_AGAIN;
	}
	return cr_file_judge(f, wait);
}
