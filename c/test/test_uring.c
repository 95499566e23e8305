/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only io_uring has: small rings, submissions that the kernel refuses or takes in part, refusals for
 * good, short and refused reads, set-up flags that an older kernel does not know, kernel threads.
 *
 * Links with --wrap of liburing's calls, so that the library's come through here, and of preadv2: what a
 * test wants to be read by the ring must not be read without it.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define FILES     60u
#define BIG_BYTES 700000u

enum { NONE = 3, DIR = 5, BIG = 6 }; /* among the FILES, all in the first slice */

/* ---- Between the library and liburing ---- */

static struct {
	_Atomic int32_t  refuse;      /* calls that fail with refuse_errno; < 0: all */
	int              refuse_errno;
	_Atomic uint32_t refuse_after; /* from that call on, for ever; 0: not */
	_Atomic uint32_t partly;      /* != 0: submit at most so many at a time */
	_Atomic bool     cut_reads;   /* ask the kernel for less */
	_Atomic bool     uncached;    /* preadv2(RWF_NOWAIT) says EAGAIN: reads go to the rings */
	_Atomic int      read_errno;  /* the ring answers reads with it; the kernel does not see them */
	_Atomic uint32_t ring_reads;  /* that were handed to the kernel */
	unsigned int     unknown;     /* IORING_SETUP_* that the kernel does not know */
	bool             no_restrictions, no_bound;
	_Atomic uint32_t refused, cut, inits;
	_Atomic uint32_t flags_seen;  /* of the ring that was set up last */
} hook;

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait_nr);
int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __real_io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
				      struct io_uring_params *params);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait_nr);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
				      struct io_uring_params *params);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int wait_nr,
					    struct __kernel_timespec *ts, sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int wait_nr,
					    struct __kernel_timespec *ts, sigset_t *mask);
int __real_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values);
int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values);
ssize_t __real_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
int __real_io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *rules,
					  unsigned int n);
int __wrap_io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *rules,
					  unsigned int n);

static bool refuse_now(void)
{
	int32_t left = hook.refuse;

	if (hook.refuse_after && --hook.refuse_after == 0)
		hook.refuse = left = -1;

	while (left > 0)
		if (atomic_compare_exchange_weak(&hook.refuse, &left, left - 1))
			break;
	if (left == 0)
		return false;
	hook.refused++;
	return true;
}

static void change_reads(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;

	for (unsigned int at = sq->sqe_head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];

		if (sqe->opcode != IORING_OP_READ)
			continue;
		hook.ring_reads++;
		if (hook.cut_reads && sqe->len > 1) {
			sqe->len = 1 + sqe->len * 2 / 3;
			hook.cut++;
		}
		if (hook.read_errno == EAGAIN)
			sqe->rw_flags = RWF_NOWAIT; /* what a device without NOWAIT says of all */
		else if (hook.read_errno)
			sqe->rw_flags = 1 << 30; /* EOPNOTSUPP */
	}
}

static int submit(struct io_uring *ring, struct __kernel_timespec *ts, bool wait)
{
	unsigned int tail = ring->sq.sqe_tail, held = 0;
	struct io_uring_cqe *cqe;
	int res;

	if (refuse_now())
		return -hook.refuse_errno;
	change_reads(ring);
	if (hook.partly && tail - ring->sq.sqe_head > hook.partly) {
		held = tail - ring->sq.sqe_head - hook.partly;
		ring->sq.sqe_tail -= held;
	}
	if (ts)
		res = __real_io_uring_submit_and_wait_timeout(ring, &cqe, 1, ts, NULL);
	else
		res = wait ? __real_io_uring_submit_and_wait(ring, 1)
			   : __real_io_uring_submit_and_get_events(ring);
	ring->sq.sqe_tail += held;
	return res;
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait_nr)
{
	FX_CHECK(wait_nr == 1);
	return submit(ring, NULL, true);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int wait_nr,
					    struct __kernel_timespec *ts, sigset_t *mask)
{
	(void)cqe;
	FX_CHECK(wait_nr == 1 && !mask);
	return submit(ring, ts, true);
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	return submit(ring, NULL, false);
}

