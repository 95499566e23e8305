/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core over a simulated kernel (sim_kernel.h), one run a seed: files that fail, shrink, grow, are
 * replaced or overwritten while they are read, rings that refuse, overflow, answer late and in any
 * order. What must hold whatever happens:
 *
 *	every request has exactly one final status, one that its file's fate allows, with its errno
 *	what is called good has the right bytes
 *	no descriptor is closed twice, used after close or left open; nothing is pending
 *	nothing is read into a buffer before the callback gave it or after the batch returned, and
 *	nobody touches it then
 *	a caller makes no call that may block, and a canceled file is not read on
 *	what is served of a chunk's ends is right, with the seal: that of its key; and so is a block that is read
 *	the context has all its promised descriptors again, and soon no more threads than at rest
 *	the library never waits for what can't come and never loops for ever
 *	and what sim_watch.c says, at every step
 *
 *	CR_SIM_SEEDS=100000 build/test/test_sim     more seeds (make sim SEEDS=100000)
 *	CR_SIM_SEED=4711 build/test/test_sim        this one again
 *
 * That it finds what breaks these is a test, too: make test-planted puts the defects of c/test/planted
 * into the library, one after the other, and each must be caught as its patch says.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "chunk_build.h"
#include "layout.h"
#include "sim_kernel.h"

#define SEEDS_DEFAULT   3000u
#define CALLERS_MAX     3u
#define BATCHES_MAX     3u
#define FILES_MAX       (SIM_FILES_MAX / CALLERS_MAX)
#define HANG_SECONDS    120u /* CR_SIM_HANG_SECONDS */
#define FILE_BYTES_MAX  40000u /* simulated files are at most that large */

/* One thread that reads batches of its own files. */
struct caller {
	uint32_t          number, n_files;
	bool              chunks; /* its files are, and are read at their ends */
	struct sim_file  *files;
	struct fx        *fx;
	struct fx_batch  *batches[BATCHES_MAX];
	uint32_t         *sums[BATCHES_MAX]; /* of buffers, taken when their batch returned */
	uint32_t          n_batches;
	uint64_t          random;
	uint8_t           block[FILE_BYTES_MAX]; /* for cr_block_read_raw() */
};

enum give { GIVE_ALL, GIVE_NONE_TO_SOME, GIVE_LITTLE_TO_SOME, GIVE_ERROR };

static uint64_t seed;
static struct caller callers[CALLERS_MAX];
static uint32_t n_callers;
static bool stops; /* a timeout or cancel is among what happens */
static bool repeats; /* nothing depends on threads: all is done by the caller */
static bool starves; /* descriptors are short for ever */
static uint32_t cancel_word;
static enum give giving;
static _Atomic uint32_t for_ends, by_ends; /* chunks that could be read at their ends, and those that were */

/* ---- Whoever fails says with which seed ---- */

static void say_seed(const char *how)
{
	char text[160];
	int bytes = snprintf(text, sizeof(text),
			     "\nsim: seed %llu %s; CR_SIM_SEED=%llu runs it again\n",
			     (unsigned long long)seed, how, (unsigned long long)seed);

	if (write(STDERR_FILENO, text, (size_t)bytes) < 0)
		_exit(1);
}

void __real__exit(int status) __attribute__((noreturn)); /* what fx_fail() ends with */
void __wrap__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status)
{
	if (status)
		say_seed("failed");
	__real__exit(status);
}

static void on_signal(int number)
{
	say_seed(number == SIGALRM ? "hangs" : "crashed");
	signal(number, SIG_DFL);
	raise(number);
}

/* In each test, because cmocka has handlers of its own in between. */
static void set_signals(void (*handler)(int))
{
	signal(SIGALRM, handler);
	for (size_t i = 0; i < sizeof(sim_crashes) / sizeof(sim_crashes[0]); i++)
		signal(sim_crashes[i], handler);
}

/* ---- A seed's world ---- */

static uint32_t below(uint64_t *random, uint32_t n)
{
	return fx_random(random) % n;
}

static bool one_in(uint64_t *random, uint32_t n)
{
	return below(random, n) == 0;
}

static int pick(uint64_t *random, const int *of, size_t n)
{
	return of[below(random, (uint32_t)n)];
}

/* Odd, so that a buffer is never as large as what no_memory_for says. */
static uint32_t size(uint64_t *random)
{
	return below(random, FILE_BYTES_MAX) | 1;
}

