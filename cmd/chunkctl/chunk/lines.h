/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines as cat and salvage write them. */
#ifndef CHUNKCTL_LINES_H
#define CHUNKCTL_LINES_H

#include "base/bytes.h"
#include "base/out.h"

enum line_format { LINES_RAW, LINES_JSON, LINES_LOGFMT };

bool parse_line_format(const char *value, enum line_format *out); /* complains */

/* What all lines of a chunk have in common, rendered once. */
void lines_labels(enum line_format format, const char *tenant, const struct cr_meta *m,
		  struct bytes *out);

/* One entry with the newline behind it. */
void lines_add(enum line_format format, bool timestamp, const struct bytes *labels,
	       const struct cr_entry *e, struct bytes *out);

#endif
