/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl bench: how fast can a store be read? */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/common.h"
#include "base/die.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "cli.h"

static const char help[] =
"usage: chunkctl bench [options] DIR\n"
"\n"
"Reads chunks of a store through libchunkring, checks every CRC, and prints how fast each back-end is:\n"
"cold (from the disk) and warm (from the page cache), in batches as Loki reads them and one by one.\n"
"Nothing is written. Cold means that the files' pages were dropped from the cache before; their inodes\n"
"stay in memory. On a live store, give --rounds 1.\n"
"\n"
"  --files N        at most so many chunks (default 2000)\n"
"  --size MB        at most so much (default 1000)\n"
"  --batch N        chunks a batch (default 100; Loki: 50)\n"
"  --rounds N       of each measurement; the median is printed (default 3)\n"
"  --backend B      uring or threads only (default: both)\n"
"  --json           one JSON object a measurement\n"
"\n"
"exit code: 0 done, 1 a chunk was damaged, 2 wrong usage, a failed read or write, or no chunk found\n"
"\n"
"examples:\n"
"  chunkctl bench /loki/chunks\n"
"  chunkctl bench --files 20000 --size 4000 --backend threads /loki/chunks\n";

enum { OPT_FILES = OPT_OWN, OPT_SIZE, OPT_BATCH, OPT_ROUNDS };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_FILTER,
	{ "files", required_argument, NULL, OPT_FILES },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "backend", required_argument, NULL, OPT_BACKEND },
	{ "json", no_argument, NULL, OPT_JSON },
	{ NULL, 0, NULL, 0 },
};

#define FILES_MAX   1000000u
#define ROUNDS_MAX  100u
#define SINGLES_MAX 500u /* files read one by one, for latencies */

struct sample {
	char    *path;
	uint32_t crc, size;
};

struct bench {
	struct walk    walk;
	struct out     out;
	bool           json;
	uint32_t       only; /* a back-end, or 0 */
	uint64_t       files_max, bytes_max, batch, rounds;
	pthread_mutex_t mu;
	struct sample *list;
	size_t         n;
	uint64_t       bytes;
	int            fd;
	uint64_t       bad, unreadable; /* reads */
};

struct measure {
	const char *backend;
	bool        cold;
	double      seconds, cpu;
	uint64_t    files, bytes;
	double      p50_us, p90_us, p99_us, max_us;
};

static void count_unreadable(struct bench *b, const char *path, const char *why)
{
	if (b->unreadable++ == 0) /* every round meets them all again */
		complain("%s/%s: %s", b->walk.args[0], path, why);
}

/* ---- The sample: the first chunks found ---- */

static void job_file(void *arg, const struct found *f)
{
	struct bench *b = arg;
	struct stat st;

	if (f->kind == FOUND_TROUBLE)
		count_unreadable(b, f->path, error_text(f->err));
	if (f->kind != FOUND_CHUNK || !f->key)
		return;
	if (fstatat(f->root->fd, f->path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno != ENOENT) /* Loki deleted it meanwhile */
			count_unreadable(b, f->path, error_text(errno));
		return;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > FILE_BYTES_MAX)
		return;
	pthread_mutex_lock(&b->mu);
	if (b->n < b->files_max && b->bytes + (uint64_t)st.st_size <= b->bytes_max) {
		b->list[b->n++] = (struct sample){ .path = mem_string(f->path), .crc = f->key->crc,
						   .size = (uint32_t)st.st_size };
		b->bytes += (uint64_t)st.st_size;
	} else {
		__atomic_store_n(&b->walk.enough, true, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&b->mu);
}

static bool collect(struct bench *b)
{
	b->list = mem_get(b->files_max * sizeof(*b->list));
	b->walk.jobs = 1; /* the order of the disk, and always the same files */
	b->walk.arg = b;
	b->walk.file = job_file;
	walk_run(&b->walk);
	if (b->walk.trouble || b->walk.empty)
		return false;
	if (b->n)
		return true;
	complain("%s: none of its chunks can be measured: empty, or larger than --size or 64 MiB",
		 b->walk.args[0]);
	return false;
}

static void drop_cache(const struct bench *b)
{
	for (size_t i = 0; i < b->n; i++) {
		/* NONBLOCK: not to wait for who holds a lease on it */
		int fd = openat(b->fd, b->list[i].path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

		if (fd < 0)
			continue;
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
}

/* ---- Measuring ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double at_part(const double *sorted, size_t n, double part)
{
	size_t i = (size_t)(part * (double)(n - 1) + 0.5);

	return n ? sorted[i < n ? i : n - 1] : 0;
}

static void count_bad(struct bench *b, const struct cr_req *reqs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		switch (reqs[i].status) {
		case CR_OK:
		case CR_NOT_FOUND: /* deleted meanwhile */
		case CR_CANCELED:
			break;
		case CR_SHORT:
		case CR_BAD_CRC:
		case CR_BAD_FORMAT:
			b->bad++;
			break;
		default:
			count_unreadable(b, reqs[i].path, reqs[i].os_errno ?
					 error_text((int)reqs[i].os_errno) :
					 cr_status_text(reqs[i].status));
		}
	}
}

