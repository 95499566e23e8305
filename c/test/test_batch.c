/* SPDX-License-Identifier: Apache-2.0 */
/* cr_batch_read on every back-end: statuses, callbacks, limits, many callers, few descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

#define GOOD_BYTES   5000u
#define SMALL_BYTES  100u
#define LARGE_BYTES  400000u
#define PATIENCE_S   60 /* a wait that ends by itself unless a batch is starved */
#define NOBODY       65534
#define BIG_STORE    140u /* distinct files behind the large batches */

static char *numbered(uint32_t i)
{
	static _Thread_local char name[32];

	snprintf(name, sizeof(name), "many/%03u/%05u", i % 7, i);
	return name;
}

/* Every request is one of files files of 1..SMALL_BYTES bytes. */
static uint32_t numbered_bytes(uint32_t i)
{
	return 1 + i % SMALL_BYTES;
}

static void write_numbered(struct fx *fx, uint32_t files, uint32_t *crcs)
{
	for (uint32_t i = 0; i < files; i++) {
		uint32_t crc = fx_write(fx, numbered(i), numbered_bytes(i));

		if (crcs)
			crcs[i] = crc;
	}
}

static struct fx_batch *numbered_batch(uint32_t n, uint32_t files, const uint32_t *crcs)
{
	struct fx_batch *b = fx_batch_new(n);

	for (uint32_t i = 0; i < n; i++)
		fx_batch_set(b, i, numbered(i % files), crcs ? crcs[i % files] : 0);
	b->batch.flags = crcs ? CR_CHECK_CRC : 0;
	return b;
}

static bool all_intact(const struct fx_batch *b, uint32_t files)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (!fx_intact(b, i, numbered_bytes(i % files)))
			return false;
	return true;
}

/* ---- One bad file, two good neighbours ---- */

static uint32_t good_crc;

/* Reads good, path, good. path_bytes 0: counted. */
static struct fx_batch *between_good(struct fx *fx, const char *path, uint32_t path_bytes)
{
	struct fx_batch *b = fx_batch_new(3);
	uint32_t fds = fx_count_fds();

	good_crc = fx_write(fx, "good/neighbour", GOOD_BYTES);
	fx_batch_set(b, 0, "good/neighbour", good_crc);
	fx_batch_set(b, 1, path, 0);
	fx_batch_set(b, 2, "good/neighbour", good_crc);
	b->reqs[1].path_bytes = path_bytes;
	b->batch.flags = CR_CHECK_CRC;
	fx_read(fx, b);
	fx_assert_intact(b, 0, GOOD_BYTES);
	fx_assert_intact(b, 2, GOOD_BYTES);
	assert_int_equal(fx_count_fds(), fds);
	return b;
}

static void expect_n(struct fx *fx, const char *path, uint32_t path_bytes, uint32_t status,
		     uint32_t os_errno)
{
	struct fx_batch *b = between_good(fx, path, path_bytes);
	uint32_t asked_max = status == CR_NOT_REGULAR; /* a folder of btrfs has a size: its read tells */

	fx_assert_status(b, 1, status);
	assert_int_equal(b->reqs[1].os_errno, os_errno);
	assert_in_range(b->asked[1], 0, asked_max);
	assert_int_equal(b->calls, 1);
	fx_batch_free(b);

	/* alone, which is another way through the code */
	b = fx_batch_new(1);
	fx_batch_set(b, 0, path, 0);
	b->reqs[0].path_bytes = path_bytes;
	fx_read(fx, b);
	fx_assert_status(b, 0, status);
	assert_int_equal(b->reqs[0].os_errno, os_errno);
	assert_in_range(b->calls, 0, asked_max);
	fx_batch_free(b);
}

static void expect(struct fx *fx, const char *path, uint32_t status, uint32_t os_errno)
{
	expect_n(fx, path, 0, status, os_errno);
}

static void missing(void **state)
{
	struct fx *fx = *state;

	fx_write(fx, "file", 10);
	expect(fx, "nothing", CR_NOT_FOUND, 0);
	expect(fx, "no/such/directory", CR_NOT_FOUND, 0);
	expect(fx, "file/below", CR_IO, ENOTDIR);
	expect(fx, "good", CR_NOT_REGULAR, 0); /* a directory, from the neighbours */
}

static void not_regular(void **state)
{
	struct fx *fx = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int s;

	assert_int_equal(mkdir(fx_path(fx, "dir"), 0755), 0);
	expect(fx, "dir", CR_NOT_REGULAR, 0);

	assert_int_equal(mkfifo(fx_path(fx, "fifo"), 0644), 0);
	expect(fx, "fifo", CR_NOT_REGULAR, 0); /* nobody writes to it: a blocking open would hang */

	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.90s/socket", fx->dir);
	assert_int_equal(bind(s, (struct sockaddr *)&addr, sizeof(addr)), 0);
	expect(fx, "socket", CR_NOT_REGULAR, 0);
	close(s);
}

static void device(void **state)
{
	struct fx *fx = *state;

	if (mknod(fx_path(fx, "null"), S_IFCHR | 0666, makedev(1, 3)) != 0) {
		fprintf(stderr, "!!!! SKIPPED: no device node can be made here: %s\n",
			strerror(errno));
		skip();
	}
	expect(fx, "null", CR_NOT_REGULAR, 0);
}

static void links(void **state)
{
	struct fx *fx = *state;

	fx_write(fx, "in/file", 10);
	assert_int_equal(symlink("in/file", fx_path(fx, "link-in")), 0);
	assert_int_equal(symlink("/etc/passwd", fx_path(fx, "link-out")), 0);
	assert_int_equal(symlink("../../../../../etc", fx_path(fx, "link-dir-out")), 0);
	assert_int_equal(symlink("in", fx_path(fx, "link-dir-in")), 0);
	assert_int_equal(symlink("nowhere", fx_path(fx, "link-dangling")), 0);
	assert_int_equal(symlink("link-self", fx_path(fx, "link-self")), 0);
	assert_int_equal(symlink("/proc/self/fd/0", fx_path(fx, "link-magic")), 0);
	expect(fx, "link-in", CR_REFUSED, ELOOP);
	expect(fx, "link-out", CR_REFUSED, ELOOP);
	expect(fx, "link-dir-out/passwd", CR_REFUSED, ELOOP);
	expect(fx, "link-dir-in/file", CR_REFUSED, ELOOP);
	expect(fx, "link-dangling", CR_REFUSED, ELOOP);
	expect(fx, "link-self", CR_REFUSED, ELOOP);
	expect(fx, "link-magic", CR_REFUSED, ELOOP);
}

