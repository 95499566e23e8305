/* SPDX-License-Identifier: Apache-2.0 */
#include "quote.h"

#include <string.h>

#include "bytes.h"
#include "common.h"
#include "utf8.h"

/* ---- What may be shown ---- */

/* Of the characters that have no shape of their own: C1's control codes, which terminals obey,
 * and those that reorder, join, hide or break the text around them. */
static bool is_shapeless(uint32_t c)
{
	static const struct { uint32_t from, to; } ranges[] = {
		{ 0x80, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c }, { 0x180e, 0x180e },
		{ 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff },
		{ 0xfff9, 0xfffb },
	};

	for (size_t i = 0; i < LEN(ranges); i++)
		if (c >= ranges[i].from && c <= ranges[i].to)
			return true;
	return false;
}

uint32_t code_point(const uint8_t *p, size_t n)
{
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3f);
	return c;
}

size_t clean_char(const uint8_t *p, size_t n)
{
	size_t len = utf8_char(p, n);

	if (len == 1)
		return p[0] >= ' ' && p[0] != 127;
	return len && !is_shapeless(code_point(p, len)) ? len : 0;
}

bool is_clean(const char *s, size_t n)
{
	for (size_t i = 0, len; i < n; i += len) {
		len = clean_char((const uint8_t *)s + i, n - i);
		if (!len)
			return false;
	}
	return true;
}

/* ---- Writing ---- */

/* What is not clean at p; the bytes it takes. */
static size_t escape_add(struct bytes *out, const uint8_t *p, size_t n)
{
	static const char from[] = "\a\b\f\n\r\t\v", to[] = "abfnrtv";
	const char *at = p[0] ? strchr(from, p[0]) : NULL;
	size_t len = utf8_char(p, n);

	if (at)
		bytes_printf(out, "\\%c", to[at - from]);
	else if (len < 2) /* a control character, or no UTF-8 */
		bytes_printf(out, "\\x%02x", p[0]);
	else
		bytes_printf(out, "\\u%04x", code_point(p, len)); /* none is above U+FFFF */
	return len ? len : 1;
}

static void add_escaped(struct bytes *out, const char *s, size_t n, const char *also)
{
	const uint8_t *p = (const uint8_t *)s;

	for (size_t i = 0, len; i < n; i += len) {
		len = clean_char(p + i, n - i);
		if (!len) {
			len = escape_add(out, p + i, n - i);
			continue;
		}
		if (strchr(also, s[i]))
			bytes_addc(out, '\\');
		bytes_add(out, s + i, len);
	}
}

void text_escape(struct bytes *out, const char *s, size_t n)
{
	add_escaped(out, s, n, "");
}

void text_quote(struct bytes *out, const char *s, size_t n)
{
	bytes_addc(out, '"');
	add_escaped(out, s, n, "\"\\");
	bytes_addc(out, '"');
}

void text_show(struct bytes *out, const char *s)
{
	size_t n = strlen(s);

	if (is_clean(s, n) && s[0] != '"')
		bytes_add(out, s, n);
	else
		text_quote(out, s, n);
}

static bool is_plain_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
			      s[i] == '_';

		if (!letter && (i == 0 || s[i] < '0' || s[i] > '9'))
			return false;
	}
	return n > 0;
}

void text_label(struct bytes *out, const char *name, size_t n, const char *value, size_t m)
{
	if (is_plain_name(name, n))
		bytes_add(out, name, n);
	else
		text_quote(out, name, n);
	bytes_addc(out, '=');
	text_quote(out, value, m);
}

/* ---- Reading ---- */

/* Reads n digits. False: they are not all there. */
static bool read_digits(const char **p, uint32_t n, uint32_t base, uint32_t *out)
{
	*out = 0;
	for (uint32_t i = 0; i < n; i++, ++*p) {
		char c = **p;
		uint32_t d = c >= '0' && c <= '9' ? (uint32_t)(c - '0') :
			     c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 :
			     c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10 : UINT32_MAX;

		if (d >= base)
			return false;
		*out = *out * base + d;
	}
	return true;
}

static bool read_escape(const char **p, struct bytes *out)
{
	static const char from[] = "abfnrtv\\\"'", to[] = "\a\b\f\n\r\t\v\\\"'";
	const char *at = **p ? strchr(from, **p) : NULL;
	uint32_t x;

	if (at) {
		++*p;
		return bytes_addc(out, to[at - from]);
	}
	if (**p >= '0' && **p <= '7')
		return read_digits(p, 3, 8, &x) && x <= 255 && bytes_addc(out, (char)x);
	switch (*(*p)++) {
	case 'x':
		return read_digits(p, 2, 16, &x) && bytes_addc(out, (char)x);
	case 'u':
		return read_digits(p, 4, 16, &x) && utf8_add(out, x);
	case 'U':
		return read_digits(p, 8, 16, &x) && x <= 0x10ffff && utf8_add(out, x);
	}
	return false;
}

bool text_unquote(const char **p, struct bytes *out)
{
	const char *q = *p;

	out->n = 0;
	if (*q == '`') {
		const char *end = strchr(q + 1, '`');

		if (!end)
			return false;
		bytes_add(out, q + 1, (size_t)(end - q) - 1);
		*p = end + 1;
		return true;
	}
	if (*q++ != '"')
		return false;
	while (*q != '"') {
		if (!*q || *q == '\n')
			return false;
		if (*q != '\\') {
			bytes_addc(out, *q++);
			continue;
		}
		q++;
		if (!read_escape(&q, out))
			return false;
	}
	*p = q + 1;
	return true;
}
