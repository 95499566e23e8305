/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include <string.h>

int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t base64_decode(const char *text, size_t n, char *out, size_t cap)
{
	size_t at = 0, pad = 0;

	if (n == 0 || n % 4 != 0)
		return 0;
	while (pad < 2 && text[n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < n; i += 4) {
		size_t digits = i + 4 == n ? 4 - pad : 4;
		uint32_t w = 0;

		for (size_t j = 0; j < 4; j++) {
			int d = j < digits ? base64_digit(text[i + j]) : 0;

			if (d < 0)
				return 0;
			w = w << 6 | (uint32_t)d;
		}
		if ((digits == 3 && (w & 0xff)) || (digits == 2 && (w & 0xffff)))
			return 0; /* bits that no encoder leaves */
		for (size_t j = 0; j + 1 < digits; j++) {
			if (at == cap)
				return 0;
			out[at++] = (char)(w >> (16 - 8 * j) & 0xff);
		}
	}
	return at;
}

void base64_add(struct bytes *out, const void *bytes, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t w = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);

		bytes_addc(out, digits[w >> 18]);
		bytes_addc(out, digits[w >> 12 & 63]);
		bytes_addc(out, i + 1 < n ? digits[w >> 6 & 63] : '=');
		bytes_addc(out, i + 2 < n ? digits[w & 63] : '=');
	}
}

bool base64_name(struct bytes *name, const struct bytes *base64)
{
	if (!base64->n)
		return true;
	name->n = 0;
	if (!bytes_room(name, base64->n))
		return false;
	name->n = base64_decode(base64->p, base64->n, name->p, name->cap);
	return name->n && !memchr(name->p, '\0', name->n);
}