static void bad_paths(void **state)
{
	struct fx *fx = *state;
	static const char *const bad[] = { "",      "/",     "/etc/passwd", "..",       "../x",
					   "a/../b", "a/..", ".",           "./a",      "a/./b",
					   "a//b",   "a/",   "//",          "a/../../x" };
	char *longest = malloc(CR_PATH_BYTES_MAX + 100);
	char component[300];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect(fx, bad[i], CR_BAD_PATH, 0);

	/* a longer file name lies behind the NUL or behind path_bytes */
	fx_write(fx, "tenant", 10);
	expect_n(fx, "tenant\0x", 8, CR_BAD_PATH, 0);
	expect_n(fx, "tenant", 7, CR_BAD_PATH, 0);
	expect_n(fx, "tenant", 5, CR_BAD_PATH, 0);
	expect_n(fx, "a/../tenant", 1, CR_BAD_PATH, 0);
	expect_n(fx, "tenant", UINT32_MAX, CR_BAD_PATH, 0);

	memset(component, 'n', sizeof(component));
	component[256] = '\0';
	expect(fx, component, CR_BAD_PATH, 0);
	component[255] = '\0';
	expect(fx, component, CR_NOT_FOUND, 0);

	assert_non_null(longest);
	for (uint32_t i = 0; i < CR_PATH_BYTES_MAX + 99; i++)
		longest[i] = i % 2 ? '/' : 'd';
	longest[CR_PATH_BYTES_MAX + 99] = '\0';
	expect(fx, longest, CR_BAD_PATH, 0);
	longest[CR_PATH_BYTES_MAX] = '\0';
	expect(fx, longest, CR_BAD_PATH, 0);
	longest[CR_PATH_BYTES_MAX - 1] = '\0'; /* the longest that is taken; ends in 'd' */
	expect(fx, longest, CR_NOT_FOUND, 0);
	free(longest);
}

static void too_big(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .file_bytes_max = 10000 };
	struct fx_batch *b;
	int fd = open(fx_path(fx, "sparse"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8ll << 30), 0); /* its size is 0 in 32 bits */
	expect(fx, "sparse", CR_TOO_BIG, 0);
	assert_int_equal(ftruncate(fd, (8ll << 30) + 100), 0);
	expect(fx, "sparse", CR_TOO_BIG, 0);
	assert_int_equal(ftruncate(fd, (64ll << 20) + 1), 0);
	expect(fx, "sparse", CR_TOO_BIG, 0);
	close(fd);

	fx_open(fx, &opt);
	fx_write(fx, "over", 10001);
	fx_write(fx, "just", 10000);
	expect(fx, "over", CR_TOO_BIG, 0);
	b = between_good(fx, "just", 0);
	fx_assert_status(b, 1, CR_BAD_CRC);
	fx_batch_free(b);
}

static void empty_file(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b;

	fx_write(fx, "empty", 0);
	b = between_good(fx, "empty", 0); /* with CR_CHECK_CRC and crc_want 0, which is right */
	fx_assert_intact(b, 1, 0);
	assert_int_equal(b->asked[1], 0);
	fx_batch_free(b);

	b = fx_batch_new(3);
	for (uint32_t i = 0; i < 3; i++)
		fx_batch_set(b, i, "empty", i);
	fx_read(fx, b); /* no check */
	for (uint32_t i = 0; i < 3; i++)
		fx_assert_intact(b, i, 0);
	assert_int_equal(b->calls, 0);
	b->batch.flags = CR_CHECK_CRC;
	fx_read(fx, b);
	fx_assert_intact(b, 0, 0);
	fx_assert_status(b, 1, CR_BAD_CRC);
	b->batch.flags = CR_CHECK_CHUNK;
	fx_read(fx, b);
	fx_assert_status(b, 0, CR_BAD_FORMAT);
	assert_int_equal(b->reqs[0].reason, CR_REASON_TRUNCATED);
	fx_assert_status(b, 1, CR_BAD_CRC);
	fx_batch_free(b);
}

static void permission_denied(void **state)
{
	struct fx *fx = *state;
	bool root = geteuid() == 0;

	fx_write(fx, "secret", 10);
	fx_write(fx, "closed/file", 10);
	fx_write(fx, "good/neighbour", GOOD_BYTES);
	assert_int_equal(chmod(fx_path(fx, "secret"), 0), 0);
	assert_int_equal(chmod(fx_path(fx, "closed"), 0), 0);
	assert_int_equal(chmod(fx_path(fx, "good/neighbour"), 0666), 0);
	if (root)
		assert_int_equal(seteuid(NOBODY), 0); /* of all threads, by glibc */
	for (uint32_t i = 0; i < 2; i++) {
		static const char *const denied[] = { "secret", "closed/file" };
		struct fx_batch *b = between_good(fx, denied[i], 0);
		uint32_t status = b->reqs[1].status, os_errno = b->reqs[1].os_errno;

		fx_batch_free(b);
		if (status != CR_IO || os_errno != EACCES) {
			if (root)
				assert_int_equal(seteuid(0), 0);
			fail_msg("%s: status %s, errno %u", denied[i], cr_status_name(status),
				 os_errno);
		}
	}
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(fx_path(fx, "closed"), 0755), 0);
}

/* ---- Checks ---- */

static void checksums(void **state)
{
	struct fx *fx = *state;
	/* around the pieces in which files are read */
	static const uint32_t sizes[] = { 1,       7,       4096,    4097,    CR_SLICE_BYTES - 1,
					  CR_SLICE_BYTES, CR_SLICE_BYTES + 1, CR_READ_BYTES_MAX,
					  CR_READ_BYTES_MAX + 1, 3 * CR_READ_BYTES_MAX + 12345 };
	const uint32_t n = sizeof(sizes) / sizeof(sizes[0]);
	struct fx_batch *b = fx_batch_new(2 * n);
	uint32_t crcs[sizeof(sizes) / sizeof(sizes[0])];

	for (uint32_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "sized/%u", sizes[i]);
		crcs[i] = fx_write(fx, name, sizes[i]);
		fx_batch_set(b, 2 * i, name, crcs[i]);
		fx_batch_set(b, 2 * i + 1, name, crcs[i] ^ 0x80000000u);
	}
	for (uint32_t flags = 0; flags <= CR_CHECK_CRC; flags++) {
		b->batch.flags = flags;
		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++) {
			fx_assert_intact(b, 2 * i, sizes[i]);
			assert_int_equal(b->reqs[2 * i].crc_got, flags ? crcs[i] : 0);
			fx_assert_status(b, 2 * i + 1, flags ? CR_BAD_CRC : CR_OK);
			assert_int_equal(b->reqs[2 * i + 1].crc_got, flags ? crcs[i] : 0);
			assert_int_equal(b->reqs[2 * i + 1].size_bytes, sizes[i]);
			/* whoever wants to look at the bytes finds them */
			assert_memory_equal(b->reqs[2 * i].buf, b->reqs[2 * i + 1].buf, sizes[i]);
		}
	}
	b->batch.flags = CR_CHECK_CHUNK; /* noise is no chunk, and the CRC outranks that */
	fx_read(fx, b);
	for (uint32_t i = 0; i < n; i++) {
		fx_assert_status(b, 2 * i, CR_BAD_FORMAT);
		assert_int_not_equal(b->reqs[2 * i].reason, CR_REASON_NONE);
		assert_int_equal(b->reqs[2 * i].crc_got, crcs[i]);
		fx_assert_status(b, 2 * i + 1, CR_BAD_CRC);
	}
	fx_batch_free(b);
}

