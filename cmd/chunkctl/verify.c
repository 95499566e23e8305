/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl verify: is every chunk of a store what Loki wrote? */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"
#include "out.h"
#include "progress.h"
#include "report.h"
#include "scan.h"
#include "state.h"

static const char help[] =
"usage: chunkctl verify [options] DIR|FILE|-...\n"
"\n"
"Reads every chunk of the stores and says which ones Loki can't serve as it wrote them. It never\n"
"changes anything and may run beside a live Loki: chunks that come, go or are being written meanwhile\n"
"are no findings.\n"
"\n"
"Checked of every chunk: its name against its metadata (tenant, stream, times) and the CRC32C of the\n"
"whole file; the envelope, snappy frames, footer, block metas and structured metadata; every block's\n"
"place, times and CRC32C.\n"
"\n"
"  --deep              also inflate every block and read every entry: counts, order, times, symbols\n"
"  --json              one JSON object a finding and one summary in the end (chunkctl(1): JSON)\n"
"  --tenant NAME       only this tenant (repeatable)\n"
"  --since, --until T  only chunks with lines in between: 2024-03-12T10:00:00Z, 36h, 1710237600\n"
"  --rate-limit MB     read no more than so many MB a second\n"
"  --bypass-cache      leave the page cache as it is: what was not in it does not stay in it\n"
"  --jobs N            files of how many folders at a time (default: CPUs, 8 to 16)\n"
"  --backend B         auto, uring or threads\n"
"  --state FILE        remember how far it came; the same command goes on there after an interrupt\n"
"  --settle S          how long to wait before another look at what was written just now\n"
"                      (default 5 seconds; 0: judge at once)\n"
"  -0, --null          names in the list on standard input (-) end with NUL, not newline\n"
"  --quiet             no progress, no summary: only findings\n"
"\n"
"exit code: 0 sound, 1 findings, 2 usage, input or output trouble, or interrupted\n"
"\n"
"examples:\n"
"  chunkctl verify /loki/chunks\n"
"  chunkctl verify --deep --json /loki/chunks > report.json\n"
"  chunkctl verify --rate-limit 100 --bypass-cache --state /tmp/verify.state /loki/chunks\n"
"  find /loki/chunks -newer stamp -type f -print0 | chunkctl verify -0 -\n";

enum { OPT_DEEP = OPT_OWN, OPT_RATE, OPT_BYPASS, OPT_STATE, OPT_SETTLE };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_FILTER, OPTIONS_LIST,
	{ "deep", no_argument, NULL, OPT_DEEP },
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

/* Counters of a walk's units; state files hold them by number: append, never renumber. */
enum sum {
	SUM_FILES, SUM_BYTES, SUM_ENTRIES,
	SUM_ERROR, SUM_PARTIAL, SUM_WARNING, /* files, by their worst finding */
	SUM_FINDINGS, SUM_TEMPORARY, SUM_OTHER, SUM_VANISHED, SUM_UNNAMED, SUM_TROUBLE,
	SUM_KIND, /* and enum finding_kind */
};

_Static_assert(SUM_KIND + FINDING_COUNT <= SUMS_MAX, "every kind has a counter");

#define AGAIN_MAX      65536u /* files to look at again; above, they are judged at once */
#define AGAIN_TRIES    3u
#define RECENT_NS      (30 * (int64_t)NS_PER_S) /* written so lately: perhaps not finished */

struct again {
	char    *path; /* whole */
	char    *root, *file;
	int64_t  mtime_ns;
	uint32_t tries;
	uint64_t due_ns;
};

struct verify {
	struct walk        walk;
	struct scan_shared scan;
	struct out         out;
	struct state       state;
	bool               json, quiet, colours;
	uint64_t           settle_ns, begin_ns;
	pthread_mutex_t    mu;
	struct again      *again; /* mu */
	uint32_t           n_again, cap_again;
	uint64_t           busy;  /* files that never came to rest */
	uint64_t           files, bytes, findings; /* atomic; for the progress */
	uint64_t           sums[SUMS_MAX]; /* what was looked at again, and earlier runs */
};

/* ---- Findings ---- */

static void count(struct verify *v, uint64_t *sums, const struct findings *f)
{
	enum severity worst = SEVERITY_WARNING;

	for (uint32_t i = 0; i < f->n; i++) {
		if (finding_severity(f->list[i].kind) > worst)
			worst = finding_severity(f->list[i].kind);
		sums[SUM_KIND + f->list[i].kind]++;
	}
	sums[SUM_FINDINGS] += f->n + f->dropped;
	sums[worst == SEVERITY_ERROR ? SUM_ERROR : worst == SEVERITY_PARTIAL ? SUM_PARTIAL
									     : SUM_WARNING]++;
	__atomic_add_fetch(&v->findings, f->n + f->dropped, __ATOMIC_RELAXED);
}

