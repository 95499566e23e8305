/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl verify: is every chunk of a store what Loki wrote? */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/common.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "chunk/check.h"
#include "chunk/findings.h"
#include "chunk/report.h"
#include "cli.h"

static const char help[] =
"usage: chunkctl verify [options] DIR|FILE|-...\n"
"\n"
"Reads every chunk of the stores and says which ones Loki can't serve as it wrote them. It never\n"
"changes anything. It may run beside a live Loki: a chunk that appears, disappears or is being written\n"
"meanwhile is not a finding.\n"
"\n"
"Checked of every chunk: its name against its metadata (tenant, stream, times) and the CRC32C of the\n"
"whole file; the envelope, snappy frames, footer, block metas and structured metadata; every block's\n"
"place, times and CRC32C.\n"
"\n"
"  --quick             read only the two ends of a file, and the CRC32C that is stored behind each block.\n"
"                      The bytes of the blocks are not checked, all else is. Files whose ends don't\n"
"                      tell enough (small, damaged or unusual ones) are read whole\n"
"  --deep              also decompress every block and read every entry: counts, order, times, symbols\n"
"  --json              one JSON object a finding and one summary in the end (chunkctl(1): JSON)\n"
"  --tenant NAME       only this tenant (repeatable)\n"
"  --since, --until T  only chunks with lines in between: 2024-03-12T10:00:00Z, 36h, 1710237600\n"
"  --rate-limit MB     read no more than so many MB a second\n"
"  --bypass-cache      do not fill the page cache: what verify reads does not stay in it\n"
"  --jobs N            files of how many folders at a time (default: CPUs, 8 to 16)\n"
"  --backend B         auto, uring or threads\n"
"  --state FILE        keep the progress in FILE: after an interrupt the same command goes on from there\n"
"  --settle S          seconds to wait before a damaged file that was written just now is checked again\n"
"                      (default 5; 0: do not wait)\n"
"  -0, --null          names in the list on standard input (-) end with NUL, not newline\n"
"  --quiet             print findings only, no progress and no summary\n"
"  --allow-empty       exit with 0 if there is no chunk to check, as in a new store\n"
"\n"
"exit code: 0 sound, 1 findings, 2 wrong usage, a failed read or write, interrupted, or an argument\n"
"without a chunk to check\n"
"\n"
"examples:\n"
"  chunkctl verify /loki/chunks\n"
"  chunkctl verify --quick /loki/chunks\n"
"  chunkctl verify --deep --json /loki/chunks > report.json\n"
"  chunkctl verify --rate-limit 100 --bypass-cache --state /tmp/verify.state /loki/chunks\n"
"  find /loki/chunks -newer stamp -type f -print0 | chunkctl verify --allow-empty -0 -\n";

enum { OPT_DEEP = OPT_OWN, OPT_QUICK, OPT_RATE, OPT_BYPASS, OPT_STATE, OPT_SETTLE };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_FILTER, OPTIONS_LIST, OPTIONS_EMPTY,
	{ "deep", no_argument, NULL, OPT_DEEP },
	{ "quick", no_argument, NULL, OPT_QUICK },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "rate-limit", required_argument, NULL, OPT_RATE },
	{ "bypass-cache", no_argument, NULL, OPT_BYPASS },
	{ "jobs", required_argument, NULL, OPT_JOBS },
	{ "backend", required_argument, NULL, OPT_BACKEND },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "settle", required_argument, NULL, OPT_SETTLE },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ NULL, 0, NULL, 0 },
};

/* ---- Findings ---- */

static void publish_one(struct verify *v, uint64_t *sums, const struct found *found,
			enum finding_kind kind, const char *detail)
{
	struct findings f = { 0 };

	finding_add(&f, kind, NOWHERE, -1, "%s", detail);
	verify_publish(v, sums, found->root->path, found->path, found->key, 0, &f);
}

/* ---- What the walk and the scan say ---- */

/* What the library says of a file itself is a finding. Whatever else keeps it from being read (no
 * permission, a lease, no descriptor, the disk) says nothing about its content. */
static bool is_finding(const struct scan_result *r, enum finding_kind *kind, const char **detail)
{
	switch (r->status) {
	case CR_REFUSED:
		*kind = FINDING_SYMLINK;
		*detail = "on the way to it";
		return true;
	case CR_NOT_REGULAR:
		*kind = FINDING_NOT_A_FILE;
		*detail = "with a chunk's name";
		return true;
	case CR_TOO_BIG:
		*kind = FINDING_TOO_BIG;
		*detail = "not read";
		return true;
	default:
		return false;
	}
}

