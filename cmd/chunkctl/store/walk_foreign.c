/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders beside the tenants'. One that can be read is walked like a tenant's, whatever its name:
 * what is not a chunk is left alone, and chunks that lie there are found. One that can't be read
 * is trouble where it may hold chunks; Loki and chunkring never look into the others, nor need
 * they be readable.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/stderr.h"
#include "chunk/report.h"
#include "key.h"
#include "walk_inner.h"

#define SHOWN_BYTES_MAX 400u /* of names in the message */

/* What Loki keeps in a directory that it shares with chunks: the object store's own prefixes, and
 * working directories where storage_config.filesystem.directory is Loki's path_prefix. */
static bool is_lokis_own(const char *name)
{
	static const char *const names[] = { "index", "rules", "rules-temp", "bloom", "compactor",
					     "wal" };
	static const char *const prefixes[] = { "tsdb-shipper-", "boltdb-shipper-" };

	for (size_t i = 0; i < LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	for (size_t i = 0; i < LEN(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

/* Loki takes no tenant named "lost+found". It takes one named ".snapshot", but that is a folder
 * of the file system's or of a backup's. */
static bool holds_chunks(const struct walk *w, const char *name)
{
	for (uint32_t i = 0; i < w->filter.n_tenants; i++)
		if (strcmp(w->filter.tenants[i], name) == 0)
			return true; /* whoever asks for it by name is to know */
	return key_is_tenant(name) && name[0] != '.' && !is_lokis_own(name);
}

bool walk_pass_over(struct walk *w, const struct root *root, const char *name, int err)
{
	struct bytes *shown = &w->inner->passed_over;

	if (holds_chunks(w, name))
		return false;
	w->passed_over++;
	if (shown->n < SHOWN_BYTES_MAX) {
		bytes_adds(shown, shown->n ? ", " : "");
		path_join(root->path, name, shown);
		bytes_printf(shown, " (%s)", strerror(err));
	} else if (shown->p[shown->n - 1] != '.') {
		bytes_adds(shown, ", ...");
	}
	return true;
}

void walk_tell_passed_over(struct walk *w)
{
	if (w->passed_over && !w->quiet)
		complain("passed over what can't be read and is no tenant's: %s",
			 bytes_string(&w->inner->passed_over));
	bytes_free(&w->inner->passed_over);
}
