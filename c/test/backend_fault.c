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
	fault_plan.refuse_worker = UINT32_MAX;
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
static uint64_t draw(const struct cr_file *f, uint32_t salt)
{
	uint64_t x = mix(fault_plan.seed + salt);

	for (const char *p = f->req->path; *p; p++)
		x = mix(x ^ (uint8_t)*p);
	return mix(mix(mix(x ^ f->got_bytes) ^ f->retries) ^ f->state);
}

static bool chance(const struct cr_file *f, uint32_t salt, uint32_t of_1024)
{
	return draw(f, salt) % 1024 < of_1024;
}

static bool rule_hits(struct fault_rule *rule, const struct cr_file *f)
{
	uint32_t left;

	if (!rule->path || rule->step != f->job->step || strcmp(rule->path, f->req->path) != 0)
		return false;
	left = atomic_load(&rule->times);
	while (left != 0 && left != FAULT_ALWAYS)
		if (atomic_compare_exchange_weak(&rule->times, &left, left - 1))
			break;
	return left != 0;
}

/* 0: let the system do it; else the errno, or FAULT_EOF. */
static int fault_for(const struct cr_file *f)
{
	int err = 0;

	for (uint32_t i = 0; i < FAULT_RULES_MAX && !err; i++)
		if (rule_hits(&fault_plan.rules[i], f))
			err = fault_plan.rules[i].err;
	if (!err && chance(f, 1, fault_plan.eintr))
		err = EINTR;
	if (!err && chance(f, 2, fault_plan.eagain))
		err = EAGAIN;
	if (err)
		atomic_fetch_add(&fault_injected, 1);
	return err;
}

/* ---- One system call of a file ---- */

static int do_open(struct cr_file *f)
{
	int err = fault_for(f);

	return err ? -err : cr_path_open(f->job->ctx, f->req->path);
}

static int64_t do_read(struct cr_file *f, uint32_t asked)
{
	uint8_t *at = (uint8_t *)f->req->buf + f->got_bytes;
	uint32_t bytes = asked;
	int err = fault_for(f);
	ssize_t res;

	/* what is not read must not happen to hold the right bytes */
	memset(at, UNREAD, asked);
	if (err)
		return err == FAULT_EOF ? 0 : -err;
	if (asked > 1 && chance(f, 3, fault_plan.short_read)) {
		bytes = 1 + (uint32_t)(draw(f, 4) % (asked - 1));
		atomic_fetch_add(&fault_injected, 1);
	}
	res = pread(f->fd, at, bytes, f->got_bytes);
	return res < 0 ? -errno : res;
}

/* Returns whether the file is finished. */
static bool advance(struct cr_worker *w, struct cr_file *f)
{
	enum cr_next next = NEXT_DONE;
	uint32_t asked;

	switch (f->state) {
	case FILE_OPENING:
		next = cr_file_opened(f, do_open(f));
		break;
	case FILE_READING:
		asked = cr_file_ask(f);
		next = cr_file_read(w, f, do_read(f, asked), asked);
		break;
	case FILE_CLOSING:
		close(f->fd);
		cr_file_closed(f);
		break;
	default:
		fx_fail(__FILE__, __LINE__, "a file in no state to be in flight");
	}
	if (next != NEXT_DONE)
		return false;
	atomic_fetch_sub(&fault_in_flight, 1);
	cr_file_finish(w, f);
	return true;
}

/* ---- The table ---- */

static int fault_open(struct cr_worker *w, const char **step)
{
	bool refused = w->guest ? fault_plan.refuse_guests
				: (uint32_t)(w - w->ctx->workers) == fault_plan.refuse_worker;

	*step = "fault";
	if (refused)
		return -fault_plan.refuse_errno;
	w->state = calloc(1, sizeof(struct queue));
	if (!w->state)
		return -ENOMEM;
	((struct queue *)w->state)->random = fault_plan.seed * 2 + 1;
	atomic_fetch_add(&fault_workers, 1);
	return 0;
}

static void fault_close(struct cr_worker *w)
{
	FX_CHECK(((struct queue *)w->state)->n == 0);
	FX_CHECK(w->in_flight == 0);
	free(w->state);
	w->state = NULL;
	atomic_fetch_sub(&fault_workers, 1);
}

static void fault_start(struct cr_worker *w, struct cr_file **files, uint32_t n)
{
	struct queue *q = w->state;

	FX_CHECK(n >= 1 && n <= CR_SLICE_FILES_MAX);
	FX_CHECK(w->in_flight <= w->window && q->n + n == w->in_flight);
	if (fault_plan.on_start)
		fault_plan.on_start(w, files, n);
	atomic_fetch_add(&fault_in_flight, n);
	for (uint32_t i = 0; i < n; i++) {
		struct cr_file *f = files[i];

		if (cr_file_begin(f) == NEXT_DONE) {
			atomic_fetch_sub(&fault_in_flight, 1);
			cr_file_finish(w, f);
			continue;
		}
		if (fault_plan.late)
			q->files[q->n++] = f;
		else
			while (!advance(w, f))
				; /* bounded by file.c */
	}
}

/* One system call for some of the files, taken in any order. */
static void fault_reap(struct cr_worker *w, bool wait)
{
	struct queue *q = w->state;
	uint32_t calls;

	FX_CHECK(w->in_flight > 0 && q->n == w->in_flight);
	calls = fx_random(&q->random) % (q->n + 1);
	if (wait && calls == 0)
		calls = 1;
	while (calls-- > 0 && q->n > 0) {
		uint32_t i = fx_random(&q->random) % q->n;
		struct cr_file *f = q->files[i];

		if (advance(w, f))
			q->files[i] = q->files[--q->n];
	}
}

const struct cr_backend_ops cr_fault_ops = {
	.name = "fault",
	.open = fault_open,
	.start = fault_start,
	.reap = fault_reap,
	.close = fault_close,
};
