/* SPDX-License-Identifier: Apache-2.0 */
/* check.c and check_deep.c: one look at one chunk. */
#ifndef CHUNKCTL_CHECK_INNER_H
#define CHUNKCTL_CHECK_INNER_H

#include "check.h"

struct look { /* one check */
	const struct key    *key;
	const uint8_t       *file;
	size_t               n;
	uint32_t             flags;
	struct scratch      *s;
	struct findings     *out;
	struct cr_chunk      chunk;
	enum cr_chunk_reason reason;
};

/* Inflates the structured metadata and every block of a chunk whose structure is right and whose
 * blocks are in the scratch, and reads every entry. */
void check_deep(struct look *l);

#endif
