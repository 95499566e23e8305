/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of a file, at the moment it is wanted: a batch of one file on the thread that called. Nothing outlives
 * the call but what the decompressor keeps, so nothing has to be released when an iterator is dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block.h"
#include "bytes.h"
#include "codec_sniff.h"
#include "internal.h"

static const char *const status_names[] = {
	[CR_BLOCK_READ_PENDING]   = "pending",
	[CR_BLOCK_READ_OK]        = "ok",
	[CR_BLOCK_READ_NOT_FOUND] = "not_found",
	[CR_BLOCK_READ_SHORT]     = "short",
	[CR_BLOCK_READ_BAD_CRC]   = "bad_crc",
	[CR_BLOCK_READ_IO]        = "io",
	[CR_BLOCK_READ_ROOM]      = "room",
	[CR_BLOCK_READ_BAD]       = "bad",
	[CR_BLOCK_READ_UNSURE]    = "unsure",
	[CR_BLOCK_READ_NO_MEMORY] = "no_memory",
	[CR_BLOCK_READ_REFUSED]   = "refused",
};

_Static_assert(sizeof(status_names) / sizeof(status_names[0]) == CR_BLOCK_READ_STATUS_COUNT,
	       "one entry a status");

const char *cr_block_read_status_name(uint32_t status)
{
	return status < CR_BLOCK_READ_STATUS_COUNT ? status_names[status] : "unknown";
}

/* What the calls of a back-end want to know of a file. */
struct one {
	struct cr_req   req;
	struct cr_batch batch;
	struct cr_wave  wave;
	struct cr_file  file;
};

static void one_init(struct one *one, struct cr_ctx *ctx, const struct cr_block_read *b)
{
	memset(one, 0, sizeof(*one));
	one->req.path = b->path;
	one->wave.ctx = ctx;
	one->wave.batch = &one->batch;
	one->file = (struct cr_file){ .req = &one->req, .wave = &one->wave, .fd = -1 };
}

static uint32_t fail(struct cr_block_read *b, uint32_t status, int os_errno)
{
	b->os_errno = (uint32_t)os_errno;
	return b->status = status;
}

static uint32_t fail_io(struct cr_block_read *b, enum cr_op op, int os_errno)
{
	b->op = op;
	return fail(b, CR_BLOCK_READ_IO, os_errno);
}

/* ---- The file ---- */

static uint32_t open_failed(struct cr_block_read *b, int err)
{
	switch (cr_file_open_status(err)) {
	case CR_NOT_FOUND: return fail(b, CR_BLOCK_READ_NOT_FOUND, 0);
	case CR_IO:        return fail_io(b, CR_OP_OPEN, err);
	default:           return fail(b, CR_BLOCK_READ_REFUSED, err);
	}
}

static uint32_t open_file(struct one *one, struct cr_block_read *b)
{
	struct cr_file *f = &one->file;
	int fd = -EINTR;
	struct stat st;

	one->wave.step = STEP_OPEN;
	for (uint32_t i = 0; i < CR_RETRIES_MAX && fd == -EINTR; i++)
		fd = one->wave.ctx->ops->open(f, true);
	if (fd < 0)
		return open_failed(b, -fd);
	f->fd = fd;
	one->wave.step = STEP_READ;
	if (fstat(fd, &st) != 0)
		return fail_io(b, CR_OP_STAT, errno);
	if (!S_ISREG(st.st_mode))
		return fail(b, CR_BLOCK_READ_REFUSED, 0);
	return CR_BLOCK_READ_OK;
}

static uint32_t read_part(struct one *one, struct cr_block_read *b, uint64_t off, void *to, uint32_t bytes)
{
	uint32_t got = 0, retries = 0;

	while (got < bytes) { /* bounded by the bytes and CR_RETRIES_MAX */
		int64_t res = one->wave.ctx->ops->read(&one->file, (char *)to + got, bytes - got, off + got, true);

		if (res == 0)
			return fail(b, CR_BLOCK_READ_SHORT, 0);
		if (res > 0) {
			got += (uint32_t)res;
			retries = 0;
		} else if ((res != -EINTR && res != -EAGAIN) || ++retries > CR_RETRIES_MAX) {
			return fail_io(b, CR_OP_READ, (int)-res);
		}
	}
	return CR_BLOCK_READ_OK;
}

