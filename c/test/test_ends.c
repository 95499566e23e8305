/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CR_READ_ENDS on every back-end: what is served of a chunk's ends is what the whole chunk says, whatever was
 * damaged; and what is refused ends as a whole read of it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fixture.h"

#include "chunk_build.h"
#include "corpus.h"

#define SYS_CACHESTAT 451
#define FETCHES_MAX   64u

/* ---- What the library asks the kernel to fetch ---- */

static struct fetches {
	pthread_mutex_t mu;
	pthread_t       caller;
	uint32_t        n, by_caller;
	off_t           off[FETCHES_MAX], bytes[FETCHES_MAX];
} fetches = { .mu = PTHREAD_MUTEX_INITIALIZER };
static _Atomic bool no_cachestat; /* nobody can tell what the page cache has */
static int file_system;           /* that of each folder; 0: what it is */

int __real_posix_fadvise(int fd, off_t off, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t off, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t off, off_t bytes, int advice)
{
	pthread_mutex_lock(&fetches.mu);
	if (advice == POSIX_FADV_WILLNEED && fetches.n < FETCHES_MAX) {
		fetches.off[fetches.n] = off;
		fetches.bytes[fetches.n++] = bytes;
		fetches.by_caller += pthread_equal(fetches.caller, pthread_self()) != 0;
	}
	pthread_mutex_unlock(&fetches.mu);
	return __real_posix_fadvise(fd, off, bytes, advice);
}

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_CACHESTAT && no_cachestat) {
		errno = ENOSYS;
		return -1;
	}
	return __real_syscall(number, a, b, c, d, e, f);
}

int __real_fstatfs(int fd, struct statfs *st);
int __wrap_fstatfs(int fd, struct statfs *st);
int __wrap_fstatfs(int fd, struct statfs *st)
{
	int res = __real_fstatfs(fd, st);

	if (file_system)
		st->f_type = file_system;
	return res;
}

/* ---- Reads ---- */

/* A new file, not the old one cut and filled: ext4 writes that to the disk at once. */
static uint32_t put_file(const struct fx *fx, const char *path, const void *content, size_t bytes)
{
	unlink(fx_path(fx, path));
	return fx_write_bytes(fx, path, content, bytes);
}

static struct fx_batch *read_one(struct fx *fx, uint32_t crc, const struct cr_batch *how)
{
	struct fx_batch *b = fx_batch_new(1);

	fx_batch_set(b, 0, "chunk", crc);
	b->batch = *how;
	fx_read(fx, b);
	return b;
}

static const struct cr_batch whole = { .flags = CR_CHECK_CHUNK };

static struct cr_batch at_ends(enum cr_seal seal)
{
	return (struct cr_batch){ .flags = CR_CHECK_CHUNK | CR_READ_ENDS, .seal = seal };
}

static void assert_same_end(const struct cr_req *a, const struct cr_req *b)
{
	assert_string_equal(cr_status_name(a->status), cr_status_name(b->status));
	assert_true(a->os_errno == b->os_errno && a->op == b->op && a->crc_got == b->crc_got &&
		    a->reason == b->reason && a->blocks_bad == b->blocks_bad && a->flags == b->flags &&
		    a->size_bytes == b->size_bytes && a->want_bytes == b->want_bytes);
}

/* The blocks and what is said of them are those of a sound file. */
static void assert_same_blocks(const struct cr_chunk *got, const uint8_t *metas, const struct cr_chunk *want,
			       const uint8_t *want_metas)
{
	struct cr_block_cursor a = { 0 }, b = { 0 };
	struct cr_block x, y;
	int more;

	while ((more = cr_chunk_meta_next(metas, got, &a, &x)) == 1) {
		assert_int_equal(cr_chunk_meta_next(want_metas, want, &b, &y), 1);
		assert_memory_equal(&x, &y, sizeof(x));
	}
	assert_int_equal(more, cr_chunk_meta_next(want_metas, want, &b, &y));
}

