/* SPDX-License-Identifier: Apache-2.0 */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/common.h"
#include "base/die.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/stop.h"
#include "chunk/check.h"
#include "chunk/findings.h"
#include "chunk/scratch.h"

#define AVERAGE_WEIGHT 4u /* the newest batch counts one in so many in the average file size */
#define ALIGN          64u
#define RATE_PART      10u /* of a second's bytes: what all jobs may read at once */
#define ENDS_BYTES_MIN (128u << 10) /* up to here one read is cheaper than several */

struct item {
	struct found     found;
	struct cr_key       key;
	size_t           path;     /* in paths */
	uint64_t         entries, unchecked;
	struct findings *findings;
	int              fd;       /* bypass: -1, or to be dropped from the cache */
};

struct slab {
	uint8_t *p;
	size_t   bytes, used;
};

struct scan {
	struct scan_shared *sh;
	struct item        *items;
	struct cr_req      *reqs;
	uint32_t            n, want;
	struct bytes        paths;
	uint64_t            average;  /* bytes read of a file */
	struct slab         first, again;
	struct bytes        big;      /* one file above a slab's size at a time */
	bool                big_used;
};

void scan_open(struct scan_shared *sh)
{
	pthread_mutex_init(&sh->mu, NULL);
	memset(sh->ctx, 0, sizeof(sh->ctx));
}

void scan_close(struct scan_shared *sh)
{
	for (size_t i = 0; i < LEN(sh->ctx); i++)
		cr_ctx_close(sh->ctx[i]);
	pthread_mutex_destroy(&sh->mu);
}

int scan_errno(const struct scan_result *r)
{
	switch (r->status) {
	case CR_OK:
	case CR_BAD_CRC:
	case CR_BAD_FORMAT:
		return 0;
	case CR_NOT_FOUND:
		return ENOENT;
	case CR_REFUSED:
		return ELOOP;
	case CR_NOT_REGULAR:
		return ENXIO;
	case CR_TOO_BIG:
		return EFBIG;
	case CR_CANCELED:
		return ECANCELED;
	case CR_BAD_PATH:
		return ENAMETOOLONG;
	default:
		return r->err ? r->err : EIO; /* CR_SHORT: it shrank */
	}
}

const char *scan_backend(struct scan_shared *sh)
{
	for (size_t i = 0; i < LEN(sh->ctx); i++)
		if (sh->ctx[i])
			return cr_backend_name(sh->ctx[i]);
	return "";
}

/* One context a root. */
static struct cr_ctx *ctx_of(struct scan_shared *sh, const struct root *root)
{
	struct cr_options opt = { .backend = sh->backend, .file_bytes_max = FILE_BYTES_MAX };
	uint32_t i = root->no;
	int err = 0;

	pthread_mutex_lock(&sh->mu);
	if (!sh->ctx[i])
		err = cr_ctx_open(root->path, &opt, &sh->ctx[i]);
	pthread_mutex_unlock(&sh->mu);
	if (err)
		die("opening %s for reading: %s", root->path, strerror(-err));
	return sh->ctx[i];
}

/* What is never used of it takes no memory. */
static void slab_open(struct slab *slab, size_t bytes)
{
	slab->bytes = bytes;
	slab->p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slab->p == MAP_FAILED)
		die("out of memory");
}

