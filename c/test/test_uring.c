/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only io_uring has: small rings, SQPOLL, submissions that the kernel refuses or takes in
 * part, short and refused reads, set-up flags that an older kernel does not know.
 *
 * Links with -Wl,--wrap=io_uring_submit_and_wait,--wrap=io_uring_submit_and_get_events,
 * --wrap=io_uring_queue_init_params,--wrap=io_uring_register_restrictions, so that the library's calls come through here.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
	_Atomic uint32_t partly;      /* != 0: submit at most so many at a time */
	_Atomic bool     cut_reads;   /* ask the kernel for less */
	_Atomic bool     no_wait;     /* RWF_NOWAIT: EAGAIN for what is not cached */
	unsigned int     unknown;     /* IORING_SETUP_* that the kernel does not know */
	bool             no_restrictions;
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
int __real_io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *rules,
					  unsigned int n);
int __wrap_io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *rules,
					  unsigned int n);

static bool refuse_now(void)
{
	int32_t left = hook.refuse;

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
		if (hook.cut_reads && sqe->len > 1) {
			sqe->len = 1 + sqe->len * 2 / 3;
			hook.cut++;
		}
		if (hook.no_wait)
			sqe->rw_flags = RWF_NOWAIT;
	}
}

static int submit(struct io_uring *ring, bool wait, unsigned int wait_nr)
{
	unsigned int tail = ring->sq.sqe_tail, held = 0;
	int res;

	if (refuse_now())
		return -hook.refuse_errno;
	change_reads(ring);
	if (hook.partly && tail - ring->sq.sqe_head > hook.partly) {
		held = tail - ring->sq.sqe_head - hook.partly;
		ring->sq.sqe_tail -= held;
	}
	res = wait ? __real_io_uring_submit_and_wait(ring, wait_nr)
		   : __real_io_uring_submit_and_get_events(ring);
	ring->sq.sqe_tail += held;
	return res;
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait_nr)
{
	return submit(ring, true, wait_nr);
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	return submit(ring, false, 0);
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
	hook.no_restrictions = false;
	hook.refuse = 0;
	hook.partly = 0;
	hook.cut_reads = hook.no_wait = false;
	hook.unknown = 0;
	hook.refused = hook.cut = hook.inits = 0;
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
	assert_int_equal(fx_count_fds(), fds);
	fx_batch_free(b);
}

static void ring_sizes(void **state)
{
	struct fx *fx = *state;

	hook_reset();
	for (uint32_t entries = 1; entries <= CR_RING_ENTRIES_MAX; entries *= 4) {
		struct cr_options opt = { .ring_entries = entries, .workers = 2 };

		fx_open(fx, &opt);
		assert_int_equal(fx->ctx->workers[0].window,
				 entries < CR_WINDOW_FILES ? entries : CR_WINDOW_FILES);
		read_mixed(fx, 200);
	}
}

static void polled_by_the_kernel(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .flags = CR_OPT_SQPOLL, .workers = 1 };

	hook_reset();
	for (opt.ring_entries = 2; opt.ring_entries <= 128; opt.ring_entries *= 8) {
		fx_open(fx, &opt);
		assert_true(hook.flags_seen & IORING_SETUP_SQPOLL);
		read_mixed(fx, 200);
		usleep(15000); /* longer than the kernel thread stays awake */
		read_mixed(fx, 70);
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
		hook.refuse = 20;
		read_mixed(fx, 200);
		assert_int_equal(hook.refused, 20);
	}
}

static void refused_for_ever(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = mixed_batch(fx, 8); /* each slice of a step waits a second */

	hook_reset();
	hook.refuse_errno = EAGAIN;
	hook.refuse = -1;
	fx_read(fx, b);
	assert_true(hook.refused > 1000);
	check_mixed(b);
	hook_reset(); /* and the ring still works */
	fx_read(fx, b);
	check_mixed(b);
	read_mixed(fx, 200);
	fx_batch_free(b);
}

/* Refused from some call on, with requests in the kernel and others queued behind them. */
static void refused_in_the_middle(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .ring_entries = 16, .workers = 1 };

	fx_open(fx, &opt);
	for (uint32_t partly = 1; partly <= 7; partly += 3) {
		hook_reset();
		hook.partly = partly;
		hook.refuse_errno = EBUSY;
		for (uint32_t skipped = 0; skipped < 4; skipped++) {
			hook.refuse = 2;
			read_mixed(fx, 40 + skipped);
		}
	}
	hook_reset();
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

/* Files that are not cached: read by the kernel's threads; with RWF_NOWAIT, the ring says EAGAIN as
 * on a file system without async reads, and they are read here. */
static void cold_files(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = mixed_batch(fx, FILES);

	for (uint32_t no_wait = 0; no_wait < 2; no_wait++) {
		hook_reset();
		hook.no_wait = no_wait;
		drop_from_cache(fx);
		fx_read(fx, b);
		check_mixed(b);
	}
	hook_reset();
	fx_batch_free(b);
}

/* ---- Set-up flags of newer kernels ---- */