/* What was read of the ends says of the file what the sound file says itself. */
static void assert_tells(const struct cr_req *req, const uint8_t *file, size_t n)
{
	const uint8_t *buf = req->buf, *metas;
	struct cr_ends ends = { .head = buf, .tail = buf + req->head_bytes, .file_bytes = req->size_bytes,
				.head_bytes = req->head_bytes, .tail_bytes = req->tail_bytes };
	struct cr_chunk got, want;

	assert_int_equal(req->size_bytes, n);
	assert_int_equal(cr_chunk_outline(&ends, &got), CR_ENDS_OK);
	assert_int_equal(cr_chunk_parse(file, n, &want), CR_REASON_NONE);
	assert_same_chunk(&got, &want);
	assert_memory_equal(buf + 4, file + 4, got.body_off - 4); /* what the length of the metadata says is checked */
	assert_memory_equal(buf + got.symbols_off, file + got.symbols_off, got.symbols_bytes);
	metas = buf + req->want_bytes - (n - got.metas_off);
	assert_same_blocks(&got, metas, &want, file + want.metas_off);
}

/* ---- testdata ---- */

static struct fx *corpus_fx;
static uint32_t by_ends, sealed;

static void see(const char *path, const uint8_t *file, size_t n)
{
	uint32_t crc = put_file(corpus_fx, "chunk", file, n);
	struct fx_batch *all;

	(void)path;
	for (uint32_t wrong = 0; wrong < 2; wrong++) {
		all = read_one(corpus_fx, crc ^ wrong, &whole);
		for (enum cr_seal seal = CR_SEAL_OFF; seal <= CR_SEAL_ALWAYS; seal++) {
			struct cr_batch how = at_ends(seal);
			struct fx_batch *b = read_one(corpus_fx, crc ^ wrong, &how);
			const struct cr_req *req = &b->reqs[0];

			if (req->head_bytes) {
				assert_tells(req, file, n);
				assert_true(!wrong || !(req->flags & CR_REQ_SEALED));
				assert_true(seal != CR_SEAL_ALWAYS || req->flags & CR_REQ_SEALED);
				assert_int_equal(req->crc_got, req->flags & CR_REQ_SEALED ? crc : 0);
			} else {
				assert_same_end(req, &all->reqs[0]);
			}
			by_ends += req->head_bytes != 0;
			sealed += req->flags & CR_REQ_SEALED ? 1 : 0;
			fx_batch_free(b);
		}
		fx_batch_free(all);
	}
}

/* All that Loki writes. Not two whose blocks don't follow each other, and five of which what is no block fills
 * more than half. */
static void good_files(void **state)
{
	uint32_t files;

	corpus_fx = *state;
	by_ends = sealed = 0;
	files = corpus_each("good", see);
	assert_true(files > 60);
	/* the right checksum: always; a wrong one: where nobody looked at it */
	assert_in_range(by_ends, 4 * (files - 7), corpus_fx->ctx->no_cachestat ? 5 * (files - 7) : 4 * (files - 7));
	if (!corpus_fx->ctx->no_cachestat) /* else the page cache may have it, and nobody can tell */
		assert_int_equal(sealed, 2 * (files - 7));
}

static void bad_files(void **state)
{
	corpus_fx = *state;
	assert_true(corpus_each("bad", see) > 400);
}

/* ---- Damage ---- */

static const struct chunk_spec small[] = {
	{ .version = 4, .codec = CR_CODEC_GZIP, .blocks = 3, .block_bytes_each = 4000, .symbols_bytes = 40 },
	{ .version = 4, .codec = CR_CODEC_NONE, .blocks = 3, .block_bytes_each = 4000, .symbols_bytes = 40 },
	{ .version = 3, .codec = CR_CODEC_SNAPPY, .blocks = 3, .block_bytes_each = 4000 },
	{ .version = 3, .codec = CR_CODEC_NONE, .blocks = 3, .block_bytes_each = 4000 },
	{ .version = 1, .codec = CR_CODEC_GZIP, .blocks = 2, .block_bytes_each = 6000 },
};
#define SMALL (sizeof(small) / sizeof(small[0]))

