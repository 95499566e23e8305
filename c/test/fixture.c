/* SPDX-License-Identifier: Apache-2.0 */
/* See fixture.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define OPEN_FILES   4096u
#define HANG_SECONDS 300u /* then SIGALRM ends the program: valgrind and sanitizers are slow */
#define PATH_BYTES   8192u

static const struct {
	unsigned int                       backend;
	const char                        *name;
	const struct cr_backend_ops *const order[2];
} backends[] = {
	{ FX_ONCE, "once", { NULL } },
	{ FX_URING, "uring", { &cr_uring_ops } },
	{ FX_THREADS, "threads", { &cr_threads_ops } },
	{ FX_FAULT, "fault", { &cr_fault_ops } },
};
#define BACKENDS (sizeof(backends) / sizeof(backends[0]))

void fx_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
	fflush(NULL);
	_exit(1);
}

uint32_t fx_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 32);
}

/* ---- The process ---- */

static uint32_t count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	uint32_t n = 0;

	FX_CHECK(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

uint32_t fx_count_fds(void)
{
	return count_entries("/proc/self/fd") - 1; /* opendir's own */
}

uint32_t fx_count_threads(uint32_t most)
{
	uint32_t n = count_entries("/proc/self/task");

	for (uint32_t i = 0; i < 3000 && n > most; i++) {
		usleep(2000);
		n = count_entries("/proc/self/task");
	}
	return n;
}

int fx_fork(struct fx *fx, void (*fn)(struct fx *))
{
	int status;
	pid_t pid;

	fx_close(fx);
	fflush(NULL);
	pid = fork();
	FX_CHECK(pid >= 0);
	if (pid == 0) {
		alarm(HANG_SECONDS); /* not inherited */
		fn(fx);
		fflush(NULL);
		_exit(0);
	}
	FX_CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static int forbid(int nr, int err, unsigned int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) != 0)
		return -errno;
	return 0;
}

int fx_forbid_syscall(int nr, int err)
{
	return forbid(nr, err, 0);
}

int fx_forbid_syscall_all(int nr, int err)
{
	return forbid(nr, err, SECCOMP_FILTER_FLAG_TSYNC);
}

/* ---- Store and context ---- */

void fx_close(struct fx *fx)
{
	cr_ctx_close(fx->ctx);
	fx->ctx = NULL;
}

void fx_open_dir(struct fx *fx, const char *dir, const struct cr_options *opt)
{
	fx_close(fx);
	for (size_t i = 0; i < BACKENDS; i++)
		if (backends[i].backend == fx->backend)
			FX_CHECK(cr_ctx_open_with(dir, opt, backends[i].order, &fx->ctx) == 0);
	FX_CHECK(fx->ctx);
}

