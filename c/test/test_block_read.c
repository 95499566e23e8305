/* SPDX-License-Identifier: Apache-2.0 */
/* One block of a file at a time: the bytes that the whole file gives, or a status that says why not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

#include "block.h"
#include "block_build.h"
#include "chunk_build.h"
#include "corpus.h"

static struct {
	off_t    off, bytes;
	uint32_t n;
} fetched;

int __real_posix_fadvise(int fd, off_t off, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t off, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t off, off_t bytes, int advice)
{
	if (fetched.n++ == 0)
		fetched.off = off;
	fetched.bytes += bytes;
	return __real_posix_fadvise(fd, off, bytes, advice);
}

#define assert_read(got, want) assert_string_equal(cr_block_read_status_name(got), cr_block_read_status_name(want))

/* ---- A chunk with real blocks ---- */

#define RAW_BYTES 100000u

static void put_real(struct buf *b, const struct chunk_spec *s, uint32_t i, uint32_t n)
{
	struct buf raw = lines(n);

	raw.p[0] = (uint8_t)i; /* each is another */
	switch (s->codec) {
	case CR_CODEC_NONE:   put(b, raw.p, raw.n); break;
	case CR_CODEC_GZIP:   put_gzip(b, &raw); break;
	case CR_CODEC_SNAPPY: put_snappy(b, &raw); break;
	case CR_CODEC_FLATE:  put_flate(b, &raw); break;
	case CR_CODEC_ZSTD:   put_zstd(b, &raw); break;
	default:              put_lz4(b, &raw); break;
	}
	free(raw.p);
}

static const uint8_t codecs[] = { CR_CODEC_NONE, CR_CODEC_GZIP, CR_CODEC_SNAPPY, CR_CODEC_FLATE, CR_CODEC_ZSTD,
				  CR_CODEC_LZ4_4M };
#define CODECS (sizeof(codecs) / sizeof(codecs[0]))

struct world {
	struct fx              *fx;
	struct chunk_made       m;
	struct cr_block         blocks[4];
	struct cr_decompressor *decompressor;
	uint8_t                *dst;
	struct cr_block_read    read;
};

static void find_blocks(struct world *w)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_chunk chunk;
	uint32_t n = 0;

	assert_int_equal(cr_chunk_parse(w->m.b.p, w->m.b.n, &chunk), CR_REASON_NONE);
	while (n < 4 && cr_chunk_block_next(w->m.b.p, &chunk, &cursor, &w->blocks[n]) == 1)
		n++;
}

static void begin(struct world *w, struct fx *fx, uint8_t codec)
{
	struct chunk_spec s = { .version = 4, .codec = codec, .blocks = 3, .block_bytes_each = RAW_BYTES,
				.put_bytes = put_real, .symbols_bytes = 40 };

	*w = (struct world){ .fx = fx, .dst = malloc(RAW_BYTES) };
	assert_non_null(w->dst);
	assert_int_equal(cr_decompressor_open(&w->decompressor), 0);
	make_chunk(&w->m, &s);
	fx_write_bytes(fx, "t/chunk", w->m.b.p, w->m.b.n);
	find_blocks(w);
	w->read = (struct cr_block_read){ .path = "t/chunk", .codec = codec, .off = w->blocks[1].off,
					  .bytes = (uint32_t)w->blocks[1].bytes, .dst = w->dst,
					  .cap_bytes = RAW_BYTES };
}

static void end(struct world *w)
{
	cr_decompressor_close(w->decompressor);
	free(w->m.b.p);
	free(w->dst);
}

static uint32_t read_it(struct world *w)
{
	uint32_t fds = fx_count_fds(), status = cr_block_read(w->fx->ctx, w->decompressor, &w->read);

	assert_int_equal(fx_count_fds(), fds);
	assert_int_equal(status, w->read.status);
	assert_int_equal(w->read.op != 0, status == CR_BLOCK_READ_IO);
	assert_true(status == CR_BLOCK_READ_OK || status == CR_BLOCK_READ_ROOM || w->read.raw_bytes == 0);
	return status;
}