static void read_batch(struct bench *b, struct cr_ctx *ctx, struct cr_pool *pool, size_t first,
		       size_t n)
{
	struct cr_req *reqs = mem_zero(n * sizeof(*reqs));
	struct cr_batch batch = { .reqs = reqs, .n = (uint32_t)n, .flags = CR_CHECK_CHUNK,
				  .alloc = cr_pool_alloc, .arg = pool, .cancel = &stop_word };

	for (size_t i = 0; i < n; i++) {
		reqs[i].path = b->list[first + i].path;
		reqs[i].crc_want = b->list[first + i].crc;
	}
	if (cr_batch_read(ctx, &batch) != 0)
		die("a batch was refused: a bug in chunkctl");
	count_bad(b, reqs, n);
	for (size_t i = 0; i < n; i++)
		if (reqs[i].buf)
			cr_pool_release(pool, reqs[i].buf);
	free(reqs);
}

static void read_all(struct bench *b, struct cr_ctx *ctx, struct cr_pool *pool)
{
	for (size_t i = 0; i < b->n && !stopped(); i += b->batch)
		read_batch(b, ctx, pool, i, b->n - i < b->batch ? b->n - i : b->batch);
}

static void read_singly(struct bench *b, struct cr_ctx *ctx, struct cr_pool *pool,
			struct measure *m)
{
	size_t n = b->n < SINGLES_MAX ? b->n : SINGLES_MAX, step = b->n / n;
	double *us = mem_get(n * sizeof(*us));

	for (size_t i = 0; i < n && !stopped(); i++) {
		uint64_t begin = now_ns();

		read_batch(b, ctx, pool, i * step, 1);
		us[i] = (double)(now_ns() - begin) / 1000;
	}
	qsort(us, n, sizeof(*us), by_value);
	m->p50_us = at_part(us, n, 0.5);
	m->p90_us = at_part(us, n, 0.9);
	m->p99_us = at_part(us, n, 0.99);
	m->max_us = at_part(us, n, 1);
	free(us);
}

static void measure(struct bench *b, struct cr_ctx *ctx, struct cr_pool *pool, struct measure *m)
{
	double seconds[ROUNDS_MAX] = { 0 }, cpu[ROUNDS_MAX] = { 0 };
	size_t done = 0;

	if (!m->cold)
		read_all(b, ctx, pool);
	for (size_t i = 0; i < b->rounds && !stopped(); i++) {
		double cpu_before;
		uint64_t begin;

		if (m->cold)
			drop_cache(b);
		cpu_before = cpu_seconds();
		begin = now_ns();
		read_all(b, ctx, pool);
		seconds[done] = (double)(now_ns() - begin) / (double)NS_PER_S;
		cpu[done++] = cpu_seconds() - cpu_before;
	}
	qsort(seconds, done, sizeof(*seconds), by_value);
	qsort(cpu, done, sizeof(*cpu), by_value);
	m->seconds = at_part(seconds, done, 0.5);
	m->cpu = at_part(cpu, done, 0.5);
	m->files = b->n;
	m->bytes = b->bytes;
	if (m->cold)
		drop_cache(b);
	read_singly(b, ctx, pool, m);
}

/* ---- Printing ---- */

static void print(struct bench *b, const struct measure *m)
{
	double rate = m->seconds > 0 ? (double)m->bytes / m->seconds : 0;
	double files = m->seconds > 0 ? (double)m->files / m->seconds : 0;
	char text[SIZE_TEXT_BYTES], count[SIZE_TEXT_BYTES];
	struct bytes o = { 0 };

	if (b->json) {
		json_open(&o, NULL, '{');
		json_string(&o, "type", "measurement");
		json_string(&o, "backend", m->backend);
		json_string(&o, "cache", m->cold ? "cold" : "warm");
		json_u64(&o, "files", m->files);
		json_u64(&o, "bytes", m->bytes);
		json_real(&o, "seconds", m->seconds);
		json_real(&o, "cpu_seconds", m->cpu);
		json_real(&o, "bytes_per_second", rate);
		json_real(&o, "files_per_second", files);
		json_real(&o, "p50_us", m->p50_us);
		json_real(&o, "p90_us", m->p90_us);
		json_real(&o, "p99_us", m->p99_us);
		json_real(&o, "max_us", m->max_us);
		json_close(&o, '}');
		bytes_addc(&o, '\n');
	} else {
		bytes_printf(&o, "%-8s %-5s %10s/s %12s %9.3f %8.2f  %8.0f %8.0f %8.0f %8.0f\n",
			     m->backend, m->cold ? "cold" : "warm", size_text((uint64_t)rate, text),
			     count_text((uint64_t)files,
					count), m->seconds, m->cpu, m->p50_us, m->p90_us,
			     m->p99_us, m->max_us);
	}
	out_bytes(&b->out, o.p, o.n);
	out_flush(&b->out);
	bytes_free(&o);
}

