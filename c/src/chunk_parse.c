/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk file: envelope, header, footer, sections; layout.h has the picture.
 *
 * The rule for every decision here: what stock Loki 3.7 decodes is accepted; what would make it
 * panic, loop or allocate absurdly is refused. So the oddities below (sticky errors, blocks looked
 * for in two places) are Loki's, followed on purpose. Offsets inside the data become file offsets in
 * struct cr_chunk.
 */
#include "chunk_parse.h"

#include <string.h>

#include "snappy_frame.h"

#define CODECS      0x3fbu /* bit n: Loki has codec n (0 none .. 9 zstd; 2 never existed) */
#define SYMBOLS_MAX (UINT64_C(1) << 32) /* symbols are numbered by uint32 */

static enum cr_chunk_reason frame_reason(enum cr_frame_status status)
{
	switch (status) {
	case CR_FRAME_OK:      return CR_REASON_NONE;
	case CR_FRAME_SHORT:   return CR_REASON_META_LENGTH;
	case CR_FRAME_BAD_CRC: return CR_REASON_META_FRAME_CRC;
	case CR_FRAME_TOO_BIG: return CR_REASON_META_TOO_BIG;
	case CR_FRAME_BAD:     break;
	}
	return CR_REASON_META_FRAME;
}

/*
 * Loki learns where the metadata ends from its JSON alone. If that isn't closed it takes the data
 * for more frames, as long as they look sound, and inflates them all: 21 times the file at worst.
 * In a sound chunk the data length and the magic are no frame with a right checksum.
 */
static bool goes_on_too_far(struct cr_frame_walk walk, uint64_t known)
{
	enum cr_frame_status status;

	walk.src_bytes = known;
	do {
		status = cr_frame_next(&walk);
	} while (status == CR_FRAME_OK);
	return status == CR_FRAME_TOO_BIG;
}

/*
 * The length word counts itself; that of legacy writers does not, so their frames end 4 bytes
 * later. A file can't be read both ways: the only frame of 4 bytes is an empty skippable one, and
 * JSON that is whole before it is not read any further by Loki.
 */
enum cr_chunk_reason cr_chunk_envelope(const uint8_t *file, uint64_t known, struct cr_chunk *out)
{
	struct cr_frame_walk walk = {
		.src = file, .pos = CR_LENGTH_BYTES, .raw_bytes_max = CR_META_BYTES_MAX,
	};
	enum cr_frame_status status;
	uint64_t n = out->file_bytes, meta_bytes;

	if (n < CR_LENGTH_BYTES)
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, n);
	meta_bytes = cr_be32(file);
	walk.src_bytes = meta_bytes + CR_LENGTH_BYTES; /* with the data length, or legacy */
	if (n < walk.src_bytes)
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, n);
	do {
		status = cr_frame_next(&walk);
		if (status != CR_FRAME_OK)
			return cr_chunk_wrong(out, frame_reason(status), walk.pos);
	} while (walk.pos != meta_bytes && walk.pos != walk.src_bytes);

	if (goes_on_too_far(walk, known))
		return cr_chunk_wrong(out, CR_REASON_META_TOO_BIG, walk.pos);
	if (walk.pos > UINT32_MAX - CR_LENGTH_BYTES) /* data_off has no room: 4 GiB of metadata */
		return cr_chunk_wrong(out, CR_REASON_META_LENGTH, walk.pos);
	if (n - walk.pos < CR_LENGTH_BYTES)
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, n);
	out->frames_off = CR_LENGTH_BYTES;
	out->frames_bytes = (uint32_t)(walk.pos - CR_LENGTH_BYTES);
	out->json_bytes = (uint32_t)walk.raw_bytes;
	if (cr_be32(file + walk.pos) != n - walk.pos - CR_LENGTH_BYTES)
		return cr_chunk_wrong(out, CR_REASON_DATA_LENGTH, walk.pos);
	out->data_off = (uint32_t)walk.pos + CR_LENGTH_BYTES;
	out->data_bytes = n - out->data_off;
	return CR_REASON_NONE;
}

/* Loki decodes versions 2 and 3 with a codec that it doesn't have, then panics when it iterates:
 * hence the check for all. */
