/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lister (the calling thread) reads the store directory and the tenants' folders. What it finds
 * it cuts into units: some files, or some folders of streams, which the jobs list themselves. Both
 * are taken in the order of their inode numbers, which on ext4 is nearly that on the disk: small
 * files are read several times faster cold.
 *
 * A window is what is sorted at once. It is also the grain of a resumed walk: a folder's position
 * moves on when all units of its first unfinished window are finished.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "progress.h"
#include "state.h"

#define WINDOW_NAMES   16384u
#define UNIT_FILES     1024u
#define UNIT_FOLDERS   64u
/* With a state: an interrupted unit is done again, and only whole windows count as done. */
#define STATE_WINDOW   256u
#define STATE_FILES    64u
#define STATE_FOLDERS  8u
#define QUEUE_UNITS    64u
#define LIST_BYTES     (32u << 10)  /* one getdents64 */
#define TENANTS_MAX    (1u << 20)
#define SAVE_NS        (2 * NS_PER_S)
#define LIST_LINE_MAX  8192u

/* ---- Names ---- */

struct name {
	uint64_t ino;
	uint32_t off;   /* in text */
	uint8_t  type;  /* DT_* */
};

struct names {
	struct bytes text;
	struct name *list;
	uint32_t     n, cap;
};

static void names_add(struct names *x, const char *name, uint64_t ino, uint8_t type)
{
	if (x->n == x->cap) {
		x->cap = x->cap ? 2 * x->cap : 256;
		x->list = mem_resize(x->list, x->cap * sizeof(*x->list));
	}
	x->list[x->n++] = (struct name){ .ino = ino, .off = (uint32_t)x->text.n, .type = type };
	bytes_add(&x->text, name, strlen(name) + 1);
}

static const char *name_of(const struct names *x, uint32_t i)
{
	return x->text.p + x->list[i].off;
}

static void names_clear(struct names *x)
{
	x->n = 0;
	x->text.n = 0;
}

static void names_free(struct names *x)
{
	free(x->list);
	bytes_free(&x->text);
	*x = (struct names){ 0 };
}

