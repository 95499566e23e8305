/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A back-end over plain system calls in which things go wrong as fault_plan says. Never part of the
 * library.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

#define UNREAD 0xDB

struct fault_plan fault_plan;
_Atomic uint32_t fault_in_flight, fault_injected, fault_workers;

struct queue {
	struct cr_file *files[CR_WINDOW_FILES];
	uint32_t        n;
	uint64_t        random;
};

void fault_reset(void)
{
	memset(&fault_plan, 0, sizeof(fault_plan));
	fault_plan.refuse_ring = UINT32_MAX - 1;
	fault_in_flight = fault_injected = 0;
}

void fault_rule(const char *path, enum cr_step step, int err, uint32_t times)
{
	for (uint32_t i = 0; i < FAULT_RULES_MAX; i++) {
		struct fault_rule *rule = &fault_plan.rules[i];

		if (rule->path)
			continue;
		rule->path = path;
		rule->step = step;
		rule->err = err;
		rule->times = times;
		return;
	}
	fx_fail(__FILE__, __LINE__, "too many fault rules");
}

/* ---- What goes wrong ---- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* A number that depends on nothing but the plan and where the file is in its life. */
static uint64_t draw(const struct cr_file *f, uint64_t off, uint32_t salt)
{
	uint64_t x = mix(fault_plan.seed + salt);

	for (const char *p = f->req->path; *p; p++)
		x = mix(x ^ (uint8_t)*p);
	return mix(mix(mix(x ^ off) ^ f->retries) ^ f->state);
}

static bool chance(const struct cr_file *f, uint64_t off, uint32_t salt, uint32_t of_1024)
{
	return draw(f, off, salt) % 1024 < of_1024;
}

static bool rule_hits(struct fault_rule *rule, const struct cr_file *f)
{
	uint32_t left;

	if (!rule->path || rule->step != f->wave->step || strcmp(rule->path, f->req->path) != 0)
		return false;
	left = atomic_load(&rule->times);
	while (left != 0 && left != FAULT_ALWAYS)
		if (atomic_compare_exchange_weak(&rule->times, &left, left - 1))
			break;
	return left != 0;
}

/* 0: let the system do it; else the errno, or FAULT_EOF. */
static int fault_for(const struct cr_file *f, uint64_t off, bool may_say_eagain)
{
	int err = 0;

	for (uint32_t i = 0; i < FAULT_RULES_MAX && !err; i++)
		if (rule_hits(&fault_plan.rules[i], f))
			err = fault_plan.rules[i].err;
	if (!err && chance(f, off, 1, fault_plan.eintr))
		err = EINTR;
	if (!err && may_say_eagain && chance(f, off, 2, fault_plan.eagain))
		err = EAGAIN;
	if (err)
		atomic_fetch_add(&fault_injected, 1);
	return err;
}

/* ---- One system call of a file ---- */

static int fault_open(struct cr_file *f, bool wait)
{
	int err = fault_for(f, 0, !wait); /* an open that may wait has waited for what says EAGAIN */

	if (wait && fault_plan.on_block)
		fault_plan.on_block(f);
	if (err)
		return -err;
	if (!wait && fault_plan.cold)
		return -EAGAIN;
	return cr_plain_open(f, wait);
}

static int64_t do_read(const struct cr_file *f, void *to, uint32_t asked, uint64_t off)
{
	uint32_t bytes = asked;
	int err = fault_for(f, off, true);
	ssize_t res;

	/* what is not read must not happen to hold the right bytes */
	memset(to, UNREAD, asked);
	if (err)
		return err == FAULT_EOF ? 0 : -err;
	if (asked > 1 && chance(f, off, 3, fault_plan.short_read)) {
		bytes = 1 + (uint32_t)(draw(f, off, 4) % (asked - 1));
		atomic_fetch_add(&fault_injected, 1);
	}
	res = pread(f->fd, to, bytes, (off_t)off);
	return res < 0 ? -errno : res;
}

static int64_t fault_read(const struct cr_file *f, void *to, uint32_t ask, uint64_t off, bool wait)
{
	if (!wait && fault_plan.cold)
		return -EOPNOTSUPP;
	if (!wait && fault_plan.late)
		return -EAGAIN;
	return do_read(f, to, ask, off);
}

/* Returns whether the file is out of the ring. */
static bool advance(struct cr_worker *w, struct cr_file *f)
{
	uint32_t asked = cr_file_ask(f);
	int64_t res = do_read(f, cr_file_to(f), asked, cr_file_off(f));
	enum cr_next next;

	FX_CHECK(f->state == FILE_READING);
	if (res < 0) { /* as cr_uring_ops: plain calls have the last word */
		f->no_ring = true;
		next = NEXT_BLOCK;
	} else {
		next = cr_file_read(f, res, asked, false);
	}
	if (next == NEXT_AGAIN)
		return false;
	atomic_fetch_sub(&fault_in_flight, 1);
	w->in_flight--;
	cr_turn_add(&w->turn, f, next);
	return true;
}

/* ---- The ring ---- */

static int fault_ring_open(struct cr_worker *w, const char **step)
{
	*step = "fault";
	/* the first place is that of the thread that makes plain calls */
	if ((uint32_t)(w - w->ctx->workers) == fault_plan.refuse_ring + 1)
		return -fault_plan.refuse_errno;
	w->ring = calloc(1, sizeof(struct queue));
	if (!w->ring)
		return -ENOMEM;
	((struct queue *)w->ring)->random = fault_plan.seed * 2 + 1;
	atomic_fetch_add(&fault_workers, 1);
	return 0;
}

static void fault_ring_close(struct cr_worker *w)
{
	free(w->ring);
	w->ring = NULL;
	atomic_fetch_sub(&fault_workers, 1);
}

static int fault_ring_start(struct cr_worker *w, struct cr_list *files)
{
	struct queue *q = w->ring;

	FX_CHECK(files->n >= 1 && q->n == w->in_flight && q->n + files->n <= w->window);
	atomic_fetch_add(&fault_in_flight, files->n);
	for (struct cr_file *f; (f = cr_list_take(files));) {
		q->files[q->n++] = f;
		w->flying[w->in_flight++] = f;
	}
	return 0;
}

/* One system call for some of the files, taken in any order. */
static int fault_ring_reap(struct cr_worker *w, bool wait)
{
	struct queue *q = w->ring;
	uint32_t calls;

	FX_CHECK(w->in_flight > 0 && q->n == w->in_flight);
	if (atomic_load(&fault_plan.refuse_after) && atomic_fetch_sub(&fault_plan.refuse_after, 1) == 1) {
		memcpy(w->flying, q->files, q->n * sizeof(q->files[0]));
		atomic_fetch_sub(&fault_in_flight, q->n);
		return -fault_plan.refuse_errno;
	}
	calls = fx_random(&q->random) % (q->n + 1);
	if (wait && calls == 0)
		calls = 1;
	while (calls-- > 0 && q->n > 0) {
		uint32_t i = fx_random(&q->random) % q->n;
		struct cr_file *f = q->files[i];

		if (advance(w, f))
			q->files[i] = q->files[--q->n];
	}
	return 0;
}

const struct cr_backend_ops cr_fault_ops = {
	.name = "fault",
	.open = fault_open,
	.read = fault_read,
	.ring_open = fault_ring_open,
	.ring_start = fault_ring_start,
	.ring_reap = fault_ring_reap,
	.ring_close = fault_ring_close,
};