static char *read_text(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text;
	size_t bytes;

	if (!file)
		return NULL;
	fseek(file, 0, SEEK_END);
	bytes = (size_t)ftell(file);
	rewind(file);
	text = malloc(bytes + 1);
	FX_CHECK(text && fread(text, 1, bytes, file) == bytes);
	text[bytes] = '\0';
	fclose(file);
	return text;
}

/* The corpus goes through as it is: a context over testdata/<kind>, all its files in one batch. */
static struct fx_batch *read_corpus(struct fx *fx, const char *kind, uint32_t flags)
{
	const char *root = getenv("CR_TESTDATA");
	char dir[1024], *index, *at;
	struct fx_batch *b;
	uint32_t n = 0;

	snprintf(dir, sizeof(dir), "%s/%s/index.json", root ? root : "testdata", kind);
	index = read_text(dir);
	if (!index) {
		fprintf(stderr, "!!!! SKIPPED: %s: %s (CR_TESTDATA says where)\n", dir,
			strerror(errno));
		skip();
	}
	*strrchr(dir, '/') = '\0';
	for (at = index; (at = strstr(at, "\"path\":\"")); at++)
		n++;
	assert_true(n > 10);
	b = fx_batch_new(n);
	at = index;
	for (uint32_t i = 0; i < n; i++) {
		char path[256];
		uint32_t crc;

		at = strstr(at, "\"path\":\"");
		assert_int_equal(sscanf(at, "\"path\":\"%255[^\"]", path), 1);
		at = strstr(at, "\"checksum\":\"");
		assert_int_equal(sscanf(at, "\"checksum\":\"%x", &crc), 1);
		fx_batch_set(b, i, path, crc);
	}
	free(index);
	fx_open_dir(fx, dir, NULL);
	b->batch.flags = flags;
	fx_read(fx, b);
	return b;
}

static void good_chunks(void **state)
{
	struct fx_batch *b = read_corpus(*state, "good", CR_CHECK_CHUNK);

	for (uint32_t i = 0; i < b->n; i++) {
		const struct cr_req *req = &b->reqs[i];

		if (req->status != CR_OK || !(req->flags & CR_REQ_BLOCKS_OK))
			fail_msg("%s: %s, %s, flags %u, %u bad blocks", req->path,
				 cr_status_name(req->status), cr_chunk_reason_name(req->reason),
				 req->flags, req->blocks_bad);
		assert_int_equal(req->crc_got, req->crc_want);
		assert_int_equal(req->blocks_bad, 0);
	}
	fx_batch_free(b);
}

static void bad_chunks(void **state)
{
	struct fx_batch *b = read_corpus(*state, "bad", CR_CHECK_CHUNK);
	uint32_t not_ok = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		const struct cr_req *req = &b->reqs[i];

		if (req->status != CR_OK && req->status != CR_BAD_CRC &&
		    req->status != CR_BAD_FORMAT)
			fail_msg("%s: %s", req->path, cr_status_name(req->status));
		not_ok += req->status != CR_OK;
		if (req->status != CR_BAD_CRC)
			assert_int_equal(req->crc_got, req->crc_want);
	}
	assert_true(not_ok > 0);
	fx_batch_free(b);
}

/* ---- Arguments ---- */

static int never_asked(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n)
{
	(void)reqs;
	(void)first;
	(void)n;
	*(bool *)arg = true;
	return 0;
}

static void malformed_batches(void **state)
{
	struct fx *fx = *state;
	struct cr_req *reqs = calloc(CR_BATCH_MAX + 1, sizeof(*reqs)), before;
	bool asked = false;
	struct cr_batch good = { .reqs = reqs, .n = 2, .alloc = never_asked, .arg = &asked };
	struct cr_batch b;

	assert_non_null(reqs);
	memset(reqs, 0x77, (CR_BATCH_MAX + 1) * sizeof(*reqs));
	for (uint32_t i = 0; i <= CR_BATCH_MAX; i++)
		reqs[i].path = "x";
	before = reqs[0];

	assert_int_equal(cr_batch_read(fx->ctx, NULL), -EINVAL);
	assert_int_equal(cr_batch_read(NULL, &good), -EINVAL);
	b = good, b.reqs = NULL;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b = good, b.n = 0;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b = good, b.n = CR_BATCH_MAX + 1;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b = good, b.flags = 4;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	b = good, reqs[1].path = NULL;
	assert_int_equal(cr_batch_read(fx->ctx, &b), -EINVAL);
	assert_memory_equal(&before, &reqs[0], sizeof(before)); /* no request touched */
	assert_false(asked);
	free(reqs);
}

/* A request that is used again is a new request: what the library wrote is not read back. */
static void requests_used_again(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(2);

	fx_write(fx, "ab", 20);
	fx_write(fx, "abcdef", 30);
	fx_batch_set(b, 0, "abcdef", 1);
	fx_batch_set(b, 1, "ab", 1);
	b->batch.flags = CR_CHECK_CRC;
	fx_read(fx, b);
	fx_assert_status(b, 0, CR_BAD_CRC);
	assert_int_equal(b->reqs[0].path_bytes, 0); /* an in field */
	fx_batch_set(b, 0, "ab", 0);
	fx_batch_set(b, 1, "abcdef", 0);
	b->batch.flags = 0;
	fx_read(fx, b);
	fx_assert_intact(b, 0, 20);
	fx_assert_intact(b, 1, 30);
	assert_int_equal(b->reqs[0].crc_got, 0);
	fx_batch_free(b);
}

/* ---- Sizes of batches ---- */

static void batch_sizes(void **state)
{
	struct fx *fx = *state;
	static const uint32_t sizes[] = { 1,  2,  3,  15,   16,   17,          31,
					  32, 33, 50, 1024, 2000, CR_BATCH_MAX };
	uint32_t *crcs = calloc(BIG_STORE, sizeof(*crcs)), fds = fx_count_fds();

	assert_non_null(crcs);
	write_numbered(fx, BIG_STORE, crcs);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct fx_batch *b = numbered_batch(sizes[s], BIG_STORE, crcs);

		fx_read(fx, b);
		assert_true(all_intact(b, BIG_STORE));
		if (sizes[s] <= fx->ctx->open_files_max / 2 && sizes[s] <= CR_WAVE_FILES_MAX)
			assert_int_equal(b->calls, 1);
		for (uint32_t i = 0; i < sizes[s]; i++) {
			assert_int_equal(b->covered[i], 1);
			assert_int_equal(b->asked[i], 1);
		}
		fx_batch_free(b);
	}
	free(crcs);
	assert_int_equal(fx_count_fds(), fds);
}

static void one_file_many_times(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(200);
	uint32_t crc = fx_write(fx, "same", 30000);

	for (uint32_t i = 0; i < b->n; i++)
		fx_batch_set(b, i, "same", crc);
	b->batch.flags = CR_CHECK_CRC;
	fx_read(fx, b);
	for (uint32_t i = 0; i < b->n; i++)
		fx_assert_intact(b, i, 30000);
	fx_batch_free(b);
}

