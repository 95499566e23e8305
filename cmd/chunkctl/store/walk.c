/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a walk and the folders that it was given. */
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/die.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "walk_inner.h"

static void *job_main(void *arg)
{
	struct walk_job j = { .walk = arg, .list = mem_get(LIST_BYTES) };
	struct walk *w = arg;
	struct unit *u;

	j.arg = w->open ? w->open(w->arg) : w->arg;
	while ((u = unit_take(w)) != NULL) {
		walk_do_unit(&j, u);
		if (w->unit_end)
			w->unit_end(j.arg);
		/* What was left out because of a stop must not count as finished. */
		if (u->span && !walk_over(w))
			span_leave(w, u->span, u);
		else
			unit_count(w, u);
		unit_free(u);
	}
	if (w->close)
		w->close(j.arg);
	free(j.list);
	names_free(&j.names);
	bytes_free(&j.path);
	return NULL;
}

static void root_open(struct walk *w, const char *path)
{
	struct walk_inner *in = w->inner;
	struct root *r = &in->roots[in->n_roots];
	char *real = realpath(path, NULL), *slash;

	*r = (struct root){ .path = path, .no = in->n_roots };
	r->fd = real ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (r->fd < 0) {
		complain_errno(errno, "%s", path);
		free(real);
		w->trouble = true;
		return;
	}
	slash = strrchr(real, '/');
	snprintf(r->fp, sizeof(r->fp), "%.255s", slash ? slash + 1 : "");
	if (slash && slash > real) {
		*slash = '\0';
		slash = strrchr(real, '/');
		snprintf(r->tenant, sizeof(r->tenant), "%.255s", slash ? slash + 1 : "");
	}
	free(real);
	in->n_roots++;
}

static struct walk_inner *inner_open(struct walk *w)
{
	struct walk_inner *in = mem_zero(sizeof(*in));

	pthread_mutex_init(&in->mu, NULL);
	pthread_cond_init(&in->room, NULL);
	pthread_cond_init(&in->found, NULL);
	in->roots = mem_zero((w->n_args + 1) * sizeof(*in->roots));
	in->tallies = mem_zero((w->n_args + 1) * sizeof(*in->tallies));
	in->judged_from = w->state && w->state->resumed ? w->state->at.root + 1 : 0;
	in->files = (struct root){ .path = "/", .no = ROOTS_MAX,
				   .fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) };
	in->done = w->state ? w->state->names : 0;
	__atomic_store_n(&w->inner, in, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < w->n_args; i++) {
		if (strcmp(w->args[i], "-") == 0 || walk_is_file(w->args[i]))
			in->lists = true;
		else
			root_open(w, w->args[i]);
	}
	return in;
}

/* inner stays: the progress may still be asked for. A program has one walk. */
void walk_run(struct walk *w)
{
	struct walk_inner *in = inner_open(w);
	pthread_t jobs[JOBS_MAX], counter;
	bool counts;
	uint32_t n = 0;

	counts = progress_runs() && in->n_roots &&
		 pthread_create(&counter, NULL, walk_count, w) == 0;
	while (n < w->jobs && pthread_create(&jobs[n], NULL, job_main, w) == 0)
		n++;
	if (n == 0)
		die("no thread could be started");
	walk_list(w);
	pthread_mutex_lock(&in->mu);
	in->listed = true;
	pthread_cond_broadcast(&in->found);
	pthread_mutex_unlock(&in->mu);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(jobs[i], NULL);
	if (counts)
		pthread_join(counter, NULL);
	w->finished = !stopped();
	while (in->oldest) /* unfinished: its sums count for this run only */
		span_pop(w);
	walk_tell_empty(w);
	for (uint32_t i = 0; i < in->n_roots; i++)
		close(in->roots[i].fd);
	close(in->files.fd);
	free(in->roots);
	free(in->tallies);
	walk_tell_passed_over(w);
}
