/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl doctor: does the machine suit the store, and the store the machine? */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/json.h"
#include "base/out.h"
#include "base/quote.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/report.h"
#include "cli.h"
#include "store/cache.h"

static const char help[] =
"usage: chunkctl doctor [options] DIR\n"
"\n"
"Looks at what a store lies on and is made of, and says in plain words what should change: file\n"
"system, space and inodes, kernel, io_uring (allowed, or why not), limits, folders that come near what\n"
"ext4 can index, the share of tiny chunks. Nothing is changed, no chunk is read.\n"
"\n"
"  --sample N   look at the sizes of at most so many chunks (default 100000)\n"
"  --json       one JSON object a line\n"
"  --allow-empty  exit with 0 if there is no chunk yet\n"
"\n"
"exit code: 0 all well, 1 something should change, 2 wrong usage, a failed read or write, or no chunk found\n"
"\n"
"example:\n"
"  chunkctl doctor /loki/chunks\n";

enum { OPT_SAMPLE = OPT_OWN };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_EMPTY,
	{ "sample", required_argument, NULL, OPT_SAMPLE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#endif

/* An ext4 folder without the feature large_dir has two levels of index blocks of 4 KiB, 511 and 510
 * entries wide: more leaf blocks than that can't be had, and "index full" comes earlier where names
 * hash unevenly. */
#define EXT4_LEAVES_MAX (511ull * 510u)
#define EXT4_BLOCK      4096u
#define EXT4_WARN_PART  0.5
#define TINY_BYTES      100000u
#define TINY_WARN_PART  0.5
#define FULL_WARN_PART  0.9
#define NOFILE_WANTED   8192u
#define MEMLOCK_WANTED  (8u << 20)
#define CACHE_FREE_PART  20u         /* min_free_bytes of a disk cache by default, */
#define CACHE_FREE_BYTES (1ull << 30) /* as go/chunkring/diskcache/folder.go has it */

struct doctor {
	const char     *dir;
	struct walk     walk;
	struct out      out;
	struct bytes    origin; /* of a disk cache: whose chunks it has copies of */
	bool            json, colours, cache;
	uint64_t        sample, warnings, trouble;
	pthread_mutex_t mu;
	uint64_t        chunks, flat, bytes, tiny, temporary, odd;
};

enum verdict { GOOD, CHANGE, INFO };

static void say(struct doctor *d, enum verdict v, const char *name, const char *advice,
		const char *fmt, ...) PRINTF(5, 6);
static void say(struct doctor *d, enum verdict v, const char *name, const char *advice,
		const char *fmt, ...)
{
	static const char *const words[] = { "good", "change", "info" };
	static const char *const colours[] = { "\033[32m", "\033[33m", "" };
	struct bytes b = { 0 };
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	d->warnings += v == CHANGE;
	if (d->json) {
		json_open(&b, NULL, '{');
		json_string(&b, "type", "check");
		json_string(&b, "name", name);
		json_string(&b, "verdict", words[v]);
		json_string(&b, "text", text);
		if (v == CHANGE && advice)
			json_string(&b, "advice", advice);
		json_close(&b, '}');
	} else {
		bytes_printf(&b, "%s%-6s%s  %-14s ", d->colours ? colours[v] : "", words[v],
			     d->colours ? COLOUR_END : "", name);
		text_escape(&b, text, strlen(text));
		if (v == CHANGE && advice)
			bytes_printf(&b, "\n%24s%s", "", advice);
	}
	bytes_addc(&b, '\n');
	out_bytes(&d->out, b.p, b.n);
	bytes_free(&b);
}

/* A small file of /proc or /sys, without its newline; "" if it is not there. */
static const char *small_file(const char *path, char *out, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, cap - 1) : -1;

	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return out;
}

/* ---- The disk ---- */

static const char *fs_name(long type)
{
	static const struct { unsigned long type; const char *name; } names[] = {
		{ EXT4_SUPER_MAGIC, "ext4" },	  { XFS_SUPER_MAGIC, "xfs" },
		{ BTRFS_SUPER_MAGIC, "btrfs" },	  { ZFS_SUPER_MAGIC, "zfs" },
		{ TMPFS_MAGIC, "tmpfs" },	  { NFS_SUPER_MAGIC, "nfs" },
		{ OVERLAYFS_SUPER_MAGIC, "overlayfs" }, { FUSE_SUPER_MAGIC, "fuse" },
		{ CIFS_SUPER_MAGIC, "cifs" },
	};

	for (size_t i = 0; i < LEN(names); i++)
		if ((unsigned long)type == names[i].type)
			return names[i].name;
	return "another";
}

