/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loki's own client writes chunks in place, so a file that does not check out may only not be finished.
 * If it was written to just now it is looked at again a little later: by then it is right, gone,
 * damaged and at rest, or still being written to.
 *
 * A file that could not be opened because of a lease is looked at again, too: the attempt made the
 * kernel ask the lease's holder to give it up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "chunk/check.h"
#include "chunk/findings.h"
#include "chunk/report.h"
#include "chunk/scratch.h"
#include "verify.h"

#define AGAIN_MAX      65536u /* files to look at again; above, they are judged at once */
#define AGAIN_TRIES    3u
#define RECENT_NS      (30 * (int64_t)NS_PER_S) /* written so lately: perhaps not finished */

static void again_push(struct verify *v, struct again a)
{
	if (v->n_again == v->cap_again) {
		v->cap_again = v->cap_again ? 2 * v->cap_again : 64;
		v->again = mem_resize(v->again, v->cap_again * sizeof(*v->again));
	}
	v->again[v->n_again++] = a;
}

bool unsettled(struct verify *v, const struct found *f, bool leased, bool *gone)
{
	struct again a = { .root = f->root->path, .root_no = f->root->no };
	struct stat st;
	int64_t age;
	bool taken;

	*gone = fstatat(f->root->fd, f->path, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
	if (*gone || v->settle_ns == 0)
		return false;
	a.mtime_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
	age = wall_ns() - a.mtime_ns;
	if (!leased && (age > RECENT_NS || age < -RECENT_NS))
		return false;
	a.file = mem_string(f->path);
	a.due_ns = now_ns() + v->settle_ns;
	pthread_mutex_lock(&v->mu);
	taken = v->n_again < AGAIN_MAX;
	if (taken)
		again_push(v, a);
	pthread_mutex_unlock(&v->mu);
	if (!taken)
		free(a.file);
	return taken;
}

static bool later(struct verify *v, struct again *a)
{
	if (a->tries + 1 == AGAIN_TRIES)
		return false;
	a->tries++;
	a->due_ns = now_ns() + v->settle_ns;
	return true;
}

/* What is known of it now. key: what its name says, or NULL. False: later more is. */
static bool judge(struct verify *v, struct again *a, const struct cr_key *key, int err,
		  const struct bytes *file, int64_t mtime_ns)
{
	const uint8_t *p = (const uint8_t *)file->p;
	bool changed = !err && mtime_ns != a->mtime_ns;
	struct findings f = { 0 };

	if (err == ENOENT) {
		v->sums[SUM_VANISHED]++;
		return true;
	}
	if (err == EAGAIN && later(v, a))
		return false;
	if (err && !finding_add_errno(&f, err)) { /* a moment ago it could be read */
		verify_unreadable(v, v->sums, a->root, a->file, key, err, error_text(err));
		return true;
	}
	if (!err && !key && !cr_chunk_resembles(p, file->n)) {
		v->sums[SUM_OTHER]++;
		return true;
	}
	if (!err) {
		struct scratch *s = scratch_get();
		struct look look = { .key = key, .file = p, .n = file->n,
				     .flags = v->scan.flags, .s = s, .out = &f };

		check_chunk(&look);
		scratch_put(s);
	}
	if (f.n && changed && later(v, a)) {
		a->mtime_ns = mtime_ns;
		return false;
	}
	if (f.n && changed) {
		v->busy++;
		return true;
	}
	v->sums[SUM_FILES]++;
	v->sums[SUM_BYTES] += file->n;
	v->sums[SUM_ENTRIES] += f.entries;
	v->sums[SUM_UNNAMED] += !key;
	verify_publish(v, v->sums, a->root, a->file, key, file->n, &f);
	return true;
}

/* One more look. False: it was written to since, or is still leased, so it stays in the list. */
static bool look_again(struct verify *v, struct again *a)
{
	struct bytes file = { .max = FILE_BYTES_MAX + 1 }, path = { 0 };
	int64_t mtime_ns = 0;
	struct cr_key key;
	bool named, done;
	int err;

	path_join(a->root, a->file, &path);
	named = cr_key_of_path(bytes_string(&path), &key);
	err = file_read(AT_FDCWD, path.p, false, &file, &mtime_ns);
	done = judge(v, a, named ? &key : NULL, err, &file, mtime_ns);
	bytes_free(&path);
	bytes_free(&file);
	return done;
}

/* The list is in the order of due times, and what is put back goes to its end. */
void settle(struct verify *v)
{
	uint32_t i = 0;

	while (i < v->n_again && !stopped()) {
		struct again a = v->again[i];

		sleep_until_ns(a.due_ns);
		if (stopped())
			break;
		i++;
		if (look_again(v, &a))
			free(a.file);
		else
			again_push(v, a);
	}
	if (i)
		memmove(v->again, v->again + i, (v->n_again - i) * sizeof(*v->again));
	v->n_again -= i;
}

void settle_load(struct verify *v)
{
	for (uint32_t i = 0; i < v->state.n_pending; i++) {
		struct state_pending *p = &v->state.pending[i];

		again_push(v, (struct again){ .root = v->walk.args[p->root], .root_no = p->root,
					      .file = p->file });
	}
	v->state.n_pending = 0;
}

void settle_save(struct verify *v)
{
	for (uint32_t i = 0; i < v->n_again; i++)
		state_pending(&v->state, v->again[i].root_no, v->again[i].file);
}

void settle_free(struct verify *v)
{
	for (uint32_t i = 0; i < v->n_again; i++)
		free(v->again[i].file);
	free(v->again);
}
