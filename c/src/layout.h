/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk file: every offset and size of it, once. Numbers are big-endian, or varints.
 *
 *	u32 length of the metadata | snappy frames of JSON | u32 length of the data | data
 *	data:    header | structured metadata (version 4) | blocks | block metas | footer
 *	header:  u32 magic | u8 version | u8 codec (from version 2 on)
 *	section: bytes | u32 CRC32C of them: each block, the block metas, the structured metadata
 *	metas:   uvarint blocks | of each: uvarint entries, varint mint, varint maxt, uvarint offset,
 *	         uvarint uncompressed bytes (from version 3 on), uvarint bytes
 *	footer:  version 4:   u64 bytes and offset of the structured metadata, of the metas
 *	         before that: u64 offset of the metas, which end at the footer
 *
 * The length of the metadata counts its own word. Offsets in metas and footer count from the start
 * of the data.
 */
#ifndef CR_LAYOUT_H
#define CR_LAYOUT_H

#include <stdint.h>

#include "chunkring.h"

#define CR_LENGTH_BYTES     4u
#define CR_MAGIC            0x012ee56au
#define CR_MAGIC_TEXT       "\x01\x2e\xe5\x6a"
#define CR_MAGIC_BYTES      4u
#define CR_VERSION_OFF      4u  /* of the data */
#define CR_CODEC_OFF        5u
#define CR_VERSION_MAX      4u
#define CR_VERSION_SYMBOLS  4u  /* the first with structured metadata */
#define CR_VERSION_SIZES    3u  /* the first whose metas have uncompressed sizes */
#define CR_VERSION_CODEC    2u  /* the first with a codec: before it there was gzip */

/* Numbers of the footer, by their distance from the end of the file. */
#define CR_METAS_OFF_END      8u
#define CR_METAS_BYTES_END    16u
#define CR_SYMBOLS_OFF_END    24u
#define CR_SYMBOLS_BYTES_END  32u

static inline uint32_t cr_header_bytes(uint8_t version)
{
	return version < CR_VERSION_CODEC ? CR_CODEC_OFF : CR_CODEC_OFF + 1;
}

static inline uint32_t cr_footer_bytes(uint8_t version)
{
	return version < CR_VERSION_SYMBOLS ? CR_METAS_OFF_END : CR_SYMBOLS_BYTES_END;
}

#endif