static void check_fs(struct doctor *d, const char *fs, bool read_only)
{
	if (strcmp(fs, "tmpfs") == 0)
		say(d, CHANGE, "file system", "put it on a disk",
		    "%s: chunks are gone after a restart", fs);
	else if (strcmp(fs, "overlayfs") == 0)
		say(d, CHANGE, "file system", "mount a volume for it",
		    "%s: the container's own "
		    "layer, slow to write and gone with it", fs);
	else if (strcmp(fs, "nfs") == 0 || strcmp(fs, "cifs") == 0 || strcmp(fs, "fuse") == 0)
		say(d, INFO, "file system", NULL, "%s: works; cold reads cost a round trip each",
		    fs);
	else
		say(d, GOOD, "file system", NULL, "%s", fs);
	if (read_only)
		say(d, CHANGE, "mount", "mount it read-write",
		    "read-only: Loki can't %s chunks", d->cache ? "copy" : "flush");
}

/* A cache may fill its disk, and stops at min_free_bytes, of which only the default is known. */
static void check_cache_space(struct doctor *d, const struct statvfs *s)
{
	uint64_t avail = s->f_bavail * s->f_frsize, all = s->f_blocks * s->f_frsize;
	uint64_t least = all / CACHE_FREE_PART;
	char text[SIZE_TEXT_BYTES], limit[SIZE_TEXT_BYTES];

	if (least < CACHE_FREE_BYTES)
		least = CACHE_FREE_BYTES;
	say(d, avail < least ? CHANGE : GOOD, "space",
	    "below min_free_bytes the disk cache copies nothing: make room, or lower it",
	    "%s free; min_free_bytes is %s by default", size_text(avail, text),
	    size_text(least, limit));
}

static void check_space(struct doctor *d, const struct statvfs *s)
{
	uint64_t used = s->f_blocks - s->f_bfree; /* as df counts: what is reserved is neither */
	double full = used ? (double)used / (double)(used + s->f_bavail) : 0;
	double inodes = s->f_files ? 1 - (double)s->f_favail / (double)s->f_files : 0;
	char text[SIZE_TEXT_BYTES], count[SIZE_TEXT_BYTES];

	if (d->cache)
		check_cache_space(d, s);
	else
		say(d, full > FULL_WARN_PART ? CHANGE : GOOD, "space",
		    "a full disk makes Loki lose what it flushes: shorten retention or enlarge the disk",
		    "%.0f %% used, %s free", full * 100, size_text(s->f_bavail * s->f_frsize, text));
	if (s->f_files)
		say(d, inodes > FULL_WARN_PART ? CHANGE : GOOD, "inodes",
		    d->cache ? "every copy takes one: lower max_files, or make the file system anew "
			       "with more (mkfs.ext4 -i 8192)" :
			       "every chunk takes one: shorten retention, or make the file system anew "
			       "with more (mkfs.ext4 -i 8192)", "%.0f %% used, %s free", inodes * 100,
		    count_text(s->f_favail, count));
}

/* ---- The kernel ---- */

static void check_uring(struct doctor *d)
{
	struct cr_ctx *ctx;
	const char *step = "", *next;
	char sysctl[16];
	int err = cr_ctx_open(d->dir, NULL, &ctx);

	if (err) {
		say(d, CHANGE, "reading", "run it as the user that Loki runs as", "opening %s: %s",
		    d->dir,
		    strerror(-err));
		return;
	}
	err = cr_backend_errno(ctx, &step);
	small_file("/proc/sys/kernel/io_uring_disabled", sysctl, sizeof(sysctl));
	if (!err)
		say(d, GOOD, "io_uring", NULL, "allowed; %u threads read", cr_workers(ctx));
	else {
		next = err == EPERM && sysctl[0] && sysctl[0] != '0' ?
		       "sysctl kernel.io_uring_disabled=0 allows it" : err == EPERM ?
		       "a seccomp profile forbids it, as Docker's and containerd's do: one that allows "
		       "io_uring_setup, io_uring_enter and io_uring_register helps" : err == ENOMEM ?
		       "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)" :
		       "a kernel from 5.15 on has it";
		say(d, CHANGE, "io_uring", next,
		    "refused: %s: %s. chunkring reads with threads: right, "
		    "and as fast from the page cache; cold reads cost more CPU", step, strerror(err));
	}
	say(d, GOOD, "checksums", NULL, "CRC32C by %s", cr_crc32c_kernel());
	cr_ctx_close(ctx);
}

