/* SPDX-License-Identifier: Apache-2.0 */
/* LZ4 frames. The only includer of <lz4frame.h>. */
#include "block.h"

#include <lz4frame.h>
#include <stdbool.h>
#include <string.h>

#include "bytes.h"

#define MAGIC             0x184d2204u
#define MAGIC_LEGACY      0x184c2102u
#define MAGIC_SKIPPABLE   0x184d2a50u /* to 5f */
#define SKIPPABLE_HEADER_BYTES 8u
#define FLAGS_OFF         4u  /* in a frame */
#define FLAG_DICTIONARY   1u
#define CHECKSUM_BYTES    4u
#define STORED            0x80000000u /* in a block's size: not compressed */
#define MATCH_BYTES_MIN   4u
#define XXH_STRIPE_BYTES  16u
#define IN_MARGIN         16 /* bytes that a copy of fixed size may read too much, */
#define OUT_MARGIN        32 /* or write too much */

static uint32_t rotate_left(uint32_t x, int bits)
{
	return x << bits | x >> (32 - bits);
}

/*
 * XXH32 with seed 0, as a frame may have it of each block's stored bytes and of its content.
 * Loki writes neither, but old versions did write the latter. Own code, because liblz4 checks them
 * only while it inflates the frame once more, and its context keeps the buffers for that, up to
 * 8 MiB: of 64 decompressors that wait for reuse they would be half a gigabyte.
 */
static uint32_t xxh32(const uint8_t *p, size_t n)
{
	static const uint32_t prime[5] = { 2654435761u, 2246822519u, 3266489917u, 668265263u,
					   374761393u };
	const uint8_t *end = p + n;
	uint32_t lane[4] = { prime[0] + prime[1], prime[1], 0, 0 - prime[0] }, h = prime[4];
	unsigned int i;

	if (n >= XXH_STRIPE_BYTES) {
		for (; (size_t)(end - p) >= XXH_STRIPE_BYTES; p += XXH_STRIPE_BYTES)
			for (i = 0; i < 4; i++)
				lane[i] = rotate_left(lane[i] + cr_le32(p + 4 * i) * prime[1], 13) *
					  prime[0];
		h = rotate_left(lane[0], 1) + rotate_left(lane[1], 7) + rotate_left(lane[2], 12) +
		    rotate_left(lane[3], 18);
	}
	h += (uint32_t)n;
	for (; end - p >= 4; p += 4)
		h = rotate_left(h + cr_le32(p) * prime[2], 17) * prime[3];
	for (; p < end; p++)
		h = rotate_left(h + *p * prime[4], 11) * prime[0];
	h = (h ^ h >> 15) * prime[1];
	h = (h ^ h >> 13) * prime[2];
	return h ^ h >> 16;
}

/* A frame on its way into dst. */
struct walk {
	const uint8_t *src, *end;
	uint8_t *begin;        /* how far back a match may reach */
	uint8_t *out, *out_end;
};

/* Reads the rest of a length whose four bits in the token were all ones. */
static inline bool length_rest(const uint8_t **p, const uint8_t *end, size_t *length)
{
	uint8_t byte;

	do {
		if (*p == end)
			return false;
		byte = *(*p)++;
		*length += byte;
	} while (byte == 255);
	return true;
}

/* Repeats length bytes from distance back; room >= length is what is left of the target. */
static inline void repeat(uint8_t *to, size_t room, size_t length, size_t distance)
{
	const uint8_t *from = to - distance, *end = to + length;

	if (distance >= 16 && room - length >= 16) {
		for (; to < end; to += 16, from += 16)
			memcpy(to, from, 16);
	} else if (distance >= 8 && room - length >= 8) {
		for (; to < end; to += 8, from += 8)
			memcpy(to, from, 8);
	} else {
		while (to < end)
			*to++ = *from++;
	}
}