static void count_checked(struct verify *v, const struct scan_result *r)
{
	const struct found *f = r->found;

	f->sums[SUM_FILES]++;
	f->sums[SUM_BYTES] += r->bytes;
	f->sums[SUM_ENTRIES] += r->entries;
	f->sums[SUM_ENDS] += r->bytes_unchecked > 0;
	f->sums[SUM_UNCHECKED] += r->bytes_unchecked;
	f->sums[SUM_UNNAMED] += !f->key;
	__atomic_add_fetch(&v->files, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&v->bytes, r->bytes_read, __ATOMIC_RELAXED);
}

static void on_result(void *arg, const struct scan_result *r)
{
	struct verify *v = arg;
	const struct found *f = r->found;
	bool unfinished = r->status == CR_SHORT || r->status == CR_BAD_CRC ||
			  r->status == CR_BAD_FORMAT, gone = false;
	bool leased = r->status == CR_IO && r->err == EAGAIN;
	enum finding_kind kind;
	const char *detail;

	if (r->status == CR_CANCELED)
		return;
	if (unfinished && !f->key && (!r->file || !cr_chunk_resembles(r->file, r->bytes))) {
		f->sums[SUM_OTHER]++; /* a list of files has an index in it, say */
		return;
	}
	if ((unfinished || leased) && unsettled(v, f, leased, &gone))
		return;
	if (gone || r->status == CR_NOT_FOUND) {
		f->sums[SUM_VANISHED]++;
		return;
	}
	if (r->status == CR_OK || r->findings) {
		count_checked(v, r);
		verify_publish(v, f->sums, f->root->path, f->path, f->key, r->bytes, r->findings);
	} else if (is_finding(r, &kind, &detail)) {
		count_checked(v, r);
		publish_one(v, f->sums, f, kind, detail);
	} else {
		verify_unreadable(v, f->sums, f->root->path, f->path, f->key, r->err,
				  r->err ? error_text(r->err) : cr_status_text(r->status));
	}
}

struct job {
	struct verify *v;
	struct scan   *scan;
};

static void *job_open(void *arg)
{
	struct job *j = mem_get(sizeof(*j));

	j->v = arg;
	j->scan = scan_job_open(&j->v->scan);
	return j;
}

static void job_file(void *arg, const struct found *f)
{
	struct job *j = arg;
	struct verify *v = j->v;

	switch (f->kind) {
	case FOUND_CHUNK:
		scan_add(j->scan, f);
		return;
	case FOUND_TEMPORARY:
		f->sums[SUM_TEMPORARY]++;
		return;
	case FOUND_OTHER:
		f->sums[SUM_OTHER]++;
		return;
	case FOUND_NAME:
		publish_one(v, f->sums, f, FINDING_NAME, "not base64 of a chunk's key");
		return;
	case FOUND_MISPLACED:
		publish_one(v, f->sums, f, FINDING_MISPLACED,
			    "chunks lie in TENANT/FINGERPRINT/, or those of schema v11 in the store itself");
		return;
	case FOUND_SYMLINK:
		publish_one(v, f->sums, f, FINDING_SYMLINK, "what is behind it was not checked");
		return;
	case FOUND_SPECIAL:
		publish_one(v, f->sums, f, FINDING_NOT_A_FILE, "a FIFO, socket, device or folder");
		return;
	case FOUND_TROUBLE:
		verify_unreadable(v, f->sums, f->root->path, f->path, f->key, f->err,
				  error_text(f->err));
		return;
	}
}

static void job_unit_end(void *arg)
{
	scan_flush(((struct job *)arg)->scan);
}

static void job_close(void *arg)
{
	struct job *j = arg;

	scan_job_close(j->scan);
	free(j);
}

static void ask_progress(void *arg, struct progress_now *out)
{
	struct verify *v = arg;

	out->files = __atomic_load_n(&v->files, __ATOMIC_RELAXED);
	out->bytes = __atomic_load_n(&v->bytes, __ATOMIC_RELAXED);
	out->findings = __atomic_load_n(&v->findings, __ATOMIC_RELAXED);
	walk_progress(&v->walk, &out->done, &out->total);
}

/* ---- The command ---- */

static bool take_option(struct verify *v, int opt, const char *value, const char **state)
{
	uint64_t x;

	switch (opt) {
	case '0':
		v->walk.nul = true;
		return true;
	case OPT_DEEP:
		v->scan.flags |= CHECK_DEEP;
		return true;
	case OPT_QUICK:
		v->scan.how = SCAN_SEALED;
		return true;
	case OPT_JSON:
		v->json = true;
		return true;
	case OPT_QUIET:
		v->quiet = v->walk.quiet = true;
		return true;
	case OPT_EMPTY:
		v->walk.allow_empty = true;
		return true;
	case OPT_BYPASS:
		v->scan.bypass = true;
		return true;
	case OPT_STATE:
		*state = value;
		return true;
	case OPT_BACKEND:
		return parse_backend(value, &v->scan.backend);
	case OPT_JOBS:
		if (!parse_u64("jobs", value, 1, JOBS_MAX, &x))
			return false;
		v->walk.jobs = (uint32_t)x;
		return true;
	case OPT_RATE:
		if (!parse_u64("rate-limit", value, 1, 1u << 20, &x))
			return false;
		v->scan.rate = x * 1000000;
		return true;
	case OPT_SETTLE:
		if (!parse_u64("settle", value, 0, 3600, &x))
			return false;
		v->settle_ns = x * NS_PER_S;
		return true;
	}
	return filter_option(&v->walk.filter, opt, value) == 0;
}