static void choose_fate(uint64_t *random, struct sim_file *f)
{
	static const int open_errs[] = { EACCES, EIO, ENOMEM, ENXIO, ELOOP, EXDEV, ENAMETOOLONG,
					 EMFILE, ENFILE, ESTALE, EINTR, EAGAIN };
	static const int read_errs[] = { EIO, ESTALE, EINTR, EAGAIN, EISDIR, ENOMEM };
	static const int stat_errs[] = { EIO, ESTALE, EOVERFLOW };

	f->times = one_in(random, 3) ? SIM_ALWAYS : 1 + below(random, 5);
	f->at = below(random, 3);
	switch (f->fate) {
	case SIM_OPEN_FAILS:
		f->err = pick(random, open_errs, sizeof(open_errs) / sizeof(int));
		starves |= (f->err == EMFILE || f->err == ENFILE) && f->times == SIM_ALWAYS;
		break;
	case SIM_STAT_FAILS:
		f->err = pick(random, stat_errs, sizeof(stat_errs) / sizeof(int));
		break;
	case SIM_READ_FAILS:
		f->err = pick(random, read_errs, sizeof(read_errs) / sizeof(int));
		break;
	case SIM_SHRINKS:
		f->other_bytes = f->bytes ? below(random, f->bytes) | 1 : 0;
		break;
	case SIM_GROWS:
		f->other_bytes = f->bytes + 2 * below(random, 2500);
		break;
	case SIM_LIES:
		f->other_bytes = one_in(random, 3) ? 0 : size(random);
		break;
	case SIM_GROWS_ON:
		f->other_bytes = f->bytes + 4000;
		break;
	case SIM_REPLACED:
		f->other_bytes = size(random);
		if (f->chunk)
			f->other_bytes = sim_content_bytes(f, 1);
		if (one_in(random, 2))
			f->at = SIM_ALWAYS; /* before it is opened */
		break;
	default:
		break;
	}
}

static void add_files(struct caller *c)
{
	uint64_t *random = &c->random;
	uint32_t odd = 2 + below(random, 6); /* one file in so many has a fate */

	c->chunks = (seed + c->number) % 3 == 0;
	c->files = &sim_files[sim_n_files];
	c->n_files = one_in(random, 4) ? 1 + below(random, FILES_MAX) : 1 + below(random, 24);
	for (uint32_t i = 0; i < c->n_files; i++) {
		enum sim_fate fate = one_in(random, odd) ? below(random, SIM_FATES) : SIM_PLAIN;
		uint32_t bytes = one_in(random, 12) ? 0 : size(random);
		char name[SIM_NAME_BYTES];

		snprintf(name, sizeof(name), "t%u/%u/f%u", c->number, i % 3, i);
		choose_fate(random, c->chunks && bytes ? sim_chunk_add(name, bytes / 2, fate)
						       : sim_file_add(name, bytes, fate));
	}
}

static void make_plan(uint64_t *random, struct sim_plan *plan)
{
	static const uint32_t often[] = { 0, 0, 10, 200, 500 };
#define OFTEN often[below(random, sizeof(often) / sizeof(often[0]))]
	static const int refusals[] = { EPERM, ENOSYS, ENOMEM, EINVAL };

	*plan = (struct sim_plan){ .seed = seed };
	plan->short_read = OFTEN;
	plan->eintr = OFTEN;
	plan->eagain = OFTEN;
	plan->canceled = OFTEN;
	plan->close_fails = OFTEN;
	plan->late = OFTEN;
	plan->refused = OFTEN;
	plan->part = OFTEN;
	if (one_in(random, 8)) { /* a ring is given up */
		static const int errs[] = { EAGAIN, EBUSY, ENOMEM, EPERM, EACCES, EBADF };

		plan->refuses_from = 1 + below(random, 30);
		plan->refuses_errno = pick(random, errs, sizeof(errs) / sizeof(int));
	}
	plan->ring_wrong = one_in(random, 4) ? OFTEN : 0;
	plan->no_thread = one_in(random, 4) ? OFTEN : 0;
	plan->no_nowait = one_in(random, 6);
	if (one_in(random, 16)) {
		plan->slow = 20 + below(random, 300);
		plan->slow_ns = 1000000u * (1 + below(random, 30));
	}
	plan->no_cachestat = one_in(random, 3);
	plan->no_close_range = one_in(random, 4);
	plan->uncached = OFTEN;
	if (one_in(random, 3))
		plan->cq_entries = 1u << below(random, 5);
	if (one_in(random, 4))
		plan->unknown_flags = one_in(random, 2) ? UINT32_MAX : 1u << (6 + below(random, 8));
	if (one_in(random, 6))
		plan->setup_err = pick(random, refusals, sizeof(refusals) / sizeof(int));
	plan->no_restrictions = one_in(random, 4);
	plan->no_openat2 = one_in(random, 6);
	plan->no_cached = one_in(random, 6);
	if (one_in(random, 10)) /* batch.c: a wave's files */
		plan->no_memory_for = (17 + below(random, 60)) * sizeof(struct cr_file);
	if (one_in(random, 6)) {
		if (one_in(random, 2))
			plan->cancel_at = 1 + below(random, 2000);
		else
			plan->cancel_at_cut = 1 + below(random, 30);
		plan->cancel = &cancel_word;
		stops = true;
	}
	plan->overlayfs = one_in(random, 6);
	plan->no_nowait |= plan->overlayfs;
#undef OFTEN
}

