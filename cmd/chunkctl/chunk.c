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
	return s;
}

#define KEEP_BYTES (4u << 20) /* of a scratch's buffers: one giant block must not stay for ever */

void scratch_put(struct scratch *s)
{
	if (s->raw.cap_bytes > KEEP_BYTES) {
		free(s->raw.p);
		s->raw = (struct cr_buf){ 0 };
	}
	pthread_mutex_lock(&scratches.mu);
	s->next = scratches.free;
	scratches.free = s;
	pthread_mutex_unlock(&scratches.mu);
}

/* ---- The library's calls ---- */

static int memory_or_die(int result)
{
	if (result == -ENOMEM)
		die("out of memory");
	return result;
}

bool chunk_meta(const uint8_t *file, const struct cr_chunk *c, struct scratch *s, struct cr_meta *m)
{
	s->json.n = 0;
	if (!c->frames_bytes || !bytes_room(&s->json, c->json_bytes + 1u) ||
	    cr_chunk_json(file, c, s->json.p, s->json.cap) != 0) {
		cr_meta_free(m);
		return false;
	}
	s->json.n = c->json_bytes;
	return memory_or_die(cr_meta_read(m, s->json.p, s->json.n)) == 0;
}

const char *symbols_read(struct cr_symbols *sy, struct scratch *s, const uint8_t *file,
			 const struct cr_chunk *c)
{
	memory_or_die(cr_symbols_read(sy, s->decoder, file, c));
	return sy->error;
}

bool entries_next(struct cr_entries *r, struct cr_entry *e)
{
	return memory_or_die(cr_entries_next(r, e)) > 0;
}

uint32_t inflate(struct scratch *s, uint32_t codec, const uint8_t *p, uint64_t n, uint64_t guess,
		 struct cr_buf *out)
{
	uint32_t status = cr_block_decode_grow(s->decoder, codec, p, n, guess, out);

	if (status == CR_DECODE_NO_MEMORY)
		die("out of memory");
	return status;
}

uint32_t block_inflate(struct scratch *s, const uint8_t *file, const struct cr_chunk *c,
		       const struct cr_block *b, struct cr_buf *out)
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
