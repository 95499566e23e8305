/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 8259, read once from front to back without a tree. Depth is bounded; numbers are checked for
 * form and converted by whoever wants them.
 */
#include <string.h>

#include "json.h"

bool json_fail(struct json_reader *r, const char *error)
{
	if (!r->error)
		r->error = error;
	return false;
}

void json_begin(struct json_reader *r, const char *p, size_t n)
{
	*r = (struct json_reader){ .begin = p, .p = p, .end = p + n };
}

char json_peek(struct json_reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
		r->p++;
	return !r->error && r->p < r->end ? *r->p : '\0';
}

bool json_enter(struct json_reader *r, char bracket)
{
	if (json_peek(r) != bracket)
		return json_fail(r, bracket == '{' ? "an object was expected"
						   : "an array was expected");
	if (++r->depth > JSON_DEPTH_MAX)
		return json_fail(r, "nested too deep");
	r->p++;
	return true;
}

/* After a bracket or a value: a comma and another one, or the closing bracket. */
bool json_next(struct json_reader *r, struct bytes *key)
{
	char close = key ? '}' : ']', c = json_peek(r);
	bool first = r->p > r->begin && (r->p[-1] == '{' || r->p[-1] == '[');

	/* white space between: look at what the last thing was */
	for (const char *q = r->p; !first && q > r->begin; q--) {
		if (q[-1] == ' ' || q[-1] == '\n' || q[-1] == '\t' || q[-1] == '\r')
			continue;
		first = q[-1] == '{' || q[-1] == '[';
		break;
	}
	if (c == close) {
		r->p++;
		r->depth--;
		return false;
	}
	if (!first) {
		if (c != ',')
			return json_fail(r, c ? "a comma or a closing bracket was expected"
					      : "it ends too early");
		r->p++;
	}
	if (!key)
		return json_peek(r) ? true : json_fail(r, "it ends too early");
	if (!json_read_string(r, key))
		return false;
	if (json_peek(r) != ':')
		return json_fail(r, "a colon was expected");
	r->p++;
	return true;
}

static int hex4(const char *p)
{
	int x = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
			c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (d < 0)
			return -1;
		x = x << 4 | d;
	}
	return x;
}

/* Lone surrogates become U+FFFD, as in Go. */
static bool read_u(struct json_reader *r, struct bytes *out)
{
	int c, low;

	if (r->end - r->p < 4 || (c = hex4(r->p)) < 0)
		return json_fail(r, "a bad \\u escape");
	r->p += 4;
	if (c >= 0xd800 && c < 0xdc00 && r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u') {
		low = hex4(r->p + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			r->p += 6;
			utf8_add(out, 0x10000u + ((uint32_t)(c - 0xd800) << 10) +
					      (uint32_t)(low - 0xdc00));
			return true;
		}
	}
	utf8_add(out, (uint32_t)c);
	return true;
}

static bool read_escape(struct json_reader *r, struct bytes *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (r->p == r->end)
		return json_fail(r, "a string does not end");
	if (*r->p == 'u') {
		r->p++;
		return read_u(r, out);
	}
	at = strchr(from, *r->p);
	if (!*r->p || !at)
		return json_fail(r, "an unknown escape in a string");
	bytes_addc(out, to[at - from]);
	r->p++;
	return true;
}

bool json_read_string(struct json_reader *r, struct bytes *out)
{
	out->n = 0;
	if (json_peek(r) != '"')
		return json_fail(r, "a string was expected");
	r->p++;
	for (;;) {
		const char *begin = r->p;

		while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (uint8_t)*r->p >= ' ')
			r->p++;
		bytes_add(out, begin, (size_t)(r->p - begin));
		if (r->p == r->end)
			return json_fail(r, "a string does not end");
		if ((uint8_t)*r->p < ' ')
			return json_fail(r, "a control character in a string");
		if (*r->p++ == '"')
			return out->full ? json_fail(r, "a string is too long") : true;
		if (!read_escape(r, out))
			return false;
	}
}

static size_t digits(struct json_reader *r)
{
	const char *begin = r->p;

	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return (size_t)(r->p - begin);
}

bool json_read_number(struct json_reader *r, struct json_span *out)
{
	char c = json_peek(r);
	const char *begin = r->p;

	if (c != '-' && (c < '0' || c > '9'))
		return json_fail(r, "a number was expected");
	if (c == '-')
		r->p++;
	if (digits(r) == 0)
		return json_fail(r, "a malformed number");
	if (r->p < r->end && *r->p == '.') {
		r->p++;
		if (digits(r) == 0)
			return json_fail(r, "a malformed number");
	}
	if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
		r->p++;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (digits(r) == 0)
			return json_fail(r, "a malformed number");
	}
	*out = (struct json_span){ begin, (size_t)(r->p - begin) };
	return true;
}

bool json_read_u64(struct json_reader *r, uint64_t *out)
{
	struct json_span s;
	uint64_t x = 0;

	if (!json_read_number(r, &s))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint64_t d = (uint64_t)(s.p[i] - '0');

		if (s.p[i] < '0' || s.p[i] > '9' || x > (UINT64_MAX - d) / 10)
			return json_fail(r, "a number that is no unsigned integer of 64 bits");
		x = x * 10 + d;
	}
	*out = x;
	return true;
}

bool json_read_i64(struct json_reader *r, int64_t *out)
{
	bool minus = json_peek(r) == '-';
	uint64_t x;

	if (minus)
		r->p++;
	if (!json_read_u64(r, &x))
		return false;
	if (x > (uint64_t)INT64_MAX + minus)
		return json_fail(r, "a number that is no integer of 64 bits");
	*out = minus ? (int64_t)(0 - x) : (int64_t)x;
	return true;
}

static bool word(struct json_reader *r, const char *w)
{
	size_t n = strlen(w);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n) != 0)
		return json_fail(r, "neither a value nor a word of JSON");
	r->p += n;
	return true;
}

bool json_read_bool(struct json_reader *r, bool *out)
{
	*out = json_peek(r) == 't';
	return word(r, *out ? "true" : "false");
}

/* Bounded by the source; nesting by JSON_DEPTH_MAX. */
bool json_skip(struct json_reader *r)
{
	struct bytes scratch = { .max = 1u << 20 };
	struct json_span number;
	char c = json_peek(r);

	if (c == '{' || c == '[') {
		if (!json_enter(r, c))
			return false;
		while (json_next(r, c == '{' ? &scratch : NULL) && json_skip(r))
			;
	} else if (c == '"') {
		json_read_string(r, &scratch);
	} else if (c == 't' || c == 'f' || c == 'n') {
		word(r, c == 't' ? "true" : c == 'f' ? "false" : "null");
	} else if (c) {
		json_read_number(r, &number);
	} else {
		json_fail(r, "it ends too early");
	}
	bytes_free(&scratch);
	return !r->error;
}
