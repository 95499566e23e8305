/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends are read to where they belong in a buffer of the file's size, whose other pages stay
 * untouched, so that a file that only as a whole tells what is in it is read around them.
 */
#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "contents.h"
#include "scratch.h"

#define WHOLE_BYTES (128u << 10) /* up to here one read is cheaper than several */

static int read_part(int fd, struct bytes *buf, size_t off, size_t end)
{
	while (off < end) {
		ssize_t got = pread(fd, buf->p + off, end - off, (off_t)off);

		if (got < 0 && errno != EINTR)
			return errno;
		if (got == 0)
			return EIO; /* it shrank */
		if (got > 0)
			off += (size_t)got;
	}
	return 0;
}

/* What the file's ends say, as far as they say it all: *told. */
static int read_ends(int fd, struct bytes *buf, size_t size, struct peek *out, bool *told)
{
	struct cr_ends ends = { .head = buf->p, .file_bytes = size, .head_bytes = CR_ENDS_BYTES,
				.tail_bytes = CR_ENDS_BYTES };
	uint64_t head = 0, tail = 0; /* bytes that are there */
	uint32_t status;
	int err;

	do { /* ends: an end that is asked for gets longer */
		err = read_part(fd, buf, head, ends.head_bytes);
		if (!err)
			err = read_part(fd, buf, size - ends.tail_bytes, size - tail);
		if (err)
			return err;
		head = ends.head_bytes;
		tail = ends.tail_bytes;
		ends.tail = buf->p + (size - tail);
		status = cr_chunk_outline(&ends, &out->chunk);
	} while (status == CR_ENDS_MORE);
	*told = status == CR_ENDS_OK;
	return 0;
}

static void sum_blocks(const struct bytes *buf, struct peek *out)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;

	out->mint_ns = INT64_MAX;
	out->maxt_ns = INT64_MIN;
	while (cr_chunk_meta_next(buf->p + out->chunk.metas_off, &out->chunk, &cursor, &b) > 0) {
		out->entries += b.entries;
		out->raw_bytes += b.uncompressed_bytes;
		out->mint_ns = b.mint_ns < out->mint_ns ? b.mint_ns : out->mint_ns;
		out->maxt_ns = b.maxt_ns > out->maxt_ns ? b.maxt_ns : out->maxt_ns;
	}
}

static int read_file(int fd, struct bytes *buf, size_t size, struct peek *out)
{
	bool told = false;
	int err = size > WHOLE_BYTES ? read_ends(fd, buf, size, out, &told) : 0;

	if (err || told)
		return err;
	err = read_part(fd, buf, 0, size);
	if (!err)
		out->reason = cr_chunk_parse(buf->p, size, &out->chunk);
	return err;
}

int chunk_peek(int dir_fd, const char *path, struct scratch *s, struct bytes *buf, struct peek *out)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), err = 0;
	struct stat st;

	*out = (struct peek){ 0 };
	if (fd < 0)
		return errno;
	if (fstat(fd, &st) != 0)
		err = errno;
	else if (!S_ISREG(st.st_mode))
		err = EINVAL;
	else if (st.st_size > FILE_BYTES_MAX)
		err = EFBIG;
	if (!err) {
		buf->n = 0;
		buf->max = FILE_BYTES_MAX + 1;
		bytes_room(buf, (size_t)st.st_size + 1);
		err = read_file(fd, buf, (size_t)st.st_size, out);
		out->chunk.file_bytes = (uint64_t)st.st_size;
	}
	close(fd);
	if (err)
		return err;
	/* all of what does not parse was read */
	out->foreign = out->reason != CR_REASON_NONE &&
		       !cr_chunk_resembles(buf->p, out->chunk.file_bytes);
	out->meta = chunk_meta((uint8_t *)buf->p, &out->chunk, s, &s->meta);
	if (out->reason == CR_REASON_NONE)
		sum_blocks(buf, out);
	return 0;
}
