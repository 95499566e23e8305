/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch as a hostile or careless caller might fill it in, over a small directory: malformed ones are
 * refused untouched; of the others every request has a final status, which for the files that exist
 * is the right one.
 *
 * An input is a little program: three bytes for the batch, then requests until it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "internal.h"

#define REQS_MAX   64u
#define NAME_BYTES 300u

static struct cr_ctx *contexts[2]; /* threads, io_uring or what there is of it */
static char root[64];

static const struct {
	const char *name;
	uint32_t    bytes;  /* of a file */
	uint32_t    status; /* without any check of its content */
} store[] = {
	{ "a", 10, CR_OK },         { "d/b", 5000, CR_OK },       { "d/e/c", 300000, CR_OK },
	{ "empty", 0, CR_OK },      { "big", 0, CR_TOO_BIG },     { "d", 0, CR_NOT_REGULAR },
	{ "link", 0, CR_REFUSED },  { "fifo", 0, CR_NOT_REGULAR }, { "none", 0, CR_NOT_FOUND },
	{ "../x", 0, CR_BAD_PATH }, { "a/..", 0, CR_BAD_PATH },
};
#define STORE (sizeof(store) / sizeof(store[0]))

static uint8_t content_at(uint32_t file, uint32_t at)
{
	return (uint8_t)((at + 1) * 167 + file * 13 + (at >> 8));
}

/* ---- The directory ---- */

