/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk file in memory: where its blocks really are, blocks inflated. */
#ifndef CHUNKCTL_CHUNK_H
#define CHUNKCTL_CHUNK_H

#include "util.h"

/* ---- Blocks ---- */

struct block_list {
	struct cr_block *list;
	uint32_t         n, cap;
	uint64_t         metas_bytes; /* of the metas that describe them */
	bool             cut; /* the metas end before the last block that they announce */
};

/* All blocks of a chunk that cr_chunk_parse() found right, checksums compared. */
void blocks_find(const uint8_t *file, const struct cr_chunk *c, struct block_list *out);

/* What one thread needs to look into chunks; kept between them. */
struct scratch {
	struct cr_decoder *decoder;
	struct bytes       json;
	struct cr_buf      raw;
	struct cr_meta     meta;
	struct block_list  blocks;
	struct scratch    *next;
};

struct scratch *scratch_get(void); /* from those given back, or new; thread-safe */
void scratch_put(struct scratch *s);

/* ---- The library's calls, which here end the program where memory is short ---- */

/* The JSON of a parsed chunk into s->json, what it says into m. False: m->error, or NULL where the
 * frames don't inflate or the parse did not get to them. */
bool chunk_meta(const uint8_t *file, const struct cr_chunk *c, struct scratch *s, struct cr_meta *m);

/* NULL or what is wrong. */
const char *symbols_read(struct cr_symbols *sy, struct scratch *s, const uint8_t *file,
			 const struct cr_chunk *c);

/* False: the end, or r->error. */
bool entries_next(struct cr_entries *r, struct cr_entry *e);

/* enum cr_decode_status. */
uint32_t inflate(struct scratch *s, uint32_t codec, const uint8_t *p, uint64_t n, uint64_t guess,
		 struct cr_buf *out);
uint32_t block_inflate(struct scratch *s, const uint8_t *file, const struct cr_chunk *c,
		       const struct cr_block *b, struct cr_buf *out);

const char *codec_name(uint32_t codec); /* as Loki's configuration spells it */

/* ---- Reading one file as a whole ---- */

#define FILE_BYTES_MAX CR_FILE_BYTES_DEFAULT

/* Reads dir_fd/path into out (replacing). 0 or an errno: EFBIG beyond FILE_BYTES_MAX, EINVAL what is
 * not a regular file. *mtime_ns may be NULL. Symbolic links are followed only when they are the last
 * component and follow is set. */
int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns);

#endif