static void publish(struct verify *v, uint64_t *sums, const char *root, const char *path,
		    const struct key *key, uint64_t size, const struct findings *f)
{
	struct bytes text = { 0 };

	if (!f || f->n == 0)
		return;
	count(v, sums, f);
	for (uint32_t i = 0; i < f->n; i++) {
		if (v->json)
			report_json(&text, root, path, key, size, &f->list[i]);
		else
			report_text(&text, root, path, &f->list[i], v->colours);
	}
	out_bytes(&v->out, text.p, text.n); /* a file's findings stay together */
	bytes_free(&text);
}

static void publish_one(struct verify *v, uint64_t *sums, const struct found *found,
			enum finding_kind kind, const char *detail)
{
	struct findings f = { 0 };

	finding_add(&f, kind, NOWHERE, -1, "%s", detail);
	publish(v, sums, found->root->path, found->path, found->key, 0, &f);
}

/* ---- Files that are being written ---- */

static void again_push(struct verify *v, struct again a)
{
	if (v->n_again == v->cap_again) {
		v->cap_again = v->cap_again ? 2 * v->cap_again : 64;
		v->again = mem_resize(v->again, v->cap_again * sizeof(*v->again));
	}
	v->again[v->n_again++] = a;
}

/* Whether a file that does not check out deserves another look: it was written just now, or it is
 * gone. *gone: then it counts for nothing. */
