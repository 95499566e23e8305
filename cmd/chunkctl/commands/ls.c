/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl ls: what is in a store. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/die.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/progress.h"
#include "base/quote.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/codec.h"
#include "chunk/labels.h"
#include "chunk/matcher.h"
#include "chunk/peek.h"
#include "chunk/report.h"
#include "chunk/scratch.h"
#include "cli.h"
#include "store/cache.h"
#include "store/scan.h"
#include "totals.h"

static const char help[] =
"usage: chunkctl ls [options] DIR|FILE|-...\n"
"\n"
"Lists chunks: times, tenant, codec, format, blocks, entries, size, size decompressed (formats 3 and 4 say\n"
"it), labels, file. ls reads the two ends of each file, not its blocks. It does not check the CRC of the\n"
"file: verify does.\n"
"\n"
"  --match '{M}'       only streams with these labels, as in LogQL: {job=\"x\", pod=~\"y.*\"}\n"
"                      (regular expressions are POSIX extended); other names in quotes: {\"k8s.pod\"=\"x\"}\n"
"  --tenant NAME       only this tenant (repeatable)\n"
"  --since, --until T  only chunks with lines in between: 2024-03-12T10:00:00Z, 36h, 1710237600\n"
"  --sort KEY          from, through, size, entries, tenant or stream (default: as found)\n"
"  --reverse           largest or latest first\n"
"  --totals KEY        sums by tenant, stream, codec or day instead of chunks, and how the sizes are\n"
"                      spread; with --totals none only those\n"
"  --json              one JSON object a line\n"
"  --jobs N            how many files at a time (default: CPUs, 8 to 16)\n"
"  -0, --null          names in the list on standard input (-) end with NUL, not newline\n"
"  --allow-empty       exit with 0 if there is no chunk to list\n"
"\n"
"exit code: 0 done, 1 some chunks are damaged and could not be listed, 2 wrong usage, a failed read or\n"
"write, or an argument without a chunk to list\n"
"\n"
"examples:\n"
"  chunkctl ls --since 6h --match '{namespace=\"shop\"}' /loki/chunks\n"
"  chunkctl ls --totals tenant /loki/chunks\n"
"  chunkctl ls --totals stream --json /loki/chunks | jq -s 'sort_by(-.chunks)[:20]'\n";

enum { OPT_MATCH = OPT_OWN, OPT_SORT, OPT_REVERSE, OPT_TOTALS };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_FILTER, OPTIONS_LIST, OPTIONS_EMPTY,
	{ "match", required_argument, NULL, OPT_MATCH },
	{ "sort", required_argument, NULL, OPT_SORT },
	{ "reverse", no_argument, NULL, OPT_REVERSE },
	{ "totals", required_argument, NULL, OPT_TOTALS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "jobs", required_argument, NULL, OPT_JOBS },
	{ NULL, 0, NULL, 0 },
};

enum sort { SORT_NONE, SORT_FROM, SORT_THROUGH, SORT_SIZE, SORT_ENTRIES, SORT_TENANT, SORT_STREAM };

#define ROWS_MAX   (8u << 20)  /* that --sort holds: about 300 bytes each */

struct row {
	int64_t     from_ms, through_ms;
	uint64_t    size, entries, fingerprint;
	char       *text; /* what is printed */
	const char *tenant;
};

struct ls {
	struct walk     walk;
	struct scan_shared scan;
	struct matchers matchers;
	struct out      out;
	bool            json, reverse;
	enum sort       sort;
	struct totals   totals;
	pthread_mutex_t mu;
	struct row     *rows; /* mu */
	size_t          n_rows, cap_rows;
	uint64_t        damaged, trouble, files, listed, foreign; /* atomic */
};

struct job {
	struct ls   *ls;
	struct scan *scan;
};

/* ---- Rows ---- */

