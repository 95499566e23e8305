/* SPDX-License-Identifier: Apache-2.0 */
/* Snappy frames and blocks, inflated into a buffer whose size is known before. */
#include "snappy_frame.h"

#include <string.h>

#include "bytes.h"
#include "chunkring.h"

#define CRC_BYTES 4u /* of a frame, in front of what it inflates to */
#define WIDE      16u /* bytes moved at a time where source and target both have room for it */

enum frame_type {
	FRAME_COMPRESSED = 0x00,
	FRAME_STORED     = 0x01,
	FRAME_SKIPPABLE  = 0x80, /* from here on, but for the stream's name */
	FRAME_STREAM     = 0xff,
};

size_t cr_snappy_raw_bytes(const uint8_t *src, size_t src_bytes, uint64_t *raw_bytes)
{
	uint64_t x;
	size_t n = cr_uvarint(src, src_bytes, &x);

	if (n == 0 || x > UINT32_MAX)
		return 0;
	*raw_bytes = x;
	return n;
}

/* What a block is made of: bytes to take from the source, or bytes to repeat from the target. */
struct element {
	size_t bytes;
	size_t distance; /* back from the target's end; 0: a literal */
};

/* Reads the element at p. Returns the bytes of its head, or 0 if it is cut or repeats from
 * distance 0. A length of 2^32 needs the size_t of 64 bits. */
static inline size_t element_read(const uint8_t *p, size_t n, struct element *e)
{
	size_t head, code = p[0] >> 2;

	_Static_assert(sizeof(size_t) == 8, "a literal of 2^32 bytes has a length");
	switch (p[0] & 3) {
	case 0:
		head = code < 60 ? 1 : code - 58;
		if (head > n)
			return 0;
		e->distance = 0;
		e->bytes = 1 + (head == 1 ? code :
				head == 2 ? p[1] :
				head == 3 ? cr_le16(p + 1) :
				head == 4 ? cr_le24(p + 1) : cr_le32(p + 1));
		return head;
	case 1:
		if (n < 2)
			return 0;
		e->bytes = 4 + (code & 7);
		e->distance = (size_t)(p[0] >> 5) << 8 | p[1];
		head = 2;
		break;
	case 2:
		if (n < 3)
			return 0;
		e->bytes = 1 + code;
		e->distance = cr_le16(p + 1);
		head = 3;
		break;
	default:
		if (n < 5)
			return 0;
		e->bytes = 1 + code;
		e->distance = cr_le32(p + 1);
		head = 5;
	}
	return e->distance ? head : 0;
}

/* Repeats bytes from distance back. room >= bytes is what is left of the target: short patterns
 * and its very end go byte by byte, the rest in words that run over by up to 7 bytes. */
static inline void repeat(uint8_t *dst, size_t room, size_t bytes, size_t distance)
{
	const uint8_t *from = dst - distance;
	size_t i;

	if (distance < 8 || room - bytes < 7) {
		for (i = 0; i < bytes; i++)
			dst[i] = from[i];
		return;
	}
	for (i = 0; i < bytes; i += 8)
		memcpy(dst + i, from + i, 8);
}

/* Where inflate_fast() is. */
struct cursor {
	const uint8_t *src, *src_end;
	uint8_t *begin, *dst, *dst_end;
};

/* The longest element of the short kinds is 64 bytes, so many are copied if it is not surely less. */
#define SHORT_BYTES_MAX 64
#define SRC_MARGIN      (1 + SHORT_BYTES_MAX)

/* What the tag of a short element says: its bytes, and above them the upper bits of a distance. Looked
 * up, because the branch between the two kinds of repetition could not be foretold. */
#define TAG(t)    ((t) % 4 == 1 ? (4 + (t) / 4 % 8) | (t) / 32 << 8 : 1 + (t) / 4)
#define TAGS4(t)  TAG(t), TAG((t) + 1), TAG((t) + 2), TAG((t) + 3)
#define TAGS16(t) TAGS4(t), TAGS4((t) + 4), TAGS4((t) + 8), TAGS4((t) + 12)
#define TAGS64(t) TAGS16(t), TAGS16((t) + 16), TAGS16((t) + 32), TAGS16((t) + 48)
#define TAG_BYTES     0x7fu
#define TAG_DISTANCE  0x700u

