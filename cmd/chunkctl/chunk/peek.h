/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a chunk, from its two ends: without reading its blocks. */
#ifndef CHUNKCTL_PEEK_H
#define CHUNKCTL_PEEK_H

#include "base/bytes.h"
#include "scratch.h"

struct peek {
	struct cr_chunk      chunk;
	enum cr_chunk_reason reason;
	bool                 foreign;  /* nothing in it is a chunk's */
	bool                 meta;     /* the scratch's meta is this chunk's */
	uint64_t             entries, raw_bytes; /* sums of the block metas */
	int64_t              mint_ns, maxt_ns;
};

/* 0 or an errno. buf is the caller's to use again; its bytes are the file's only where they were
 * needed. */
int chunk_peek(int dir_fd, const char *path, struct scratch *s, struct bytes *buf,
	       struct peek *out);

#endif
