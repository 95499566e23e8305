/* SPDX-License-Identifier: Apache-2.0 */
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static uint8_t *read_file(const char *path, size_t n)
{
	uint8_t *p = malloc(n + !n);
	FILE *f = fopen(path, "rb");

	assert_non_null(p);
	assert_non_null(f);
	assert_int_equal(fread(p, 1, n, f), n);
	fclose(f);
	return p;
}

void assert_same_chunk(const struct cr_chunk *a, const struct cr_chunk *b)
{
	assert_true(a->file_bytes == b->file_bytes && a->frames_off == b->frames_off &&
		    a->frames_bytes == b->frames_bytes && a->json_bytes == b->json_bytes);
	assert_true(a->data_off == b->data_off && a->data_bytes == b->data_bytes &&
		    a->version == b->version && a->codec == b->codec && a->body_off == b->body_off);
	assert_true(a->symbols_off == b->symbols_off && a->symbols_bytes == b->symbols_bytes &&
		    a->symbols == b->symbols);
	assert_true(a->metas_off == b->metas_off && a->metas_bytes == b->metas_bytes &&
		    a->blocks == b->blocks && a->footer_off == b->footer_off &&
		    a->reason_off == b->reason_off);
}

uint32_t corpus_each(const char *folder, void (*see)(const char *path, const uint8_t *file, size_t n))
{
	const char *dir = getenv("CR_TESTDATA");
	char root[4096], *roots[] = { root, NULL };
	uint32_t seen = 0;
	FTSENT *e;
	FTS *fts;

	snprintf(root, sizeof(root), "%s/%s", dir ? dir : "testdata", folder);
	fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	assert_non_null(fts);
	while ((e = fts_read(fts))) {
		const char *ending = e->fts_namelen > 6 ? e->fts_name + e->fts_namelen - 6 : "";
		size_t n = (size_t)e->fts_statp->st_size;
		uint8_t *file;

		if (e->fts_info != FTS_F || strcmp(ending, ".chunk") != 0)
			continue;
		file = read_file(e->fts_path, n);
		see(e->fts_path, file, n);
		free(file);
		seen++;
	}
	fts_close(fts);
	return seen;
}
