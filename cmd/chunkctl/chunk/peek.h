/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a chunk, by its two ends. */
#ifndef CHUNKCTL_PEEK_H
#define CHUNKCTL_PEEK_H

#include "scratch.h"

struct peek {
	struct cr_chunk      chunk;
	enum cr_chunk_reason reason;
	bool                 foreign;  /* nothing in it is a chunk's */
	bool                 meta;     /* the scratch's meta is this chunk's */
	uint64_t             entries, raw_bytes; /* sums of the block metas */
	int64_t              mint_ns, maxt_ns;
};

/* file: the first head_bytes of the file and right behind them the last tail_bytes, which tell what
 * is in it; or, where both are 0, all of it. */
void chunk_peek(const uint8_t *file, uint64_t file_bytes, uint32_t head_bytes, uint32_t tail_bytes,
		struct scratch *s, struct peek *out);

#endif