/* ---- The callback ---- */

static int take_some_away(struct fx_batch *b, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		if (i % 5 == 1) {
			b->reqs[i].buf = NULL;
			b->reqs[i].cap_bytes = 0;
		} else if (i % 5 == 3) {
			fx_batch_buffer(b, i, b->reqs[i].size_bytes - 1);
		}
	}
	return 0;
}

static int say_no(struct fx_batch *b, uint32_t first, uint32_t n)
{
	(void)b;
	(void)first;
	(void)n;
	return -1;
}

static void buffers_from_callback(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b;
	uint32_t crcs[100];

	write_numbered(fx, 100, crcs);
	for (uint32_t n = 1; n <= 100; n += 33) {
		b = numbered_batch(n, 100, crcs);
		b->hook = say_no;
		fx_read(fx, b);
		assert_int_equal(b->calls, 1);
		for (uint32_t i = 0; i < n; i++) {
			fx_assert_status(b, i, CR_NO_BUFFER);
			assert_int_equal(b->reqs[i].size_bytes, numbered_bytes(i));
			/* not a byte was read into what it set before it said no */
			assert_int_equal(*(uint8_t *)b->reqs[i].buf, FX_FILL);
		}
		b->hook = take_some_away;
		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++) {
			if (i % 5 == 1) {
				fx_assert_status(b, i, CR_NO_BUFFER);
			} else if (i % 5 == 3) {
				fx_assert_status(b, i, CR_TOO_SMALL);
				assert_int_equal(b->reqs[i].size_bytes, numbered_bytes(i));
			} else {
				fx_assert_intact(b, i, numbered_bytes(i));
			}
		}
		fx_batch_free(b);
	}
}

static void buffers_of_the_caller(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = numbered_batch(90, 90, NULL);

	write_numbered(fx, 90, NULL);
	b->no_callback = true;
	for (uint32_t i = 0; i < b->n; i++) {
		uint32_t bytes = numbered_bytes(i);

		if (i % 3 != 2)
			fx_batch_buffer(b, i, i % 3 ? bytes + 1000 : bytes);
		else if (i % 2)
			fx_batch_buffer(b, i, bytes - 1);
	}
	fx_read(fx, b);
	assert_int_equal(b->calls, 0);
	for (uint32_t i = 0; i < b->n; i++) {
		if (i % 3 != 2) {
			fx_assert_intact(b, i, numbered_bytes(i));
			if (i % 3) /* size_bytes and no more */
				assert_int_equal(((uint8_t *)b->reqs[i].buf)[numbered_bytes(i)],
						 FX_FILL);
		} else {
			fx_assert_status(b, i, i % 2 ? CR_TOO_SMALL : CR_NO_BUFFER);
			assert_int_equal(b->reqs[i].size_bytes, numbered_bytes(i));
		}
	}
	fx_batch_free(b);
}

struct waves {
	struct fx *fx;
	uint32_t   next, open_max, fds;
};

static int see_wave(struct fx_batch *b, uint32_t first, uint32_t n)
{
	struct waves *waves = b->hook_arg;
	uint32_t open_files = fx_count_fds() - waves->fds;

	FX_CHECK(first == waves->next); /* in order, no gap, no overlap */
	waves->next = first + n;
	FX_CHECK(open_files <= waves->open_max);
	FX_CHECK(n <= waves->open_max);
	return 0;
}

static void waves_of_few_descriptors(void **state)
{
	struct fx *fx = *state;
	static const uint32_t limits[] = { 1, 2, 3, 10, 64 };
	uint32_t crcs[300];

	write_numbered(fx, 300, crcs);
	for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
		struct cr_options opt = { .open_files_max = limits[l] };
		struct fx_batch *b = numbered_batch(300, 300, crcs);
		struct waves waves = { fx, 0, limits[l], 0 };

		fx_open(fx, &opt);
		waves.fds = fx_count_fds();
		b->hook = see_wave;
		b->hook_arg = &waves;
		fx_read(fx, b);
		assert_int_equal(waves.next, 300);
		assert_true(b->calls >= (300 + limits[l] - 1) / limits[l]);
		assert_true(all_intact(b, 300));
		fx_batch_free(b);
	}
}

static int read_another(struct fx_batch *b, uint32_t first, uint32_t n)
{
	struct fx *fx = b->hook_arg;
	struct fx_batch *inner = numbered_batch(1, 1, NULL), *two = numbered_batch(2, 2, NULL);

	(void)first;
	(void)n;
	fx_read(fx, inner);
	FX_CHECK(all_intact(inner, 1));
	fx_read(fx, two);
	FX_CHECK(all_intact(two, 2));
	fx_batch_free(inner);
	fx_batch_free(two);
	return 0;
}

static void callback_holds_no_lock(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = numbered_batch(60, 60, NULL);

	write_numbered(fx, 60, NULL);
	b->hook = read_another;
	b->hook_arg = fx;
	fx_read(fx, b);
	assert_true(all_intact(b, 60));
	fx_batch_free(b);
}

/* ---- The done callback ---- */

struct handed_over {
	struct fx       *fx;
	_Atomic uint32_t running, seen, elsewhere;
};

static void use_at_once(struct fx_batch *b, uint32_t i)
{
	struct handed_over *h = b->hook_arg;

	h->running++;
	h->seen++;
	h->elsewhere += !pthread_equal(b->caller, pthread_self());
	FX_CHECK(fx_intact(b, i, numbered_bytes(i % BIG_STORE))); /* all there and final */
	FX_CHECK(b->reqs[i].crc_got == b->reqs[i].crc_want);
	if (i % 100 == 0)
		usleep(2000);
	pthread_mutex_lock(&h->fx->ctx->mu); /* it is not held: this would hang */
	pthread_mutex_unlock(&h->fx->ctx->mu);
	h->running--;
}

static void handed_over_when_done(void **state)
{
	struct fx *fx = *state;
	uint32_t *crcs = calloc(BIG_STORE, sizeof(*crcs));
	static const uint32_t sizes[] = { 1, 2, 40, 3000 };
	bool tells_cached = fx->backend != FX_FAULT && (fx_knows_nowait(fx) || !fx->ctx->no_cachestat);

	assert_non_null(crcs);
	write_numbered(fx, BIG_STORE, crcs);
	fault_plan.late = true;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct fx_batch *b = numbered_batch(sizes[s], BIG_STORE, crcs);
		struct handed_over h = { .fx = fx };

		b->done_hook = use_at_once;
		b->hook_arg = &h;
		fx_read(fx, b);
		assert_int_equal(h.running, 0); /* none outlives the batch */
		assert_int_equal(h.seen, sizes[s]);
		if (tells_cached && sizes[s] <= 40) /* soon done: on the caller */
			assert_int_equal(h.elsewhere, 0);
		assert_true(all_intact(b, BIG_STORE));
		fx_batch_free(b);
	}
	free(crcs);
}