/* With one CPU nobody is woken to help, and what does not block is done by the caller. */
static void choose_options(uint64_t *random, bool parallel, struct cr_options *opt)
{
	*opt = (struct cr_options){ .cpus = parallel ? 3 : 1 };
	opt->workers = 1 + below(random, one_in(random, 3) ? 3 : 24);
	if (one_in(random, 2))
		opt->ring_entries = 1u << below(random, 8);
	if (one_in(random, 4))
		opt->backend = CR_BACKEND_THREADS;
	if (one_in(random, 3))
		opt->open_files_max = 2 + below(random, 40);
	opt->file_bytes_max = one_in(random, 5) ? FILE_BYTES_MAX / 2 : 0;
}

/* ---- What is allowed ---- */

static bool transient(int err)
{
	return err == EINTR || err == EAGAIN;
}

/* Whether a file whose calls fail so with err ends well. An ESTALE is tried again three times. */
static bool survives(const struct sim_file *f, uint32_t times)
{
	if (f->fate != SIM_OPEN_FAILS && f->fate != SIM_READ_FAILS)
		return f->fate != SIM_STAT_FAILS;
	if (times == SIM_ALWAYS)
		return false;
	if (f->err == ESTALE) /* not after a stop */
		return times <= 3 && !stops;
	return transient(f->err) || f->err == EMFILE || f->err == ENFILE;
}

static bool is_failure(const struct cr_req *req, const struct sim_file *f)
{
	switch (f->err) {
	case EISDIR: /* said by a read */
	case ENXIO:        return req->status == CR_NOT_REGULAR;
	case ENAMETOOLONG: return req->status == CR_BAD_PATH;
	case ELOOP:        return req->status == CR_REFUSED && req->os_errno == (uint32_t)f->err;
	case EINTR:        /* one among many: the last try says which */
	case EAGAIN:       return req->status == CR_IO && transient((int)req->os_errno);
	default:           return req->status == CR_IO && req->os_errno == (uint32_t)f->err;
	}
}

static bool bytes_are(const struct cr_req *req, const struct sim_file *f, uint32_t version,
		      uint32_t bytes)
{
	static _Thread_local uint8_t want[FILE_BYTES_MAX + 8];

	if (req->size_bytes != bytes)
		return false;
	sim_content(f, version, want, bytes);
	return bytes == 0 || memcmp(want, req->buf, bytes) == 0;
}

/* What SIM_GROWS_ON leaves at some moment. */
static bool grown_bytes_are(const struct cr_req *req, const struct sim_file *f)
{
	static _Thread_local uint8_t want[FILE_BYTES_MAX + 4008];

	if (req->size_bytes < f->bytes || req->size_bytes > f->other_bytes)
		return false;
	sim_content(f, 0, want, f->bytes);
	memset(want + f->bytes, 0x77, req->size_bytes - f->bytes);
	return memcmp(want, req->buf, req->size_bytes) == 0;
}

/* Free it. Not in memory of each thread: that is taken from the stacks of the library's. */
static uint8_t *content_of(const struct sim_file *f, uint32_t version, uint32_t bytes)
{
	uint8_t *content = calloc(1, bytes + 8ul);

	FX_CHECK(content);
	sim_content(f, version, content, bytes);
	return content;
}

static bool ends_are(const struct cr_req *req, const struct sim_file *f, uint32_t version, uint32_t bytes)
{
	const uint8_t *got = req->buf;
	uint8_t *want;
	bool same;

	if (req->size_bytes != bytes)
		return false;
	want = content_of(f, version, bytes);
	same = memcmp(got, want, req->head_bytes) == 0 &&
	       memcmp(got + req->head_bytes, want + bytes - req->tail_bytes, req->tail_bytes) == 0;
	free(want);
	return same;
}

/* The same of what is no block's: nobody looks at these. Without the seal two numbers may be others: the codec, which
 * has no checksum, and the length of the metadata, which with and without its own four bytes says the same. */
