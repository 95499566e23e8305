/* SPDX-License-Identifier: Apache-2.0 */
/* A growable run of bytes. */
#ifndef CHUNKCTL_BYTES_H
#define CHUNKCTL_BYTES_H

#include "common.h"

/* Never longer than max (0: 1 GiB); full remembers that something did not
 * fit. Zero it to begin. */
struct bytes {
	char  *p;
	size_t n, cap, max;
	bool   full;
};

bool bytes_room(struct bytes *b, size_t more); /* makes room for more bytes after n */
bool bytes_add(struct bytes *b, const void *p, size_t n);
bool bytes_addc(struct bytes *b, char c);
bool bytes_adds(struct bytes *b, const char *s);
bool bytes_printf(struct bytes *b, const char *fmt, ...) PRINTF(2, 3);
const char *bytes_string(struct bytes *b); /* with a NUL behind it, which does not count */
void bytes_free(struct bytes *b);

#endif