static void row_json(struct bytes *b, const struct found *f, const struct peek *p,
		     const struct cr_meta *m)
{
	struct bytes path = { 0 };

	path_join(f->root->path, f->path, &path);
	json_open(b, NULL, '{');
	json_string(b, "type", "chunk");
	json_text(b, "path", path.p, path.n);
	if (f->key) {
		json_string(b, "tenant", f->key->tenant);
		json_hex(b, "fingerprint", f->key->fingerprint);
		json_i64(b, "from_ms", f->key->from_ms);
		json_i64(b, "through_ms", f->key->through_ms);
		json_hex(b, "checksum", f->key->crc);
	}
	json_u64(b, "size", p->chunk.file_bytes);
	if (p->reason == CR_REASON_NONE) {
		json_u64(b, "format", p->chunk.version);
		json_string(b, "codec", codec_name(p->chunk.codec));
		json_u64(b, "blocks", p->chunk.blocks);
		json_u64(b, "entries", p->entries);
		json_u64(b, "uncompressed_bytes", p->raw_bytes);
	} else {
		json_string(b, "damaged", cr_chunk_reason_name(p->reason));
	}
	if (p->meta)
		labels_json(m, "labels", b);
	json_close(b, '}');
	bytes_addc(b, '\n');
	bytes_free(&path);
}

static void row_text(struct bytes *b, const struct found *f, const struct peek *p,
		     const struct cr_meta *m)
{
	char from[TIME_TEXT_BYTES] = "-", through[TIME_TEXT_BYTES] = "-", size[SIZE_TEXT_BYTES],
	     raw[SIZE_TEXT_BYTES] = "-", entries[SIZE_TEXT_BYTES];
	struct bytes path = { 0 }, tenant = { 0 };

	path_join(f->root->path, f->path, &path);
	if (f->key) {
		time_text_s(f->key->from_ms, from);
		time_text_s(f->key->through_ms, through);
	}
	if (p->raw_bytes)
		size_text(p->raw_bytes, raw);
	text_show(&tenant, f->key ? f->key->tenant : "-");
	bytes_printf(b, "%-19s  %-19s  %-10s  ", from, through, bytes_string(&tenant));
	bytes_free(&tenant);
	if (p->reason == CR_REASON_NONE)
		bytes_printf(b, "%-8s v%u %5llu %9s  %8s %8s  ", codec_name(p->chunk.codec),
			     p->chunk.version, (unsigned long long)p->chunk.blocks,
			     count_text(p->entries, entries), size_text(p->chunk.file_bytes,
									size), raw);
	else
		bytes_printf(b, "damaged: %-20s  %8s %8s  ", cr_chunk_reason_name(p->reason),
			     size_text(p->chunk.file_bytes, size), "-");
	if (p->meta)
		labels_text(m, b);
	bytes_adds(b, "  ");
	text_show(b, bytes_string(&path));
	bytes_addc(b, '\n');
	bytes_free(&path);
}

static void row_keep(struct ls *ls, const struct found *f, const struct peek *p,
		     const struct bytes *text)
{
	struct row r = { .size = p->chunk.file_bytes, .entries = p->entries };
	struct cr_key none = { 0 };
	const struct cr_key *k = f->key ? f->key : &none;
	char *at = mem_get(text->n + 1 + k->tenant_bytes + 1);

	memcpy(at, text->p, text->n);
	at[text->n] = '\0';
	memcpy(at + text->n + 1, k->tenant, k->tenant_bytes + 1u);
	r.text = at;
	r.tenant = at + text->n + 1;
	r.from_ms = k->from_ms;
	r.through_ms = k->through_ms;
	r.fingerprint = k->fingerprint;
	pthread_mutex_lock(&ls->mu);
	if (ls->n_rows == ROWS_MAX)
		die("more than %u chunks to sort; narrow them with --since, --tenant or --match, or "
		    "sort the lines of --json with another program", ROWS_MAX);
	if (ls->n_rows == ls->cap_rows) {
		ls->cap_rows = ls->cap_rows ? 2 * ls->cap_rows : 1024;
		ls->rows = mem_resize(ls->rows, ls->cap_rows * sizeof(*ls->rows));
	}
	ls->rows[ls->n_rows++] = r;
	pthread_mutex_unlock(&ls->mu);
}

