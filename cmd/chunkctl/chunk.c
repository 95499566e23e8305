/* SPDX-License-Identifier: Apache-2.0 */
#include "chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Blocks ---- */

void blocks_find(const uint8_t *file, const struct cr_chunk *c, struct block_list *out)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;
	int more;

	out->n = 0;
	while ((more = cr_chunk_block_next(file, c, &cursor, &b)) > 0) {
		if (out->n == out->cap) {
			out->cap = out->cap ? 2 * out->cap : 64;
			out->list = mem_resize(out->list, out->cap * sizeof(*out->list));
		}
		out->list[out->n++] = b;
	}
	out->metas_bytes = cursor.metas_bytes;
	out->cut = more < 0;
}

/* ---- Scratch ---- */

static struct {
	pthread_mutex_t mu;
	struct scratch *free;
} scratches = { .mu = PTHREAD_MUTEX_INITIALIZER };

struct scratch *scratch_get(void)
{
	struct scratch *s;

	pthread_mutex_lock(&scratches.mu);
	s = scratches.free;
	if (s)
		scratches.free = s->next;
	pthread_mutex_unlock(&scratches.mu);
	if (s)
		return s;
	s = mem_zero(sizeof(*s));
	if (cr_decoder_open(&s->decoder) != 0)
		die("out of memory");
	s->json.max = CR_META_BYTES_MAX + 1;
	s->raw.max = s->symbols_raw.max = RAW_BYTES_MAX + 1;
	return s;
}

#define KEEP_BYTES (4u << 20) /* of a scratch's buffers: one giant block must not stay for ever */

void scratch_put(struct scratch *s)
{
	if (s->raw.cap > KEEP_BYTES)
		bytes_free(&s->raw);
	if (s->symbols_raw.cap > KEEP_BYTES)
		bytes_free(&s->symbols_raw);
	pthread_mutex_lock(&scratches.mu);
	s->next = scratches.free;
	scratches.free = s;
	pthread_mutex_unlock(&scratches.mu);
}

bool chunk_json(const uint8_t *file, const struct cr_chunk *c, struct scratch *s)
{
	s->json.n = 0;
	if (!bytes_room(&s->json, c->json_bytes + 1u))
		return false;
	if (cr_chunk_json(file, c, s->json.p, s->json.cap) != 0)
		return false;
	s->json.n = c->json_bytes;
	return true;
}

#define GUESS_BYTES_MIN (64u << 10)

uint32_t inflate(struct scratch *s, uint32_t codec, const uint8_t *p, uint64_t n, uint64_t guess,
		 struct bytes *out)
{
	uint64_t room = guess ? guess : n * 4;
	struct cr_decode d = { .src = p, .src_bytes = n, .codec = codec };

	out->n = 0;
	out->full = false;
	/* The guess comes from the file. What memory it may ask for is in proportion to the block
	 * until the decoder itself says more. */
	if (room > n * 32 + GUESS_BYTES_MIN)
		room = n * 32 + GUESS_BYTES_MIN;
	for (;;) { /* ends: room grows up to RAW_BYTES_MAX */
		if (room < GUESS_BYTES_MIN)
			room = GUESS_BYTES_MIN;
		if (room > RAW_BYTES_MAX)
			room = RAW_BYTES_MAX;
		if (!bytes_room(out, room))
			return CR_DECODE_ROOM;
		d.dst = out->p;
		d.cap_bytes = out->cap < RAW_BYTES_MAX ? out->cap : RAW_BYTES_MAX;
		cr_block_decode(s->decoder, &d);
		if (d.status == CR_DECODE_OK)
			out->n = d.raw_bytes;
		if (d.status != CR_DECODE_ROOM || d.cap_bytes == RAW_BYTES_MAX)
			return d.status;
		room = d.raw_bytes > d.cap_bytes ? d.raw_bytes : 2 * d.cap_bytes;
	}
}

uint32_t block_inflate(struct scratch *s, const uint8_t *file, const struct cr_chunk *c,
		       const struct cr_block *b, struct bytes *out)
{
	return inflate(s, c->codec, file + b->found_off, b->bytes, b->uncompressed_bytes, out);
}

const char *codec_name(uint32_t codec)
{
	static const char *const names[] = {
		[CR_CODEC_NONE] = "none",	  [CR_CODEC_GZIP] = "gzip",
		[CR_CODEC_LZ4_64K] = "lz4-64k",	  [CR_CODEC_SNAPPY] = "snappy",
		[CR_CODEC_LZ4_256K] = "lz4-256k", [CR_CODEC_LZ4_1M] = "lz4-1M",
		[CR_CODEC_LZ4_4M] = "lz4",	  [CR_CODEC_FLATE] = "flate",
		[CR_CODEC_ZSTD] = "zstd",
	};

	return codec < LEN(names) && names[codec] ? names[codec] : "unknown";
}

/* ---- Files ---- */

int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns)
{
	/* NONBLOCK: not to wait for the writer of a FIFO */
	int fd = openat(dir_fd, path,
			O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW)), err = 0;
	struct stat st;

	out->n = 0;
	if (fd < 0)
		return errno;
	if (fstat(fd, &st) != 0)
		err = errno;
	else if (!S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	else if (st.st_size > FILE_BYTES_MAX)
		err = EFBIG;
	if (!err) {
		if (mtime_ns)
			*mtime_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
		bytes_room(out, (size_t)st.st_size + 1);
	}
	while (!err && out->n < (size_t)st.st_size) {
		ssize_t n = read(fd, out->p + out->n, (size_t)st.st_size - out->n);

		if (n > 0)
			out->n += (size_t)n;
		else if (n == 0)
			break; /* it shrank: whoever looks at it will see */
		else if (errno != EINTR)
			err = errno;
	}
	close(fd);
	return err;
}