/* NULL: there is no room left. */
static void *slab_get(struct slab *slab, uint32_t bytes)
{
	void *p = slab->p + slab->used;

	if (bytes > slab->bytes - slab->used)
		return NULL;
	slab->used += (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (slab->used > slab->bytes)
		slab->used = slab->bytes;
	return p;
}

struct scan *scan_job_open(struct scan_shared *sh)
{
	struct scan *s = mem_zero(sizeof(*s));
	size_t bytes = SCAN_BYTES / sh->jobs / (sh->how == SCAN_WHOLE ? 1 : 2);

	s->sh = sh;
	s->items = mem_get(SCAN_FILES_MAX * sizeof(*s->items));
	s->reqs = mem_get(SCAN_FILES_MAX * sizeof(*s->reqs));
	if (sh->rate && sh->rate / RATE_PART / sh->jobs < bytes)
		bytes = sh->rate / RATE_PART / sh->jobs; /* one file at least, always */
	slab_open(&s->first, bytes);
	slab_open(&s->again, bytes);
	s->want = 16;
	return s;
}

void scan_job_close(struct scan *s)
{
	munmap(s->first.p, s->first.bytes);
	munmap(s->again.p, s->again.bytes);
	bytes_free(&s->big);
	bytes_free(&s->paths);
	free(s->items);
	free(s->reqs);
	free(s);
}

/* ---- Buffers: carved from the job's slabs, used again and again, so that they stay in the caches and
 * are never zeroed. What does not fit is read in the next batch.
 *
 * A file that has grown, or whose ends did not tell enough, asks a second time. It then gets room for
 * all of it, so that it does not ask a third time, in a slab that nobody has who asks first: each batch
 * finishes one file at least, also where no file's ends tell enough. ---- */

static void give_buffer(struct scan *s, struct cr_req *r)
{
	bool again = r->cap_bytes > 0, has_big = again && r->buf == s->big.p;
	struct slab *slab = again ? &s->again : &s->first;
	uint32_t bytes = again ? r->size_bytes : r->want_bytes;

	r->buf = NULL;
	r->cap_bytes = 0;
	if (bytes > slab->bytes || has_big) {
		if (s->big_used && !has_big)
			return;
		s->big.n = 0;
		bytes_room(&s->big, bytes);
		s->big_used = true;
		r->buf = s->big.p;
	} else {
		r->buf = slab_get(slab, bytes);
	}
	r->cap_bytes = r->buf ? bytes : 0;
}

static int give_buffers(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		if (reqs[i].status == CR_PENDING && reqs[i].cap_bytes < reqs[i].want_bytes)
			give_buffer(arg, &reqs[i]);
	return 0;
}

/* ---- Looking into chunks while their bytes are in the caches: on whatever thread read them ---- */

static void keep_findings(struct item *it, const struct findings *f)
{
	it->entries = f->entries;
	if (f->n == 0)
		return;
	it->findings = mem_get(sizeof(*f));
	memcpy(it->findings, f, sizeof(*f));
}

static void look_into(void *arg, const uint32_t *index, uint32_t n)
{
	struct scratch *scratch = scratch_get();
	struct scan *s = arg;
	struct findings f;
	struct look look;

	for (uint32_t i = 0; i < n; i++) {
		struct item *it = &s->items[index[i]];
		const struct cr_req *r = &s->reqs[index[i]];
		const struct cr_key *key = it->found.key;

		f.n = f.dropped = 0;
		f.entries = 0;
		/* without the fast pass's word on the blocks, or a key to compare: all over again */
		look = (struct look){ .key = key, .file = r->buf, .n = r->size_bytes,
				      .flags = s->sh->flags, .s = scratch, .out = &f };
		if (r->head_bytes)
			it->unchecked = check_ends(&look, r->head_bytes, r->tail_bytes);
		else if (r->flags & CR_REQ_BLOCKS_OK && key)
			check_sound_chunk(&look);
		else
			check_chunk(&look);
		keep_findings(it, &f);
	}
	scratch_put(scratch);
}

static void look_into_bad(struct scan *s, uint32_t i)
{
	struct scratch *scratch = scratch_get();
	struct findings f = { 0 };
	struct look look = { .key = s->items[i].found.key, .file = s->reqs[i].buf,
			     .n = s->reqs[i].size_bytes, .flags = s->sh->flags, .s = scratch,
			     .out = &f };

	check_chunk(&look);
	keep_findings(&s->items[i], &f);
	scratch_put(scratch);
}

/* ---- Rate and cache ---- */

/* Waits until the bytes read so far were allowed to be read. */
static void keep_rate(struct scan_shared *sh, uint64_t bytes)
{
	uint64_t now = now_ns(), due;

	if (!sh->rate)
		return;
	pthread_mutex_lock(&sh->mu);
	if (sh->rate_due_ns < now)
		sh->rate_due_ns = now;
	sh->rate_due_ns += (uint64_t)((double)bytes * (double)NS_PER_S / (double)sh->rate);
	due = sh->rate_due_ns;
	pthread_mutex_unlock(&sh->mu);
	sleep_until_ns(due);
}

/* Remembers files that are not in the page cache now. Those that are were wanted by somebody. */
static void before_bypass(struct scan *s)
{
	char byte;
	struct iovec v = { &byte, 1 };

	for (uint32_t i = 0; i < s->n; i++) {
		struct item *it = &s->items[i];

		it->fd = openat(it->found.root->fd, it->found.path,
				O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (it->fd >= 0 && preadv2(it->fd, &v, 1, 0, RWF_NOWAIT) >= 0) {
			close(it->fd);
			it->fd = -1;
		}
	}
}

static void after_bypass(struct scan *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->items[i].fd < 0)
			continue;
		posix_fadvise(s->items[i].fd, 0, 0, POSIX_FADV_DONTNEED);
		close(s->items[i].fd);
	}
}

/* ---- Batches ---- */

static uint32_t bytes_read(const struct cr_req *r)
{
	return r->head_bytes ? r->want_bytes : r->size_bytes;
}

