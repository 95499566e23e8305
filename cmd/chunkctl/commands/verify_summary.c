/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/common.h"
#include "base/json.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/check.h"
#include "chunk/findings.h"
#include "chunk/report.h"
#include "store/cache.h"
#include "verify.h"

struct totals {
	uint64_t sums[SUMS_MAX];
	double   seconds;
	bool     complete;
	bool     trouble;  /* something could not be read */
	bool     nothing;  /* an argument, or all of them, had no chunk to check */
	uint32_t unsettled;
};

/* Nothing checked is not sound, unless that was expected. */
static bool is_sound(const struct verify *v, const struct totals *t)
{
	return t->complete && !t->trouble && !t->sums[SUM_FINDINGS] &&
	       (!t->nothing || v->walk.allow_empty);
}

static void summary_json(struct verify *v, const struct totals *t)
{
	static const struct { const char *name; enum sum sum; } fields[] = {
		{ "chunks", SUM_FILES }, { "bytes", SUM_BYTES }, { "entries", SUM_ENTRIES },
		{ "findings", SUM_FINDINGS }, { "files_error", SUM_ERROR },
		{ "files_partial", SUM_PARTIAL }, { "files_warning", SUM_WARNING },
		{ "unreadable", SUM_UNREADABLE }, { "vanished", SUM_VANISHED },
		{ "temporary_files", SUM_TEMPORARY }, { "other_files", SUM_OTHER },
		{ "unnamed", SUM_UNNAMED }, { "chunks_quick", SUM_ENDS },
		{ "bytes_unchecked", SUM_UNCHECKED },
	};
	struct bytes b = { 0 };

	json_open(&b, NULL, '{');
	json_string(&b, "type", "summary");
	json_bool(&b, "complete", t->complete);
	json_bool(&b, "sound", is_sound(v, t));
	for (size_t i = 0; i < LEN(fields); i++)
		json_u64(&b, fields[i].name, t->sums[fields[i].sum]);
	json_u64(&b, "busy", v->busy);
	json_u64(&b, "filtered", v->walk.filtered);
	json_u64(&b, "passed_over", v->walk.passed_over);
	json_u64(&b, "empty", v->walk.empty);
	json_open(&b, "kinds", '{');
	for (uint32_t k = 1; k < FINDING_COUNT; k++)
		if (t->sums[SUM_KIND + k])
			json_u64(&b, finding_name((enum finding_kind)k), t->sums[SUM_KIND + k]);
	json_close(&b, '}');
	json_bool(&b, "deep", v->scan.flags & CHECK_DEEP);
	json_bool(&b, "quick", v->scan.how == SCAN_SEALED);
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
	const struct { uint64_t n; const char *one, *many; } also[] = {
		{ t->sums[SUM_TEMPORARY], "temporary file of a put (chunkring removes old ones)",
		  "temporary files of puts (chunkring removes old ones)" },
		{ t->sums[SUM_OTHER], "other file (left alone)", "other files (left alone)" },
		{ v->walk.passed_over, "folder passed over: no tenant's, and can't be read",
		  "folders passed over: no tenants', and can't be read" },
		{ t->sums[SUM_VANISHED], "chunk deleted meanwhile", "chunks deleted meanwhile" },
		{ v->busy, "chunk that was written to all the time: run it again",
		  "chunks that were written to all the time: run it again" },
		{ t->unsettled, "chunk still being written when it was interrupted",
		  "chunks still being written when it was interrupted" },
		{ t->sums[SUM_UNNAMED],
		  "file without a chunk's name and folder: nothing to compare it with",
		  "files without a chunk's name and folder: nothing to compare them with" },
		{ v->walk.filtered, "chunk left out by the filters", "chunks left out by the filters" },
	};
	char n[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < LEN(also); i++)
		if (also[i].n)
			out_printf(&v->out, "  and %s %s\n", count_text(also[i].n, n),
				   also[i].n == 1 ? also[i].one : also[i].many);
}

/* What --quick leaves open. */
static void unchecked_text(struct verify *v, const struct totals *t)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES];

	if (t->sums[SUM_ENDS])
		out_printf(&v->out, "not checked: the blocks' bytes of %s chunk%s, %s; verify without "
			   "--quick checks them\n", count_text(t->sums[SUM_ENDS], n),
			   plural(t->sums[SUM_ENDS]),
			   size_text(t->sums[SUM_UNCHECKED], size));
}

/* A file without a chunk's name and folder may be a sound chunk, but verify of its store reports it. */
static const char *sound_text(const struct totals *t)
{
	if (!t->sums[SUM_FILES])
		return "nothing to check";
	if (t->sums[SUM_ENDS])
		return "sound as far as it was checked";
	return t->sums[SUM_UNNAMED] ? "sound, but Loki does not look for every file there" : "sound";
}

