/* SPDX-License-Identifier: Apache-2.0 */
#include "findings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/common.h"
#include "base/utf8.h"

#define E SEVERITY_ERROR
#define P SEVERITY_PARTIAL
#define W SEVERITY_WARNING

static const struct {
	const char *name; /* of those that are a cr_chunk_reason: the reason's */
	enum severity severity;
	const char *text;
} kinds[] = {
	[FINDING_BAD_CRC] = { "bad_crc", E, "its CRC32C is not the one in its name: the content "
					    "changed after Loki wrote it" },
	[FINDING_EMPTY] = { "empty", E, "it has no bytes: a crash came before the data reached the "
					"disk" },
	[FINDING_ZEROS] = { "zeros", E, "it ends in zeros: a crash came before all data reached the "
					"disk" },
	[FINDING_JSON] = { "json", E, "the metadata is not JSON that Loki can read" },
	[FINDING_WRONG_KEY] = { "wrong_key", E, "the metadata is another chunk's than the name" },
	[FINDING_ENCODING] = { "encoding", E, "the metadata names an encoding that is not Loki's" },
	[FINDING_BLOCK_CRC] = { "block_crc", P, "a block has a wrong checksum: Loki drops it" },
	[FINDING_BLOCK_OFFSET] = { "block_offset", W, "a block is not where it belongs, behind "
						      "the one before it, but Loki finds it" },
	[FINDING_METAS_END] = { "metas_end", P, "the block metas end before the last block that "
						"they announce: Loki drops the rest" },
	[FINDING_GAP] = { "gap", W, "there are bytes that belong to nothing" },
	[FINDING_TIME_RANGE] = { "time_range", P, "a block's times are reversed or outside the "
						  "chunk's: queries may pass it over" },
	[FINDING_SYMBOLS] = { "symbols", E, "the structured metadata does not decompress or is "
					    "malformed" },
	[FINDING_PAYLOAD] = { "payload", P, "a block does not decompress: queries that need it fail or "
					    "lose its lines" },
	[FINDING_RAW_SIZE] = { "raw_size", W, "a block holds another amount of text than its meta says" },
	[FINDING_ENTRY] = { "entry", P, "an entry in a block is malformed: Loki stops there" },
	[FINDING_ENTRY_COUNT] = { "entry_count", W, "a block has another number of entries than its "
						    "meta says" },
	[FINDING_ENTRY_TIME] = { "entry_time", W, "an entry lies outside the times that the block's "
						  "meta gives: queries may pass it over" },
	[FINDING_ENTRY_ORDER] = { "entry_order", W, "the entries of a block are not in time order" },
	[FINDING_SYMBOL_REF] = { "symbol_ref", W, "an entry's structured metadata refers to a string "
						  "that does not exist" },
	[FINDING_METADATA_NAME] = { "metadata_name", P, "a name in the structured metadata that Loki "
							"can't read: it stops there" },
	[FINDING_NAME] = { "name", E, "a file among the chunks whose name is no chunk's: Loki never "
				      "asks for it" },
	[FINDING_MISPLACED] = { "misplaced", E, "a chunk in a folder where Loki does not look for "
						"it" },
	[FINDING_SYMLINK] = { "symlink", W, "a symbolic link: chunkring refuses it, Loki's own "
					    "client follows it, chunkctl does not" },
	[FINDING_NOT_A_FILE] = { "not_a_file", E, "neither a file nor a folder" },
	[FINDING_TOO_BIG] = { "too_big", E, "it is larger than 64 MiB: chunkring refuses it and "
					    "chunkctl did not read it" },
	[FINDING_NO_BLOCKS] = { "no_blocks", W, "it holds nothing, though its name gives it a time" },
	[FINDING_JSON_ODD] = { "json_odd", W, "the metadata is JSON that Loki reads but never writes" },
	[FINDING_UNLISTED] = { "unlisted", P, "there is data between the blocks that the metas do not "
					      "count: Loki does not serve it" },
};

_Static_assert(LEN(kinds) == FINDING_COUNT, "one entry a kind");

#define REASONS ((uint32_t)CR_REASON_COUNT)

const char *finding_name(enum finding_kind kind)
{
	return kind < REASONS ? cr_chunk_reason_name(kind) : kinds[kind].name;
}

const char *finding_text(enum finding_kind kind)
{
	return kind < REASONS ? cr_chunk_reason_text(kind) : kinds[kind].text;
}

enum severity finding_severity(enum finding_kind kind)
{
	return kind < REASONS ? SEVERITY_ERROR : kinds[kind].severity;
}

const char *severity_name(enum severity s)
{
	return s == E ? "error" : s == P ? "partial" : "warning";
}

bool finding_kind_of(const char *name, enum finding_kind *out)
{
	for (int i = 1; i < FINDING_COUNT; i++) {
		if (strcmp(finding_name((enum finding_kind)i), name) == 0) {
			*out = (enum finding_kind)i;
			return true;
		}
	}
	return false;
}

void finding_add(struct findings *f, enum finding_kind kind, int64_t off, int64_t block,
		 const char *fmt, ...)
{
	struct finding *x;
	va_list args;
	size_t n;

	if (f->n == FINDINGS_MAX) {
		f->dropped++;
		return;
	}
	x = &f->list[f->n++];
	*x = (struct finding){ .kind = kind, .off = off, .block = block };
	va_start(args, fmt);
	vsnprintf(x->detail, sizeof(x->detail), fmt, args);
	va_end(args);
	n = strlen(x->detail);
	for (uint32_t i = 0; i < UTF8_BYTES_MAX && n && !is_utf8(x->detail, n); i++)
		x->detail[--n] = '\0'; /* it was cut in a character */
}

bool finding_add_errno(struct findings *f, int err)
{
	switch (err) {
	case ELOOP:
		finding_add(f, FINDING_SYMLINK, NOWHERE, -1, "what is behind it was not checked");
		return true;
	case ENXIO:
	case EISDIR:
		finding_add(f, FINDING_NOT_A_FILE, NOWHERE, -1, "a FIFO, socket, device or folder");
		return true;
	case EFBIG:
		finding_add(f, FINDING_TOO_BIG, NOWHERE, -1, "not read");
		return true;
	}
	return false;
}