static bool parts_are(const struct cr_req *req, const struct sim_file *f)
{
	uint8_t *want = content_of(f, 0, f->bytes);
	struct cr_block_cursor cursor = { 0 };
	const uint8_t *got = req->buf;
	struct cr_chunk chunk;
	struct cr_block first;
	bool same;

	FX_CHECK(cr_chunk_parse(want, f->bytes, &chunk) == CR_REASON_NONE);
	FX_CHECK(cr_chunk_block_next(want, &chunk, &cursor, &first) == 1);
	if (!(req->flags & CR_REQ_SEALED)) {
		want[chunk.data_off + CR_CODEC_OFF] = got[chunk.data_off + CR_CODEC_OFF];
		memcpy(want, got, CR_LENGTH_BYTES);
	}
	same = req->size_bytes == f->bytes && memcmp(got, want, first.off) == 0 &&
	       memcmp(got + req->want_bytes - (f->bytes - chunk.metas_off), want + chunk.metas_off,
		      f->bytes - chunk.metas_off) == 0;
	free(want);
	return same;
}

/* With the seal it is the file of that key. Without it, it may be another one, or torn in what is no block's: each
 * part has its own CRC. */
static bool good_ends(const struct cr_req *req, const struct sim_file *f)
{
	bool sealed = req->flags & CR_REQ_SEALED;

	if (!f->chunk || req->crc_got != (sealed ? req->crc_want : 0))
		return false;
	if (f->damaged)
		return !sealed && parts_are(req, f);
	if (f->fate == SIM_OVERWRITTEN)
		return sealed ? parts_are(req, f) : req->size_bytes == f->bytes;
	return ends_are(req, f, 0, f->bytes) ||
	       (!sealed && f->fate == SIM_REPLACED && f->changed && ends_are(req, f, 1, f->other_bytes));
}

/* Good bytes are those of one version; torn ones have a checksum that is wrong. Without a check only
 * what is overwritten in place may be torn, as for any reader. */
static bool good(const struct cr_req *req, const struct sim_file *f, uint32_t flags)
{
	if (req->head_bytes)
		return good_ends(req, f);
	if (f->damaged)
		return false;
	if (bytes_are(req, f, 0, f->bytes))
		return true;
	if (flags)
		return false; /* crc_want is that of version 0 */
	switch (f->fate) {
	case SIM_REPLACED:    return bytes_are(req, f, 1, f->other_bytes);
	case SIM_OVERWRITTEN: return req->size_bytes == f->bytes;
	case SIM_GROWS:       return req->size_bytes == f->other_bytes;
	case SIM_LIES:        return false; /* all of it, or nothing */
	case SIM_GROWS_ON:    return grown_bytes_are(req, f);
	case SIM_SHRINKS:     return bytes_are(req, f, 0, req->size_bytes); /* some were read before */
	default:              return false;
	}
}

/* Sizes a file may have when it is opened. */
static bool size_possible(const struct sim_file *f, uint32_t bytes)
{
	if (f->fate == SIM_SHRINKS && f->changed)
		return bytes >= f->other_bytes && bytes <= f->bytes;
	if (f->fate == SIM_GROWS_ON && f->changed)
		return bytes >= f->bytes && bytes <= f->other_bytes;
	return bytes == f->bytes || (f->changed && bytes == f->other_bytes);
}

static bool allowed(const struct caller *c, const struct cr_req *req, const struct sim_file *f,
		    uint32_t times, uint32_t flags)
{
	uint32_t most = c->fx->ctx->file_bytes_max;
	bool may_starve = starves && f->fate == SIM_OPEN_FAILS &&
			  (f->err == EMFILE || f->err == ENFILE);

	if (stops && (req->status == CR_CANCELED || req->status == CR_TIMED_OUT))
		return true;
	if (f->fate == SIM_MISSING)
		return req->status == CR_NOT_FOUND;
	if (!survives(f, times) || may_starve) {
		if (is_failure(req, f) && (f->fate != SIM_READ_FAILS || f->reads > f->at))
			return true;
		if (f->fate != SIM_READ_FAILS && !may_starve && !(stops && f->err == ESTALE))
			return false;
	}
	if (f->fate == SIM_DIRECTORY && req->status != CR_NO_BUFFER)
		return req->status == CR_NOT_REGULAR;
	switch (req->status) {
	case CR_OK: /* where preadv2(2) fails, pread(2) is asked: it may have an answer again */
		return req->size_bytes <= most && good(req, f, flags) &&
		       !(f->fate == SIM_READ_FAILS && times == SIM_ALWAYS &&
						f->reads > f->at);
	case CR_TOO_BIG:
		return f->bytes > most || ((f->changed || f->fate == SIM_LIES) && f->other_bytes > most);
	case CR_NO_BUFFER:
		return giving == GIVE_NONE_TO_SOME || giving == GIVE_ERROR;
	case CR_TOO_SMALL:
		return giving == GIVE_LITTLE_TO_SOME;
	case CR_SHORT:
		return (f->fate == SIM_SHRINKS && f->changed) ||
		       (f->fate == SIM_LIES && f->bytes == 0 && flags & CR_CHECK_CHUNK); /* nothing is no chunk */
	case CR_BAD_CRC:
		return (f->damaged && flags) || (flags && f->changed &&
		       ((f->fate >= SIM_SHRINKS && f->fate < SIM_LIES) ||
			(f->fate == SIM_GROWS_ON && flags & CR_READ_ENDS))); /* since its ends were read */
	case CR_BAD_FORMAT: /* of nothing; the CRC of which is right */
		return f->bytes == 0 && flags & CR_CHECK_CHUNK;
	default:
		return false;
	}
}