static void summary_text(struct verify *v, const struct totals *t)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES], span[SIZE_TEXT_BYTES], rate[SIZE_TEXT_BYTES],
		e[SIZE_TEXT_BYTES], p[SIZE_TEXT_BYTES], w[SIZE_TEXT_BYTES];
	bool only_caches;
	uint64_t bad = t->sums[SUM_ERROR] + t->sums[SUM_PARTIAL] + t->sums[SUM_WARNING];
	double rate_now = t->seconds > 0 ? (double)v->bytes / t->seconds : 0;

	out_printf(&v->out, "%s%s%s chunk%s, %s, in %s (%s/s, %s)%s%s\n",
		   v->colours ? COLOUR_BOLD : "",
		   t->complete ? "checked " : "interrupted after ",
		   count_text(t->sums[SUM_FILES], n), plural(t->sums[SUM_FILES]),
		   size_text(t->sums[SUM_BYTES], size),
		   span_text(t->seconds, span), size_text((uint64_t)rate_now, rate),
		   scan_backend(&v->scan)[0] ? scan_backend(&v->scan) : "nothing read",
		   v->state.resumed ? ", earlier runs included" : "", v->colours ? COLOUR_END : "");
	if (bad)
		out_printf(&v->out,
			   "%s damaged file%s: Loki can't serve %s, serves %s in part and %s "
			   "in spite of it%s\n", count_text(bad, n), plural(bad),
			   count_text(t->sums[SUM_ERROR], e),
			   count_text(t->sums[SUM_PARTIAL], p), count_text(t->sums[SUM_WARNING],
									   w),
			   t->sums[SUM_KIND + FINDING_SYMLINK] ?
			   " (symbolic links not where chunkring is enabled)" : "");
	if (t->sums[SUM_UNREADABLE] == 1)
		out_string(&v->out, "1 file or folder could not be read: whether it is sound is not known\n");
	else if (t->sums[SUM_UNREADABLE])
		out_printf(&v->out, "%s files or folders could not be read: whether they are sound "
			   "is not known\n", count_text(t->sums[SUM_UNREADABLE], n));
	kinds_text(v, t);
	also_text(v, t);
	unchecked_text(v, t);
	only_caches = caches_tell(&v->walk, &v->out, false, bad ? ": what is damaged there is only a "
				  "miss, which Loki deletes and fetches again" : "");
	if (is_sound(v, t))
		out_printf(&v->out, "%s\n", sound_text(t));
	else if (t->nothing && t->complete)
		out_string(&v->out, t->sums[SUM_FILES] ?
			   "not everything was checked: an argument has no chunk to check\n" :
			   "no chunk was checked\n");
	if (!t->complete && v->state.path)
		out_printf(&v->out, "the same command goes on where it stopped (%s)\n",
			   v->state.path);
	else if (t->sums[SUM_ERROR] && t->sums[SUM_FILES] && !only_caches)
		out_string(&v->out,
			   "next: chunkctl info FILE says where a file is damaged, chunkctl "
				    "salvage FILE -o NEW\n"
				    "saves its lines; verify --json > REPORT and chunkctl quarantine DIR "
				    "--from REPORT\nmoves damaged files out of Loki's way\n");
}

int verify_summary(struct verify *v)
{
	struct totals t = { .seconds = (double)(now_ns() - v->begin_ns) / (double)NS_PER_S,
			    .complete = v->walk.finished && !stopped(), .unsettled = v->n_again };

	for (uint32_t i = 0; i < SUMS_MAX; i++)
		t.sums[i] = v->walk.sums[i] + v->sums[i];
	t.sums[SUM_UNREADABLE] += v->walk.unreadable;
	t.trouble = v->walk.trouble || t.sums[SUM_UNREADABLE];
	t.nothing = v->walk.empty || !(t.sums[SUM_FILES] + v->busy);
	if (t.nothing && t.complete && !t.trouble && !v->walk.empty && !v->walk.allow_empty)
		complain("no chunk was checked: none was found, or all were deleted meanwhile");
	if (v->json) {
		caches_tell(&v->walk, &v->out, true, "");
		summary_json(v, &t);
	} else if (!v->quiet && (t.sums[SUM_FILES] || !v->walk.trouble))
		summary_text(v, &t);
	if (!t.complete || t.trouble || (t.nothing && !v->walk.allow_empty))
		return EXIT_TROUBLE;
	return t.sums[SUM_FINDINGS] ? EXIT_FINDINGS : EXIT_SOUND;
}
