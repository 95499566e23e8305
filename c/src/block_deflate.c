/* SPDX-License-Identifier: Apache-2.0 */
/* gzip (RFC 1952) and raw deflate. Which headers are right is what Loki's reader says
 * (klauspost/compress/gzip): strings of at most 511 bytes, no reserved flags, any number of members
 * and nothing after them. After a raw stream it does not look. */
#include "block.h"

#include <libdeflate.h> /* its CRC-32; for the rest see block_inflate.h */
#include <stdlib.h>

#include "block_inflate.h"
#include "bytes.h"

#define HEADER_BYTES     10u
#define TRAILER_BYTES    8u
#define STRING_BYTES_MAX 512u /* with the final NUL */

enum flag {
	FLAG_CRC      = 1 << 1,
	FLAG_EXTRA    = 1 << 2,
	FLAG_NAME     = 1 << 3,
	FLAG_COMMENT  = 1 << 4,
	FLAGS_UNKNOWN = 0xe0,
};

static struct cr_inflate *inflate_state(struct cr_decoder *decoder)
{
	if (!decoder->inflate)
		decoder->inflate = calloc(1, sizeof(*decoder->inflate));
	return decoder->inflate;
}

void cr_deflate_close(struct cr_decoder *decoder)
{
	free(decoder->inflate);
}

static uint32_t status_of(enum cr_inflate_status status)
{
	return status == CR_INFLATE_OK   ? CR_DECODE_OK :
	       status == CR_INFLATE_ROOM ? CR_DECODE_ROOM : CR_DECODE_BAD;
}

uint32_t cr_flate_decode(struct cr_decoder *decoder, struct cr_decode *d)
{
	struct cr_inflate_stream stream = { .src = d->src, .src_bytes = d->src_bytes,
					    .dst = d->dst, .cap_bytes = d->cap_bytes };
	struct cr_inflate *state = inflate_state(decoder);
	uint32_t status;

	if (!state)
		return CR_DECODE_NO_MEMORY;
	status = status_of(cr_inflate(state, &stream));
	if (status == CR_DECODE_OK)
		d->raw_bytes = stream.raw_bytes;
	return status;
}

/* Moves *pos behind a string and its NUL. */
static bool skip_string(const uint8_t *p, size_t n, size_t *pos)
{
	size_t most = n - *pos < STRING_BYTES_MAX ? n - *pos : STRING_BYTES_MAX;
	const uint8_t *nul = most ? memchr(p + *pos, 0, most) : NULL;

	if (!nul)
		return false;
	*pos = (size_t)(nul - p) + 1;
	return true;
}

/* Bytes of a member's header, or 0 if it is cut or wrong. */
static size_t header_bytes(const uint8_t *p, size_t n)
{
	size_t pos = HEADER_BYTES;
	uint8_t flags;

	if (n < HEADER_BYTES || p[0] != 0x1f || p[1] != 0x8b || p[2] != 8)
		return 0;
	flags = p[3];
	if (flags & FLAGS_UNKNOWN)
		return 0;
	if (flags & FLAG_EXTRA) {
		if (n - pos < 2 || n - pos - 2 < cr_le16(p + pos))
			return 0;
		pos += 2 + cr_le16(p + pos);
	}
	if (flags & FLAG_NAME && !skip_string(p, n, &pos))
		return 0;
	if (flags & FLAG_COMMENT && !skip_string(p, n, &pos))
		return 0;
	if (flags & FLAG_CRC) {
		if (n - pos < 2 || cr_le16(p + pos) != (libdeflate_crc32(0, p, pos) & 0xffff))
			return 0;
		pos += 2;
	}
	return pos;
}

/* Inflates the member at stream->src and checks it against its trailer; *bytes are all its bytes. */
static uint32_t member(struct cr_inflate *state, struct cr_inflate_stream *stream, size_t *bytes)
{
	size_t head = header_bytes(stream->src, stream->src_bytes);
	const uint8_t *trailer;
	uint32_t status;

	if (head == 0)
		return CR_DECODE_BAD;
	stream->src += head;
	stream->src_bytes -= head;
	status = status_of(cr_inflate(state, stream));
	if (status != CR_DECODE_OK)
		return status;
	if (stream->src_bytes - stream->used_bytes < TRAILER_BYTES)
		return CR_DECODE_BAD;
	trailer = stream->src + stream->used_bytes;
	if (cr_le32(trailer) != libdeflate_crc32(0, stream->dst, stream->raw_bytes) ||
	    cr_le32(trailer + 4) != (uint32_t)stream->raw_bytes)
		return CR_DECODE_BAD;
	*bytes = head + stream->used_bytes + TRAILER_BYTES;
	return CR_DECODE_OK;
}

uint32_t cr_gzip_decode(struct cr_decoder *decoder, struct cr_decode *d)
{
	struct cr_inflate *state = inflate_state(decoder);
	const uint8_t *src = d->src;
	size_t pos = 0, made = 0, bytes, last;
	uint32_t status;

	if (!state)
		return CR_DECODE_NO_MEMORY;
	if (d->src_bytes < HEADER_BYTES + TRAILER_BYTES)
		return CR_DECODE_BAD;
	/* The last member says its size at the very end: no need to try where that is too much. */
	last = cr_le32(src + d->src_bytes - 4);
	if (last > d->cap_bytes) {
		d->raw_bytes = last;
		return CR_DECODE_ROOM;
	}
	while (pos < d->src_bytes) {
		struct cr_inflate_stream stream = {
			.src = src + pos, .src_bytes = d->src_bytes - pos,
			.dst = (uint8_t *)d->dst + made, .cap_bytes = d->cap_bytes - made,
		};

		status = member(state, &stream, &bytes);
		if (status != CR_DECODE_OK)
			return status;
		pos += bytes;
		made += stream.raw_bytes;
	}
	d->raw_bytes = made;
	return CR_DECODE_OK;
}
