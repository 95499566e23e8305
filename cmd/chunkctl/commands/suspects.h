/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a store that a report of verify names: what quarantine is to look at. */
#ifndef CHUNKCTL_SUSPECTS_H
#define CHUNKCTL_SUSPECTS_H

#include "chunk/findings.h"

struct paths {
	char **list; /* relative to the store, each once, sorted */
	size_t n, cap;
};

struct suspects {
	/* in */
	const char *dir, *real;           /* the store, and where it really is */
	bool        kinds[FINDING_COUNT]; /* findings that count */
	/* out */
	struct paths taken;               /* files with such a finding */
	struct paths left;                /* with other findings alone */
	uint64_t    lines;                /* of the report */
	uint64_t    foreign;              /* findings about files that are not in dir */
};

/* Complains and returns false where `from` ("-": standard input) is no report or can't be read. */
bool suspects_read(struct suspects *s, const char *from);
void suspects_free(struct suspects *s);

/* Whether path is made of plain components and is not in quarantine: neither a report nor a manifest
 * may move what is outside the store. */
bool path_is_inner(const char *path);

#endif
