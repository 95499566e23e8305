/* SPDX-License-Identifier: Apache-2.0 */
/* What one thread needs to look into chunks; kept between them. */
#ifndef CHUNKCTL_SCRATCH_H
#define CHUNKCTL_SCRATCH_H

#include "base/bytes.h"
#include "blocks.h"

struct scratch {
	struct cr_decompressor *decompressor;
	struct bytes       json;
	struct cr_buf      raw;
	struct cr_meta     meta;
	struct block_list  blocks;
	struct scratch    *next;
};

struct scratch *scratch_get(void); /* from those given back, or new; thread-safe */
void scratch_put(struct scratch *s);

#endif
