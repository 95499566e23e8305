/* SPDX-License-Identifier: Apache-2.0 */
#include "meta.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "quote.h"

#define TIME_PARTS 3 /* decimals of a second that count */

static bool digits_read(const char *p, size_t n, bool sign, int64_t *out)
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
static bool time_read(struct json_reader *r, int64_t *ms)
{
	const char *dot;
	struct json_span s;
	char part[TIME_PARTS] = { '0', '0', '0' };
	int64_t whole, parts;

	if (!json_read_number(r, &s))
		return false;
	dot = memchr(s.p, '.', s.n);
	if (!digits_read(s.p, dot ? (size_t)(dot - s.p) : s.n, true, &whole) ||
	    __builtin_mul_overflow(whole, 1000, &whole))
		return json_fail(r, "a time that is no number of seconds");
	if (dot) {
		size_t n = s.n - (size_t)(dot - s.p) - 1;

		memcpy(part, dot + 1, n < TIME_PARTS ? n : TIME_PARTS);
	}
	if (!digits_read(part, TIME_PARTS, false, &parts) ||
	    __builtin_add_overflow(whole, parts, ms))
		return json_fail(r, "a time that is no number of seconds");
	if (s.p[0] == '-' && *ms > 0) /* -0.5: the whole part has lost the sign */
		*ms = -*ms;
	return true;
}

static uint32_t keep(struct meta *m, const struct bytes *s)
{
	uint32_t at = (uint32_t)m->text.n;

	bytes_add(&m->text, s->p, s->n);
	return at;
}

static bool labels_read(struct json_reader *r, struct meta *m, struct bytes *word)
{
	m->n_labels = 0;
	if (json_peek(r) == 'n')
		return json_skip(r); /* null: no labels */
	if (!json_enter(r, '{'))
		return false;
	while (json_next(r, word)) {
		bool hidden = word->n == 8 && memcmp(word->p, "__name__", 8) == 0;
		struct label l = { .name_bytes = (uint32_t)word->n, .name = keep(m, word) };

		if (!json_read_string(r, word))
			return false;
		l.value_bytes = (uint32_t)word->n;
		l.value = keep(m, word);
		if (hidden)
			continue;
		if (m->n_labels == LABELS_MAX)
			return json_fail(r, "more labels than chunkctl takes (4096)");
		if (m->n_labels == m->cap_labels) {
			m->cap_labels = m->cap_labels ? 2 * m->cap_labels : 16;
			m->labels = mem_resize(m->labels, m->cap_labels * sizeof(*m->labels));
		}
		m->labels[m->n_labels++] = l;
	}
	return !r->error;
}

enum field { FIELD_FINGERPRINT, FIELD_USER, FIELD_FROM, FIELD_THROUGH, FIELD_METRIC, FIELD_ENCODING,
	     FIELD_UNKNOWN };

static enum field field_of(const struct bytes *name, bool *other_case)
{
	static const char *const names[] = { "fingerprint", "userID", "from", "through", "metric",
					     "encoding" };

	for (size_t i = 0; i < LEN(names); i++) {
		size_t n = strlen(names[i]);

		if (name->n != n || strncasecmp(name->p, names[i], n) != 0)
			continue;
		if (memcmp(name->p, names[i], n) != 0)
			*other_case = true;
		return (enum field)i;
	}
	return FIELD_UNKNOWN;
}

static bool field_read(struct json_reader *r, struct meta *m, enum field f, struct bytes *word)
{
	uint64_t x = 0;

	switch (f) {
	case FIELD_FINGERPRINT:
		return json_read_u64(r, &m->fingerprint);
	case FIELD_USER:
		if (!json_read_string(r, word))
			return false;
		m->tenant_bytes = (uint32_t)word->n;
		m->tenant = keep(m, word);
		return true;
	case FIELD_FROM:
		return time_read(r, &m->from_ms);
	case FIELD_THROUGH:
		return time_read(r, &m->through_ms);
	case FIELD_METRIC:
		return labels_read(r, m, word);
	case FIELD_ENCODING:
		if (!json_read_u64(r, &x))
			return false;
		m->has_encoding = true;
		m->encoding = (uint32_t)x;
		return x <= 255 || json_fail(r, "an encoding that is no byte");
	case FIELD_UNKNOWN:
		break;
	}
	return json_skip(r);
}

static void meta_reset(struct meta *m)
{
	*m = (struct meta){ .text = m->text, .labels = m->labels, .cap_labels = m->cap_labels };
	m->text.n = 0;
	m->text.full = false;
	m->text.max = 2 * CR_META_BYTES_MAX;
}

bool meta_read(struct meta *m, const char *json, size_t n)
{
	struct bytes word = { .max = CR_META_BYTES_MAX };
	struct json_reader r;
	uint32_t seen = 0;

	meta_reset(m);
	json_begin(&r, json, n);
	if (json_peek(&r) == 'n') { /* null is an object without fields, to Loki */
		json_skip(&r);
	} else if (json_enter(&r, '{')) {
		while (json_next(&r, &word)) {
			enum field f = field_of(&word, &m->other_case);

			if (f != FIELD_UNKNOWN && seen >> f & 1)
				m->twice = true;
			seen |= 1u << f;
			if (!field_read(&r, m, f, &word))
				break;
		}
	}
	bytes_free(&word);
	m->end = (size_t)(r.p - json);
	m->error = r.error;
	m->error_at = m->end;
	if (m->error)
		return false;
	m->trailing = json_peek(&r) != '\0';
	return true;
}

void meta_free(struct meta *m)
{
	bytes_free(&m->text);
	free(m->labels);
	*m = (struct meta){ 0 };
}

const char *meta_label(const struct meta *m, const char *name, size_t len, size_t *n)
{
	for (uint32_t i = 0; i < m->n_labels; i++) {
		const struct label *l = &m->labels[i];

		if (l->name_bytes != len || memcmp(m->text.p + l->name, name, len) != 0)
			continue;
		*n = l->value_bytes;
		return m->text.p + l->value;
	}
	return NULL;
}

void meta_labels_text(const struct meta *m, struct bytes *out)
{
	bytes_addc(out, '{');
	for (uint32_t i = 0; i < m->n_labels; i++) {
		const struct label *l = &m->labels[i];

		if (i)
			bytes_adds(out, ", ");
		text_label(out, m->text.p + l->name, l->name_bytes, m->text.p + l->value,
			   l->value_bytes);
	}
	bytes_addc(out, '}');
}

static struct json_pair label_at(const void *meta, uint32_t i)
{
	const struct meta *m = meta;
	const struct label *l = &m->labels[i];

	return (struct json_pair){ m->text.p + l->name, m->text.p + l->value, l->name_bytes,
				   l->value_bytes };
}

void meta_labels_json(const struct meta *m, const char *key, struct bytes *out)
{
	json_pairs(out, key, label_at, m, m->n_labels);
}