static void assert_right(const struct world *w, uint32_t block)
{
	struct buf want = lines(RAW_BYTES);

	want.p[0] = (uint8_t)block;
	assert_int_equal(w->read.raw_bytes, RAW_BYTES);
	assert_memory_equal(w->dst, want.p, RAW_BYTES);
	free(want.p);
}

/* ---- Sound blocks ---- */

static void every_codec(void **state)
{
	for (size_t i = 0; i < CODECS; i++) {
		struct world w;

		begin(&w, *state, codecs[i]);
		for (uint32_t k = 0; k < 3; k++) {
			w.read.off = w.blocks[k].off;
			w.read.bytes = (uint32_t)w.blocks[k].bytes;
			assert_read(read_it(&w), CR_BLOCK_READ_OK);
			assert_right(&w, k);
			assert_int_equal(w.read.crc_got, cr_crc32c(0, w.m.b.p + w.read.off, w.read.bytes));
		}
		end(&w);
	}
}

static void room(void **state)
{
	for (size_t i = 0; i < CODECS; i++) {
		struct world w;

		begin(&w, *state, codecs[i]);
		w.read.cap_bytes = RAW_BYTES - 1;
		assert_read(read_it(&w), CR_BLOCK_READ_ROOM);
		assert_true(w.read.raw_bytes == 0 || w.read.raw_bytes >= RAW_BYTES);
		w.read.cap_bytes = RAW_BYTES;
		assert_read(read_it(&w), CR_BLOCK_READ_OK);
		assert_right(&w, 1);
		end(&w);
	}
}

static void raw(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_GZIP);
	w.read.codec = 77; /* nobody looks */
	assert_read(cr_block_read_raw(w.fx->ctx, &w.read), CR_BLOCK_READ_OK);
	assert_int_equal(w.read.raw_bytes, w.blocks[1].bytes);
	assert_memory_equal(w.dst, w.m.b.p + w.blocks[1].off, w.read.raw_bytes);
	w.read.cap_bytes = w.blocks[1].bytes - 1;
	assert_read(cr_block_read_raw(w.fx->ctx, &w.read), CR_BLOCK_READ_ROOM);
	assert_int_equal(w.read.raw_bytes, w.blocks[1].bytes);
	end(&w);
}

static struct fx *corpus_fx;

static void see(const char *path, const uint8_t *file, size_t n)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_decompressor *decompressor;
	struct cr_chunk chunk;
	struct cr_block b;

	(void)path;
	if (cr_chunk_parse(file, n, &chunk) != CR_REASON_NONE)
		return;
	unlink(fx_path(corpus_fx, "chunk"));
	fx_write_bytes(corpus_fx, "chunk", file, n);
	assert_int_equal(cr_decompressor_open(&decompressor), 0);
	while (cr_chunk_block_next(file, &chunk, &cursor, &b) == 1) {
		uint8_t *dst = malloc(1u << 20), *want = malloc(1u << 20);
		struct cr_block_read r = { .path = "chunk", .codec = chunk.codec, .off = b.off,
					   .bytes = (uint32_t)b.bytes, .dst = dst, .cap_bytes = 1u << 20 };
		struct cr_decompress d = { .src = file + b.off, .src_bytes = b.bytes, .codec = chunk.codec,
					   .dst = want, .cap_bytes = 1u << 20 };

		assert_true(dst && want);
		cr_block_read(corpus_fx->ctx, decompressor, &r);
		if (b.state == CR_BLOCK_RECORDED) {
			cr_block_decompress(decompressor, &d);
			assert_int_equal(r.status == CR_BLOCK_READ_OK, d.status == CR_DECOMPRESS_OK);
			assert_int_equal(r.status == CR_BLOCK_READ_UNSURE, d.status == CR_DECOMPRESS_UNSURE);
			assert_int_equal(r.raw_bytes, d.raw_bytes);
			assert_true(r.status != CR_BLOCK_READ_OK || memcmp(dst, want, r.raw_bytes) == 0);
		} else { /* elsewhere, or nowhere */
			assert_true(r.status == CR_BLOCK_READ_BAD_CRC || r.status == CR_BLOCK_READ_SHORT ||
				    r.status == CR_BLOCK_READ_REFUSED || r.status == CR_BLOCK_READ_IO);
		}
		free(dst);
		free(want);
	}
	cr_decompressor_close(decompressor);
}

