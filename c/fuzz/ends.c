/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk file that is read at its ends, and its blocks one by one: where this says anything it is what the whole
 * file says, and where it does not, the file ends as a whole read of it does.
 */
#include <fcntl.h>
#include <unistd.h>

#include "fuzz.h"
#include "internal.h"

#define DECOMPRESS_BYTES_MAX (1u << 20)
#define BLOCKS_READ          16u

static struct cr_ctx *ctx;
static struct cr_decompressor *decompressor;
static char root[64];
static int fd;

static void end(void)
{
	char path[80];

	cr_ctx_close(ctx);
	cr_decompressor_close(decompressor);
	close(fd);
	snprintf(path, sizeof(path), "%s/chunk", root);
	unlink(path);
	rmdir(root);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct cr_options opt = { .backend = CR_BACKEND_THREADS, .workers = 1, .cpus = 1 };
	char path[80];

	(void)argc;
	(void)argv;
	snprintf(root, sizeof(root), "/tmp/chunkring-fuzz.XXXXXX");
	FUZZ_CHECK(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/chunk", root);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(cr_ctx_open(root, &opt, &ctx) == 0 && cr_decompressor_open(&decompressor) == 0);
	atexit(end);
	return 0;
}

/* Exactly the room that is asked for, so that AddressSanitizer sees more. */
static int give(void *arg, struct cr_req *req, uint32_t first, uint32_t n)
{
	(void)arg;
	FUZZ_CHECK(first == 0 && n == 1);
	if (req->status != CR_PENDING || req->cap_bytes >= req->want_bytes)
		return 0;
	free(req->buf);
	req->buf = malloc(req->want_bytes);
	req->cap_bytes = req->want_bytes;
	return req->buf ? 0 : -1;
}

static void read_file(struct cr_req *req, struct cr_batch *b)
{
	req->path = "chunk";
	b->reqs = req;
	b->n = 1;
	b->alloc = give;
	FUZZ_CHECK(cr_batch_read(ctx, b) == 0);
}

/* ---- What was read in parts ---- */

static void check_block(const uint8_t *data, const struct cr_chunk *chunk, const struct cr_block *block)
{
	struct cr_block_read b = { .path = "chunk", .codec = chunk->codec, .off = block->off,
				   .bytes = (uint32_t)block->bytes };
	struct cr_decompress d = { .src = data + block->off, .src_bytes = block->bytes, .codec = chunk->codec };
	uint32_t crc = cr_crc32c(0, data + block->off, block->bytes);

	d.cap_bytes = block->uncompressed_bytes < DECOMPRESS_BYTES_MAX ? block->uncompressed_bytes :
									 DECOMPRESS_BYTES_MAX;
	b.cap_bytes = d.cap_bytes;
	b.dst = malloc(b.cap_bytes + 1);
	d.dst = malloc(b.cap_bytes + 1);
	FUZZ_CHECK(b.dst && d.dst);
	cr_block_read(ctx, decompressor, &b);
	FUZZ_CHECK(b.status > CR_BLOCK_READ_PENDING && b.status < CR_BLOCK_READ_STATUS_COUNT);
	if (b.status == CR_BLOCK_READ_OK || b.status == CR_BLOCK_READ_BAD_CRC)
		FUZZ_CHECK(b.crc_got == crc);
	if (b.status == CR_BLOCK_READ_OK) {
		FUZZ_CHECK(block->state == CR_BLOCK_RECORDED);
		FUZZ_CHECK(cr_block_decompress(decompressor, &d) == CR_DECOMPRESS_OK);
		FUZZ_CHECK(b.raw_bytes == d.raw_bytes && memcmp(b.dst, d.dst, d.raw_bytes) == 0);
	}
	free(b.dst);
	free(d.dst);
}

static void check_parts(const uint8_t *data, size_t n, const struct cr_req *req)
{
	const uint8_t *buf = req->buf;
	struct cr_ends ends = { .head = buf, .tail = buf + req->head_bytes, .file_bytes = n,
				.head_bytes = req->head_bytes, .tail_bytes = req->tail_bytes };
	struct cr_block_cursor cursor = { 0 };
	struct cr_chunk chunk, whole;
	struct cr_block block;

	FUZZ_CHECK(req->size_bytes == n && req->head_bytes + req->tail_bytes == req->want_bytes);
	FUZZ_CHECK(memcmp(buf, data, req->head_bytes) == 0);
	FUZZ_CHECK(memcmp(buf + req->head_bytes, data + n - req->tail_bytes, req->tail_bytes) == 0);
	FUZZ_CHECK(cr_chunk_outline(&ends, &chunk) == CR_ENDS_OK);
	FUZZ_CHECK(cr_chunk_parse(data, n, &whole) == CR_REASON_NONE);
	FUZZ_CHECK(chunk.data_off == whole.data_off && chunk.version == whole.version &&
		   chunk.codec == whole.codec && chunk.metas_off == whole.metas_off && chunk.blocks == whole.blocks);
	for (uint32_t i = 0; i < BLOCKS_READ && cr_chunk_block_next(data, &whole, &cursor, &block) == 1; i++)
		check_block(data, &whole, &block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint32_t crc = cr_crc32c(0, data, n);
	struct cr_req req = { .crc_want = n % 8 ? crc : crc + 1 }, all = { .crc_want = req.crc_want };
	struct cr_batch ends = { .flags = CR_CHECK_CHUNK | CR_READ_ENDS, .seal = n % 3, .ahead = n % 5,
				 .through_ns = n % 2 ? INT64_MAX : 0, .backward = n % 4 > 1 };
	struct cr_batch whole = { .flags = CR_CHECK_CHUNK };

	FUZZ_CHECK(pwrite(fd, data, n, 0) == (ssize_t)n && ftruncate(fd, (off_t)n) == 0);
	read_file(&req, &ends);
	if (req.head_bytes) {
		FUZZ_CHECK(req.status == CR_OK);
		FUZZ_CHECK(!(req.flags & CR_REQ_SEALED) || crc == req.crc_want);
		FUZZ_CHECK(ends.seal != CR_SEAL_ALWAYS || req.flags == CR_REQ_SEALED);
		check_parts(data, n, &req);
	} else {
		read_file(&all, &whole);
		FUZZ_CHECK(req.status == all.status && req.reason == all.reason && req.crc_got == all.crc_got &&
			   req.blocks_bad == all.blocks_bad && req.flags == all.flags &&
			   req.size_bytes == all.size_bytes);
	}
	free(req.buf);
	free(all.buf);
	return 0;
}
