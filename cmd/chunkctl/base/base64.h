/* SPDX-License-Identifier: Apache-2.0 */
/* base64, for what JSON can't hold. */
#ifndef CHUNKCTL_BASE64_H
#define CHUNKCTL_BASE64_H

#include "bytes.h"

void base64_add(struct bytes *out, const void *p, size_t n);

/* Replaces a name that JSON could not hold by the exact bytes in the field beside it, where there
 * is one (it is not empty). False: that is none of a name. */
bool base64_name(struct bytes *name, const struct bytes *base64);

#endif