static void all_of_testdata(void **state)
{
	corpus_fx = *state;
	assert_true(corpus_each("good", see) > 60);
	assert_true(corpus_each("bad", see) > 400);
}

static void empty_block(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_NONE);
	w.read.bytes = 0;
	w.read.cap_bytes = 0;
	w.read.dst = NULL;
	w.read.off = 0;
	fx_write_bytes(w.fx, "t/chunk", "\0\0\0\0", 4); /* the CRC of nothing */
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_int_equal(w.read.raw_bytes, 0);
	end(&w);
}

/* ---- Damage ---- */

static void every_flip_of_a_block(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_SNAPPY);
	for (size_t at = w.blocks[1].off; at < w.blocks[2].off; at++) {
		if (at > w.blocks[1].off + 30 && at + 30 < w.blocks[2].off && at % 997)
			continue;
		w.m.b.p[at] ^= (uint8_t)(1u << at % 8);
		fx_write_bytes(w.fx, "t/chunk", w.m.b.p, w.m.b.n);
		assert_read(read_it(&w), CR_BLOCK_READ_BAD_CRC);
		assert_int_equal(w.read.crc_got, cr_crc32c(0, w.m.b.p + w.read.off, w.read.bytes));
		assert_read(cr_block_read_raw(w.fx->ctx, &w.read), CR_BLOCK_READ_BAD_CRC);
		w.m.b.p[at] ^= (uint8_t)(1u << at % 8);
	}
	fx_write_bytes(w.fx, "t/chunk", w.m.b.p, w.m.b.n);
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	end(&w);
}

/* A block's CRC says nothing of the codec that a flipped bit in the header made of its own. */
static void another_codec(void **state)
{
	for (size_t i = 0; i < CODECS * CODECS; i++) {
		uint8_t is = codecs[i % CODECS], says = codecs[i / CODECS];
		struct world w;

		begin(&w, *state, is);
		w.read.codec = says;
		if (is == says || (is == CR_CODEC_FLATE && says == CR_CODEC_NONE)) /* no mark: ends.c looks */
			assert_read(read_it(&w), CR_BLOCK_READ_OK);
		else
			assert_int_not_equal(read_it(&w), CR_BLOCK_READ_OK); /* ROOM, where it says it is more */
		w.read.codec = 2; /* nobody's */
		assert_read(read_it(&w), CR_BLOCK_READ_BAD);
		end(&w);
	}
}

static void a_file_that_went_or_shrank(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_GZIP);
	assert_int_equal(truncate(fx_path(w.fx, "t/chunk"), (off_t)(w.read.off + w.read.bytes + 3)), 0);
	assert_read(read_it(&w), CR_BLOCK_READ_SHORT);
	assert_int_equal(truncate(fx_path(w.fx, "t/chunk"), 10), 0);
	assert_read(read_it(&w), CR_BLOCK_READ_SHORT);
	assert_int_equal(unlink(fx_path(w.fx, "t/chunk")), 0);
	assert_read(read_it(&w), CR_BLOCK_READ_NOT_FOUND);
	fx_write(w.fx, "t/chunk", w.m.b.n); /* another file of that name */
	assert_read(read_it(&w), CR_BLOCK_READ_BAD_CRC);
	fx_write_bytes(w.fx, "t/new", w.m.b.p, w.m.b.n); /* an equal one */
	assert_int_equal(rename(fx_path(w.fx, "t/new"), fx_path(w.fx, "t/chunk")), 0);
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_right(&w, 1);
	end(&w);
}

/* ---- What is no chunk's file ---- */

