/* SPDX-License-Identifier: Apache-2.0 */
/* A block into memory that grows to what it takes. */
#include "grow.h"

#define ROOM_BYTES_MIN (64u << 10)
#define ROOM_FACTOR    32u /* of the block: beyond what logs are compressed to */

static uint64_t at_least(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint32_t cr_block_decompress_grow(struct cr_decompressor *decompressor, uint32_t codec, const void *src,
			      size_t src_bytes, uint64_t guess_bytes, struct cr_buf *out)
{
	struct cr_decompress d = { .src = src, .src_bytes = src_bytes, .codec = codec };
	uint64_t room = guess_bytes ? guess_bytes : 4 * (uint64_t)src_bytes;

	out->bytes = 0;
	/* The guess comes from the file. What memory it may ask for is in proportion to the block
	 * until the decompressor itself says more. */
	room = at_most(room, ROOM_FACTOR * (uint64_t)src_bytes + ROOM_BYTES_MIN);
	for (;;) { /* ends: room at least doubles, up to CR_RAW_BYTES_MAX */
		room = at_most(at_least(room, ROOM_BYTES_MIN), CR_RAW_BYTES_MAX);
		if (cr_grow(out, room) != 0)
			return CR_DECOMPRESS_NO_MEMORY;
		d.dst = out->p;
		d.cap_bytes = at_most(out->cap_bytes, CR_RAW_BYTES_MAX);
		cr_block_decompress(decompressor, &d);
		if (d.status == CR_DECOMPRESS_OK)
			out->bytes = d.raw_bytes;
		if (d.status != CR_DECOMPRESS_ROOM || d.cap_bytes == CR_RAW_BYTES_MAX)
			return d.status;
		room = at_least(d.raw_bytes, 2 * (uint64_t)d.cap_bytes);
	}
}
