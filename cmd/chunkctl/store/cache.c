/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/common.h"
#include "base/file.h"
#include "base/json.h"
#include "base/quote.h"

#define MARKER ".chunkring-cache.json" /* go/chunkring/diskcache/folder.go writes it */

static void describe(const struct bytes *marker, struct bytes *store)
{
	struct bytes kind = { 0 }, endpoint = { 0 }, bucket = { 0 }, prefix = { 0 };
	const struct json_field fields[] = { { "kind", &kind }, { "endpoint", &endpoint },
					     { "bucket", &bucket }, { "prefix", &prefix } };
	struct cr_json r;

	store->n = 0;
	cr_json_begin(&r, marker->p, marker->n);
	if (json_read_fields(&r, fields, LEN(fields)) && kind.n) {
		text_escape(store, kind.p, kind.n);
		bytes_adds(store, " bucket ");
		text_quote(store, bucket.p, bucket.n);
		bytes_adds(store, " at ");
		text_quote(store, endpoint.p, endpoint.n);
		bytes_adds(store, ", prefix ");
		text_quote(store, prefix.p, prefix.n);
	} else {
		bytes_adds(store, "an unknown store (" MARKER " is damaged)");
	}
	bytes_free(&kind);
	bytes_free(&endpoint);
	bytes_free(&bucket);
	bytes_free(&prefix);
}

bool cache_of(const char *dir, struct bytes *store)
{
	static const char *const markers[] = { MARKER, "../" MARKER, "../../" MARKER };
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct bytes marker = { 0 };
	bool found = false;

	for (size_t i = 0; fd >= 0 && i < LEN(markers) && !found; i++)
		found = file_read(fd, markers[i], false, &marker, NULL) == 0;
	if (fd >= 0)
		close(fd);
	if (found)
		describe(&marker, store);
	bytes_free(&marker);
	return found;
}

bool caches_tell(const struct walk *w, struct out *o, bool json, const char *more)
{
	struct bytes store = { 0 }, line = { 0 };
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->n_args; i++) {
		if (!cache_of(w->args[i], &store))
			continue;
		n++;
		line.n = 0;
		if (json) {
			json_open(&line, NULL, '{');
			json_string(&line, "type", "cache");
			json_text(&line, "root", w->args[i], strlen(w->args[i]));
			json_text(&line, "store", store.p, store.n);
			json_close(&line, '}');
		} else {
			text_show(&line, w->args[i]);
			bytes_printf(&line, " is a disk cache of %s%s", bytes_string(&store), more);
		}
		bytes_addc(&line, '\n');
		out_bytes(o, line.p, line.n);
	}
	bytes_free(&store);
	bytes_free(&line);
	return n > 0 && n == w->n_args;
}
