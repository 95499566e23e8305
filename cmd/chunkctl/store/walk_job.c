/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "key.h"
#include "walk_inner.h"

bool filter_takes(const struct filter *f, const struct cr_key *key)
{
	bool mine = f->n_tenants == 0;

	for (uint32_t i = 0; i < f->n_tenants && !mine; i++)
		mine = strcmp(f->tenants[i], key->tenant) == 0;
	return mine && (!f->timed || (key->through_ms >= f->since_ms && key->from_ms < f->until_ms));
}

static void tell(struct walk_job *j, struct unit *u, enum found_kind kind, const struct cr_key *key,
		 int err)
{
	struct found f = { .kind = kind, .root = u->root, .path = bytes_string(&j->path),
			   .key = key, .err = err, .sums = u->sums };

	if (kind == FOUND_CHUNK) {
		uint32_t no = u->root->no == ROOTS_MAX ? j->walk->n_args : u->root->no;
		struct tally *t = &j->walk->inner->tallies[no];

		if (key && !filter_takes(&j->walk->filter, key)) {
			__atomic_add_fetch(&t->filtered, 1, __ATOMIC_RELAXED);
			__atomic_add_fetch(&j->walk->filtered, 1, __ATOMIC_RELAXED);
			return;
		}
		__atomic_add_fetch(&t->taken, 1, __ATOMIC_RELAXED);
	}
	j->walk->file(j->arg, &f);
}

static void set_path(struct walk_job *j, const struct unit *u, const char *folder, const char *name)
{
	j->path.n = 0;
	if (u->prefix[0]) {
		bytes_adds(&j->path, u->prefix);
		bytes_addc(&j->path, '/');
	}
	if (folder[0]) {
		bytes_adds(&j->path, folder);
		bytes_addc(&j->path, '/');
	}
	bytes_adds(&j->path, name);
}

/* Whether what it is could not be told, so that it may be anything; not where it is gone. */
static bool is_untold(struct walk_job *j, struct unit *u, uint8_t type, int err)
{
	if (type != DT_UNKNOWN || err == ENOENT)
		return false;
	tell(j, u, FOUND_TROUBLE, NULL, err);
	return true;
}

/* A file in a stream's folder. */
static void stream_file(struct walk_job *j, struct unit *u, int fd, const char *fp, uint32_t i)
{
	const char *tenant = u->prefix, *name = name_of(&j->names, i);
	int err = 0;
	uint8_t type = name_type(fd, name, j->names.list[i].type, &err);
	struct cr_key key;
	bool chunk = cr_key_of_nested(tenant, fp, name, &key);

	if (is_untold(j, u, type, err))
		return;
	if (type == DT_REG && chunk)
		tell(j, u, FOUND_CHUNK, &key, 0);
	else if (type == DT_REG && key_is_temporary(name))
		tell(j, u, FOUND_TEMPORARY, NULL, 0);
	else if (name[0] == '.' || type == DT_DIR || type == DT_UNKNOWN)
		tell(j, u, FOUND_OTHER, NULL, 0);
	else if (type == DT_LNK)
		tell(j, u, FOUND_SYMLINK, NULL, 0);
	else if (type != DT_REG)
		tell(j, u, FOUND_SPECIAL, NULL, 0);
	else
		tell(j, u, cr_key_of_flat(name, &key) ? FOUND_MISPLACED : FOUND_NAME, NULL, 0);
}

/* A symbolic link matters if Loki would find chunks behind it. */
static bool link_matters(const struct unit *u, const char *path, const struct cr_key *key)
{
	struct stat st;

	return key || (fstatat(u->root->fd, path, &st, 0) == 0 && S_ISDIR(st.st_mode));
}

/* A file in the store directory or in a tenant's folder. */
static void outer_file(struct walk_job *j, struct unit *u, const char *name, uint8_t type)
{
	struct cr_key key;
	bool chunk, stray = false;
	int err = 0;

	type = name_type(u->root->fd, bytes_string(&j->path), type, &err);
	if (is_untold(j, u, type, err))
		return;
	if (u->prefix[0]) {
		/* the root may be a tenant's folder itself; else no chunk belongs here */
		chunk = cr_key_of_nested(u->root->fp, u->prefix, name, &key);
		stray = !chunk && (cr_key_of_flat(name, &key) || cr_key_of_nested("x", "1", name, &key));
	} else {
		chunk = cr_key_of_flat(name, &key) ||
			cr_key_of_nested(u->root->tenant, u->root->fp, name, &key);
		stray = !chunk && cr_key_of_nested("x", "1", name, &key);
	}
	if (type == DT_LNK)
		tell(j, u, link_matters(u, bytes_string(&j->path), chunk ? &key : NULL) ?
			   FOUND_SYMLINK : FOUND_OTHER, NULL, 0);
	else if (chunk)
		tell(j, u, type == DT_REG ? FOUND_CHUNK : FOUND_SPECIAL, &key, 0);
	else if (type != DT_REG)
		tell(j, u, FOUND_OTHER, NULL, 0);
	else if (key_is_temporary(name))
		tell(j, u, FOUND_TEMPORARY, NULL, 0);
	else if (stray)
		tell(j, u, FOUND_MISPLACED, NULL, 0);
	else
		tell(j, u, key_is_near(name) ? FOUND_NAME : FOUND_OTHER, NULL, 0);
}

static void stream_folder(struct walk_job *j, struct unit *u, const char *fp)
{
	int fd, more;

	set_path(j, u, "", fp);
	fd = openat(u->root->fd, bytes_string(&j->path),
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOENT)
			return; /* Loki deleted the stream's last chunk */
		tell(j, u, errno == ELOOP || errno == ENOTDIR ? FOUND_SYMLINK : FOUND_TROUBLE, NULL,
		     errno);
		return;
	}
	do {
		names_clear(&j->names);
		more = names_list(fd, j->list, LIST_BYTES, &j->names, NULL);
		names_sort_by_inode(&j->names);
		for (uint32_t i = 0; i < j->names.n && !walk_over(j->walk); i++) {
			set_path(j, u, fp, name_of(&j->names, i));
			stream_file(j, u, fd, fp, i);
		}
	} while (more > 0 && !walk_over(j->walk));
	close(fd);
	if (more < 0) {
		set_path(j, u, "", fp);
		tell(j, u, FOUND_TROUBLE, NULL, -more);
	}
}

static void single_file(struct walk_job *j, struct unit *u, const char *path)
{
	struct cr_key key;

	tell(j, u, FOUND_CHUNK, cr_key_of_path(path, &key) ? &key : NULL, 0);
}

void walk_do_unit(struct walk_job *j, struct unit *u)
{
	for (uint32_t i = 0; i < u->names.n && !walk_over(j->walk); i++) {
		const char *name = name_of(&u->names, i);

		if (u->folders) {
			stream_folder(j, u, name);
			continue;
		}
		set_path(j, u, "", name);
		if (!u->span)
			single_file(j, u, name);
		else
			outer_file(j, u, name, u->names.list[i].type);
	}
}
