/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include <string.h>

#include "bytes.h"

void base64_add(struct bytes *out, const void *p, size_t n)
{
	if (bytes_room(out, (n + 2) / 3 * 4))
		out->n += cr_base64_encode(p, n, out->p + out->n);
}

bool base64_name(struct bytes *name, const struct bytes *base64)
{
	if (!base64->n)
		return true;
	name->n = 0;
	if (!bytes_room(name, base64->n))
		return false;
	name->n = cr_base64_decode(base64->p, base64->n, name->p, name->cap);
	return name->n && !memchr(name->p, '\0', name->n);
}
