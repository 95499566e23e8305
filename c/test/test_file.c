/* SPDX-License-Identifier: Apache-2.0 */
/* What each result of a system call means for a file: file.c without any back-end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define BYTES 3000u

/* One file of a batch of one, and all that it hangs on. */
struct life {
	struct cr_ctx   ctx;
	struct cr_req   req;
	struct cr_batch batch;
	struct cr_wave  wave;
	struct cr_file  file;
	struct cr_turn  turn;
	uint8_t         buf[BYTES];
	uint32_t        cancel;
};

static void begin(struct life *l, enum cr_step step)
{
	memset(l, 0, sizeof(*l));
	l->ctx.file_bytes_max = CR_FILE_BYTES_DEFAULT;
	pthread_mutex_init(&l->ctx.mu, NULL);
	l->req = (struct cr_req){ .path = "file", .buf = l->buf, .cap_bytes = BYTES };
	l->batch = (struct cr_batch){ .reqs = &l->req, .n = 1, .cancel = &l->cancel };
	l->wave = (struct cr_wave){ .ctx = &l->ctx, .batch = &l->batch, .files = &l->file, .n = 1,
				    .step = step, .left = 1 };
	pthread_cond_init(&l->wave.over, NULL);
	l->file = (struct cr_file){ .req = &l->req, .wave = &l->wave, .fd = -1 };
}

static int open_file(struct fx *fx, const char *path, size_t bytes)
{
	fx_write(fx, path, bytes);
	return open(fx_path(fx, path), O_RDONLY | O_CLOEXEC);
}

static enum cr_next opened(struct life *l, int fd)
{
	return cr_file_opened(&l->file, fd, true);
}

/* A file that was opened and sized, as the read step finds it. */
static void begin_read(struct fx *fx, struct life *l)
{
	begin(l, STEP_OPEN);
	assert_int_equal(cr_file_begin(&l->file), NEXT_AGAIN);
	assert_int_equal(opened(l, open_file(fx, "file", BYTES)), NEXT_DONE);
	assert_int_equal(l->req.size_bytes, BYTES);
	assert_int_equal(l->req.status, CR_PENDING);
	cr_turn_add(&l->turn, &l->file, NEXT_DONE);
	assert_int_equal(l->turn.done, 1);
	assert_int_equal(l->turn.n_fds, 0); /* it stays open */
	cr_turn_flush(&l->turn);
	assert_int_equal(l->wave.left, 0);
	cr_file_reset(&l->file);
	l->wave.step = STEP_READ;
	l->wave.left = 1;
	assert_int_equal(cr_file_begin(&l->file), NEXT_AGAIN);
	assert_int_equal(l->file.state, FILE_READING);
	assert_int_equal(cr_file_ask(&l->file), BYTES);
	fx_content("file", l->buf, BYTES);
}

/* Its status is set: its turn closes it. */
static void end(struct life *l)
{
	int fd = l->file.fd;

	assert_int_equal(l->file.state, FILE_DONE);
	assert_int_not_equal(l->req.status, CR_PENDING);
	cr_turn_add(&l->turn, &l->file, NEXT_DONE);
	assert_int_equal(l->file.fd, -1);
	cr_turn_flush(&l->turn);
	assert_int_equal(l->wave.left, 0);
	if (fd >= 0)
		assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static enum cr_next feed(struct life *l, int64_t res, int64_t asked)
{
	return cr_file_read(&l->file, res, asked, false);
}

static void open_errors(void **state)
{
	static const struct {
		int      err;
		uint32_t status;
		bool     errno_kept;
	} cases[] = {
		{ ENOENT, CR_NOT_FOUND, false },  { ELOOP, CR_REFUSED, true },
		{ EXDEV, CR_IO, true },           { ENXIO, CR_NOT_REGULAR, false },
		{ ENAMETOOLONG, CR_BAD_PATH, false }, { EACCES, CR_IO, true },
		{ EPERM, CR_IO, true },           { ENOTDIR, CR_IO, true },
		{ EMFILE, CR_IO, true },          { ENFILE, CR_IO, true },
		{ ENOMEM, CR_IO, true },          { ESTALE, CR_IO, true },
		{ EIO, CR_IO, true },             { ENODEV, CR_IO, true },
	};
	struct life l;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(&l, STEP_OPEN);
		assert_int_equal(cr_file_begin(&l.file), NEXT_AGAIN);
		assert_int_equal(opened(&l, -cases[i].err), NEXT_DONE);
		assert_int_equal(l.req.status, cases[i].status);
		assert_int_equal(l.req.os_errno, cases[i].errno_kept ? cases[i].err : 0);
		assert_int_equal(l.req.op, cases[i].status == CR_IO ? CR_OP_OPEN : CR_OP_NONE);
		end(&l);
	}
}