static int compare_i64(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_rows(const void *a, const void *b, void *arg)
{
	const struct row *x = a, *y = b;
	const struct ls *ls = arg;
	int diff = 0;

	switch (ls->sort) {
	case SORT_NONE:
	case SORT_FROM:
		break;
	case SORT_THROUGH:
		diff = compare_i64(x->through_ms, y->through_ms);
		break;
	case SORT_SIZE:
		diff = x->size < y->size ? -1 : x->size > y->size;
		break;
	case SORT_ENTRIES:
		diff = x->entries < y->entries ? -1 : x->entries > y->entries;
		break;
	case SORT_TENANT:
		diff = strcmp(x->tenant, y->tenant);
		break;
	case SORT_STREAM:
		diff = strcmp(x->tenant, y->tenant);
		if (!diff)
			diff = x->fingerprint < y->fingerprint ? -1 : x->fingerprint > y->fingerprint;
		break;
	}
	if (!diff)
		diff = compare_i64(x->from_ms, y->from_ms);
	if (!diff)
		diff = strcmp(x->text, y->text);
	return ls->reverse ? -diff : diff;
}

/* ---- Chunks ---- */

static void complain_file(struct ls *ls, const struct found *f, int err)
{
	struct bytes path = { 0 };

	path_join(f->root->path, f->path, &path);
	complain_errno(err, "%s", bytes_string(&path));
	bytes_free(&path);
	__atomic_add_fetch(&ls->trouble, 1, __ATOMIC_RELAXED);
}

static void list(struct ls *ls, const struct found *f, const struct peek *p,
		 const struct cr_meta *m)
{
	struct bytes text = { 0 };

	if (ls->totals.by) {
		totals_add(&ls->totals, f, p, m, &text);
	} else {
		if (ls->json)
			row_json(&text, f, p, m);
		else
			row_text(&text, f, p, m);
		if (ls->sort)
			row_keep(ls, f, p, &text);
		else
			out_bytes(&ls->out, text.p, text.n);
	}
	bytes_free(&text);
}

static void look_at(struct ls *ls, const struct scan_result *r, struct scratch *s)
{
	const struct found *f = r->found;
	struct peek p;

	chunk_peek(r->file, r->bytes, r->head_bytes, r->tail_bytes, s, &p);
	if (!f->key && p.foreign) {
		__atomic_add_fetch(&ls->foreign, 1, __ATOMIC_RELAXED);
		return;
	}
	__atomic_add_fetch(&ls->files, 1, __ATOMIC_RELAXED);
	if (ls->matchers.n && (!p.meta || !matchers_take(&ls->matchers, &s->meta)))
		return;
	__atomic_add_fetch(&ls->listed, 1, __ATOMIC_RELAXED);
	if (p.reason != CR_REASON_NONE)
		__atomic_add_fetch(&ls->damaged, 1, __ATOMIC_RELAXED);
	list(ls, f, &p, &s->meta);
}

static void on_result(void *arg, const struct scan_result *r)
{
	int err = scan_errno(r);
	struct scratch *s;

	if (err == ENOENT || err == ECANCELED)
		return; /* Loki deleted it meanwhile, or all of this is interrupted */
	if (err) {
		complain_file(arg, r->found, err);
		return;
	}
	s = scratch_get();
	look_at(arg, r, s);
	scratch_put(s);
}

static void *job_open(void *arg)
{
	struct job *j = mem_get(sizeof(*j));

	j->ls = arg;
	j->scan = scan_job_open(&j->ls->scan);
	return j;
}

static void job_file(void *arg, const struct found *f)
{
	struct job *j = arg;

	if (f->kind == FOUND_TROUBLE)
		complain_file(j->ls, f, f->err);
	if (f->kind == FOUND_CHUNK)
		scan_add(j->scan, f);
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
	struct ls *ls = arg;

	out->files = __atomic_load_n(&ls->files, __ATOMIC_RELAXED);
	walk_progress(&ls->walk, &out->done, &out->total);
}

/* ---- The command ---- */

static bool choose(const char *option, const char *value, const char *const *names, size_t n,
		   uint32_t *out)
{
	struct bytes all = { 0 };

	for (size_t i = 0; i < n; i++) {
		if (strcmp(value, names[i]) == 0) {
			*out = (uint32_t)i + 1;
			bytes_free(&all);
			return true;
		}
		bytes_printf(&all, "%s%s", i ? ", " : "", names[i]);
	}
	complain("--%s %s: one of %s is wanted", option, value, bytes_string(&all));
	bytes_free(&all);
	return false;
}

static bool take_option(struct ls *ls, int opt, const char *value)
{
	static const char *const sorts[] = { "from", "through", "size", "entries", "tenant", "stream" };
	static const char *const totals[] = { "none", "tenant", "stream", "codec", "day" };
	uint32_t which = 0;
	uint64_t x;
	bool ok;

	switch (opt) {
	case '0':
		ls->walk.nul = true;
		return true;
	case OPT_EMPTY:
		ls->walk.allow_empty = true;
		return true;
	case OPT_JSON:
		ls->json = true;
		return true;
	case OPT_REVERSE:
		ls->reverse = true;
		return true;
	case OPT_MATCH:
		return matchers_parse(&ls->matchers, value);
	case OPT_SORT:
		ok = choose("sort", value, sorts, LEN(sorts), &which);
		ls->sort = (enum sort)which;
		return ok;
	case OPT_TOTALS:
		ok = choose("totals", value, totals, LEN(totals), &which);
		ls->totals.by = (enum totals_by)which;
		return ok;
	case OPT_JOBS:
		ok = parse_u64("jobs", value, 1, JOBS_MAX, &x);
		ls->walk.jobs = (uint32_t)x;
		return ok;
	}
	return filter_option(&ls->walk.filter, opt, value) == 0;
}

/* Nothing was listed though the walk found chunks. */
static bool tell_nothing(const struct ls *ls)
{
	if (ls->listed || ls->walk.empty || ls->walk.allow_empty || ls->trouble ||
	    ls->walk.trouble || stopped())
		return false;
	if (ls->files)
		complain("no stream of %llu chunk%s is one that --match takes",
			 (unsigned long long)ls->files, plural(ls->files));
	else
		complain("no chunk was listed: none was found, or all were deleted meanwhile");
	return true;
}

static int run(struct ls *ls)
{
	bool nothing;

	ls->scan.jobs = ls->walk.jobs;
	ls->scan.how = SCAN_PEEK;
	ls->scan.result = on_result;
	ls->walk.arg = ls->scan.arg = ls;
	ls->walk.open = job_open;
	ls->walk.file = job_file;
	ls->walk.unit_end = job_unit_end;
	ls->walk.close = job_close;
	scan_open(&ls->scan);
	totals_open(&ls->totals);
	progress_start(ask_progress, ls, ls->sort || ls->totals.by);
	walk_run(&ls->walk);
	scan_close(&ls->scan);
	progress_stop();
	if (ls->n_rows)
		qsort_r(ls->rows, ls->n_rows, sizeof(*ls->rows), compare_rows, ls);
	for (size_t i = 0; i < ls->n_rows; i++) {
		if (!stopped())
			out_string(&ls->out, ls->rows[i].text);
		free(ls->rows[i].text);
	}
	if (ls->totals.by) {
		caches_tell(&ls->walk, &ls->out, ls->json, "");
		totals_print(&ls->totals, &ls->out, ls->json);
	}
	totals_free(&ls->totals);
	free(ls->rows);
	free(ls->walk.filter.tenants);
	matchers_free(&ls->matchers);
	if (stopped() && !ls->out.err)
		complain("interrupted: this is not everything");
	tell_foreign(ls->foreign);
	nothing = tell_nothing(ls) || (ls->walk.empty && !ls->walk.allow_empty);
	if (stopped() || nothing || ls->trouble || ls->walk.trouble)
		return out_end(&ls->out, EXIT_TROUBLE);
	return out_end(&ls->out, ls->damaged ? EXIT_FINDINGS : EXIT_SOUND);
}

int cmd_ls(int argc, char **argv)
{
	static struct ls ls;
	int opt;

	ls.walk.jobs = default_jobs();
	pthread_mutex_init(&ls.mu, NULL);
	while ((opt = getopt_long(argc, argv, "h0", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == '?' || !take_option(&ls, opt, optarg))
			return bad_usage();
	}
	if (optind == argc || argc - optind > (int)ROOTS_MAX) {
		complain(optind == argc ? "which store? Give its directory" : "too many arguments; give a "
			 "list on standard input (-)");
		return bad_usage();
	}
	out_open(&ls.out, STDOUT_FILENO, "standard output");
	if (ls.reverse && !ls.sort)
		ls.sort = SORT_FROM;
	ls.walk.args = (const char **)argv + optind;
	ls.walk.n_args = (uint32_t)(argc - optind);
	return run(&ls);
}