/*
 * Inflates a compressed block of w->src .. end and moves w->out. Own code, because liblz4 takes
 * distance 0 for a match, and a last token that announces one, both of which Loki's reader refuses;
 * to look for that beforehand costs as much as this.
 */
static uint32_t inflate_block(struct walk *w, const uint8_t *end)
{
	const uint8_t *p = w->src, *p_stop = end - p > IN_MARGIN ? end - IN_MARGIN : p;
	uint8_t *out = w->out;
	uint8_t *out_stop = w->out_end - out > OUT_MARGIN ? w->out_end - OUT_MARGIN : out;
	size_t length, distance;
	uint8_t token;

	while (p < end) {
		token = *p++;
		length = token >> 4;
		if (length < 15 && p < p_stop && out < out_stop) {
			memcpy(out, p, 16);
		} else {
			if (length == 15 && !length_rest(&p, end, &length))
				return CR_DECOMPRESS_BAD;
			if (length > (size_t)(end - p))
				return CR_DECOMPRESS_BAD;
			if (length > (size_t)(w->out_end - out))
				return CR_DECOMPRESS_ROOM;
			if (length)
				memcpy(out, p, length);
		}
		p += length;
		out += length;
		if (end - p < 2) {
			w->out = out;
			return p == end && (token & 15) == 0 ? CR_DECOMPRESS_OK : CR_DECOMPRESS_BAD;
		}
		distance = cr_le16(p);
		p += 2;
		if (distance == 0 || distance > (size_t)(out - w->begin))
			return CR_DECOMPRESS_BAD;
		length = (token & 15) + MATCH_BYTES_MIN;
		if (length < 15 + MATCH_BYTES_MIN && distance >= 16 && out < out_stop) {
			memcpy(out, out - distance, 16);
			memcpy(out + 16, out + 16 - distance, 2);
		} else {
			if (length == 15 + MATCH_BYTES_MIN && !length_rest(&p, end, &length))
				return CR_DECOMPRESS_BAD;
			if (length > (size_t)(w->out_end - out))
				return CR_DECOMPRESS_ROOM;
			repeat(out, (size_t)(w->out_end - out), length, distance);
		}
		out += length;
	}
	return CR_DECOMPRESS_BAD; /* a block ends with literals */
}

static uint32_t block_bytes_max(const LZ4F_frameInfo_t *info)
{
	return info->blockSizeID == LZ4F_max64KB  ? 64u << 10 :
	       info->blockSizeID == LZ4F_max256KB ? 256u << 10 :
	       info->blockSizeID == LZ4F_max1MB   ? 1u << 20 : 4u << 20;
}

/* A block of the given bytes, into all the room that a block may take. */
static uint32_t block(struct walk *w, uint32_t bytes, bool stored, uint32_t most)
{
	uint8_t *all_out_end = w->out_end;
	bool cut = (size_t)(all_out_end - w->out) > most;
	uint32_t status = CR_DECOMPRESS_OK;

	if (cut)
		w->out_end = w->out + most;
	if (!stored) {
		status = inflate_block(w, w->src + bytes);
		if (status == CR_DECOMPRESS_ROOM && cut)
			status = CR_DECOMPRESS_BAD;
	} else if (bytes > (size_t)(w->out_end - w->out)) {
		status = CR_DECOMPRESS_ROOM;
	} else if (bytes) {
		memcpy(w->out, w->src, bytes);
		w->out += bytes;
	}
	w->out_end = all_out_end;
	w->src += bytes;
	return status;
}

/* The blocks of a frame, with the end mark. Where only that is missing, Loki's reader takes it for
 * the end. */