void fx_open(struct fx *fx, const struct cr_options *opt)
{
	fx_open_dir(fx, fx->dir, opt);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *dir)
{
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* The test list's entry comes in as the initial state. */
struct run {
	const struct fx_test *test;
	unsigned int          backend;
	struct fx            *fx;
};

static int test_setup(void **state)
{
	static uint32_t threads_fewest = UINT32_MAX; /* of all tests so far */
	struct run *run = *state;
	const char *tmp = getenv("TMPDIR");
	struct fx *fx = calloc(1, sizeof(*fx));

	FX_CHECK(fx);
	snprintf(fx->dir, sizeof(fx->dir), "%.40s/chunkring.XXXXXX", tmp ? tmp : "/tmp");
	FX_CHECK(mkdtemp(fx->dir) && chmod(fx->dir, 0755) == 0);
	fx->backend = run->backend;
	fault_reset();
	fx->fds = fx_count_fds();
	fx->threads = fx_count_threads(threads_fewest);
	if (fx->threads < threads_fewest)
		threads_fewest = fx->threads;
	if (fx->backend != FX_ONCE)
		fx_open(fx, NULL);
	run->fx = fx;
	return 0;
}

static int test_teardown(void **state)
{
	struct run *run = *state;
	struct fx *fx = run->fx;
	uint32_t fds, threads;
	int bad = 0;

	fx_close(fx);
	fds = fx_count_fds();
	threads = fx_count_threads(fx->threads);
	if (fds != fx->fds)
		bad = fprintf(stderr, "%u descriptors before the test, %u after\n", fx->fds, fds);
	if (threads > fx->threads)
		bad = fprintf(stderr, "%u threads before the test, %u after\n", fx->threads,
			      threads);
	if (fault_in_flight || fault_workers)
		bad = fprintf(stderr, "the fault back-end still holds files or workers\n");
	remove_tree(fx->dir);
	free(fx);
	return bad ? -1 : 0;
}

static void test_run(void **state)
{
	struct run *run = *state;
	void *fx = run->fx;

	run->test->run(&fx);
}

static void test_skip(void **state)
{
	(void)state;
	skip();
}

/* ---- The runner ---- */

/* NULL, or why the tests on this back-end can't run. */
static const char *cannot_run(size_t b)
{
	static char why[160];
	const char *only = getenv("CR_TEST_BACKENDS"), *step = "";
	const struct cr_backend_ops *const order[] = { backends[b].order[0], &cr_threads_ops,
						       NULL };
	struct cr_ctx *ctx;

	if (backends[b].backend == FX_ONCE)
		return NULL;
	if (only && !strstr(only, backends[b].name))
		return "CR_TEST_BACKENDS leaves it out";
	fault_reset();
	FX_CHECK(cr_ctx_open_with("/", NULL, order, &ctx) == 0);
	if (cr_backend_errno(ctx, &step)) {
		snprintf(why, sizeof(why), "this machine refuses it: %s: %s", step,
			 strerror(cr_backend_errno(ctx, NULL)));
		cr_ctx_close(ctx);
		return why;
	}
	cr_ctx_close(ctx);
	return NULL;
}

static int run_backend(size_t b, const struct fx_test *tests, size_t n)
{
	struct CMUnitTest *units = calloc(n, sizeof(*units));
	struct run *runs = calloc(n, sizeof(*runs));
	const char *why = cannot_run(b);
	size_t count = 0;
	int failed = 0;

	FX_CHECK(units && runs);
	for (size_t i = 0; i < n; i++) {
		if (!(tests[i].backends & backends[b].backend))
			continue;
		runs[count] = (struct run){ &tests[i], backends[b].backend, NULL };
		units[count] = (struct CMUnitTest){ .name = tests[i].name,
						    .test_func = why ? test_skip : test_run,
						    .setup_func = why ? NULL : test_setup,
						    .teardown_func = why ? NULL : test_teardown,
						    .initial_state = &runs[count] };
		count++;
	}
	if (why && count)
		fprintf(stderr,
			"\n"
			"!!!! SKIPPED, NOT PASSED: %zu tests on the back-end \"%s\"\n"
			"!!!! %s\n\n",
			count, backends[b].name, why);
	if (count)
		failed = _cmocka_run_group_tests(backends[b].name, units, count, NULL, NULL);
	free(units);
	free(runs);
	return failed;
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* A batch may have a quarter of the descriptors open, and tests count on some hundred files at a time. A shell's
 * limit is 1024 most often, and the hard one far above. */
static void raise_open_files(void)
{
	struct rlimit lim;

	FX_CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	if (lim.rlim_cur < OPEN_FILES && lim.rlim_max >= OPEN_FILES) {
		lim.rlim_cur = OPEN_FILES;
		FX_CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	}
	if (lim.rlim_cur < OPEN_FILES)
		fprintf(stderr, "no more than %llu files may be open: some tests need %u\n",
			(unsigned long long)lim.rlim_cur, OPEN_FILES);
}

int fx_run(const struct fx_test *tests, size_t n)
{
	pthread_t thread;
	int failed = 0;

	alarm(HANG_SECONDS);
	raise_open_files();
	umask(022); /* children that become nobody read what is written here */
	/* TSan starts a thread of its own with the first one: before threads are counted */
	FX_CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
	pthread_join(thread, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t b = 0; b < BACKENDS; b++)
		failed += run_backend(b, tests, n) != 0;
	return failed ? 1 : 0;
}

/* ---- Files ---- */

void fx_content(const char *path, uint8_t *out, size_t bytes)
{
	uint64_t state = 88172645463325252u;

	for (; *path; path++)
		state = (state ^ (uint8_t)*path) * 1099511628211u + 1;
	for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
		uint32_t word = fx_random(&state);

		memcpy(out + i, &word, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
	}
}

const char *fx_path(const struct fx *fx, const char *path)
{
	static char bufs[4][PATH_BYTES];
	static unsigned int next;
	char *buf = bufs[next++ % 4];

	snprintf(buf, PATH_BYTES, "%s/%s", fx->dir, path);
	return buf;
}

static void make_parents(const char *full, size_t from)
{
	char dir[PATH_BYTES];

	for (const char *p = full + from; (p = strchr(p, '/')); p++) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(p - full), full);
		FX_CHECK(mkdir(dir, 0755) == 0 || errno == EEXIST);
	}
}

