/* SPDX-License-Identifier: Apache-2.0 */
/* What chunk_entries.c asks of chunk_symbols.c. */
#ifndef CR_CHUNK_SYMBOLS_H
#define CR_CHUNK_SYMBOLS_H

#include "chunkring.h"

struct cr_symbol { /* cr_symbols.list */
	uint32_t off, bytes;           /* in text */
	uint32_t name_off, name_bytes; /* in names; 0 bytes: not made yet */
	bool     nameless;
};

/* Sets the part of a pair, i < n, and adds to its stored_bytes. False: Loki can't make a name of it. */
bool cr_symbols_name(struct cr_symbols *sy, uint32_t i, struct cr_pair *p);
void cr_symbols_value(const struct cr_symbols *sy, uint32_t i, struct cr_pair *p);

#endif