int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values)
{
	FX_CHECK(values[0] == CR_IOWQ_MAX && values[1] == 1);
	return hook.no_bound ? -EINVAL : __real_io_uring_register_iowq_max_workers(ring, values);
}

ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (!hook.uncached)
		return __real_preadv2(fd, iov, n, off, flags);
	errno = EAGAIN;
	return -1;
}

int __wrap_io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
				      struct io_uring_params *params)
{
	hook.inits++;
	if (params->flags & hook.unknown)
		return -EINVAL;
	hook.flags_seen = params->flags;
	return __real_io_uring_queue_init_params(entries, ring, params);
}

int __wrap_io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *rules,
					  unsigned int n)
{
	return hook.no_restrictions ? -EINVAL
				    : __real_io_uring_register_restrictions(ring, rules, n);
}

static void hook_reset(void)
{
	hook.no_restrictions = hook.no_bound = false;
	hook.refuse = 0;
	hook.partly = 0;
	hook.cut_reads = false;
	hook.uncached = true;
	hook.read_errno = 0;
	hook.unknown = 0;
	hook.refused = hook.cut = hook.inits = hook.ring_reads = 0;
}

/* ---- The store: small files, one large, a missing one, a directory ---- */

static const char *name_of(uint32_t i)
{
	static char name[32];

	if (i % FILES == NONE)
		return "none";
	if (i % FILES == DIR)
		return "dir";
	if (i % FILES == BIG)
		return "big";
	snprintf(name, sizeof(name), "dir/%u", i % FILES);
	return name;
}

static struct fx_batch *mixed_batch(struct fx *fx, uint32_t n)
{
	struct fx_batch *b = fx_batch_new(n);

	for (uint32_t i = 0; i < FILES; i++)
		if (i != NONE && i != DIR)
			fx_write(fx, name_of(i), i == BIG ? BIG_BYTES : 10 + i * 100);
	for (uint32_t i = 0; i < n; i++)
		fx_batch_set(b, i, name_of(i), 0);
	return b;
}

static bool runs_in_rings(const struct fx *fx)
{
	return strcmp(cr_backend_name(fx->ctx), "uring") == 0;
}

static void check_mixed(const struct fx_batch *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		uint32_t k = i % FILES;

		if (k == NONE)
			fx_assert_status(b, i, CR_NOT_FOUND);
		else if (k == DIR)
			fx_assert_status(b, i, CR_NOT_REGULAR);
		else
			fx_assert_intact(b, i, k == BIG ? BIG_BYTES : 10 + k * 100);
	}
}

static void read_mixed(struct fx *fx, uint32_t n)
{
	struct fx_batch *b = mixed_batch(fx, n);
	uint32_t fds = fx_count_fds();

	fx_read(fx, b);
	check_mixed(b);
	assert_true(!runs_in_rings(fx) || hook.ring_reads > 0);
	assert_int_equal(fx_count_fds(), fds);
	fx_batch_free(b);
}

static void ring_sizes(void **state)
{
	struct fx *fx = *state;

	hook_reset();
	for (uint32_t entries = 1; entries <= CR_RING_ENTRIES_MAX; entries *= 4) {
		struct cr_options opt = { .ring_entries = entries };

		fx_open(fx, &opt);
		assert_int_equal(fx->ctx->workers[1].window,
				 entries < CR_WINDOW_FILES ? entries : CR_WINDOW_FILES);
		read_mixed(fx, 200);
		assert_true(runs_in_rings(fx));
	}
}

/* ---- Submission ---- */

static void refused_for_a_moment(void **state)
{
	static const int errs[] = { EAGAIN, EBUSY, ENOMEM, EINTR };
	struct fx *fx = *state;

	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		hook_reset();
		hook.refuse_errno = errs[i];
		hook.refuse = CR_RING_REFUSED_MAX - 1;
		read_mixed(fx, 200);
		assert_int_equal(hook.refused, CR_RING_REFUSED_MAX - 1);
		assert_true(runs_in_rings(fx));
	}
}

