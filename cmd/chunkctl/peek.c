/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata is at the start of the file, the footer at its end, and that says where the rest is.
 * The parts are read to where they belong in a buffer of the file's size, whose other pages stay
 * untouched, and cr_chunk_parse() does the rest: it looks at blocks only when they are misplaced, and
 * then everything is read.
 */
#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../c/src/bytes.h"

#define WHOLE_BYTES (128u << 10) /* up to here one read is cheaper than several */
#define HEAD_BYTES  (16u << 10)
#define TAIL_BYTES  (16u << 10)
#define MAGIC       0x012ee56au

static int read_part(int fd, struct bytes *buf, size_t off, size_t n)
{
	while (n) {
		ssize_t got = pread(fd, buf->p + off, n, (off_t)off);

		if (got < 0 && errno != EINTR)
			return errno;
		if (got == 0)
			return EIO; /* it shrank */
		if (got > 0) {
			off += (size_t)got;
			n -= (size_t)got;
		}
	}
	return 0;
}

/* Reads a section and the CRC behind it, if it can be one and is not there yet. */
static int read_section(int fd, struct bytes *buf, size_t size, uint64_t data_off, uint64_t off,
			uint64_t n)
{
	if (off > size || n > size || data_off + off + n + 4 > size)
		return 0; /* cr_chunk_parse() will say so */
	off += data_off;
	n += 4;
	if (off + n <= HEAD_BYTES || off >= size - TAIL_BYTES)
		return 0;
	return read_part(fd, buf, off, n);
}

/* 0, an errno, or -1: read all of it. */
static int read_ends(int fd, struct bytes *buf, size_t size)
{
	const uint8_t *p = (const uint8_t *)buf->p, *end = p + size;
	uint64_t data_off;
	uint32_t meta;
	int err = read_part(fd, buf, 0, HEAD_BYTES);

	if (!err)
		err = read_part(fd, buf, size - TAIL_BYTES, TAIL_BYTES);
	if (err)
		return err;
	meta = cr_be32(p);
	if (meta > HEAD_BYTES - 16)
		return -1;
	data_off = cr_be32(p + meta + 4) == MAGIC ? meta + 4u : meta + 8u;
	if (cr_be32(p + data_off) != MAGIC)
		return -1;
	if (p[data_off + 4] != 4) {
		uint64_t off = cr_be64(end - 8);

		return off > size - data_off - 12 ? -1 :
		       read_section(fd, buf, size, data_off, off, size - data_off - 12 - off);
	}
	err = read_section(fd, buf, size, data_off, cr_be64(end - 8), cr_be64(end - 16));
	return err ? err : read_section(fd, buf, size, data_off, cr_be64(end - 24),
					cr_be64(end - 32));
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
	bool whole = size <= WHOLE_BYTES;
	int err = whole ? read_part(fd, buf, 0, size) : read_ends(fd, buf, size);

	if (err > 0)
		return err;
	if (err == 0)
		out->reason = cr_chunk_parse(buf->p, size, &out->chunk);
	if (err < 0 || (!whole && out->reason != CR_REASON_NONE)) {
		err = read_part(fd, buf, 0, size);
		if (err)
			return err;
		out->reason = cr_chunk_parse(buf->p, size, &out->chunk);
	}
	return 0;
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
	out->meta = out->chunk.frames_bytes && chunk_json((uint8_t *)buf->p, &out->chunk, s) &&
		    meta_read(&s->meta, s->json.p, s->json.n);
	if (out->reason == CR_REASON_NONE)
		sum_blocks(buf, out);
	return 0;
}