static void open_again(void **state)
{
	struct fx *fx = *state;
	struct life l;

	begin(&l, STEP_OPEN);
	assert_int_equal(cr_file_begin(&l.file), NEXT_AGAIN);
	for (uint32_t i = 0; i < CR_RETRIES_MAX; i++)
		assert_int_equal(opened(&l, -EINTR), NEXT_AGAIN);
	assert_int_equal(opened(&l, -EINTR), NEXT_DONE);
	assert_int_equal(l.req.status, CR_IO);
	assert_int_equal(l.req.os_errno, EINTR);

	begin(&l, STEP_OPEN); /* an open that may wait has waited */
	assert_int_equal(cr_file_begin(&l.file), NEXT_AGAIN);
	assert_int_equal(opened(&l, -EAGAIN), NEXT_DONE);
	assert_int_equal(l.req.status, CR_IO);
	assert_int_equal(l.req.os_errno, EAGAIN);

	begin(&l, STEP_OPEN); /* the tries of the open don't count for the read */
	assert_int_equal(cr_file_begin(&l.file), NEXT_AGAIN);
	assert_int_equal(opened(&l, -EINTR), NEXT_AGAIN);
	assert_int_equal(opened(&l, open_file(fx, "file", BYTES)), NEXT_DONE);
	assert_int_equal(l.file.retries, 0);
	cr_file_stop(&(struct cr_file){ .req = &l.req, .wave = &l.wave, .fd = -1 }, CR_CANCELED);
	l.file.state = FILE_DONE;
	end(&l);
}

static void begin_stopped(void **state)
{
	struct fx *fx = *state;
	struct life l;

	begin(&l, STEP_OPEN);
	l.cancel = 1;
	assert_int_equal(cr_file_begin(&l.file), NEXT_DONE);
	assert_int_equal(l.req.status, CR_CANCELED);

	begin(&l, STEP_OPEN);
	l.wave.deadline_ns = cr_now_ns() - 1;
	assert_int_equal(cr_file_begin(&l.file), NEXT_DONE);
	assert_int_equal(l.req.status, CR_TIMED_OUT);

	begin(&l, STEP_OPEN); /* both: it is the caller who knows */
	l.cancel = 1;
	l.wave.deadline_ns = 1;
	assert_int_equal(cr_file_begin(&l.file), NEXT_DONE);
	assert_int_equal(l.req.status, CR_CANCELED);

	begin(&l, STEP_OPEN);
	l.wave.deadline_ns = cr_now_ns() + 60000000000u;
	assert_int_equal(cr_file_begin(&l.file), NEXT_AGAIN);

	begin(&l, STEP_OPEN); /* an open file must be closed */
	assert_int_equal(cr_file_begin(&l.file), NEXT_AGAIN);
	assert_int_equal(opened(&l, open_file(fx, "file", BYTES)), NEXT_DONE);
	cr_file_reset(&l.file);
	l.wave.step = STEP_READ;
	l.cancel = 1;
	assert_int_equal(cr_file_begin(&l.file), NEXT_DONE);
	assert_int_equal(l.req.status, CR_CANCELED);
	end(&l);
}

static void begin_bad_path(void **state)
{
	struct life l;

	(void)state;
	begin(&l, STEP_OPEN);
	l.req.path = "../file";
	assert_int_equal(cr_file_begin(&l.file), NEXT_DONE);
	assert_int_equal(l.req.status, CR_BAD_PATH);
	assert_int_equal(l.req.path_bytes, 0); /* not ours to write */
	begin(&l, STEP_OPEN);
	l.req.path_bytes = 3;
	assert_int_equal(cr_file_begin(&l.file), NEXT_DONE);
	assert_int_equal(l.req.status, CR_BAD_PATH);
}

