/* SPDX-License-Identifier: Apache-2.0 */
#include "utf8.h"

#include "bytes.h"

static bool is_tail(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return false;
	return true;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t utf8_char(const uint8_t *p, size_t n)
{
	size_t len;

	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n < len || !is_tail(p + 1, len - 1))
		return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

bool is_utf8(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0, len; i < n; i += len) {
		len = utf8_char(p + i, n - i);
		if (!len)
			return false;
	}
	return true;
}

bool utf8_add(struct bytes *out, uint32_t c)
{
	char s[UTF8_BYTES_MAX];

	return bytes_add(out, s, cr_utf8(c, s));
}
