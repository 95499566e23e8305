/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl ls: what is in a store. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"
#include "matcher.h"
#include "out.h"
#include "peek.h"
#include "progress.h"
#include "report.h"

static const char help[] =
"usage: chunkctl ls [options] DIR|FILE|-...\n"
"\n"
"Lists chunks: times, tenant, codec, format, blocks, entries, size, size inflated (formats 3 and 4 say\n"
"it), labels, file. Reads the two ends of each file, not its blocks, and checks no file's CRC: for that\n"
"there is verify.\n"
"\n"
"  --match '{M}'       only streams with these labels, as in LogQL: {job=\"x\", pod=~\"y.*\"}\n"
"                      (regular expressions are POSIX extended)\n"
"  --tenant NAME       only this tenant (repeatable)\n"
"  --since, --until T  only chunks with lines in between: 2024-03-12T10:00:00Z, 36h, 1710237600\n"
"  --sort KEY          from, through, size, entries, tenant or stream (default: as found)\n"
"  --reverse           largest or latest first\n"
"  --totals KEY        sums by tenant, stream, codec or day instead of chunks, and how the sizes are\n"
"                      spread; with --totals none only those\n"
"  --json              one JSON object a line\n"
"  --jobs N            how many files at a time (default: CPUs, 8 to 16)\n"
"  -0, --null          names in the list on standard input (-) end with NUL, not newline\n"
"\n"
"exit code: 0, 1 some chunks can't be told because they are damaged, 2 usage, input or output trouble\n"
"\n"
"examples:\n"
"  chunkctl ls --since 6h --match '{namespace=\"shop\"}' /loki/chunks\n"
"  chunkctl ls --totals tenant /loki/chunks\n"
"  chunkctl ls --totals stream --json /loki/chunks | jq -s 'sort_by(-.chunks)[:20]'\n";

enum { OPT_MATCH = OPT_OWN, OPT_SORT, OPT_REVERSE, OPT_TOTALS };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_FILTER, OPTIONS_LIST,
	{ "match", required_argument, NULL, OPT_MATCH },
	{ "sort", required_argument, NULL, OPT_SORT },
	{ "reverse", no_argument, NULL, OPT_REVERSE },
	{ "totals", required_argument, NULL, OPT_TOTALS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "jobs", required_argument, NULL, OPT_JOBS },
	{ NULL, 0, NULL, 0 },
};

enum sort { SORT_NONE, SORT_FROM, SORT_THROUGH, SORT_SIZE, SORT_ENTRIES, SORT_TENANT, SORT_STREAM };
enum totals { TOTALS_OFF, TOTALS_NONE, TOTALS_TENANT, TOTALS_STREAM, TOTALS_CODEC, TOTALS_DAY };

#define ROWS_MAX   (8u << 20)  /* that --sort holds: about 300 bytes each */
#define GROUPS_MAX (1u << 20)
#define SLOTS      (2u * GROUPS_MAX)

struct row {
	int64_t     from_ms, through_ms;
	uint64_t    size, entries, fingerprint;
	char       *text; /* what is printed */
	const char *tenant;
};

struct group {
	char    *name;
	uint64_t chunks, bytes, raw_bytes, entries, tiny;
	int64_t  from_ms, through_ms;
};

static const uint64_t bounds[] = { 1000, 4000, 10000, 100000, 500000, 1000000, 2000000, UINT64_MAX };
static const char *const bound_names[] = { "under 1 KB", "1 to 4 KB", "4 to 10 KB", "10 to 100 KB",
					   "100 to 500 KB", "500 KB to 1 MB", "1 to 2 MB",
					   "2 MB and more" };
#define TINY_BYTES 100000u /* Loki aims at 1.5 MB; below this, idle streams were flushed */

struct ls {
	struct walk     walk;
	struct matchers matchers;
	struct out      out;
	bool            json, reverse;
	enum sort       sort;
	enum totals     totals;
	pthread_mutex_t mu;
	struct row     *rows;        /* mu, all below too */
	size_t          n_rows, cap_rows;
	struct group   *groups;
	size_t          n_groups, cap_groups;
	uint32_t       *slots;       /* hash of a name -> group + 1 */
	struct group    all;
	uint64_t        spread[LEN(bounds)], spread_bytes[LEN(bounds)];
	uint64_t        damaged, trouble, files;
};

