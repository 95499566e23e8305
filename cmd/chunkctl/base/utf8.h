/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8. */
#ifndef CHUNKCTL_UTF8_H
#define CHUNKCTL_UTF8_H

#include "bytes.h"

#define UTF8_BYTES_MAX 4u
bool is_utf8(const void *p, size_t n);
/* Bytes at p that one valid UTF-8 character takes, or 0. */
size_t utf8_char(const uint8_t *p, size_t n);
/* U+FFFD for what is no character. Always true, but where out is full. */
bool utf8_add(struct bytes *out, uint32_t c);

#endif
