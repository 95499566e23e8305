/* SPDX-License-Identifier: Apache-2.0 */
/* base64 of RFC 4648 section 4, padded: of chunks' names, and of what JSON can't hold. */
#ifndef CHUNKCTL_BASE64_H
#define CHUNKCTL_BASE64_H

#include "util.h"

int base64_digit(char c); /* its value, or -1 */
void base64_add(struct bytes *out, const void *p, size_t n);
/* Decodes to at most cap bytes. 0 where it is not base64 in its only form, or empty. */
size_t base64_decode(const char *text, size_t n, char *out, size_t cap);

/* Replaces a name that JSON could not hold by the exact bytes in the field beside it, where there
 * is one (it is not empty). False: that is none of a name. */
bool base64_name(struct bytes *name, const struct bytes *base64);

#endif