struct job {
	struct ls      *ls;
	struct scratch *s;
	struct bytes    buf, text;
};

/* ---- Rows ---- */

static void row_json(struct bytes *b, const struct found *f, const struct peek *p,
		     const struct meta *m)
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
		meta_labels_json(m, "labels", b);
	json_close(b, '}');
	bytes_addc(b, '\n');
	bytes_free(&path);
}

static void row_text(struct bytes *b, const struct found *f, const struct peek *p,
		     const struct meta *m)
{
	char from[TIME_TEXT_BYTES] = "-", through[TIME_TEXT_BYTES] = "-", size[SIZE_TEXT_BYTES],
	     raw[SIZE_TEXT_BYTES] = "-", entries[SIZE_TEXT_BYTES];
	struct bytes path = { 0 };

	path_join(f->root->path, f->path, &path);
	if (f->key) {
		time_text_s(f->key->from_ms, from);
		time_text_s(f->key->through_ms, through);
	}
	if (p->raw_bytes)
		size_text(p->raw_bytes, raw);
	bytes_printf(b, "%-19s  %-19s  %-10s  ", from, through, f->key ? f->key->tenant : "-");
	if (p->reason == CR_REASON_NONE)
		bytes_printf(b, "%-8s v%u %5llu %9s  %8s %8s  ", codec_name(p->chunk.codec),
			     p->chunk.version, (unsigned long long)p->chunk.blocks,
			     count_text(p->entries, entries), size_text(p->chunk.file_bytes,
									size), raw);
	else
		bytes_printf(b, "damaged: %-20s  %8s %8s  ", cr_chunk_reason_name(p->reason),
			     size_text(p->chunk.file_bytes, size), "-");
	if (p->meta)
		meta_labels_text(m, b);
	bytes_adds(b, "  ");
	text_clean(b, bytes_string(&path), true);
	bytes_addc(b, '\n');
	bytes_free(&path);
}

