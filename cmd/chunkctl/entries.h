/* SPDX-License-Identifier: Apache-2.0 */
/* The entries in an inflated block, and the symbols that their structured metadata refers to. */
#ifndef CHUNKCTL_ENTRIES_H
#define CHUNKCTL_ENTRIES_H

#include "chunk.h"

#define LINE_BYTES_MAX (1u << 30) /* Loki's own bound */

/* Strings by number (format 4): names and values. Names are shown as Loki shows them, with what
 * Prometheus would not take made '_'. */
struct symbols {
	struct bytes text;           /* the section, inflated, and normalized names behind it */
	struct {
		uint32_t off, bytes;       /* as stored */
		uint32_t name, name_bytes; /* normalized; name_bytes 0: not yet */
		bool     nameless;         /* Loki can't make a name of it: "__" or "город" */
	} *list;
	uint32_t n, cap;
	uint64_t unused_bytes;       /* behind the last one */
};

/* Reads them all. NULL or what is wrong. A chunk before format 4 has none. */
const char *symbols_read(struct symbols *sy, struct scratch *s, const uint8_t *file,
			 const struct cr_chunk *c);
void symbols_free(struct symbols *sy);

struct pair {
	const char *name, *value;
	uint32_t    name_bytes, value_bytes;
	uint32_t    order; /* in the block */
};

struct entry {
	int64_t     ns;
	const char *line;
	size_t      line_bytes;
	struct pair *pairs; /* by name, no name twice: as Loki serves them */
	uint32_t    n_pairs;
	uint64_t    stored_pairs, stored_bytes; /* as they are in the block; their strings' lengths */
};

struct entry_reader {
	const uint8_t  *begin, *p, *end;
	struct symbols *symbols; /* NULL: skip the pairs */
	uint8_t         version;
	struct pair    *pairs;
	uint32_t        cap_pairs;
	const char     *error;
	bool            bad_ref, nameless; /* a pair refers to no symbol; to one without a name */
};

void entries_begin(struct entry_reader *r, const struct bytes *raw, uint8_t version,
		   struct symbols *symbols);
bool entries_next(struct entry_reader *r, struct entry *out); /* false: the end, or r->error */
void entries_end(struct entry_reader *r);

#endif
