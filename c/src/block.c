/* SPDX-License-Identifier: Apache-2.0 */
/* A block to its codec. */
#include "block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char *const status_names[] = {
	[CR_DECOMPRESS_PENDING]   = "pending",
	[CR_DECOMPRESS_OK]        = "ok",
	[CR_DECOMPRESS_BAD]       = "bad",
	[CR_DECOMPRESS_ROOM]      = "room",
	[CR_DECOMPRESS_UNSURE]    = "unsure",
	[CR_DECOMPRESS_CODEC]     = "codec",
	[CR_DECOMPRESS_NO_MEMORY] = "no_memory",
};

_Static_assert(sizeof(status_names) / sizeof(status_names[0]) == CR_DECOMPRESS_STATUS_COUNT,
	       "one entry a status");

const char *cr_decompress_status_name(uint32_t status)
{
	return status < CR_DECOMPRESS_STATUS_COUNT ? status_names[status] : "unknown";
}

int cr_decompressor_open(struct cr_decompressor **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void cr_decompressor_close(struct cr_decompressor *decompressor)
{
	if (!decompressor)
		return;
	cr_deflate_close(decompressor);
	cr_zstd_close(decompressor);
	cr_lz4_close(decompressor);
	cr_scratch_trim(decompressor, 0);
	free(decompressor);
}

static uint32_t copy(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	(void)decompressor;
	d->raw_bytes = d->src_bytes;
	if (d->src_bytes > d->cap_bytes)
		return CR_DECOMPRESS_ROOM;
	if (d->src_bytes) /* memcpy wants pointers even for nothing */
		memcpy(d->dst, d->src, d->src_bytes);
	return CR_DECOMPRESS_OK;
}

static uint32_t (*const codecs[])(struct cr_decompressor *, struct cr_decompress *) = {
	[CR_CODEC_NONE]     = copy,
	[CR_CODEC_GZIP]     = cr_gzip_decompress,
	[CR_CODEC_LZ4_64K]  = cr_lz4_decompress,
	[CR_CODEC_SNAPPY]   = cr_snappy_decompress,
	[CR_CODEC_LZ4_256K] = cr_lz4_decompress,
	[CR_CODEC_LZ4_1M]   = cr_lz4_decompress,
	[CR_CODEC_LZ4_4M]   = cr_lz4_decompress,
	[CR_CODEC_FLATE]    = cr_flate_decompress,
	[CR_CODEC_ZSTD]     = cr_zstd_decompress,
};

#define CODECS (sizeof(codecs) / sizeof(codecs[0]))

uint32_t cr_block_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d)
{
	d->raw_bytes = 0;
	d->status = d->codec < CODECS && codecs[d->codec] ? codecs[d->codec](decompressor, d) :
							     (uint32_t)CR_DECOMPRESS_CODEC;
	CR_ASSERT(d->status != CR_DECOMPRESS_PENDING && d->status < CR_DECOMPRESS_STATUS_COUNT);
	CR_ASSERT(d->status != CR_DECOMPRESS_OK || d->raw_bytes <= d->cap_bytes);
	if (d->status != CR_DECOMPRESS_OK && d->status != CR_DECOMPRESS_ROOM)
		d->raw_bytes = 0;
	return d->status;
}

uint32_t cr_block_decompress_batch(struct cr_decompressor *decompressor, struct cr_decompress *d, uint32_t n)
{
	uint32_t i, ok = 0;

	for (i = 0; i < n; i++)
		ok += cr_block_decompress(decompressor, &d[i]) == CR_DECOMPRESS_OK;
	return ok;
}
