/* SPDX-License-Identifier: Apache-2.0 */
#include "matcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

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

static bool read_name(const char **p, struct bytes *out)
{
	out->n = 0;
	while ((**p >= 'a' && **p <= 'z') || (**p >= 'A' && **p <= 'Z') || **p == '_' ||
	       (out->n && **p >= '0' && **p <= '9')) {
		bytes_addc(out, **p);
		++*p;
	}
	return out->n > 0;
}

/* Go's escapes are JSON's here, but for `raw` strings. */
static bool read_value(const char **p, struct bytes *out)
{
	struct json_reader r;

	out->n = 0;
	if (**p == '`') {
		const char *end = strchr(*p + 1, '`');

		if (!end)
			return false;
		bytes_add(out, *p + 1, (size_t)(end - *p) - 1);
		*p = end + 1;
		return true;
	}
	json_begin(&r, *p, strlen(*p));
	if (!json_read_string(&r, out))
		return false;
	*p = r.p;
	return true;
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

/* NUL in a value can't be matched by POSIX functions: such a value is compared up to it. */
static bool compile(const char *text, struct matcher *m)
{
	struct bytes whole = { 0 };
	char error[256];
	int err;

	if (!m->is_regex)
		return true;
	bytes_printf(&whole, "^(%s)$", m->value);
	err = regcomp(&m->regex, bytes_string(&whole), REG_EXTENDED | REG_NOSUB);
	bytes_free(&whole);
	if (!err)
		return true;
	regerror(err, &m->regex, error, sizeof(error));
	complain("%s: %s=~\"%s\": %s; regular expressions are POSIX extended here: (a|b), [0-9]+, no \\d",
		 text, m->name, m->value, error);
	return false;
}

static bool read_one(const char *text, const char **p, struct matchers *ms)
{
	struct matcher *m = &ms->list[ms->n];
	struct bytes word = { 0 };
	bool ok;

	if (ms->n == MATCHERS_MAX)
		return complain_at(text, *p, "more than 64 matchers");
	*m = (struct matcher){ 0 };
	if (!read_name(p, &word))
		return complain_at(text, *p, "a label's name was expected");
	m->name = mem_string(bytes_string(&word));
	skip_space(p);
	if (!read_operator(p, m)) {
		free(m->name);
		bytes_free(&word);
		return complain_at(text, *p, "=, !=, =~ or !~ was expected");
	}
	skip_space(p);
	if (!read_value(p, &word)) {
		free(m->name);
		bytes_free(&word);
		return complain_at(text, *p, "a quoted value was expected");
	}
	m->value = mem_string(bytes_string(&word));
	bytes_free(&word);
	ok = compile(text, m);
	if (ok) {
		ms->n++;
	} else {
		free(m->name);
		free(m->value);
	}
	return ok;
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

static bool takes(const struct matcher *m, const struct meta *meta)
{
	size_t n = 0;
	const char *value = meta_label(meta, m->name, &n);
	bool same;

	if (m->is_regex) {
		struct bytes text = { 0 };

		bytes_add(&text, value ? value : "", n);
		same = regexec(&m->regex, bytes_string(&text), 0, NULL, 0) == 0;
		bytes_free(&text);
	} else {
		same = strlen(m->value) == n && memcmp(m->value, value ? value : "", n) == 0;
	}
	return same != m->negative;
}

bool matchers_take(const struct matchers *m, const struct meta *meta)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (!takes(&m->list[i], meta))
			return false;
	return true;
}

void matchers_free(struct matchers *m)
{
	for (uint32_t i = 0; i < m->n; i++) {
		free(m->list[i].name);
		free(m->list[i].value);
		if (m->list[i].is_regex)
			regfree(&m->list[i].regex);
	}
	m->n = 0;
}
