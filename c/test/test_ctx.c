/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a context: options, directories, which back-end runs and why. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define BYTES 1000u
#define LOOPS 40u
#define NO_SECCOMP 77 /* exit code of a child */

static const struct cr_backend_ops *const fault_then_threads[] = { &cr_fault_ops,
								  &cr_threads_ops, NULL };
static const struct cr_backend_ops *const fault_only[] = { &cr_fault_ops, NULL };

/* Whatever runs, it reads. FX_CHECK: also used in children. */
static void read_back(struct fx *fx)
{
	struct fx_batch *b = fx_batch_new(100);

	for (uint32_t i = 0; i < b->n; i++)
		fx_batch_set(b, i, i % 10 == 3 ? "none" : "file", 0);
	fx_read(fx, b);
	for (uint32_t i = 0; i < b->n; i++)
		if (i % 10 == 3)
			FX_CHECK(b->reqs[i].status == CR_NOT_FOUND);
		else
			FX_CHECK(fx_intact(b, i, BYTES));
	fx_batch_free(b);
}

static void check_reads(struct fx *fx)
{
	fx_write(fx, "file", BYTES);
	read_back(fx);
}

static void wrong_options(void **state)
{
	struct fx *fx = *state;
	static const struct cr_options wrong[] = {
		{ .backend = 3 },
		{ .backend = UINT32_MAX },
		{ .workers = CR_WORKERS_MAX + 1 },
		{ .workers = UINT32_MAX },
		{ .ring_entries = 3 },
		{ .ring_entries = 2 * CR_RING_ENTRIES_MAX },
		{ .ring_entries = UINT32_MAX },
		{ .file_bytes_max = CR_FILE_BYTES_MAX + 1 },
		{ .file_bytes_max = UINT32_MAX },
	};
	uint32_t fds = fx_count_fds();
	struct cr_ctx *ctx;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ctx = (struct cr_ctx *)&wrong;
		assert_int_equal(cr_ctx_open(fx->dir, &wrong[i], &ctx), -EINVAL);
		assert_null(ctx); /* closing it is no crash */
	}
	assert_int_equal(cr_ctx_open(NULL, NULL, &ctx), -EINVAL);
	assert_int_equal(cr_ctx_open(fx->dir, NULL, NULL), -EINVAL);
	assert_int_equal(fx_count_fds(), fds);
	cr_ctx_close(NULL);
}

static void right_options(void **state)
{
	struct fx *fx = *state;
	static const struct cr_options right[] = {
		{ 0 },
		{ .backend = CR_BACKEND_URING },
		{ .backend = CR_BACKEND_THREADS },
		{ .workers = 1 },
		{ .workers = CR_WORKERS_MAX, .backend = CR_BACKEND_THREADS },
		{ .workers = CR_WORKERS_MAX },
		{ .ring_entries = 1 },
		{ .ring_entries = CR_RING_ENTRIES_MAX, .workers = 1 },
		{ .file_bytes_max = BYTES },
		{ .file_bytes_max = CR_FILE_BYTES_MAX },
		{ .open_files_max = 1 },
		{ .open_files_max = UINT32_MAX },
		{ .cpus = 1025 },
		{ .cpus = UINT32_MAX },
	};

	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		const char *step = NULL;

		assert_int_equal(cr_ctx_open(fx->dir, &right[i], &fx->ctx), 0);
		/* at rest: one, and with io_uring a few with rings */
		assert_in_range(cr_workers(fx->ctx), 1, 1 + CR_RINGS_MAX);
		if (right[i].backend == CR_BACKEND_THREADS)
			assert_int_equal(cr_workers(fx->ctx), 1);
		if (right[i].backend == CR_BACKEND_THREADS) {
			assert_string_equal(cr_backend_name(fx->ctx), "threads");
			assert_int_equal(cr_backend_errno(fx->ctx, &step), 0); /* as wanted */
			assert_string_equal(step, "");
		}
		assert_int_equal(cr_backend_errno(fx->ctx, NULL) != 0,
				 strcmp(cr_backend_name(fx->ctx), "threads") == 0 &&
					 right[i].backend != CR_BACKEND_THREADS);
		check_reads(fx);
		fx_close(fx);
	}
}

