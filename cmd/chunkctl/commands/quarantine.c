/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkctl quarantine: damaged files out of Loki's way, and back.
 *
 * Nothing is deleted or overwritten. Each file goes by one atomic rename to
 * DIR/.chunkctl-quarantine/TIME-PID/files/..., after a line in the manifest beside it is on the disk.
 * So after a crash at any moment every file is in one of the two places, and --restore needs no more
 * than the manifest: a line whose file is not in quarantine was not moved.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/common.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/quote.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/check.h"
#include "chunk/findings.h"
#include "chunk/report.h"
#include "chunk/scratch.h"
#include "cli.h"
#include "store/cache.h"
#include "store/key.h"
#include "suspects.h"

static const char help[] =
"usage: chunkctl quarantine DIR --from REPORT [--yes] [options]\n"
"       chunkctl quarantine DIR --restore[=NAME] [--yes]\n"
"\n"
"Moves the damaged chunks that a report of `chunkctl verify --json DIR` names out of Loki's way, into\n"
"DIR/.chunkctl-quarantine/, and with --restore back. Loki then finds no chunk where it met an error\n"
"before, and answers without it. Without --yes it only says what it would do. Every file is checked\n"
"once more before it is moved: what is sound now stays. Nothing is ever deleted.\n"
"\n"
"  --from REPORT    the report; - for standard input\n"
"  --partial        move chunks, too, that Loki serves in part: Loki no longer serves any line of them\n"
"  --kinds K,...    only these findings (names as in the report), whatever their severity\n"
"  --restore[=NAME] put files back: all, or those of one quarantine (a name in .chunkctl-quarantine)\n"
"  --yes            do it\n"
"  --json           one JSON object a file and one summary in the end\n"
"  --allow-empty    exit with 0 if there is nothing to move or to restore\n"
"\n"
"exit code: 0 done (or the report has nothing to move), 1 some files could not be moved, 2 wrong usage, a\n"
"failed read or write, a report that is empty or only of another store, or nothing to restore\n"
"\n"
"examples:\n"
"  chunkctl verify --json /loki/chunks > report.json\n"
"  chunkctl quarantine /loki/chunks --from report.json\n"
"  chunkctl quarantine /loki/chunks --from report.json --yes\n"
"  chunkctl quarantine /loki/chunks --restore --yes\n";

enum { OPT_FROM = OPT_OWN, OPT_PARTIAL, OPT_KINDS, OPT_RESTORE, OPT_YES };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_EMPTY,
	{ "from", required_argument, NULL, OPT_FROM },
	{ "partial", no_argument, NULL, OPT_PARTIAL },
	{ "kinds", required_argument, NULL, OPT_KINDS },
	{ "restore", optional_argument, NULL, OPT_RESTORE },
	{ "yes", no_argument, NULL, OPT_YES },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

#define MANIFEST "manifest.jsonl"

struct quarantine {
	const char *dir;
	char       *real;      /* dir, resolved */
	int         dir_fd;
	const char *from, *restore;
	bool        restoring, yes, json, partial, allow_empty;
	bool        own_kinds;
	struct suspects suspects;
	struct out  out;
	char        name[64];  /* of this quarantine: TIME-PID; "": not made */
	bool        broken;    /* nothing more can be moved: it was complained of */
	int         to_fd;     /* its folder, -1: not made yet */
	int         manifest_fd;
	uint64_t    moved, skipped, failed;
};

static bool is_over(const struct quarantine *q)
{
	return q->broken || stopped();
}

/* ---- Which findings ---- */

static void default_kinds(struct quarantine *q)
{
	static const enum finding_kind never[] = { FINDING_NAME, FINDING_MISPLACED, FINDING_SYMLINK,
						   FINDING_NOT_A_FILE, FINDING_TOO_BIG };

	if (q->own_kinds)
		return;
	for (int i = 1; i < FINDING_COUNT; i++) {
		enum severity s = finding_severity((enum finding_kind)i);

		q->suspects.kinds[i] = s == SEVERITY_ERROR || (s == SEVERITY_PARTIAL && q->partial);
	}
	for (size_t i = 0; i < LEN(never); i++)
		q->suspects.kinds[never[i]] = false;
}

