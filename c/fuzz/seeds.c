/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the fuzzers' first inputs: seeds OUT chunk-file... writes OUT/chunk/, OUT/snappy/ and
 * OUT/block_<codec>/ with the files themselves, their metadata frames and their blocks; OUT/meta/,
 * OUT/key/ and OUT/entries/ with their JSON, the path of their key, and blocks inflated.
 */
#include <errno.h>
#include <sys/stat.h>

#include "chunkring.h"
#include "fuzz.h"

#define PATH_BYTES       4096u
#define BLOCKS_PER_CHUNK 4u
#define SEED_BYTES_MAX   (64u << 10) /* small ones are tried more often */

static const char *const block_dirs[] = {
	[CR_CODEC_GZIP] = "block_gzip",    [CR_CODEC_LZ4_64K] = "block_lz4",
	[CR_CODEC_SNAPPY] = "block_snappy", [CR_CODEC_LZ4_256K] = "block_lz4",
	[CR_CODEC_LZ4_1M] = "block_lz4",   [CR_CODEC_LZ4_4M] = "block_lz4",
	[CR_CODEC_FLATE] = "block_flate",  [CR_CODEC_ZSTD] = "block_zstd",
};

static void write_seed(const char *out, const char *dir, const void *data, size_t n)
{
	char path[PATH_BYTES];
	FILE *file;

	if (n > SEED_BYTES_MAX)
		return;
	snprintf(path, sizeof(path), "%s/%s", out, dir);
	FUZZ_CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/%s/seed-%08x-%zu", out, dir, cr_crc32c(0, data, n), n);
	file = fopen(path, "wb");
	FUZZ_CHECK(file && fwrite(data, 1, n, file) == n);
	fclose(file);
}

/* What c/fuzz/entries.c takes. */
static void write_entries(const char *out, const uint8_t *data, const struct cr_chunk *chunk,
			  const struct cr_buf *block, struct cr_decompressor *decompressor)
{
	uint64_t section = 0;
	size_t head = 0, bytes = 0;
	struct cr_buf text = { 0 };
	uint8_t *seed;

	if (chunk->symbols && chunk->symbols < 0x80) { /* their number takes a byte */
		head = 1;
		cr_block_decompress_grow(decompressor, chunk->codec, data + chunk->symbols_off + 1,
				     chunk->symbols_bytes - 1, 0, &text);
		bytes = text.bytes < SEED_BYTES_MAX ? text.bytes : 0;
	}
	section = head + bytes;
	seed = malloc(3 + section + block->bytes);
	FUZZ_CHECK(seed);
	seed[0] = chunk->version - 1;
	seed[1] = (uint8_t)section;
	seed[2] = (uint8_t)(section >> 8);
	if (head)
		seed[3] = (uint8_t)chunk->symbols;
	if (bytes)
		memcpy(seed + 3 + head, text.p, bytes);
	if (block->bytes)
		memcpy(seed + 3 + section, block->p, block->bytes);
	write_seed(out, "entries", seed, 3 + section + block->bytes);
	free(text.p);
	free(seed);
}

static void write_block(const char *out, const uint8_t *data, const struct cr_chunk *chunk,
			const struct cr_block *b)
{
	struct cr_decompressor *decompressor;
	struct cr_buf raw = { 0 };

	if (block_dirs[chunk->codec])
		write_seed(out, block_dirs[chunk->codec], data + b->found_off, b->bytes);
	FUZZ_CHECK(cr_decompressor_open(&decompressor) == 0);
	if (cr_block_decompress_grow(decompressor, chunk->codec, data + b->found_off, b->bytes,
				 b->uncompressed_bytes, &raw) == CR_DECOMPRESS_OK)
		write_entries(out, data, chunk, &raw, decompressor);
	free(raw.p);
	cr_decompressor_close(decompressor);
}

static void write_meta(const char *out, const uint8_t *data, size_t n, const struct cr_chunk *chunk)
{
	char *json = malloc(chunk->json_bytes + 1u), path[CR_KEY_PATH_BYTES_MAX];
	struct cr_meta m = { 0 };
	struct cr_key key;

	FUZZ_CHECK(json && cr_chunk_json(data, chunk, json, chunk->json_bytes) == 0);
	write_seed(out, "meta", json, chunk->json_bytes);
	if (cr_meta_read(&m, json, chunk->json_bytes) == 0 && m.tenant_bytes <= CR_TENANT_BYTES_MAX) {
		key = (struct cr_key){ .fingerprint = m.fingerprint, .from_ms = m.from_ms,
				       .through_ms = m.through_ms, .crc = cr_crc32c(0, data, n),
				       .flat = n % 2, .tenant_bytes = (uint8_t)m.tenant_bytes };
		memcpy(key.tenant, m.tenant, m.tenant_bytes);
		write_seed(out, "key", path, cr_key_path(&key, path));
	}
	cr_meta_free(&m);
	free(json);
}

static void write_parts(const char *out, const uint8_t *data, size_t n)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_chunk chunk;
	struct cr_block block;

	write_seed(out, "chunk", data, n);
	write_seed(out, "ends", data, n);
	if (cr_chunk_parse(data, n, &chunk) != CR_REASON_NONE)
		return;
	write_seed(out, "snappy", data + chunk.frames_off, chunk.frames_bytes);
	write_meta(out, data, n, &chunk);
	for (uint32_t i = 0; i < BLOCKS_PER_CHUNK; i++) {
		if (cr_chunk_block_next(data, &chunk, &cursor, &block) != 1)
			break;
		if (block.state != CR_BLOCK_BAD)
			write_block(out, data, &chunk, &block);
	}
}

int main(int argc, char **argv)
{
	uint8_t *data = malloc(FUZZ_INPUT_MAX);

	FUZZ_CHECK(argc > 2 && data);
	for (int i = 2; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");

		FUZZ_CHECK(file);
		write_parts(argv[1], data, fread(data, 1, FUZZ_INPUT_MAX, file));
		fclose(file);
	}
	free(data);
	return 0;
}