/* ---- Batches ---- */

/* Which buffers may be written to, and for which request. Not looked up in the batches themselves:
 * those of other callers are being changed. */
static struct live {
	const uint8_t         *start;
	size_t                 bytes;
	const struct cr_req   *req;
	const struct fx_batch *batch;
} live[SIM_FILES_MAX];
static uint32_t n_live;
static pthread_mutex_t live_mu = PTHREAD_MUTEX_INITIALIZER;

static void live_add(const struct fx_batch *b, const struct cr_req *req)
{
	pthread_mutex_lock(&live_mu);
	FX_CHECK(n_live < SIM_FILES_MAX);
	live[n_live++] = (struct live){ req->buf, req->cap_bytes, req, b };
	pthread_mutex_unlock(&live_mu);
}

static void live_remove(const struct cr_req *req)
{
	pthread_mutex_lock(&live_mu);
	for (uint32_t i = 0; i < n_live; i++)
		if (live[i].req == req)
			live[i--] = live[--n_live];
	pthread_mutex_unlock(&live_mu);
}

static void live_end(const struct fx_batch *b)
{
	uint32_t kept = 0;

	pthread_mutex_lock(&live_mu);
	for (uint32_t i = 0; i < n_live; i++)
		if (live[i].batch != b)
			live[kept++] = live[i];
	n_live = kept;
	pthread_mutex_unlock(&live_mu);
}

static bool buffer_live(const void *buf, size_t bytes)
{
	const uint8_t *at = buf;
	const struct cr_req *req = NULL;

	for (uint32_t i = 0; i < n_callers; i++)
		if (at >= callers[i].block && at < callers[i].block + FILE_BYTES_MAX)
			return bytes <= (size_t)(callers[i].block + FILE_BYTES_MAX - at);

	pthread_mutex_lock(&live_mu);
	for (uint32_t i = 0; i < n_live && !req; i++)
		if (at >= live[i].start && bytes <= live[i].bytes &&
		    (size_t)(at - live[i].start) <= live[i].bytes - bytes)
			req = live[i].req;
	pthread_mutex_unlock(&live_mu);
	return req && req->status == CR_PENDING;
}

static int give_less(struct fx_batch *b, uint32_t first, uint32_t n)
{
	if (giving == GIVE_ERROR)
		return -1;
	for (uint32_t i = first; i < first + n; i++) {
		struct cr_req *req = &b->reqs[i];

		if (req->status != CR_PENDING)
			continue;
		if (i % 5 == 0 && giving == GIVE_NONE_TO_SOME)
			req->buf = NULL;
		else if (i % 5 == 0 && giving == GIVE_LITTLE_TO_SOME)
			req->cap_bytes--;
		live_remove(req); /* it has grown: what it had is no buffer any more */
		if (req->buf)
			live_add(b, req);
	}
	return 0;
}

static void choose_ends(uint64_t *random, struct cr_batch *b)
{
	b->flags = CR_CHECK_CHUNK;
	if (!one_in(random, 8))
		b->flags |= CR_READ_ENDS | (one_in(random, 2) ? CR_KEEP_OPEN : 0);
	b->ends_bytes_min = below(random, 8000);
	b->seal = below(random, CR_SEAL_ALWAYS + 1);
	b->ahead = one_in(random, 3) ? UINT32_MAX : below(random, 4);
	b->backward = one_in(random, 2);
	b->from_ns = chunk_mint(below(random, 12));
	b->through_ns = b->from_ns + below(random, 600);
}