/* That nothing smaller was named is fx_read's to check. */
static void small_ones_are_not_handed_over(void **state)
{
	static const uint32_t least[] = { 0, 1, 20, 41 }; /* the files have 1 to 40 bytes */
	struct fx *fx = *state;
	struct fx_batch *b = numbered_batch(40, 40, NULL);

	write_numbered(fx, 40, NULL);
	for (size_t l = 0; l < sizeof(least) / sizeof(least[0]); l++) {
		uint32_t named = 0, want = 0;

		b->batch.done_bytes_min = least[l];
		fx_read(fx, b);
		assert_true(all_intact(b, 40));
		for (uint32_t i = 0; i < 40; i++) {
			named += b->named[i];
			want += numbered_bytes(i) >= least[l];
		}
		assert_int_equal(named, want);
	}
	fx_batch_free(b);
}

/* ---- Cancel and timeout ---- */

static uint32_t cancel_word;

static int cancel_now(struct fx_batch *b, uint32_t first, uint32_t n)
{
	(void)b;
	(void)first;
	(void)n;
	__atomic_store_n(&cancel_word, 1, __ATOMIC_RELAXED);
	return 0;
}

static int sleep_over_it(struct fx_batch *b, uint32_t first, uint32_t n)
{
	(void)b;
	(void)first;
	(void)n;
	usleep(40000);
	return 0;
}

static void canceled(void **state)
{
	struct fx *fx = *state;
	uint32_t crcs[200];

	write_numbered(fx, 200, crcs);
	fault_plan.late = true;
	for (uint32_t n = 1; n <= 200; n += 199) {
		struct fx_batch *b = numbered_batch(n, 200, crcs);

		b->batch.cancel = &cancel_word;
		__atomic_store_n(&cancel_word, 1, __ATOMIC_RELAXED); /* before */
		fx_read(fx, b);
		assert_int_equal(b->calls, 0);
		for (uint32_t i = 0; i < n; i++) {
			fx_assert_status(b, i, CR_CANCELED);
			assert_int_equal(b->reqs[i].size_bytes, 0);
		}

		__atomic_store_n(&cancel_word, 0, __ATOMIC_RELAXED); /* between open and read */
		b->hook = cancel_now;
		fx_read(fx, b);
		assert_int_equal(b->calls, 1);
		for (uint32_t i = 0; i < n; i++) {
			fx_assert_status(b, i, CR_CANCELED);
			assert_int_equal(*(uint8_t *)b->reqs[i].buf, FX_FILL);
		}

		__atomic_store_n(&cancel_word, 0, __ATOMIC_RELAXED); /* not at all */
		b->hook = NULL;
		fx_read(fx, b);
		assert_true(all_intact(b, 200));
		fx_batch_free(b);
	}
}

static void timed_out(void **state)
{
	struct fx *fx = *state;
	uint32_t crcs[200];

	write_numbered(fx, 200, crcs);
	fault_plan.late = true;
	for (uint32_t n = 1; n <= 200; n += 199) {
		struct fx_batch *b = numbered_batch(n, 200, crcs);

		b->batch.timeout_ms = 30;
		b->hook = sleep_over_it;
		fx_read(fx, b);
		/* a slow machine may be late for the open step already */
		for (uint32_t i = 0; i < n; i++)
			fx_assert_status(b, i, CR_TIMED_OUT);
		b->batch.timeout_ms = UINT32_MAX;
		b->hook = NULL;
		fx_read(fx, b);
		assert_true(all_intact(b, 200));
		fx_batch_free(b);
	}
}

static void *cancel_soon(void *arg)
{
	usleep(*(uint32_t *)arg);
	__atomic_store_n(&cancel_word, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* When it returns nobody writes to a buffer any more: what was overwritten stays so. */
static void nothing_writes_after_cancel(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(120);
	uint32_t crc = fx_write(fx, "large", LARGE_BYTES);

	for (uint32_t i = 0; i < b->n; i++)
		fx_batch_set(b, i, "large", crc);
	fault_plan.late = true;
	for (uint32_t delay_us = 0; delay_us < 40000; delay_us = delay_us * 2 + 500) {
		pthread_t thread;

		__atomic_store_n(&cancel_word, 0, __ATOMIC_RELAXED);
		b->batch.cancel = &cancel_word;
		b->batch.flags = CR_CHECK_CRC;
		assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &delay_us), 0);
		fx_read(fx, b);
		assert_int_equal(fault_in_flight, 0);
		for (uint32_t i = 0; i < b->n; i++) {
			if (b->reqs[i].status == CR_OK)
				assert_true(i % 16 != 0 || fx_intact(b, i, LARGE_BYTES));
			else
				fx_assert_status(b, i, CR_CANCELED);
			if (b->reqs[i].buf)
				memset(b->reqs[i].buf, 0x11, b->reqs[i].size_bytes);
		}
		pthread_join(thread, NULL);
		usleep(5000);
		for (uint32_t i = 0; i < b->n; i++) {
			const uint8_t *buf = b->reqs[i].buf;

			for (uint32_t at = 0; buf && at < b->reqs[i].size_bytes; at += 499)
				assert_int_equal(buf[at], 0x11);
			b->reqs[i].buf = NULL;
			free(b->mem[i]);
			b->mem[i] = NULL;
		}
	}
	fx_batch_free(b);
}

/* ---- Many callers ---- */

#define CALLERS       16u
#define CALLER_ROUNDS 12u

struct caller {
	struct fx *fx;
	uint32_t   no;
	uint32_t  *crcs;
};

static void *call_often(void *arg)
{
	struct caller *c = arg;
	uint64_t random = 77 + c->no;
	static const uint32_t most[] = { 1, 2, 20, 400 };

	for (uint32_t round = 0; round < CALLER_ROUNDS; round++) {
		uint32_t n = 1 + fx_random(&random) % most[c->no % 4];
		struct fx_batch *b = numbered_batch(n, BIG_STORE, c->crcs);
		uint32_t missing_one = fx_random(&random) % n;
		bool lose = fx_random(&random) % 2;

		if (lose)
			fx_batch_set(b, missing_one, "many/none", 0);
		fx_read(c->fx, b);
		for (uint32_t i = 0; i < n; i++) {
			if (lose && i == missing_one)
				FX_CHECK(b->reqs[i].status == CR_NOT_FOUND);
			else
				FX_CHECK(fx_intact(b, i, numbered_bytes(i % BIG_STORE)));
		}
		fx_batch_free(b);
	}
	return NULL;
}