static uint32_t blocks(struct walk *w, const LZ4F_frameInfo_t *info)
{
	const uint32_t most = block_bytes_max(info);
	const uint32_t checksum = info->blockChecksumFlag ? CHECKSUM_BYTES : 0;
	uint32_t word, bytes, status;

	w->begin = w->out;
	for (;;) {
		if (w->end - w->src < 4)
			return w->src == w->end ? CR_DECOMPRESS_UNSURE : CR_DECOMPRESS_BAD;
		word = cr_le32(w->src);
		w->src += 4;
		if (word == 0)
			return CR_DECOMPRESS_OK;
		bytes = word & ~STORED;
		if (bytes > most || bytes + checksum > (size_t)(w->end - w->src))
			return CR_DECOMPRESS_BAD;
		if (checksum && xxh32(w->src, bytes) != cr_le32(w->src + bytes))
			return CR_DECOMPRESS_BAD;
		if (info->blockMode == LZ4F_blockIndependent)
			w->begin = w->out;
		status = block(w, bytes, word & STORED, most);
		if (status != CR_DECOMPRESS_OK)
			return status;
		w->src += checksum;
	}
}

static uint32_t frame(LZ4F_dctx *ctx, struct walk *w)
{
	const uint8_t *out = w->out;
	size_t bytes = (size_t)(w->end - w->src);
	LZ4F_frameInfo_t info;
	uint32_t status;

	if (bytes <= FLAGS_OFF)
		return CR_DECOMPRESS_BAD;
	if (w->src[FLAGS_OFF] & FLAG_DICTIONARY)
		return CR_DECOMPRESS_UNSURE;
	LZ4F_resetDecompressionContext(ctx);
	if (LZ4F_isError(LZ4F_getFrameInfo(ctx, &info, w->src, &bytes)))
		return CR_DECOMPRESS_BAD;
	w->src += bytes;
	status = blocks(w, &info);
	if (status != CR_DECOMPRESS_OK || !info.contentChecksumFlag)
		return status;
	if (w->end - w->src < (ptrdiff_t)CHECKSUM_BYTES ||
	    xxh32(out, (size_t)(w->out - out)) != cr_le32(w->src))
		return CR_DECOMPRESS_BAD;
	w->src += CHECKSUM_BYTES;
	return CR_DECOMPRESS_OK;
}

static uint32_t frame_or_skip(LZ4F_dctx *ctx, struct walk *w)
{
	size_t left = (size_t)(w->end - w->src);
	uint32_t magic;

	if (left < 4)
		return CR_DECOMPRESS_BAD;
	magic = cr_le32(w->src);
	if (magic == MAGIC)
		return frame(ctx, w);
	if (magic == MAGIC_LEGACY)
		return CR_DECOMPRESS_UNSURE;
	if ((magic & ~15u) != MAGIC_SKIPPABLE || left < SKIPPABLE_HEADER_BYTES ||
	    left - SKIPPABLE_HEADER_BYTES < cr_le32(w->src + 4))
		return CR_DECOMPRESS_BAD;
	w->src += SKIPPABLE_HEADER_BYTES + cr_le32(w->src + 4);
	return CR_DECOMPRESS_OK;
}

uint32_t cr_lz4_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	struct walk w = { .src = d->src, .end = (const uint8_t *)d->src + d->src_bytes,
			  .out = d->dst, .out_end = (uint8_t *)d->dst + d->cap_bytes };
	uint32_t status = CR_DECOMPRESS_OK;

	if (!decompressor->lz4 &&
	    LZ4F_isError(LZ4F_createDecompressionContext(&decompressor->lz4, LZ4F_VERSION))) {
		decompressor->lz4 = NULL;
		return CR_DECOMPRESS_NO_MEMORY;
	}
	while (status == CR_DECOMPRESS_OK && w.src < w.end)
		status = frame_or_skip(decompressor->lz4, &w);
	if (status == CR_DECOMPRESS_OK)
		d->raw_bytes = (size_t)(w.out - (uint8_t *)d->dst);
	return status;
}

void cr_lz4_close(struct cr_decompressor *decompressor)
{
	LZ4F_freeDecompressionContext(decompressor->lz4); /* NULL is fine */
}