uint32_t fx_write_bytes(const struct fx *fx, const char *path, const void *content, size_t bytes)
{
	const char *full = fx_path(fx, path);
	int fd;

	make_parents(full, strlen(fx->dir) + 1);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	FX_CHECK(fd >= 0);
	FX_CHECK(write(fd, content, bytes) == (ssize_t)bytes);
	close(fd);
	return cr_crc32c(0, content, bytes);
}

uint32_t fx_write(const struct fx *fx, const char *path, size_t bytes)
{
	uint8_t *content = malloc(bytes + 1);
	uint32_t crc;

	FX_CHECK(content);
	fx_content(path, content, bytes);
	crc = fx_write_bytes(fx, path, content, bytes);
	free(content);
	return crc;
}

bool fx_knows_nowait(struct fx *fx)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	bool knows;
	int fd;

	fx_write(fx, "nowait", 1);
	fd = open(fx_path(fx, "nowait"), O_RDONLY | O_CLOEXEC);
	FX_CHECK(fd >= 0);
	knows = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP;
	close(fd);
	return knows;
}

/* ---- Batches ---- */

struct fx_batch *fx_batch_new(uint32_t n)
{
	struct fx_batch *b = calloc(1, sizeof(*b));

	FX_CHECK(b);
	b->n = n;
	b->reqs = calloc(n, sizeof(*b->reqs));
	b->paths = calloc(n, sizeof(*b->paths));
	b->mem = calloc(n, sizeof(*b->mem));
	b->mem_bytes = calloc(n, sizeof(*b->mem_bytes));
	b->asked = calloc(n, sizeof(*b->asked));
	b->named = calloc(n, sizeof(*b->named));
	b->covered = calloc(n, sizeof(*b->covered));
	FX_CHECK(b->reqs && b->paths && b->mem && b->mem_bytes && b->asked &&
		 b->named && b->covered);
	return b;
}

void fx_batch_free(struct fx_batch *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		free(b->paths[i]);
		free(b->mem[i]);
	}
	free(b->reqs);
	free(b->paths);
	free(b->mem);
	free(b->mem_bytes);
	free(b->asked);
	free((void *)b->named);
	free(b->covered);
	free(b);
}

void fx_batch_set(struct fx_batch *b, uint32_t i, const char *path, uint32_t crc_want)
{
	free(b->paths[i]);
	b->paths[i] = strdup(path);
	FX_CHECK(b->paths[i]);
	b->reqs[i].path = b->paths[i];
	b->reqs[i].crc_want = crc_want;
}

void fx_batch_buffer(struct fx_batch *b, uint32_t i, uint32_t bytes)
{
	free(b->mem[i]);
	b->mem[i] = calloc(1, FX_GUARD_BYTES + (size_t)bytes + FX_GUARD_BYTES); /* test_sim has mallocs that fail */
	FX_CHECK(b->mem[i]);
	memset(b->mem[i], FX_FILL, FX_GUARD_BYTES + (size_t)bytes + FX_GUARD_BYTES);
	b->mem_bytes[i] = bytes;
	b->reqs[i].buf = b->mem[i] + FX_GUARD_BYTES;
	b->reqs[i].cap_bytes = bytes;
}

static int give_buffers(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n)
{
	struct fx_batch *b = arg;

	b->calls++;
	if (!pthread_equal(b->caller, pthread_self()) || reqs != b->reqs || n == 0 ||
	    first >= b->n || n > b->n - first) {
		b->wrong = true;
		return -1;
	}
	for (uint32_t i = first; i < first + n; i++) {
		b->covered[i]++;
		if (reqs[i].status != CR_PENDING || reqs[i].cap_bytes >= reqs[i].want_bytes)
			continue;
		b->asked[i]++;
		fx_batch_buffer(b, i, reqs[i].want_bytes);
	}
	return b->hook ? b->hook(b, first, n) : 0;
}