/* Whether what was damaged is a block's own bytes: its CRC is the reader's of the block to look at. */
static bool in_blocks(const struct chunk_made *m, size_t at)
{
	return at >= m->blocks_off && at < m->metas_off;
}

/* crc is the sound file's. */
static void expect_sound_or_refused(struct fx *fx, const struct chunk_made *m, const uint8_t *sound, uint32_t crc,
				    size_t at, enum cr_seal seal)
{
	struct cr_batch how = at_ends(seal);
	struct fx_batch *b, *all;

	how.from_ns = how.through_ns = chunk_mint(0); /* whose first bytes are looked at */
	put_file(fx, "chunk", m->b.p, m->b.n);
	b = read_one(fx, crc, &how);
	if (b->reqs[0].head_bytes) {
		assert_tells(&b->reqs[0], sound, m->b.n);
		/* with the seal it is a block's bytes, of which the CRC behind them is not right any more */
		assert_true(seal != CR_SEAL_ALWAYS || in_blocks(m, at));
	} else {
		all = read_one(fx, crc, &whole);
		assert_int_equal(all->reqs[0].status, CR_BAD_CRC);
		assert_same_end(&b->reqs[0], &all->reqs[0]);
		fx_batch_free(all);
	}
	fx_batch_free(b);
}

static void flips(struct fx *fx, const struct chunk_spec *s, enum cr_seal seal)
{
	struct chunk_made m;
	uint32_t crc;
	uint8_t *sound;

	make_chunk(&m, s);
	crc = cr_crc32c(0, m.b.p, m.b.n);
	sound = exact_copy(m.b.p, m.b.n);
	for (size_t at = 0; at < m.b.n; at++) {
		if (at > m.blocks_off + 20 && at + 20 < m.metas_off)
			continue; /* amid the blocks */
		for (uint32_t bit = 0; bit < 8; bit++) {
			m.b.p[at] = sound[at] ^ (uint8_t)(1u << bit);
			expect_sound_or_refused(fx, &m, sound, crc, at, seal);
		}
		m.b.p[at] = sound[at];
	}
	free(sound);
	free(m.b.p);
}

static void every_flip_at_both_ends(void **state)
{
	for (size_t i = 0; i < SMALL; i++) {
		flips(*state, &small[i], CR_SEAL_OFF);
		flips(*state, &small[i], CR_SEAL_ALWAYS);
	}
}

/* The last blocks are in the tail: flipped CRC words of theirs break the seal, too. */
static void flipped_block_crc_breaks_the_seal(void **state)
{
	struct chunk_made m;
	uint32_t crc;

	make_chunk(&m, &small[2]);
	crc = cr_crc32c(0, m.b.p, m.b.n);
	for (uint32_t i = 1; i <= 3; i++) { /* the first is between the ends */
		struct cr_batch how = at_ends(CR_SEAL_ALWAYS);
		size_t at = m.blocks_off + i * 4004ul - 1;
		struct fx_batch *b;

		m.b.p[at] ^= 1;
		put_file(*state, "chunk", m.b.p, m.b.n);
		b = read_one(*state, crc, &how);
		fx_assert_status(b, 0, CR_BAD_CRC);
		assert_int_equal(b->reqs[0].head_bytes, 0);
		fx_batch_free(b);
		m.b.p[at] ^= 1;
	}
	free(m.b.p);
}

static void every_cut(void **state)
{
	struct cr_batch how = at_ends(CR_SEAL_OFF);
	struct fx_batch *b, *all;
	struct chunk_made m;
	uint32_t crc;

	make_chunk(&m, &small[0]);
	crc = cr_crc32c(0, m.b.p, m.b.n);
	for (size_t n = 0; n < m.b.n; n += n < 600 || n + 600 > m.b.n ? 1 : 97) {
		put_file(*state, "chunk", m.b.p, n);
		b = read_one(*state, crc, &how);
		all = read_one(*state, crc, &whole);
		assert_int_equal(b->reqs[0].head_bytes, 0);
		assert_same_end(&b->reqs[0], &all->reqs[0]);
		fx_batch_free(b);
		fx_batch_free(all);
	}
	free(m.b.p);
}