static void check_limits(struct doctor *d)
{
	char text[SIZE_TEXT_BYTES];
	struct rlimit lim;
	struct utsname u;

	if (uname(&u) == 0)
		say(d, INFO, "kernel", NULL, "%s %s", u.release, u.machine);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0)
		say(d, lim.rlim_cur < NOFILE_WANTED ? CHANGE : GOOD, "open files",
		    "Loki wants more: LimitNOFILE=1048576 in its unit (this is the hard limit of this shell)",
		    "%s", lim.rlim_cur == RLIM_INFINITY ? "no limit" : count_text(lim.rlim_cur, text));
	if (getrlimit(RLIMIT_MEMLOCK, &lim) == 0)
		say(d, lim.rlim_cur < MEMLOCK_WANTED ? INFO : GOOD, "locked memory", NULL, "%s%s",
		    lim.rlim_cur == RLIM_INFINITY ? "no limit" : size_text(lim.rlim_cur, text),
		    lim.rlim_cur < MEMLOCK_WANTED ? " (matters for io_uring before Linux 5.12 only)" : "");
}

/* ---- The store ---- */

static void job_file(void *arg, const struct found *f)
{
	struct doctor *d = arg;
	struct stat st = { 0 };
	int err = 0;

	if (f->kind == FOUND_CHUNK &&
	    fstatat(f->root->fd, f->path, &st, AT_SYMLINK_NOFOLLOW) != 0)
		err = errno;
	if (err == ENOENT)
		return; /* Loki deleted it meanwhile */
	pthread_mutex_lock(&d->mu);
	switch (err ? FOUND_TROUBLE : f->kind) {
	case FOUND_CHUNK:
		d->chunks++;
		d->flat += f->key && f->key->flat;
		d->bytes += (uint64_t)st.st_size;
		d->tiny += st.st_size < TINY_BYTES;
		break;
	case FOUND_TEMPORARY:
		d->temporary++;
		break;
	case FOUND_TROUBLE:
		if (d->trouble++ == 0) /* of a folder without x there are as many as chunks */
			complain_errno(err ? err : f->err, "%s/%s", f->root->path, f->path);
		break;
	case FOUND_OTHER:
		break;
	default:
		d->odd++;
		break;
	}
	if (d->chunks == d->sample)
		__atomic_store_n(&d->walk.enough, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&d->mu);
}

static void check_sizes(struct doctor *d)
{
	double tiny = d->chunks ? (double)d->tiny / (double)d->chunks : 0;
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES];

	say(d, tiny > TINY_WARN_PART ? CHANGE : GOOD, "chunk sizes",
	    "streams that go idle leave them: raise ingester.chunk_idle_period and max_chunk_age, and use "
	    "fewer labels (chunkctl ls --totals stream shows which)",
	    "%s chunk%s%s, %s on average, %.0f %% under 100 KB (Loki aims at 1.5 MB)",
	    count_text(d->chunks, n), plural(d->chunks), d->walk.enough ? " looked at" : "",
	    size_text(d->chunks ? d->bytes / d->chunks : 0, size), tiny * 100);
}

