/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every checksum of a chunk file with one pass over its bytes. The file's CRC is put together, in
 * file order, from those of the parts that have one of their own (blocks, metas, structured
 * metadata) and of what lies between them.
 */
#include "chunk_parse.h"

/* A part smaller than this is checksummed again with its neighbours: it is in L1, and joining it
 * costs more (about 20 ns, and a short run for the neighbour in front of it). */
#define JOIN_BYTES_MIN 512u

struct sweep {
	const uint8_t *file;
	uint64_t       pos; /* crc is that of the file up to here */
	uint32_t       crc;
};

static void sweep_to(struct sweep *s, uint64_t end)
{
	if (s->pos == end)
		return; /* an empty file may be NULL */
	s->crc = cr_crc32c(s->crc, s->file + s->pos, end - s->pos);
	s->pos = end;
}

/* Makes use of the checksum of a part. Parts that overlap or come out of order, which no writer
 * makes, are left to sweep_to(): right, only not in one pass. */
static void sweep_join(struct sweep *s, uint64_t off, uint64_t bytes, uint32_t crc)
{
	if (bytes < JOIN_BYTES_MIN || off < s->pos)
		return;
	sweep_to(s, off);
	s->crc = cr_crc32c_combine(s->crc, crc, bytes);
	s->pos += bytes;
}

static uint32_t sweep_block(void *arg, uint64_t off, uint64_t bytes)
{
	struct sweep *s = arg;
	uint32_t crc = cr_crc32c(0, s->file + off, bytes);

	sweep_join(s, off, bytes, crc);
	return crc;
}

void cr_chunk_verify(const void *file, size_t file_bytes, struct cr_verdict *out)
{
	struct sweep sweep = { .file = file };
	struct cr_block_walk walk = { .crc = sweep_block, .arg = &sweep, .every_block = true };
	struct cr_section_crcs crcs;
	struct cr_chunk chunk;

	out->reason = cr_chunk_sections(file, file_bytes, &chunk, &crcs);
	if (out->reason == CR_REASON_NONE) {
		sweep_join(&sweep, chunk.symbols_off, chunk.symbols_bytes, crcs.symbols);
		out->reason = cr_chunk_blocks(file, &chunk, &walk);
		sweep_join(&sweep, chunk.metas_off, chunk.metas_bytes, crcs.metas);
	}
	sweep_to(&sweep, file_bytes);
	out->crc = sweep.crc;
	out->blocks_good = walk.good;
	out->blocks_moved = walk.moved;
	out->blocks_bad = walk.bad;
}