/* A codec that a flipped bit made another's, with the seal off: what is in the head tells it. */
static void another_codec(void **state)
{
	static const uint8_t codecs[] = { CR_CODEC_NONE, CR_CODEC_GZIP, CR_CODEC_LZ4_64K, CR_CODEC_SNAPPY,
					  CR_CODEC_LZ4_4M, CR_CODEC_FLATE, CR_CODEC_ZSTD };
	const size_t n = sizeof(codecs);

	for (size_t i = 0; i < n * n * 2; i++) {
		uint8_t is = codecs[i % n], says = codecs[i / n % n], version = i / n / n ? 4 : 3;
		struct chunk_spec s = { .version = version, .codec = is, .blocks = 2, .block_bytes_each = 9000,
					.symbols_bytes = 40 };
		bool lz4 = (is == CR_CODEC_LZ4_64K && says == CR_CODEC_LZ4_4M) ||
			   (says == CR_CODEC_LZ4_64K && is == CR_CODEC_LZ4_4M);
		struct cr_batch how = at_ends(CR_SEAL_OFF);
		struct fx_batch *b;
		struct chunk_made m;
		uint32_t crc;

		how.from_ns = how.through_ns = chunk_mint(0);
		make_chunk(&m, &s);
		m.b.p[m.data_off + 5] = says;
		crc = put_file(*state, "chunk", m.b.p, m.b.n);
		b = read_one(*state, crc, &how);
		fx_assert_status(b, 0, CR_OK);
		if (((struct fx *)*state)->ctx->no_cachestat && version < 4)
			assert_true(b->reqs[0].head_bytes || is != says); /* nobody can tell what may be looked at */
		else
			assert_int_equal(b->reqs[0].head_bytes != 0, is == says || lz4);
		fx_batch_free(b);
		free(m.b.p);
	}
}

/* ---- Which files ---- */

static uint32_t head_of(struct fx *fx, const struct chunk_spec *s, const struct cr_batch *how, struct fx_batch **out)
{
	struct chunk_made m;
	struct fx_batch *b;
	uint32_t crc, head;

	make_chunk(&m, s);
	crc = put_file(fx, "chunk", m.b.p, m.b.n);
	b = read_one(fx, crc, how);
	fx_assert_status(b, 0, CR_OK);
	head = b->reqs[0].head_bytes;
	if (head)
		assert_tells(&b->reqs[0], m.b.p, m.b.n);
	else
		assert_memory_equal(b->reqs[0].buf, m.b.p, m.b.n);
	free(m.b.p);
	if (out)
		*out = b;
	else
		fx_batch_free(b);
	return head;
}

static void a_large_file_takes_two_pages(void **state)
{
	struct chunk_spec s = { .version = 4, .codec = CR_CODEC_SNAPPY, .blocks = 13, .block_bytes_each = 98000,
				.symbols_bytes = 300 };
	struct cr_batch how = at_ends(CR_SEAL_ALWAYS);
	struct fx_batch *b;

	how.ends_bytes_min = 128u << 10;
	assert_int_equal(head_of(*state, &s, &how, &b), CR_ENDS_FIRST_BYTES);
	assert_int_equal(b->mem_bytes[0], 2 * CR_ENDS_FIRST_BYTES);
	assert_int_equal(b->asked[0], 1);
	assert_int_equal(b->reqs[0].flags, CR_REQ_SEALED);
	fx_batch_free(b);
}

