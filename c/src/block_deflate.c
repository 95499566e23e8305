/* SPDX-License-Identifier: Apache-2.0 */
/* gzip (RFC 1952) and raw deflate (RFC 1951). The only includer of <libdeflate.h>. As for Loki's
 * reader, a gzip block is any number of members and nothing after them; after a raw stream it does not
 * look. */
#include "block.h"

#include <libdeflate.h>

#include "bytes.h"

#define FLAGS_OFF        3u /* in a member's header */
#define MEMBER_BYTES_MIN 20u /* header, the shortest stream, checksum, size */

static struct libdeflate_decompressor *inflater(struct cr_decompressor *decompressor)
{
	if (!decompressor->deflate)
		decompressor->deflate = libdeflate_alloc_decompressor();
	return decompressor->deflate;
}

void cr_deflate_close(struct cr_decompressor *decompressor)
{
	libdeflate_free_decompressor(decompressor->deflate); /* NULL is fine */
}

static uint32_t status_of(enum libdeflate_result result)
{
	return result == LIBDEFLATE_SUCCESS            ? CR_DECOMPRESS_OK :
	       result == LIBDEFLATE_INSUFFICIENT_SPACE ? CR_DECOMPRESS_ROOM : CR_DECOMPRESS_BAD;
}

uint32_t cr_flate_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	struct libdeflate_decompressor *inflate = inflater(decompressor);
	size_t used;

	if (!inflate)
		return CR_DECOMPRESS_NO_MEMORY;
	return status_of(libdeflate_deflate_decompress_ex(inflate, d->src, d->src_bytes, d->dst,
							  d->cap_bytes, &used, &d->raw_bytes));
}

uint32_t cr_gzip_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	struct libdeflate_decompressor *inflate = inflater(decompressor);
	const uint8_t *src = d->src;
	size_t left = d->src_bytes, made = 0, used, bytes;
	uint32_t status;

	if (!inflate)
		return CR_DECOMPRESS_NO_MEMORY;
	if (left < MEMBER_BYTES_MIN)
		return CR_DECOMPRESS_BAD;
	/* The last member says its size at the very end: no need to try where that is too much. */
	bytes = cr_le32(src + left - 4);
	if (bytes > d->cap_bytes) {
		d->raw_bytes = bytes;
		return CR_DECOMPRESS_ROOM;
	}
	for (; left; src += used, left -= used, made += bytes) {
		/* A name, a comment, an extra field: Loki writes none, and its reader is stricter
		 * about them than libdeflate. */
		if (left >= MEMBER_BYTES_MIN && src[FLAGS_OFF] != 0)
			return CR_DECOMPRESS_UNSURE;
		status = status_of(libdeflate_gzip_decompress_ex(inflate, src, left,
								 (uint8_t *)d->dst + made,
								 d->cap_bytes - made, &used, &bytes));
		if (status != CR_DECOMPRESS_OK)
			return status;
	}
	d->raw_bytes = made;
	return CR_DECOMPRESS_OK;
}