/* Each file once: how often it fails is counted. The whole list or a part of it. */
static struct fx_batch *make_batch(struct caller *c, uint32_t first, uint32_t n)
{
	struct fx_batch *b = fx_batch_new(n);

	b->hook = give_less;
	b->may_grow = true;
	b->batch.cancel = &cancel_word;
	if (one_in(&c->random, 3))
		b->batch.flags = CR_CHECK_CRC;
	if (c->chunks)
		choose_ends(&c->random, &b->batch);
	if (one_in(&c->random, 10)) {
		b->batch.timeout_ms = 1;
		stops = true; /* before any thread starts: choose_batches() */
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct sim_file *f = &c->files[first + i];
		uint8_t *content = malloc(f->bytes + 8ul);

		FX_CHECK(content);
		sim_content(f, 0, content, f->bytes);
		fx_batch_set(b, i, f->name, cr_crc32c(0, content, f->bytes));
		free(content);
	}
	return b;
}

static void choose_batches(struct caller *c)
{
	uint32_t first = 0;

	c->n_batches = 0;
	while (first < c->n_files && c->n_batches < BATCHES_MAX) {
		uint32_t n = c->n_files - first;

		if (c->n_batches < BATCHES_MAX - 1)
			n = 1 + below(&c->random, n);
		c->batches[c->n_batches++] = make_batch(c, first, n);
		first += n;
	}
}

static uint32_t *sums_of(const struct fx_batch *b)
{
	uint32_t *sums = calloc(b->n, sizeof(*sums));

	FX_CHECK(sums);
	for (uint32_t i = 0; i < b->n; i++)
		if (b->mem[i])
			sums[i] = cr_crc32c(0, b->mem[i],
					    2 * FX_GUARD_BYTES + (size_t)b->mem_bytes[i]);
	return sums;
}

/* Of sound ones whose ends are not most of them. */
static void count_ends(const struct fx_batch *b, const struct cr_req *req, const struct sim_file *f)
{
	if (!f->chunk || f->damaged || f->fate != SIM_PLAIN || !(b->batch.flags & CR_READ_ENDS) || req->status != CR_OK ||
	    f->bytes < 3000 || f->bytes <= b->batch.ends_bytes_min)
		return;
	for_ends++;
	by_ends += req->head_bytes > 0;
}

/* One of the blocks that the ends told of, whatever has become of the file. */
static void read_block(struct caller *c, const struct cr_req *req, const struct sim_file *f)
{
	const uint8_t *buf = req->buf;
	struct cr_ends ends = { .head = buf, .tail = buf + req->head_bytes, .file_bytes = req->size_bytes,
				.head_bytes = req->head_bytes, .tail_bytes = req->tail_bytes };
	struct cr_block_cursor cursor = { 0 };
	struct cr_block_read r;
	struct cr_chunk chunk;
	struct cr_block b;
	bool same = false;

	FX_CHECK(cr_chunk_outline(&ends, &chunk) == CR_ENDS_OK);
	for (uint64_t i = below(&c->random, (uint32_t)chunk.blocks) + 1; i; i--)
		FX_CHECK(cr_chunk_meta_next(buf + req->want_bytes - (req->size_bytes - chunk.metas_off), &chunk,
					    &cursor, &b) == 1);
	r = (struct cr_block_read){ .path = f->name, .off = b.off, .bytes = (uint32_t)b.bytes, .dst = c->block,
				    .cap_bytes = sizeof(c->block), .next_off = b.off, .next_bytes = 100, .fd = req->fd };
	sim_may_block(true);
	cr_block_read_raw(c->fx->ctx, &r);
	sim_may_block(false);
	FX_CHECK(r.status > CR_BLOCK_READ_PENDING && r.status < CR_BLOCK_READ_STATUS_COUNT);
	FX_CHECK(r.status == CR_BLOCK_READ_OK || f->fate != SIM_PLAIN);
	for (uint32_t version = 0; version < 2 && r.status == CR_BLOCK_READ_OK; version++) {
		uint32_t bytes = sim_content_bytes(f, version);
		uint8_t *want = content_of(f, version, bytes);

		same |= b.off + b.bytes + CR_CHUNK_CRC_BYTES <= bytes &&
			memcmp(want + b.off, c->block, b.bytes) == 0 &&
			cr_crc32c(0, want + b.off, b.bytes) == cr_be32(want + b.off + b.bytes); /* a block's place */
		free(want);
	}
	FX_CHECK(r.status != CR_BLOCK_READ_OK || same || !"a block that is no version's");
}