static void many_callers(void **state)
{
	struct fx *fx = *state;
	uint32_t *crcs = calloc(BIG_STORE, sizeof(*crcs));
	struct caller callers[CALLERS];
	pthread_t threads[CALLERS];
	/* one round with descriptors in plenty, one where the batches wait for each other */
	static const struct cr_options opts[] = { { 0 }, { .open_files_max = 20, .workers = 3 } };

	assert_non_null(crcs);
	write_numbered(fx, BIG_STORE, crcs);
	fault_plan.late = true;
	fault_plan.short_read = fault_plan.eintr = 200;
	for (size_t o = 0; o < sizeof(opts) / sizeof(opts[0]); o++) {
		fx_open(fx, &opts[o]);
		for (uint32_t i = 0; i < CALLERS; i++) {
			callers[i] = (struct caller){ fx, i, crcs };
			assert_int_equal(
				pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
		}
		for (uint32_t i = 0; i < CALLERS; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(fx->ctx->open_files, 0);
		for (enum cr_lane lane = 0; lane < LANES; lane++)
			assert_null(fx->ctx->lanes[lane]);
	}
	free(crcs);
}

struct meeting {
	struct fx *fx;
	sem_t      enter, leave;
};

static void wait_for(sem_t *sem)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	while (sem_timedwait(sem, &until) != 0)
		FX_CHECK(errno == EINTR);
}

/* The big batch stands still in here, with its files open, until the small ones have been read. */
static int let_small_ones_pass(struct fx_batch *b, uint32_t first, uint32_t n)
{
	struct meeting *m = b->hook_arg;

	(void)n;
	if (first == 0) {
		sem_post(&m->enter);
		wait_for(&m->leave);
	}
	return 0;
}

static void *small_ones(void *arg)
{
	struct meeting *m = arg;
	static const uint32_t sizes[] = { 1, 2, 30, 1, 200 };

	wait_for(&m->enter);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct fx_batch *b = numbered_batch(sizes[s], BIG_STORE, NULL);

		fx_read(m->fx, b);
		FX_CHECK(all_intact(b, BIG_STORE));
		fx_batch_free(b);
	}
	sem_post(&m->leave);
	return NULL;
}

/* Order, not time: they end while a batch of 5000 has hardly begun and holds all that it may. */
static void small_batches_pass_a_big_one(void **state)
{
	struct fx *fx = *state;
	static const uint32_t limits[] = { 2, 16, 0 };

	write_numbered(fx, BIG_STORE, NULL);
	for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
		struct cr_options opt = { .open_files_max = limits[l] };
		struct fx_batch *b = numbered_batch(5000, BIG_STORE, NULL);
		struct meeting m = { .fx = fx };
		pthread_t thread;

		fx_open(fx, &opt);
		sem_init(&m.enter, 0, 0);
		sem_init(&m.leave, 0, 0);
		b->hook = let_small_ones_pass;
		b->hook_arg = &m;
		assert_int_equal(pthread_create(&thread, NULL, small_ones, &m), 0);
		fx_read(fx, b);
		pthread_join(thread, NULL);
		assert_true(all_intact(b, BIG_STORE));
		fx_batch_free(b);
		sem_destroy(&m.enter);
		sem_destroy(&m.leave);
	}
}

struct race {
	struct fx       *fx;
	_Atomic uint32_t big_done;
	_Atomic bool     stop;
};

static void *big_ones(void *arg)
{
	struct race *race = arg;

	while (!race->stop) {
		struct fx_batch *b = numbered_batch(5000, BIG_STORE, NULL);

		fx_read(race->fx, b);
		race->big_done++;
		fx_batch_free(b);
	}
	return NULL;
}

/* Three callers read 5000 files again and again; 60 batches of one end before 60 of those. */
static void one_is_not_starved(void **state)
{
	struct fx *fx = *state;
	struct race race = { .fx = fx };
	pthread_t threads[3];

	write_numbered(fx, BIG_STORE, NULL);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, big_ones, &race), 0);
	while (race.big_done == 0)
		usleep(1000);
	uint32_t before = race.big_done;
	for (uint32_t i = 0; i < 60; i++) {
		struct fx_batch *b = numbered_batch(1, 1, NULL);

		fx_read(fx, b);
		FX_CHECK(all_intact(b, 1));
		fx_batch_free(b);
	}
	uint32_t passed = race.big_done - before;
	race.stop = true;
	for (uint32_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(passed < 60);
}

#define TURNS      8u
#define TURN_FILES 40u

static struct {
	struct cr_ctx         *ctx;
	_Atomic uint32_t       taken;
	const struct cr_batch *of[TURNS];
} turns;

/* The only thread that opens waits in its first file until both batches have handed over all of theirs. */
static void log_turn(struct cr_file *f)
{
	uint32_t waiting = 0;

	while (turns.taken == 0 && waiting < 2 * TURN_FILES - 1) {
		usleep(200);
		pthread_mutex_lock(&turns.ctx->mu);
		waiting = turns.ctx->queued[LANE_BLOCK];
		pthread_mutex_unlock(&turns.ctx->mu);
	}
	if (turns.taken < TURNS && f->wave->step == STEP_OPEN)
		turns.of[turns.taken++] = f->wave->batch;
}

static void *read_turns(void *arg)
{
	struct fx_batch *b = numbered_batch(TURN_FILES, BIG_STORE, NULL);

	fx_read(arg, b);
	FX_CHECK(all_intact(b, BIG_STORE));
	fx_batch_free(b);
	return NULL;
}

/* A thread takes files of two batches in turn, not all of the first before the second. */
static void batches_take_turns(void **state)
{
	struct fx *fx = *state;
	struct cr_options opt = { .workers = 1 };
	pthread_t threads[2];

	write_numbered(fx, BIG_STORE, NULL);
	fx_open(fx, &opt);
	assert_int_equal(fx->ctx->blocked_max, 1);
	turns.ctx = fx->ctx;
	turns.taken = 0;
	fault_plan.cold = true;
	fault_plan.on_block = log_turn;
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_turns, fx), 0);
	for (uint32_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 2; i < TURNS; i++)
		assert_ptr_not_equal(turns.of[i], turns.of[i - 1]);
}

/* ---- Few descriptors: in forked children, which get their own limit ---- */

#define NOFILE 64

static void limit_descriptors(rlim_t soft)
{
	struct rlimit lim;

	FX_CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	lim.rlim_cur = soft;
	FX_CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
}

