/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a chunk file. The names of findings are part of the documented JSON: append,
 * never rename.
 */
#ifndef CHUNKCTL_CHECK_H
#define CHUNKCTL_CHECK_H

#include "chunk.h"
#include "key.h"

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

#define CHECK_DEEP 1u /* inflate every block and read every entry */

struct look { /* one check of one chunk */
	/* in */
	const struct cr_key *key;  /* what the name says, or NULL */
	const uint8_t       *file;
	size_t               n;
	uint32_t             flags;
	struct scratch      *s;    /* out: meta, and blocks where reason is CR_REASON_NONE */
	struct findings     *out;
	/* out */
	uint32_t             crc;  /* of the file; only of check_chunk() */
	struct cr_chunk      chunk;
	enum cr_chunk_reason reason;
	bool                 meta; /* the scratch's meta is this chunk's */
};

/* Everything that can be told about n bytes. */
void check_chunk(struct look *l);

/* The same for a file whose CRC and structure and whose blocks' CRCs are known to be right. */
void check_sound_chunk(struct look *l);

/* Inflates the structured metadata and every block of a chunk whose structure is right and whose
 * blocks are in the scratch, and reads every entry. */
void check_deep(struct look *l);

#endif