static void *run_caller(void *arg)
{
	struct caller *c = arg;
	uint32_t first = 0;

	for (uint32_t k = 0; k < c->n_batches; k++) {
		struct fx_batch *b = c->batches[k];
		uint32_t times[FILES_MAX];

		for (uint32_t i = 0; i < b->n; i++)
			times[i] = c->files[first + i].times;
		fx_read(c->fx, b); /* one final status, one callback, guards */
		live_end(b);
		for (uint32_t i = 0; i < b->n; i++) {
			const struct sim_file *f = &c->files[first + i];

			count_ends(b, &b->reqs[i], f);
			if (allowed(c, &b->reqs[i], f, times[i], b->batch.flags) &&
			    (b->reqs[i].status != CR_OK || size_possible(f, b->reqs[i].size_bytes)))
				continue;
			fprintf(stderr, "%s: fate %d errno %d times %u at %u, %u/%u bytes: %s, errno %u; %u reads%s\n",
				f->name, f->fate, f->err, times[i], f->at, f->bytes,
				f->other_bytes, cr_status_name(b->reqs[i].status),
				b->reqs[i].os_errno, f->reads, stops ? ", stops" : "");
			FX_CHECK(!"a status that this file's fate does not allow");
		}
		for (uint32_t i = 0; i < b->n; i++) {
			const struct cr_req *req = &b->reqs[i];

			FX_CHECK((req->fd != 0) == (b->batch.flags & CR_KEEP_OPEN && req->head_bytes));
			if (req->head_bytes)
				read_block(c, req, &c->files[first + i]);
			if (req->fd)
				close(req->fd);
		}
		c->sums[k] = sums_of(b);
		first += b->n;
	}
	return NULL;
}

/* ---- A seed ---- */

/* Time leaps while all sleep, so those threads that are not needed end soon: each when its wait has come
 * to its end once. */
static void wait_for_rest(struct cr_ctx *ctx)
{
	uint64_t most = sim_timeouts() + 2 * CR_WORKERS_MAX;

	for (bool rest = false; !rest; sched_yield()) {
		pthread_mutex_lock(&ctx->mu);
		rest = ctx->threads[LANE_BLOCK] == 1 && ctx->idle[LANE_BLOCK].n == 1;
		pthread_mutex_unlock(&ctx->mu);
		if (!rest && sim_timeouts() > most)
			FX_CHECK(!"a thread that has nothing to do does not end");
	}
}

static void check_idle(struct cr_ctx *ctx)
{
	wait_for_rest(ctx);
	pthread_mutex_lock(&ctx->mu);
	FX_CHECK(ctx->open_files == 0 && ctx->threads[LANE_RING] <= ctx->rings_max);
	FX_CHECK(ctx->waking == 0 && !ctx->refused);
	for (enum cr_lane lane = 0; lane < LANES; lane++)
		FX_CHECK(!ctx->lanes[lane] && ctx->queued[lane] == 0);
	for (uint32_t i = 0; i < CR_WORKERS_MAX; i++) {
		const struct cr_worker *w = &ctx->workers[i];

		FX_CHECK(w->state == WORKER_NONE || w->in_flight == 0);
		FX_CHECK(w->turn.n_ready == 0 && w->turn.n_fds == 0);
	}
	pthread_mutex_unlock(&ctx->mu);
	FX_CHECK(sim_open_fds() == 0);
	FX_CHECK(sim_pending() == 0);
}

static void end_caller(struct caller *c)
{
	for (uint32_t k = 0; k < c->n_batches; k++) {
		uint32_t *sums = sums_of(c->batches[k]);

		/* whoever wrote to a buffer after its batch */
		FX_CHECK(memcmp(sums, c->sums[k], c->batches[k]->n * sizeof(*sums)) == 0);
		for (uint32_t i = 0; i < c->batches[k]->n; i++)
			FX_CHECK(c->batches[k]->named[i] == (c->batches[k]->reqs[i].status == CR_OK));
		free(sums);
		free(c->sums[k]);
		fx_batch_free(c->batches[k]);
	}
}

