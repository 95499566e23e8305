/* SPDX-License-Identifier: Apache-2.0 */
/* zstd. The only includer of <zstd.h>. */
#include "block.h"

/* For the calls that go block by block; libzstd.a is linked statically. */
#define ZSTD_STATIC_LINKING_ONLY
#define ZSTD_DISABLE_DEPRECATE_WARNINGS
#include <stdbool.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "bytes.h"

#define SKIPPABLE_HEADER_BYTES 8u
#define BLOCK_COMPRESSED       2u
#define LITERALS_RAW           0u
#define LITERALS_RLE           1u
#define WINDOW_BYTES_MAX       (1ull << 29) /* the most that Loki's reader takes */

/* A decompressor on its way through the frames. */
struct walk {
	ZSTD_DCtx     *ctx;
	const uint8_t *src, *end;
	uint8_t       *out, *out_end;
	bool           compressed; /* a compressed block comes next */
};

static uint32_t status_of(size_t error)
{
	switch (ZSTD_getErrorCode(error)) {
	case ZSTD_error_dstSize_tooSmall:
		return CR_DECOMPRESS_ROOM;
	case ZSTD_error_memory_allocation:
		return CR_DECOMPRESS_NO_MEMORY;
	default:
		return CR_DECOMPRESS_BAD;
	}
}

/* Bytes of the literals section at p, or 0 where its header is cut. */
static size_t literals_bytes(const uint8_t *p, size_t n)
{
	uint32_t type = p[0] & 3, format = p[0] >> 2 & 3;
	size_t head, bytes;

	if (type == LITERALS_RAW || type == LITERALS_RLE) {
		head = format == 1 ? 2 : format == 3 ? 3 : 1;
		if (n < head)
			return 0;
		bytes = head == 1 ? p[0] >> 3 : head == 2 ? cr_le16(p) >> 4 : cr_le24(p) >> 4;
		return head + (type == LITERALS_RAW ? bytes : 1);
	}
	head = format < 2 ? 3 : format + 2;
	if (n < head)
		return 0;
	return head + (head == 3 ? cr_le24(p) >> 14 :
		       head == 4 ? cr_le32(p) >> 18 : (cr_le32(p) >> 22 | (size_t)p[4] << 10));
}

/*
 * What libzstd before 1.5.5 lets pass in a compressed block and Loki's reader does not: reserved bits
 * that are set, and a number of sequences that says 0 in two bytes.
 */
static bool reserved_bits_clear(const uint8_t *p, size_t n)
{
	size_t pos = n ? literals_bytes(p, n) : 0, head;

	if (pos == 0 || pos >= n)
		return false;
	if (p[pos] == 0)
		return true;
	head = p[pos] < 128 ? 1 : p[pos] < 255 ? 2 : 3;
	if (n - pos <= head)
		return false;
	if (p[pos] == 128 && p[pos + 1] == 0)
		return false;
	return (p[pos + head] & 3) == 0;
}

/*
 * Looks at the bytes that libzstd gets next. Only Loki's reader looks whether Huffman streams end
 * exactly where they should, so compressed blocks without a checksum over what came out are left to
 * it. Loki writes a checksum.
 */
static uint32_t look_ahead(struct walk *w, const ZSTD_frameHeader *header, size_t bytes)
{
	bool compressed = w->compressed;

	w->compressed = ZSTD_nextInputType(w->ctx) == ZSTDnit_blockHeader &&
			(w->src[0] >> 1 & 3) == BLOCK_COMPRESSED;
	if (w->compressed && cr_le24(w->src) >> 3 == 0)
		return CR_DECOMPRESS_BAD; /* of no bytes: these calls of libzstd take it for an empty one */
	if (!compressed)
		return CR_DECOMPRESS_OK;
	if (!header->checksumFlag)
		return CR_DECOMPRESS_UNSURE;
	return reserved_bits_clear(w->src, bytes) ? CR_DECOMPRESS_OK : CR_DECOMPRESS_BAD;
}