static bool parse_kinds(struct quarantine *q, const char *list)
{
	char *copy = mem_string(list), *save = NULL;
	enum finding_kind kind;

	q->own_kinds = true;
	for (char *k = strtok_r(copy, ",", &save); k; k = strtok_r(NULL, ",", &save)) {
		if (!finding_kind_of(k, &kind)) {
			complain("--kinds %s: there is no such finding; man chunkctl lists them",
				 k);
			free(copy);
			return false;
		}
		q->suspects.kinds[kind] = true;
	}
	free(copy);
	return true;
}

/* ---- Saying what happens ---- */

static void tell(struct quarantine *q, const char *action, const char *file, const char *why)
{
	struct bytes b = { 0 };

	if (q->json) {
		json_open(&b, NULL, '{');
		json_string(&b, "type", "file");
		json_string(&b, "action", action);
		json_string(&b, "file", file);
		json_string(&b, "why", why);
		json_close(&b, '}');
	} else {
		bytes_printf(&b, "%s ", action);
		text_show(&b, file);
		bytes_printf(&b, "%s%s", *why ? ": " : "", why);
	}
	bytes_addc(&b, '\n');
	out_bytes(&q->out, b.p, b.n);
	bytes_free(&b);
}

static void tell_failed(struct quarantine *q, const char *file, int err)
{
	tell(q, "failed", file, error_text(err));
	q->failed++;
}

/* ---- Folders and renames ---- */

/* Makes the folders of a path below fd. */
static int make_folders(int fd, const char *path)
{
	char *copy = mem_string(path);
	int err = 0;

	for (char *slash = strchr(copy, '/'); slash && !err; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdirat(fd, copy, 0755) != 0 && errno != EEXIST)
			err = errno;
		*slash = '/';
	}
	free(copy);
	return err;
}

/* Makes a rename last: the folder that a path is in. */
static void sync_folder(int fd, const char *path)
{
	char *copy = mem_string(path), *slash = strrchr(copy, '/');
	int folder;

	if (slash)
		*slash = '\0';
	folder = openat(fd, slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder >= 0) {
		fsync(folder); /* some file systems can't: then neither could Loki's files be safe */
		close(folder);
	}
	free(copy);
}

/* Never over something that is there. */
static int move(int from_fd, const char *from, int to_fd, const char *to)
{
	int err = make_folders(to_fd, to);

	if (err)
		return err;
	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) != 0) {
		if (errno != EINVAL && errno != ENOSYS)
			return errno;
		/* A file system without NOREPLACE (NFS): a link fails where the name is taken. */
		if (linkat(from_fd, from, to_fd, to, 0) != 0 || unlinkat(from_fd, from, 0) != 0)
			return errno;
	}
	sync_folder(to_fd, to);
	sync_folder(from_fd, from);
	return 0;
}

static int write_line(int fd, const struct bytes *b)
{
	ssize_t n = write(fd, b->p, b->n);

	if (n < 0)
		return errno;
	if ((size_t)n < b->n)
		return ENOSPC;
	return fdatasync(fd) == 0 ? 0 : errno;
}

/* ---- Into quarantine ---- */

