/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/die.h"
#include "base/mem.h"
#include "base/stderr.h"
#include "walk_inner.h"

#define TENANTS_MAX   (1u << 20)
#define LIST_LINE_MAX 8192u /* a path on standard input */

struct grain {
	uint32_t span_files, span_folders, unit_files, unit_folders;
	size_t   list_bytes; /* one getdents64: a span ends only between two */
};

static const struct grain coarse = { 16384, 16384, 1024, 64, LIST_BYTES };
static const struct grain fine = { 256, 16, 64, 1, 1024 }; /* with a state */

struct listing { /* of one folder */
	struct walk         *w;
	const struct root   *root;
	const struct grain  *grain;
	const char          *prefix;  /* "" for the store, else a tenant */
	struct names         all, files, folders;
	struct names        *tenants; /* where the store's folders go, or NULL */
	char                *buf;     /* LIST_BYTES */
};

/* ---- Folders ---- */

/* Sorts names and hands them out in units of at most `size`. */
static void hand_out(struct listing *l, bool folders, struct span *span)
{
	struct names *names = folders ? &l->folders : &l->files;
	uint32_t size = folders ? l->grain->unit_folders : l->grain->unit_files;

	names_sort_by_inode(names);
	for (uint32_t i = 0; i < names->n && !walk_over(l->w); i += size) {
		struct unit *u = unit_new(l->root, l->prefix, folders, span);

		for (uint32_t k = i; k < names->n && k < i + size; k++)
			names_add(&u->names, name_of(names, k), names->list[k].ino,
				  names->list[k].type);
		span_enter(l->w, span);
		unit_put(l->w, u);
	}
	names_clear(names);
}

/* Which of the names read are for the jobs. */
static void sort_out(struct listing *l, int fd)
{
	uint64_t fp;

	for (uint32_t i = 0; i < l->all.n; i++) {
		const char *name = name_of(&l->all, i);
		uint8_t type = name_type(fd, name, l->all.list[i].type, NULL);

		if (type != DT_DIR) {
			names_add(&l->files, name, l->all.list[i].ino, type);
		} else if (l->prefix[0]) {
			if (cr_key_fingerprint(name, &fp))
				names_add(&l->folders, name, l->all.list[i].ino, type);
		} else if (strcmp(name, QUARANTINE_DIR) != 0 && l->tenants) {
			if (l->tenants->n == TENANTS_MAX)
				die("%s holds more than %u folders", l->root->path, TENANTS_MAX);
			names_add(l->tenants, name, l->all.list[i].ino, type);
		}
	}
	names_clear(&l->all);
}

/* Lists one folder in spans, from a position on. Returns 0 or -errno. */
static int list_folder(struct listing *l, int fd, int64_t off)
{
	int more = 1;

	if (off && lseek(fd, off, SEEK_SET) < 0)
		return -errno;
	while (more > 0 && !walk_over(l->w)) {
		struct span *span = span_open(l->w);

		while (more > 0 && l->files.n < l->grain->span_files &&
		       l->folders.n < l->grain->span_folders && !walk_over(l->w)) {
			more = names_list(fd, l->buf, l->grain->list_bytes, &l->all, &off);
			sort_out(l, fd);
		}
		hand_out(l, false, span);
		hand_out(l, true, span);
		if (more < 0 || walk_over(l->w)) /* it lacks units: it never counts as finished */
			break;
		span->end.root = l->root->no;
		span->end.off = more ? off : STATE_END_OF_FOLDER;
		snprintf(span->end.tenant, sizeof(span->end.tenant), "%s", l->prefix);
		span_leave(l->w, span, NULL);
	}
	return more < 0 ? more : 0;
}

static void trouble(struct walk *w, const struct root *root, const char *prefix, int err)
{
	complain_errno(err, "reading the folder %s%s%s", root->path, *prefix ? "/" : "", prefix);
	w->trouble = true;
	w->unreadable++;
}

