/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths are taken, and that both ways to open one stay inside and agree. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define NAME_BYTES_MAX 255u

static void path_table(void **state)
{
	static const struct {
		const char *path;
		bool        ok;
	} cases[] = {
		{ "", false },         { "/", false },        { "a", true },
		{ "a/b", true },       { "fake/1/2:3:4", true }, { "/a", false },
		{ "a/", false },       { "a//b", false },     { "//a", false },
		{ ".", false },        { "..", false },       { "./a", false },
		{ "../a", false },     { "a/.", false },      { "a/..", false },
		{ "a/./b", false },    { "a/../b", false },   { "...", true },
		{ "..a", true },       { ".a", true },        { "a..", true },
		{ "a/.../b", true },   { "a/..b/c", true },   { " ", true },
		{ "a\nb", true },      { "\xff\xfe", true },  { "a\\..\\b", true },
		{ "..\\a", true },     { "~", true },         { "%2e%2e/a", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (cr_path_ok(cases[i].path, (uint32_t)strlen(cases[i].path)) != cases[i].ok)
			fail_msg("\"%s\" should be %s", cases[i].path, cases[i].ok ? "ok" : "bad");
}

static void path_bytes(void **state)
{
	char *path = malloc(CR_PATH_BYTES_MAX + 1);

	(void)state;
	assert_non_null(path);
	assert_true(cr_path_ok("abc", 3));
	assert_false(cr_path_ok("abc", 2)); /* what follows was not looked at: it may be "/.." */
	assert_false(cr_path_ok("abc", 0));
	assert_false(cr_path_ok("abc\0d", 5));
	assert_false(cr_path_ok("abc\0", 4));
	assert_false(cr_path_ok("\0abc", 4));
	assert_false(cr_path_ok("a/../../etc/passwd", 1));
	assert_false(cr_path_ok("abc", UINT32_MAX));
	memset(path, 'x', CR_PATH_BYTES_MAX);
	path[CR_PATH_BYTES_MAX] = '\0';
	assert_false(cr_path_ok(path, CR_PATH_BYTES_MAX));
	path[CR_PATH_BYTES_MAX - 1] = '\0';
	assert_true(cr_path_ok(path, CR_PATH_BYTES_MAX - 1));
	free(path);
}

/* ---- Opening ---- */

static struct cr_ctx *bare_ctx(const struct fx *fx, bool no_openat2)
{
	struct cr_ctx *ctx = calloc(1, sizeof(*ctx));

	FX_CHECK(ctx);
	ctx->dir_fd = open(fx->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	FX_CHECK(ctx->dir_fd >= 0);
	ctx->no_openat2 = no_openat2;
	return ctx;
}

static void free_bare_ctx(struct cr_ctx *ctx)
{
	close(ctx->dir_fd);
	free(ctx);
}

static void make_store(struct fx *fx)
{
	fx_write(fx, "file", 10);
	fx_write(fx, "d/e/f/deep", 20);
	assert_int_equal(mkfifo(fx_path(fx, "fifo"), 0644), 0);
	assert_int_equal(symlink("file", fx_path(fx, "link")), 0);
	assert_int_equal(symlink("d", fx_path(fx, "link-d")), 0);
	assert_int_equal(symlink("/etc", fx_path(fx, "link-etc")), 0);
	assert_int_equal(symlink("..", fx_path(fx, "d/link-up")), 0);
	assert_int_equal(symlink("nothing", fx_path(fx, "link-nothing")), 0);
	assert_int_equal(symlink("/proc/self/root", fx_path(fx, "link-magic")), 0);
}

/* 0, or the errno that both give; they differ in nothing. */
static const struct {
	const char *path;
	int         err;
} opens[] = {
	{ "file", 0 },
	{ "d/e/f/deep", 0 },
	{ "d", 0 }, /* fstat says what it is */
	{ "fifo", 0 },
	{ "nothing", ENOENT },
	{ "d/nothing/deep", ENOENT },
	{ "file/below", ENOTDIR },
	{ "file/below/more", ENOTDIR },
	{ "fifo/below", ENOTDIR },
	{ "link", ELOOP },
	{ "link-d/e/f/deep", ELOOP },
	{ "link-etc/passwd", ELOOP },
	{ "d/link-up/file", ELOOP },
	{ "d/link-up", ELOOP },
	{ "link-nothing", ELOOP },
	{ "link-nothing/below", ELOOP },
	{ "link-magic/etc/passwd", ELOOP },
};

static void check_opens(struct cr_ctx *ctx, const char *how)
{
	uint32_t fds = fx_count_fds();

	for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++) {
		int fd = cr_path_open(ctx, opens[i].path);

		if ((fd < 0 ? -fd : 0) != opens[i].err) {
			fprintf(stderr, "%s, %s: %s, not %s\n", how, opens[i].path,
				strerror(fd < 0 ? -fd : 0), strerror(opens[i].err));
			FX_CHECK(false);
		}
		if (fd >= 0) {
			FX_CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
			FX_CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
			close(fd);
		}
	}
	FX_CHECK(fx_count_fds() == fds); /* none of the directories on the way */
}

static void both_ways_agree(void **state)
{
	struct fx *fx = *state;

	make_store(fx);
	for (uint32_t no = 0; no < 2; no++) {
		struct cr_ctx *ctx = bare_ctx(fx, no);
		char name[2 * NAME_BYTES_MAX + 2];

		check_opens(ctx, no ? "by component" : "openat2");
		memset(name, 'x', sizeof(name));
		name[NAME_BYTES_MAX] = '\0';
		assert_int_equal(cr_path_open(ctx, name), -ENOENT);
		name[NAME_BYTES_MAX] = 'x';
		name[NAME_BYTES_MAX + 1] = '\0';
		assert_int_equal(cr_path_open(ctx, name), -ENAMETOOLONG);
		name[NAME_BYTES_MAX + 1] = '/';
		name[NAME_BYTES_MAX + 3] = '\0';
		assert_int_equal(cr_path_open(ctx, name), -ENAMETOOLONG);
		if (no)
			assert_true(ctx->no_openat2);
		free_bare_ctx(ctx);
	}
}

/* A sandbox that does not know openat2: the other way, and no second try of the first. */
static int forbidden_err;

static void child_without_openat2(struct fx *fx)
{
	struct cr_ctx *ctx = bare_ctx(fx, false);
	int err = fx_forbid_syscall(SYS_openat2, forbidden_err);

	if (err) {
		fprintf(stderr, "no seccomp here: %s\n", strerror(-err));
		_exit(77);
	}
	check_opens(ctx, "openat2 forbidden");
	FX_CHECK(ctx->no_openat2);
	free_bare_ctx(ctx);
}

static void openat2_forbidden(void **state)
{
	static const int errs[] = { ENOSYS, EPERM };

	make_store(*state);
	for (size_t i = 0; i < 2; i++) {
		int status;

		forbidden_err = errs[i];
		status = fx_fork(*state, child_without_openat2);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77) {
			fprintf(stderr, "!!!! SKIPPED: openat2 can't be forbidden here\n");
			skip();
		}
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

/* The whole library over it: the statuses are those of openat2. */
static void batch_by_component(void **state)
{
	struct fx *fx = *state;
	static const struct {
		const char *path;
		uint32_t    status;
	} cases[] = { { "file", CR_OK },          { "nothing", CR_NOT_FOUND },
		      { "link", CR_REFUSED },     { "link-d/e/f/deep", CR_REFUSED },
		      { "d", CR_NOT_REGULAR },    { "fifo", CR_NOT_REGULAR },
		      { "../x", CR_BAD_PATH },    { "d/e/f/deep", CR_OK },
		      { "file/below", CR_IO } };
	const uint32_t n = sizeof(cases) / sizeof(cases[0]);
	struct fx_batch *b = fx_batch_new(n);

	make_store(fx);
	fx->ctx->no_openat2 = true; /* uring opens in the ring; with it only single files differ */
	for (uint32_t i = 0; i < n; i++)
		fx_batch_set(b, i, cases[i].path, 0);
	fx_read(fx, b);
	for (uint32_t i = 0; i < n; i++)
		fx_assert_status(b, i, cases[i].status);
	fx_batch_free(b);
	for (uint32_t i = 0; i < n; i++) {
		b = fx_batch_new(1);
		fx_batch_set(b, 0, cases[i].path, 0);
		fx_read(fx, b);
		fx_assert_status(b, 0, cases[i].status);
		fx_batch_free(b);
	}
}

/* ---- Attacks, through the whole library ---- */

/* What a tenant or whoever writes to the directory could try. A hard link is the file itself, and no
 * reader can tell: who may make one may read it anyway (fs.protected_hardlinks). */
static const struct {
	const char *path;
	uint32_t    status;
} attacks[] = {
	{ "../outside/secret", CR_BAD_PATH },
	{ "d/../../outside/secret", CR_BAD_PATH },
	{ "d/..", CR_BAD_PATH },
	{ "/etc/passwd", CR_BAD_PATH },
	{ "//etc/passwd", CR_BAD_PATH },
	{ "./file", CR_BAD_PATH },
	{ "d//e/f/deep", CR_BAD_PATH },
	{ "d/e/f/deep/", CR_BAD_PATH },
	{ "", CR_BAD_PATH },
	{ "link", CR_REFUSED },
	{ "link-d/e/f/deep", CR_REFUSED },
	{ "link-etc/passwd", CR_REFUSED },
	{ "d/link-up/file", CR_REFUSED },
	{ "link-magic/etc/passwd", CR_REFUSED },
	{ "d", CR_NOT_REGULAR },
	{ "fifo", CR_NOT_REGULAR },
	{ "..\\outside\\secret", CR_NOT_FOUND }, /* names like any other from here on */
	{ "%2e%2e/outside/secret", CR_NOT_FOUND },
	{ "\xef\xbc\x8e\xef\xbc\x8e/secret", CR_NOT_FOUND }, /* full-width dots */
	{ "..\xe2\x88\x95outside", CR_NOT_FOUND },            /* a division slash */
	{ "~root/secret", CR_NOT_FOUND },
	{ "$HOME/secret", CR_NOT_FOUND },
};

/* Tenants that stock would store so, too. */
static const char *const odd_tenants[] = {
	"\xff\xfe", "a\nb", " ", "...", "..a", ".hidden", "-rf", "*", "a;b", "\x01\x7f", "%00",
	("\xe2\x80\xae" "abc"), "con", "a\\b", "'\"`$(x)", "\xc0\xaf\xc0\xae",
};

#define ATTACKS (sizeof(attacks) / sizeof(attacks[0]))
#define TENANTS (sizeof(odd_tenants) / sizeof(odd_tenants[0]))

static void check_attack(const struct fx_batch *b, uint32_t i, uint32_t status)
{
	if (b->reqs[i].status == status)
		return;
	fprintf(stderr, "\"%s\" is %s, not %s\n", b->paths[i], cr_status_name(b->reqs[i].status),
		cr_status_name(status));
	FX_CHECK(false);
}

/* All at once, then one by one, which takes another way through the library. */
static void attacks_fail(struct fx *fx)
{
	struct fx_batch *b = fx_batch_new(ATTACKS);

	for (uint32_t i = 0; i < ATTACKS; i++)
		fx_batch_set(b, i, attacks[i].path, 0);
	fx_read(fx, b);
	for (uint32_t i = 0; i < ATTACKS; i++)
		check_attack(b, i, attacks[i].status);
	fx_batch_free(b);
	for (uint32_t i = 0; i < ATTACKS; i++) {
		b = fx_batch_new(1);
		fx_batch_set(b, 0, attacks[i].path, 0);
		fx_read(fx, b);
		check_attack(b, 0, attacks[i].status);
		fx_batch_free(b);
	}
}

static void attack_table(void **state)
{
	struct fx *fx = *state;

	make_store(fx);
	attacks_fail(fx);
	fx->ctx->no_openat2 = true;
	attacks_fail(fx);
}

static void tenants_with_odd_bytes(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(TENANTS);

	for (uint32_t i = 0; i < TENANTS; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/1/2:3:4", odd_tenants[i]);
		fx_write(fx, path, 100 + i);
		fx_batch_set(b, i, path, 0);
	}
	for (uint32_t no = 0; no < 2; no++) {
		fx->ctx->no_openat2 = no;
		fx_read(fx, b);
		for (uint32_t i = 0; i < TENANTS; i++)
			fx_assert_intact(b, i, 100 + i);
	}
	fx_batch_free(b);
}

/* The kernel would stop at the NUL and open what is before it. */
static void nul_in_a_path(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(3);
	static const char path[] = "file\0/../../etc/passwd";

	make_store(fx);
	for (uint32_t i = 0; i < 3; i++)
		fx_batch_set(b, i, "file", 0);
	free(b->paths[1]);
	b->reqs[1].path = b->paths[1] = malloc(sizeof(path));
	assert_non_null(b->paths[1]);
	memcpy(b->paths[1], path, sizeof(path));
	b->reqs[1].path_bytes = sizeof(path) - 1;
	fx_read(fx, b);
	fx_assert_intact(b, 0, 10);
	fx_assert_status(b, 1, CR_BAD_PATH);
	fx_assert_intact(b, 2, 10);
	fx_batch_free(b);
}

/* Components too long, too many, and a path longer than PATH_MAX. */
static void very_long_paths(void **state)
{
	struct fx *fx = *state;
	static const struct {
		uint32_t bytes, part; /* of the path, of each component */
		uint32_t status;
	} cases[] = {
		{ 255, 255, CR_NOT_FOUND },
		{ 256, 256, CR_BAD_PATH },
		{ CR_PATH_BYTES_MAX - 1, 1, CR_NOT_FOUND },
		{ CR_PATH_BYTES_MAX - 1, 255, CR_NOT_FOUND },
		{ CR_PATH_BYTES_MAX, 1, CR_BAD_PATH },
		{ 60000, 1, CR_BAD_PATH },
		{ 60000, 60000, CR_BAD_PATH },
	};
	const uint32_t n = sizeof(cases) / sizeof(cases[0]);
	struct fx_batch *b = fx_batch_new(n);

	for (uint32_t i = 0; i < n; i++) {
		char *path = malloc(cases[i].bytes + 1);

		assert_non_null(path);
		for (uint32_t at = 0; at < cases[i].bytes; at++)
			path[at] = at % (cases[i].part + 1) == cases[i].part ? '/' : 'x';
		path[cases[i].bytes] = '\0';
		fx_batch_set(b, i, path, 0);
		free(path);
	}
	for (uint32_t no = 0; no < 2; no++) {
		fx->ctx->no_openat2 = no;
		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++)
			check_attack(b, i, cases[i].status);
	}
	fx_batch_free(b);
}

/* ---- A directory and a file that turn into links and back while they are opened ---- */

struct swapper {
	const struct fx *fx;
	_Atomic bool     stop;
};

static void *swap_for_ever(void *arg)
{
	struct swapper *s = arg;
	static const char *const pairs[][2] = { { "t/d", "t/to-outside" },
						{ "t/f", "t/to-secret" } };

	while (!s->stop)
		for (size_t i = 0; i < 2; i++)
			FX_CHECK(renameat2(AT_FDCWD, fx_path(s->fx, pairs[i][0]), AT_FDCWD,
					   fx_path(s->fx, pairs[i][1]), RENAME_EXCHANGE) == 0);
	return NULL;
}

/* The inside content or a refusal; never what the link leads to. */
static void read_swapped(struct fx *fx, uint32_t n, uint32_t *intact, uint32_t *refused)
{
	struct fx_batch *b = fx_batch_new(n);

	for (uint32_t i = 0; i < n; i++)
		fx_batch_set(b, i, i % 2 ? "t/f" : "t/d/f", 0);
	fx_read(fx, b);
	for (uint32_t i = 0; i < n; i++) {
		const struct cr_req *req = &b->reqs[i];

		/* by component, a link that is a directory again when it is looked at: ENOTDIR */
		if (req->status == CR_REFUSED ||
		    (fx->ctx->no_openat2 && req->status == CR_IO && req->os_errno == ENOTDIR)) {
			++*refused;
			continue;
		}
		FX_CHECK(fx_intact(b, i, i % 2 ? 50 : 40)); /* no assert: a thread is running */
		++*intact;
	}
	fx_batch_free(b);
}

static void links_swapped_in(void **state)
{
	struct fx *fx = *state;
	struct swapper swapper = { .fx = fx };
	char outside[128], secret[160];
	pthread_t thread;

	/* the same names and sizes outside, another content */
	fx_write(fx, "t/d/f", 40);
	fx_write(fx, "t/f", 50);
	fx_write(fx, "outside/f", 40);
	fx_write(fx, "outside/g", 50);
	snprintf(outside, sizeof(outside), "%s/outside", fx->dir);
	snprintf(secret, sizeof(secret), "%s/outside/g", fx->dir);
	assert_int_equal(symlink(outside, fx_path(fx, "t/to-outside")), 0);
	assert_int_equal(symlink(secret, fx_path(fx, "t/to-secret")), 0);
	assert_int_equal(pthread_create(&thread, NULL, swap_for_ever, &swapper), 0);
	for (uint32_t no = 0; no < 2; no++) {
		uint32_t intact = 0, refused = 0;

		fx->ctx->no_openat2 = no;
		for (uint32_t i = 0; i < 200000 && (i < 300 || !intact || !refused); i++)
			read_swapped(fx, i % 3 ? 1 : 8, &intact, &refused);
		FX_CHECK(intact && refused);
	}
	swapper.stop = true;
	pthread_join(thread, NULL);
}

/* A store that is /proc itself could not make its magic links lead anywhere. */
static void magic_links(void **state)
{
	struct fx *fx = *state;
	static const char *const paths[] = { "root/etc/passwd", "cwd", "exe", "fd/0",
					     "root/proc/self/status" };
	const uint32_t n = sizeof(paths) / sizeof(paths[0]);
	struct fx_batch *b = fx_batch_new(n);

	fx_open_dir(fx, "/proc/self", NULL);
	for (uint32_t i = 0; i < n; i++)
		fx_batch_set(b, i, paths[i], 0);
	for (uint32_t no = 0; no < 2; no++) {
		fx->ctx->no_openat2 = no;
		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++)
			check_attack(b, i, CR_REFUSED);
	}
	fx_batch_free(b);
}

/* ---- Other users, other mounts ---- */

#define CANNOT 77 /* exit status of a child that is not allowed to try */

static void write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(CANNOT);
	close(fd);
}

