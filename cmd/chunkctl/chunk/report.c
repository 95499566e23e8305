/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/quote.h"
#include "findings.h"

void path_join(const char *root, const char *path, struct bytes *out)
{
	size_t n = strlen(root);

	bytes_adds(out, root);
	if (*path && (n == 0 || root[n - 1] != '/'))
		bytes_addc(out, '/');
	bytes_adds(out, path);
}

static void where_json(struct bytes *out, const char *root, const char *path, const struct cr_key *key)
{
	struct bytes whole = { 0 };

	path_join(root, path, &whole);
	json_text(out, "path", whole.p, whole.n);
	json_string(out, "root", root);
	json_string(out, "file", path);
	if (key) {
		json_string(out, "tenant", key->tenant);
		json_hex(out, "fingerprint", key->fingerprint);
		json_i64(out, "from_ms", key->from_ms);
		json_i64(out, "through_ms", key->through_ms);
		json_hex(out, "checksum", key->crc);
	}
	bytes_free(&whole);
}

void report_json(struct bytes *out, const char *root, const char *path, const struct cr_key *key,
		 uint64_t size, const struct finding *f)
{
	json_open(out, NULL, '{');
	json_string(out, "type", "finding");
	json_string(out, "kind", finding_name(f->kind));
	json_string(out, "severity", severity_name(finding_severity(f->kind)));
	where_json(out, root, path, key);
	json_u64(out, "size", size);
	if (f->off != NOWHERE)
		json_i64(out, "offset", f->off);
	if (f->block >= 0)
		json_i64(out, "block", f->block);
	json_string(out, "text", finding_text(f->kind));
	json_string(out, "detail", f->detail);
	json_close(out, '}');
	bytes_addc(out, '\n');
}

void report_unreadable_json(struct bytes *out, const char *root, const char *path,
			    const struct cr_key *key, int err, const char *why)
{
	json_open(out, NULL, '{');
	json_string(out, "type", "unreadable");
	where_json(out, root, path, key);
	if (err)
		json_i64(out, "errno", err);
	json_string(out, "detail", why);
	json_close(out, '}');
	bytes_addc(out, '\n');
}

const char *severity_colour(enum severity s)
{
	return s == SEVERITY_ERROR ? "\033[31m" : s == SEVERITY_PARTIAL ? "\033[33m" : "\033[36m";
}

void report_unreadable_text(struct bytes *out, const char *root, const char *path, const char *why,
			    bool colours)
{
	struct bytes whole = { 0 };

	path_join(root, path, &whole);
	text_show(out, bytes_string(&whole));
	bytes_printf(out, ": %sunreadable%s: %s\n", colours ? COLOUR_BOLD : "",
		     colours ? COLOUR_END : "", why);
	bytes_free(&whole);
}

void report_text(struct bytes *out, const char *root, const char *path, const struct finding *f,
		 bool colours)
{
	enum severity sev = finding_severity(f->kind);
	struct bytes whole = { 0 };

	path_join(root, path, &whole);
	text_show(out, bytes_string(&whole));
	bytes_printf(out, ": %s%s%s: %s: ", colours ? severity_colour(sev) : "", severity_name(sev),
		     colours ? COLOUR_END : "", finding_name(f->kind));
	text_escape(out, f->detail, strlen(f->detail));
	if (f->block >= 0)
		bytes_printf(out, " (block %lld, at byte %lld)", (long long)f->block,
			     (long long)f->off);
	else if (f->off != NOWHERE && f->off > 0)
		bytes_printf(out, " (at byte %lld)", (long long)f->off);
	bytes_addc(out, '\n');
	bytes_free(&whole);
}
