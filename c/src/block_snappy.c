/* SPDX-License-Identifier: Apache-2.0 */
/* Framed snappy. */
#include "block.h"

#include "bytes.h"
#include "snappy_frame.h"

/* What the frames say they inflate to; exact unless they are malformed, which others find out. */
static uint64_t announced_bytes(const uint8_t *src, size_t n)
{
	const size_t head = CR_FRAME_HEADER_BYTES + 4; /* with the checksum */
	uint64_t sum = 0, raw;
	size_t pos, bytes;

	for (pos = 0; n - pos >= head; pos += CR_FRAME_HEADER_BYTES + bytes) {
		bytes = cr_le24(src + pos + 1);
		if (bytes > n - pos - CR_FRAME_HEADER_BYTES)
			break;
		if (src[pos] == 0 && bytes > 4 &&
		    cr_snappy_raw_bytes(src + pos + head, bytes - 4, &raw) != 0)
			sum += raw;
		else if (src[pos] == 1 && bytes > 4)
			sum += bytes - 4;
	}
	return sum;
}

uint32_t cr_snappy_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	struct cr_frame_walk walk = { .src = d->src, .src_bytes = d->src_bytes, .out = d->dst,
				      .raw_bytes_max = d->cap_bytes };
	uint64_t sum = announced_bytes(d->src, d->src_bytes);
	enum cr_frame_status status;

	(void)decompressor;
	if (sum > d->cap_bytes) {
		d->raw_bytes = sum;
		return CR_DECOMPRESS_ROOM;
	}
	while (walk.pos < walk.src_bytes) {
		status = cr_frame_next(&walk);
		if (status != CR_FRAME_OK)
			return CR_DECOMPRESS_BAD;
	}
	d->raw_bytes = walk.raw_bytes;
	return CR_DECOMPRESS_OK;
}