enum cr_chunk_reason cr_chunk_header(const uint8_t *data, struct cr_chunk *out)
{
	if (out->data_bytes < cr_header_bytes(1))
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, out->file_bytes);
	if (cr_be32(data) != CR_MAGIC)
		return cr_chunk_wrong(out, CR_REASON_MAGIC, out->data_off);
	out->version = data[CR_VERSION_OFF];
	if (out->version < 1 || out->version > CR_VERSION_MAX)
		return cr_chunk_wrong(out, CR_REASON_VERSION, out->data_off + CR_VERSION_OFF);
	if (out->data_bytes < cr_header_bytes(out->version))
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, out->file_bytes);
	out->body_off = (uint64_t)out->data_off + cr_header_bytes(out->version);
	out->codec = out->version < CR_VERSION_CODEC ? CR_CODEC_GZIP : data[CR_CODEC_OFF];
	if (out->codec > CR_CODEC_ZSTD || !(CODECS >> out->codec & 1))
		return cr_chunk_wrong(out, CR_REASON_CODEC, out->data_off + CR_CODEC_OFF);
	return CR_REASON_NONE;
}

/* A section and the CRC after it within n bytes. */
static bool section_fits(uint64_t off, uint64_t bytes, uint64_t n)
{
	return off <= n && bytes <= n - off && CR_CHUNK_CRC_BYTES <= n - off - bytes;
}

/* Loki lets sections lie anywhere in the data, even over each other: so do we. */
enum cr_chunk_reason cr_chunk_footer(const uint8_t *end, struct cr_chunk *out)
{
	uint32_t footer = cr_footer_bytes(out->version);
	bool has_symbols = out->version >= CR_VERSION_SYMBOLS;
	uint64_t n = out->data_bytes, off, bytes;

	if (n < footer + (has_symbols ? 0 : CR_CHUNK_CRC_BYTES))
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, out->file_bytes);
	out->footer_off = out->file_bytes - footer;
	off = cr_be64(end - CR_METAS_OFF_END);
	if (has_symbols)
		bytes = cr_be64(end - CR_METAS_BYTES_END);
	else
		bytes = n - footer - CR_CHUNK_CRC_BYTES - off; /* may wrap: no fit */
	if (!section_fits(off, bytes, n))
		return cr_chunk_wrong(out, CR_REASON_METAS_RANGE,
				      out->file_bytes - (has_symbols ? CR_METAS_BYTES_END : footer));
	out->metas_off = out->data_off + off;
	out->metas_bytes = bytes;
	if (!has_symbols)
		return CR_REASON_NONE;

	bytes = cr_be64(end - CR_SYMBOLS_BYTES_END);
	off = cr_be64(end - CR_SYMBOLS_OFF_END);
	if (!section_fits(off, bytes, n))
		return cr_chunk_wrong(out, CR_REASON_SYMBOLS_RANGE, out->footer_off);
	out->symbols_off = out->data_off + off;
	out->symbols_bytes = bytes;
	return CR_REASON_NONE;
}

/* Loki allocates for as many blocks as there are said to be; a meta takes a byte at the very
 * least. A count a little too large is left to cr_chunk_blocks(): Loki may drop such blocks. */
enum cr_chunk_reason cr_chunk_metas(const uint8_t *metas, struct cr_chunk *out, uint32_t *crc)
{
	struct cr_reader r;
	uint64_t blocks;

	*crc = cr_crc32c(0, metas, out->metas_bytes);
	if (!cr_crc_follows(metas, out->metas_bytes, *crc))
		return cr_chunk_wrong(out, CR_REASON_METAS_CRC, out->metas_off);
	r = cr_section_start(metas, out->metas_bytes, &blocks);
	/* Loki makes room for all of them (64 bytes each) before it looks, and drops those that the
	 * metas don't describe. A few too many do no harm there, so none here: up to what keeps
	 * that room below four times the data. */
	if ((blocks > (uint64_t)(r.end - r.p) && blocks > out->data_bytes / 16) ||
	    blocks > CR_BLOCKS_MAX)
		return cr_chunk_wrong(out, CR_REASON_METAS_FORMAT, out->metas_off);
	out->blocks = blocks;
	return CR_REASON_NONE;
}

/* Only what is impossible whatever the rest inflates to; whoever inflates it checks the rest. */
enum cr_chunk_reason cr_chunk_symbols(const uint8_t *symbols, struct cr_chunk *out, uint32_t *crc)
{
	struct cr_reader r;

