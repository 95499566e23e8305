/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk file of which only some blocks are wanted. */
#ifndef CHUNKCTL_PARTIAL_H
#define CHUNKCTL_PARTIAL_H

#include "base/bytes.h"
#include "blocks.h"

struct partial {
	/* in */
	const char        *path;
	uint32_t           crc_want;           /* CRC32C of the file, by its name */
	int64_t            since_ns, until_ns; /* wanted is what block_overlaps() these */
	struct bytes      *file;   /* gets each byte that is read at its place; others are undefined */
	struct block_list *blocks; /* gets all; the state of those that are not wanted is UNKNOWN */
	/* out */
	struct cr_chunk    chunk;
	uint64_t           bytes_read;
};

/* Reads the two ends of the file, the wanted blocks, and the CRC32C behind each of the others. True: that
 * was enough, the wanted blocks are sound, and the file is the one that its name says, but for the bytes
 * of the other blocks. False: only the whole file can tell, or all blocks are wanted. */
bool partial_read(struct partial *p);

#endif