/*
 * Only Loki's reader looks whether a match lies further back than the frame's window, so a frame that
 * is larger than its window is left to it, too. Loki writes windows of 4 MiB or more, or one segment.
 */
static uint32_t frame(struct walk *w, const ZSTD_frameHeader *header)
{
	const uint8_t *begin = w->out;
	size_t bytes, made;
	uint32_t status;

	if (header->dictID != 0 || header->windowSize > WINDOW_BYTES_MAX)
		return CR_DECOMPRESS_BAD;
	w->compressed = false;
	made = ZSTD_decompressBegin(w->ctx);
	if (ZSTD_isError(made))
		return status_of(made);
	for (;;) {
		bytes = ZSTD_nextSrcSizeToDecompress(w->ctx);
		if (bytes == 0)
			break;
		if (bytes > (size_t)(w->end - w->src))
			return CR_DECOMPRESS_BAD;
		status = look_ahead(w, header, bytes);
		if (status != CR_DECOMPRESS_OK)
			return status;
		made = ZSTD_decompressContinue(w->ctx, w->out, (size_t)(w->out_end - w->out),
					       w->src, bytes);
		if (ZSTD_isError(made))
			return status_of(made);
		if (made > header->blockSizeMax)
			return CR_DECOMPRESS_BAD;
		w->src += bytes;
		w->out += made;
		if ((size_t)(w->out - begin) > header->windowSize)
			return CR_DECOMPRESS_UNSURE;
	}
	/* libzstd does not look where the last block is empty. */
	if (header->frameContentSize != ZSTD_CONTENTSIZE_UNKNOWN &&
	    header->frameContentSize != (size_t)(w->out - begin))
		return CR_DECOMPRESS_BAD;
	return CR_DECOMPRESS_OK;
}

/* One frame or skippable frame. libzstd may be built to read frames of ancient versions as well;
 * ZSTD_getFrameHeader() knows only today's, like Loki's reader. */
static uint32_t frame_or_skip(struct walk *w)
{
	ZSTD_frameHeader header;
	size_t left = (size_t)(w->end - w->src);

	if (ZSTD_getFrameHeader(&header, w->src, left) != 0)
		return CR_DECOMPRESS_BAD;
	if (header.frameType == ZSTD_frame)
		return frame(w, &header);
	if (left < SKIPPABLE_HEADER_BYTES || left - SKIPPABLE_HEADER_BYTES < cr_le32(w->src + 4))
		return CR_DECOMPRESS_BAD;
	w->src += SKIPPABLE_HEADER_BYTES + cr_le32(w->src + 4);
	return CR_DECOMPRESS_OK;
}

/* What is surely enough if all frames are right; 0 if they are not. */
static uint64_t bytes_bound(const struct cr_decompress *d)
{
	unsigned long long bound = ZSTD_decompressBound(d->src, d->src_bytes);

	return bound == ZSTD_CONTENTSIZE_ERROR ? 0 : bound;
}

uint32_t cr_zstd_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	struct walk w = { .src = d->src, .end = (const uint8_t *)d->src + d->src_bytes,
			  .out = d->dst, .out_end = (uint8_t *)d->dst + d->cap_bytes };
	uint32_t status = CR_DECOMPRESS_OK;

	if (!decompressor->zstd)
		decompressor->zstd = ZSTD_createDCtx();
	if (!decompressor->zstd)
		return CR_DECOMPRESS_NO_MEMORY;
	w.ctx = decompressor->zstd;
	while (status == CR_DECOMPRESS_OK && w.src < w.end)
		status = frame_or_skip(&w);
	if (status == CR_DECOMPRESS_OK)
		d->raw_bytes = (size_t)(w.out - (uint8_t *)d->dst);
	else if (status == CR_DECOMPRESS_ROOM)
		d->raw_bytes = bytes_bound(d);
	return status;
}

void cr_zstd_close(struct cr_decompressor *decompressor)
{
	ZSTD_freeDCtx(decompressor->zstd); /* NULL is fine */
}