	*crc = cr_crc32c(0, symbols, out->symbols_bytes);
	if (!cr_crc_follows(symbols, out->symbols_bytes, *crc))
		return cr_chunk_wrong(out, CR_REASON_SYMBOLS_CRC, out->symbols_off);
	r = cr_section_start(symbols, out->symbols_bytes, &out->symbols);
	if (out->symbols > SYMBOLS_MAX || (out->symbols && r.p == r.end))
		return cr_chunk_wrong(out, CR_REASON_SYMBOLS_FORMAT, out->symbols_off);
	return CR_REASON_NONE;
}

/* Of a chunk whose data_off and data_bytes are set. */
static enum cr_chunk_reason data_sections(const uint8_t *file, struct cr_chunk *out,
					  struct cr_section_crcs *crcs)
{
	enum cr_chunk_reason reason = cr_chunk_header(file + out->data_off, out);

	if (reason == CR_REASON_NONE)
		reason = cr_chunk_footer(file + out->file_bytes, out);
	if (reason == CR_REASON_NONE)
		reason = cr_chunk_metas(file + out->metas_off, out, &crcs->metas);
	if (reason == CR_REASON_NONE && out->version >= CR_VERSION_SYMBOLS)
		reason = cr_chunk_symbols(file + out->symbols_off, out, &crcs->symbols);
	return reason;
}

enum cr_chunk_reason cr_chunk_sections(const uint8_t *file, size_t file_bytes, struct cr_chunk *out,
				       struct cr_section_crcs *crcs)
{
	enum cr_chunk_reason reason;

	*out = (struct cr_chunk){ .file_bytes = file_bytes };
	*crcs = (struct cr_section_crcs){ 0 };
	reason = cr_chunk_envelope(file, file_bytes, out);
	return reason == CR_REASON_NONE ? data_sections(file, out, crcs) : reason;
}

static uint32_t crc_of_part(void *file, uint64_t off, uint64_t bytes)
{
	return cr_crc32c(0, (const uint8_t *)file + off, bytes);
}

static enum cr_chunk_reason blocks(const void *file, struct cr_chunk *out)
{
	struct cr_block_walk walk = { .crc = crc_of_part, .arg = (void *)(uintptr_t)file };

	return cr_chunk_blocks(file, out, &walk);
}

enum cr_chunk_reason cr_chunk_parse(const void *file, size_t file_bytes, struct cr_chunk *out)
{
	struct cr_section_crcs crcs;
	enum cr_chunk_reason reason = cr_chunk_sections(file, file_bytes, out, &crcs);

	return reason == CR_REASON_NONE ? blocks(file, out) : reason;
}

enum cr_chunk_reason cr_chunk_parse_data(const void *file, size_t file_bytes, uint32_t data_off,
					 struct cr_chunk *out)
{
	struct cr_section_crcs crcs = { 0 };
	enum cr_chunk_reason reason;

	*out = (struct cr_chunk){ .file_bytes = file_bytes };
	if (data_off > file_bytes)
		return cr_chunk_wrong(out, CR_REASON_TRUNCATED, file_bytes);
	out->data_off = data_off;
	out->data_bytes = file_bytes - data_off;
	reason = data_sections(file, out, &crcs);
	return reason == CR_REASON_NONE ? blocks(file, out) : reason;
}

bool cr_chunk_find_data(const void *file, size_t file_bytes, uint32_t *data_off)
{
	const uint8_t *begin = file, *at = NULL;

	if (file_bytes)
		at = memmem(begin, file_bytes, CR_MAGIC_TEXT, CR_MAGIC_BYTES);
	if (!at || at - begin > UINT32_MAX)
		return false;
	*data_off = (uint32_t)(at - begin);
	return true;
}

bool cr_chunk_resembles(const void *file, size_t file_bytes)
{
	uint32_t data_off;

	if (file_bytes >= CR_LENGTH_BYTES + CR_FRAME_STREAM_BYTES &&
	    memcmp((const uint8_t *)file + CR_LENGTH_BYTES, CR_FRAME_STREAM, CR_FRAME_STREAM_BYTES) == 0)
		return true;
	return cr_chunk_find_data(file, file_bytes, &data_off);
}