/* Whatever io_uring_enter says for good: all files are read, and the ring is left once and for all. */
static void refused_for_good(void **state)
{
	static const int errs[] = { EAGAIN, EBUSY, ENOMEM, EPERM, EACCES, EBADF, ENXIO };
	struct fx *fx = *state;

	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		struct fx_batch *b = mixed_batch(fx, 200);
		const char *step = NULL;
		uint32_t refused;

		hook_reset();
		fx_open(fx, NULL);
		assert_true(runs_in_rings(fx));
		hook.refuse_errno = errs[i];
		hook.refuse = -1;
		fx_read(fx, b);
		check_mixed(b);
		assert_int_equal(b->batch.backend_errno, errs[i]);
		assert_int_equal(cr_backend_errno(fx->ctx, &step), errs[i]);
		assert_string_equal(step, "io_uring_enter");
		assert_false(runs_in_rings(fx));
		refused = hook.refused;
		assert_in_range(refused, 1, CR_RINGS_MAX * CR_RING_REFUSED_MAX);
		hook.refuse = 0;
		fx_read(fx, b); /* nobody asks it again, though it would work */
		check_mixed(b);
		assert_int_equal(hook.refused, refused);
		fx_batch_free(b);
	}
	hook_reset();
}

/* Refused from some call on, with requests in the kernel and others queued behind them. */
static void refused_in_the_middle(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .ring_entries = 16, .cpus = 1 };

	for (uint32_t partly = 1; partly <= 7; partly += 3) {
		for (uint32_t first = 1; first < 12; first += 3) {
			struct fx_batch *b = mixed_batch(fx, 40);

			hook_reset();
			fx_open(fx, &opt);
			hook.partly = partly;
			hook.refuse_errno = EPERM;
			hook.refuse_after = first;
			fx_read(fx, b);
			check_mixed(b);
			assert_false(runs_in_rings(fx));
			fx_batch_free(b);
		}
	}
	hook_reset();
}

/* The same by the real system: a sandbox that is tightened when all runs. The filter is for all threads. */
static struct {
	int      err;
	uint32_t timeout_ms;
} tightened;

static void child_tightened(struct fx *fx)
{
	struct fx_batch *b = mixed_batch(fx, 60);

	hook_reset();
	fx_open(fx, NULL);
	FX_CHECK(runs_in_rings(fx));
	if (fx_forbid_syscall_all(SYS_io_uring_enter, tightened.err) != 0)
		_exit(77);
	b->batch.timeout_ms = tightened.timeout_ms;
	fx_read(fx, b);
	for (uint32_t i = 0; i < b->n && !tightened.timeout_ms; i++)
		FX_CHECK(i == NONE || i == DIR || b->reqs[i].status == CR_OK);
	FX_CHECK(!runs_in_rings(fx));
	FX_CHECK(cr_backend_errno(fx->ctx, NULL) == tightened.err);
	b->batch.timeout_ms = 0;
	fx_read(fx, b);
	check_mixed(b);
	fx_close(fx);
	fx_batch_free(b);
}

static void tightened_by_seccomp(void **state)
{
	static const int errs[] = { EAGAIN, EPERM, EACCES, ENOSYS };

	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		for (uint32_t ms = 0; ms <= 20000; ms += 20000) {
			int status;

			tightened.err = errs[i];
			tightened.timeout_ms = ms;
			status = fx_fork(*state, child_tightened);
			assert_true(WIFEXITED(status)); /* no trap */
			if (WEXITSTATUS(status) == 77) {
				fprintf(stderr, "!!!! SKIPPED: nothing can be forbidden here\n");
				skip();
			}
			assert_int_equal(WEXITSTATUS(status), 0);
		}
	}
}

static void submitted_in_part(void **state)
{
	struct fx *fx = *state;

	for (uint32_t partly = 1; partly <= 31; partly += 10) {
		hook_reset();
		hook.partly = partly;
		read_mixed(fx, 200);
	}
	hook_reset();
}

/* ---- Reads ---- */