static void defaults(void **state)
{
	struct fx *fx = *state;
	struct rlimit old, lim;

	fx_open(fx, NULL);
	assert_int_equal(fx->ctx->file_bytes_max, CR_FILE_BYTES_DEFAULT);
	assert_in_range(fx->ctx->open_files_max, 1, CR_OPEN_FILES_CAP);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	lim = old;
	lim.rlim_cur = 200;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
	fx_open(fx, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(fx->ctx->open_files_max, 50);
}

static void directories(void **state)
{
	struct fx *fx = *state;
	struct cr_ctx *ctx = NULL;
	uint32_t fds = fx_count_fds();

	fx_write(fx, "file", BYTES);
	assert_int_equal(symlink(".", fx_path(fx, "link")), 0);
	assert_int_equal(symlink("file", fx_path(fx, "link-file")), 0);
	assert_int_equal(cr_ctx_open(fx_path(fx, "none"), NULL, &ctx), -ENOENT);
	assert_int_equal(cr_ctx_open("", NULL, &ctx), -ENOENT);
	assert_int_equal(cr_ctx_open(fx_path(fx, "file"), NULL, &ctx), -ENOTDIR);
	assert_int_equal(cr_ctx_open(fx_path(fx, "link-file"), NULL, &ctx), -ENOTDIR);
	assert_int_equal(fx_count_fds(), fds);
	assert_null(ctx);
	/* the directory itself may be reached through a link */
	assert_int_equal(cr_ctx_open(fx_path(fx, "link"), NULL, &fx->ctx), 0);
	check_reads(fx);
}

/* It is the directory that was opened, not its name. */
static void directory_moved_away(void **state)
{
	struct fx *fx = *state;
	char moved[80];

	fx_open(fx, NULL);
	fx_write(fx, "file", BYTES);
	snprintf(moved, sizeof(moved), "%s.moved", fx->dir);
	assert_int_equal(rename(fx->dir, moved), 0);
	for (uint32_t n = 1; n <= 3; n += 2) {
		struct fx_batch *b = fx_batch_new(n);

		for (uint32_t i = 0; i < n; i++)
			fx_batch_set(b, i, "file", 0);
		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++)
			fx_assert_intact(b, i, BYTES);
		fx_batch_free(b);
	}
	assert_int_equal(rename(moved, fx->dir), 0);
}

static void open_and_close(void **state)
{
	struct fx *fx = *state;
	uint32_t fds, threads;

	fx_close(fx);
	fds = fx_count_fds();
	threads = fx_count_threads(fx->threads);
	for (uint32_t i = 0; i < LOOPS; i++) {
		struct cr_options opt = { .workers = 1 + i % 5 };

		fx_open(fx, i % 5 ? &opt : NULL);
		if (i % 4 == 0)
			check_reads(fx);
		fx_close(fx);
		assert_int_equal(fx_count_fds(), fds);
	}
	assert_true(fx_count_threads(threads) <= threads);
}

/* ---- Falling back ---- */

static const int refusals[] = { EPERM, ENOSYS, ENOMEM, EINVAL, EMFILE };
#define REFUSALS (sizeof(refusals) / sizeof(refusals[0]))

static void refused(void **state)
{
	struct fx *fx = *state;

	fx_close(fx);
	for (size_t i = 0; i < REFUSALS; i++) {
		for (uint32_t ring = 0; ring < 3; ring++) {
			struct cr_options opt = { .cpus = 3 };
			const char *step = NULL;

			fault_plan.refuse_errno = refusals[i];
			fault_plan.refuse_ring = ring;
			assert_int_equal(
				cr_ctx_open_with(fx->dir, &opt, fault_then_threads, &fx->ctx), 0);
			assert_string_equal(cr_backend_name(fx->ctx), "threads");
			assert_int_equal(cr_backend_errno(fx->ctx, &step), refusals[i]);
			assert_string_equal(step, "fault");
			assert_int_equal(cr_workers(fx->ctx), 1);
			assert_int_equal(fault_workers, 0); /* those before it were closed */
			check_reads(fx);
			fx_close(fx);
		}
	}
}