static int by_inode(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void sort_by_inode(struct names *x)
{
	if (x->n) /* qsort wants a pointer even for nothing */
		qsort(x->list, x->n, sizeof(*x->list), by_inode);
}

static int by_text(const void *a, const void *b, void *text)
{
	return strcmp((char *)text + ((const struct name *)a)->off,
		      (char *)text + ((const struct name *)b)->off);
}

/* ---- Units and windows ---- */

struct window {
	uint32_t       dir;        /* of the state */
	int64_t        end_off;
	uint32_t       left;       /* units; walk_inner.mu */
	uint64_t       sums[SUMS_MAX];
	struct window *next;       /* of all, in order */
};

struct unit {
	const struct root *root;
	char               prefix[TENANT_BYTES_MAX + 1]; /* "" or a tenant */
	bool               folders;                      /* of streams; else files */
	struct names       names;
	struct window     *window;
	uint64_t           sums[SUMS_MAX];
	struct unit       *next;
};

struct walk_inner {
	pthread_mutex_t mu;
	pthread_cond_t  wanted, found;
	struct unit    *first, *last;
	uint32_t        queued;
	bool            listed;             /* no more units come */
	struct window  *oldest, *newest;    /* windows whose position is not in the state yet */
	uint64_t        done, total;        /* names of units, for the progress */
	bool            counted;
	struct root    *roots;
	uint32_t        n_roots;
};

static struct unit *unit_take(struct walk *w)
{
	struct walk_inner *in = w->inner;
	struct unit *u;

	pthread_mutex_lock(&in->mu);
	while (!in->first && !in->listed)
		pthread_cond_wait(&in->found, &in->mu);
	u = in->first;
	if (u) {
		in->first = u->next;
		if (!in->first)
			in->last = NULL;
		in->queued--;
		pthread_cond_signal(&in->wanted);
	}
	pthread_mutex_unlock(&in->mu);
	return u;
}

static void unit_put(struct walk *w, struct unit *u)
{
	struct walk_inner *in = w->inner;

	pthread_mutex_lock(&in->mu);
	while (in->queued >= QUEUE_UNITS)
		pthread_cond_wait(&in->wanted, &in->mu);
	u->next = NULL;
	if (in->last)
		in->last->next = u;
	else
		in->first = u;
	in->last = u;
	in->queued++;
	pthread_cond_signal(&in->found);
	pthread_mutex_unlock(&in->mu);
}

static struct window *window_open(struct walk *w, uint32_t dir)
{
	struct walk_inner *in = w->inner;
	struct window *x = mem_zero(sizeof(*x));

	x->dir = dir;
	x->left = 1; /* the lister's own: it lets go when all units are made */
	pthread_mutex_lock(&in->mu);
	if (in->newest)
		in->newest->next = x;
	else
		in->oldest = x;
	in->newest = x;
	pthread_mutex_unlock(&in->mu);
	return x;
}

#define END_OF_DIR (-1)

/* Moves the state over the windows that are finished, from the oldest on. mu is held. */
static void windows_finish(struct walk *w)
{
	struct walk_inner *in = w->inner;

	while (in->oldest && in->oldest->left == 0) {
		struct window *x = in->oldest;

		in->oldest = x->next;
		if (!in->oldest)
			in->newest = NULL;
		for (uint32_t i = 0; i < SUMS_MAX; i++) {
			w->sums[i] += x->sums[i];
			if (w->state)
				w->state->sums[i] += x->sums[i];
		}
		if (w->state && x->end_off == END_OF_DIR)
			w->state->dirs[x->dir].done = true;
		else if (w->state)
			w->state->dirs[x->dir].off = x->end_off;
		free(x);
	}
	if (w->state && now_ns() - w->state->saved_ns > SAVE_NS)
		state_save(w->state);
}

static void window_leave(struct walk *w, struct window *x, const struct unit *u)
{
	struct walk_inner *in = w->inner;

	pthread_mutex_lock(&in->mu);
	if (u) {
		for (uint32_t i = 0; i < SUMS_MAX; i++)
			x->sums[i] += u->sums[i];
		in->done += u->names.n;
	}
	x->left--;
	if (x->left == 0)
		windows_finish(w);
	pthread_mutex_unlock(&in->mu);
}

/* Of a window that stays unfinished: the sums still count for this run. mu is not needed any more. */
static void windows_drop(struct walk *w)
{
	struct walk_inner *in = w->inner;

	while (in->oldest) {
		struct window *x = in->oldest;

		in->oldest = x->next;
		for (uint32_t i = 0; i < SUMS_MAX; i++)
			w->sums[i] += x->sums[i];
		free(x);
	}
}

/* ---- The jobs' side ---- */

bool filter_takes(const struct filter *f, const struct key *key)
{
	bool mine = f->n_tenants == 0;

	for (uint32_t i = 0; i < f->n_tenants && !mine; i++)
		mine = strcmp(f->tenants[i], key->tenant) == 0;
	return mine && (!f->timed || (key->through_ms >= f->since_ms && key->from_ms < f->until_ms));
}

struct job {
	struct walk *walk;
	void        *arg;
	char        *list; /* LIST_BYTES for getdents64 */
	struct names names;
	struct bytes path;
};

static void tell(struct job *j, struct unit *u, enum found_kind kind, const struct key *key,
		 int err)
{
	struct found f = { .kind = kind, .root = u->root, .path = bytes_string(&j->path),
			   .key = key, .err = err, .sums = u->sums };

	if (kind == FOUND_CHUNK && key && !filter_takes(&j->walk->filter, key)) {
		__atomic_add_fetch(&j->walk->filtered, 1, __ATOMIC_RELAXED);
		return;
	}
	j->walk->file(j->arg, &f);
}

static void set_path(struct job *j, const struct unit *u, const char *folder, const char *name)
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

static uint8_t type_of(int dir_fd, const char *name, uint8_t type)
{
	struct stat st;

	if (type != DT_UNKNOWN)
		return type;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return DT_UNKNOWN; /* gone */
	return S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR :
	       S_ISLNK(st.st_mode) ? DT_LNK : DT_FIFO;
}

/* A file in a stream's folder. */
static void stream_file(struct job *j, struct unit *u, const char *tenant, const char *fp,
			const char *name, uint8_t type)
{
	struct key key;
	bool chunk = key_of_nested(tenant, fp, name, &key);

	if (type == DT_REG && chunk)
		tell(j, u, FOUND_CHUNK, &key, 0);
	else if (type == DT_REG && key_is_temporary(name))
		tell(j, u, FOUND_TEMPORARY, NULL, 0);
	else if (name[0] == '.' || type == DT_DIR || type == DT_UNKNOWN)
		tell(j, u, FOUND_OTHER, NULL, 0);
	else if (type == DT_LNK)
		tell(j, u, FOUND_SYMLINK, NULL, 0);
	else
		tell(j, u, type == DT_REG ? FOUND_NAME : FOUND_SPECIAL, NULL, 0);
}

/* A symbolic link matters if Loki would find chunks behind it. */
static bool link_matters(const struct unit *u, const char *path, const struct key *key)
{
	struct stat st;

	return key || (fstatat(u->root->fd, path, &st, 0) == 0 && S_ISDIR(st.st_mode));
}

/* A file in the store directory or in a tenant's folder. */
static void outer_file(struct job *j, struct unit *u, const char *name, uint8_t type)
{
	struct key key;
	bool chunk, stray = false;

	if (u->prefix[0]) {
		/* the root may be a tenant's folder itself; else no chunk belongs here */
		chunk = key_of_nested(u->root->tenant, u->prefix, name, &key) ||
			key_of_nested(u->root->fp, u->prefix, name, &key);
		stray = !chunk && (key_of_flat(name, &key) ||
				   key_of_nested("x", "1", name, &key));
	} else {
		chunk = key_of_flat(name, &key) ||
			key_of_nested(u->root->tenant, u->root->fp, name, &key);
		stray = !chunk && key_of_nested("x", "1", name, &key);
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

/* Names of a folder into j->names, as many as one system call gives. 0: the end; or -errno. */
static int list_some(int fd, char *list, struct names *out, int64_t *off)
{
	ssize_t n = getdents64(fd, list, LIST_BYTES);

	if (n < 0)
		return -errno;
	for (ssize_t at = 0; at < n;) {
		const struct dirent64 *d = (const struct dirent64 *)(list + at);

		at += d->d_reclen;
		if (off)
			*off = d->d_off;
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			names_add(out, d->d_name, d->d_ino, d->d_type);
	}
	return n > 0;
}

static void do_folder(struct job *j, struct unit *u, const char *fp)
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
		more = list_some(fd, j->list, &j->names, NULL);
		sort_by_inode(&j->names);
		for (uint32_t i = 0; i < j->names.n && !stopped(); i++) {
			const char *name = name_of(&j->names, i);

			set_path(j, u, fp, name);
			stream_file(j, u, u->prefix, fp, name,
				    type_of(fd, name, j->names.list[i].type));
		}
	} while (more > 0 && !stopped());
	close(fd);
	if (more < 0) {
		set_path(j, u, "", fp);
		tell(j, u, FOUND_TROUBLE, NULL, -more);
	}
}

static void single_file(struct job *j, struct unit *u, const char *path)
{
	struct key key;

	tell(j, u, FOUND_CHUNK, key_of_path(path, &key) ? &key : NULL, 0);
}

static void do_unit(struct job *j, struct unit *u)
{
	for (uint32_t i = 0; i < u->names.n && !stopped(); i++) {
		const char *name = name_of(&u->names, i);

		if (u->folders) {
			do_folder(j, u, name);
			continue;
		}
		set_path(j, u, "", name);
		if (u->root->path[0] == '/' && !u->root->path[1] && !u->window)
			single_file(j, u, name);
		else
			outer_file(j, u, name,
				   type_of(u->root->fd, bytes_string(&j->path),
					   u->names.list[i].type));
	}
}

static void unit_free(struct unit *u)
{
	names_free(&u->names);
	free(u);
}

static void add_sums(struct walk *w, const struct unit *u)
{
	pthread_mutex_lock(&w->inner->mu);
	for (uint32_t i = 0; i < SUMS_MAX; i++)
		w->sums[i] += u->sums[i];
	w->inner->done += u->names.n;
	pthread_mutex_unlock(&w->inner->mu);
}

static void *job_main(void *arg)
{
	struct job j = { .walk = arg, .list = mem_get(LIST_BYTES) };
	struct walk *w = arg;
	struct unit *u;

	j.arg = w->open(w->arg);
	while ((u = unit_take(w)) != NULL) {
		do_unit(&j, u);
		w->unit_end(j.arg);
		/* What was left out because of a stop must not count as finished. */
		if (u->window && !stopped())
			window_leave(w, u->window, u);
		else
			add_sums(w, u);
		unit_free(u);
	}
	w->close(j.arg);
	free(j.list);
	names_free(&j.names);
	bytes_free(&j.path);
	return NULL;
}

/* ---- The lister's side ---- */

static struct unit *unit_new(const struct root *root, const char *prefix, bool folders,
			     struct window *window)
{
	struct unit *u = mem_zero(sizeof(*u));

	u->root = root;
	u->folders = folders;
	u->window = window;
	snprintf(u->prefix, sizeof(u->prefix), "%s", prefix);
	return u;
}

/* Sorts names and hands them out in units of at most `size`. */
static void hand_out(struct walk *w, const struct root *root, const char *prefix, bool folders,
		     struct window *window, struct names *names)
{
	uint32_t size = w->state ? (folders ? STATE_FOLDERS : STATE_FILES)
				 : (folders ? UNIT_FOLDERS : UNIT_FILES);

	sort_by_inode(names);
	for (uint32_t i = 0; i < names->n && !stopped(); i += size) {
		struct unit *u = unit_new(root, prefix, folders, window);

		for (uint32_t k = i; k < names->n && k < i + size; k++)
			names_add(&u->names, name_of(names, k), names->list[k].ino,
				  names->list[k].type);
		pthread_mutex_lock(&w->inner->mu);
		window->left++;
		pthread_mutex_unlock(&w->inner->mu);
		unit_put(w, u);
	}
	names_clear(names);
}

struct listing { /* of one folder */
	struct walk       *w;
	const struct root *root;
	const char        *prefix;   /* "" for the store, else a tenant */
	struct names       all, files, folders;
	struct names      *tenants;  /* where the store's folders go, or NULL */
	char              *list;
};

/* Which of the names read are for the jobs. */
static void sort_out(struct listing *l, int fd)
{
	uint64_t fp;

	for (uint32_t i = 0; i < l->all.n; i++) {
		const char *name = name_of(&l->all, i);
		uint8_t type = type_of(fd, name, l->all.list[i].type);

		if (type != DT_DIR) {
			names_add(&l->files, name, l->all.list[i].ino, type);
		} else if (l->prefix[0]) {
			if (key_is_fingerprint(name, &fp))
				names_add(&l->folders, name, l->all.list[i].ino, type);
		} else if (strcmp(name, QUARANTINE_DIR) != 0 && l->tenants &&
			   l->tenants->n < TENANTS_MAX) {
			names_add(l->tenants, name, l->all.list[i].ino, type);
		}
	}
	names_clear(&l->all);
}

static char *dir_name(const struct root *root, const char *prefix)
{
	struct bytes b = { 0 };

	bytes_printf(&b, "%u/%s", root->no, prefix);
	bytes_string(&b);
	return b.p;
}

/* Lists one folder in windows, from a position on. Returns 0 or -errno. */
static int list_folder(struct listing *l, int fd, int64_t off, uint32_t dir)
{
	struct walk *w = l->w;
	uint32_t most = w->state ? STATE_WINDOW : WINDOW_NAMES;
	int more = 1;

	if (off && lseek(fd, off, SEEK_SET) < 0)
		return -errno;
	while (more > 0 && !stopped()) {
		struct window *window = window_open(w, dir);

		while (more > 0 && l->files.n + l->folders.n < most && !stopped()) {
			more = list_some(fd, l->list, &l->all, &off);
			sort_out(l, fd);
		}
		hand_out(w, l->root, l->prefix, false, window, &l->files);
		hand_out(w, l->root, l->prefix, true, window, &l->folders);
		window->end_off = more > 0 ? off : END_OF_DIR;
		if (stopped()) /* it may not have all its units: never finished */
			break;
		if (more < 0) {
			window->end_off = off;
			return more;
		}
		window_leave(w, window, NULL);
	}
	return more < 0 ? more : 0;
}

/* Says by a unit of its own what the lister met. */
static void tell_trouble(struct walk *w, const struct root *root, const char *prefix, int err)
{
	complain_errno(err, "reading the folder %s%s%s", root->path, *prefix ? "/" : "", prefix);
	w->trouble = true;
}

static void list_tenant(struct listing *l, const char *tenant)
{
	struct state *st = l->w->state;
	char *name = dir_name(l->root, tenant);
	uint32_t dir = 0;
	int64_t off = 0;
	int fd, err;

	if (st) {
		pthread_mutex_lock(&l->w->inner->mu);
		dir = state_dir(st, name);
		off = st->dirs[dir].off;
		if (st->dirs[dir].done)
			off = END_OF_DIR;
		pthread_mutex_unlock(&l->w->inner->mu);
	}
	free(name);
	if (off == END_OF_DIR)
		return;
	fd = openat(l->root->fd, tenant, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT)
			tell_trouble(l->w, l->root, tenant, errno);
		return;
	}
	l->prefix = tenant;
	err = list_folder(l, fd, off, dir);
	if (err)
		tell_trouble(l->w, l->root, tenant, -err);
	close(fd);
}

