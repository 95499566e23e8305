/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 8259, read once from front to back without a tree and without memory. Depth is bounded; numbers
 * are checked for form and converted by whoever wants them.
 *
 * By hand: the libraries that Debian has hide repeated keys, lack 64-bit unsigned integers, or lose
 * offsets, all of which say what Loki makes of a chunk's metadata.
 */
#include <string.h>

#include "chunkring.h"

#define UNICODE_MAX   0x10ffffu
#define UNICODE_WRONG 0xfffdu
#define HIGH_FIRST    0xd800u /* surrogates: 1024 high ones, then 1024 low ones */
#define LOW_FIRST     0xdc00u
#define LOW_END       0xe000u

bool cr_json_fail(struct cr_json *r, const char *error)
{
	if (!r->error)
		r->error = error;
	return false;
}

void cr_json_begin(struct cr_json *r, const char *p, size_t bytes)
{
	*r = (struct cr_json){ .p = p, .end = p + bytes };
}

char cr_json_peek(struct cr_json *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
		r->p++;
	return !r->error && r->p < r->end ? *r->p : '\0';
}

bool cr_json_enter(struct cr_json *r, char bracket)
{
	if (cr_json_peek(r) != bracket)
		return cr_json_fail(r, bracket == '{' ? "an object was expected"
						      : "an array was expected");
	if (++r->depth > CR_JSON_DEPTH_MAX)
		return cr_json_fail(r, "nested too deep");
	r->p++;
	r->first = true;
	return true;
}

/* After a bracket or a value: a comma and another one, or the closing bracket. */
bool cr_json_next(struct cr_json *r, struct cr_json_span *key)
{
	char close = key ? '}' : ']', c = cr_json_peek(r);
	bool first = r->first;

	r->first = false;
	if (c == close) {
		r->p++;
		r->depth--;
		return false;
	}
	if (!first) {
		if (c != ',')
			return cr_json_fail(r, c ? "a comma or a closing bracket was expected"
						 : "it ends too early");
		r->p++;
	}
	if (!key)
		return cr_json_peek(r) ? true : cr_json_fail(r, "it ends too early");
	if (!cr_json_string(r, key))
		return false;
	if (cr_json_peek(r) != ':')
		return cr_json_fail(r, "a colon was expected");
	r->p++;
	return true;
}

/* ---- Strings ---- */

static int hex4(const char *p, const char *end)
{
	int x = 0;

	if (end - p < 4)
		return -1;
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

static const char escapes[] = "\"\\/bfnrt", escaped[] = "\"\\/\b\f\n\r\t";

/* p is behind the backslash. */
static bool skip_escape(struct cr_json *r)
{
	if (r->p == r->end)
		return cr_json_fail(r, "a string does not end");
	if (*r->p == 'u') {
		r->p++;
		if (hex4(r->p, r->end) < 0)
			return cr_json_fail(r, "a bad \\u escape");
		r->p += 4;
		return true;
	}
	if (!*r->p || !strchr(escapes, *r->p))
		return cr_json_fail(r, "an unknown escape in a string");
	r->p++;
	return true;
}

bool cr_json_string(struct cr_json *r, struct cr_json_span *out)
{
	if (cr_json_peek(r) != '"')
		return cr_json_fail(r, "a string was expected");
	out->p = ++r->p;
	for (;;) { /* ends with the source */
		while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (uint8_t)*r->p >= ' ')
			r->p++;
		if (r->p == r->end)
			return cr_json_fail(r, "a string does not end");
		if ((uint8_t)*r->p < ' ')
			return cr_json_fail(r, "a control character in a string");
		if (*r->p++ == '"')
			break;
		if (!skip_escape(r))
			return false;
	}
	out->bytes = (size_t)(r->p - out->p) - 1;
	return true;
}

size_t cr_utf8(uint32_t c, char out[4])
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t heads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

	if ((c >= HIGH_FIRST && c < LOW_END) || c > UNICODE_MAX)
		return cr_utf8(UNICODE_WRONG, out);
	for (size_t i = n - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	out[0] = (char)(heads[n] | c);
	return n;
}

