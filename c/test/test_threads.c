/* SPDX-License-Identifier: Apache-2.0 */
/* How many threads there are: as many as wait for slow storage, never more than the bound, few at rest. And
 * what they wait for: leases. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define BYTES      3000u
#define FILES      200u
#define CALLERS    60u
#define PATIENCE_S 60u /* before a test that would hang fails */
#define AT_REST    (1u + CR_RINGS_MAX * 2u) /* one, rings, and a thread of the kernel's for each */

static struct fx_batch *batch_of(uint32_t first, uint32_t n)
{
	struct fx_batch *b = fx_batch_new(n);

	for (uint32_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d%u/%u", (first + i) % 5, (first + i) % FILES);
		fx_batch_set(b, i, name, 0);
	}
	return b;
}

static void write_files(const struct fx *fx)
{
	struct fx_batch *b = batch_of(0, FILES);

	for (uint32_t i = 0; i < FILES; i++)
		fx_write(fx, b->reqs[i].path, BYTES);
	fx_batch_free(b);
}

static void drop_from_cache(const struct fx *fx, const struct fx_batch *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		char path[128]; /* fx_path() is the main thread's */
		int fd;

		snprintf(path, sizeof(path), "%s/%s", fx->dir, b->reqs[i].path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		FX_CHECK(fd >= 0);
		fsync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
}

/* Threads of this process with such a name, those that the kernel runs for its rings included. */
static uint32_t named(const char *prefix)
{
	DIR *tasks = opendir("/proc/self/task");
	uint32_t n = 0;

	FX_CHECK(tasks);
	for (struct dirent *e; (e = readdir(tasks));) {
		char path[300], name[32] = "";
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		comm = fopen(path, "re");
		if (!comm)
			continue; /* it has ended */
		if (fgets(name, sizeof(name), comm))
			n += strncmp(name, prefix, strlen(prefix)) == 0;
		fclose(comm);
	}
	closedir(tasks);
	return n;
}

/* ---- Calls that block until so many do ---- */

static struct {
	uint32_t         want; /* that are blocked at a time, before any goes on */
	_Atomic uint32_t blocked, most, released;
} meet;

static void block_here(struct cr_file *f)
{
	uint32_t now;

	(void)f;
	now = ++meet.blocked;
	for (uint32_t most = meet.most; now > most;)
		if (atomic_compare_exchange_weak(&meet.most, &most, now))
			break;
	for (uint32_t ms = 0; !meet.released && meet.blocked < meet.want; ms++) {
		FX_CHECK(ms < PATIENCE_S * 1000);
		usleep(1000);
	}
	meet.released = 1;
	usleep(500); /* those that have come later find it occupied */
	meet.blocked--;
}

static void begin_meeting(uint32_t want)
{
	meet.want = want;
	meet.blocked = meet.most = meet.released = 0;
	fault_plan.cold = true;
	fault_plan.on_block = block_here;
}

/* Every file of a batch is opened at the same time when opens block long, with nothing configured. */
static void all_wait_at_once(void **state)
{
	struct fx *fx = *state;
	static const uint32_t sizes[] = { 1, 2, 20, 50, 100 };

	write_files(fx);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct fx_batch *b = batch_of(0, sizes[i]);

		begin_meeting(sizes[i]); /* fewer, and it hangs */
		fx_read(fx, b);
		for (uint32_t f = 0; f < b->n; f++)
			fx_assert_intact(b, f, BYTES);
		assert_int_equal(meet.most, sizes[i]);
		fx_batch_free(b);
	}
}

static void never_more_than_allowed(void **state)
{
	struct fx *fx = *state;

	write_files(fx);
	for (uint32_t workers = 8; workers <= 32; workers *= 2) {
		struct cr_options opt = { .workers = workers };
		struct fx_batch *b = batch_of(0, FILES);

		fx_open(fx, &opt);
		assert_int_equal(fx->ctx->blocked_max + fx->ctx->ring_threads_max, workers);
		begin_meeting(fx->ctx->blocked_max);
		fx_read(fx, b);
		for (uint32_t f = 0; f < b->n; f++)
			fx_assert_intact(b, f, BYTES);
		assert_int_equal(meet.most, fx->ctx->blocked_max);
		fx_batch_free(b);
	}
}

/* ---- Many callers ---- */

struct caller {
	struct fx *fx;
	uint32_t   number;
};

static void *read_cold(void *arg)
{
	struct caller *c = arg;
	struct fx_batch *b = batch_of(c->number * 3, 20);

	drop_from_cache(c->fx, b);
	fx_read(c->fx, b);
	for (uint32_t i = 0; i < b->n; i++)
		FX_CHECK(fx_intact(b, i, BYTES));
	fx_batch_free(b);
	return NULL;
}

