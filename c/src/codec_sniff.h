/* SPDX-License-Identifier: Apache-2.0 */
/* Whether what was compressed begins as its codec says. */
#ifndef CR_CODEC_SNIFF_H
#define CR_CODEC_SNIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "chunkring.h"

#define CR_CODEC_MAGIC_BYTES_MAX 4u

/* A codec whose output begins so, or CR_CODEC_NONE: of deflate, which has no beginning of its own, too. Of the
 * LZ4 it is the first. */
static inline uint32_t cr_codec_of(const uint8_t *p, size_t n)
{
	static const struct {
		uint8_t codec, bytes;
		char    magic[CR_CODEC_MAGIC_BYTES_MAX];
	} known[] = {
		{ CR_CODEC_GZIP,    3, "\x1f\x8b\x08" },
		{ CR_CODEC_ZSTD,    4, { '\x28', '\xb5', '\x2f', '\xfd' } },
		{ CR_CODEC_LZ4_64K, 4, { '\x04', '\x22', '\x4d', '\x18' } },
		{ CR_CODEC_SNAPPY,  4, { '\xff', '\x06', '\x00', '\x00' } },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (n >= known[i].bytes && memcmp(p, known[i].magic, known[i].bytes) == 0)
			return known[i].codec;
	return CR_CODEC_NONE;
}

static inline bool cr_codec_agrees(uint32_t codec, const uint8_t *p, size_t n)
{
	uint32_t begins_as = cr_codec_of(p, n);

	switch (codec) {
	case CR_CODEC_FLATE:
		return begins_as == CR_CODEC_NONE;
	case CR_CODEC_LZ4_256K:
	case CR_CODEC_LZ4_1M:
	case CR_CODEC_LZ4_4M:
		return begins_as == CR_CODEC_LZ4_64K;
	default:
		return begins_as == codec;
	}
}

#endif