static void short_reads(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = mixed_batch(fx, 2 * FILES);

	hook_reset();
	hook.cut_reads = true;
	for (uint32_t flags = 0; flags <= CR_CHECK_CRC; flags++) {
		b->batch.flags = flags;
		if (flags)
			for (uint32_t i = 0; i < b->n; i++)
				b->reqs[i].crc_want =
					cr_crc32c(0, b->reqs[i].buf, b->reqs[i].size_bytes);
		fx_read(fx, b);
		check_mixed(b);
	}
	assert_true(hook.cut > 4 * FILES);
	hook_reset();
	fx_batch_free(b);
}

static void drop_from_cache(const struct fx *fx)
{
	for (uint32_t i = 0; i < FILES; i++) {
		int fd = open(fx_path(fx, name_of(i)), O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		fsync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
}

static void cold_files(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = mixed_batch(fx, FILES);

	hook_reset();
	hook.uncached = false;
	drop_from_cache(fx);
	fx_read(fx, b);
	check_mixed(b);
	assert_true(runs_in_rings(fx));
	fx_batch_free(b);
}

/* A ring that can't do what pread(2) can: every file is read, and soon without it. */
static void ring_says_not_this_way(void **state)
{
	static const int errs[] = { EOPNOTSUPP, EAGAIN };
	struct fx *fx = *state;
	size_t n;

	hook.uncached = false;
	n = fx_knows_nowait(fx) ? 2 : 1; /* else there is nothing to make the kernel say EAGAIN with */
	for (size_t i = 0; i < n; i++) {
		struct fx_batch *b = mixed_batch(fx, FILES);
		const char *step = NULL;

		hook_reset();
		fx_open(fx, NULL);
		drop_from_cache(fx);
		hook.read_errno = errs[i];
		fx_read(fx, b);
		check_mixed(b);
		assert_int_equal(cr_backend_errno(fx->ctx, &step), errs[i]);
		assert_string_equal(step, "read in the ring");
		assert_false(runs_in_rings(fx));
		hook.ring_reads = 0;
		fx_read(fx, b);
		check_mixed(b);
		assert_int_equal(hook.ring_reads, 0);
		fx_batch_free(b);
	}
	hook_reset();
}

/* ---- Set-up flags of newer kernels ---- */

static void flags_an_old_kernel_lacks(void **state)
{
	static const unsigned int lacks[] = {
		IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
	};
	struct fx *fx = *state;

	fx_close(fx);
	for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++) {
		const char *step = NULL;

		hook_reset();
		hook.unknown = lacks[i];
		assert_int_equal(cr_ctx_open(fx->dir, NULL, &fx->ctx), 0);
		assert_string_equal(cr_backend_name(fx->ctx), "uring");
		assert_int_equal(cr_backend_errno(fx->ctx, &step), 0);
		read_mixed(fx, 200);
		fx_close(fx);
	}
	hook_reset();
}

/* The set-up goes through, but not a single request does. */
static void enter_refused_at_set_up(void **state)
{
	static const int errs[] = { EPERM, ENOSYS, EACCES };
	struct fx *fx = *state;

	fx_close(fx);
	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		const char *step = NULL;

		hook_reset();
		hook.refuse_errno = errs[i];
		hook.refuse = -1;
		assert_int_equal(cr_ctx_open(fx->dir, NULL, &fx->ctx), 0);
		assert_string_equal(cr_backend_name(fx->ctx), "threads");
		assert_int_equal(cr_backend_errno(fx->ctx, &step), errs[i]);
		assert_string_equal(step, "io_uring_enter");
		read_mixed(fx, 50);
		fx_close(fx);
	}
	hook_reset();
}

/* ---- What the ring takes ---- */