static void run_callers(bool parallel)
{
	pthread_t threads[CALLERS_MAX];

	if (!parallel) {
		run_caller(&callers[0]);
		return;
	}
	for (uint32_t i = 0; i < n_callers; i++)
		FX_CHECK(pthread_create(&threads[i], NULL, run_caller, &callers[i]) == 0);
	for (uint32_t i = 0; i < n_callers; i++)
		pthread_join(threads[i], NULL);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void set_alarm(void) /* of each seed */
{
	alarm((unsigned int)number_from("CR_SIM_HANG_SECONDS", HANG_SECONDS));
}

static void run_seed(uint64_t number, uint32_t duplicate)
{
	uint64_t random = number * 0x9e3779b97f4a7c15u + 1;
	struct sim_plan plan;
	struct cr_options opt;
	struct fx fx = { 0 };
	uint32_t no_thread;
	bool parallel;

	seed = number;
	set_alarm();
	fx_random(&random);
	stops = starves = false;
	cancel_word = 0;
	parallel = !duplicate && one_in(&random, 5);
	giving = one_in(&random, 3) ? below(&random, 4) : GIVE_ALL;
	make_plan(&random, &plan);
	plan.duplicate = duplicate;
	choose_options(&random, parallel, &opt);
	n_callers = parallel ? 1 + below(&random, CALLERS_MAX) : 1;
	sim_begin(&plan);
	for (uint32_t i = 0; i < n_callers; i++) {
		callers[i] = (struct caller){ .number = i, .fx = &fx, .random = random + i * 77 };
		add_files(&callers[i]);
		choose_batches(&callers[i]);
	}
	no_thread = sim_plan.no_thread; /* from now on: without a first one no context opens */
	sim_plan.no_thread = 0;
	FX_CHECK(cr_ctx_open("store", &opt, &fx.ctx) == 0);
	sim_plan.no_thread = no_thread;
	sim_watch(fx.ctx);
	/* ends are handed over, and the first file of the context shows whether there is a page cache */
	repeats = !parallel && !callers[0].chunks && !stops && !starves && !plan.uncached && !plan.slow && !plan.eagain &&
		  !plan.no_cached && !plan.no_openat2 && !plan.no_nowait;
	run_callers(parallel);
	if (number % 4) /* else it is closed as soon as the last batch has returned */
		check_idle(fx.ctx);
	sim_watch(NULL);
	cr_ctx_close(fx.ctx);
	for (uint32_t i = 0; i < n_callers; i++)
		end_caller(&callers[i]);
	sim_end();
}

static void every_seed(void **state)
{
	uint64_t only = number_from("CR_SIM_SEED", 0);
	uint64_t seeds = number_from("CR_SIM_SEEDS", SEEDS_DEFAULT), calls = 0;

	(void)state;
	set_signals(on_signal);
	for (uint64_t n = only ? only : 1; n <= (only ? only : seeds); n++) {
		run_seed(n, 0);
		calls += sim_calls();
	}
	/* some have more metadata than is worth it */
	FX_CHECK(only || by_ends >= for_ends / 10 * 9);
	print_message("%u of %u chunks read at their ends\n", by_ends, for_ends);
	print_message("%llu seeds, %llu calls\n", (unsigned long long)(only ? 1 : seeds),
		      (unsigned long long)calls);
}

/* The calls that each file saw. */
static uint32_t calls_sum(void)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < sim_n_files; i++) {
		uint32_t calls[] = { sim_files[i].opens, sim_files[i].reads, sim_files[i].calls };

		sum = cr_crc32c(sum, calls, sizeof(calls));
	}
	return sum;
}

/* The same run twice makes the same calls, where nothing waits for other threads: what CR_SIM_SEED runs
 * again is what failed. Elsewhere only what happens to each file at its so-many-th call is the same. */
static void seeds_repeat(void **state)
{
	uint32_t compared = 0;

	(void)state;
	set_signals(on_signal);
	for (uint64_t n = 1; n <= 1500; n++) {
		uint32_t calls;

		run_seed(n, 0);
		calls = calls_sum();
		if (!repeats)
			continue;
		run_seed(n, 0);
		FX_CHECK(calls_sum() == calls);
		compared++;
	}
	print_message("%u compared\n", compared);
	assert_true(compared > 30);
}

/* ---- A completion that comes twice must not pass for another ---- */

static void child_duplicates(struct fx *fx)
{
	(void)fx;
	set_signals(SIG_DFL);
	run_seed(seed, 300);
	_exit(sim_duplicated ? 1 : 0);
}

static void duplicates_are_caught(void **state)
{
	uint32_t caught = 0;

	for (uint64_t n = 1; n <= 1200; n++) {
		int status;

		seed = n;
		set_alarm();
		status = fx_fork(*state, child_duplicates);
		if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP))
			caught++;
		else
			FX_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	print_message("%u of 1200 seeds had one\n", caught);
	assert_true(caught > 36);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, every_seed),
		FX_TEST_ON(FX_ONCE, seeds_repeat),
		FX_TEST_ON(FX_ONCE, duplicates_are_caught),
	};

	sim_buffer_live = buffer_live;
	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
