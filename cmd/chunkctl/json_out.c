/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "json.h"

void json_quote(struct bytes *b, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t plain = 0, len;

	bytes_addc(b, '"');
	for (size_t i = 0; i < n; i += len) {
		len = utf8_char(p + i, n - i);
		if (len > 1 || (len == 1 && p[i] >= ' ' && p[i] != '"' && p[i] != '\\' && p[i] != 127)) {
			plain += len;
			continue;
		}
		bytes_add(b, s + i - plain, plain);
		plain = 0;
		if (len == 0) {
			bytes_adds(b, "\\ufffd");
			len = 1;
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

static void begin(struct bytes *b, const char *key)
{
	char last = b->n ? b->p[b->n - 1] : '{';

	if (last != '{' && last != '[' && last != '\n')
		bytes_addc(b, ',');
	if (key) {
		json_quote(b, key, strlen(key));
		bytes_addc(b, ':');
	}
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

void json_text(struct bytes *b, const char *key, const char *s, size_t n)
{
	char exact[64];

	begin(b, key);
	json_quote(b, s, n);
	if (!key || is_utf8(s, n))
		return;
	snprintf(exact, sizeof(exact), "%s_base64", key);
	begin(b, exact);
	bytes_addc(b, '"');
	base64_add(b, s, n);
	bytes_addc(b, '"');
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