static void opened_kinds(void **state)
{
	struct fx *fx = *state;
	struct life l;
	int p[2];

	begin(&l, STEP_OPEN);
	cr_file_begin(&l.file);
	assert_int_equal(opened(&l, open(fx->dir, O_RDONLY | O_CLOEXEC)), NEXT_DONE);
	assert_int_equal(l.req.status, CR_NOT_REGULAR);
	end(&l);

	assert_int_equal(pipe(p), 0);
	begin(&l, STEP_OPEN);
	cr_file_begin(&l.file);
	assert_int_equal(opened(&l, p[0]), NEXT_DONE);
	assert_int_equal(l.req.status, CR_NOT_REGULAR);
	end(&l);
	close(p[1]);

	begin(&l, STEP_OPEN); /* a descriptor that fstat does not like */
	cr_file_begin(&l.file);
	assert_int_equal(opened(&l, p[1]), NEXT_DONE);
	assert_int_equal(l.req.status, CR_IO);
	assert_int_equal(l.req.os_errno, EBADF);
	assert_int_equal(l.req.op, CR_OP_STAT);
	end(&l);

	begin(&l, STEP_OPEN);
	l.ctx.file_bytes_max = BYTES - 1;
	cr_file_begin(&l.file);
	assert_int_equal(opened(&l, open_file(fx, "f", BYTES)), NEXT_DONE);
	assert_int_equal(l.req.status, CR_TOO_BIG);
	assert_int_equal(l.req.os_errno, 0);
	assert_int_equal(l.req.size_bytes, 0);
	end(&l);
}

static void opened_empty(void **state)
{
	static const struct {
		uint32_t flags, crc_want, status;
	} cases[] = { { 0, 1, CR_OK },
		      { CR_CHECK_CRC, 0, CR_OK },
		      { CR_CHECK_CRC, 1, CR_BAD_CRC },
		      { CR_CHECK_CHUNK, 0, CR_BAD_FORMAT },
		      { CR_CHECK_CHUNK | CR_CHECK_CRC, 1, CR_BAD_CRC } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct life l;

		begin(&l, STEP_OPEN);
		l.req.buf = NULL;
		l.req.crc_want = cases[i].crc_want;
		l.batch.flags = cases[i].flags;
		cr_file_begin(&l.file);
		assert_int_equal(opened(&l, open_file(*state, "f", 0)), NEXT_DONE);
		assert_int_equal(l.req.status, cases[i].status);
		assert_int_equal(l.req.flags, 0);
		end(&l);
	}
}

