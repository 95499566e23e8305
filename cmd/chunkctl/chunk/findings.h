/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a file. The names of findings are part of the documented JSON: append, never
 * rename. */
#ifndef CHUNKCTL_FINDINGS_H
#define CHUNKCTL_FINDINGS_H

#include "base/common.h"

enum severity {
	SEVERITY_WARNING, /* Loki serves everything, but no writer of Loki's makes such a file */
	SEVERITY_PARTIAL, /* Loki serves a part of the chunk, mostly without a word */
	SEVERITY_ERROR,   /* Loki can't serve the chunk, or answers with an error */
};

/* The first ones have the numbers of enum cr_chunk_reason. */
enum finding_kind {
	FINDING_BAD_CRC = CR_REASON_COUNT,
	FINDING_EMPTY,
	FINDING_ZEROS,
	FINDING_JSON,
	FINDING_WRONG_KEY,
	FINDING_ENCODING,
	FINDING_BLOCK_CRC,
	FINDING_BLOCK_OFFSET,
	FINDING_METAS_END,
	FINDING_GAP,
	FINDING_TIME_RANGE,
	FINDING_SYMBOLS,
	FINDING_PAYLOAD,
	FINDING_RAW_SIZE,
	FINDING_ENTRY,
	FINDING_ENTRY_COUNT,
	FINDING_ENTRY_TIME,
	FINDING_ENTRY_ORDER,
	FINDING_SYMBOL_REF,
	FINDING_METADATA_NAME,
	FINDING_NAME,
	FINDING_MISPLACED,
	FINDING_SYMLINK,
	FINDING_NOT_A_FILE,
	FINDING_TOO_BIG,
	FINDING_NO_BLOCKS,
	FINDING_JSON_ODD,
	FINDING_UNLISTED,
	FINDING_COUNT
};

const char *finding_name(enum finding_kind kind);
const char *finding_text(enum finding_kind kind); /* one plain sentence */
enum severity finding_severity(enum finding_kind kind);
const char *severity_name(enum severity s);
bool finding_kind_of(const char *name, enum finding_kind *out);

#define FINDINGS_MAX 32u /* of one file; more are counted */
#define NOWHERE      INT64_MIN

struct finding {
	enum finding_kind kind;
	int64_t           off;   /* in the file, or NOWHERE */
	int64_t           block; /* or -1 */
	char              detail[160];
};

struct findings {
	struct finding list[FINDINGS_MAX];
	uint32_t       n, dropped;
	uint64_t       entries; /* read with CHECK_DEEP */
};

void finding_add(struct findings *f, enum finding_kind kind, int64_t off, int64_t block,
		 const char *fmt, ...) PRINTF(5, 6);

/* Adds what an errno of file_open() says of the file itself. False: nothing (no permission, say). */
bool finding_add_errno(struct findings *f, int err);

#endif
