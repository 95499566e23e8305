/* SPDX-License-Identifier: Apache-2.0 */
#include "suspects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/common.h"
#include "base/die.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/stderr.h"
#include "base/text.h"
#include "chunk/findings.h"
#include "chunk/report.h"
#include "store/walk.h"

#define FILES_MAX       (1u << 20) /* of one report */
#define REPORT_LINE_MAX (64u << 10)

bool path_is_inner(const char *path)
{
	for (const char *part = path;;) {
		const char *slash = strchr(part, '/');
		size_t n = slash ? (size_t)(slash - part) : strlen(part);

		if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && memcmp(part, "..", 2) == 0))
			return false;
		if (!slash)
			return strncmp(path, QUARANTINE_DIR "/", sizeof(QUARANTINE_DIR)) != 0;
		part = slash + 1;
	}
}

static void path_keep(struct paths *p, const char *path)
{
	if (p->n && strcmp(p->list[p->n - 1], path) == 0)
		return; /* a file's findings stand together */
	if (p->n == FILES_MAX)
		die("the report names more than %u files", FILES_MAX);
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 64;
		p->list = mem_resize(p->list, p->cap * sizeof(*p->list));
	}
	p->list[p->n++] = mem_string(path);
}

struct line { /* of a report */
	struct bytes type, kind, root, file;
	struct bytes root_base64, file_base64; /* the exact bytes of what is no UTF-8 */
};

static bool read_line(const char *text, size_t n, struct line *l)
{
	const struct json_field fields[] = {
		{ "type", &l->type }, { "kind", &l->kind }, { "root", &l->root },
		{ "file", &l->file }, { "root_base64", &l->root_base64 },
		{ "file_base64", &l->file_base64 },
	};
	struct cr_json r;

	cr_json_begin(&r, text, n);
	return json_read_fields(&r, fields, LEN(fields)) && !cr_json_peek(&r) &&
	       base64_name(&l->root, &l->root_base64) && base64_name(&l->file, &l->file_base64);
}

/* The file's path below s->dir, or NULL where it is in another store. */
static const char *path_in_store(struct suspects *s, struct line *l, struct bytes *whole)
{
	char *real = realpath(bytes_string(&l->root), NULL);
	size_t n = strlen(s->real);
	const char *inner = NULL;

	if (!real)
		return NULL;
	whole->n = 0;
	path_join(real, bytes_string(&l->file), whole);
	free(real);
	bytes_string(whole);
	if (n == 1)
		inner = whole->p + 1; /* "/" */
	else if (whole->n > n && memcmp(whole->p, s->real, n) == 0 && whole->p[n] == '/')
		inner = whole->p + n + 1;
	return inner && path_is_inner(inner) ? inner : NULL;
}

static void take_line(struct suspects *s, struct line *l, struct bytes *whole)
{
	enum finding_kind kind;
	const char *inner;

	if (strcmp(bytes_string(&l->type), "finding") != 0 ||
	    !finding_kind_of(bytes_string(&l->kind), &kind))
		return;
	inner = path_in_store(s, l, whole);
	if (inner)
		path_keep(s->kinds[kind] ? &s->taken : &s->left, inner);
	else if (s->kinds[kind])
		s->foreign++;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has(const struct paths *p, const char *path)
{
	return p->n && bsearch(&path, p->list, p->n, sizeof(*p->list), by_text);
}

/* Sorts the list and leaves one of each, but none that is in `but` (sorted; or NULL). */
static void unique(struct paths *p, const struct paths *but)
{
	size_t n = 0;

	if (p->n)
		qsort(p->list, p->n, sizeof(*p->list), by_text);
	for (size_t i = 0; i < p->n; i++) {
		if ((n && strcmp(p->list[n - 1], p->list[i]) == 0) || (but && has(but, p->list[i])))
			free(p->list[i]);
		else
			p->list[n++] = p->list[i];
	}
	p->n = n;
}

static void paths_free(struct paths *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->list[i]);
	free(p->list);
}

bool suspects_read(struct suspects *s, const char *from)
{
	FILE *f = strcmp(from, "-") == 0 ? stdin : fopen(from, "re");
	struct bytes whole = { 0 };
	struct line l = { 0 };
	char *text = NULL;
	size_t cap = 0;
	ssize_t n;
	bool ok = true;

	if (!f) {
		complain_errno(errno, "%s", from);
		return false;
	}
	while (ok && (n = getline(&text, &cap, f)) > 0) {
		s->lines++;
		ok = (size_t)n <= REPORT_LINE_MAX && read_line(text, (size_t)n, &l);
		if (ok)
			take_line(s, &l, &whole);
		else
			complain("%s: line %llu is not of a report; write one with chunkctl verify --json",
				 from, (unsigned long long)s->lines);
	}
	if (ferror(f)) {
		complain_errno(errno, "%s", from);
		ok = false;
	}
	if (s->foreign)
		complain("%llu finding%s of the report: of files that are not in %s",
			 (unsigned long long)s->foreign, plural(s->foreign), s->dir);
	if (f != stdin)
		fclose(f);
	free(text);
	bytes_free(&whole);
	bytes_free(&l.type);
	bytes_free(&l.kind);
	bytes_free(&l.root);
	bytes_free(&l.file);
	bytes_free(&l.root_base64);
	bytes_free(&l.file_base64);
	unique(&s->taken, NULL);
	unique(&s->left, &s->taken);
	return ok;
}

void suspects_free(struct suspects *s)
{
	paths_free(&s->taken);
	paths_free(&s->left);
}