static void check_chunks(struct doctor *d)
{
	const char *args[] = { d->dir };
	char n[SIZE_TEXT_BYTES];

	d->walk.args = args;
	d->walk.n_args = 1;
	d->walk.jobs = default_jobs();
	d->walk.arg = d;
	d->walk.file = job_file;
	walk_run(&d->walk);
	if (!d->chunks && d->cache) {
		say(d, INFO, "chunks", NULL, "none: the disk cache is empty");
		return;
	}
	if (!d->chunks) {
		say(d, d->walk.allow_empty ? INFO : CHANGE, "chunks",
		    "is it the directory of storage_config.filesystem?", "none in %s", d->dir);
		return;
	}
	check_sizes(d);
	if (d->flat)
		say(d, CHANGE, "layout",
		    "a schema_config period with schema v13 and a date to come gives "
		    "every stream a folder; the old chunks stay readable",
		    "%s chunk%s lying flat in one folder (schema v11 and before)",
		    count_text(d->flat, n), plural(d->flat));
	else
		say(d, GOOD, "layout", NULL, "nested (schema v12 and later)");
	if (d->temporary)
		say(d, INFO, "leftovers", NULL,
		    "%s temporary files of puts; chunkring removes those older "
		    "than an hour", count_text(d->temporary, n));
	if (d->odd)
		say(d, CHANGE, "strange files", "chunkctl verify says which", "%s among the chunks",
		    count_text(d->odd, n));
}

static void check_index(struct doctor *d, const char *fs)
{
	char size[SIZE_TEXT_BYTES];
	double part;
	struct stat st;

	if (strcmp(fs, "ext4") != 0 || stat(d->dir, &st) != 0)
		return;
	part = (double)st.st_size / (double)(EXT4_LEAVES_MAX * EXT4_BLOCK);
	say(d, part > EXT4_WARN_PART ? CHANGE : GOOD, "folder index",
	    "ext4 says \"index full\" and stores no more when it is reached: tune2fs -O large_dir, or "
	    "xfs, or schema v13 from a date on",
	    "the store's folder is %s large, %.1f %% of what ext4 can index without large_dir",
	    size_text((uint64_t)st.st_size, size), part * 100);
}

/* ---- The command ---- */

static int run(struct doctor *d)
{
	struct statfs fs;
	struct statvfs vfs;

	if (statfs(d->dir, &fs) != 0 || statvfs(d->dir, &vfs) != 0) {
		complain_errno(errno, "%s", d->dir);
		return EXIT_TROUBLE;
	}
	d->cache = cache_of(d->dir, &d->origin);
	check_fs(d, fs_name((long)fs.f_type), vfs.f_flag & ST_RDONLY);
	check_space(d, &vfs);
	check_limits(d);
	check_uring(d);
	check_index(d, fs_name((long)fs.f_type));
	check_chunks(d);
	if (d->cache)
		say(d, INFO, "disk cache", NULL,
		    "copies of the chunks of %s: what is lost here is fetched again",
		    bytes_string(&d->origin));
	bytes_free(&d->origin);
	if (d->trouble > 1)
		complain("%llu files or folders could not be read", (unsigned long long)d->trouble);
	if (d->json) {
		struct bytes b = { 0 };

		json_open(&b, NULL, '{');
		json_string(&b, "type", "summary");
		json_u64(&b, "changes", d->warnings);
		json_bool(&b, "complete", !stopped());
		json_close(&b, '}');
		bytes_addc(&b, '\n');
		out_bytes(&d->out, b.p, b.n);
		bytes_free(&b);
	} else {
		if (d->warnings)
			out_printf(&d->out, "%llu thing%s should change\n",
				   (unsigned long long)d->warnings, plural(d->warnings));
		else
			out_string(&d->out, "all well\n");
	}
	if (stopped() || d->trouble || d->walk.trouble || (d->walk.empty && !d->walk.allow_empty))
		return out_end(&d->out, EXIT_TROUBLE);
	return out_end(&d->out, d->warnings ? EXIT_FINDINGS : EXIT_SOUND);
}

int cmd_doctor(int argc, char **argv)
{
	static struct doctor d = { .sample = 100000 };
	int opt;

	pthread_mutex_init(&d.mu, NULL);
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == OPT_JSON)
			d.json = true;
		else if (opt == OPT_EMPTY)
			d.walk.allow_empty = true;
		else if (opt != OPT_SAMPLE ||
			 !parse_u64("sample", optarg, 1, UINT64_MAX, &d.sample))
			return bad_usage();
	}
	if (argc - optind != 1) {
		complain("give one store's directory");
		return bad_usage();
	}
	d.dir = argv[optind];
	out_open(&d.out, STDOUT_FILENO, "standard output");
	d.colours = !d.json && out_colours(STDOUT_FILENO);
	return run(&d);
}
