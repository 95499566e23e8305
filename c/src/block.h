/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks: what block.c and the codecs' files share. One codec a file: block_zstd.c alone includes
 * <zstd.h>, and so on. A codec's function sets raw_bytes and returns the status; it may assume that
 * src and dst are not NULL where their sizes are not 0.
 */
#ifndef CR_BLOCK_H
#define CR_BLOCK_H

#include "chunkring.h"

/* Each part is made by its codec when that is first used, and freed by it. */
struct cr_decompressor {
	struct libdeflate_decompressor *deflate; /* gzip and flate */
	struct ZSTD_DCtx_s *zstd;
	struct LZ4F_dctx_s *lz4;
	struct cr_buf scratch; /* block_read.c: compressed bytes */
};

void cr_scratch_trim(struct cr_decompressor *decompressor, size_t keep_bytes); /* frees it if it is larger */

uint32_t cr_gzip_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d);
uint32_t cr_flate_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d);
uint32_t cr_zstd_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d);
uint32_t cr_lz4_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d);
uint32_t cr_snappy_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d);

void cr_deflate_close(struct cr_decompressor *decompressor);
void cr_zstd_close(struct cr_decompressor *decompressor);
void cr_lz4_close(struct cr_decompressor *decompressor);

#endif
