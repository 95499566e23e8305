/* SPDX-License-Identifier: Apache-2.0 */
/* What verify finds, counted and printed. */
#include "base/bytes.h"
#include "base/out.h"
#include "chunk/findings.h"
#include "chunk/report.h"
#include "verify.h"

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

void verify_publish(struct verify *v, uint64_t *sums, const char *root, const char *path,
		    const struct cr_key *key, uint64_t size, const struct findings *f)
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

void verify_unreadable(struct verify *v, uint64_t *sums, const char *root, const char *path,
		       const struct cr_key *key, int err, const char *why)
{
	struct bytes text = { 0 };

	sums[SUM_UNREADABLE]++;
	if (v->json)
		report_unreadable_json(&text, root, path, key, err, why);
	else
		report_unreadable_text(&text, root, path, why, v->colours);
	out_bytes(&v->out, text.p, text.n);
	bytes_free(&text);
}
