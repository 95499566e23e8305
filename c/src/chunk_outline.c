/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk from the two ends of its file: the metadata is at its start, the structured metadata behind
 * that, the block metas and the footer at its end. The blocks between them are not looked at, so this
 * takes only chunks whose parts follow each other without a hole, as all writers of Loki's make them:
 * there every number is said twice, and cr_chunk_parse() would look at no block either.
 */
#include "chunk_parse.h"
#include "snappy_frame.h"

#define HEADER_BYTES_MAX (CR_CODEC_OFF + 1u)

static uint32_t more_head(struct cr_ends *ends, uint64_t need)
{
	ends->head_bytes = need < ends->file_bytes ? need : ends->file_bytes;
	return CR_ENDS_MORE;
}

static uint32_t more_tail(struct cr_ends *ends, uint64_t need)
{
	ends->tail_bytes = need < ends->file_bytes ? need : ends->file_bytes;
	return CR_ENDS_MORE;
}

/* The metadata and the header. */
static uint32_t take_head(struct cr_ends *ends, struct cr_chunk *out)
{
	const uint8_t *head = ends->head;
	uint64_t need;

	if (ends->file_bytes < CR_LENGTH_BYTES)
		return CR_ENDS_WHOLE;
	if (ends->head_bytes < CR_LENGTH_BYTES)
		return more_head(ends, CR_ENDS_BYTES);
	need = (uint64_t)cr_be32(head) + 2 * CR_LENGTH_BYTES + HEADER_BYTES_MAX;
	if (need > ends->file_bytes)
		return CR_ENDS_WHOLE;
	if (need > ends->head_bytes)
		return more_head(ends, need);
	if (cr_chunk_envelope(head, ends->head_bytes, out) != CR_REASON_NONE ||
	    cr_chunk_header(head + out->data_off, out) != CR_REASON_NONE)
		return CR_ENDS_WHOLE;
	return CR_ENDS_OK;
}

/* cr_chunk_envelope() looks whether frames go on into the data. The first of them, which in a sound chunk
 * is none, must be there to tell. */
static uint32_t frames_end(struct cr_ends *ends, const struct cr_chunk *out)
{
	struct cr_frame_walk walk = {
		.src = ends->head, .src_bytes = ends->head_bytes, .raw_bytes_max = CR_META_BYTES_MAX,
		.pos = out->data_off - CR_LENGTH_BYTES, .started = true,
	};

	switch (cr_frame_next(&walk)) {
	case CR_FRAME_OK:
	case CR_FRAME_TOO_BIG:
		return CR_ENDS_WHOLE;
	case CR_FRAME_SHORT:
		if (ends->head_bytes == ends->file_bytes)
			break;
		return more_head(ends, walk.pos + CR_FRAME_HEADER_BYTES + CR_FRAME_BODY_BYTES_MAX);
	case CR_FRAME_BAD:
	case CR_FRAME_BAD_CRC:
		break;
	}
	return CR_ENDS_OK;
}

/* The structured metadata, which the footer says where to find. */
static uint32_t take_symbols(struct cr_ends *ends, struct cr_chunk *out)
{
	uint64_t need = out->symbols_off + out->symbols_bytes + CR_CHUNK_CRC_BYTES;
	uint32_t crc;

	if (out->symbols_off != out->body_off)
		return CR_ENDS_WHOLE;
	if (need > ends->head_bytes)
		return more_head(ends, need);
	return cr_chunk_symbols((const uint8_t *)ends->head + out->symbols_off, out, &crc) ==
			CR_REASON_NONE ? CR_ENDS_OK : CR_ENDS_WHOLE;
}

/* Whether the blocks fill what is between the parts in front of them and the metas. */
static bool blocks_fit(const uint8_t *metas, const struct cr_chunk *chunk, uint64_t at)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;
	int more;

	while ((more = cr_chunk_meta_next(metas, chunk, &cursor, &b)) > 0) {
		if (b.off != at || b.bytes > chunk->metas_off - at ||
		    CR_CHUNK_CRC_BYTES > chunk->metas_off - at - b.bytes)
			return false;
		at += b.bytes + CR_CHUNK_CRC_BYTES;
	}
	return more == 0 && at == chunk->metas_off;
}

static uint32_t take_metas(struct cr_ends *ends, struct cr_chunk *out, uint64_t blocks_off)
{
	uint64_t from_end = out->file_bytes - out->metas_off;
	const uint8_t *metas;
	uint32_t crc;

	if (out->metas_off < blocks_off ||
	    out->metas_off + out->metas_bytes + CR_CHUNK_CRC_BYTES != out->footer_off)
		return CR_ENDS_WHOLE;
	if (from_end > ends->tail_bytes)
		return more_tail(ends, from_end);
	metas = (const uint8_t *)ends->tail + (ends->tail_bytes - from_end);
	if (cr_chunk_metas(metas, out, &crc) != CR_REASON_NONE || !blocks_fit(metas, out, blocks_off))
		return CR_ENDS_WHOLE;
	return CR_ENDS_OK;
}

uint32_t cr_chunk_outline(struct cr_ends *ends, struct cr_chunk *out)
{
	uint32_t status;

	*out = (struct cr_chunk){ .file_bytes = ends->file_bytes };
	status = take_head(ends, out);
	if (status == CR_ENDS_OK)
		status = frames_end(ends, out);
	if (status != CR_ENDS_OK)
		return status;
	if (ends->tail_bytes < CR_SYMBOLS_BYTES_END && ends->tail_bytes < ends->file_bytes)
		return more_tail(ends, CR_ENDS_BYTES);
	if (cr_chunk_footer((const uint8_t *)ends->tail + ends->tail_bytes, out) != CR_REASON_NONE)
		return CR_ENDS_WHOLE;
	if (out->version < CR_VERSION_SYMBOLS)
		return take_metas(ends, out, out->body_off);
	status = take_symbols(ends, out);
	return status != CR_ENDS_OK ? status :
	       take_metas(ends, out, out->symbols_off + out->symbols_bytes + CR_CHUNK_CRC_BYTES);
}