/* The character of the \u escape whose digits are at *p; moves behind it, and behind a second one that it
 * is a pair with. Lone surrogates become U+FFFD, as in Go. */
static uint32_t unescape_u(const char **p, const char *end)
{
	uint32_t c = (uint32_t)hex4(*p, end);
	int low;

	*p += 4;
	if (c < HIGH_FIRST || c >= LOW_FIRST || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return c;
	low = hex4(*p + 2, end);
	if (low < (int)LOW_FIRST || low >= (int)LOW_END)
		return c;
	*p += 6;
	return 0x10000u + ((c - HIGH_FIRST) << 10) + ((uint32_t)low - LOW_FIRST);
}

size_t cr_json_unescape(const struct cr_json_span *s, char *out)
{
	const char *p = s->p, *end = p + s->bytes;
	char *to = out;

	while (p < end) {
		const char *slash = memchr(p, '\\', (size_t)(end - p)), *stop = slash ? slash : end;

		memmove(to, p, (size_t)(stop - p));
		to += stop - p;
		p = stop;
		if (!slash)
			break;
		p += 2;
		if (p[-1] == 'u')
			to += cr_utf8(unescape_u(&p, end), to);
		else
			*to++ = escaped[strchr(escapes, p[-1]) - escapes];
	}
	return (size_t)(to - out);
}

/* ---- Numbers and words ---- */

static bool digits(struct cr_json *r)
{
	const char *begin = r->p;

	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return r->p > begin || cr_json_fail(r, "a malformed number");
}

bool cr_json_number(struct cr_json *r, struct cr_json_span *out)
{
	char c = cr_json_peek(r);

	if (c != '-' && (c < '0' || c > '9'))
		return cr_json_fail(r, "a number was expected");
	out->p = r->p;
	r->p += c == '-';
	if (!digits(r))
		return false;
	if (r->p < r->end && *r->p == '.') {
		r->p++;
		if (!digits(r))
			return false;
	}
	if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
		r->p++;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (!digits(r))
			return false;
	}
	out->bytes = (size_t)(r->p - out->p);
	return true;
}

bool cr_json_u64(struct cr_json *r, uint64_t *out)
{
	struct cr_json_span s;
	uint64_t x = 0;

	if (!cr_json_number(r, &s))
		return false;
	for (size_t i = 0; i < s.bytes; i++) {
		uint64_t d = (uint64_t)(s.p[i] - '0');

		if (s.p[i] < '0' || s.p[i] > '9' || x > (UINT64_MAX - d) / 10)
			return cr_json_fail(r, "a number that is no unsigned integer of 64 bits");
		x = x * 10 + d;
	}
	*out = x;
	return true;
}

bool cr_json_i64(struct cr_json *r, int64_t *out)
{
	bool minus = cr_json_peek(r) == '-';
	uint64_t x;

	r->p += minus;
	if (!cr_json_u64(r, &x))
		return false;
	if (x > (uint64_t)INT64_MAX + minus)
		return cr_json_fail(r, "a number that is no integer of 64 bits");
	*out = minus ? (int64_t)(0 - x) : (int64_t)x;
	return true;
}

static bool word(struct cr_json *r, const char *w)
{
	size_t n = strlen(w);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n) != 0)
		return cr_json_fail(r, "neither a value nor a word of JSON");
	r->p += n;
	return true;
}

bool cr_json_bool(struct cr_json *r, bool *out)
{
	*out = cr_json_peek(r) == 't';
	return word(r, *out ? "true" : "false");
}

/* Bounded by the source; nesting by CR_JSON_DEPTH_MAX. */
bool cr_json_skip(struct cr_json *r)
{
	struct cr_json_span span;
	char c = cr_json_peek(r);

	switch (c) {
	case '{':
	case '[':
		if (!cr_json_enter(r, c))
			return false;
		while (cr_json_next(r, c == '{' ? &span : NULL) && cr_json_skip(r))
			;
		return !r->error;
	case '"':
		return cr_json_string(r, &span);
	case 't':
		return word(r, "true");
	case 'f':
		return word(r, "false");
	case 'n':
		return word(r, "null");
	case '\0':
		return cr_json_fail(r, "it ends too early");
	}
	return cr_json_number(r, &span);
}
