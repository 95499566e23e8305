/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments under which the walk found no chunk: a wrong folder, a disk that is not mounted,
 * filters that leave nothing. Nothing was wrong there because nothing was looked at, and whoever
 * asked is to know; where a store is near, it is probably the one that was meant.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/stderr.h"
#include "base/text.h"
#include "cache.h"
#include "chunk/report.h"
#include "walk_inner.h"

#define PROBE_FOLDERS_MAX 4096u /* opened for one message */
#define PROBE_NAMES_MAX   1024u /* looked at in one of them */
#define PARENTS_MAX       3u    /* store, tenant, stream */
#define CHILDREN_MAX      2u    /* levels: /var/lib of /var/lib/loki/chunks */

struct probe {
	uint32_t folders; /* opened so far */
	char    *list;    /* LIST_BYTES */
};

/* The first names of a folder, sorted. False: it can't be opened, or it is enough. */
static bool first_names(struct probe *p, int at, const char *path, struct names *out, int *fd)
{
	if (p->folders == PROBE_FOLDERS_MAX)
		return false;
	p->folders++;
	*fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return false;
	while (out->n < PROBE_NAMES_MAX && names_list(*fd, p->list, LIST_BYTES, out, NULL) > 0)
		;
	names_sort_by_text(out);
	return true;
}

/* Whether a chunk lies in a stream's folder: not just any file with such a name in such a folder.
 * */
static bool stream_has_chunk(struct probe *p, int at, const char *tenant, const char *fp)
{
	struct names names = { 0 };
	struct cr_key key;
	bool found = false;
	int fd;

	if (first_names(p, at, fp, &names, &fd)) {
		for (uint32_t i = 0; i < names.n && !found; i++)
			found = cr_key_of_nested(tenant, fp, name_of(&names, i), &key);
		close(fd);
	}
	names_free(&names);
	return found;
}

static bool tenant_has_chunk(struct probe *p, int at, const char *tenant)
{
	struct names names = { 0 };
	bool found = false;
	uint64_t fp;
	int fd;

	if (first_names(p, at, tenant, &names, &fd)) {
		for (uint32_t i = 0; i < names.n && !found; i++)
			found = cr_key_fingerprint(name_of(&names, i), &fp) &&
				stream_has_chunk(p, fd, tenant, name_of(&names, i));
		close(fd);
	}
	names_free(&names);
	return found;
}

static bool is_store(struct probe *p, int at, const char *path)
{
	struct names names = { 0 };
	struct cr_key key;
	bool found = false;
	int fd;

	if (first_names(p, at, path, &names, &fd)) {
		for (uint32_t i = 0; i < names.n && !found; i++) {
			const char *name = name_of(&names, i);

			found = cr_key_of_flat(name, &key) ||
				(name_type(fd, name, names.list[i].type, NULL) == DT_DIR &&
				 tenant_has_chunk(p, fd, name));
		}
		close(fd);
	}
	names_free(&names);
	return found;
}

/* A store that many levels below path, whose name is then in path. */
static bool store_below(struct probe *p, int at, const char *name, uint32_t levels,
			struct bytes *path)
{
	struct names names = { 0 };
	bool found = false;
	size_t n = path->n;
	int fd;

	if (first_names(p, at, name, &names, &fd)) {
		for (uint32_t i = 0; i < names.n && !found; i++) {
			const char *inner = name_of(&names, i);

			if (inner[0] == '.' || name_type(fd, inner, names.list[i].type, NULL) != DT_DIR)
				continue;
			if (path->p[path->n - 1] != '/')
				bytes_addc(path, '/');
			bytes_adds(path, inner);
			found = levels == 1 ? is_store(p, fd, inner) :
					      store_below(p, fd, inner, levels - 1, path);
			if (!found)
				path->n = n;
		}
		close(fd);
	}
	names_free(&names);
	return found;
}

static bool find_below(struct probe *p, const struct root *root, struct bytes *path)
{
	for (uint32_t levels = 1; levels <= CHILDREN_MAX; levels++) {
		path->n = 0;
		bytes_adds(path, root->path);
		if (store_below(p, root->fd, ".", levels, path))
			return true;
	}
	return false;
}

static bool find_above(struct probe *p, const struct root *root, struct bytes *path)
{
	char *real = realpath(root->path, NULL);
	bool found = false;

	for (uint32_t i = 0; real && i < PARENTS_MAX && !found; i++) {
		char *slash = strrchr(real, '/');

		if (!slash || slash == real)
			break; /* nobody keeps chunks in / */
		*slash = '\0';
		found = is_store(p, AT_FDCWD, real);
	}
	path->n = 0;
	bytes_adds(path, found ? real : "");
	free(real);
	return found;
}

static void tell_folder(struct walk *w, const struct root *root, const struct tally *t)
{
	struct probe p = { .list = mem_get(LIST_BYTES) };
	struct bytes path = { 0 }, origin = { 0 };

	if (t->filtered)
		complain("%s: of its %llu chunk%s none passes the filters", root->path,
			 (unsigned long long)t->filtered, plural(t->filtered));
	else if (w->filter.n_tenants && is_store(&p, root->fd, "."))
		complain("%s: it holds chunks, but none of a tenant that --tenant names",
			 root->path);
	else if (find_below(&p, root, &path) || find_above(&p, root, &path))
		complain("%s: no chunk was found there; did you mean %s?", root->path,
			 bytes_string(&path));
	else if (cache_of(root->path, &origin))
		complain("%s: the disk cache is empty", root->path);
	else
		complain("%s: no chunk was found there: is it the directory of Loki's "
			 "storage_config.filesystem, and is its disk mounted?", root->path);
	bytes_free(&path);
	bytes_free(&origin);
	free(p.list);
}

void walk_tell_empty(struct walk *w)
{
	struct walk_inner *in = w->inner;
	const struct tally *files = &in->tallies[w->n_args];

	if (walk_over(w))
		return;
	for (uint32_t i = in->judged_from; i < in->n_roots; i++) {
		if (in->tallies[i].taken)
			continue;
		w->empty++;
		if (!w->allow_empty)
			tell_folder(w, &in->roots[i], &in->tallies[i]);
	}
	if (!in->lists || files->taken)
		return;
	w->empty++;
	if (w->allow_empty)
		return;
	if (w->trouble)
		return; /* it was complained of the names themselves */
	if (files->filtered)
		complain("of %llu file%s none passes the filters",
			 (unsigned long long)files->filtered, plural(files->filtered));
	else
		complain("standard input names no file");
}
