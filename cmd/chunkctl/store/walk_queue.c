/* SPDX-License-Identifier: Apache-2.0 */
/* Units and spans between the lister and the jobs; walk_inner.h has the picture. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "walk_inner.h"

#define QUEUE_UNITS 64u
#define SAVE_NS     (2 * NS_PER_S)

/* ---- Units ---- */

struct unit *unit_new(const struct root *root, const char *prefix, bool folders,
		      struct span *span)
{
	struct unit *u = mem_zero(sizeof(*u));

	u->root = root;
	u->folders = folders;
	u->span = span;
	snprintf(u->prefix, sizeof(u->prefix), "%s", prefix);
	return u;
}

void unit_free(struct unit *u)
{
	names_free(&u->names);
	free(u);
}

void unit_put(struct walk *w, struct unit *u)
{
	struct walk_inner *in = w->inner;

	pthread_mutex_lock(&in->mu);
	while (in->queued >= QUEUE_UNITS) /* ends: the jobs empty the queue even when stopped */
		pthread_cond_wait(&in->room, &in->mu);
	u->next = NULL;
	if (in->last)
		in->last->next = u;
	else
		in->first = u;
	in->last = u;
	in->queued++;
	pthread_cond_signal(&in->found);
	pthread_mutex_unlock(&in->mu);
}

struct unit *unit_take(struct walk *w)
{
	struct walk_inner *in = w->inner;
	struct unit *u;

	pthread_mutex_lock(&in->mu);
	while (!in->first && !in->listed)
		pthread_cond_wait(&in->found, &in->mu);
	u = in->first;
	if (u) {
		in->first = u->next;
		if (!in->first)
			in->last = NULL;
		in->queued--;
		pthread_cond_signal(&in->room);
	}
	pthread_mutex_unlock(&in->mu);
	return u;
}

/* ---- Spans ---- */

struct span *span_open(struct walk *w)
{
	struct walk_inner *in = w->inner;
	struct span *x = mem_zero(sizeof(*x));

	x->left = 1;
	pthread_mutex_lock(&in->mu);
	while (in->spans >= SPANS_MAX && !walk_over(w)) /* every unit that ends wakes us */
		pthread_cond_wait(&in->room, &in->mu);
	if (in->newest)
		in->newest->next = x;
	else
		in->oldest = x;
	in->newest = x;
	in->spans++;
	pthread_mutex_unlock(&in->mu);
	return x;
}

void span_enter(struct walk *w, struct span *x)
{
	pthread_mutex_lock(&w->inner->mu);
	x->left++;
	pthread_mutex_unlock(&w->inner->mu);
}

static void add_sums(uint64_t *to, const uint64_t *from)
{
	for (uint32_t i = 0; i < SUMS_MAX; i++)
		to[i] += from[i];
}

void span_pop(struct walk *w)
{
	struct walk_inner *in = w->inner;
	struct span *x = in->oldest;

	in->oldest = x->next;
	if (!in->oldest)
		in->newest = NULL;
	in->spans--;
	add_sums(w->sums, x->sums);
	free(x);
}

/* Moves the state over the spans that are finished, from the oldest on. mu is held. */
static void spans_finish(struct walk *w)
{
	struct walk_inner *in = w->inner;

	while (in->oldest && in->oldest->left == 0) {
		if (w->state) {
			w->state->at = in->oldest->end;
			w->state->names += in->oldest->names;
			add_sums(w->state->sums, in->oldest->sums);
		}
		span_pop(w);
	}
	if (w->state && now_ns() - w->state->saved_ns > SAVE_NS)
		state_save(w->state);
}

void span_leave(struct walk *w, struct span *x, const struct unit *u)
{
	struct walk_inner *in = w->inner;

	pthread_mutex_lock(&in->mu);
	if (u) {
		add_sums(x->sums, u->sums);
		x->names += u->names.n;
		in->done += u->names.n;
	}
	x->left--;
	if (x->left == 0)
		spans_finish(w);
	pthread_cond_signal(&in->room);
	pthread_mutex_unlock(&in->mu);
}

void unit_count(struct walk *w, const struct unit *u)
{
	pthread_mutex_lock(&w->inner->mu);
	add_sums(w->sums, u->sums);
	w->inner->done += u->names.n;
	pthread_cond_signal(&w->inner->room);
	pthread_mutex_unlock(&w->inner->mu);
}