static void tell(struct scan *s, uint32_t i)
{
	struct item *it = &s->items[i];
	const struct cr_req *r = &s->reqs[i];
	struct scan_result res = { .found = &it->found, .status = r->status, .err = (int)r->os_errno,
				   .bytes = r->size_bytes, .bytes_read = bytes_read(r) };

	if (r->status == CR_OK || r->status == CR_BAD_CRC || r->status == CR_BAD_FORMAT) {
		res.file = r->buf ? r->buf : (const uint8_t *)""; /* an empty file has no buffer */
		res.head_bytes = r->head_bytes;
		res.tail_bytes = r->tail_bytes;
	}
	if (res.file && r->status != CR_OK && s->sh->how != SCAN_PEEK) {
		look_into_bad(s, i);
		/* without a key there was nothing to compare the CRC with */
		if (!it->found.key && !it->findings)
			res.status = CR_OK;
	}
	res.findings = it->findings;
	res.entries = it->entries;
	res.bytes_unchecked = it->unchecked;
	s->sh->result(s->sh->arg, &res);
	free(it->findings);
	it->findings = NULL;
}

static void batch_prepare(struct scan *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		struct item *it = &s->items[i];

		it->found.path = s->paths.p + it->path;
		it->fd = -1;
		s->reqs[i] = (struct cr_req){ .path = it->found.path,
					      .crc_want = it->found.key ? it->key.crc : 0 };
	}
	s->first.used = s->again.used = 0;
	s->big_used = false;
}

/* Files that got no buffer are the start of the next batch. */
static void batch_finish(struct scan *s)
{
	uint64_t bytes = 0, mean;
	uint32_t left = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		bytes += bytes_read(&s->reqs[i]);
		if (s->reqs[i].status == CR_NO_BUFFER) {
			s->items[left] = s->items[i];
			if (s->items[left].found.key)
				s->items[left].found.key = &s->items[left].key;
			left++;
		} else {
			tell(s, i);
		}
	}
	mean = s->n ? bytes / s->n : 0;
	s->average = (s->average * (AVERAGE_WEIGHT - 1) + mean) / AVERAGE_WEIGHT;
	if (mean > s->average)
		s->average = mean;
	s->want = (uint32_t)(s->first.bytes / (s->average + ALIGN));
	if (s->want < 1)
		s->want = 1;
	if (s->want > (s->sh->bypass ? SCAN_BYPASS_MAX : SCAN_FILES_MAX))
		s->want = s->sh->bypass ? SCAN_BYPASS_MAX : SCAN_FILES_MAX;
	s->n = left;
	if (!left)
		s->paths.n = 0;
}

static void run_batch(struct scan *s)
{
	struct cr_batch b = { .reqs = s->reqs, .n = s->n, .flags = CR_CHECK_CHUNK,
			      .alloc = give_buffers, .arg = s, .cancel = &stop_word,
			      .ends_bytes_min = ENDS_BYTES_MIN };
	uint64_t bytes = 0;

	if (s->sh->how != SCAN_WHOLE)
		b.flags |= CR_READ_ENDS;
	if (s->sh->how != SCAN_PEEK)
		b.done = look_into;
	b.seal = s->sh->how == SCAN_SEALED ? CR_SEAL_ALWAYS : CR_SEAL_OFF;
	batch_prepare(s);
	if (s->sh->bypass)
		before_bypass(s);
	if (cr_batch_read(ctx_of(s->sh, s->items[0].found.root), &b) != 0)
		die("a batch of %u files was refused: a bug in chunkctl", s->n);
	if (s->sh->bypass)
		after_bypass(s);
	for (uint32_t i = 0; i < s->n; i++)
		if (s->reqs[i].status != CR_NO_BUFFER)
			bytes += bytes_read(&s->reqs[i]);
	batch_finish(s);
	keep_rate(s->sh, bytes);
}

void scan_add(struct scan *s, const struct found *f)
{
	struct item *it = &s->items[s->n++];

	it->found = *f;
	it->findings = NULL;
	it->entries = it->unchecked = 0;
	it->path = s->paths.n;
	bytes_add(&s->paths, f->path, strlen(f->path) + 1);
	if (f->key) {
		it->key = *f->key;
		it->found.key = &it->key;
	}
	if (s->n >= s->want)
		run_batch(s);
	while (s->n == SCAN_FILES_MAX) /* all were left over: each round reads one at least */
		run_batch(s);
}

void scan_flush(struct scan *s)
{
	while (s->n && !stopped())
		run_batch(s);
	s->n = 0;
	s->paths.n = 0;
}