/* The block into to, and its CRC behind it into stored: with one read where that is what follows. */
static uint32_t read_block(struct one *one, struct cr_block_read *b, uint8_t *to, uint8_t *stored)
{
	struct cr_ctx *ctx = one->wave.ctx;
	bool joined = stored == to + b->bytes;
	uint32_t status;

	if (b->next_bytes)
		cr_plain_fetch(&one->file, b->next_off, b->next_bytes, false);
	status = read_part(one, b, b->off, to, b->bytes + (joined ? CR_CHUNK_CRC_BYTES : 0));
	if (status == CR_BLOCK_READ_OK && !joined)
		status = read_part(one, b, b->off + b->bytes, stored, CR_CHUNK_CRC_BYTES);
	if (status == CR_BLOCK_READ_OK &&
	    atomic_load_explicit(&ctx->read_ahead, memory_order_relaxed) == READ_AHEAD_UNKNOWN)
		cr_plain_learn(&one->file, b->off, b->bytes);
	return status;
}

static bool starved(const struct cr_block_read *b)
{
	return b->status == CR_BLOCK_READ_IO && (b->os_errno == EMFILE || b->os_errno == ENFILE);
}

static bool stale(const struct cr_block_read *b)
{
	return b->status == CR_BLOCK_READ_IO && b->os_errno == ESTALE;
}

/* From the caller's descriptor. False: the server knows it no more, and the path has to be walked again. */
static bool read_open_file(struct one *one, struct cr_block_read *b, uint8_t *to, uint8_t *stored)
{
	one->file.fd = b->fd;
	one->wave.step = STEP_READ;
	b->status = read_block(one, b, to, stored);
	one->file.fd = -1;
	return !stale(b);
}

/* Tries again as a batch does: see batch.c. Bounded by the naps and CR_STALE_TRIES. */
static uint32_t read_file(struct one *one, struct cr_block_read *b, uint8_t *to, uint8_t *stored)
{
	const struct timespec nap = { 0, CR_STARVED_NAP_MS * 1000000L };
	uint32_t naps = CR_STARVED_WAIT_MS / CR_STARVED_NAP_MS, stales = 0;

	if (b->fd > 0 && read_open_file(one, b, to, stored))
		return b->status;
	for (;;) {
		b->os_errno = b->op = 0;
		b->status = open_file(one, b);
		if (b->status == CR_BLOCK_READ_OK)
			b->status = read_block(one, b, to, stored);
		if (one->file.fd >= 0)
			close(one->file.fd);
		one->file.fd = -1;
		if (starved(b) && naps-- > 0)
			nanosleep(&nap, NULL);
		else if (!stale(b) || stales++ == CR_STALE_TRIES)
			return b->status;
	}
}

/* One descriptor of those that all may hold together, while the file is open. */
static uint32_t read_checked(struct cr_ctx *ctx, struct cr_block_read *b, uint8_t *to, uint8_t *stored)
{
	struct one one;

	one_init(&one, ctx, b);
	cr_files_promise(&one.wave, 1); /* nobody stops it: there is one in the end */
	read_file(&one, b, to, stored);
	cr_files_give_back(ctx, 1);
	if (b->status != CR_BLOCK_READ_OK)
		return b->status;
	b->crc_got = cr_crc32c(0, to, b->bytes);
	if (b->crc_got != cr_be32(stored))
		b->status = CR_BLOCK_READ_BAD_CRC;
	return b->status;
}

/* False: it is no block to read, and the status says why. */
static bool begin(struct cr_block_read *b)
{
	uint32_t path_bytes = b->path_bytes ? b->path_bytes : (uint32_t)strnlen(b->path, CR_PATH_BYTES_MAX);

	b->raw_bytes = 0;
	b->status = CR_BLOCK_READ_PENDING;
	b->os_errno = b->op = b->crc_got = 0;
	if (b->bytes > CR_BLOCK_BYTES_MAX || !cr_path_ok(b->path, path_bytes))
		b->status = CR_BLOCK_READ_REFUSED;
	return b->status == CR_BLOCK_READ_PENDING;
}

