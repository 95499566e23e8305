/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a chunk: the library's calls, which here end the program where memory is short. */
#ifndef CHUNKCTL_CONTENTS_H
#define CHUNKCTL_CONTENTS_H

#include "scratch.h"

/* The JSON of a parsed chunk into s->json, what it says into m. False: m->error, or NULL where the
 * frames don't decompress or the parse did not get to them. */
bool chunk_meta(const uint8_t *file, const struct cr_chunk *c, struct scratch *s, struct cr_meta *m);

/* NULL or what is wrong. */
const char *symbols_read(struct cr_symbols *sy, struct scratch *s, const uint8_t *file,
			 const struct cr_chunk *c);

/* False: the end, or r->error. */
bool entries_next(struct cr_entries *r, struct cr_entry *e);

/* enum cr_decompress_status. */
uint32_t decompress(struct scratch *s, uint32_t codec, const uint8_t *p, uint64_t n, uint64_t guess,
		 struct cr_buf *out);
uint32_t block_decompress(struct scratch *s, const uint8_t *file, const struct cr_chunk *c,
		       const struct cr_block *b, struct cr_buf *out);

#endif
