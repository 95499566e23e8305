/* SPDX-License-Identifier: Apache-2.0 */
/* chunkctl cat: log lines in time order. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/common.h"
#include "base/die.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "chunk/lines.h"
#include "chunk/matcher.h"
#include "chunk/merge.h"
#include "chunk/peek.h"
#include "chunk/report.h"
#include "chunk/scratch.h"
#include "cli.h"
#include "store/scan.h"

static const char help[] =
"usage: chunkctl cat [options] DIR|FILE|-...\n"
"\n"
"Prints the lines of chunk files, or of the chunks of a store that match, in time order. Lines of\n"
"damaged blocks are left out with a warning; the rest is printed. With --since or --until, cat reads only\n"
"the blocks with lines of that time, if all else in the file is sound.\n"
"\n"
"  --match '{M}'       only streams with these labels, as in LogQL: {job=\"x\", pod=~\"y.*\"}\n"
"                      (regular expressions are POSIX extended); other names in quotes: {\"k8s.pod\"=\"x\"}\n"
"  --tenant NAME       only this tenant (repeatable)\n"
"  --since, --until T  only lines in between: 2024-03-12T10:00:00Z, 36h, 1710237600\n"
"  --format F          raw (default), json (one object a line) or logfmt; these two with labels and\n"
"                      structured metadata\n"
"  -t, --timestamps    raw: begin each line with its time\n"
"  --grep TEXT         only lines that contain TEXT\n"
"  --regex RE          only lines that match a POSIX extended regular expression\n"
"  -i, --ignore-case   for --grep and --regex\n"
"  -v, --invert        for --grep and --regex: only the other lines\n"
"  --dedup             print a line once that several chunks of a stream have with the same time, as\n"
"                      Loki does\n"
"  --limit N           stop after N lines\n"
"  -0, --null          names in the list on standard input (-) end with NUL, not newline\n"
"  --allow-empty       exit with 0 if there is no chunk to read (chunks without a line are always 0)\n"
"\n"
"exit code: 0 done, 1 lines were left out because of damage, 2 wrong usage, a failed read or write, or\n"
"an argument without a chunk to read\n"
"\n"
"examples:\n"
"  chunkctl cat /loki/chunks/fake/34fed081c46c3eb5/MThlMzJlNmI1YTA6...\n"
"  chunkctl cat --match '{app=\"shop\"}' --since 6h --grep timeout -t /loki/chunks\n"
"  chunkctl cat --format json --since 2024-03-12 --until 2024-03-13 /loki/chunks | jq .line\n";

enum { OPT_MATCH = OPT_OWN, OPT_FORMAT, OPT_GREP, OPT_REGEX, OPT_DEDUP, OPT_LIMIT };

static const struct option options[] = {
	OPTIONS_HELP, OPTIONS_FILTER, OPTIONS_LIST, OPTIONS_EMPTY,
	{ "match", required_argument, NULL, OPT_MATCH },
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "timestamps", no_argument, NULL, 't' },
	{ "grep", required_argument, NULL, OPT_GREP },
	{ "regex", required_argument, NULL, OPT_REGEX },
	{ "ignore-case", no_argument, NULL, 'i' },
	{ "invert", no_argument, NULL, 'v' },
	{ "dedup", no_argument, NULL, OPT_DEDUP },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ NULL, 0, NULL, 0 },
};

#define CHUNKS_MAX (8u << 20) /* of one cat: about 150 bytes each */

struct cat {
	struct walk         walk;
	struct scan_shared  scan;
	struct matchers     matchers;
	struct out          out;
	enum line_format    format;
	bool                timestamps, ignore_case, invert, dedup;
	const char         *grep, *regex;
	regex_t             compiled;
	uint64_t            limit;
	pthread_mutex_t     mu;
	struct merge_chunk *list; /* mu */
	size_t              n, cap;
	uint64_t            trouble, foreign; /* atomic */
	/* --dedup: what was printed of the present time */
	int64_t             seen_ns;
	uint64_t           *seen;
	size_t              n_seen, cap_seen;
};

/* ---- Which chunks ---- */

struct job {
	struct cat  *cat;
	struct scan *scan;
};

