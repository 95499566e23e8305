/* SPDX-License-Identifier: Apache-2.0 */
/* Findings as people and programs read them: verify and info write them, quarantine reads them. */
#ifndef CHUNKCTL_REPORT_H
#define CHUNKCTL_REPORT_H

#include "base/bytes.h"
#include "base/out.h"
#include "findings.h"

/* A file's path as it is shown: the root's path and the file's below it. */
void path_join(const char *root, const char *path, struct bytes *out);

/* One JSON object in one line. size may be 0 where it is not known. */
void report_json(struct bytes *out, const char *root, const char *path, const struct cr_key *key,
		 uint64_t size, const struct finding *f);

/* The same for what could not be read: no finding. err: an errno, or 0. */
void report_unreadable_json(struct bytes *out, const char *root, const char *path,
			    const struct cr_key *key, int err, const char *why);

/* PATH: unreadable: why */
void report_unreadable_text(struct bytes *out, const char *root, const char *path, const char *why,
			    bool colours);

/* PATH: error: bad_crc: detail (at byte 0, block 3) */
void report_text(struct bytes *out, const char *root, const char *path, const struct finding *f,
		 bool colours);

const char *severity_colour(enum severity s);
#define COLOUR_END "\033[0m"
#define COLOUR_BOLD "\033[1m"

#endif