static void larger_ends_are_read_again(void **state)
{
	struct chunk_spec s = { .version = 4, .codec = CR_CODEC_SNAPPY, .blocks = 13, .block_bytes_each = 20000,
				.symbols_bytes = 300, .json_bytes = 10000 };
	struct chunk_spec metas = { .version = 3, .codec = CR_CODEC_SNAPPY, .blocks = 400,
				    .block_bytes_each = 400 };
	struct cr_batch how = at_ends(CR_SEAL_ALWAYS);
	struct fx_batch *b;

	assert_int_equal(head_of(*state, &s, &how, &b), 3 * CR_ENDS_FIRST_BYTES);
	assert_int_equal(b->asked[0], 2);
	fx_batch_free(b);
	assert_int_equal(head_of(*state, &metas, &how, &b), CR_ENDS_FIRST_BYTES);
	assert_int_equal(b->reqs[0].tail_bytes, 3 * CR_ENDS_FIRST_BYTES);
	fx_batch_free(b);
	s.symbols_bytes = 50000; /* with it more than a quarter */
	s.blocks = 8;
	assert_int_equal(head_of(*state, &s, &how, &b), 0);
	assert_true(b->asked[0] <= 3);
	fx_batch_free(b);
	s.symbols_bytes = 70000; /* more than 64 KiB */
	s.blocks = 40;
	assert_int_equal(head_of(*state, &s, &how, NULL), 0);
}

static void limits_hold(void **state)
{
	struct chunk_spec s = { .version = 3, .codec = CR_CODEC_GZIP, .blocks = 10,
				.block_bytes_each = CR_ENDS_BLOCK_BYTES_MIN };
	struct cr_batch how = at_ends(CR_SEAL_OFF);
	struct fx_batch *b;
	uint32_t bytes;

	how.ends_bytes_min = 128u << 10;
	assert_true(head_of(*state, &s, &how, &b) > 0);
	bytes = b->reqs[0].size_bytes;
	fx_batch_free(b);
	how.ends_bytes_min = bytes - 1;
	assert_true(head_of(*state, &s, &how, NULL) > 0);
	how.ends_bytes_min = bytes; /* no larger than that */
	assert_int_equal(head_of(*state, &s, &how, NULL), 0);
	how.ends_bytes_min = 128u << 10;
	s.block_bytes_each -= 5; /* with the CRC */
	assert_int_equal(head_of(*state, &s, &how, NULL), 0);
	s.blocks = 2;
	s.block_bytes_each = CR_BLOCK_BYTES_MAX;
	assert_true(head_of(*state, &s, &how, NULL) > 0);
	s.block_bytes_each++;
	assert_int_equal(head_of(*state, &s, &how, NULL), 0);
}

static void malformed_batches(void **state)
{
	struct fx *fx = *state;
	struct cr_req req = { .path = "chunk" };
	struct cr_batch b = { .reqs = &req, .n = 1, .flags = CR_READ_ENDS };

	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b.flags |= CR_CHECK_CRC;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b.flags = CR_CHECK_CHUNK | CR_KEEP_OPEN;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b.flags = CR_CHECK_CHUNK | CR_READ_ENDS;
	b.seal = CR_SEAL_ALWAYS + 1;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b.seal = 0;
	assert_int_equal(cr_batch_read(fx->ctx, &b), 0);
	assert_int_equal(req.status, CR_NOT_FOUND);
}

/* ---- Files that stay open ---- */