static void list_tenant(struct listing *l, const char *tenant, int64_t off)
{
	int fd = openat(l->root->fd, tenant, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err;

	if (fd < 0) {
		err = errno;
		if (err != ENOENT && !walk_pass_over(l->w, l->root, tenant, err))
			trouble(l->w, l->root, tenant, err);
		return;
	}
	l->prefix = tenant;
	err = list_folder(l, fd, off);
	if (err && !walk_pass_over(l->w, l->root, tenant, -err))
		trouble(l->w, l->root, tenant, -err);
	close(fd);
}

/* The names of the store's folders, where its files are not needed any more. */
static int list_names_of_tenants(struct listing *l, int fd)
{
	int more;

	do {
		more = names_list(fd, l->buf, LIST_BYTES, &l->all, NULL);
		sort_out(l, fd);
		names_clear(&l->files);
	} while (more > 0 && !walk_over(l->w));
	return more < 0 ? more : 0;
}

bool walk_wants_tenant(const struct walk *w, const struct root *root, const char *tenant)
{
	const struct filter *f = &w->filter;

	for (uint32_t i = 0; i < f->n_tenants; i++)
		if (strcmp(f->tenants[i], tenant) == 0 ||
		    strcmp(f->tenants[i], root->tenant) == 0 || strcmp(f->tenants[i], root->fp) == 0)
			return true;
	return f->n_tenants == 0;
}

/* The store's own files, and which tenants it has; from there on where an earlier run was. */
static void list_outer(struct listing *l, const struct state_at *from)
{
	int fd = openat(l->root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	bool begun = from->off != 0 || from->tenant[0];

	if (fd < 0) {
		trouble(l->w, l->root, "", errno);
		return;
	}
	if (begun) {
		err = list_names_of_tenants(l, fd);
		l->tenants = NULL; /* the files only, from here on */
	}
	if (!err && !from->tenant[0] && from->off != STATE_END_OF_FOLDER)
		err = list_folder(l, fd, from->off);
	if (err)
		trouble(l->w, l->root, "", -err);
	l->tenants = NULL;
	close(fd);
}

/* Everything that comes behind `from`: the store's files, then its tenants by name. */
static void list_root(struct walk *w, const struct root *root, const struct state_at *from)
{
	struct names tenants = { 0 };
	struct listing l = { .w = w, .root = root, .prefix = "", .tenants = &tenants,
			     .grain = w->state ? &fine : &coarse, .buf = mem_get(LIST_BYTES) };

	list_outer(&l, from);
	names_sort_by_text(&tenants);
	for (uint32_t i = 0; i < tenants.n && !walk_over(w); i++) {
		const char *tenant = name_of(&tenants, i);
		int order = from->tenant[0] ? strcmp(tenant, from->tenant) : 1;

		if (order < 0 || (order == 0 && from->off == STATE_END_OF_FOLDER))
			continue;
		if (walk_wants_tenant(w, root, tenant))
			list_tenant(&l, tenant, order == 0 ? from->off : 0);
	}
	names_free(&tenants);
	names_free(&l.all);
	names_free(&l.files);
	names_free(&l.folders);
	free(l.buf);
}

/* ---- Single files ---- */

/* Paths under "/", with what leads to them resolved: chunkring refuses symbolic links on the way. */
static bool resolve(const char *path, struct bytes *out)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	char *real = folder ? realpath(folder, NULL) : NULL;

	free(folder);
	if (!real)
		return false;
	out->n = 0;
	bytes_printf(out, "%s%s%s", real + 1, real[1] ? "/" : "", slash ? slash + 1 : path);
	free(real);
	return true;
}

static void file_put(struct walk *w, struct unit **u, const char *path)
{
	struct bytes real = { 0 };

	if (!*u)
		*u = unit_new(&w->inner->files, "", false, NULL);
	if (!resolve(path, &real)) {
		complain_errno(errno, "%s", path);
		w->trouble = true;
		return;
	}
	names_add(&(*u)->names, bytes_string(&real), 0, DT_REG);
	bytes_free(&real);
	if ((*u)->names.n == coarse.unit_files) {
		unit_put(w, *u);
		*u = NULL;
	}
}

static void list_stdin(struct walk *w, struct unit **u)
{
	int end = w->nul ? '\0' : '\n';
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	while (!walk_over(w) && (n = getdelim(&line, &cap, end, stdin)) > 0) {
		if (line[n - 1] == end)
			line[--n] = '\0';
		if (n > (ssize_t)LIST_LINE_MAX) {
			complain("a path on standard input is longer than %u bytes; for a list of "
				 "find -print0 give -0", LIST_LINE_MAX);
			w->trouble = true;
			break;
		}
		if (n > 0)
			file_put(w, u, line);
	}
	if (ferror(stdin) && !walk_over(w)) { /* ^C interrupts the read */
		complain_errno(errno, "reading standard input");
		w->trouble = true;
	}
	free(line);
}

bool walk_is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* ---- All arguments ---- */

void walk_list(struct walk *w)
{
	static const struct state_at begin;
	struct walk_inner *in = w->inner;
	/* The state's own moves on while the walk runs. */
	struct state_at from = w->state ? w->state->at : begin;
	struct unit *files = NULL;
	uint32_t next = 0;

	for (uint32_t i = 0; i < w->n_args && !walk_over(w); i++) {
		if (strcmp(w->args[i], "-") == 0) {
			list_stdin(w, &files);
		} else if (walk_is_file(w->args[i])) {
			file_put(w, &files, w->args[i]);
		} else if (next < in->n_roots && in->roots[next].path == w->args[i]) {
			const struct root *root = &in->roots[next++];

			if (root->no >= from.root)
				list_root(w, root, root->no == from.root ? &from : &begin);
		}
	}
	if (files)
		unit_put(w, files);
}
