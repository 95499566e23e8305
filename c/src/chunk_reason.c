/* SPDX-License-Identifier: Apache-2.0 */
/* A name and a sentence for each thing that is wrong with a chunk file. */
#include "chunkring.h"

static const struct {
	const char *name, *text;
} reasons[] = {
	[CR_REASON_NONE]           = { "none", "the structure is right" },
	[CR_REASON_TRUNCATED]      = { "truncated", "the file ends before a part that every chunk "
						    "has" },
	[CR_REASON_META_LENGTH]    = { "meta_length", "the metadata does not end where its length "
						      "says" },
	[CR_REASON_META_FRAME]     = { "meta_frame", "a snappy frame of the metadata is "
						     "malformed" },
	[CR_REASON_META_FRAME_CRC] = { "meta_frame_crc", "a snappy frame of the metadata has a "
							 "wrong checksum" },
	[CR_REASON_META_TOO_BIG]   = { "meta_too_big", "the metadata inflates beyond 4 MiB" },
	[CR_REASON_DATA_LENGTH]    = { "data_length", "the data length is not what is left of the "
						      "file" },
	[CR_REASON_MAGIC]          = { "magic", "the data does not start with the magic number" },
	[CR_REASON_VERSION]        = { "version", "the chunk version is not 1 to 4" },
	[CR_REASON_CODEC]          = { "codec", "Loki has no such compression codec" },
	[CR_REASON_METAS_RANGE]    = { "metas_range", "the block metas lie outside the data" },
	[CR_REASON_METAS_CRC]      = { "metas_crc", "the block metas have a wrong checksum" },
	[CR_REASON_METAS_FORMAT]   = { "metas_format", "the block metas have no room for the "
						       "blocks they announce" },
	[CR_REASON_BLOCK_RANGE]    = { "block_range", "a block lies outside the data" },
	[CR_REASON_BLOCK_OVERLAP]  = { "block_overlap", "the blocks together are longer than the "
							"data" },
	[CR_REASON_SYMBOLS_RANGE]  = { "symbols_range", "the structured metadata lies outside the "
							"data" },
	[CR_REASON_SYMBOLS_CRC]    = { "symbols_crc", "the structured metadata has a wrong "
						      "checksum" },
	[CR_REASON_SYMBOLS_FORMAT] = { "symbols_format", "the structured metadata can't hold the "
							 "strings it announces" },
};

_Static_assert(sizeof(reasons) / sizeof(reasons[0]) == CR_REASON_COUNT, "one entry a reason");

const char *cr_chunk_reason_name(uint32_t reason)
{
	return reason < CR_REASON_COUNT ? reasons[reason].name : "unknown";
}

const char *cr_chunk_reason_text(uint32_t reason)
{
	return reason < CR_REASON_COUNT ? reasons[reason].text : "unknown reason";
}
