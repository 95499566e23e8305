/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C tests share: a store in a temporary directory, a context over each back-end in turn,
 * batches with guarded buffers, and the fault back-end.
 *
 * A test list is written once and runs once per back-end:
 *
 *	static const struct fx_test tests[] = { FX_TEST(what_holds), FX_TEST_ON(FX_FAULT, other) };
 *	int main(void) { return fx_run(tests, sizeof(tests) / sizeof(tests[0])); }
 *
 * CR_TEST_BACKENDS ("threads,fault") leaves the others out, loudly.
 */
#ifndef CR_TEST_FIXTURE_H
#define CR_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "internal.h"

/* ---- The back-ends and the test list ---- */

#define FX_URING   1u
#define FX_THREADS 2u
#define FX_FAULT   4u
#define FX_ONCE    8u /* for what has no back-end: no context is opened */
#define FX_EACH    (FX_URING | FX_THREADS | FX_FAULT)

struct fx {
	unsigned int   backend; /* one FX_* */
	char           dir[64];
	struct cr_ctx *ctx;
	uint32_t       fds, threads; /* of the process before the context was opened */
};

struct fx_test {
	unsigned int backends;
	const char  *name;
	void       (*run)(void **state); /* *state is a struct fx with an empty store */
};

#define FX_TEST(f)         { FX_EACH, #f, f }
#define FX_TEST_ON(set, f) { set, #f, f }

int fx_run(const struct fx_test *tests, size_t n);

/* Opens fx->ctx over fx->backend, after closing the one that is open. */
void fx_open(struct fx *fx, const struct cr_options *opt);
void fx_open_dir(struct fx *fx, const char *dir, const struct cr_options *opt);
void fx_close(struct fx *fx);

uint32_t fx_count_fds(void);
/* Waits up to six seconds for there to be no more than most: threads without work end after two, kernel threads
 * of a ring late, and one that was joined is still to be seen for a moment, under qemu for longer. */
uint32_t fx_count_threads(uint32_t most);

/* Runs fn in a forked child, without a context open in the parent (a child has only the forking
 * thread); the wait status. No assert_* in there: FX_CHECK. */
int fx_fork(struct fx *fx, void (*fn)(struct fx *));

/* For threads and children, where cmocka's asserts can't be used: says where, ends the process. */
#define FX_CHECK(cond) ((cond) ? (void)0 : fx_fail(__FILE__, __LINE__, #cond))
void fx_fail(const char *file, int line, const char *what) __attribute__((noreturn));

/* Makes every later call of the system call by this thread, and those that it starts, fail with err
 * (seccomp); the other for all threads that there are. */
int fx_forbid_syscall(int nr, int err);
int fx_forbid_syscall_all(int nr, int err);

/* ---- Files ---- */

/* The content of a file follows from its path and size. */
void fx_content(const char *path, uint8_t *out, size_t bytes);

/* Writes fx->dir/path, with the directories on the way; its CRC32C. */
uint32_t fx_write(const struct fx *fx, const char *path, size_t bytes);
/* The same with these bytes. */
uint32_t fx_write_bytes(const struct fx *fx, const char *path, const void *content, size_t bytes);
/* Does the store's file system know RWF_NOWAIT? FUSE, NFS, overlayfs and tmpfs don't (6.18). */
bool fx_knows_nowait(struct fx *fx);

/* fx->dir/path in one of a few static buffers. Main thread only. */
const char *fx_path(const struct fx *fx, const char *path);

/* ---- Batches ---- */

#define FX_GUARD_BYTES 64u
#define FX_FILL        0xA5 /* of a new buffer and of the guards around it */

struct fx_batch {
	struct cr_batch batch; /* flags and the like may be set before fx_read() */
	struct cr_req  *reqs;
	uint32_t        n;
	char          **paths;
	uint8_t       **mem;       /* guard, buffer, guard */
	uint32_t       *mem_bytes; /* of the buffer */
	uint32_t       *asked;     /* how often the callback was asked for this file's buffer */
	uint32_t       *covered;   /* in how many callbacks' ranges it was */
	_Atomic uint32_t *named;   /* how often the done callback named it */
	uint32_t        calls;
	bool            may_grow;    /* files may, so that the callback is asked again */
	bool            no_callback; /* the buffers are from fx_batch_buffer() */
	int (*hook)(struct fx_batch *b, uint32_t first, uint32_t n); /* after buffers were given */
	void (*done_hook)(struct fx_batch *b, uint32_t i); /* for each file that is named done */
	void           *hook_arg;
	pthread_t       caller;
	_Atomic bool    wrong;     /* a callback broke the contract */
};

struct fx_batch *fx_batch_new(uint32_t n);
void fx_batch_free(struct fx_batch *b);
void fx_batch_set(struct fx_batch *b, uint32_t i, const char *path, uint32_t crc_want);
/* A buffer of exactly bytes with guards, without the callback; reqs[i].buf and cap_bytes. */
void fx_batch_buffer(struct fx_batch *b, uint32_t i, uint32_t bytes);

/* cr_batch_read, and what must hold whatever the files are. From any thread. */
void fx_read(struct fx *fx, struct fx_batch *b);

/* Whether request i is CR_OK with the whole content of its file. */
bool fx_intact(const struct fx_batch *b, uint32_t i, uint32_t bytes);
#define fx_assert_intact(b, i, bytes)                                                              \
	do {                                                                                       \
		assert_string_equal(cr_status_name((b)->reqs[i].status), "ok");                    \
		assert_true(fx_intact(b, i, bytes));                                               \
	} while (0)
#define fx_assert_status(b, i, want)                                                               \
	assert_string_equal(cr_status_name((b)->reqs[i].status), cr_status_name(want))

/* Repeats with the same seed. */
uint32_t fx_random(uint64_t *state);

/* ---- The fault back-end ---- */

extern const struct cr_backend_ops cr_fault_ops;

#define FAULT_RULES_MAX 12u
#define FAULT_ALWAYS    UINT32_MAX
#define FAULT_EOF       (-1) /* err of a read rule: the file ends here */

/* What happens to one file: times results of a step are err instead of the system's. */
struct fault_rule {
	const char      *path;
	enum cr_step     step;
	int              err;
	_Atomic uint32_t times;
};

/* Changed only while no batch runs. Chances are of 1024 and are decided by seed, path, offset and
 * try, whatever the threads do: a failure repeats. */
struct fault_plan {
	uint64_t          seed;
	uint32_t          short_read, eintr, eagain;
	bool              late; /* reads are the ring's, and stay in flight until a reap, in another order */
	bool              cold; /* nothing can be done without blocking, nor by a ring */
	struct fault_rule rules[FAULT_RULES_MAX];
	int               refuse_errno; /* of set-up, with the step "fault" */
	uint32_t          refuse_ring;  /* number of the ring it hits */
	_Atomic uint32_t  refuse_after; /* that reap of any ring fails with it; 0: none */
	/* sees every open that may block, on the thread that makes it; may hold it up */
	void            (*on_block)(struct cr_file *f);
};
extern struct fault_plan fault_plan;

void fault_reset(void); /* nothing is injected, no set-up refused */
void fault_rule(const char *path, enum cr_step step, int err, uint32_t times);
extern _Atomic uint32_t fault_in_flight, fault_injected, fault_workers;

#endif
