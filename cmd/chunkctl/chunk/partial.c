/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is read goes to its place in a buffer of the file's size, whose other pages stay untouched: so
 * whatever takes a chunk in memory takes this one, too.
 */
#include "partial.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define WHOLE_BYTES     (128u << 10) /* up to here one read is cheaper than several */
#define BLOCK_BYTES_MIN (16u << 10)  /* on average: smaller blocks are not worth a read each */

static bool read_part(struct partial *p, int fd, uint64_t off, uint64_t end)
{
	size_t got;

	if (off >= end)
		return true;
	if (file_read_at(fd, p->file->p + off, end - off, off, &got) != 0 || got < end - off)
		return false;
	p->bytes_read += got;
	return true;
}

static bool read_ends(struct partial *p, int fd, uint64_t size)
{
	struct cr_ends ends = { .head = p->file->p, .file_bytes = size, .head_bytes = CR_ENDS_BYTES,
				.tail_bytes = CR_ENDS_BYTES };
	uint64_t head = 0, tail = 0; /* bytes that are there */
	uint32_t status;

	do { /* ends: an end that is asked for gets longer */
		if (!read_part(p, fd, head, ends.head_bytes) ||
		    !read_part(p, fd, size - ends.tail_bytes, size - tail))
			return false;
		head = ends.head_bytes;
		tail = ends.tail_bytes;
		ends.tail = p->file->p + (size - tail);
		status = cr_chunk_outline(&ends, &p->chunk);
	} while (status == CR_ENDS_MORE);
	return status == CR_ENDS_OK;
}

static bool is_wanted(const struct partial *p, const struct cr_block *b)
{
	return block_overlaps(b, p->since_ns, p->until_ns);
}

static bool worth_it(const struct partial *p)
{
	uint64_t bytes = 0;
	uint32_t wanted = 0;

	for (uint32_t i = 0; i < p->blocks->n; i++) {
		bytes += p->blocks->list[i].bytes;
		wanted += is_wanted(p, &p->blocks->list[i]);
	}
	return wanted < p->blocks->n && bytes / p->blocks->n >= BLOCK_BYTES_MIN;
}

/* The file's CRC32C is joined from its ends and the CRCs behind its blocks. */
static bool read_blocks(struct partial *p, int fd, uint64_t size)
{
	const uint8_t *file = (const uint8_t *)p->file->p;
	uint32_t crc = cr_crc32c(0, file, p->blocks->list[0].off);

	for (uint32_t i = 0; i < p->blocks->n; i++) {
		struct cr_block *b = &p->blocks->list[i];
		uint64_t end = b->off + b->bytes;
		uint32_t stored;

		if (!read_part(p, fd, is_wanted(p, b) ? b->off : end, end + CR_CHUNK_CRC_BYTES))
			return false;
		memcpy(&stored, file + end, sizeof(stored));
		if (is_wanted(p, b)) {
			if (cr_crc32c(0, file + b->off, b->bytes) != be32toh(stored))
				return false;
			b->state = CR_BLOCK_RECORDED;
		}
		crc = cr_crc32c_combine(crc, be32toh(stored), b->bytes);
		crc = cr_crc32c(crc, file + end, CR_CHUNK_CRC_BYTES);
	}
	return cr_crc32c(crc, file + p->chunk.metas_off, size - p->chunk.metas_off) == p->crc_want;
}

static bool read_from(struct partial *p, int fd, uint64_t size)
{
	if (size <= WHOLE_BYTES)
		return false;
	p->file->n = 0;
	if (!bytes_room(p->file, size) || !read_ends(p, fd, size))
		return false;
	blocks_list((const uint8_t *)p->file->p + p->chunk.metas_off, &p->chunk, p->blocks);
	return p->blocks->n && worth_it(p) && read_blocks(p, fd, size);
}

bool partial_read(struct partial *p)
{
	struct stat st;
	int fd = file_open(AT_FDCWD, p->path, false, &st);
	bool ok;

	p->bytes_read = 0;
	if (fd < 0)
		return false;
	ok = read_from(p, fd, (uint64_t)st.st_size);
	close(fd);
	return ok;
}