/* Nobody in particular: in a user namespace of its own, without any capability outside. */
static void become_nobody(void)
{
	uid_t uid = 65534;
	char map[64];

	if (geteuid() == 0 && (setgid(uid) != 0 || setuid(uid) != 0))
		_exit(CANNOT);
	FX_CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0); /* else /proc/self is root's */
	uid = geteuid();
	if (unshare(CLONE_NEWUSER) != 0)
		_exit(CANNOT);
	snprintf(map, sizeof(map), "1000 %u 1\n", uid);
	write_proc("/proc/self/uid_map", map);
	FX_CHECK(geteuid() == 1000);
}

static void child_reads_as_nobody(struct fx *fx)
{
	struct fx_batch *b = fx_batch_new(3);

	become_nobody();
	FX_CHECK(open(fx_path(fx, "new"), O_CREAT | O_WRONLY, 0600) < 0);
	fx_open(fx, NULL);
	fx_batch_set(b, 0, "d/f", 0);
	fx_batch_set(b, 1, "d/g", 0);
	fx_batch_set(b, 2, "private", 0);
	fx_read(fx, b);
	FX_CHECK(fx_intact(b, 0, 300) && fx_intact(b, 1, 70000));
	FX_CHECK(b->reqs[2].status == CR_IO && b->reqs[2].os_errno == EACCES);
	fx_close(fx);
	fx_batch_free(b);
}