/* All but spare of the descriptors that are left; how many it took. */
static uint32_t hog(int *fds, uint32_t spare)
{
	uint32_t n = 0;

	while ((fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	FX_CHECK(errno == EMFILE);
	while (spare-- > 0)
		close(fds[--n]);
	return n;
}

static void child_many_files(struct fx *fx)
{
	struct fx_batch *b = numbered_batch(2000, BIG_STORE, NULL);

	limit_descriptors(NOFILE);
	fx_open(fx, NULL);
	fx_read(fx, b);
	FX_CHECK(all_intact(b, BIG_STORE));
	fx_close(fx);
	fx_batch_free(b);
}

/* Promised 200, but only spare are there: the rest is read one by one when those are closed. */
static void child_few_left(struct fx *fx)
{
	struct cr_options opt = { .open_files_max = 2000 };
	struct fx_batch *one = numbered_batch(1, 1, NULL);
	int fds[NOFILE];

	limit_descriptors(NOFILE);
	fx_open(fx, &opt);
	fx_read(fx, one); /* without openat2 (valgrind) a path takes two at a time */
	fx_batch_free(one);
	for (uint32_t spare = 1 + fx->ctx->no_openat2; spare <= 6; spare += 2) {
		struct fx_batch *b = numbered_batch(BIG_STORE, BIG_STORE, NULL);
		uint32_t n = hog(fds, spare);

		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++)
			close(fds[i]);
		FX_CHECK(all_intact(b, BIG_STORE));
		fx_batch_free(b);
	}
	fx_close(fx);
}

struct hogs {
	int      fds[NOFILE];
	uint32_t n;
};

static void *release_soon(void *arg)
{
	struct hogs *hogs = arg;

	usleep(50000);
	for (uint32_t i = 0; i < hogs->n; i++)
		close(hogs->fds[i]);
	return NULL;
}

static void child_none_left_for_a_while(struct fx *fx)
{
	struct fx_batch *b = numbered_batch(100, BIG_STORE, NULL);
	struct hogs hogs;
	pthread_t thread;

	limit_descriptors(NOFILE);
	fx_open(fx, NULL);
	hogs.n = hog(hogs.fds, 0);
	FX_CHECK(pthread_create(&thread, NULL, release_soon, &hogs) == 0);
	fx_read(fx, b);
	FX_CHECK(all_intact(b, BIG_STORE));
	pthread_join(thread, NULL);
	fx_close(fx);
	fx_batch_free(b);
}

static void child_none_left(struct fx *fx)
{
	struct fx_batch *b = numbered_batch(100, BIG_STORE, NULL);
	struct hogs hogs;

	limit_descriptors(NOFILE);
	fx_open(fx, NULL);
	hogs.n = hog(hogs.fds, 0);
	b->batch.timeout_ms = 100;
	fx_read(fx, b);
	for (uint32_t i = 0; i < b->n; i++) /* why it waited is not why it failed */
		FX_CHECK(b->reqs[i].status == CR_TIMED_OUT && b->reqs[i].os_errno == 0);
	FX_CHECK(b->calls == 0);
	fx_close(fx);
	fx_batch_free(b);
}

/* The wait for descriptors is the batch's, not each wave's: here are 50 waves. */
static void child_gives_up_once(struct fx *fx)
{
	struct cr_options opt = { .open_files_max = 2 };
	struct fx_batch *b = numbered_batch(50, BIG_STORE, NULL);
	struct hogs hogs;
	uint64_t ms = cr_now_ns() / 1000000;

	limit_descriptors(NOFILE);
	fx_open(fx, &opt);
	hogs.n = hog(hogs.fds, 0);
	fx_read(fx, b);
	ms = cr_now_ns() / 1000000 - ms;
	for (uint32_t i = 0; i < b->n; i++)
		FX_CHECK(b->reqs[i].status == CR_IO && b->reqs[i].os_errno == EMFILE);
	FX_CHECK(ms < 10ull * CR_STARVED_WAIT_MS);
	fx_close(fx);
	fx_batch_free(b);
}

static void assert_child(struct fx *fx, void (*fn)(struct fx *))
{
	int status;

	write_numbered(fx, BIG_STORE, NULL);
	status = fx_fork(fx, fn);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int decline(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n)
{
	(void)arg;
	(void)reqs;
	(void)first;
	(void)n;
	return 0;
}

/* A request that is used again has forgotten the buffer of the time before, which may be somebody
 * else's by now. */
static void old_buffers_are_forgotten(void **state)
{
	struct fx *fx = *state;
	uint8_t old[2][1000];
	struct cr_req reqs[2] = { { .path = "here", .buf = old[0], .cap_bytes = sizeof(old[0]) },
				  { .path = "gone", .buf = old[1], .cap_bytes = sizeof(old[1]) } };
	struct cr_batch batch = { .reqs = reqs, .n = 2, .alloc = decline };

	fx_write(fx, "here", sizeof(old[0]));
	memset(old, FX_FILL, sizeof(old));
	assert_int_equal(cr_batch_read(fx->ctx, &batch), 0);
	assert_int_equal(reqs[0].status, CR_NO_BUFFER);
	assert_int_equal(reqs[1].status, CR_NOT_FOUND);
	for (uint32_t i = 0; i < 2; i++) {
		assert_null(reqs[i].buf);
		assert_int_equal(reqs[i].cap_bytes, 0);
		for (uint32_t j = 0; j < sizeof(old[i]); j++)
			assert_int_equal(old[i][j], FX_FILL);
	}
}

static void limit_of_64(void **state)
{
	assert_child(*state, child_many_files);
}

static void few_descriptors_left(void **state)
{
	assert_child(*state, child_few_left);
}

static void no_descriptors_for_a_while(void **state)
{
	assert_child(*state, child_none_left_for_a_while);
}

static void no_descriptors(void **state)
{
	assert_child(*state, child_none_left);
}

static void no_descriptors_gives_up_once(void **state)
{
	assert_child(*state, child_gives_up_once);
}

/* ---- Injected faults ---- */

static void noise(void **state)
{
	struct fx *fx = *state;
	uint32_t crcs[200];
	uint32_t big_crc = fx_write(fx, "big", 2500000);

	write_numbered(fx, 200, crcs);
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct cr_options opt = { .workers = 1 + seed % 3 };
		struct fx_batch *b = numbered_batch(201, 200, crcs);

		fault_plan.seed = seed;
		fault_plan.late = seed % 2;
		fault_plan.short_read = seed % 3 ? 700 : 0;
		fault_plan.eintr = seed % 5 ? 500 : 0;
		fault_plan.eagain = seed % 4 ? 300 : 0;
		fx_open(fx, &opt);
		fault_plan.refuse_after = seed % 7 ? 0 : 1 + seed;
		fault_plan.refuse_errno = EBADF;
		fx_batch_set(b, 200, "big", big_crc);
		fx_read(fx, b);
		for (uint32_t i = 0; i < 200; i++)
			fx_assert_intact(b, i, numbered_bytes(i));
		fx_assert_intact(b, 200, 2500000);
		fx_batch_free(b);
	}
	assert_true(fault_injected > 1000);
}

static void failing_files(void **state)
{
	struct fx *fx = *state;
	static const struct {
		const char   *path;
		enum cr_step  step;
		int           err;
		uint32_t      times, status, os_errno;
	} cases[] = {
		{ "f/eio-open", STEP_OPEN, EIO, FAULT_ALWAYS, CR_IO, EIO },
		{ "f/eio-read", STEP_READ, EIO, FAULT_ALWAYS, CR_IO, EIO },
		{ "f/enomem", STEP_OPEN, ENOMEM, FAULT_ALWAYS, CR_IO, ENOMEM },
		{ "f/eof", STEP_READ, FAULT_EOF, 1, CR_SHORT, 0 },
		{ "f/eintr-storm", STEP_READ, EINTR, CR_RETRIES_MAX, CR_OK, 0 },
		{ "f/eintr-for-ever", STEP_READ, EINTR, FAULT_ALWAYS, CR_IO, EINTR },
		{ "f/eagain-open", STEP_OPEN, EAGAIN, 1, CR_OK, 0 },
		{ "f/eagain-open-for-ever", STEP_OPEN, EAGAIN, FAULT_ALWAYS, CR_IO, EAGAIN },
		{ "f/eio-of-the-ring", STEP_READ, EIO, 1, CR_OK, 0 },
	};
	const uint32_t n = sizeof(cases) / sizeof(cases[0]);

	for (uint32_t late = 0; late < 2; late++) {
		struct fx_batch *b = fx_batch_new(2 * n + 1);
		uint32_t good = fx_write(fx, "f/good", GOOD_BYTES);

		fault_reset();
		fault_plan.late = late;
		for (uint32_t i = 0; i < n; i++) {
			fault_rule(cases[i].path, cases[i].step, cases[i].err, cases[i].times);
			fx_batch_set(b, 2 * i, "f/good", good);
			fx_batch_set(b, 2 * i + 1, cases[i].path,
				     fx_write(fx, cases[i].path, GOOD_BYTES));
		}
		fx_batch_set(b, 2 * n, "f/good", good);
		fx_open(fx, NULL);
		b->batch.flags = CR_CHECK_CRC;
		fx_read(fx, b);
		for (uint32_t i = 0; i < n; i++) {
			fx_assert_intact(b, 2 * i, GOOD_BYTES);
			fx_assert_status(b, 2 * i + 1, cases[i].status);
			assert_int_equal(b->reqs[2 * i + 1].os_errno, cases[i].os_errno);
		}
		fx_assert_intact(b, 2 * n, GOOD_BYTES);
		fx_batch_free(b);
	}
}

/* EMFILE, ENFILE and ESTALE are tried again; a file keeps the buffer that it got the first time
 * (fx_read fails if the callback is asked twice for one file). */
static void tried_again(void **state)
{
	struct fx *fx = *state;
	static const struct {
		enum cr_step step;
		int          err;
	} cases[] = { { STEP_OPEN, EMFILE }, { STEP_OPEN, ENFILE }, { STEP_OPEN, ESTALE },
		      { STEP_READ, ESTALE } };

	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fx_batch *b = fx_batch_new(40);

		fault_reset();
		fault_rule("again", cases[i].step, cases[i].err, 7);
		fault_plan.late = i % 2;
		fx_write(fx, "again", GOOD_BYTES);
		fx_write(fx, "stays", GOOD_BYTES);
		for (uint32_t f = 0; f < b->n; f++)
			fx_batch_set(b, f, f % 3 ? "stays" : "again", 0);
		fx_read(fx, b);
		assert_true(fault_injected == 7);
		for (uint32_t f = 0; f < b->n; f++)
			fx_assert_intact(b, f, GOOD_BYTES);
		fx_batch_free(b);
	}
}