static void not_refused(void **state)
{
	struct fx *fx = *state;
	const char *step = NULL;

	fx_close(fx);
	assert_int_equal(cr_ctx_open_with(fx->dir, NULL, fault_then_threads, &fx->ctx), 0);
	assert_string_equal(cr_backend_name(fx->ctx), "fault");
	assert_int_equal(cr_backend_errno(fx->ctx, &step), 0);
	assert_string_equal(step, "");
	check_reads(fx);
}

static void refused_and_nothing_left(void **state)
{
	struct fx *fx = *state;
	struct cr_ctx *ctx = NULL;
	uint32_t fds;

	fx_close(fx);
	fds = fx_count_fds();
	for (size_t i = 0; i < REFUSALS; i++) {
		fault_plan.refuse_errno = refusals[i];
		fault_plan.refuse_ring = i % 2;
		struct cr_options opt = { .cpus = 2 };

		assert_int_equal(cr_ctx_open_with(fx->dir, &opt, fault_only, &ctx), -refusals[i]);
		assert_null(ctx);
		assert_int_equal(fx_count_fds(), fds);
	}
	assert_true(fx_count_threads(fx->threads) <= fx->threads);
}

/* ---- The real io_uring refused by the real system, in children ---- */

static struct {
	int         nr, err;
	const char *step;
} forbidden;

static void child_forbidden(struct fx *fx)
{
	int err = fx_forbid_syscall(forbidden.nr, forbidden.err);
	const char *step = NULL;

	if (err) {
		fprintf(stderr, "no seccomp here: %s\n", strerror(-err));
		_exit(NO_SECCOMP);
	}
	FX_CHECK(cr_ctx_open(fx->dir, NULL, &fx->ctx) == 0);
	FX_CHECK(strcmp(cr_backend_name(fx->ctx), "threads") == 0);
	if (cr_backend_errno(fx->ctx, &step) != forbidden.err ||
	    strcmp(step, forbidden.step) != 0) {
		fprintf(stderr, "it says: %s: %s\n", step,
			strerror(cr_backend_errno(fx->ctx, NULL)));
		FX_CHECK(false);
	}
	check_reads(fx);
	fx_close(fx);
	/* asked for by name it is the same */
	struct cr_options opt = { .backend = CR_BACKEND_URING };

	FX_CHECK(cr_ctx_open(fx->dir, &opt, &fx->ctx) == 0);
	FX_CHECK(cr_backend_errno(fx->ctx, NULL) == forbidden.err);
	check_reads(fx);
	fx_close(fx);
}

static void forbidden_by_seccomp(void **state)
{
	static const struct {
		int         nr;
		const char *step;
	} calls[] = { { SYS_io_uring_setup, "io_uring_setup" },
		      { SYS_io_uring_enter, "io_uring_enter" } };

	for (size_t c = 0; c < 2; c++) {
		for (size_t i = 0; i < 2; i++) { /* what seccomp profiles say: EPERM, ENOSYS */
			int status;

			forbidden.nr = calls[c].nr;
			forbidden.step = calls[c].step;
			forbidden.err = refusals[i];
			status = fx_fork(*state, child_forbidden);
			assert_true(WIFEXITED(status));
			if (WEXITSTATUS(status) == NO_SECCOMP) {
				fprintf(stderr, "!!!! SKIPPED: nothing can be forbidden here\n");
				skip();
			}
			assert_int_equal(WEXITSTATUS(status), 0);
		}
	}
}

/* A ring whose kernel threads can't be bounded is not used. */
static void child_register_forbidden(struct fx *fx)
{
	const char *step = NULL;

	if (fx_forbid_syscall(SYS_io_uring_register, EPERM))
		_exit(NO_SECCOMP);
	FX_CHECK(cr_ctx_open(fx->dir, NULL, &fx->ctx) == 0);
	FX_CHECK(strcmp(cr_backend_name(fx->ctx), "threads") == 0);
	FX_CHECK(cr_backend_errno(fx->ctx, &step) == EPERM);
	FX_CHECK(strcmp(step, "io_uring_register_iowq_max_workers") == 0);
	check_reads(fx);
	fx_close(fx);
}