/* On any thread. What is named is final. */
static void note_done(void *arg, const uint32_t *index, uint32_t n)
{
	struct fx_batch *b = arg;

	if (n == 0)
		b->wrong = true;
	for (uint32_t i = 0; i < n; i++) {
		if (index[i] >= b->n || b->reqs[index[i]].status != CR_OK) {
			b->wrong = true;
			continue;
		}
		atomic_fetch_add(&b->named[index[i]], 1);
		if (b->done_hook)
			b->done_hook(b, index[i]);
	}
}

static bool guards_untouched(const struct fx_batch *b, uint32_t i)
{
	const uint8_t *before = b->mem[i];

	if (!before)
		return true;
	for (uint32_t at = 0; at < FX_GUARD_BYTES; at++)
		if (before[at] != FX_FILL ||
		    before[FX_GUARD_BYTES + (size_t)b->mem_bytes[i] + at] != FX_FILL)
			return false;
	return true;
}

/* What holds for every file, whatever happened to it. */
static void check_req(const struct fx_batch *b, uint32_t i)
{
	const struct cr_req *req = &b->reqs[i];
	bool ends = b->batch.flags & CR_READ_ENDS, whole = !req->head_bytes;

	FX_CHECK(req->status != CR_PENDING && req->status < CR_STATUS_COUNT);
	FX_CHECK(guards_untouched(b, i));
	FX_CHECK(b->asked[i] <= 1 + b->may_grow * CR_GREW_TRIES + ends * (CR_ENDS_TRIES + 1));
	FX_CHECK(b->named[i] == (req->status == CR_OK && req->want_bytes >= b->batch.done_bytes_min));
	FX_CHECK((req->op != CR_OP_NONE) == (req->status == CR_IO) && req->op <= CR_OP_READ);
	if (req->status == CR_IO || req->status == CR_REFUSED)
		FX_CHECK(req->os_errno > 0);
	else
		FX_CHECK(req->os_errno == 0);
	FX_CHECK((req->reason == CR_REASON_NONE) || req->status == CR_BAD_FORMAT ||
		 req->status == CR_BAD_CRC);
	FX_CHECK(req->flags == 0 || (req->flags == (whole ? CR_REQ_BLOCKS_OK : CR_REQ_SEALED) &&
				     req->status == CR_OK));
	FX_CHECK(whole || (ends && req->status == CR_OK && req->size_bytes > b->batch.ends_bytes_min));
	FX_CHECK(req->status != CR_OK ||
		 req->want_bytes == (whole ? req->size_bytes : req->head_bytes + req->tail_bytes));
	FX_CHECK(req->path == b->paths[i]);
}

void fx_read(struct fx *fx, struct fx_batch *b)
{
	b->batch.reqs = b->reqs;
	b->batch.n = b->n;
	b->batch.alloc = b->no_callback ? NULL : give_buffers;
	b->batch.done = note_done;
	b->batch.arg = b;
	b->caller = pthread_self();
	b->calls = 0;
	b->wrong = false;
	memset(b->asked, 0, b->n * sizeof(*b->asked));
	memset((void *)b->named, 0, b->n * sizeof(*b->named));
	memset(b->covered, 0, b->n * sizeof(*b->covered));
	FX_CHECK(cr_batch_read(fx->ctx, &b->batch) == 0);
	FX_CHECK(!b->wrong);
	for (uint32_t i = 0; i < b->n; i++)
		check_req(b, i);
}

bool fx_intact(const struct fx_batch *b, uint32_t i, uint32_t bytes)
{
	const struct cr_req *req = &b->reqs[i];
	uint8_t small[4096], *want = small;
	bool same;

	if (req->status != CR_OK || req->size_bytes != bytes)
		return false;
	if (bytes > sizeof(small))
		want = malloc(bytes);
	FX_CHECK(want);
	fx_content(req->path, want, bytes);
	same = bytes == 0 || memcmp(want, req->buf, bytes) == 0;
	if (want != small)
		free(want);
	return same;
}