static void refused(void **state)
{
	static const char *const paths[] = { "", "/etc/passwd", "../chunk", "t/../t/chunk", "t//chunk", "t/./chunk",
					     "link", "dirlink/chunk", "t", "fifo" };
	struct fx *fx = *state;
	struct world w;

	begin(&w, fx, CR_CODEC_GZIP);
	assert_int_equal(symlink("t/chunk", fx_path(fx, "link")), 0);
	assert_int_equal(symlink("t", fx_path(fx, "dirlink")), 0);
	assert_int_equal(mkfifo(fx_path(fx, "fifo"), 0600), 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		w.read.path = paths[i];
		assert_read(read_it(&w), CR_BLOCK_READ_REFUSED);
		assert_read(cr_block_read_raw(fx->ctx, &w.read), CR_BLOCK_READ_REFUSED);
	}
	w.read.path = "t/chunk";
	w.read.path_bytes = 6; /* a lie */
	assert_read(read_it(&w), CR_BLOCK_READ_REFUSED);
	w.read.path_bytes = 7;
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	w.read.bytes = CR_BLOCK_BYTES_MAX + 1;
	assert_read(read_it(&w), CR_BLOCK_READ_REFUSED);
	w.read.bytes = 100;
	w.read.off = UINT64_MAX - 50;
	assert_read(read_it(&w), CR_BLOCK_READ_IO);
	assert_int_equal(w.read.os_errno, EINVAL);
	end(&w);
}

/* ---- A system that fails ---- */

static void interrupted_and_short_reads(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_ZSTD);
	fault_plan.short_read = 500;
	for (fault_plan.seed = 1; fault_plan.seed < 100; fault_plan.seed++) {
		assert_read(read_it(&w), CR_BLOCK_READ_OK);
		assert_right(&w, 1);
	}
	assert_true(fault_injected > 0);
	fault_reset();
	fault_rule("t/chunk", STEP_OPEN, EINTR, 7);
	fault_rule("t/chunk", STEP_READ, EINTR, 7);
	fault_rule("t/chunk", STEP_READ, EAGAIN, 7);
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_right(&w, 1);
	assert_int_equal(fault_injected, 21);
	end(&w);
}

static void expect_failure(struct world *w, enum cr_step step, int err, uint32_t times, uint32_t status)
{
	fault_reset();
	fault_rule("t/chunk", step, err, times);
	assert_read(read_it(w), status);
	if (status != CR_BLOCK_READ_IO)
		return;
	assert_int_equal(w->read.os_errno, err);
	assert_int_equal(w->read.op, step == STEP_OPEN ? CR_OP_OPEN : CR_OP_READ);
}

static void failures(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_ZSTD);
	expect_failure(&w, STEP_OPEN, EIO, 1, CR_BLOCK_READ_IO);
	expect_failure(&w, STEP_OPEN, EACCES, 1, CR_BLOCK_READ_IO);
	expect_failure(&w, STEP_READ, EIO, 1, CR_BLOCK_READ_IO);
	expect_failure(&w, STEP_READ, EINTR, FAULT_ALWAYS, CR_BLOCK_READ_IO);
	expect_failure(&w, STEP_READ, FAULT_EOF, 1, CR_BLOCK_READ_SHORT);
	expect_failure(&w, STEP_OPEN, ESTALE, CR_STALE_TRIES, CR_BLOCK_READ_OK);
	expect_failure(&w, STEP_READ, ESTALE, CR_STALE_TRIES, CR_BLOCK_READ_OK);
	expect_failure(&w, STEP_OPEN, ESTALE, CR_STALE_TRIES + 1, CR_BLOCK_READ_IO);
	expect_failure(&w, STEP_OPEN, EMFILE, 5, CR_BLOCK_READ_OK); /* somebody closed one */
	expect_failure(&w, STEP_OPEN, ENFILE, 5, CR_BLOCK_READ_OK);
	expect_failure(&w, STEP_OPEN, EMFILE, FAULT_ALWAYS, CR_BLOCK_READ_IO);
	fault_reset();
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	end(&w);
}

/* ---- Descriptors, memory ---- */

#define THREADS 8u

