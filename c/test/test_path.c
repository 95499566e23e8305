/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths are taken, and that both ways to open one stay inside and agree. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, path_table),
		FX_TEST_ON(FX_ONCE, path_bytes),
		FX_TEST_ON(FX_ONCE, both_ways_agree),
		FX_TEST_ON(FX_ONCE, openat2_forbidden),
		FX_TEST(batch_by_component),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