/* Only the names of the store's folders: a resumed walk needs them all. */
static void list_tenants_only(struct listing *l, int fd)
{
	int more;

	do {
		more = list_some(fd, l->list, &l->all, NULL);
		sort_out(l, fd);
		names_clear(&l->files);
	} while (more > 0 && !stopped());
}

static bool tenant_wanted(const struct walk *w, const struct root *root, const char *tenant)
{
	const struct filter *f = &w->filter;

	for (uint32_t i = 0; i < f->n_tenants; i++)
		if (strcmp(f->tenants[i], tenant) == 0 || strcmp(f->tenants[i],
								 root->tenant) == 0 ||
		    strcmp(f->tenants[i], root->fp) == 0)
			return true;
	return f->n_tenants == 0;
}

static void list_root(struct walk *w, const struct root *root)
{
	struct names tenants = { 0 };
	struct listing l = { .w = w, .root = root, .prefix = "", .tenants = &tenants,
			     .list = mem_get(LIST_BYTES) };
	int fd = openat(root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	uint32_t dir = 0;
	int64_t off = 0;

	if (fd < 0) {
		tell_trouble(w, root, "", errno);
		free(l.list);
		return;
	}
	if (w->state) {
		char *name = dir_name(root, "");

		pthread_mutex_lock(&w->inner->mu);
		dir = state_dir(w->state, name);
		off = w->state->dirs[dir].done ? END_OF_DIR : w->state->dirs[dir].off;
		pthread_mutex_unlock(&w->inner->mu);
		free(name);
	}
	if (off) {
		list_tenants_only(&l, fd);
		l.tenants = NULL; /* the files only, from here on */
	}
	if (off != END_OF_DIR)
		err = list_folder(&l, fd, off, dir);
	if (err)
		tell_trouble(w, root, "", -err);
	close(fd);
	l.tenants = NULL;
	if (tenants.n)
		qsort_r(tenants.list, tenants.n, sizeof(*tenants.list), by_text, tenants.text.p);
	for (uint32_t i = 0; i < tenants.n && !stopped(); i++)
		if (tenant_wanted(w, root, name_of(&tenants, i)))
			list_tenant(&l, name_of(&tenants, i));
	names_free(&tenants);
	names_free(&l.all);
	names_free(&l.files);
	names_free(&l.folders);
	free(l.list);
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

static void file_put(struct walk *w, struct root *root, struct unit **u, const char *path)
{
	struct bytes real = { 0 };

	if (!*u)
		*u = unit_new(root, "", false, NULL);
	if (!resolve(path, &real)) {
		complain_errno(errno, "%s", path);
		w->trouble = true;
		return;
	}
	names_add(&(*u)->names, bytes_string(&real), 0, DT_REG);
	bytes_free(&real);
	if ((*u)->names.n == UNIT_FILES) {
		unit_put(w, *u);
		*u = NULL;
	}
}

static void list_stdin(struct walk *w, struct root *root, struct unit **u)
{
	int end = w->nul ? '\0' : '\n';
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	while (!stopped() && (n = getdelim(&line, &cap, end, stdin)) > 0) {
		if (line[n - 1] == end)
			line[--n] = '\0';
		if (n > (ssize_t)LIST_LINE_MAX) {
			complain("a path on standard input is longer than %u bytes; for a list of "
				 "find -print0 give -0", LIST_LINE_MAX);
			w->trouble = true;
			break;
		}
		if (n > 0)
			file_put(w, root, u, line);
	}
	if (ferror(stdin) && !stopped()) { /* ^C interrupts the read */
		complain_errno(errno, "reading standard input");
		w->trouble = true;
	}
	free(line);
}

/* ---- Progress: how many names there are, by a thread of its own ---- */

static uint64_t count_names(int at, const char *path, struct names *tenants, char *list)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct names names = { 0 };
	uint64_t n = 0, fp;

	if (fd < 0)
		return 0;
	while (!stopped() && list_some(fd, list, &names, NULL) > 0) {
		for (uint32_t i = 0; i < names.n; i++) {
			const char *name = name_of(&names, i);

			if (names.list[i].type != DT_DIR)
				n++;
			else if (!tenants)
				n += key_is_fingerprint(name, &fp);
			else if (strcmp(name, QUARANTINE_DIR) != 0)
				names_add(tenants, name, 0, DT_DIR);
		}
		names_clear(&names);
	}
	names_free(&names);
	close(fd);
	return n;
}

static void *count_main(void *arg)
{
	struct walk *w = arg;
	struct walk_inner *in = w->inner;
	char *list = mem_get(LIST_BYTES);
	uint64_t total = 0;

	for (uint32_t r = 0; r < in->n_roots && !stopped(); r++) {
		struct names tenants = { 0 };

		total += count_names(in->roots[r].fd, ".", &tenants, list);
		for (uint32_t i = 0; i < tenants.n && !stopped(); i++)
			if (tenant_wanted(w, &in->roots[r], name_of(&tenants, i)))
				total += count_names(in->roots[r].fd, name_of(&tenants, i), NULL,
						     list);
		names_free(&tenants);
	}
	free(list);
	pthread_mutex_lock(&in->mu);
	in->total = total;
	in->counted = !stopped();
	pthread_mutex_unlock(&in->mu);
	return NULL;
}

void walk_progress(struct walk *w, uint64_t *done, uint64_t *total)
{
	struct walk_inner *in = __atomic_load_n(&w->inner, __ATOMIC_ACQUIRE);

	*done = *total = 0;
	if (!in)
		return;
	pthread_mutex_lock(&in->mu);
	*done = in->done;
	*total = in->counted ? in->total : 0;
	pthread_mutex_unlock(&in->mu);
}

/* ---- All of it ---- */

static bool root_open(struct walk *w, const char *path)
{
	struct walk_inner *in = w->inner;
	struct root *r = &in->roots[in->n_roots];
	char *real = realpath(path, NULL), *slash;

	*r = (struct root){ .path = path, .no = in->n_roots };
	r->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->fd < 0 || !real) {
		complain_errno(errno, "%s", path);
		free(real);
		w->trouble = true;
		return false;
	}
	slash = strrchr(real, '/');
	snprintf(r->fp, sizeof(r->fp), "%.255s", slash ? slash + 1 : "");
	if (slash && slash > real) {
		*slash = '\0';
		slash = strrchr(real, '/');
		snprintf(r->tenant, sizeof(r->tenant), "%.255s", slash ? slash + 1 : "");
	}
	free(real);
	in->n_roots++;
	return true;
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static void list_all(struct walk *w)
{
	struct walk_inner *in = w->inner;
	static struct root slash = { .path = "/" };
	struct unit *files = NULL;
	uint32_t next_root = 0;

	slash.fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (uint32_t i = 0; i < w->n_args && !stopped(); i++) {
		if (strcmp(w->args[i], "-") == 0)
			list_stdin(w, &slash, &files);
		else if (is_file(w->args[i]))
			file_put(w, &slash, &files, w->args[i]);
		else if (next_root < in->n_roots && in->roots[next_root].path == w->args[i])
			list_root(w, &in->roots[next_root++]);
	}
	if (files)
		unit_put(w, files);
	pthread_mutex_lock(&in->mu);
	in->listed = true;
	pthread_cond_broadcast(&in->found);
	pthread_mutex_unlock(&in->mu);
}

/* inner stays: the progress may still be asked for. A program has one walk. */
void walk_run(struct walk *w)
{
	struct walk_inner *in = mem_zero(sizeof(*in));
	pthread_t jobs[JOBS_MAX], counter;
	bool counts;
	uint32_t n = 0;

	pthread_mutex_init(&in->mu, NULL);
	pthread_cond_init(&in->wanted, NULL);
	pthread_cond_init(&in->found, NULL);
	in->roots = mem_zero((w->n_args + 1) * sizeof(*in->roots));
	__atomic_store_n(&w->inner, in, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < w->n_args; i++)
		if (strcmp(w->args[i], "-") != 0 && !is_file(w->args[i]))
			root_open(w, w->args[i]);
	counts = progress_runs() && in->n_roots &&
		 pthread_create(&counter, NULL, count_main, w) == 0;
	while (n < w->jobs && pthread_create(&jobs[n], NULL, job_main, w) == 0)
		n++;
	if (n == 0)
		die("no thread could be started");
	list_all(w);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(jobs[i], NULL);
	if (counts)
		pthread_join(counter, NULL);
	w->finished = !stopped();
	windows_drop(w);
	for (uint32_t i = 0; i < in->n_roots; i++)
		close(in->roots[i].fd);
	free(in->roots);
}