static void *read_many(void *arg)
{
	struct world *w = arg;

	for (uint32_t i = 0; i < 200; i++) {
		FX_CHECK(cr_block_read(w->fx->ctx, w->decompressor, &w->read) == CR_BLOCK_READ_OK);
		FX_CHECK(w->dst[0] == 1 && w->read.raw_bytes == RAW_BYTES);
	}
	return NULL;
}

static _Atomic uint32_t opened, most_opened;

static void count_open(struct cr_file *f)
{
	struct cr_ctx *ctx = f->wave->ctx;
	uint32_t now, most = most_opened;

	pthread_mutex_lock(&ctx->mu);
	now = ctx->open_files;
	pthread_mutex_unlock(&ctx->mu);
	opened++;
	while (now > most && !atomic_compare_exchange_weak(&most_opened, &most, now))
		;
}

/* Descriptors are what the option says, however many call; batches are not kept out. */
static void few_descriptors(void **state)
{
	struct cr_options opt = { .open_files_max = 2 };
	pthread_t threads[THREADS];
	struct world w[THREADS];
	struct fx *fx = *state;

	fx_open(fx, &opt);
	opened = most_opened = 0;
	for (uint32_t i = 0; i < THREADS; i++)
		begin(&w[i], fx, CR_CODEC_SNAPPY);
	fault_plan.on_block = count_open;
	for (uint32_t i = 0; i < THREADS; i++)
		FX_CHECK(pthread_create(&threads[i], NULL, read_many, &w[i]) == 0);
	for (uint32_t i = 0; i < 20; i++) {
		struct fx_batch *b = fx_batch_new(10);

		for (uint32_t k = 0; k < b->n; k++)
			fx_batch_set(b, k, "t/chunk", 0);
		fx_read(fx, b);
		for (uint32_t k = 0; k < b->n; k++)
			fx_assert_status(b, k, CR_OK);
		fx_batch_free(b);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < THREADS; i++)
		end(&w[i]);
	assert_int_equal(fx->ctx->open_files, 0);
	if (fx->backend == FX_FAULT) { /* that counts */
		assert_true(opened >= THREADS * 200);
		assert_in_range(most_opened, 1, 2);
	}
}

/* What a large block took is given back, what usual ones take is kept. */
static void scratch_is_bounded(void **state)
{
	struct chunk_spec s = { .version = 3, .codec = CR_CODEC_ZSTD, .blocks = 1,
				.block_bytes_each = CR_BLOCK_BYTES_MAX };
	struct chunk_made m;
	struct world w;

	begin(&w, *state, CR_CODEC_ZSTD);
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_int_equal(w.decompressor->scratch.cap_bytes, CR_SCRATCH_STEP_BYTES);
	make_chunk(&m, &s);
	fx_write_bytes(w.fx, "large", m.b.p, m.b.n);
	w.read.path = "large";
	w.read.off = m.blocks_off;
	w.read.bytes = CR_BLOCK_BYTES_MAX;
	assert_read(read_it(&w), CR_BLOCK_READ_BAD); /* noise */
	assert_int_equal(w.decompressor->scratch.cap_bytes, 0);
	w.read.bytes = CR_SCRATCH_KEEP_BYTES - CR_CHUNK_CRC_BYTES;
	assert_read(read_it(&w), CR_BLOCK_READ_BAD_CRC);
	assert_int_equal(w.decompressor->scratch.cap_bytes, CR_SCRATCH_KEEP_BYTES);
	free(m.b.p);
	end(&w);
}

static void the_next_block_is_fetched(void **state)
{
	struct world w;

	begin(&w, *state, CR_CODEC_NONE);
	fetched.n = 0;
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_int_equal(fetched.n, 0);
	fetched.bytes = 0;
	w.read.next_off = w.blocks[0].off;
	w.read.next_bytes = 300000;
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_true(fetched.off == 0 && fetched.n == 3); /* whole pages: the block begins in the first */
	assert_true(fetched.bytes >= 300000 && fetched.bytes % sysconf(_SC_PAGESIZE) == 0);
	end(&w);
}

