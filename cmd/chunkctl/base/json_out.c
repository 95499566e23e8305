/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "bytes.h"
#include "json.h"
#include "quote.h"
#include "utf8.h"

void json_quote(struct bytes *b, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t plain = 0, len;

	bytes_addc(b, '"');
	for (size_t i = 0; i < n; i += len) {
		bool ascii = p[i] >= ' ' && p[i] < 127; /* most are: no call for them */

		len = ascii ? 1 : clean_char(p + i, n - i);
		if (len && p[i] != '"' && p[i] != '\\') {
			plain += len;
			continue;
		}
		bytes_add(b, s + i - plain, plain);
		plain = 0;
		len = utf8_char(p + i, n - i);
		if (len == 0) {
			bytes_adds(b, "\\ufffd");
			len = 1;
		} else if (len > 1) { /* nothing of what is not clean is above U+FFFF */
			bytes_printf(b, "\\u%04x", code_point(p + i, len));
		} else if (p[i] == '"' || p[i] == '\\') {
			bytes_printf(b, "\\%c", p[i]);
		} else if (p[i] == '\n') {
			bytes_adds(b, "\\n");
		} else if (p[i] == '\t') {
			bytes_adds(b, "\\t");
		} else if (p[i] == '\r') {
			bytes_adds(b, "\\r");
		} else {
			bytes_printf(b, "\\u%04x", p[i]);
		}
	}
	bytes_add(b, s + n - plain, plain);
	bytes_addc(b, '"');
}

static void begin_n(struct bytes *b, const char *key, size_t n)
{
	char last = b->n ? b->p[b->n - 1] : '{';

	if (last != '{' && last != '[' && last != '\n')
		bytes_addc(b, ',');
	if (key) {
		json_quote(b, key, n);
		bytes_addc(b, ':');
	}
}

static void begin(struct bytes *b, const char *key)
{
	begin_n(b, key, key ? strlen(key) : 0);
}

void json_open(struct bytes *b, const char *key, char bracket)
{
	if (b->n)
		begin(b, key);
	bytes_addc(b, bracket);
}

void json_close(struct bytes *b, char bracket)
{
	bytes_addc(b, bracket);
}

#define BASE64 "_base64"

static void base64_quote(struct bytes *b, const char *s, size_t n)
{
	bytes_addc(b, '"');
	base64_add(b, s, n);
	bytes_addc(b, '"');
}

/* False: the value is no UTF-8. */
static bool text_n(struct bytes *b, const char *key, size_t key_bytes, const char *s, size_t n)
{
	struct bytes exact = { 0 };

	begin_n(b, key, key_bytes);
	json_quote(b, s, n);
	if (!key || is_utf8(s, n))
		return true;
	bytes_add(&exact, key, key_bytes);
	bytes_adds(&exact, BASE64);
	begin_n(b, exact.p, exact.n);
	base64_quote(b, s, n);
	bytes_free(&exact);
	return false;
}

void json_text(struct bytes *b, const char *key, const char *s, size_t n)
{
	text_n(b, key, key ? strlen(key) : 0, s, n);
}

static void pairs_exact(struct bytes *b, const char *key, json_pair_fn at, const void *arg,
			uint32_t n)
{
	char name[64];

	snprintf(name, sizeof(name), "%s" BASE64, key);
	json_open(b, name, '[');
	for (uint32_t i = 0; i < n; i++) {
		struct json_pair p = at(arg, i);

		json_open(b, NULL, '[');
		base64_quote(b, p.name, p.name_bytes);
		bytes_addc(b, ',');
		base64_quote(b, p.value, p.value_bytes);
		json_close(b, ']');
	}
	json_close(b, ']');
}

void json_pairs(struct bytes *b, const char *key, json_pair_fn at, const void *arg, uint32_t n)
{
	bool exact = true;

	json_open(b, key, '{');
	for (uint32_t i = 0; i < n; i++) {
		struct json_pair p = at(arg, i);

		exact &= text_n(b, p.name, p.name_bytes, p.value, p.value_bytes);
		exact = exact && is_utf8(p.name, p.name_bytes);
	}
	json_close(b, '}');
	if (!exact)
		pairs_exact(b, key, at, arg, n);
}

void json_string(struct bytes *b, const char *key, const char *s)
{
	json_text(b, key, s, strlen(s));
}

void json_u64(struct bytes *b, const char *key, uint64_t x)
{
	begin(b, key);
	bytes_printf(b, "%llu", (unsigned long long)x);
}

void json_i64(struct bytes *b, const char *key, int64_t x)
{
	begin(b, key);
	bytes_printf(b, "%lld", (long long)x);
}

void json_hex(struct bytes *b, const char *key, uint64_t x)
{
	begin(b, key);
	bytes_printf(b, "\"%llx\"", (unsigned long long)x);
}

void json_real(struct bytes *b, const char *key, double x)
{
	begin(b, key);
	bytes_printf(b, "%.6g", x);
}

void json_bool(struct bytes *b, const char *key, bool x)
{
	begin(b, key);
	bytes_adds(b, x ? "true" : "false");
}