/* What is the caller's: of a file that was read at its ends, and of no other. */
static void files_stay_open(void **state)
{
	struct chunk_spec s = { .version = 4, .codec = CR_CODEC_SNAPPY, .blocks = 13, .block_bytes_each = 98000,
				.symbols_bytes = 300 };
	struct cr_batch how = at_ends(CR_SEAL_ALWAYS);
	uint32_t fds = fx_count_fds();
	struct fx_batch *b;
	char byte;

	how.flags |= CR_KEEP_OPEN;
	assert_true(head_of(*state, &s, &how, &b) > 0);
	assert_true(b->reqs[0].fd > 0);
	assert_int_equal(pread(b->reqs[0].fd, &byte, 1, b->reqs[0].size_bytes - 1), 1);
	assert_int_equal(fcntl(b->reqs[0].fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fx_count_fds(), fds + 1);
	close(b->reqs[0].fd);
	fx_batch_free(b);

	s.json_bytes = 10000; /* it is opened twice */
	assert_true(head_of(*state, &s, &how, &b) > 0);
	assert_int_equal(fx_count_fds(), fds + 1);
	close(b->reqs[0].fd);
	fx_batch_free(b);

	how.ends_bytes_min = UINT32_MAX; /* read whole */
	assert_int_equal(head_of(*state, &s, &how, &b), 0);
	assert_int_equal(b->reqs[0].fd, 0);
	fx_batch_free(b);
	b = read_one(*state, 1, &how); /* and damaged */
	fx_assert_status(b, 0, CR_BAD_CRC);
	assert_int_equal(b->reqs[0].fd, 0);
	fx_batch_free(b);
	assert_int_equal(fx_count_fds(), fds);
}

/* ---- The seal ---- */

static void a_wrong_key_is_found_by_the_seal(void **state)
{
	struct cr_batch how = at_ends(CR_SEAL_ALWAYS);
	struct chunk_made m;
	struct fx_batch *b;
	uint32_t crc;

	make_chunk(&m, &small[0]);
	crc = put_file(*state, "chunk", m.b.p, m.b.n);
	b = read_one(*state, crc + 1, &how);
	fx_assert_status(b, 0, CR_BAD_CRC);
	assert_int_equal(b->reqs[0].crc_got, crc);
	fx_batch_free(b);
	how.seal = CR_SEAL_OFF;
	b = read_one(*state, crc + 1, &how);
	fx_assert_status(b, 0, CR_OK);
	assert_true(b->reqs[0].head_bytes > 0 && b->reqs[0].flags == 0);
	fx_batch_free(b);
	free(m.b.p);
}

/* Where nothing is in the page cache, a thread that may block reads what "always" takes, and nobody does for
 * "resident". */
static void cold_seals(void **state)
{
	struct chunk_spec s = { .version = 3, .codec = CR_CODEC_GZIP, .blocks = 10, .block_bytes_each = 20000 };
	struct cr_batch how = at_ends(CR_SEAL_RESIDENT);
	struct fx_batch *b;

	fault_plan.cold = true;
	assert_true(head_of(*state, &s, &how, &b) > 0);
	assert_int_equal(b->reqs[0].flags, 0);
	fx_batch_free(b);
	how.seal = CR_SEAL_ALWAYS;
	assert_true(head_of(*state, &s, &how, &b) > 0);
	assert_int_equal(b->reqs[0].flags, CR_REQ_SEALED);
	fx_batch_free(b);
	fault_plan.cold = false;
	fault_plan.eintr = fault_plan.short_read = 300;
	for (fault_plan.seed = 1; fault_plan.seed < 50; fault_plan.seed++) {
		assert_true(head_of(*state, &s, &how, &b) > 0);
		assert_int_equal(b->reqs[0].flags, CR_REQ_SEALED);
		fx_batch_free(b);
	}
}

/* ---- What is fetched ---- */

static const struct chunk_spec ten = { .version = 3, .codec = CR_CODEC_GZIP, .blocks = 10,
				       .block_bytes_each = 100000 };

/* Reads it with nobody knowing what is in the page cache. Returns how many calls there were for what lies between
 * the ends. */
static uint32_t fetched(struct fx *fx, const struct cr_batch *how)
{
	uint32_t kept = 0;

	fetches.n = fetches.by_caller = 0;
	fetches.caller = pthread_self();
	assert_true(head_of(fx, &ten, how, NULL) > 0);
	assert_int_equal(fetches.by_caller, 0);
	for (uint32_t i = 0; i < fetches.n; i++) {
		if (fetches.bytes[i] <= 2 * (off_t)CR_ENDS_FIRST_BYTES)
			continue; /* the tail, in whole pages */
		fetches.off[kept] = fetches.off[i];
		fetches.bytes[kept++] = fetches.bytes[i];
	}
	return kept;
}

/* Blocks first to last (0 to 9) in whole pages, and nothing else, in steps, in this order. */
static void assert_fetches(struct fx *fx, const struct cr_batch *how, off_t first, off_t last)
{
	uint32_t n = fetched(fx, how);
	off_t begin, end, at, page = sysconf(_SC_PAGESIZE);
	struct chunk_made m;

	make_chunk(&m, &ten);
	begin = (off_t)m.blocks_off + first * 100004;
	end = (off_t)m.blocks_off + (last + 1) * 100004;
	free(m.b.p);
	begin = begin / page * page;
	end = (end + page - 1) / page * page;
	assert_int_equal(n, (end - begin + CR_READAHEAD_BYTES - 1) / CR_READAHEAD_BYTES);
	at = how->backward ? end : begin;
	for (uint32_t i = 0; i < n; i++) {
		assert_in_range(fetches.bytes[i], 1, CR_READAHEAD_BYTES);
		at -= how->backward ? fetches.bytes[i] : 0;
		assert_int_equal(fetches.off[i], at);
		at += how->backward ? 0 : fetches.bytes[i];
	}
	assert_int_equal(at, how->backward ? begin : end);
}

static void wanted_blocks_are_fetched(void **state)
{
	struct cr_batch how = at_ends(CR_SEAL_RESIDENT);
	struct fx *fx = *state;

	no_cachestat = true;
	fx_open(fx, NULL); /* one that has not asked yet */
	how.from_ns = chunk_mint(2) + 50;
	how.through_ns = chunk_mint(6);
	for (uint32_t backward = 0; backward < 2; backward++) {
		how.backward = backward;
		how.ahead = UINT32_MAX;
		assert_fetches(fx, &how, 2, 6);
		how.ahead = 5;
		assert_fetches(fx, &how, 2, 6);
		how.ahead = 1;
		assert_fetches(fx, &how, backward ? 6 : 2, backward ? 6 : 2);
		how.ahead = 3;
		assert_fetches(fx, &how, backward ? 4 : 2, backward ? 6 : 4);
		how.ahead = 0;
		assert_int_equal(fetched(fx, &how), 0);
	}
	how.ahead = UINT32_MAX;
	how.from_ns = chunk_mint(3) + 99; /* both times are included */
	how.through_ns = chunk_mint(3) + 99;
	how.backward = false;
	assert_fetches(fx, &how, 3, 3);
	how.from_ns = chunk_mint(10);
	how.through_ns = INT64_MAX;
	assert_int_equal(fetched(fx, &how), 0);
	how.through_ns = chunk_mint(0) - 1;
	how.from_ns = INT64_MIN;
	assert_int_equal(fetched(fx, &how), 0);
	no_cachestat = false;
	fx_open(fx, NULL);
}

/* What was just written is in the page cache, and the kernel says so (6.5). */
static void nothing_is_fetched_twice(void **state)
{
	struct cr_batch how = at_ends(CR_SEAL_RESIDENT);
	struct fx *fx = *state;

	how.ahead = UINT32_MAX;
	how.through_ns = INT64_MAX;
	assert_true(head_of(fx, &ten, &how, NULL) > 0);
	if (fx->ctx->no_cachestat) {
		print_message("left out: this kernel has no cachestat(2)\n");
		return;
	}
	assert_int_equal(fetched(fx, &how), 0);
}

/* cachestat(2) is not asked there: it would say that nothing is cached, and nothing would be fetched. */
static void overlayfs_hides_the_cache(void **state)
{
	struct cr_batch how = at_ends(CR_SEAL_RESIDENT);
	struct fx *fx = *state;

	how.ahead = UINT32_MAX;
	how.through_ns = INT64_MAX;
	file_system = OVERLAYFS_SUPER_MAGIC;
	fx_open(fx, NULL);
	assert_true(fx->ctx->no_cachestat);
	assert_true(head_of(fx, &ten, &how, NULL) > 0);
	assert_true(fetched(fx, &how) > 0); /* who can't tell fetches */
	file_system = EXT4_SUPER_MAGIC;
	fx_open(fx, NULL);
	assert_false(fx->ctx->no_cachestat);
	file_system = 0;
	fx_open(fx, NULL);
}

/* ---- A file that goes ---- */

static void (*between)(struct fx *fx);
static struct fx *between_fx;

static int call_between(struct fx_batch *b, uint32_t first, uint32_t n)
{
	(void)b;
	(void)first;
	(void)n;
	if (between)
		between(between_fx);
	between = NULL;
	return 0;
}

static void truncate_it(struct fx *fx)
{
	assert_int_equal(truncate(fx_path(fx, "chunk"), 9000), 0);
}

static void replace_it(struct fx *fx) /* what is open stays */
{
	assert_int_equal(rename(fx_path(fx, "other"), fx_path(fx, "chunk")), 0);
}

static void changed_while_it_is_read(void **state)
{
	static const struct {
		void   (*what)(struct fx *fx);
		uint32_t status;
	} changes[] = { { truncate_it, CR_SHORT }, { replace_it, CR_OK } };

	between_fx = *state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct fx_batch *b = fx_batch_new(1);
		struct chunk_made m;

		make_chunk(&m, &small[0]);
		fx_write(*state, "other", 20000);
		fx_batch_set(b, 0, "chunk", put_file(*state, "chunk", m.b.p, m.b.n));
		b->batch = at_ends(CR_SEAL_ALWAYS);
		b->may_grow = true;
		between = changes[i].what;
		b->hook = call_between;
		fx_read(*state, b);
		/* cut, it is opened anew for a whole read, and is as long as it is */
		fx_assert_status(b, 0, changes[i].status == CR_OK ? CR_OK : CR_BAD_CRC);
		assert_int_equal(b->reqs[0].head_bytes > 0, changes[i].status == CR_OK);
		fx_batch_free(b);
		free(m.b.p);
	}
}