/* The kernel takes 128 KiB of pages at once: what is that long and begins within a page has one more. */
static void no_page_of_the_next_block_is_left_out(void **state)
{
	off_t page = sysconf(_SC_PAGESIZE), last;
	struct world w;

	begin(&w, *state, CR_CODEC_NONE);
	w.read.next_off = (uint64_t)page + 100;
	w.read.next_bytes = CR_READAHEAD_BYTES;
	last = (off_t)(w.read.next_off + w.read.next_bytes - 1) / page;
	fetched.n = 0;
	fetched.bytes = 0;
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_int_equal(fetched.n, 2);
	assert_true(fetched.off == page && fetched.off + fetched.bytes == (last + 1) * page);
	end(&w);
}

/* begin() with the chunk's file open. Returns the descriptor, which is the test's to close. */
static int begin_open(struct world *w, struct fx *fx)
{
	begin(w, fx, CR_CODEC_GZIP);
	w->read.fd = open(fx_path(w->fx, "t/chunk"), O_RDONLY | O_CLOEXEC);
	assert_true(w->read.fd > 0);
	return w->read.fd;
}

/* The caller's descriptor is used and stays open, whatever has the path; a stale one is as good as none. */
static void an_open_file(void **state)
{
	struct world w;
	int fd;

	fd = begin_open(&w, *state);
	assert_int_equal(unlink(fx_path(w.fx, "t/chunk")), 0);
	assert_read(read_it(&w), CR_BLOCK_READ_OK);
	assert_right(&w, 1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(cr_block_read_raw(w.fx->ctx, &w.read), CR_BLOCK_READ_OK);
	assert_memory_equal(w.dst, w.m.b.p + w.read.off, w.read.bytes);
	w.read.off = w.m.b.n;
	assert_read(read_it(&w), CR_BLOCK_READ_SHORT);
	close(fd);
	end(&w);
}

static void an_open_file_that_is_stale(void **state)
{
	struct world w;
	int fd;

	fd = begin_open(&w, *state);
	expect_failure(&w, STEP_OPEN, EIO, 1, CR_BLOCK_READ_OK); /* it opens nothing */
	expect_failure(&w, STEP_READ, EIO, 1, CR_BLOCK_READ_IO);
	expect_failure(&w, STEP_READ, ESTALE, CR_STALE_TRIES + 1, CR_BLOCK_READ_OK);
	assert_right(&w, 1);
	expect_failure(&w, STEP_READ, ESTALE, CR_STALE_TRIES + 2, CR_BLOCK_READ_IO);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	fault_reset();
	close(fd);
	end(&w);
}

static void names(void **state)
{
	(void)state;
	for (uint32_t s = 0; s < CR_BLOCK_READ_STATUS_COUNT; s++)
		assert_true(cr_block_read_status_name(s)[0] != '\0');
	assert_string_equal(cr_block_read_status_name(CR_BLOCK_READ_BAD_CRC), "bad_crc");
	assert_string_equal(cr_block_read_status_name(CR_BLOCK_READ_STATUS_COUNT), "unknown");
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_THREADS, every_codec),
		FX_TEST_ON(FX_THREADS, room),
		FX_TEST_ON(FX_THREADS, raw),
		FX_TEST_ON(FX_THREADS, all_of_testdata),
		FX_TEST_ON(FX_THREADS, empty_block),
		FX_TEST_ON(FX_THREADS, every_flip_of_a_block),
		FX_TEST_ON(FX_THREADS, another_codec),
		FX_TEST(a_file_that_went_or_shrank),
		FX_TEST(refused),
		FX_TEST_ON(FX_FAULT, interrupted_and_short_reads),
		FX_TEST_ON(FX_FAULT, failures),
		FX_TEST(few_descriptors),
		FX_TEST_ON(FX_THREADS, scratch_is_bounded),
		FX_TEST_ON(FX_THREADS, the_next_block_is_fetched),
		FX_TEST_ON(FX_THREADS, no_page_of_the_next_block_is_left_out),
		FX_TEST(an_open_file),
		FX_TEST_ON(FX_FAULT, an_open_file_that_is_stale),
		FX_TEST_ON(FX_ONCE, names),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
