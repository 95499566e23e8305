/* SPDX-License-Identifier: Apache-2.0 */
#include "peek.h"

#include "base/die.h"
#include "contents.h"

static void sum_blocks(const uint8_t *metas, struct peek *out)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;

	out->mint_ns = INT64_MAX;
	out->maxt_ns = INT64_MIN;
	while (cr_chunk_meta_next(metas, &out->chunk, &cursor, &b) > 0) {
		out->entries += b.entries;
		out->raw_bytes += b.uncompressed_bytes;
		out->mint_ns = b.mint_ns < out->mint_ns ? b.mint_ns : out->mint_ns;
		out->maxt_ns = b.maxt_ns > out->maxt_ns ? b.maxt_ns : out->maxt_ns;
	}
}

static void peek_ends(struct cr_ends *ends, struct peek *out)
{
	if (cr_chunk_outline(ends, &out->chunk) != CR_ENDS_OK) /* it was a moment ago */
		die("a chunk in memory changed while it was looked at: bad memory?");
	sum_blocks((const uint8_t *)ends->tail + ends->tail_bytes -
		   (ends->file_bytes - out->chunk.metas_off), out);
}

static void peek_whole(const uint8_t *file, uint64_t file_bytes, struct peek *out)
{
	out->reason = cr_chunk_parse(file, file_bytes, &out->chunk);
	out->chunk.file_bytes = file_bytes;
	if (out->reason == CR_REASON_NONE)
		sum_blocks(file + out->chunk.metas_off, out);
	else
		out->foreign = !cr_chunk_resembles(file, file_bytes);
}

void chunk_peek(const uint8_t *file, uint64_t file_bytes, uint32_t head_bytes, uint32_t tail_bytes,
		struct scratch *s, struct peek *out)
{
	struct cr_ends ends = { .head = file, .head_bytes = head_bytes, .tail = file + head_bytes,
				.tail_bytes = tail_bytes, .file_bytes = file_bytes };

	*out = (struct peek){ 0 };
	if (head_bytes)
		peek_ends(&ends, out);
	else
		peek_whole(file, file_bytes, out);
	out->meta = chunk_meta(file, &out->chunk, s, &s->meta);
}
