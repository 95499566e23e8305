/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of a chunk, and where each is. */
#ifndef CHUNKCTL_BLOCKS_H
#define CHUNKCTL_BLOCKS_H

#include "base/common.h"

struct block_list {
	struct cr_block *list;
	uint32_t         n, cap;
	uint64_t         metas_bytes; /* of the metas that describe them */
	bool             cut; /* the metas end before the last block that they announce */
};

/* All blocks of a chunk that cr_chunk_parse() found right, checksums compared. */
void blocks_find(const uint8_t *file, const struct cr_chunk *c, struct block_list *out);
/* The same by the block metas alone, which begin at metas: nobody has looked at the blocks. */
void blocks_list(const uint8_t *metas, const struct cr_chunk *c, struct block_list *out);

/* Whether it may have a line in [since_ns, until_ns). */
bool block_overlaps(const struct cr_block *b, int64_t since_ns, int64_t until_ns);

#endif