static void read_only_for_nobody(void **state)
{
	struct fx *fx = *state;
	int status;

	fx_write(fx, "d/f", 300);
	fx_write(fx, "d/g", 70000);
	fx_write(fx, "private", 10);
	assert_int_equal(chmod(fx_path(fx, "private"), 0), 0);
	assert_int_equal(chmod(fx_path(fx, "d"), 0555), 0);
	assert_int_equal(chmod(fx->dir, 0555), 0);
	status = fx_fork(fx, child_reads_as_nobody);
	assert_int_equal(chmod(fx->dir, 0755), 0);
	assert_int_equal(chmod(fx_path(fx, "d"), 0755), 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT) {
		fprintf(stderr, "!!!! SKIPPED: no user namespaces here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Mounts of its own: root's right, or anybody's in a user namespace. A file needs an owner that is known there. */
static void leave_the_mounts(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (unshare(CLONE_NEWNS) != 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			_exit(CANNOT);
		snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
		write_proc("/proc/self/uid_map", map);
		write_proc("/proc/self/setgroups", "deny"); /* else gid_map is root's */
		snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
		write_proc("/proc/self/gid_map", map);
	}
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0)
		_exit(CANNOT);
}

/* A mount below the directory is part of it, for us as for stock: operators mount volumes there, and
 * who may mount needs no reader's help. */
static void child_reads_a_mount(struct fx *fx)
{
	struct fx_batch *b = fx_batch_new(3);

	leave_the_mounts();
	if (mount("none", fx_path(fx, "mnt"), "tmpfs", 0, NULL) != 0)
		_exit(CANNOT);
	fx_write(fx, "mnt/f", 500);
	FX_CHECK(symlink("../d/f", fx_path(fx, "mnt/link")) == 0);
	fx_open(fx, NULL);
	fx_batch_set(b, 0, "mnt/f", 0);
	fx_batch_set(b, 1, "mnt/link", 0);
	fx_batch_set(b, 2, "d/f", 0);
	for (uint32_t no = 0; no < 2; no++) {
		fx->ctx->no_openat2 = no;
		fx_read(fx, b);
		FX_CHECK(fx_intact(b, 0, 500) && fx_intact(b, 2, 300));
		FX_CHECK(b->reqs[1].status == CR_REFUSED);
	}
	fx_close(fx);
	fx_batch_free(b);
}

static void mount_point(void **state)
{
	struct fx *fx = *state;
	int status;

	fx_write(fx, "d/f", 300);
	assert_int_equal(mkdir(fx_path(fx, "mnt"), 0755), 0);
	status = fx_fork(fx, child_reads_a_mount);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT) {
		fprintf(stderr, "!!!! SKIPPED: mounts can't be made here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* From outside into the store: the same file under another name. */
static void hard_link(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(2);
	char store[96];

	fx_write(fx, "store/f", 10);
	fx_write(fx, "outside", 20);
	assert_int_equal(link(fx_path(fx, "outside"), fx_path(fx, "store/linked")), 0);
	snprintf(store, sizeof(store), "%s/store", fx->dir);
	fx_open_dir(fx, store, NULL);
	fx_batch_set(b, 0, "f", 0);
	fx_batch_set(b, 1, "linked", 0);
	fx_read(fx, b);
	fx_assert_status(b, 0, CR_OK);
	fx_assert_status(b, 1, CR_OK);
	assert_int_equal(b->reqs[1].size_bytes, 20);
	fx_batch_free(b);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, path_table),
		FX_TEST_ON(FX_ONCE, path_bytes),
		FX_TEST_ON(FX_ONCE, both_ways_agree),
		FX_TEST_ON(FX_ONCE, openat2_forbidden),
		FX_TEST(batch_by_component),
		FX_TEST(attack_table),
		FX_TEST(tenants_with_odd_bytes),
		FX_TEST(nul_in_a_path),
		FX_TEST(very_long_paths),
		FX_TEST(links_swapped_in),
		FX_TEST(magic_links),
		FX_TEST(read_only_for_nobody),
		FX_TEST(mount_point),
		FX_TEST(hard_link),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
