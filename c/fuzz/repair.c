/* SPDX-License-Identifier: Apache-2.0 */
#include "repair.h"

#include <string.h>

#include "chunkring.h"
#include "snappy_frame.h"

#define WORD        4u  /* a length or a checksum */
#define FRAME_HEAD  4u
#define STREAM_NAME 0xffu
#define FOOTER      32u /* version 4: two sections, each a length and an offset */
#define FOOTER_OLD  12u /* before: the metas' checksum and their offset */
#define BLOCKS_SEEN 4096u

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t get_be64(const uint8_t *p)
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

void put_be32(uint8_t *p, uint32_t x)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(x >> (24 - 8 * i));
}

void put_be64(uint8_t *p, uint64_t x)
{
	put_be32(p, (uint32_t)(x >> 32));
	put_be32(p + 4, (uint32_t)x);
}

size_t varint_bytes(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n && i < 10; i++)
		if (p[i] < 0x80)
			return i + 1;
	return 0;
}

static uint64_t varint_value(const uint8_t *p, size_t bytes)
{
	uint64_t x = 0;

	for (size_t i = 0; i < bytes; i++)
		x |= (uint64_t)(p[i] & 0x7f) << (7 * i);
	return x;
}

/* ---- Snappy frames ---- */

static void repair_frame(uint8_t *body, size_t bytes, bool compressed)
{
	static uint8_t raw[CR_FRAME_RAW_BYTES_MAX];
	const uint8_t *content = body + WORD;
	size_t content_bytes = bytes - WORD;
	uint64_t raw_bytes;
	uint32_t crc;

	if (compressed) {
		if (!cr_snappy_raw_bytes(content, content_bytes, &raw_bytes) ||
		    raw_bytes > sizeof(raw) ||
		    !cr_snappy_inflate(content, content_bytes, raw, raw_bytes))
			return;
		content = raw;
		content_bytes = raw_bytes;
	}
	crc = cr_crc32c(0, content, content_bytes);
	crc = (crc >> 15 | crc << 17) + 0xa282ead8u;
	for (int i = 0; i < 4; i++)
		body[i] = (uint8_t)(crc >> (8 * i));
}

size_t repair_frames(uint8_t *p, size_t n, size_t stop)
{
	size_t pos = 0;

	while (n - pos >= FRAME_HEAD && pos != stop && pos != stop + WORD) {
		uint8_t type = p[pos];
		size_t bytes = p[pos + 1] | (size_t)p[pos + 2] << 8 | (size_t)p[pos + 3] << 16;

		if (bytes > n - pos - FRAME_HEAD || (type > 1 && type < 0x80))
			break;
		if (type <= 1 && bytes >= WORD)
			repair_frame(p + pos + FRAME_HEAD, bytes, type == 0);
		pos += FRAME_HEAD + bytes;
	}
	return pos;
}

/* ---- Chunks ---- */

static bool fits(uint64_t off, uint64_t bytes, size_t n)
{
	return off <= n && bytes <= n - off && WORD <= n - off - bytes;
}

static void repair_crc(uint8_t *p, size_t n, struct part part)
{
	if (part.bytes && fits(part.off, part.bytes, n))
		put_be32(p + part.off + part.bytes, cr_crc32c(0, p + part.off, part.bytes));
}

/* Where the data begins, or n. */
static size_t data_start(const uint8_t *p, size_t n)
{
	size_t off;

	if (n < 2 * WORD)
		return n;
	off = (size_t)get_be32(p) + WORD;
	return off <= n ? off : n;
}

/* Calls fn for each block that lies within the file. */
static void each_block(uint8_t *p, size_t n, size_t data, struct part metas,
		       void (*fn)(uint8_t *p, size_t n, struct part block, void *arg), void *arg)
{
	size_t fields = p[data + 4] >= 3 ? 6 : 5, at = metas.off, end = metas.off + metas.bytes;

	at += varint_bytes(p + at, end - at);
	for (uint32_t blocks = 0; blocks < BLOCKS_SEEN; blocks++) {
		uint64_t value[6];

		for (size_t i = 0; i < fields; i++) {
			size_t bytes = varint_bytes(p + at, end - at);

			if (!bytes)
				return;
			value[i] = varint_value(p + at, bytes);
			at += bytes;
		}
		if (value[3] < n && fits(data + value[3], value[fields - 1], n))
			fn(p, n, (struct part){ data + value[3], value[fields - 1] }, arg);
	}
}

struct found {
	struct part *parts;
	size_t       count;
};

static void note_block(uint8_t *p, size_t n, struct part block, void *arg)
{
	struct found *found = arg;

	(void)p;
	(void)n;
	if (found->count < PARTS_MAX)
		found->parts[found->count++] = block;
}

static void repair_block(uint8_t *p, size_t n, struct part block, void *arg)
{
	(void)arg;
	repair_crc(p, n, block);
}

/* Without the blocks; false if there is no room for a footer. */
static bool find_sections(const uint8_t *p, size_t n, struct part parts[PARTS_MAX])
{
	size_t data = data_start(p, n), footer;
	const uint8_t *end = p + n;
	uint64_t off, bytes;

	memset(parts, 0, PARTS_MAX * sizeof(*parts));
	if (data < 2 * WORD || n - data < 5)
		return false;
	parts[PART_FRAMES] = (struct part){ WORD, data - 2 * WORD };
	parts[PART_HEADER] = (struct part){ data, 6 < n - data ? 6 : n - data };
	footer = p[data + 4] >= 4 ? FOOTER : FOOTER_OLD;
	if (n - data < footer)
		return false;
	parts[PART_FOOTER] = (struct part){ n - footer, footer };
	off = get_be64(end - 8);
	bytes = footer == FOOTER ? get_be64(end - 16) : n - data - FOOTER_OLD - off;
	if (fits(off, bytes, n - data))
		parts[PART_METAS] = (struct part){ data + off, bytes };
	if (footer == FOOTER && fits(get_be64(end - 24), get_be64(end - 32), n - data))
		parts[PART_SYMBOLS] = (struct part){ data + get_be64(end - 24), get_be64(end - 32) };
	return true;
}

size_t find_parts(const uint8_t *p, size_t n, struct part parts[PARTS_MAX])
{
	struct found found = { parts, PART_BLOCKS };

	if (find_sections(p, n, parts) && parts[PART_METAS].bytes)
		each_block((uint8_t *)(uintptr_t)p, n, data_start(p, n), parts[PART_METAS],
			   note_block, &found);
	return found.count;
}

void repair_chunk(uint8_t *p, size_t n, bool blocks)
{
	struct part parts[PARTS_MAX];
	size_t end;

	if (n < 2 * WORD)
		return;
	end = WORD + repair_frames(p + WORD, n - WORD,
				   get_be32(p) >= WORD ? get_be32(p) - WORD : 0);
	if (n - end < WORD)
		return;
	if (end != get_be32(p) + (size_t)WORD) /* else as writers before Loki left it */
		put_be32(p, (uint32_t)end);
	put_be32(p + end, (uint32_t)(n - end - WORD));
	if (!find_sections(p, n, parts))
		return;
	if (blocks && parts[PART_METAS].bytes)
		each_block(p, n, data_start(p, n), parts[PART_METAS], repair_block, NULL);
	repair_crc(p, n, parts[PART_SYMBOLS]);
	repair_crc(p, n, parts[PART_METAS]);
}