/* ---- With the bytes where the caller wants them ---- */

static uint32_t into_dst(struct cr_ctx *ctx, struct cr_block_read *b)
{
	uint8_t stored[CR_CHUNK_CRC_BYTES];

	if (b->bytes > b->cap_bytes) {
		b->raw_bytes = b->bytes;
		return b->status = CR_BLOCK_READ_ROOM;
	}
	if (read_checked(ctx, b, b->dst, stored) == CR_BLOCK_READ_OK)
		b->raw_bytes = b->bytes;
	return b->status;
}

uint32_t cr_block_read_raw(struct cr_ctx *ctx, struct cr_block_read *b)
{
	return begin(b) ? into_dst(ctx, b) : b->status;
}

/* ---- Decompressed ---- */

/* Old bytes are not kept: nothing of them is copied. */
static uint8_t *scratch(struct cr_decompressor *decompressor, size_t need)
{
	struct cr_buf *s = &decompressor->scratch;
	size_t steps = (need + CR_SCRATCH_STEP_BYTES - 1) / CR_SCRATCH_STEP_BYTES;

	if (need <= s->cap_bytes)
		return s->p;
	free(s->p);
	s->p = malloc(steps * CR_SCRATCH_STEP_BYTES);
	s->cap_bytes = s->p ? steps * CR_SCRATCH_STEP_BYTES : 0;
	return s->p;
}

void cr_scratch_trim(struct cr_decompressor *decompressor, size_t keep_bytes)
{
	struct cr_buf *s = &decompressor->scratch;

	if (s->cap_bytes <= keep_bytes)
		return;
	free(s->p);
	*s = (struct cr_buf){ 0 };
}

static uint32_t status_of(uint32_t decompressed)
{
	switch (decompressed) {
	case CR_DECOMPRESS_OK:        return CR_BLOCK_READ_OK;
	case CR_DECOMPRESS_ROOM:      return CR_BLOCK_READ_ROOM;
	case CR_DECOMPRESS_UNSURE:    return CR_BLOCK_READ_UNSURE;
	case CR_DECOMPRESS_NO_MEMORY: return CR_BLOCK_READ_NO_MEMORY;
	default:                      return CR_BLOCK_READ_BAD;
	}
}

static uint32_t decompressed(struct cr_ctx *ctx, struct cr_decompressor *decompressor, struct cr_block_read *b)
{
	uint8_t *block = scratch(decompressor, b->bytes + CR_CHUNK_CRC_BYTES);
	struct cr_decompress d = { .src = block, .src_bytes = b->bytes, .dst = b->dst,
				   .cap_bytes = b->cap_bytes, .codec = b->codec };

	if (!block)
		return b->status = CR_BLOCK_READ_NO_MEMORY;
	if (read_checked(ctx, b, block, block + b->bytes) == CR_BLOCK_READ_OK) {
		b->status = status_of(cr_block_decompress(decompressor, &d));
		b->raw_bytes = d.raw_bytes;
	}
	cr_scratch_trim(decompressor, CR_SCRATCH_KEEP_BYTES);
	return b->status;
}

/* A flipped bit makes CR_CODEC_NONE of other codecs, and no checksum of the block's tells. */
static uint32_t not_compressed(struct cr_ctx *ctx, struct cr_block_read *b)
{
	if (into_dst(ctx, b) == CR_BLOCK_READ_OK && !cr_codec_agrees(CR_CODEC_NONE, b->dst, b->bytes)) {
		b->raw_bytes = 0;
		b->status = CR_BLOCK_READ_BAD;
	}
	return b->status;
}

uint32_t cr_block_read(struct cr_ctx *ctx, struct cr_decompressor *decompressor, struct cr_block_read *b)
{
	if (!begin(b))
		return b->status;
	return b->codec == CR_CODEC_NONE ? not_compressed(ctx, b) : decompressed(ctx, decompressor, b);
}