/* ---- Many at a time ---- */

static void large_batches_of_all_kinds(void **state)
{
	struct chunk_spec s = { .version = 3, .codec = CR_CODEC_GZIP, .blocks = 5, .block_bytes_each = 3000 };
	struct fx_batch *b = fx_batch_new(3000);
	struct chunk_made m;
	uint32_t crc, torn;

	make_chunk(&m, &s);
	crc = put_file(*state, "chunk", m.b.p, m.b.n);
	torn = put_file(*state, "torn", m.b.p, m.b.n - 1);
	for (uint32_t i = 0; i < b->n; i++)
		fx_batch_set(b, i, i % 5 == 1 ? "torn" : i % 5 == 2 ? "missing" : "chunk", i % 5 == 1 ? torn : crc);
	b->batch = at_ends(CR_SEAL_RESIDENT);
	b->may_grow = true;
	fx_read(*state, b);
	for (uint32_t i = 0; i < b->n; i++) {
		fx_assert_status(b, i, i % 5 == 1 ? CR_BAD_FORMAT : i % 5 == 2 ? CR_NOT_FOUND : CR_OK);
		if (b->reqs[i].status == CR_OK)
			assert_tells(&b->reqs[i], m.b.p, m.b.n);
	}
	fx_batch_free(b);
	free(m.b.p);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST(good_files),
		FX_TEST(bad_files),
		FX_TEST(every_flip_at_both_ends),
		FX_TEST(flipped_block_crc_breaks_the_seal),
		FX_TEST(every_cut),
		FX_TEST(another_codec),
		FX_TEST(a_large_file_takes_two_pages),
		FX_TEST(larger_ends_are_read_again),
		FX_TEST(limits_hold),
		FX_TEST_ON(FX_THREADS, malformed_batches),
		FX_TEST(files_stay_open),
		FX_TEST(a_wrong_key_is_found_by_the_seal),
		FX_TEST_ON(FX_FAULT, cold_seals),
		FX_TEST(wanted_blocks_are_fetched),
		FX_TEST_ON(FX_URING | FX_THREADS, nothing_is_fetched_twice),
		FX_TEST_ON(FX_URING | FX_THREADS, overlayfs_hides_the_cache),
		FX_TEST(changed_while_it_is_read),
		FX_TEST(large_batches_of_all_kinds),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