static void many_callers(struct fx *fx, uint32_t n)
{
	struct caller callers[CALLERS + 40];
	pthread_t threads[CALLERS + 40];

	for (uint32_t i = 0; i < n; i++) {
		callers[i] = (struct caller){ fx, i };
		FX_CHECK(pthread_create(&threads[i], NULL, read_cold, &callers[i]) == 0);
	}
	for (uint32_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* However many threads call, those that wait for the storage are bounded, the kernel's included; and all but
 * a few end soon. */
static void callers_add_no_threads(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .workers = 16 };

	write_files(fx);
	fx_open(fx, &opt);
	for (uint32_t round = 0; round < 3; round++) {
		many_callers(fx, 100);
		assert_true(named("cr-worker") > 0);
		assert_true(named("cr-worker") + named("iou-wrk") <= 16);
	}
	assert_true(fx_count_threads(fx->threads + AT_REST) <= fx->threads + AT_REST);
}

static void threads_end_at_rest(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = batch_of(0, 100);
	uint32_t most, least;

	write_files(fx);
	begin_meeting(100);
	fx_read(fx, b);
	most = named("cr-worker");
	assert_true(most >= 100);
	least = fx->threads + 1 + fx->ctx->rings_max;
	assert_int_equal(fx_count_threads(least), least);
	fx_read(fx, b); /* and they come again */
	for (uint32_t f = 0; f < b->n; f++)
		fx_assert_intact(b, f, BYTES);
	fx_batch_free(b);
}

/* A process that may have 100 threads, 60 of which read at once: it lives, and has some left. */
static void child_few_threads(struct fx *fx)
{
	struct rlimit lim = { 100, 100 };

	FX_CHECK(chmod(fx->dir, 0755) == 0);
	FX_CHECK(setgid(54322) == 0 && setuid(54322) == 0); /* root has no limit, others other processes */
	FX_CHECK(setrlimit(RLIMIT_NPROC, &lim) == 0);
	fx_open(fx, NULL);
	many_callers(fx, CALLERS);
	FX_CHECK(named("cr-worker") + named("iou-wrk") <= 25);
	fx_close(fx);
}

static void few_threads_for_all(void **state)
{
	struct fx *fx = *state;
	int status;

	if (geteuid() != 0) {
		print_message("few_threads_for_all: needs root, to become a user with a limit\n");
		skip();
	}
	write_files(fx);
	status = fx_fork(fx, child_few_threads);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Leases ---- */

static int take_lease(const struct fx *fx, const char *path)
{
	int fd = open(fx_path(fx, path), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	signal(SIGIO, SIG_IGN); /* it asks for the lease */
	if (fcntl(fd, F_SETLEASE, F_WRLCK) != 0) {
		fprintf(stderr, "!!!! SKIPPED: no leases here: %s\n", strerror(errno));
		close(fd);
		skip();
	}
	return fd;
}

static void *give_back(void *arg)
{
	int fd = *(int *)arg;

	usleep(100000);
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return NULL;
}

/* As Loki's own client: it waits until the lease is given back, and the others don't wait for it. */
static void leased_file_is_waited_for(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = batch_of(0, 10);
	pthread_t thread;
	int fd;

	write_files(fx);
	fd = take_lease(fx, b->reqs[4].path);
	assert_int_equal(pthread_create(&thread, NULL, give_back, &fd), 0);
	fx_read(fx, b);
	pthread_join(thread, NULL);
	for (uint32_t i = 0; i < b->n; i++)
		fx_assert_intact(b, i, BYTES);
	close(fd);
	fx_batch_free(b);
}

static void *cancel_soon(void *arg)
{
	usleep(50000);
	__atomic_store_n((uint32_t *)arg, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void wait_for_a_lease_obeys(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = batch_of(0, 3);
	uint32_t cancel = 0;
	pthread_t thread;
	int fd;

	write_files(fx);
	fd = take_lease(fx, b->reqs[1].path);
	b->batch.cancel = &cancel;
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel), 0);
	fx_read(fx, b);
	pthread_join(thread, NULL);
	fx_assert_status(b, 1, CR_CANCELED);
	b->batch.cancel = NULL;
	b->batch.timeout_ms = 50;
	fx_read(fx, b);
	fx_assert_status(b, 1, CR_TIMED_OUT);
	close(fd);
	fx_batch_free(b);
}

/* ---- Stop ---- */

static uint32_t stop_word;

static void stop_when_blocked(struct cr_file *f)
{
	__atomic_store_n(&stop_word, 1, __ATOMIC_RELAXED);
	for (uint32_t ms = 0; f->wave->left > 1; ms++) { /* all others end while this one is blocked */
		FX_CHECK(ms < PATIENCE_S * 1000);
		usleep(1000);
	}
}

/* Files that wait for a thread end with the stop, though all threads are blocked. */
static void stop_takes_back_what_waits(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .workers = 1 };
	struct fx_batch *b = batch_of(0, 50);

	write_files(fx);
	fx_open(fx, &opt);
	assert_int_equal(fx->ctx->blocked_max, 1);
	fault_plan.cold = true;
	fault_plan.on_block = stop_when_blocked;
	__atomic_store_n(&stop_word, 0, __ATOMIC_RELAXED);
	b->batch.cancel = &stop_word;
	fx_read(fx, b);
	for (uint32_t i = 0; i < b->n; i++)
		fx_assert_status(b, i, CR_CANCELED);
	fx_batch_free(b);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_FAULT, all_wait_at_once),
		FX_TEST_ON(FX_FAULT, never_more_than_allowed),
		FX_TEST_ON(FX_FAULT, threads_end_at_rest),
		FX_TEST_ON(FX_FAULT, stop_takes_back_what_waits),
		FX_TEST_ON(FX_URING | FX_THREADS, callers_add_no_threads),
		FX_TEST_ON(FX_URING | FX_THREADS, few_threads_for_all),
		FX_TEST_ON(FX_URING | FX_THREADS, leased_file_is_waited_for),
		FX_TEST_ON(FX_URING | FX_THREADS, wait_for_a_lease_obeys),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