static void register_forbidden(void **state)
{
	int status = fx_fork(*state, child_register_forbidden);

	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_SECCOMP)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Descriptors for the directory, but not for a ring. */
static void child_no_descriptor(struct fx *fx)
{
	const char *step = NULL;
	struct rlimit lim;
	int fds[64], n = 0;

	FX_CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	lim.rlim_cur = 64;
	FX_CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	while ((fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	FX_CHECK(cr_ctx_open(fx->dir, NULL, &fx->ctx) == -EMFILE);
	close(fds[--n]);
	FX_CHECK(cr_ctx_open(fx->dir, NULL, &fx->ctx) == 0);
	FX_CHECK(strcmp(cr_backend_name(fx->ctx), "threads") == 0);
	FX_CHECK(cr_backend_errno(fx->ctx, &step) == EMFILE);
	FX_CHECK(strcmp(step, "io_uring_setup") == 0);
	while (n > 0)
		close(fds[--n]);
	check_reads(fx);
	fx_close(fx);
}

static void no_descriptor_for_a_ring(void **state)
{
	int status = fx_fork(*state, child_no_descriptor);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Threads that can't be had: RLIMIT_NPROC, which root does not feel ---- */

/* A process of a user with no other process, as far as root lets us. */
static void become_nobody(struct fx *fx, rlim_t most)
{
	struct rlimit lim = { most, most };

	if (geteuid() == 0)
		FX_CHECK(chmod(fx->dir, 0777) == 0 && setgid(54321) == 0 && setuid(54321) == 0);
	FX_CHECK(setrlimit(RLIMIT_NPROC, &lim) == 0);
}

static void child_few_threads(struct fx *fx)
{
	struct cr_options opt = { .workers = 20 };
	bool opened = false;

	fx_write(fx, "file", BYTES);
	for (rlim_t most = 12; most > 0; most--) {
		int err;

		become_nobody(fx, most);
		err = cr_ctx_open(fx->dir, &opt, &fx->ctx);
		FX_CHECK(err == 0 || err == -EAGAIN); /* no thread could be started */
		if (err == -EAGAIN) {
			FX_CHECK(opened);
			return;
		}
		opened = true;
		read_back(fx);
		FX_CHECK(cr_workers(fx->ctx) < most);
		fx_close(fx);
	}
	fprintf(stderr, "RLIMIT_NPROC does not bind here\n");
	_exit(NO_SECCOMP);
}

static void few_threads(void **state)
{
	int status = fx_fork(*state, child_few_threads);

	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_SECCOMP) {
		fprintf(stderr, "!!!! SKIPPED: threads can't be limited here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The default leaves most of what the process may have to the rest of it. */
static void child_default_threads(struct fx *fx)
{
	become_nobody(fx, 100);
	FX_CHECK(cr_thread_limit() <= 100);
	fx_open(fx, NULL);
	FX_CHECK(fx->ctx->threads_max <= 25);
	FX_CHECK(fx->ctx->blocked_max + (fx->backend == FX_URING) * fx->ctx->ring_threads_max <= 25);
	fx_close(fx);
}

static void default_threads(void **state)
{
	int status = fx_fork(*state, child_default_threads);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, wrong_options),
		FX_TEST_ON(FX_ONCE, right_options),
		FX_TEST_ON(FX_ONCE, directories),
		FX_TEST_ON(FX_FAULT, refused),
		FX_TEST_ON(FX_FAULT, not_refused),
		FX_TEST_ON(FX_FAULT, refused_and_nothing_left),
		FX_TEST_ON(FX_URING, forbidden_by_seccomp),
		FX_TEST_ON(FX_URING, register_forbidden),
		FX_TEST_ON(FX_URING, no_descriptor_for_a_ring),
		FX_TEST_ON(FX_ONCE, few_threads),
		FX_TEST_ON(FX_URING | FX_THREADS, default_threads),
		FX_TEST(defaults),
		FX_TEST(directory_moved_away),
		FX_TEST(open_and_close),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
