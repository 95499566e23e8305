/* SPDX-License-Identifier: Apache-2.0 */
/* The growth of a struct cr_buf. */
#ifndef CR_GROW_H
#define CR_GROW_H

#include <errno.h>
#include <stdlib.h>

#include "chunkring.h"

/* Makes room for need bytes, which must not be 0. Keeps what is in it. -ENOMEM: it is as it was. */
static inline int cr_grow(struct cr_buf *b, size_t need)
{
	size_t cap = b->cap_bytes > need / 2 ? 2 * b->cap_bytes : need;
	void *p;

	if (need <= b->cap_bytes)
		return 0;
	p = realloc(b->p, cap);
	if (!p)
		return -ENOMEM;
	b->p = p;
	b->cap_bytes = cap;
	return 0;
}

/* For a struct's _free(): the next call begins anew. */
static inline void cr_buf_free(struct cr_buf *b)
{
	free(b->p);
	*b = (struct cr_buf){ 0 };
}

#endif
