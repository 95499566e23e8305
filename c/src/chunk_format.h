/* SPDX-License-Identifier: Apache-2.0 */
/* What chunk_format.c shares with chunk_verify.c: parsing in two steps, so that a checksum that one
 * of them had to take need not be taken again. */
#ifndef CR_CHUNK_FORMAT_H
#define CR_CHUNK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chunkring.h"

/* CRC32C of the two sections, set where cr_chunk_sections() says CR_REASON_NONE. */
struct cr_section_crcs {
	uint32_t symbols, metas;
};

/* cr_chunk_parse() without the blocks. */
enum cr_chunk_reason cr_chunk_sections(const uint8_t *file, size_t file_bytes, struct cr_chunk *out,
				       struct cr_section_crcs *crcs);

/* How cr_chunk_blocks() gets at a checksum, and what it found. Zero the counts. */
struct cr_block_walk {
	uint32_t (*crc)(void *arg, uint64_t off, uint64_t bytes); /* CRC32C of a part of the FILE
								   * that lies within it */
	void    *arg;
	bool     every_block;      /* else only those whose checksum decides what is read next; the
				    * others count as good */
	uint32_t good, moved, bad; /* as in struct cr_verdict */
};

/* Decides whether Loki could load the blocks of a chunk that cr_chunk_sections() found right. It
 * asks for at most 2 * data_bytes of checksums, in file order when the chunk is sound. */
enum cr_chunk_reason cr_chunk_blocks(const uint8_t *file, const struct cr_chunk *chunk,
				     struct cr_block_walk *walk);

#endif