static void row_keep(struct ls *ls, const struct found *f, const struct peek *p,
		     const struct bytes *text)
{
	struct row r = { .size = p->chunk.file_bytes, .entries = p->entries };
	struct key none = { 0 };
	const struct key *k = f->key ? f->key : &none;
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

/* ---- Totals ---- */

static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

/* mu is held. */
static struct group *group_get(struct ls *ls, const char *name)
{
	uint32_t at = hash(name) % SLOTS;

	if (!ls->slots)
		ls->slots = mem_zero(SLOTS * sizeof(*ls->slots));
	for (; ls->slots[at]; at = (at + 1) % SLOTS) /* ends: half of them are free */
		if (strcmp(ls->groups[ls->slots[at] - 1].name, name) == 0)
			return &ls->groups[ls->slots[at] - 1];
	if (ls->n_groups == GROUPS_MAX - 1 && strcmp(name, "(others)") != 0)
		return group_get(ls, "(others)");
	if (ls->n_groups == ls->cap_groups) {
		ls->cap_groups = ls->cap_groups ? 2 * ls->cap_groups : 64;
		ls->groups = mem_resize(ls->groups, ls->cap_groups * sizeof(*ls->groups));
	}
	ls->groups[ls->n_groups] = (struct group){ .name = mem_string(name), .from_ms = INT64_MAX,
						   .through_ms = INT64_MIN };
	ls->slots[at] = (uint32_t)++ls->n_groups;
	return &ls->groups[ls->n_groups - 1];
}

static void group_add(struct group *g, const struct key *k, const struct peek *p)
{
	g->chunks++;
	g->bytes += p->chunk.file_bytes;
	g->raw_bytes += p->raw_bytes;
	g->entries += p->entries;
	g->tiny += p->chunk.file_bytes < TINY_BYTES;
	if (k && k->from_ms < g->from_ms)
		g->from_ms = k->from_ms;
	if (k && k->through_ms > g->through_ms)
		g->through_ms = k->through_ms;
}

static void totals_add(struct job *j, const struct found *f, const struct peek *p)
{
	struct ls *ls = j->ls;
	char day[TIME_TEXT_BYTES];
	size_t b = 0;

	j->text.n = 0;
	switch (ls->totals) {
	case TOTALS_STREAM:
		bytes_printf(&j->text, "%s/%llx ", f->key ? f->key->tenant : "-",
			     f->key ? (unsigned long long)f->key->fingerprint : 0);
		if (p->meta)
			meta_labels_text(&j->s->meta, &j->text);
		break;
	case TOTALS_CODEC:
		bytes_adds(&j->text, p->reason ? "damaged" : codec_name(p->chunk.codec));
		break;
	case TOTALS_DAY:
		bytes_adds(&j->text, f->key ? time_text_day(f->key->from_ms, day) : "-");
		break;
	default:
		bytes_adds(&j->text, f->key ? f->key->tenant : "-");
		break;
	}
	while (p->chunk.file_bytes >= bounds[b])
		b++;
	pthread_mutex_lock(&ls->mu);
	group_add(group_get(ls, bytes_string(&j->text)), f->key, p);
	group_add(&ls->all, f->key, p);
	ls->spread[b]++;
	ls->spread_bytes[b] += p->chunk.file_bytes;
	pthread_mutex_unlock(&ls->mu);
}

static int by_bytes(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

static void group_print(struct ls *ls, const struct group *g, const char *type)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES], raw[SIZE_TEXT_BYTES], e[SIZE_TEXT_BYTES],
	     from[TIME_TEXT_BYTES] = "-", through[TIME_TEXT_BYTES] = "-";
	struct bytes b = { 0 };

	if (ls->json) {
		json_open(&b, NULL, '{');
		json_string(&b, "type", type);
		json_string(&b, "name", g->name);
		json_u64(&b, "chunks", g->chunks);
		json_u64(&b, "bytes", g->bytes);
		json_u64(&b, "uncompressed_bytes", g->raw_bytes);
		json_u64(&b, "entries", g->entries);
		json_u64(&b, "tiny_chunks", g->tiny);
		if (g->from_ms <= g->through_ms) {
			json_i64(&b, "from_ms", g->from_ms);
			json_i64(&b, "through_ms", g->through_ms);
		}
		json_close(&b, '}');
	} else {
		if (g->from_ms <= g->through_ms) {
			time_text_s(g->from_ms, from);
			time_text_s(g->through_ms, through);
		}
		bytes_printf(&b, "%10s %9s %9s %14s %5.1f%%  %-19s  %-19s  ", count_text(g->chunks,
											 n),
			     size_text(g->bytes, size), size_text(g->raw_bytes, raw),
			     count_text(g->entries, e),
			     g->chunks ? 100.0 * (double)g->tiny / (double)g->chunks : 0, from, through);
		text_clean(&b, g->name, true);
	}
	bytes_addc(&b, '\n');
	out_bytes(&ls->out, b.p, b.n);
	bytes_free(&b);
}

#define BAR "########################################"

static void spread_print(struct ls *ls)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < LEN(bounds); i++) {
		double part = ls->all.chunks ? (double)ls->spread[i] / (double)ls->all.chunks : 0;
		struct bytes b = { 0 };

		if (ls->json) {
			json_open(&b, NULL, '{');
			json_string(&b, "type", "size_class");
			json_string(&b, "name", bound_names[i]);
			json_u64(&b, "chunks", ls->spread[i]);
			json_u64(&b, "bytes", ls->spread_bytes[i]);
			json_close(&b, '}');
		} else {
			bytes_printf(&b, "  %-15s %10s %9s %5.1f%%  %.*s", bound_names[i],
				     count_text(ls->spread[i], n), size_text(ls->spread_bytes[i],
									     size),
				     part * 100, (int)(part * (sizeof(BAR) - 1) + 0.5), BAR);
		}
		bytes_addc(&b, '\n');
		out_bytes(&ls->out, b.p, b.n);
		bytes_free(&b);
	}
}

