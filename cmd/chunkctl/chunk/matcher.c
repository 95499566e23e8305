/* SPDX-License-Identifier: Apache-2.0 */
#include "matcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/quote.h"
#include "base/stderr.h"
#include "base/utf8.h"
#include "labels.h"

static void skip_space(const char **p)
{
	while (**p == ' ' || **p == '\t' || **p == '\n')
		++*p;
}

static bool complain_at(const char *text, const char *p, const char *what)
{
	complain("%s: %s at character %zu; matchers look like {job=\"x\", pod=~\"y.*\"}", text,
		 what,
		 (size_t)(p - text) + 1);
	return false;
}

/* A name as in LogQL, or any name in quotes, as Loki's push API and PromQL have it. */
static bool read_name(const char **p, struct bytes *out)
{
	out->n = 0;
	if (**p == '"' || **p == '`')
		return text_unquote(p, out);
	while ((**p >= 'a' && **p <= 'z') || (**p >= 'A' && **p <= 'Z') || **p == '_' ||
	       **p & 0x80 || (out->n && **p >= '0' && **p <= '9')) {
		bytes_addc(out, **p);
		++*p;
	}
	return out->n > 0 && is_utf8(out->p, out->n);
}

static bool read_operator(const char **p, struct matcher *m)
{
	static const struct { const char *text; bool negative, is_regex; } operators[] = {
		{ "=~", false, true }, { "!~", true, true }, { "!=", true, false }, { "=", false, false },
	};

	for (size_t i = 0; i < LEN(operators); i++) {
		if (strncmp(*p, operators[i].text, strlen(operators[i].text)) != 0)
			continue;
		*p += strlen(operators[i].text);
		m->negative = operators[i].negative;
		m->is_regex = operators[i].is_regex;
		return true;
	}
	return false;
}

/* POSIX functions take no NUL: for them one in a value is another byte that has no meaning, so that
 * "." and [^x] match it. A regular expression can't name it. */
#define NUL_FOR_REGEX '\x01'

static bool compile(const char *text, struct matcher *m)
{
	struct bytes whole = { 0 };
	char error[256];
	int err;

	if (!m->is_regex)
		return true;
	if (memchr(m->value.p, '\0', m->value.n)) {
		complain("%s: a regular expression with a NUL", text);
		return false;
	}
	bytes_printf(&whole, "^(%s)$", m->value.p);
	err = regcomp(&m->regex, bytes_string(&whole), REG_EXTENDED | REG_NOSUB);
	bytes_free(&whole);
	if (!err)
		return true;
	regerror(err, &m->regex, error, sizeof(error));
	complain("%s: ~\"%s\": %s; regular expressions are POSIX extended here: (a|b), [0-9]+, "
		 "no \\d", text, m->value.p, error);
	return false;
}

static bool read_parts(const char *text, const char **p, struct matcher *m)
{
	if (!read_name(p, &m->name))
		return complain_at(text, *p, "a label's name was expected");
	skip_space(p);
	if (!read_operator(p, m))
		return complain_at(text, *p, "=, !=, =~ or !~ was expected");
	skip_space(p);
	if (!text_unquote(p, &m->value))
		return complain_at(text, *p, "a quoted value was expected");
	bytes_string(&m->value);
	return compile(text, m);
}

static bool read_one(const char *text, const char **p, struct matchers *ms)
{
	struct matcher *m = &ms->list[ms->n];

	if (ms->n == MATCHERS_MAX)
		return complain_at(text, *p, "more than 64 matchers");
	*m = (struct matcher){ 0 };
	if (read_parts(text, p, m)) {
		ms->n++;
		return true;
	}
	bytes_free(&m->name);
	bytes_free(&m->value);
	return false;
}

bool matchers_parse(struct matchers *m, const char *text)
{
	const char *p = text;

	skip_space(&p);
	if (*p != '{')
		return complain_at(text, p, "{ was expected");
	p++;
	skip_space(&p);
	while (*p != '}') {
		if (!read_one(text, &p, m))
			return false;
		skip_space(&p);
		if (*p == ',')
			p++;
		else if (*p != '}')
			return complain_at(text, p, "a comma or } was expected");
		skip_space(&p);
	}
	p++;
	skip_space(&p);
	return *p ? complain_at(text, p, "something follows the }") : true;
}

static bool regex_takes(const struct matcher *m, const char *value, size_t n)
{
	struct bytes text = { 0 };
	bool same;

	bytes_add(&text, value, n);
	bytes_string(&text);
	for (size_t i = 0; i < n; i++)
		if (!text.p[i])
			text.p[i] = NUL_FOR_REGEX;
	same = regexec(&m->regex, text.p, 0, NULL, 0) == 0;
	bytes_free(&text);
	return same;
}

static bool takes(const struct matcher *m, const struct cr_meta *meta)
{
	size_t n = 0;
	const char *found = labels_find(meta, m->name.p, m->name.n, &n), *value = found ? found : "";
	bool same = m->is_regex ? regex_takes(m, value, n) :
				  m->value.n == n && memcmp(m->value.p, value, n) == 0;

	return same != m->negative;
}

bool matchers_take(const struct matchers *m, const struct cr_meta *meta)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (!takes(&m->list[i], meta))
			return false;
	return true;
}

void matchers_free(struct matchers *m)
{
	for (uint32_t i = 0; i < m->n; i++) {
		bytes_free(&m->list[i].name);
		bytes_free(&m->list[i].value);
		if (m->list[i].is_regex)
			regfree(&m->list[i].regex);
	}
	m->n = 0;
}
