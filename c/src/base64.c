/* SPDX-License-Identifier: Apache-2.0 */
/* base64 of RFC 4648 section 4, padded. */
#include "chunkring.h"

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t cr_base64_decode(const char *text, size_t text_bytes, void *out, size_t cap_bytes)
{
	size_t at = 0, pad = 0;
	uint8_t *to = out;

	if (text_bytes == 0 || text_bytes % 4 != 0)
		return 0;
	while (pad < 2 && text[text_bytes - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < text_bytes; i += 4) {
		size_t digits = i + 4 == text_bytes ? 4 - pad : 4;
		uint32_t w = 0;

		for (size_t j = 0; j < 4; j++) {
			int d = j < digits ? digit(text[i + j]) : 0;

			if (d < 0)
				return 0;
			w = w << 6 | (uint32_t)d;
		}
		if ((digits == 3 && (w & 0xff)) || (digits == 2 && (w & 0xffff)))
			return 0; /* bits that no encoder leaves */
		for (size_t j = 0; j + 1 < digits; j++) {
			if (at == cap_bytes)
				return 0;
			to[at++] = (uint8_t)(w >> (16 - 8 * j));
		}
	}
	return at;
}

size_t cr_base64_encode(const void *bytes, size_t n, char *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = bytes;
	char *to = out;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t w = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);

		*to++ = digits[w >> 18];
		*to++ = digits[w >> 12 & 63];
		*to++ = i + 1 < n ? digits[w >> 6 & 63] : '=';
		*to++ = i + 2 < n ? digits[w & 63] : '=';
	}
	return (size_t)(to - out);
}