static const uint16_t tags[256] = { TAGS64(0), TAGS64(64), TAGS64(128), TAGS64(192) };
static const uint16_t distance_masks[4] = { 0, 0xff, 0xffff, 0 }; /* of the bytes behind the tag */

/*
 * The elements that make up nearly all of a block, while source and target have room for copies of
 * fixed sizes: literals of up to 60 bytes and both short kinds of repetition. Stops before the first
 * other element. False if a repetition reaches back too far, or nowhere.
 */
static bool inflate_fast(struct cursor *c)
{
	const uint8_t *src = c->src, *src_stop = c->src_end - SRC_MARGIN, *from;
	uint8_t *dst = c->dst, *dst_stop = c->dst_end - SHORT_BYTES_MAX;
	size_t bytes, distance;
	uint32_t tag, kind;

	while (src < src_stop && dst < dst_stop) {
		kind = src[0] & 3;
		tag = tags[src[0]];
		bytes = tag & TAG_BYTES;
		if (kind == 0) {
			if (bytes > 60)
				break;
			memcpy(dst, src + 1, 2 * WIDE);
			if (bytes > 2 * WIDE)
				memcpy(dst + 2 * WIDE, src + 1 + 2 * WIDE, 2 * WIDE);
			src += 1 + bytes;
			dst += bytes;
			continue;
		}
		if (kind == 3)
			break;
		distance = (tag & TAG_DISTANCE) + (cr_le16(src + 1) & distance_masks[kind]);
		src += 1 + kind;
		if (distance - 1 >= (size_t)(dst - c->begin))
			return false;
		from = dst - distance;
		if (distance < WIDE) {
			repeat(dst, (size_t)(c->dst_end - dst), bytes, distance);
		} else {
			memcpy(dst, from, WIDE);
			memcpy(dst + WIDE, from + WIDE, WIDE);
			if (bytes > 2 * WIDE) {
				memcpy(dst + 2 * WIDE, from + 2 * WIDE, WIDE);
				memcpy(dst + 3 * WIDE, from + 3 * WIDE, WIDE);
			}
		}
		dst += bytes;
	}
	c->src = src;
	c->dst = dst;
	return true;
}

/* The next element, whatever it is. */
static bool inflate_one(struct cursor *c)
{
	size_t room = (size_t)(c->dst_end - c->dst), head;
	struct element e;

	head = element_read(c->src, (size_t)(c->src_end - c->src), &e);
	if (head == 0 || e.bytes > room)
		return false;
	c->src += head;
	if (e.distance) {
		if (e.distance > (size_t)(c->dst - c->begin))
			return false;
		repeat(c->dst, room, e.bytes, e.distance);
	} else {
		if (e.bytes > (size_t)(c->src_end - c->src))
			return false;
		memcpy(c->dst, c->src, e.bytes);
		c->src += e.bytes;
	}
	c->dst += e.bytes;
	return true;
}

bool cr_snappy_inflate(const uint8_t *src, size_t src_bytes, uint8_t *dst, size_t raw_bytes)
{
	struct cursor c = { .src = src, .src_end = src + src_bytes, .begin = dst, .dst = dst,
			    .dst_end = dst + raw_bytes };
	size_t head;
	uint64_t said;

	head = cr_snappy_raw_bytes(src, src_bytes, &said);
	if (head == 0 || said != raw_bytes)
		return false;
	c.src += head;
	while (c.src < c.src_end) {
		if (c.src_end - c.src > SRC_MARGIN && c.dst_end - c.dst > SHORT_BYTES_MAX &&
		    !inflate_fast(&c))
			return false;
		if (!inflate_one(&c))
			return false;
	}
	return c.dst == c.dst_end;
}

/* The framing format stores checksums so that a checksum over data with checksums in it is not
 * a degenerate case. */