static void *job_open(void *arg)
{
	struct job *j = mem_zero(sizeof(*j));

	j->cat = arg;
	j->scan = scan_job_open(&j->cat->scan);
	return j;
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

static void chunk_keep(struct cat *c, const struct found *f, int64_t from_ns)
{
	struct bytes path = { 0 };
	char *whole;

	path_join(f->root->path, f->path, &path);
	whole = mem_string(bytes_string(&path));
	bytes_free(&path);
	pthread_mutex_lock(&c->mu);
	if (c->n == CHUNKS_MAX)
		die("more than %u chunks; narrow them with --since, --until, --tenant or --match",
		    CHUNKS_MAX);
	if (c->n == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 256;
		c->list = mem_resize(c->list, c->cap * sizeof(*c->list));
	}
	c->list[c->n++] = (struct merge_chunk){ .path = whole, .from_ns = from_ns };
	pthread_mutex_unlock(&c->mu);
}

static int64_t key_from_ns(const struct cr_key *key)
{
	int64_t ns;

	if (!key || __builtin_mul_overflow(key->from_ms, (int64_t)NS_PER_MS, &ns))
		return INT64_MIN;
	return ns;
}

/* Of a file whose name does not tell enough. */
static void look_at(struct cat *c, const struct scan_result *r, struct scratch *s)
{
	const struct found *f = r->found;
	int64_t from_ns = key_from_ns(f->key);
	struct peek p;

	chunk_peek(r->file, r->bytes, r->head_bytes, r->tail_bytes, s, &p);
	if (p.meta && !matchers_take(&c->matchers, &s->meta))
		return;
	if (!f->key && p.foreign) {
		__atomic_add_fetch(&c->foreign, 1, __ATOMIC_RELAXED);
		return;
	}
	if (!f->key && p.reason == CR_REASON_NONE && p.chunk.blocks)
		from_ns = p.mint_ns;
	chunk_keep(c, f, from_ns);
}

static void on_result(void *arg, const struct scan_result *r)
{
	struct scratch *s;

	if (scan_errno(r)) { /* it is complained of when its time comes */
		chunk_keep(arg, r->found, key_from_ns(r->found->key));
		return;
	}
	s = scratch_get();
	look_at(arg, r, s);
	scratch_put(s);
}

static void job_file(void *arg, const struct found *f)
{
	struct job *j = arg;

	if (f->kind == FOUND_TROUBLE) {
		complain_errno(f->err, "%s/%s", f->root->path, f->path);
		__atomic_add_fetch(&j->cat->trouble, 1, __ATOMIC_RELAXED);
	}
	if (f->kind != FOUND_CHUNK)
		return;
	if (j->cat->matchers.n || !f->key)
		scan_add(j->scan, f);
	else
		chunk_keep(j->cat, f, key_from_ns(f->key));
}

static void collect(struct cat *c)
{
	c->scan.jobs = c->walk.jobs;
	c->scan.how = SCAN_PEEK;
	c->scan.result = on_result;
	c->walk.arg = c->scan.arg = c;
	c->walk.open = job_open;
	c->walk.file = job_file;
	c->walk.unit_end = job_unit_end;
	c->walk.close = job_close;
	scan_open(&c->scan);
	walk_run(&c->walk);
	scan_close(&c->scan);
}

/* ---- Which lines ---- */

static bool line_wanted(const struct cat *c, const struct cr_entry *e)
{
	regmatch_t whole = { .rm_so = 0, .rm_eo = (regoff_t)e->line_bytes };
	bool found = true;

	if (c->regex)
		found = regexec(&c->compiled, e->line, 1, &whole, REG_STARTEND) == 0;
	else if (c->grep)
		found = memmem(e->line, e->line_bytes, c->grep, strlen(c->grep)) != NULL;
	else
		return true;
	return found != c->invert;
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return (h ^ n) * 1099511628211u;
}

/* By a 64-bit hash of stream, line and structured metadata. */
static bool seen_before(struct cat *c, const struct merged *m)
{
	const struct cr_entry *e = m->entry;
	uint64_t h = mix(14695981039346656037u, e->line, e->line_bytes);

	h = mix(mix(h, &m->chunk->meta.fingerprint, 8),
		m->chunk->meta.tenant, m->chunk->meta.tenant_bytes);
	for (uint32_t i = 0; i < e->pairs_n; i++)
		h = mix(mix(h, e->pairs[i].name, e->pairs[i].name_bytes), e->pairs[i].value,
			e->pairs[i].value_bytes);
	if (e->ns != c->seen_ns)
		c->n_seen = 0;
	c->seen_ns = e->ns;
	for (size_t i = 0; i < c->n_seen; i++)
		if (c->seen[i] == h)
			return true;
	if (c->n_seen == c->cap_seen) {
		c->cap_seen = c->cap_seen ? 2 * c->cap_seen : 16;
		c->seen = mem_resize(c->seen, c->cap_seen * sizeof(*c->seen));
	}
	c->seen[c->n_seen++] = h;
	return false;
}

static void print_all(struct cat *c, struct merge *m)
{
	struct bytes text = { 0 };
	struct merged e;
	uint64_t lines = 0;

	while ((!c->limit || lines < c->limit) && merge_next(m, &e)) {
		if (!line_wanted(c, e.entry) || (c->dedup && seen_before(c, &e)))
			continue;
		if (c->format != LINES_RAW && e.chunk->labels.n == 0)
			lines_labels(c->format, e.chunk->named ? e.chunk->key.tenant : NULL,
				     &e.chunk->meta, &e.chunk->labels);
		text.n = 0;
		lines_add(c->format, c->timestamps, &e.chunk->labels, e.entry, &text);
		out_bytes(&c->out, text.p, text.n);
		lines++;
	}
	bytes_free(&text);
}

/* ---- The command ---- */

/* A fixed text is a regular expression too, for -i. */
static char *quoted(const char *text)
{
	struct bytes b = { 0 };

	for (; *text; text++) {
		if (strchr(".[]{}()*+?^$|\\", *text))
			bytes_addc(&b, '\\');
		bytes_addc(&b, *text);
	}
	bytes_string(&b);
	return b.p;
}

static bool compile(struct cat *c)
{
	char error[256];
	int err;

	if (c->grep && c->regex) {
		complain("--grep and --regex exclude each other");
		return false;
	}
	if (c->grep && c->ignore_case)
		c->regex = quoted(c->grep);
	if (!c->regex)
		return true;
	err = regcomp(&c->compiled, c->regex, REG_EXTENDED | (c->ignore_case ? REG_ICASE : 0));
	if (!err)
		return true;
	regerror(err, &c->compiled, error, sizeof(error));
	complain("--regex %s: %s; expressions are POSIX extended: (a|b), [0-9]+, no \\d", c->regex,
		 error);
	return false;
}

static bool take_option(struct cat *c, int opt, const char *value)
{
	switch (opt) {
	case '0':
		c->walk.nul = true;
		return true;
	case 't':
		c->timestamps = true;
		return true;
	case 'i':
		c->ignore_case = true;
		return true;
	case 'v':
		c->invert = true;
		return true;
	case OPT_EMPTY:
		c->walk.allow_empty = true;
		return true;
	case OPT_DEDUP:
		c->dedup = true;
		return true;
	case OPT_GREP:
		c->grep = value;
		return true;
	case OPT_REGEX:
		c->regex = value;
		return true;
	case OPT_MATCH:
		return matchers_parse(&c->matchers, value);
	case OPT_FORMAT:
		return parse_line_format(value, &c->format);
	case OPT_LIMIT:
		return parse_u64("limit", value, 1, UINT64_MAX, &c->limit);
	}
	return filter_option(&c->walk.filter, opt, value) == 0;
}

static int64_t to_ns(int64_t ms)
{
	int64_t ns;

	if (__builtin_mul_overflow(ms, (int64_t)NS_PER_MS, &ns))
		return ms < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static int run(struct cat *c)
{
	const struct filter *f = &c->walk.filter;
	uint64_t damaged, trouble;
	struct merge *m;
	bool nothing;

	collect(c);
	m = merge_open(c->list, c->n, f->timed ? to_ns(f->since_ms) : INT64_MIN,
		       f->timed ? to_ns(f->until_ms) : INT64_MAX);
	print_all(c, m);
	tell_foreign(c->foreign);
	nothing = c->walk.empty || merge_gone(m) == c->n;
	if (nothing && !c->walk.empty && !c->walk.allow_empty && !c->walk.trouble && !stopped())
		complain(c->n ? "no chunk is left: all were deleted meanwhile" :
			 c->matchers.n ? "no stream is one that --match takes" : "no chunk was found");
	damaged = merge_damaged(m, &trouble);
	merge_close(m);
	for (size_t i = 0; i < c->n; i++)
		free(c->list[i].path);
	free(c->list);
	free(c->seen);
	free(c->walk.filter.tenants);
	matchers_free(&c->matchers);
	if (nothing && !c->walk.allow_empty)
		return out_end(&c->out, EXIT_TROUBLE);
	if (trouble || c->trouble || c->walk.trouble || stopped())
		return out_end(&c->out, EXIT_TROUBLE);
	return out_end(&c->out, damaged ? EXIT_FINDINGS : EXIT_SOUND);
}

int cmd_cat(int argc, char **argv)
{
	static struct cat c;
	int opt;

	c.walk.jobs = default_jobs();
	pthread_mutex_init(&c.mu, NULL);
	while ((opt = getopt_long(argc, argv, "h0tiv", options, NULL)) != -1) {
		if (opt == 'h')
			return print_help(help);
		if (opt == '?' || !take_option(&c, opt, optarg))
			return bad_usage();
	}
	if (!compile(&c))
		return bad_usage();
	if (optind == argc || argc - optind > (int)ROOTS_MAX) {
		complain(optind == argc ? "which chunks? Give files or a store's directory" :
			 "too many arguments; give a list on standard input (-)");
		return bad_usage();
	}
	out_open(&c.out, STDOUT_FILENO, "standard output");
	c.walk.args = (const char **)argv + optind;
	c.walk.n_args = (uint32_t)(argc - optind);
	return run(&c);
}