/* Makes its folder and the manifest in it. path: DIR-relative, the manifest's. Returns an errno. */
static int make_quarantine(struct quarantine *q, const char *path, const char *folder)
{
	int err = make_folders(q->dir_fd, path);

	if (err)
		return err;
	q->manifest_fd = openat(q->dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC,
				0644);
	if (q->manifest_fd < 0)
		return errno;
	q->to_fd = openat(q->dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return q->to_fd < 0 ? errno : 0;
}

static bool open_quarantine(struct quarantine *q)
{
	struct bytes path = { 0 }, folder = { 0 };
	time_t now = time(NULL);
	struct tm tm;
	char when[32], name[sizeof(q->name)];
	int err;

	if (q->to_fd >= 0)
		return true;
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(name, sizeof(name), "%s-%ld", when, (long)getpid());
	bytes_printf(&folder, QUARANTINE_DIR "/%s", name);
	bytes_printf(&path, "%s/" MANIFEST, bytes_string(&folder));
	err = make_quarantine(q, bytes_string(&path), folder.p);
	if (err) {
		complain_errno(err, "making %s/%s", q->dir, folder.p);
	} else {
		memcpy(q->name, name, sizeof(name));
		sync_folder(q->dir_fd, folder.p);
		sync_folder(q->dir_fd, QUARANTINE_DIR);
		fsync(q->to_fd);
	}
	bytes_free(&path);
	bytes_free(&folder);
	return !err;
}

static int note(struct quarantine *q, const char *file, const struct bytes *content,
		const struct findings *f)
{
	struct bytes b = { 0 };
	int err;

	json_open(&b, NULL, '{');
	json_string(&b, "file", file);
	json_u64(&b, "size", content->n);
	json_hex(&b, "crc32c", cr_crc32c(0, content->p, content->n));
	json_open(&b, "findings", '[');
	for (uint32_t i = 0; i < f->n; i++)
		json_string(&b, NULL, finding_name(f->list[i].kind));
	json_close(&b, ']');
	json_close(&b, '}');
	bytes_addc(&b, '\n');
	err = write_line(q->manifest_fd, &b);
	bytes_free(&b);
	return err;
}

/* What is wrong with it now; the kinds that count as text. False: nothing of what was asked for. */
static bool still_damaged(struct quarantine *q, const char *file, const struct bytes *content,
			  struct findings *f, struct bytes *why)
{
	struct scratch *s = scratch_get();
	struct look look;
	struct bytes path = { 0 };
	struct cr_key key;
	bool named, misplaced, found = false;

	path_join(q->real, file, &path);
	named = cr_key_of_path(bytes_string(&path), &key);
	/* flat chunks lie in the store itself */
	misplaced = named ? key.flat && strchr(file, '/') : key_is_misplaced(path.p);
	bytes_free(&path);
	look = (struct look){ .key = named ? &key : NULL, .file = (const uint8_t *)content->p,
			      .n = content->n, .flags = CHECK_DEEP, .s = s, .out = f };
	check_chunk(&look);
	scratch_put(s);
	if (misplaced)
		finding_add(f, FINDING_MISPLACED, NOWHERE, -1, "not its stream's folder");
	else if (!named)
		finding_add(f, FINDING_NAME, NOWHERE, -1, "no chunk's name");
	for (uint32_t i = 0; i < f->n; i++) {
		if (!q->suspects.kinds[f->list[i].kind])
			continue;
		bytes_printf(why, "%s%s", found ? ", " : "", finding_name(f->list[i].kind));
		found = true;
	}
	return found;
}

static bool is_named(const struct quarantine *q, const char *file)
{
	struct bytes path = { 0 };
	struct cr_key key;
	bool named;

	path_join(q->real, file, &path);
	named = cr_key_of_path(bytes_string(&path), &key);
	bytes_free(&path);
	return named;
}

static void do_file(struct quarantine *q, const char *file)
{
	struct bytes content = { .max = FILE_BYTES_MAX + 1 }, why = { 0 }, to = { 0 };
	struct findings f = { 0 };
	int err = file_read(q->dir_fd, file, false, &content, NULL);

	if (err == ENOENT) {
		tell(q, "skipped", file, "it is gone");
		q->skipped++;
	} else if (err) {
		tell_failed(q, file, err);
	} else if (!q->own_kinds && !is_named(q, file)) {
		tell(q, "skipped", file, "its name is no chunk's: Loki never asks for it");
		q->skipped++;
	} else if (!still_damaged(q, file, &content, &f, &why)) {
		tell(q, "skipped", file, "it has none of these findings now");
		q->skipped++;
	} else if (!q->yes) {
		tell(q, "would move", file, bytes_string(&why));
		q->moved++;
	} else if (!open_quarantine(q)) {
		q->failed++;
		q->broken = true;
	} else {
		bytes_printf(&to, "files/%s", file);
		err = note(q, file, &content, &f);
		if (err)
			q->broken = true; /* the manifest may have a torn line: it must stay the last one */
		else
			err = move(q->dir_fd, file, q->to_fd, bytes_string(&to));
		if (err)
			tell_failed(q, file, err);
		else
			tell(q, "moved", file, bytes_string(&why));
		q->moved += !err;
	}
	bytes_free(&content);
	bytes_free(&why);
	bytes_free(&to);
}

/* ---- And back ---- */

static void restore_file(struct quarantine *q, const char *file)
{
	struct bytes from = { 0 };
	struct stat st;
	bool inner = path_is_inner(file);
	int err = 0;

	bytes_printf(&from, "files/%s", file);
	if (inner && fstatat(q->to_fd, bytes_string(&from), &st, AT_SYMLINK_NOFOLLOW) != 0)
		err = errno;
	if (!inner) {
		tell(q, "skipped", file, "it is no path in the store");
		q->skipped++;
	} else if (err == ENOENT) {
		tell(q, "skipped", file, "it is not in quarantine: restored before, or never moved");
		q->skipped++;
	} else if (err) {
		tell_failed(q, file, err);
	} else if (!q->yes) {
		tell(q, "would restore", file, "");
		q->moved++;
	} else {
		err = move(q->to_fd, from.p, q->dir_fd, file);
		if (err)
			tell_failed(q, file, err);
		else
			tell(q, "restored", file, "");
		q->moved += !err;
	}
	bytes_free(&from);
}

/* The file that a line of a manifest names. NULL, or what is wrong with the line. */
static const char *manifest_file(const char *line, size_t n, struct bytes *file)
{
	struct bytes exact = { 0 };
	const struct json_field fields[] = { { "file", file }, { "file_base64", &exact } };
	struct cr_json r;
	bool ok;

	cr_json_begin(&r, line, n);
	ok = json_read_fields(&r, fields, LEN(fields)) && file->n && base64_name(file, &exact);
	bytes_free(&exact);
	return r.error ? r.error : ok ? NULL : "no file";
}

/* A torn last line is what a crash leaves before anything was moved for it. */
static void restore_lines(struct quarantine *q, struct bytes *text)
{
	struct bytes file = { 0 };
	char *at = text->p, *end;

	for (; (end = memchr(at, '\n', (size_t)(text->p + text->n - at))) != NULL && !stopped();
	     at = end + 1) {
		const char *error = manifest_file(at, (size_t)(end - at), &file);

		if (error)
			complain("a line of the manifest is damaged: %s", error);
		else
			restore_file(q, bytes_string(&file));
	}
	bytes_free(&file);
}

static bool restore_one(struct quarantine *q, int all_fd, const char *name)
{
	struct bytes text = { 0 };
	int err;

	q->to_fd = openat(all_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = q->to_fd < 0 ? errno : file_read(q->to_fd, MANIFEST, false, &text, NULL);
	if (q->to_fd >= 0 && err == ENOENT)
		err = 0; /* a crash came before the manifest was made: nothing was moved */
	if (err)
		complain_errno(err, "%s/" QUARANTINE_DIR "/%s/" MANIFEST, q->dir, name);
	else if (text.n)
		restore_lines(q, &text);
	if (q->to_fd >= 0)
		close(q->to_fd);
	q->to_fd = -1;
	bytes_free(&text);
	return !err;
}

static bool restore_all(struct quarantine *q)
{
	int fd = openat(q->dir_fd, QUARANTINE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = true;
	struct dirent *d;
	DIR *all;

	if (fd < 0 && errno == ENOENT) {
		complain("nothing is in quarantine in %s", q->dir);
		return q->allow_empty;
	}
	if (fd < 0 || !(all = fdopendir(fd))) {
		complain_errno(errno, "%s/" QUARANTINE_DIR, q->dir);
		return false;
	}
	if (q->restore) {
		ok = restore_one(q, fd, q->restore);
	} else {
		while ((d = readdir(all)) != NULL && !stopped())
			if (d->d_name[0] != '.')
				ok &= restore_one(q, fd, d->d_name);
	}
	closedir(all);
	if (ok && !q->moved && !q->failed && !stopped()) {
		complain("nothing is in quarantine in %s any more", q->dir);
		return q->allow_empty;
	}
	return ok;
}

/* ---- The command ---- */

static void add_way_back(const struct quarantine *q, struct bytes *out)
{
	struct bytes dir = { 0 };

	text_show(&dir, q->dir);
	bytes_printf(out, "they are in %s/" QUARANTINE_DIR "/%s; chunkctl quarantine %s "
		     "--restore=%s --yes puts them back\n", bytes_string(&dir), q->name,
		     dir.p, q->name);
	bytes_free(&dir);
}

static void summary(struct quarantine *q)
{
	struct bytes b = { 0 };
	const char *what = q->restoring ? (q->yes ? "restored" : "would restore")
					: (q->yes ? "moved" : "would move");

	if (q->json) {
		json_open(&b, NULL, '{');
		json_string(&b, "type", "summary");
		json_bool(&b, "dry_run", !q->yes);
		json_bool(&b, "complete", !is_over(q));
		json_u64(&b, q->restoring ? "restored" : "moved", q->moved);
		json_u64(&b, "skipped", q->skipped);
		json_u64(&b, "failed", q->failed);
		if (!q->restoring)
			json_u64(&b, "left", q->suspects.left.n);
		if (q->name[0])
			json_string(&b, "quarantine", q->name);
		json_close(&b, '}');
		bytes_addc(&b, '\n');
	} else {
		bytes_printf(&b, "%s%s %llu file%s, skipped %llu, failed %llu\n",
			     stopped() ? "interrupted: " : q->broken ? "given up: " : "", what, (unsigned long long)q->moved,
			     plural(q->moved), (unsigned long long)q->skipped, (unsigned long long)q->failed);
		if (q->suspects.left.n)
			bytes_printf(&b, "left %zu more of the report, whose findings are not among those "
				     "that are taken (--kinds, --partial)\n", q->suspects.left.n);
		if (!q->yes && q->moved)
			bytes_adds(&b, "nothing was changed; --yes does it\n");
		if (q->name[0] && q->moved)
			add_way_back(q, &b);
	}
	out_bytes(&q->out, b.p, b.n);
	bytes_free(&b);
}

/* A report of nothing moves nothing, but not because all is well. */
static bool report_is_ours(const struct quarantine *q)
{
	const struct suspects *s = &q->suspects;

	if (s->lines == 0)
		complain("%s: the report is empty: did chunkctl verify --json run?", q->from);
	return s->lines && (s->taken.n || !s->foreign); /* of foreign ones was complained */
}

/* A damaged copy needs no care, and nothing of a cache should stay that the cache does not count. */
static bool is_cache(const char *dir)
{
	struct bytes store = { 0 };
	bool found = cache_of(dir, &store);

	if (found)
		complain("%s is a disk cache of %s: a damaged copy is only a miss, which Loki deletes "
			 "and fetches again; nothing is moved", dir, bytes_string(&store));
	bytes_free(&store);
	return found;
}

static int run(struct quarantine *q)
{
	bool ok = true;

	if (is_cache(q->dir))
		return out_end(&q->out, EXIT_TROUBLE);

	q->real = realpath(q->dir, NULL);
	q->dir_fd = q->real ? open(q->real, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (q->dir_fd < 0) {
		complain_errno(errno, "%s", q->dir);
		return EXIT_TROUBLE;
	}
	if (q->restoring) {
		ok = restore_all(q);
	} else {
		default_kinds(q);
		q->suspects.dir = q->dir;
		q->suspects.real = q->real;
		ok = suspects_read(&q->suspects, q->from) &&
		     (q->allow_empty || report_is_ours(q));
		for (size_t i = 0; ok && i < q->suspects.taken.n && !is_over(q); i++)
			do_file(q, q->suspects.taken.list[i]);
	}
	summary(q);
	suspects_free(&q->suspects);
	free(q->real);
	if (!ok || is_over(q))
		return out_end(&q->out, EXIT_TROUBLE);
	return out_end(&q->out, q->failed ? EXIT_FINDINGS : EXIT_SOUND);
}

static bool take_option(struct quarantine *q, int opt, const char *value)
{
	switch (opt) {
	case OPT_FROM:
		q->from = value;
		return true;
	case OPT_PARTIAL:
		q->partial = true;
		return true;
	case OPT_KINDS:
		return parse_kinds(q, value);
	case OPT_RESTORE:
		q->restoring = true;
		q->restore = value;
		if (!value || (path_is_inner(value) && !strchr(value, '/')))
			return true;
		complain("--restore=%s: the name of a folder in " QUARANTINE_DIR " is wanted",
			 value);
		return false;
	case OPT_EMPTY:
		q->allow_empty = true;
		return true;
	case OPT_YES:
		q->yes = true;
		return true;
	case OPT_JSON:
		q->json = true;
		return true;
	}
	return false;
}

int cmd_quarantine(int argc, char **argv)
{
	static struct quarantine q = { .to_fd = -1, .manifest_fd = -1 };
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == '?' || !take_option(&q, opt, optarg))
			return bad_usage();
	}
	if (argc - optind != 1 || (q.from != NULL) == q.restoring) {
		complain("give one store's directory, and either --from REPORT or --restore");
		return bad_usage();
	}
	q.dir = argv[optind];
	out_open(&q.out, STDOUT_FILENO, "standard output");
	return run(&q);
}
