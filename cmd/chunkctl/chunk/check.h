/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a chunk file. */
#ifndef CHUNKCTL_CHECK_H
#define CHUNKCTL_CHECK_H

#include "findings.h"
#include "scratch.h"

#define CHECK_DEEP 1u /* decompress every block and read every entry */

struct look { /* one check of one chunk */
	/* in */
	const struct cr_key *key;  /* what the name says, or NULL */
	const uint8_t       *file; /* of check_ends(): its head, right behind it its tail */
	size_t               n;    /* bytes of the file */
	uint32_t             flags;
	struct scratch      *s;    /* out: meta, and blocks where reason is CR_REASON_NONE */
	struct findings     *out;
	/* out */
	uint32_t             crc;  /* of the file; only of check_chunk() */
	struct cr_chunk      chunk;
	enum cr_chunk_reason reason;
	bool                 meta; /* the scratch's meta is this chunk's */
};

/* Everything that can be told about n bytes. */
void check_chunk(struct look *l);

/* The same for a file whose CRC and structure and whose blocks' CRCs are known to be right. */
void check_sound_chunk(struct look *l);

/* The same for a file of which only the two ends were read, and whose CRC is right if its blocks' bytes
 * are those that the CRCs behind them are of. Returns how many bytes of blocks nobody has looked at. */
uint64_t check_ends(struct look *l, uint32_t head_bytes, uint32_t tail_bytes);

/* Decompresses the structured metadata and every block of a chunk whose structure is right and whose
 * blocks are in the scratch, and reads every entry. */
void check_deep(struct look *l);

#endif
