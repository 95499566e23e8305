/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk's metadata: the JSON object in its envelope, as Loki reads it. */
#include <string.h>
#include <strings.h>

#include "grow.h"

#define TIME_PARTS 3 /* decimals of a second that count */

/* Digits, with a minus in front if sign is set, to a number. */
static bool to_i64(const char *p, size_t n, bool sign, int64_t *out)
{
	bool minus = sign && n && p[0] == '-';
	int64_t x = 0;

	p += minus;
	n -= minus;
	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(x, 10, &x) ||
		    __builtin_add_overflow(x, p[i] - '0', &x))
			return false;
	}
	*out = minus ? -x : x;
	return true;
}

/* Prometheus' model.Time: seconds with decimals, of which three count. */
static bool time_read(struct cr_json *r, int64_t *ms)
{
	char part[TIME_PARTS] = { '0', '0', '0' };
	struct cr_json_span s;
	int64_t whole, parts;
	const char *dot;

	if (!cr_json_number(r, &s))
		return false;
	dot = memchr(s.p, '.', s.bytes);
	if (dot) {
		size_t n = s.bytes - (size_t)(dot - s.p) - 1;

		memcpy(part, dot + 1, n < TIME_PARTS ? n : TIME_PARTS);
	}
	if (!to_i64(s.p, dot ? (size_t)(dot - s.p) : s.bytes, true, &whole) ||
	    __builtin_mul_overflow(whole, 1000, &whole) ||
	    !to_i64(part, TIME_PARTS, false, &parts) || __builtin_add_overflow(whole, parts, ms))
		return cr_json_fail(r, "a time that is no number of seconds");
	if (s.p[0] == '-' && *ms > 0) /* -0.5: the whole part has lost the sign */
		*ms = -*ms;
	return true;
}

/* Decoded, in the text. That has room for all strings of the source: none gets longer. */
static const char *keep(struct cr_meta *m, const struct cr_json_span *s, uint32_t *bytes)
{
	char *at = (char *)m->text.p + m->text.bytes;

	*bytes = (uint32_t)cr_json_unescape(s, at);
	m->text.bytes += *bytes;
	return at;
}

static bool label_keep(struct cr_json *r, struct cr_meta *m, const struct cr_label *l)
{
	if (l->name_bytes == 8 && memcmp(l->name, "__name__", 8) == 0)
		return true;
	if (m->labels_n == CR_LABELS_MAX)
		return cr_json_fail(r, "more than 4096 labels");
	if (cr_grow(&m->list, (m->labels_n + 1) * sizeof(*l)) != 0) {
		m->no_memory = true;
		return cr_json_fail(r, "out of memory");
	}
	((struct cr_label *)m->list.p)[m->labels_n++] = *l;
	m->labels = m->list.p;
	return true;
}

static bool labels_read(struct cr_json *r, struct cr_meta *m)
{
	struct cr_json_span name, value;

	m->labels_n = 0;
	if (cr_json_peek(r) == 'n')
		return cr_json_skip(r); /* null: no labels */
	if (!cr_json_enter(r, '{'))
		return false;
	while (cr_json_next(r, &name)) {
		struct cr_label l;

		if (!cr_json_string(r, &value))
			return false;
		l.name = keep(m, &name, &l.name_bytes);
		l.value = keep(m, &value, &l.value_bytes);
		if (!label_keep(r, m, &l))
			return false;
	}
	return !r->error;
}

enum field { FIELD_FINGERPRINT, FIELD_USER, FIELD_FROM, FIELD_THROUGH, FIELD_METRIC, FIELD_ENCODING,
	     FIELD_UNKNOWN };

static enum field field_of(struct cr_meta *m, const struct cr_json_span *key)
{
	static const char *const names[] = { "fingerprint", "userID", "from", "through", "metric",
					     "encoding" };
	uint32_t bytes;
	const char *name = keep(m, key, &bytes);

	for (uint32_t i = 0; i < FIELD_UNKNOWN; i++) {
		if (bytes != strlen(names[i]) || strncasecmp(name, names[i], bytes) != 0)
			continue;
		m->other_case |= memcmp(name, names[i], bytes) != 0;
		return (enum field)i;
	}
	return FIELD_UNKNOWN;
}

static bool field_read(struct cr_json *r, struct cr_meta *m, enum field f)
{
	struct cr_json_span s;
	uint64_t x = 0;

	switch (f) {
	case FIELD_FINGERPRINT:
		return cr_json_u64(r, &m->fingerprint);
	case FIELD_USER:
		if (!cr_json_string(r, &s))
			return false;
		m->tenant = keep(m, &s, &m->tenant_bytes);
		return true;
	case FIELD_FROM:
		return time_read(r, &m->from_ms);
	case FIELD_THROUGH:
		return time_read(r, &m->through_ms);
	case FIELD_METRIC:
		return labels_read(r, m);
	case FIELD_ENCODING:
		if (!cr_json_u64(r, &x))
			return false;
		m->has_encoding = true;
		m->encoding = (uint32_t)x;
		return x <= UINT8_MAX || cr_json_fail(r, "an encoding that is no byte");
	case FIELD_UNKNOWN:
		break;
	}
	return cr_json_skip(r);
}

static void fields_read(struct cr_json *r, struct cr_meta *m)
{
	struct cr_json_span key;
	uint32_t seen = 0;

	if (cr_json_peek(r) == 'n') { /* null is an object without fields, to Loki */
		cr_json_skip(r);
		return;
	}
	if (!cr_json_enter(r, '{'))
		return;
	while (cr_json_next(r, &key)) {
		enum field f = field_of(m, &key);

		m->twice |= f != FIELD_UNKNOWN && (seen >> f & 1);
		seen |= 1u << f;
		if (!field_read(r, m, f))
			return;
	}
}

int cr_meta_read(struct cr_meta *m, const char *json, size_t bytes)
{
	struct cr_json r;

	*m = (struct cr_meta){ .text = m->text, .list = m->list, .tenant = "" };
	m->text.bytes = 0;
	if (bytes > CR_META_BYTES_MAX) {
		m->error = "longer than 4 MiB";
		return -EBADMSG;
	}
	if (cr_grow(&m->text, bytes + 1) != 0)
		return -ENOMEM;
	cr_json_begin(&r, json, bytes);
	fields_read(&r, m);
	if (m->no_memory)
		return -ENOMEM;
	m->end_bytes = (size_t)(r.p - json);
	m->error = r.error;
	if (m->error)
		return -EBADMSG;
	m->trailing = cr_json_peek(&r) != '\0';
	return 0;
}

void cr_meta_free(struct cr_meta *m)
{
	cr_buf_free(&m->text);
	cr_buf_free(&m->list);
	*m = (struct cr_meta){ .tenant = "" };
}
