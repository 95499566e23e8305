/* SPDX-License-Identifier: Apache-2.0 */
/* What the chunk_ files share: parsing in steps, so that a part that one of them has looked at, or a
 * checksum that it had to take, need not be looked at or taken again. */
#ifndef CR_CHUNK_PARSE_H
#define CR_CHUNK_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "layout.h"

/* CRC32C of the two sections, set where cr_chunk_sections() says CR_REASON_NONE. */
struct cr_section_crcs {
	uint32_t symbols, metas;
};

/* cr_chunk_parse() without the blocks. */
enum cr_chunk_reason cr_chunk_sections(const uint8_t *file, size_t file_bytes, struct cr_chunk *out,
				       struct cr_section_crcs *crcs);

/* The parts of cr_chunk_sections(), in its order. Each fills out, and out->reason_off where it finds
 * something wrong.
 *
 * The first known bytes are at file (file_bytes of them, but of the two ends of a file). */
enum cr_chunk_reason cr_chunk_envelope(const uint8_t *file, uint64_t known, struct cr_chunk *out);
enum cr_chunk_reason cr_chunk_header(const uint8_t *data, struct cr_chunk *out);
enum cr_chunk_reason cr_chunk_footer(const uint8_t *file_end, struct cr_chunk *out);
/* At a section: its bytes and the CRC behind them. */
enum cr_chunk_reason cr_chunk_metas(const uint8_t *metas, struct cr_chunk *out, uint32_t *crc);
enum cr_chunk_reason cr_chunk_symbols(const uint8_t *symbols, struct cr_chunk *out, uint32_t *crc);

/* Notes where it was found. Returns reason. */
static inline enum cr_chunk_reason cr_chunk_wrong(struct cr_chunk *out, enum cr_chunk_reason reason,
						  uint64_t off)
{
	out->reason_off = off;
	return reason;
}

/* The reader behind the number that a section begins with. Where that is malformed, Loki takes 0 and
 * goes on. */
static inline struct cr_reader cr_section_start(const uint8_t *section, uint64_t bytes,
						uint64_t *number)
{
	struct cr_reader r = { .p = section, .end = section + bytes };

	*number = cr_read_uvarint(&r);
	return r;
}

static inline bool cr_crc_follows(const uint8_t *part, uint64_t bytes, uint32_t crc)
{
	return crc == cr_be32(part + bytes);
}

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
enum cr_chunk_reason cr_chunk_blocks(const uint8_t *file, struct cr_chunk *chunk,
				     struct cr_block_walk *walk);

#endif
