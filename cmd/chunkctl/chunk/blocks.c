/* SPDX-License-Identifier: Apache-2.0 */
#include "blocks.h"

#include "base/mem.h"

typedef int (*next_fn)(const void *from, const struct cr_chunk *c, struct cr_block_cursor *cursor,
		       struct cr_block *out);

static void gather(next_fn next, const uint8_t *from, const struct cr_chunk *c,
		   struct block_list *out)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;
	int more;

	out->n = 0;
	while ((more = next(from, c, &cursor, &b)) > 0) {
		if (out->n == out->cap) {
			out->cap = out->cap ? 2 * out->cap : 64;
			out->list = mem_resize(out->list, out->cap * sizeof(*out->list));
		}
		out->list[out->n++] = b;
	}
	out->metas_bytes = cursor.metas_bytes;
	out->cut = more < 0;
}

void blocks_find(const uint8_t *file, const struct cr_chunk *c, struct block_list *out)
{
	gather(cr_chunk_block_next, file, c, out);
}

void blocks_list(const uint8_t *metas, const struct cr_chunk *c, struct block_list *out)
{
	gather(cr_chunk_meta_next, metas, c, out);
}

bool block_overlaps(const struct cr_block *b, int64_t since_ns, int64_t until_ns)
{
	return b->maxt_ns >= since_ns && b->mint_ns < until_ns;
}
