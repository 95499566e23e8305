/* SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include "base/common.h"

const char *codec_name(uint32_t codec)
{
	static const char *const names[] = {
		[CR_CODEC_NONE] = "none",	  [CR_CODEC_GZIP] = "gzip",
		[CR_CODEC_LZ4_64K] = "lz4-64k",	  [CR_CODEC_SNAPPY] = "snappy",
		[CR_CODEC_LZ4_256K] = "lz4-256k", [CR_CODEC_LZ4_1M] = "lz4-1M",
		[CR_CODEC_LZ4_4M] = "lz4",	  [CR_CODEC_FLATE] = "flate",
		[CR_CODEC_ZSTD] = "zstd",
	};

	return codec < LEN(names) && names[codec] ? names[codec] : "unknown";
}