static void say_backend(struct bench *b, struct cr_ctx *ctx, uint32_t wanted)
{
	const char *step = "";
	int err = cr_backend_errno(ctx, &step);

	if (wanted != CR_BACKEND_THREADS && err)
		complain("io_uring can't be used here: %s: %s (chunkctl doctor says what to do); threads "
			 "run in its place", step, strerror(err));
	else if (!b->json)
		out_printf(&b->out, "%s: %u thread%s, checksums by %s\n", cr_backend_name(ctx),
			   cr_workers(ctx), plural(cr_workers(ctx)), cr_crc32c_kernel());
}

static bool run_backend(struct bench *b, uint32_t backend)
{
	struct cr_options opt = { .backend = backend };
	struct cr_ctx *ctx;
	struct cr_pool *pool;
	int err = cr_ctx_open(b->walk.args[0], &opt, &ctx);

	if (err) {
		complain_errno(-err, "%s", b->walk.args[0]);
		return false;
	}
	if (cr_pool_open(256u << 20, &pool) != 0)
		die("out of memory");
	say_backend(b, ctx, backend);
	if (backend == CR_BACKEND_THREADS || cr_backend_errno(ctx, NULL) == 0) {
		struct measure cold = { .backend = cr_backend_name(ctx), .cold = true }, warm = cold;

		warm.cold = false;
		measure(b, ctx, pool, &cold);
		if (!stopped())
			print(b, &cold);
		measure(b, ctx, pool, &warm);
		if (!stopped())
			print(b, &warm);
	}
	cr_ctx_close(ctx);
	cr_pool_close(pool);
	return true;
}

static int run(struct bench *b)
{
	char size[SIZE_TEXT_BYTES];
	bool ok = true;

	if (!collect(b))
		return EXIT_TROUBLE;
	b->fd = open(b->walk.args[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!b->json) {
		out_printf(&b->out, "%zu chunk%s, %s, batches of %llu, medians of %llu round%s\n",
			   b->n, plural(b->n), size_text(b->bytes, size),
			   (unsigned long long)b->batch, (unsigned long long)b->rounds,
			   plural(b->rounds));
		out_printf(&b->out, "%-8s %-5s %12s %12s %9s %8s  %8s %8s %8s %8s\n", "", "cache",
			   "",
			   "files/s", "seconds", "CPU s", "p50 us", "p90 us", "p99 us", "max us");
	}
	if (b->only != CR_BACKEND_THREADS)
		ok = run_backend(b, CR_BACKEND_URING);
	if (ok && !stopped() && b->only != CR_BACKEND_URING)
		ok = run_backend(b, CR_BACKEND_THREADS);
	if (b->bad)
		complain("%llu read%s found a damaged chunk; chunkctl verify says which",
			 (unsigned long long)b->bad, plural(b->bad));
	if (b->unreadable)
		complain("%llu time%s something could not be read: the figures lack it",
			 (unsigned long long)b->unreadable, plural(b->unreadable));
	for (size_t i = 0; i < b->n; i++)
		free(b->list[i].path);
	free(b->list);
	free(b->walk.filter.tenants);
	if (!ok || b->unreadable || stopped())
		return out_end(&b->out, EXIT_TROUBLE);
	return out_end(&b->out, b->bad ? EXIT_FINDINGS : EXIT_SOUND);
}

static bool take_option(struct bench *b, int opt, const char *value)
{
	uint64_t mb;

	switch (opt) {
	case OPT_FILES:
		return parse_u64("files", value, 1, FILES_MAX, &b->files_max);
	case OPT_SIZE:
		if (!parse_u64("size", value, 1, 1u << 20, &mb))
			return false;
		b->bytes_max = mb * 1000000;
		return true;
	case OPT_BATCH:
		return parse_u64("batch", value, 1, 4096, &b->batch);
	case OPT_ROUNDS:
		return parse_u64("rounds", value, 1, ROUNDS_MAX, &b->rounds);
	case OPT_BACKEND:
		return parse_backend(value, &b->only);
	case OPT_JSON:
		b->json = true;
		return true;
	}
	return filter_option(&b->walk.filter, opt, value) == 0;
}

int cmd_bench(int argc, char **argv)
{
	static struct bench b = { .files_max = 2000, .bytes_max = 1000000000, .batch = 100, .rounds = 3 };
	struct stat st;
	int opt;

	errno = 0;
	pthread_mutex_init(&b.mu, NULL);
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == '?' || !take_option(&b, opt, optarg))
			return bad_usage();
	}
	if (argc - optind != 1) {
		complain("give one store's directory");
		return bad_usage();
	}
	if (stat(argv[optind], &st) != 0 || !S_ISDIR(st.st_mode)) {
		complain_errno(errno ? errno : ENOTDIR, "%s", argv[optind]);
		return EXIT_TROUBLE;
	}
	out_open(&b.out, STDOUT_FILENO, "standard output");
	b.walk.args = (const char **)argv + optind;
	b.walk.n_args = 1;
	return run(&b);
}
