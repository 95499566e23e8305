/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk file: everything that parses one, and what they must agree on. */
#include <errno.h>

#include "chunkring.h"
#include "fuzz.h"

#define DECOMPRESS_BLOCKS    64u
#define DECOMPRESS_BYTES_MAX (1u << 20)

/* What cr_chunk_parse() promises to who uses its offsets. */
static void check_places(const uint8_t *data, size_t n, const struct cr_chunk *chunk)
{
	FUZZ_CHECK(chunk->file_bytes == n);
	FUZZ_CHECK((uint64_t)chunk->frames_off + chunk->frames_bytes <= n);
	FUZZ_CHECK(chunk->data_off + chunk->data_bytes == n);
	FUZZ_CHECK(chunk->version >= 1 && chunk->version <= 4 && chunk->codec <= 9);
	FUZZ_CHECK(chunk->metas_off >= chunk->data_off &&
		   chunk->metas_off + chunk->metas_bytes + 4 <= n);
	FUZZ_CHECK(chunk->symbols_off + chunk->symbols_bytes <= n);
	FUZZ_CHECK(chunk->json_bytes <= CR_META_BYTES_MAX && chunk->blocks <= CR_BLOCKS_MAX);
	(void)data;
}

static void check_json(const uint8_t *data, const struct cr_chunk *chunk)
{
	uint8_t *json = malloc(chunk->json_bytes ? chunk->json_bytes : 1);

	FUZZ_CHECK(json);
	FUZZ_CHECK(cr_chunk_json(data, chunk, json, chunk->json_bytes) == 0);
	if (chunk->json_bytes)
		FUZZ_CHECK(cr_chunk_json(data, chunk, json, chunk->json_bytes - 1) == -ENOSPC);
	free(json);
}

static void decompress_block(const uint8_t *data, const struct cr_chunk *chunk,
			 const struct cr_block *block, struct cr_decompressor *decompressor)
{
	size_t cap = block->uncompressed_bytes < DECOMPRESS_BYTES_MAX ? block->uncompressed_bytes
								  : DECOMPRESS_BYTES_MAX;
	struct cr_decompress d = { .src = data + block->found_off, .src_bytes = block->bytes,
			       .cap_bytes = cap, .codec = chunk->codec };

	d.dst = malloc(cap ? cap : 1);
	FUZZ_CHECK(d.dst);
	cr_block_decompress(decompressor, &d);
	FUZZ_CHECK(d.status > CR_DECOMPRESS_PENDING && d.status < CR_DECOMPRESS_STATUS_COUNT);
	FUZZ_CHECK(d.status != CR_DECOMPRESS_OK || d.raw_bytes <= cap);
	free(d.dst);
}

static void walk_blocks(const uint8_t *data, const struct cr_chunk *chunk,
			const struct cr_verdict *verdict)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_decompressor *decompressor;
	struct cr_block block;
	uint64_t blocks = 0, states[4] = { 0 };
	int more;

	FUZZ_CHECK(cr_decompressor_open(&decompressor) == 0);
	while ((more = cr_chunk_block_next(data, chunk, &cursor, &block)) == 1) {
		FUZZ_CHECK(++blocks <= chunk->blocks);
		FUZZ_CHECK(block.state > CR_BLOCK_UNKNOWN && block.state <= CR_BLOCK_BAD);
		states[block.state]++;
		if (block.state == CR_BLOCK_BAD)
			continue;
		FUZZ_CHECK(block.found_off >= chunk->data_off && block.found_off <= chunk->file_bytes);
		FUZZ_CHECK(block.bytes + 4 <= chunk->file_bytes - block.found_off);
		if (blocks <= DECOMPRESS_BLOCKS)
			decompress_block(data, chunk, &block, decompressor);
	}
	FUZZ_CHECK(more == -EBADMSG || blocks == chunk->blocks);
	FUZZ_CHECK(states[CR_BLOCK_RECORDED] == verdict->blocks_good);
	FUZZ_CHECK(states[CR_BLOCK_MOVED] == verdict->blocks_moved);
	cr_decompressor_close(decompressor);
}

/* Of the two ends only as much as is asked for. What they say is what the whole file says. */
static void check_ends(const uint8_t *data, size_t n)
{
	struct cr_ends ends = { .file_bytes = n };
	struct cr_chunk chunk, whole;
	uint32_t status = CR_ENDS_MORE;

	for (int asks = 0; status == CR_ENDS_MORE; asks++) {
		uint8_t *head = malloc(ends.head_bytes + 1), *tail = malloc(ends.tail_bytes + 1);

		FUZZ_CHECK(asks <= 6 && head && tail);
		memcpy(head, data, ends.head_bytes);
		memcpy(tail, data + n - ends.tail_bytes, ends.tail_bytes);
		ends.head = head;
		ends.tail = tail;
		status = cr_chunk_outline(&ends, &chunk);
		free(head);
		free(tail);
	}
	if (status != CR_ENDS_OK)
		return;
	FUZZ_CHECK(cr_chunk_parse(data, n, &whole) == CR_REASON_NONE);
	FUZZ_CHECK(chunk.frames_bytes == whole.frames_bytes && chunk.json_bytes == whole.json_bytes &&
		   chunk.data_off == whole.data_off && chunk.version == whole.version &&
		   chunk.codec == whole.codec && chunk.symbols_off == whole.symbols_off &&
		   chunk.symbols == whole.symbols && chunk.metas_off == whole.metas_off &&
		   chunk.metas_bytes == whole.metas_bytes && chunk.blocks == whole.blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cr_verdict verdict;
	struct cr_chunk chunk;
	enum cr_chunk_reason reason = cr_chunk_parse(data, n, &chunk);

	FUZZ_CHECK(reason < CR_REASON_COUNT && chunk.reason_off <= n);
	cr_chunk_verify(data, n, &verdict);
	FUZZ_CHECK(verdict.reason == reason);
	FUZZ_CHECK(verdict.crc == cr_crc32c(0, data, n)); /* though put together from parts */
	if (n)
		check_ends(data, n);
	if (reason != CR_REASON_NONE)
		return 0;
	FUZZ_CHECK((uint64_t)verdict.blocks_good + verdict.blocks_moved + verdict.blocks_bad ==
		   chunk.blocks);
	check_places(data, n, &chunk);
	check_json(data, &chunk);
	walk_blocks(data, &chunk, &verdict);
	return 0;
}