static void make_file(uint32_t file)
{
	int fd = open(store[file].name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	uint8_t *content = malloc(store[file].bytes + 1);

	FUZZ_CHECK(fd >= 0 && content);
	for (uint32_t at = 0; at < store[file].bytes; at++)
		content[at] = content_at(file, at);
	FUZZ_CHECK(write(fd, content, store[file].bytes) == (ssize_t)store[file].bytes);
	free(content);
	if (store[file].status == CR_TOO_BIG)
		FUZZ_CHECK(ftruncate(fd, CR_FILE_BYTES_DEFAULT + 1) == 0);
	close(fd);
}

static void end(void)
{
	cr_ctx_close(contexts[0]);
	cr_ctx_close(contexts[1]);
	if (chdir(root) != 0)
		return;
	for (uint32_t file = 0; file < STORE; file++)
		if (store[file].status != CR_BAD_PATH)
			unlink(store[file].name);
	rmdir("d/e");
	rmdir("d");
	rmdir(root);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct cr_options opt = { .backend = CR_BACKEND_THREADS, .workers = 1 };
	char cwd[4096];

	(void)argc;
	(void)argv;
	snprintf(root, sizeof(root), "/tmp/chunkring-fuzz.XXXXXX");
	FUZZ_CHECK(getcwd(cwd, sizeof(cwd)) && mkdtemp(root) && chdir(root) == 0);
	FUZZ_CHECK(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0);
	for (uint32_t file = 0; file < STORE; file++)
		if (store[file].status == CR_OK || store[file].status == CR_TOO_BIG)
			make_file(file);
	FUZZ_CHECK(symlink("a", "link") == 0 && mkfifo("fifo", 0600) == 0);
	FUZZ_CHECK(cr_ctx_open(root, &opt, &contexts[0]) == 0);
	if (!getenv("CR_TEST_BACKENDS") || strstr(getenv("CR_TEST_BACKENDS"), "uring"))
		opt.backend = CR_BACKEND_URING; /* valgrind does not know it */
	FUZZ_CHECK(cr_ctx_open(root, &opt, &contexts[1]) == 0);
	atexit(end);
	FUZZ_CHECK(chdir(cwd) == 0);
	return 0;
}

/* ---- What the input says ---- */

struct input {
	const uint8_t *p;
	size_t         n;
};

static uint8_t take(struct input *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

enum give { GIVE_ENOUGH, GIVE_TOO_LITTLE, GIVE_NONE, GIVE_ERROR };

struct plan {
	struct cr_batch batch;
	struct cr_req   reqs[REQS_MAX];
	char            names[REQS_MAX][NAME_BYTES];
	int             file[REQS_MAX]; /* of the store, or -1 */
	bool            length_lies[REQS_MAX];
	void           *bufs[REQS_MAX];
	_Atomic uint32_t named[REQS_MAX];
	uint32_t        give, cancel;
	bool            no_path;
};

static int give(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n)
{
	struct plan *plan = arg;

	for (uint32_t i = first; i < first + n && plan->give != GIVE_NONE; i++) {
		uint32_t room = reqs[i].want_bytes;

		if (reqs[i].status != CR_PENDING || reqs[i].cap_bytes >= room)
			continue;
		/* again only of a file of which both ends were read first */
		FUZZ_CHECK((!plan->bufs[i] || plan->batch.flags & CR_READ_ENDS) && room > 0);
		free(plan->bufs[i]);
		if (plan->give == GIVE_TOO_LITTLE)
			room--;
		plan->bufs[i] = malloc(room ? room : 1);
		FUZZ_CHECK(plan->bufs[i]);
		reqs[i].buf = plan->bufs[i];
		reqs[i].cap_bytes = room;
	}
	return plan->give == GIVE_ERROR ? -1 : 0;
}

static void note(void *arg, const uint32_t *index, uint32_t n)
{
	struct plan *plan = arg;

	for (uint32_t i = 0; i < n; i++) {
		FUZZ_CHECK(index[i] < plan->batch.n);
		plan->named[index[i]]++;
	}
}

static void read_path(struct input *in, struct plan *plan, uint32_t i, uint8_t how)
{
	struct cr_req *req = &plan->reqs[i];
	uint32_t which = how % 16, bytes;

	plan->file[i] = -1;
	if (which < STORE) {
		plan->file[i] = (int)which;
		snprintf(plan->names[i], NAME_BYTES, "%s", store[which].name);
	} else {
		bytes = take(in);
		for (uint32_t at = 0; at < bytes; at++)
			plan->names[i][at] = (char)take(in);
	}
	req->path = plan->names[i];
	if (which == 15) {
		req->path = NULL;
		plan->no_path = true;
	}
	bytes = (uint32_t)strlen(plan->names[i]);
	switch (how >> 4 & 3) {
	case 0:  req->path_bytes = 0; break;
	case 1:  req->path_bytes = bytes; break;
	case 2:  req->path_bytes = take(in); break;
	default: req->path_bytes = UINT32_MAX; break;
	}
	plan->length_lies[i] = req->path_bytes && req->path_bytes != bytes;
}

static void read_plan(struct input *in, struct plan *plan)
{
	uint8_t how = take(in);

	plan->batch = (struct cr_batch){ .reqs = plan->reqs, .alloc = give, .arg = plan,
					 .cancel = &plan->cancel };
	plan->give = how >> 1 & 3;
	plan->cancel = how >> 3 & 1;
	if (how & 16)
		plan->batch.done = note;
	plan->batch.done_bytes_min = how >> 5;
	plan->batch.flags = take(in);
	plan->batch.seal = how & 3; /* 3 is none */
	plan->batch.ends_bytes_min = 4999; /* of d/b is one byte more */
	plan->batch.timeout_ms = take(in) & 1 ? 100000 : 0;
	while (in->n && plan->batch.n < REQS_MAX) {
		uint32_t i = plan->batch.n++;

		memset(&plan->reqs[i], 0x5c, sizeof(plan->reqs[i])); /* what an old batch left */
		read_path(in, plan, i, take(in));
		plan->reqs[i].crc_want = take(in);
	}
}

/* ---- What must have become of it ---- */

static bool content_right(const struct cr_req *req, int file)
{
	const uint8_t *buf = req->buf;

	if (req->size_bytes != store[file].bytes)
		return false;
	for (uint32_t at = 0; at < req->size_bytes; at++)
		if (buf[at] != content_at((uint32_t)file, at))
			return false;
	return true;
}

/* These are no chunks, and what is wanted has 8 bits: only the checksum of nothing is right. */
static uint32_t checked_status(const struct plan *plan, uint32_t i)
{
	if (store[plan->file[i]].bytes || plan->reqs[i].crc_want)
		return CR_BAD_CRC;
	return plan->batch.flags & CR_CHECK_CHUNK ? CR_BAD_FORMAT : CR_OK;
}

static void check_known(const struct plan *plan, uint32_t i)
{
	const struct cr_req *req = &plan->reqs[i];
	int file = plan->file[i];
	uint32_t want = store[file].status;

	if (plan->cancel)
		want = CR_CANCELED;
	else if (plan->length_lies[i])
		want = CR_BAD_PATH;
	else if (want == CR_OK && store[file].bytes && plan->give != GIVE_ENOUGH)
		want = plan->give == GIVE_TOO_LITTLE ? CR_TOO_SMALL : CR_NO_BUFFER;
	else if (want == CR_OK && plan->batch.flags)
		want = checked_status(plan, i);
	FUZZ_CHECK(req->status == want);
	if (want == CR_OK)
		FUZZ_CHECK(content_right(req, file));
}

static void check(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->batch.n; i++) {
		const struct cr_req *req = &plan->reqs[i];

		FUZZ_CHECK(req->status > CR_PENDING && req->status < CR_STATUS_COUNT);
		FUZZ_CHECK(plan->named[i] == (plan->batch.done && req->status == CR_OK &&
					      req->size_bytes >= plan->batch.done_bytes_min));
		FUZZ_CHECK((req->status == CR_IO || req->status == CR_REFUSED) ==
			   (req->os_errno != 0));
		FUZZ_CHECK(req->buf == plan->bufs[i]);
		FUZZ_CHECK(req->fd == 0); /* none is a chunk whose ends would do */
		if (plan->file[i] >= 0)
			check_known(plan, i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct plan plan, before;
	struct input in = { data, n };
	bool malformed;
	int res;

	memset(&plan, 0, sizeof(plan));
	read_plan(&in, &plan);
	malformed = plan.batch.n == 0 || plan.no_path ||
		    (plan.batch.flags & ~(CR_CHECK_CRC | CR_CHECK_CHUNK | CR_READ_ENDS | CR_KEEP_OPEN)) != 0 ||
		    (plan.batch.flags & CR_KEEP_OPEN && !(plan.batch.flags & CR_READ_ENDS)) ||
		    (plan.batch.flags & CR_READ_ENDS &&
		     (!(plan.batch.flags & CR_CHECK_CHUNK) || plan.batch.seal > CR_SEAL_ALWAYS));
	memcpy(&before, &plan, sizeof(plan));
	res = cr_batch_read(contexts[n & 1], &plan.batch);
	FUZZ_CHECK(res == (malformed ? -EINVAL : 0));
	if (malformed)
		FUZZ_CHECK(memcmp(&before, &plan, sizeof(plan)) == 0);
	else
		check(&plan);
	for (uint32_t i = 0; i < plan.batch.n; i++)
		free(plan.bufs[i]);
	return 0;
}