static void read_whole(void **state)
{
	uint8_t content[BYTES];
	struct life l;
	uint32_t crc;

	fx_content("file", content, BYTES);
	crc = cr_crc32c(0, content, BYTES);
	/* in one piece; byte by byte at the ends; with and without the check */
	for (uint32_t piece = 1; piece <= BYTES; piece += 1499) {
		for (uint32_t flags = 0; flags <= CR_CHECK_CRC; flags++) {
			enum cr_next next = NEXT_AGAIN;

			begin_read(*state, &l);
			l.batch.flags = flags;
			l.req.crc_want = crc;
			while (next == NEXT_AGAIN) {
				uint32_t ask = cr_file_ask(&l.file), got = l.file.got_bytes;

				assert_int_equal(ask, BYTES - got);
				assert_int_equal(l.req.status, CR_PENDING);
				next = feed(&l, ask < piece ? ask : piece, ask);
			}
			assert_int_equal(next, NEXT_DONE);
			assert_int_equal(l.req.status, CR_OK);
			assert_int_equal(l.req.crc_got, flags ? crc : 0);
			end(&l);
		}
	}
	begin_read(*state, &l);
	l.batch.flags = CR_CHECK_CRC;
	l.req.crc_want = crc + 1;
	assert_int_equal(feed(&l, BYTES, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_BAD_CRC);
	assert_int_equal(l.req.crc_got, crc);
	end(&l);
}

static void read_chunk_check(void **state)
{
	struct life l;

	begin_read(*state, &l); /* noise is no chunk */
	l.batch.flags = CR_CHECK_CHUNK;
	l.req.crc_want = cr_crc32c(0, l.buf, BYTES);
	assert_int_equal(feed(&l, BYTES, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_BAD_FORMAT);
	assert_int_not_equal(l.req.reason, CR_REASON_NONE);
	assert_int_equal(l.req.flags, 0);
	assert_int_equal(l.req.crc_got, l.req.crc_want);
	end(&l);

	begin_read(*state, &l); /* the CRC outranks the structure, whose reason stays */
	l.batch.flags = CR_CHECK_CHUNK;
	assert_int_equal(feed(&l, BYTES, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_BAD_CRC);
	assert_int_not_equal(l.req.reason, CR_REASON_NONE);
	end(&l);
}

static void read_errors(void **state)
{
	struct life l;

	begin_read(*state, &l);
	assert_int_equal(feed(&l, -EIO, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_IO);
	assert_int_equal(l.req.os_errno, EIO);
	assert_int_equal(l.req.op, CR_OP_READ);
	end(&l);

	begin_read(*state, &l); /* a folder that had a size */
	assert_int_equal(feed(&l, -EISDIR, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_NOT_REGULAR);
	end(&l);

	begin_read(*state, &l);
	l.batch.flags = CR_CHECK_CRC;
	l.req.crc_want = 1;
	assert_int_equal(feed(&l, 0, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_SHORT);
	assert_int_equal(l.req.size_bytes, BYTES);
	end(&l);

	begin_read(*state, &l); /* truncated after the first piece */
	l.batch.flags = CR_CHECK_CRC;
	assert_int_equal(feed(&l, BYTES - 1, BYTES), NEXT_AGAIN);
	assert_int_equal(cr_file_ask(&l.file), 1);
	assert_int_equal(feed(&l, 0, 1), NEXT_DONE);
	assert_int_equal(l.req.status, CR_SHORT);
	end(&l);

	begin_read(*state, &l); /* a piece starts the count of tries anew */
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < CR_RETRIES_MAX; i++)
			assert_int_equal(feed(&l, i % 2 ? -EINTR : -EAGAIN, BYTES),
					 NEXT_AGAIN);
		assert_int_equal(feed(&l, 10, cr_file_ask(&l.file)), NEXT_AGAIN);
	}
	for (uint32_t i = 0; i < CR_RETRIES_MAX; i++)
		assert_int_equal(feed(&l, -EINTR, BYTES), NEXT_AGAIN);
	assert_int_equal(feed(&l, -EINTR, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_IO);
	assert_int_equal(l.req.os_errno, EINTR);
	end(&l);
}

/* The size of fstat is a hint: the end of the file decides, and the checksum whether that is all. */
static void sizes_that_are_not_true(void **state)
{
	struct fx *fx = *state;
	struct life l;
	uint32_t crc;

	begin_read(fx, &l); /* said to be longer than it is, and all there */
	l.batch.flags = CR_CHECK_CRC;
	crc = cr_crc32c(0, l.buf, 100);
	l.req.crc_want = crc;
	assert_int_equal(feed(&l, 100, BYTES), NEXT_AGAIN);
	assert_int_equal(feed(&l, 0, BYTES - 100), NEXT_DONE);
	assert_int_equal(l.req.status, CR_OK);
	assert_int_equal(l.req.size_bytes, 100);
	end(&l);

	begin_read(fx, &l); /* nobody checks: as long as it is */
	assert_int_equal(feed(&l, 100, BYTES), NEXT_AGAIN);
	assert_int_equal(feed(&l, 0, BYTES - 100), NEXT_DONE);
	assert_int_equal(l.req.status, CR_OK);
	assert_int_equal(l.req.size_bytes, 100);
	end(&l);

	for (uint32_t flags = 0; flags <= CR_CHECK_CRC; flags++) { /* shorter: it is tried again */
		begin_read(fx, &l);
		l.batch.flags = flags;
		l.req.size_bytes = l.req.want_bytes = 100;
		assert_int_equal(feed(&l, 100, 100), NEXT_DONE);
		assert_true(l.file.grew);
		end(&l);
	}
	begin_read(fx, &l); /* ... unless what was read is right, or it was tried often */
	l.batch.flags = CR_CHECK_CRC;
	l.req.crc_want = crc;
	l.req.size_bytes = l.req.want_bytes = 100;
	assert_int_equal(feed(&l, 100, 100), NEXT_DONE);
	assert_false(l.file.grew);
	assert_int_equal(l.req.status, CR_OK);
	end(&l);
	begin_read(fx, &l);
	l.batch.flags = CR_CHECK_CRC;
	l.req.size_bytes = l.req.want_bytes = 100;
	l.file.tries = CR_GREW_TRIES;
	assert_int_equal(feed(&l, 100, 100), NEXT_DONE);
	assert_false(l.file.grew);
	assert_int_equal(l.req.status, CR_BAD_CRC);
	end(&l);
}

/* What says 0 and what has grown is counted, by a thread that may block; never beyond the limit. */
static void measured(void **state)
{
	struct fx *fx = *state;
	struct life l;
	int fd;

	begin(&l, STEP_OPEN);
	cr_file_begin(&l.file);
	fd = open_file(fx, "empty", 0);
	assert_int_equal(cr_file_opened(&l.file, fd, false), NEXT_BLOCK);
	assert_int_equal(l.file.fd, fd);
	assert_int_equal(cr_file_opened(&l.file, fd, true), NEXT_DONE);
	assert_int_equal(l.req.status, CR_OK);
	end(&l);

	begin(&l, STEP_OPEN);
	cr_file_begin(&l.file);
	l.file.measure = true;
	assert_int_equal(opened(&l, open_file(fx, "f", 200000)), NEXT_DONE);
	assert_int_equal(l.req.size_bytes, 200000);
	assert_int_equal(l.req.status, CR_PENDING);
	close(l.file.fd);

	begin(&l, STEP_OPEN);
	l.ctx.file_bytes_max = 199999;
	cr_file_begin(&l.file);
	l.file.measure = true;
	assert_int_equal(opened(&l, open_file(fx, "f", 200000)), NEXT_DONE);
	assert_int_equal(l.req.status, CR_TOO_BIG);
	end(&l);

	begin(&l, STEP_OPEN); /* it obeys a stop */
	cr_file_begin(&l.file);
	l.file.measure = true;
	l.cancel = 1;
	assert_int_equal(opened(&l, open_file(fx, "f", 200000)), NEXT_DONE);
	assert_int_equal(l.req.status, CR_CANCELED);
	end(&l);

	begin(&l, STEP_OPEN); /* it can't be read */
	cr_file_begin(&l.file);
	l.file.measure = true;
	fd = open(fx_path(fx, "f"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(opened(&l, fd), NEXT_DONE);
	assert_int_equal(l.req.status, CR_IO);
	assert_int_equal(l.req.os_errno, EBADF);
	assert_int_equal(l.req.op, CR_OP_READ);
	end(&l);
}

/* Descriptors in a row go with one call, others one by one; none but ours. */
static void turn_closes_what_is_its(void **state)
{
	struct fx *fx = *state;
	struct cr_turn turn = { 0 };
	int fds[8];

	fx_write(fx, "f", 1);
	for (int i = 0; i < 8; i++)
		fds[i] = open(fx_path(fx, "f"), O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 8; i++) /* all but number 3 */
		if (i != 3)
			turn.fds[turn.n_fds++] = fds[i];
	cr_turn_close(&turn);
	assert_int_equal(turn.n_fds, 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(fcntl(fds[i], F_GETFD) >= 0, i == 3);
	close(fds[3]);
}

static void read_stopped_between_pieces(void **state)
{
	struct life l;

	begin_read(*state, &l);
	assert_int_equal(feed(&l, 10, BYTES), NEXT_AGAIN);
	l.cancel = 1;
	assert_int_equal(feed(&l, 10, BYTES - 10), NEXT_DONE);
	assert_int_equal(l.req.status, CR_CANCELED);
	end(&l);

	begin_read(*state, &l); /* the last piece is there: read is read */
	l.cancel = 1;
	assert_int_equal(feed(&l, BYTES, BYTES), NEXT_DONE);
	assert_int_equal(l.req.status, CR_OK);
	end(&l);
}

static void asks_for_a_piece(void **state)
{
	struct life l;

	(void)state;
	begin(&l, STEP_READ);
	l.req.size_bytes = l.req.want_bytes = CR_FILE_BYTES_MAX;
	assert_int_equal(cr_file_ask(&l.file), CR_READ_BYTES_MAX);
	l.file.got_bytes = CR_FILE_BYTES_MAX - 1;
	assert_int_equal(cr_file_ask(&l.file), 1);
	l.file.got_bytes = CR_FILE_BYTES_MAX - CR_READ_BYTES_MAX;
	assert_int_equal(cr_file_ask(&l.file), CR_READ_BYTES_MAX);
}

/* ---- Our own mistakes end the process ---- */

static struct life bad_life;

static void status_twice(void)
{
	cr_file_fail(&bad_life.file, CR_IO, 1);
	cr_file_fail(&bad_life.file, CR_IO, 1);
}

static void status_pending(void)
{
	cr_file_fail(&bad_life.file, CR_PENDING, 0);
}

static void add_undone(void)
{
	cr_turn_add(&bad_life.turn, &bad_life.file, NEXT_DONE);
}

static void add_again(void)
{
	cr_turn_add(&bad_life.turn, &bad_life.file, NEXT_AGAIN);
}

static void add_pending(void)
{
	bad_life.file.state = FILE_DONE; /* neither open nor with a status */
	cr_turn_add(&bad_life.turn, &bad_life.file, NEXT_DONE);
}

static void stop_done(void)
{
	bad_life.file.state = FILE_DONE;
	cr_file_stop(&bad_life.file, CR_CANCELED);
}

static void opened_unasked(void)
{
	cr_file_opened(&bad_life.file, -ENOENT, true);
}

static void read_unasked(void)
{
	cr_file_read(&bad_life.file, 1, 1, false);
}

static void read_beyond(void)
{
	bad_life.file.state = FILE_READING;
	cr_file_read(&bad_life.file, 2, 1, false);
}

static void more_done_than_left(void)
{
	bad_life.turn.wave = &bad_life.wave;
	bad_life.turn.done = 2;
	cr_turn_flush(&bad_life.turn);
}

static void mistakes_trap(void **state)
{
	static void (*const mistakes[])(void) = { status_twice,   status_pending, add_undone,
						  add_again,      add_pending,    stop_done,
						  opened_unasked, read_unasked,   read_beyond,
						  more_done_than_left };

	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		int status;
		pid_t pid;

		begin(&bad_life, STEP_OPEN);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			signal(SIGILL, SIG_DFL); /* a sanitizer's handler would report a crash */
			signal(SIGTRAP, SIG_DFL);
			mistakes[i]();
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSIGNALED(status))
			fail_msg("mistake %zu went through: wait status %d", i, status);
	}
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST_ON(FX_ONCE, open_errors),
		FX_TEST_ON(FX_ONCE, open_again),
		FX_TEST_ON(FX_ONCE, begin_stopped),
		FX_TEST_ON(FX_ONCE, begin_bad_path),
		FX_TEST_ON(FX_ONCE, opened_kinds),
		FX_TEST_ON(FX_ONCE, opened_empty),
		FX_TEST_ON(FX_ONCE, read_whole),
		FX_TEST_ON(FX_ONCE, read_chunk_check),
		FX_TEST_ON(FX_ONCE, read_errors),
		FX_TEST_ON(FX_ONCE, read_stopped_between_pieces),
		FX_TEST_ON(FX_ONCE, asks_for_a_piece),
		FX_TEST_ON(FX_ONCE, sizes_that_are_not_true),
		FX_TEST_ON(FX_ONCE, measured),
		FX_TEST_ON(FX_ONCE, turn_closes_what_is_its),
		FX_TEST_ON(FX_ONCE, mistakes_trap),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