static bool unsettled(struct verify *v, const struct found *f, bool *gone)
{
	struct again a = { 0 };
	struct bytes path = { 0 };
	struct stat st;
	int64_t age;

	*gone = fstatat(f->root->fd, f->path, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
	if (*gone || v->settle_ns == 0)
		return false;
	a.mtime_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
	age = wall_ns() - a.mtime_ns;
	if (age > RECENT_NS || age < -RECENT_NS)
		return false;
	path_join(f->root->path, f->path, &path);
	a.path = mem_string(bytes_string(&path));
	a.root = mem_string(f->root->path);
	a.file = mem_string(f->path);
	a.due_ns = now_ns() + v->settle_ns;
	bytes_free(&path);
	pthread_mutex_lock(&v->mu);
	if (v->n_again < AGAIN_MAX) {
		again_push(v, a);
		pthread_mutex_unlock(&v->mu);
		return true;
	}
	pthread_mutex_unlock(&v->mu);
	free(a.path);
	free(a.root);
	free(a.file);
	return false;
}

static void again_free(struct again *a)
{
	free(a->path);
	free(a->root);
	free(a->file);
}

/* One more look. False: it was written to since, so it stays in the list. */
static bool look_again(struct verify *v, struct again *a)
{
	struct bytes file = { .max = FILE_BYTES_MAX + 1 };
	struct scratch *s;
	struct findings f = { 0 };
	struct key key;
	bool named = key_of_path(a->path, &key);
	int64_t mtime = 0;
	int err = file_read(AT_FDCWD, a->path, false, &file, &mtime);

	if (err == ENOENT) {
		v->sums[SUM_VANISHED]++;
		bytes_free(&file);
		return true;
	}
	s = scratch_get();
	if (err) {
		finding_add(&f, FINDING_UNREADABLE, NOWHERE, -1, "%s", strerror(err));
		v->sums[SUM_TROUBLE]++;
	} else {
		check_chunk(named ? &key : NULL, (const uint8_t *)file.p, file.n, v->scan.flags, s,
			    &f);
	}
	scratch_put(s);
	if (f.n && !err && mtime != a->mtime_ns && a->tries + 1 < AGAIN_TRIES) {
		a->mtime_ns = mtime;
		a->tries++;
		a->due_ns = now_ns() + v->settle_ns;
		bytes_free(&file);
		return false;
	}
	if (f.n && !err && mtime != a->mtime_ns) {
		v->busy++;
	} else {
		v->sums[SUM_FILES]++;
		v->sums[SUM_BYTES] += file.n;
		v->sums[SUM_ENTRIES] += f.entries;
		publish(v, v->sums, a->root, a->file, named ? &key : NULL, file.n, &f);
	}
	bytes_free(&file);
	return true;
}

/* The list is in the order of due times, and what is put back goes to its end. */
static void settle(struct verify *v)
{
	uint32_t i = 0;

	while (i < v->n_again && !stopped()) {
		struct again a = v->again[i];

		sleep_until_ns(a.due_ns);
		if (stopped())
			break;
		i++;
		if (look_again(v, &a))
			again_free(&a);
		else
			again_push(v, a);
	}
	if (i)
		memmove(v->again, v->again + i, (v->n_again - i) * sizeof(*v->again));
	v->n_again -= i;
}

/* ---- What the walk and the scan say ---- */

static void on_result(void *arg, const struct scan_result *r)
{
	struct verify *v = arg;
	const struct found *f = r->found;
	bool gone = false;

	switch (r->status) {
	case CR_OK:
		break;
	case CR_NOT_FOUND:
		f->sums[SUM_VANISHED]++;
		return;
	case CR_CANCELED:
		return;
	case CR_SHORT:
	case CR_BAD_CRC:
	case CR_BAD_FORMAT:
		if (unsettled(v, f, &gone))
			return;
		f->sums[SUM_VANISHED] += gone;
		if (gone)
			return;
		break;
	default:
		break;
	}
	f->sums[SUM_FILES]++;
	f->sums[SUM_BYTES] += r->bytes;
	f->sums[SUM_ENTRIES] += r->entries;
	f->sums[SUM_UNNAMED] += !f->key;
	__atomic_add_fetch(&v->files, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&v->bytes, r->bytes, __ATOMIC_RELAXED);
	if (r->findings) {
		publish(v, f->sums, f->root->path, f->path, f->key, r->bytes, r->findings);
	} else if (r->status == CR_REFUSED) {
		publish_one(v, f->sums, f, FINDING_SYMLINK, "on the way to it");
	} else if (r->status == CR_NOT_REGULAR) {
		publish_one(v, f->sums, f, FINDING_NOT_A_FILE, "with a chunk's name");
	} else if (r->status == CR_TOO_BIG) {
		publish_one(v, f->sums, f, FINDING_TOO_BIG, "not read");
	} else if (r->status != CR_OK) {
		f->sums[SUM_TROUBLE]++;
		publish_one(v, f->sums, f, FINDING_UNREADABLE,
			    r->err ? strerror(r->err) : cr_status_text(r->status));
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
		f->sums[SUM_TROUBLE]++;
		publish_one(v, f->sums, f, FINDING_UNREADABLE, strerror(f->err));
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

/* ---- The summary ---- */

struct totals {
	uint64_t sums[SUMS_MAX];
	double   seconds;
	bool     complete;
	uint32_t unsettled;
};

static void summary_json(struct verify *v, const struct totals *t)
{
	static const struct { const char *name; enum sum sum; } fields[] = {
		{ "chunks", SUM_FILES }, { "bytes", SUM_BYTES }, { "entries", SUM_ENTRIES },
		{ "findings", SUM_FINDINGS }, { "files_error", SUM_ERROR },
		{ "files_partial", SUM_PARTIAL }, { "files_warning", SUM_WARNING },
		{ "unreadable", SUM_TROUBLE }, { "vanished", SUM_VANISHED },
		{ "temporary_files", SUM_TEMPORARY }, { "other_files", SUM_OTHER },
		{ "unnamed", SUM_UNNAMED },
	};
	struct bytes b = { 0 };

	json_open(&b, NULL, '{');
	json_string(&b, "type", "summary");
	json_bool(&b, "complete", t->complete);
	json_bool(&b, "sound", t->complete && !t->sums[SUM_FINDINGS]);
	for (size_t i = 0; i < LEN(fields); i++)
		json_u64(&b, fields[i].name, t->sums[fields[i].sum]);
	json_u64(&b, "busy", v->busy);
	json_u64(&b, "filtered", v->walk.filtered);
	json_open(&b, "kinds", '{');
	for (uint32_t k = 1; k < FINDING_COUNT; k++)
		if (t->sums[SUM_KIND + k])
			json_u64(&b, finding_name((enum finding_kind)k), t->sums[SUM_KIND + k]);
	json_close(&b, '}');
	json_bool(&b, "deep", v->scan.flags & CHECK_DEEP);
	json_bool(&b, "resumed", v->state.resumed);
	json_real(&b, "seconds", t->seconds);
	json_real(&b, "cpu_seconds", cpu_seconds());
	json_string(&b, "backend", scan_backend(&v->scan));
	json_close(&b, '}');
	bytes_addc(&b, '\n');
	out_bytes(&v->out, b.p, b.n);
	bytes_free(&b);
}

static void kinds_text(struct verify *v, const struct totals *t)
{
	char n[SIZE_TEXT_BYTES];

	for (uint32_t k = 1; k < FINDING_COUNT; k++) {
		enum severity s = finding_severity((enum finding_kind)k);

		if (!t->sums[SUM_KIND + k])
			continue;
		out_printf(&v->out, "  %s%-7s%s  %-15s %6s  %s\n",
			   v->colours ? severity_colour(s) : "",
			   severity_name(s), v->colours ? COLOUR_END : "",
			   finding_name((enum finding_kind)k), count_text(t->sums[SUM_KIND + k], n),
			   finding_text((enum finding_kind)k));
	}
}

static void also_text(struct verify *v, const struct totals *t)
{
	const struct { uint64_t n; const char *what; } also[] = {
		{ t->sums[SUM_TEMPORARY], "temporary files of puts (chunkring removes old ones)" },
		{ t->sums[SUM_OTHER], "other files (left alone)" },
		{ t->sums[SUM_VANISHED], "chunks deleted meanwhile" },
		{ v->busy, "chunks that were written to all the time: run it again" },
		{ t->unsettled, "chunks still being written when it was interrupted" },
		{ t->sums[SUM_UNNAMED], "files whose names tell no key: nothing to compare them with" },
		{ v->walk.filtered, "chunks left out by the filters" },
	};
	char n[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < LEN(also); i++)
		if (also[i].n)
			out_printf(&v->out, "  and %s %s\n", count_text(also[i].n, n),
				   also[i].what);
}

static void summary_text(struct verify *v, const struct totals *t)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES], span[SIZE_TEXT_BYTES], rate[SIZE_TEXT_BYTES],
		e[SIZE_TEXT_BYTES], p[SIZE_TEXT_BYTES], w[SIZE_TEXT_BYTES];
	uint64_t bad = t->sums[SUM_ERROR] + t->sums[SUM_PARTIAL] + t->sums[SUM_WARNING];
	double rate_now = t->seconds > 0 ? (double)v->bytes / t->seconds : 0;

	out_printf(&v->out, "%s%s%s chunks, %s, in %s (%s/s, %s)%s%s\n",
		   v->colours ? COLOUR_BOLD : "",
		   t->complete ? "checked " : "interrupted after ",
		   count_text(t->sums[SUM_FILES], n), size_text(t->sums[SUM_BYTES], size),
		   span_text(t->seconds, span), size_text((uint64_t)rate_now, rate),
		   scan_backend(&v->scan)[0] ? scan_backend(&v->scan) : "nothing read",
		   v->state.resumed ? ", earlier runs included" : "", v->colours ? COLOUR_END : "");
	if (bad)
		out_printf(&v->out,
			   "%s damaged files: Loki can't serve %s, serves %s in part and %s "
			   "in spite of it\n", count_text(bad, n), count_text(t->sums[SUM_ERROR], e),
			   count_text(t->sums[SUM_PARTIAL], p), count_text(t->sums[SUM_WARNING],
									   w));
	kinds_text(v, t);
	also_text(v, t);
	if (!bad && t->complete && !v->walk.trouble)
		out_string(&v->out, "sound\n");
	if (!t->complete && v->state.path)
		out_printf(&v->out, "the same command goes on where it stopped (%s)\n",
			   v->state.path);
	else if (t->sums[SUM_ERROR])
		out_string(&v->out,
			   "next: chunkctl info FILE says where a file is damaged, chunkctl "
				    "salvage FILE -o NEW\n"
				    "saves its lines; verify --json > REPORT and chunkctl quarantine DIR "
				    "--from REPORT\nmoves damaged files out of Loki's way\n");
}

static int finish(struct verify *v)
{
	struct totals t = { .seconds = (double)(now_ns() - v->begin_ns) / (double)NS_PER_S,
			    .complete = v->walk.finished && !stopped(), .unsettled = v->n_again };

	for (uint32_t i = 0; i < SUMS_MAX; i++)
		t.sums[i] = v->walk.sums[i] + v->sums[i];
	if (v->json)
		summary_json(v, &t);
	else if (!v->quiet && (t.sums[SUM_FILES] || !v->walk.trouble))
		summary_text(v, &t);
	if (!t.complete || v->walk.trouble || t.sums[SUM_TROUBLE])
		return EXIT_TROUBLE;
	return t.sums[SUM_FINDINGS] ? EXIT_FINDINGS : EXIT_SOUND;
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
	case OPT_JSON:
		v->json = true;
		return true;
	case OPT_QUIET:
		v->quiet = true;
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
	bytes_printf(&all, "deep=%u since=%lld until=%lld", v->scan.flags & CHECK_DEEP,
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
	ok = state_open(&v->state, path, bytes_string(&all));
	bytes_free(&all);
	memcpy(v->sums, v->state.sums, sizeof(v->sums));
	for (uint32_t i = 0; i < v->state.n_pending; i++) {
		char *whole = v->state.pending[i];

		again_push(v, (struct again){ .path = mem_string(whole), .root = mem_string(""),
					      .file = mem_string(whole), .due_ns = 0 });
		free(whole);
	}
	v->state.n_pending = 0;
	if (ok)
		v->walk.state = &v->state;
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
		for (uint32_t i = 0; i < v->n_again; i++)
			state_pending(&v->state, v->again[i].path);
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
	code = finish(v);
	scan_close(&v->scan);
	for (uint32_t i = 0; i < v->n_again; i++)
		again_free(&v->again[i]);
	free(v->again);
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