static void flags_an_old_kernel_lacks(void **state)
{
	static const unsigned int lacks[] = {
		IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
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
	hook.unknown = UINT32_MAX; /* not that either: io_uring, but with no flag at all */
	assert_int_equal(cr_ctx_open(fx->dir, NULL, &fx->ctx), 0);
	assert_string_equal(cr_backend_name(fx->ctx), "uring");
	assert_int_equal(hook.flags_seen, 0);
	read_mixed(fx, 200);
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

static void all_the_callers_rings(void **state)
{
	struct fx *fx = *state;

	/* a batch in a callback borrows a second ring; when none is left it does without */
	hook_reset();
	assert_true(fx->ctx->n_guests >= 1);
	fx->ctx->guests = NULL; /* all lent */
	read_mixed(fx, 200);
	for (uint32_t i = 0; i < fx->ctx->n_guests; i++) { /* given back for the close */
		fx->ctx->guest_workers[i].next_free = fx->ctx->guests;
		fx->ctx->guests = &fx->ctx->guest_workers[i];
	}
	read_mixed(fx, 200);
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

static bool kernel_restricts(void)
{
	struct io_uring_restriction rule = { .opcode = IORING_RESTRICTION_SQE_OP,
					     .sqe_op = IORING_OP_READ };
	struct io_uring_params params = { .flags = IORING_SETUP_R_DISABLED };
	struct io_uring ring;
	bool yes;

	if (__real_io_uring_queue_init_params(4, &ring, &params) != 0)
		return false;
	yes = io_uring_register_restrictions(&ring, &rule, 1) == 0;
	io_uring_queue_exit(&ring);
	return yes;
}

/* Each ring of a context takes openat2, read and close, and nothing else. */
static void restricted_to_what_is_used(void **state)
{
	struct fx *fx = *state;
	struct cr_options options[] = { { .workers = 1 },
					{ .workers = 1, .flags = CR_OPT_SQPOLL } };

	hook_reset();
	if (!kernel_restricts()) {
		fprintf(stderr, "!!!! SKIPPED: this kernel has no io_uring restrictions (5.10)\n");
		skip();
	}
	for (size_t i = 0; i < 2; i++) {
		struct io_uring *ring;
		struct io_uring_sqe *sqe;
		char buf[4];

		fx_open(fx, &options[i]);
		fx_write(fx, "file", 10);
		ring = fx->ctx->guest_workers[0].state; /* of no thread in particular */
		io_uring_prep_unlink(io_uring_get_sqe(ring), fx_path(fx, "file"), 0);
		assert_int_equal(result_of(ring), -EACCES);
		io_uring_prep_write(io_uring_get_sqe(ring), 1, "", 0, 0);
		assert_int_equal(result_of(ring), -EACCES);
		io_uring_prep_socket(io_uring_get_sqe(ring), 2, 1, 0, 0);
		assert_int_equal(result_of(ring), -EACCES);
		io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, "/etc/passwd", 0, 0);
		assert_int_equal(result_of(ring), -EACCES);
		sqe = io_uring_get_sqe(ring); /* nor a flag: this could be a fixed file */
		io_uring_prep_read(sqe, 0, buf, sizeof(buf), 0);
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
		assert_int_equal(result_of(ring), -EACCES);
		io_uring_prep_read(io_uring_get_sqe(ring), -1, buf, sizeof(buf), 0);
		assert_int_equal(result_of(ring), -EBADF); /* taken */
		assert_int_equal(io_uring_register_files(ring, (int[]){ 0 }, 1), -EACCES);
		assert_int_equal(access(fx_path(fx, "file"), F_OK), 0);
		read_mixed(fx, 200);
	}
}

/* Kernels before 5.10, and sandboxes without io_uring_register: rings as before. */
static void restrictions_refused(void **state)
{
	struct fx *fx = *state;

	hook_reset();
	hook.unknown = IORING_SETUP_R_DISABLED;
	fx_open(fx, NULL);
	assert_false(hook.flags_seen & IORING_SETUP_R_DISABLED);
	read_mixed(fx, 200);
	hook_reset();
	hook.no_restrictions = true;
	fx_open(fx, NULL);
	assert_false(hook.flags_seen & IORING_SETUP_R_DISABLED);
	read_mixed(fx, 200);
	hook_reset();
}

/* Without a worker thread of its own (RLIMIT_NPROC, a pod's limit of processes) the kernel cancels
 * whatever it would have to do there, such as opening what is not in its cache. */
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
		FX_TEST_ON(FX_URING, polled_by_the_kernel),
		FX_TEST_ON(FX_URING, refused_for_a_moment),
		FX_TEST_ON(FX_URING, refused_for_ever),
		FX_TEST_ON(FX_URING, refused_in_the_middle),
		FX_TEST_ON(FX_URING, submitted_in_part),
		FX_TEST_ON(FX_URING, short_reads),
		FX_TEST_ON(FX_URING, cold_files),
		FX_TEST_ON(FX_URING, all_the_callers_rings),
		FX_TEST_ON(FX_URING, flags_an_old_kernel_lacks),
		FX_TEST_ON(FX_URING, enter_refused_at_set_up),
		FX_TEST_ON(FX_URING, restricted_to_what_is_used),
		FX_TEST_ON(FX_URING, restrictions_refused),
		FX_TEST_ON(FX_URING, without_kernel_workers),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