static int grow_file(struct fx_batch *b, uint32_t first, uint32_t n)
{
	(void)first;
	(void)n;
	if (b->calls == 1)
		fx_write(b->hook_arg, "again", GOOD_BYTES + 1);
	return 0;
}

/* Another file by the time it is tried again: the callback is asked again for what it lacks. */
static void tried_again_and_larger(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(3);

	fault_rule("again", STEP_READ, ESTALE, 1);
	fx_write(fx, "again", GOOD_BYTES);
	fx_write(fx, "stays", GOOD_BYTES);
	fx_batch_set(b, 0, "stays", 0);
	fx_batch_set(b, 1, "again", 0);
	fx_batch_set(b, 2, "stays", 0);
	b->hook = grow_file;
	b->hook_arg = fx;
	b->may_grow = true;
	fx_read(fx, b);
	fx_assert_intact(b, 0, GOOD_BYTES);
	fx_assert_intact(b, 1, GOOD_BYTES + 1);
	assert_int_equal(b->asked[1], 2);
	assert_int_equal(b->calls, 2);
	fx_assert_intact(b, 2, GOOD_BYTES);
	fx_batch_free(b);
}

static int cut_files(struct fx_batch *b, uint32_t first, uint32_t n)
{
	struct fx *fx = b->hook_arg;

	(void)first;
	(void)n;
	FX_CHECK(truncate(fx_path(fx, "cut"), 100) == 0);
	FX_CHECK(truncate(fx_path(fx, "cut-to-nothing"), 0) == 0);
	FX_CHECK(unlink(fx_path(fx, "gone")) == 0);
	fx_write(fx, "grown", 2 * GOOD_BYTES);
	return 0;
}

/* Files that change between the open and the read. */
static void files_that_change(void **state)
{
	struct fx *fx = *state;
	struct fx_batch *b = fx_batch_new(5);
	static const char *const names[] = { "cut", "cut-to-nothing", "gone", "grown", "stays" };

	for (uint32_t i = 0; i < 5; i++)
		fx_batch_set(b, i, names[i], fx_write(fx, names[i], GOOD_BYTES));
	b->batch.flags = CR_CHECK_CRC;
	b->hook = cut_files;
	b->hook_arg = fx;
	fx_read(fx, b);
	fx_assert_status(b, 0, CR_SHORT);
	fx_assert_status(b, 1, CR_SHORT);
	fx_assert_intact(b, 2, GOOD_BYTES); /* it is open: as good as it was */
	fx_assert_intact(b, 3, GOOD_BYTES); /* the size when it was opened */
	fx_assert_intact(b, 4, GOOD_BYTES);
	fx_batch_free(b);
}

int main(void)
{
	static const struct fx_test tests[] = {
		FX_TEST(missing),
		FX_TEST(not_regular),
		FX_TEST(device),
		FX_TEST(links),
		FX_TEST(bad_paths),
		FX_TEST(too_big),
		FX_TEST(empty_file),
		FX_TEST(permission_denied),
		FX_TEST(checksums),
		FX_TEST(good_chunks),
		FX_TEST(bad_chunks),
		FX_TEST(malformed_batches),
		FX_TEST(requests_used_again),
		FX_TEST(batch_sizes),
		FX_TEST(one_file_many_times),
		FX_TEST(buffers_from_callback),
		FX_TEST(buffers_of_the_caller),
		FX_TEST(waves_of_few_descriptors),
		FX_TEST(callback_holds_no_lock),
		FX_TEST(handed_over_when_done),
		FX_TEST(small_ones_are_not_handed_over),
		FX_TEST(canceled),
		FX_TEST(timed_out),
		FX_TEST(nothing_writes_after_cancel),
		FX_TEST(files_that_change),
		FX_TEST(many_callers),
		FX_TEST(small_batches_pass_a_big_one),
		FX_TEST(one_is_not_starved),
		FX_TEST(limit_of_64),
		FX_TEST(few_descriptors_left),
		FX_TEST(no_descriptors_for_a_while),
		FX_TEST(old_buffers_are_forgotten),
		FX_TEST(no_descriptors),
		FX_TEST_ON(FX_THREADS, no_descriptors_gives_up_once),
		FX_TEST_ON(FX_FAULT, batches_take_turns),
		FX_TEST_ON(FX_FAULT, noise),
		FX_TEST_ON(FX_FAULT, failing_files),
		FX_TEST_ON(FX_FAULT, tried_again),
		FX_TEST_ON(FX_FAULT, tried_again_and_larger),
	};

	return fx_run(tests, sizeof(tests) / sizeof(tests[0]));
}