/* What must be the same for a state to be gone on with. */
static bool open_state(struct verify *v, const char *path)
{
	struct bytes all = { 0 };
	bool ok;

	if (!path)
		return true;
	bytes_printf(&all, "deep=%u quick=%u since=%lld until=%lld", v->scan.flags & CHECK_DEEP,
		     v->scan.how == SCAN_SEALED,
		     v->walk.filter.timed ? (long long)v->walk.filter.since_ms : 0,
		     v->walk.filter.timed ? (long long)v->walk.filter.until_ms : 0);
	for (uint32_t i = 0; i < v->walk.filter.n_tenants; i++)
		bytes_printf(&all, " tenant=%s", v->walk.filter.tenants[i]);
	for (uint32_t i = 0; i < v->walk.n_args; i++) {
		struct stat st;
		char *real = realpath(v->walk.args[i], NULL);

		if (!real || stat(real, &st) != 0 || !S_ISDIR(st.st_mode)) {
			complain("--state is for directories; %s is none", v->walk.args[i]);
			free(real);
			bytes_free(&all);
			return false;
		}
		bytes_printf(&all, " dir=%s", real);
		free(real);
	}
	ok = state_open(&v->state, path, bytes_string(&all), v->walk.n_args);
	bytes_free(&all);
	memcpy(v->sums, v->state.sums, sizeof(v->sums));
	if (ok) {
		settle_load(v);
		v->walk.state = &v->state;
	}
	return ok;
}

/* What a later run is to know. The walk has added what it finished to the state's sums itself. */
static void close_state(struct verify *v, const uint64_t *before)
{
	if (!v->walk.state)
		return;
	if (v->walk.finished && !stopped()) {
		state_remove(&v->state);
	} else {
		for (uint32_t i = 0; i < SUMS_MAX; i++)
			v->state.sums[i] += v->sums[i] - before[i]; /* what was settled */
		settle_save(v);
		state_save(&v->state);
	}
}

static int run(struct verify *v, const char *state)
{
	uint64_t before[SUMS_MAX];
	int code;

	if (!open_state(v, state))
		return EXIT_TROUBLE;
	memcpy(before, v->sums, sizeof(before));
	v->scan.jobs = v->walk.jobs;
	v->scan.arg = v->walk.arg = v;
	v->scan.result = on_result;
	v->walk.open = job_open;
	v->walk.file = job_file;
	v->walk.unit_end = job_unit_end;
	v->walk.close = job_close;
	v->begin_ns = now_ns();
	scan_open(&v->scan);
	progress_start(ask_progress, v, !v->quiet);
	walk_run(&v->walk);
	settle(v);
	progress_stop();
	close_state(v, before);
	code = verify_summary(v);
	scan_close(&v->scan);
	settle_free(v);
	state_free(&v->state);
	free(v->walk.filter.tenants);
	return out_end(&v->out, code);
}

int cmd_verify(int argc, char **argv)
{
	static struct verify v;
	const char *state = NULL;
	int opt;

	v.walk.jobs = default_jobs();
	v.settle_ns = 5 * NS_PER_S;
	pthread_mutex_init(&v.mu, NULL);
	while ((opt = getopt_long(argc, argv, "h0", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == '?' || !take_option(&v, opt, optarg, &state))
			return bad_usage();
	}
	if (v.scan.how == SCAN_SEALED && v.scan.flags & CHECK_DEEP) {
		complain("--quick and --deep exclude each other: one reads no block, the other all");
		return bad_usage();
	}
	if (optind == argc) {
		complain("which store? Give its directory");
		return bad_usage();
	}
	if (argc - optind > (int)ROOTS_MAX) {
		complain("more than %u arguments; give a list on standard input (-)", ROOTS_MAX);
		return bad_usage();
	}
	out_open(&v.out, STDOUT_FILENO, "standard output");
	v.colours = !v.json && out_colours(STDOUT_FILENO);
	v.walk.args = (const char **)argv + optind;
	v.walk.n_args = (uint32_t)(argc - optind);
	return run(&v, state);
}