static uint32_t masked_crc(const uint8_t *p, size_t n)
{
	uint32_t crc = cr_crc32c(0, p, n);

	return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static enum cr_frame_status inflate_into(const uint8_t *body, size_t bytes, uint8_t *out,
					 size_t raw_bytes)
{
	if (!cr_snappy_inflate(body + CRC_BYTES, bytes - CRC_BYTES, out, raw_bytes))
		return CR_FRAME_BAD;
	return masked_crc(out, raw_bytes) == cr_le32(body) ? CR_FRAME_OK : CR_FRAME_BAD_CRC;
}

/* Of its own, never inlined, so that nobody else's stack frame has the 64 KiB in it. They are
 * neither zeroed nor touched beyond what the frame inflates to. */
static __attribute__((noinline)) enum cr_frame_status
inflate_to_check(const uint8_t *body, size_t bytes, size_t raw_bytes)
{
	uint8_t scratch[CR_FRAME_RAW_BYTES_MAX];

	return inflate_into(body, bytes, scratch, raw_bytes);
}

static enum cr_frame_status compressed_frame(struct cr_frame_walk *walk, const uint8_t *body,
					     size_t bytes)
{
	enum cr_frame_status status;
	uint64_t raw_bytes;

	if (bytes < CRC_BYTES ||
	    cr_snappy_raw_bytes(body + CRC_BYTES, bytes - CRC_BYTES, &raw_bytes) == 0 ||
	    raw_bytes > CR_FRAME_RAW_BYTES_MAX)
		return CR_FRAME_BAD;
	if (raw_bytes > walk->raw_bytes_max - walk->raw_bytes)
		return CR_FRAME_TOO_BIG;
	if (walk->out)
		status = inflate_into(body, bytes, walk->out + walk->raw_bytes, raw_bytes);
	else
		status = inflate_to_check(body, bytes, raw_bytes);
	if (status == CR_FRAME_OK)
		walk->raw_bytes += raw_bytes;
	return status;
}

static enum cr_frame_status stored_frame(struct cr_frame_walk *walk, const uint8_t *body,
					 size_t bytes)
{
	size_t raw_bytes = bytes - CRC_BYTES;

	if (bytes < CRC_BYTES || raw_bytes > CR_FRAME_RAW_BYTES_MAX)
		return CR_FRAME_BAD;
	if (raw_bytes > walk->raw_bytes_max - walk->raw_bytes)
		return CR_FRAME_TOO_BIG;
	if (masked_crc(body + CRC_BYTES, raw_bytes) != cr_le32(body))
		return CR_FRAME_BAD_CRC;
	if (walk->out && raw_bytes) /* memcpy wants pointers even for nothing */
		memcpy(walk->out + walk->raw_bytes, body + CRC_BYTES, raw_bytes);
	walk->raw_bytes += raw_bytes;
	return CR_FRAME_OK;
}

enum cr_frame_status cr_frame_next(struct cr_frame_walk *walk)
{
	const uint8_t *head = walk->src + walk->pos;
	size_t left = walk->src_bytes - walk->pos, bytes;
	enum cr_frame_status status = CR_FRAME_OK;

	if (left < CR_FRAME_HEADER_BYTES)
		return CR_FRAME_SHORT;
	bytes = cr_le24(head + 1);
	if ((!walk->started && head[0] != FRAME_STREAM) || bytes > CR_FRAME_BODY_BYTES_MAX)
		return CR_FRAME_BAD;
	if (bytes > left - CR_FRAME_HEADER_BYTES)
		return CR_FRAME_SHORT;

	if (head[0] == FRAME_COMPRESSED)
		status = compressed_frame(walk, head + CR_FRAME_HEADER_BYTES, bytes);
	else if (head[0] == FRAME_STORED)
		status = stored_frame(walk, head + CR_FRAME_HEADER_BYTES, bytes);
	else if (head[0] < FRAME_SKIPPABLE)
		status = CR_FRAME_BAD;
	else if (head[0] == FRAME_STREAM &&
		 (bytes + CR_FRAME_HEADER_BYTES != CR_FRAME_STREAM_BYTES ||
		  memcmp(head, CR_FRAME_STREAM, CR_FRAME_STREAM_BYTES) != 0))
		status = CR_FRAME_BAD;
	if (status != CR_FRAME_OK)
		return status;
	walk->started = true;
	walk->pos += CR_FRAME_HEADER_BYTES + bytes;
	return CR_FRAME_OK;
}
