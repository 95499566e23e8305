/* SPDX-License-Identifier: Apache-2.0 */
/* A block to its codec. */
#include "block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char *const status_names[] = {
	[CR_DECODE_PENDING]   = "pending",
	[CR_DECODE_OK]        = "ok",
	[CR_DECODE_BAD]       = "bad",
	[CR_DECODE_ROOM]      = "room",
	[CR_DECODE_UNSURE]    = "unsure",
	[CR_DECODE_CODEC]     = "codec",
	[CR_DECODE_NO_MEMORY] = "no_memory",
};

_Static_assert(sizeof(status_names) / sizeof(status_names[0]) == CR_DECODE_STATUS_COUNT,
	       "one entry a status");

const char *cr_decode_status_name(uint32_t status)
{
	return status < CR_DECODE_STATUS_COUNT ? status_names[status] : "unknown";
}

int cr_decoder_open(struct cr_decoder **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void cr_decoder_close(struct cr_decoder *decoder)
{
	if (!decoder)
		return;
	cr_deflate_close(decoder);
	cr_zstd_close(decoder);
	cr_lz4_close(decoder);
	free(decoder);
}

static uint32_t copy(struct cr_decoder *decoder, struct cr_decode *d)
{
	(void)decoder;
	d->raw_bytes = d->src_bytes;
	if (d->src_bytes > d->cap_bytes)
		return CR_DECODE_ROOM;
	if (d->src_bytes) /* memcpy wants pointers even for nothing */
		memcpy(d->dst, d->src, d->src_bytes);
	return CR_DECODE_OK;
}

static uint32_t (*const codecs[])(struct cr_decoder *, struct cr_decode *) = {
	[CR_CODEC_NONE]     = copy,
	[CR_CODEC_GZIP]     = cr_gzip_decode,
	[CR_CODEC_LZ4_64K]  = cr_lz4_decode,
	[CR_CODEC_SNAPPY]   = cr_snappy_decode,
	[CR_CODEC_LZ4_256K] = cr_lz4_decode,
	[CR_CODEC_LZ4_1M]   = cr_lz4_decode,
	[CR_CODEC_LZ4_4M]   = cr_lz4_decode,
	[CR_CODEC_FLATE]    = cr_flate_decode,
	[CR_CODEC_ZSTD]     = cr_zstd_decode,
};

#define CODECS (sizeof(codecs) / sizeof(codecs[0]))

uint32_t cr_block_decode(struct cr_decoder *decoder, struct cr_decode *d)
{
	d->raw_bytes = 0;
	d->status = d->codec < CODECS && codecs[d->codec] ? codecs[d->codec](decoder, d) :
							     (uint32_t)CR_DECODE_CODEC;
	CR_ASSERT(d->status != CR_DECODE_PENDING && d->status < CR_DECODE_STATUS_COUNT);
	CR_ASSERT(d->status != CR_DECODE_OK || d->raw_bytes <= d->cap_bytes);
	if (d->status != CR_DECODE_OK && d->status != CR_DECODE_ROOM)
		d->raw_bytes = 0;
	return d->status;
}

uint32_t cr_block_decode_batch(struct cr_decoder *decoder, struct cr_decode *d, uint32_t n)
{
	uint32_t i, ok = 0;

	for (i = 0; i < n; i++)
		ok += cr_block_decode(decoder, &d[i]) == CR_DECODE_OK;
	return ok;
}