static int result_of(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	assert_int_equal(io_uring_submit_and_wait(ring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

/* A ring of the set-up that a worker's has, on this thread. */
static void restricted_to_what_is_used(void **state)
{
	struct fx *fx = *state;
	struct cr_worker w = { .ctx = fx->ctx, .window = CR_WINDOW_FILES };
	const char *step = "";
	struct io_uring *ring;
	struct io_uring_sqe *sqe;
	char buf[4];

	hook_reset();
	fx_write(fx, "file", 10);
	assert_int_equal(cr_uring_ops.ring_open(&w, &step), 0);
	ring = w.ring;
	io_uring_prep_unlink(io_uring_get_sqe(ring), fx_path(fx, "file"), 0);
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_write(io_uring_get_sqe(ring), 1, "", 0, 0);
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_socket(io_uring_get_sqe(ring), 2, 1, 0, 0);
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, "/etc/passwd", 0, 0);
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_close(io_uring_get_sqe(ring), -1);
	assert_int_equal(result_of(ring), -EACCES);
	sqe = io_uring_get_sqe(ring); /* nor a flag: this could be a fixed file */
	io_uring_prep_read(sqe, 0, buf, sizeof(buf), 0);
	io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_read(io_uring_get_sqe(ring), -1, buf, sizeof(buf), 0);
	assert_int_equal(result_of(ring), -EBADF); /* taken */
	assert_int_equal(io_uring_register_files(ring, (int[]){ 0 }, 1), -EACCES);
	assert_int_equal(access(fx_path(fx, "file"), F_OK), 0);
	cr_uring_ops.ring_close(&w);
}

/* Kernels before 5.15 can't bound what a ring starts, before 5.10 not restrict it: no ring then. */
static void old_kernels_have_threads(void **state)
{
	static const char *const steps[] = { "io_uring_setup", "io_uring_register_restrictions",
					     "io_uring_register_iowq_max_workers" };
	struct fx *fx = *state;

	for (size_t i = 0; i < 3; i++) {
		const char *step = NULL;

		fx_close(fx);
		hook_reset();
		hook.unknown = i == 0 ? IORING_SETUP_R_DISABLED : 0;
		hook.no_restrictions = i == 1;
		hook.no_bound = i == 2;
		assert_int_equal(cr_ctx_open(fx->dir, NULL, &fx->ctx), 0);
		assert_false(runs_in_rings(fx));
		assert_int_equal(cr_backend_errno(fx->ctx, &step), EINVAL);
		assert_string_equal(step, steps[i]);
		read_mixed(fx, 200);
	}
	hook_reset();
}

/* Without a thread of its own to be had (RLIMIT_NPROC, a pod's limit of processes) nothing is lost. */
static void child_without_kernel_workers(struct fx *fx)
{
	struct rlimit one = { 1, 1 };
	struct fx_batch *b = fx_batch_new(8);

	FX_CHECK(chmod(fx->dir, 0755) == 0);
	FX_CHECK(setgid(65534) == 0 && setuid(65534) == 0); /* root has no limit */
	fx_open(fx, NULL);
	FX_CHECK(setrlimit(RLIMIT_NPROC, &one) == 0);
	for (uint32_t i = 0; i < b->n; i++) {
		char path[32];

		snprintf(path, sizeof(path), "missing-%u", i);
		fx_batch_set(b, i, path, 0);
	}
	fx_read(fx, b);
	for (uint32_t i = 0; i < b->n; i++)
		FX_CHECK(b->reqs[i].status == CR_NOT_FOUND);
	fx_close(fx);
	fx_batch_free(b);
}

static void without_kernel_workers(void **state)
{
	int status;

	if (geteuid() != 0) {
		print_message("without_kernel_workers: needs root, to become a user with a limit\n");
		skip();
	}
	status = fx_fork(*state, child_without_kernel_workers);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_URING, ring_sizes),
		FX_TEST_ON(FX_URING, refused_for_a_moment),
		FX_TEST_ON(FX_URING, refused_for_good),
		FX_TEST_ON(FX_URING, refused_in_the_middle),
		FX_TEST_ON(FX_URING, tightened_by_seccomp),
		FX_TEST_ON(FX_URING, ring_says_not_this_way),
		FX_TEST_ON(FX_URING, old_kernels_have_threads),
		FX_TEST_ON(FX_URING, submitted_in_part),
		FX_TEST_ON(FX_URING, short_reads),
		FX_TEST_ON(FX_URING, cold_files),
		FX_TEST_ON(FX_URING, flags_an_old_kernel_lacks),
		FX_TEST_ON(FX_URING, enter_refused_at_set_up),
		FX_TEST_ON(FX_URING, restricted_to_what_is_used),
		FX_TEST_ON(FX_URING, without_kernel_workers),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
