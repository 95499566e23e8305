/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of many chunks in time order. Chunks are opened when their time has come and closed when
 * they are through, so memory is that of the chunks that overlap.
 */
#ifndef CHUNKCTL_MERGE_H
#define CHUNKCTL_MERGE_H

#include "base/bytes.h"
#include "blocks.h"

#define MERGE_BYTES_MAX (2ull << 30) /* that were read of chunk files that are open at once */

struct merge_chunk { /* one to come */
	char    *path;   /* whole */
	int64_t  from_ns; /* not after its first entry */
};

struct chunk_open { /* one that is being read */
	const char       *path;
	struct cr_key        key;
	bool              named;
	struct bytes      file;  /* or only what is needed of it, each byte at its place */
	uint64_t          bytes; /* of these */
	struct cr_chunk   chunk;
	struct block_list blocks;
	struct cr_symbols    symbols;
	struct cr_meta       meta;
	struct bytes      labels; /* what the output has rendered of meta, or empty */
	uint32_t          order, runs;
};

struct merged {
	const struct cr_entry *entry;
	struct chunk_open  *chunk; /* its labels may be written */
};

struct merge;

/* list is sorted here and owned by the caller. Lines outside [since, until) are left out. */
struct merge *merge_open(struct merge_chunk *list, size_t n, int64_t since_ns, int64_t until_ns);
bool merge_next(struct merge *m, struct merged *out); /* out is valid until the next call */
/* Chunks that could not be read as a whole: they were complained of. Of them, how many could not be
 * read from disk at all (not for damage). */
uint64_t merge_damaged(const struct merge *m, uint64_t *trouble);
uint64_t merge_gone(const struct merge *m); /* chunks that were deleted before they were opened */
void merge_close(struct merge *m);

#endif