static void totals_print(struct ls *ls)
{
	if (!ls->json)
		out_printf(&ls->out, "%10s %9s %9s %14s %6s  %-19s  %-19s\n", "chunks", "size",
			   "inflated",
			   "entries", "tiny", "from", "through");
	if (ls->n_groups)
		qsort(ls->groups, ls->n_groups, sizeof(*ls->groups),
		      ls->totals == TOTALS_DAY ? by_name : by_bytes);
	for (size_t i = 0; i < ls->n_groups && ls->totals != TOTALS_NONE && !stopped(); i++)
		group_print(ls, &ls->groups[i], "total");
	ls->all.name = "all";
	group_print(ls, &ls->all, "all");
	if (!ls->json)
		out_string(&ls->out, "sizes of chunk files (tiny above: under 100 KB; Loki aims at "
				     "1.5 MB):\n");
	spread_print(ls);
}

/* ---- Chunks ---- */

static void *job_open(void *arg)
{
	struct job *j = mem_zero(sizeof(*j));

	j->ls = arg;
	j->s = scratch_get();
	return j;
}

static void job_close(void *arg)
{
	struct job *j = arg;

	scratch_put(j->s);
	bytes_free(&j->buf);
	bytes_free(&j->text);
	free(j);
}

static void job_unit_end(void *arg)
{
	(void)arg;
}

static void complain_file(struct ls *ls, const struct found *f, int err)
{
	struct bytes path = { 0 };

	path_join(f->root->path, f->path, &path);
	complain_errno(err, "%s", bytes_string(&path));
	bytes_free(&path);
	__atomic_add_fetch(&ls->trouble, 1, __ATOMIC_RELAXED);
}

static void job_file(void *arg, const struct found *f)
{
	struct job *j = arg;
	struct ls *ls = j->ls;
	struct peek p;
	int err;

	if (f->kind == FOUND_TROUBLE)
		complain_file(ls, f, f->err);
	if (f->kind != FOUND_CHUNK)
		return;
	err = chunk_peek(f->root->fd, f->path, j->s, &j->buf, &p);
	if (err == ENOENT)
		return; /* Loki deleted it meanwhile */
	if (err) {
		complain_file(ls, f, err);
		return;
	}
	__atomic_add_fetch(&ls->files, 1, __ATOMIC_RELAXED);
	if (ls->matchers.n && (!p.meta || !matchers_take(&ls->matchers, &j->s->meta)))
		return;
	if (p.reason != CR_REASON_NONE)
		__atomic_add_fetch(&ls->damaged, 1, __ATOMIC_RELAXED);
	if (ls->totals) {
		totals_add(j, f, &p);
		return;
	}
	j->text.n = 0;
	if (ls->json)
		row_json(&j->text, f, &p, &j->s->meta);
	else
		row_text(&j->text, f, &p, &j->s->meta);
	if (ls->sort)
		row_keep(ls, f, &p, &j->text);
	else
		out_bytes(&ls->out, j->text.p, j->text.n);
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
		ls->totals = (enum totals)which;
		return ok;
	case OPT_JOBS:
		ok = parse_u64("jobs", value, 1, JOBS_MAX, &x);
		ls->walk.jobs = (uint32_t)x;
		return ok;
	}
	return filter_option(&ls->walk.filter, opt, value) == 0;
}

static int run(struct ls *ls)
{
	ls->walk.arg = ls;
	ls->walk.open = job_open;
	ls->walk.file = job_file;
	ls->walk.unit_end = job_unit_end;
	ls->walk.close = job_close;
	ls->all.from_ms = INT64_MAX;
	ls->all.through_ms = INT64_MIN;
	progress_start(ask_progress, ls, ls->sort || ls->totals);
	walk_run(&ls->walk);
	progress_stop();
	if (ls->n_rows)
		qsort_r(ls->rows, ls->n_rows, sizeof(*ls->rows), compare_rows, ls);
	for (size_t i = 0; i < ls->n_rows; i++) {
		if (!stopped())
			out_string(&ls->out, ls->rows[i].text);
		free(ls->rows[i].text);
	}
	if (ls->totals)
		totals_print(ls);
	for (size_t i = 0; i < ls->n_groups; i++)
		free(ls->groups[i].name);
	free(ls->rows);
	free(ls->groups);
	free(ls->slots);
	free(ls->walk.filter.tenants);
	matchers_free(&ls->matchers);
	if (stopped() && !ls->out.err)
		complain("interrupted: this is not everything");
	if (stopped() || ls->trouble || ls->walk.trouble)
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
