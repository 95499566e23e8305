/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the fuzzers' first inputs: seeds OUT chunk-file... writes OUT/chunk/, OUT/snappy/ and
 * OUT/block_<codec>/ with the files themselves, their metadata frames and their blocks.
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

static void write_parts(const char *out, const uint8_t *data, size_t n)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_chunk chunk;
	struct cr_block block;

	write_seed(out, "chunk", data, n);
	if (cr_chunk_parse(data, n, &chunk) != CR_REASON_NONE)
		return;
	write_seed(out, "snappy", data + chunk.frames_off, chunk.frames_bytes);
	if (!block_dirs[chunk.codec])
		return;
	for (uint32_t i = 0; i < BLOCKS_PER_CHUNK; i++) {
		if (cr_chunk_block_next(data, &chunk, &cursor, &block) != 1)
			break;
		if (block.state != CR_BLOCK_BAD)
			write_seed(out, block_dirs[chunk.codec], data + block.found_off, block.bytes);
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
