/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <string.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/json.h"
#include "base/quote.h"
#include "base/stderr.h"
#include "base/text.h"
#include "labels.h"

bool parse_line_format(const char *value, enum line_format *out)
{
	static const char *const names[] = { "raw", "json", "logfmt" };

	for (size_t i = 0; i < LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			*out = (enum line_format)i;
			return true;
		}
	}
	complain("--format %s: raw, json or logfmt is wanted", value);
	return false;
}

static bool is_plain(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] == '"' || s[i] == '=' || s[i] == '\\' || s[i] == 127)
			return false; /* what is no ASCII is negative: quoted, so checked for UTF-8 */
	return n > 0;
}

/* Readers of logfmt take nothing else for a name. */
static bool is_logfmt_name(const char *s, size_t n)
{
	return n > 0 && is_clean(s, n) && !memchr(s, ' ', n) && !memchr(s, '=', n) &&
	       !memchr(s, '"', n);
}

static void logfmt_add(struct bytes *out, const char *name, size_t n, const char *value, size_t m)
{
	if (out->n && out->p[out->n - 1] != '\n')
		bytes_addc(out, ' ');
	if (is_logfmt_name(name, n))
		bytes_add(out, name, n);
	else
		json_quote(out, name, n);
	bytes_addc(out, '=');
	if (is_plain(value, m))
		bytes_add(out, value, m);
	else
		json_quote(out, value, m);
}

void lines_labels(enum line_format format, const char *tenant, const struct cr_meta *m,
		  struct bytes *out)
{
	if (format == LINES_JSON) {
		bytes_adds(out, "{");
		if (tenant)
			json_string(out, "tenant", tenant);
		labels_json(m, "labels", out);
	}
	for (uint32_t i = 0; format == LINES_LOGFMT && i < m->labels_n; i++)
		logfmt_add(out, m->labels[i].name, m->labels[i].name_bytes, m->labels[i].value,
			   m->labels[i].value_bytes);
}

static struct json_pair pair_at(const void *entry, uint32_t i)
{
	const struct cr_pair *p = &((const struct cr_entry *)entry)->pairs[i];

	return (struct json_pair){ p->name, p->value, p->name_bytes, p->value_bytes };
}

static void add_json(const struct bytes *labels, const struct cr_entry *e, struct bytes *out)
{
	bytes_add(out, labels->p, labels->n);
	bytes_printf(out, ",\"ts\":\"%lld\"", (long long)e->ns);
	json_text(out, "line", e->line, e->line_bytes);
	json_pairs(out, "metadata", pair_at, e, e->pairs_n);
	json_close(out, '}');
}

static void add_logfmt(const struct bytes *labels, const struct cr_entry *e, struct bytes *out)
{
	char time[TIME_TEXT_BYTES];

	bytes_printf(out, "ts=%s", time_text(e->ns, time));
	if (labels->n) {
		bytes_addc(out, ' ');
		bytes_add(out, labels->p, labels->n);
	}
	for (uint32_t i = 0; i < e->pairs_n; i++)
		logfmt_add(out, e->pairs[i].name, e->pairs[i].name_bytes, e->pairs[i].value,
			   e->pairs[i].value_bytes);
	logfmt_add(out, "line", 4, e->line, e->line_bytes);
}

void lines_add(enum line_format format, bool timestamp, const struct bytes *labels,
	       const struct cr_entry *e, struct bytes *out)
{
	char time[TIME_TEXT_BYTES];

	switch (format) {
	case LINES_JSON:
		add_json(labels, e, out);
		break;
	case LINES_LOGFMT:
		add_logfmt(labels, e, out);
		break;
	case LINES_RAW:
		if (timestamp)
			bytes_printf(out, "%s ", time_text(e->ns, time));
		bytes_add(out, e->line, e->line_bytes);
		break;
	}
	bytes_addc(out, '\n');
}
