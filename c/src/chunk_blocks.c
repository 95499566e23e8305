/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks of a chunk: what their metas say, and where they really are.
 *
 * Loki looks for a block where its meta says and then where the block before it ends ("expected"),
 * because some chunks were written with wrong offsets. A block with a wrong checksum in both places
 * is dropped; one that its meta puts outside and that isn't at the other place either fails the
 * chunk. Where both places are the same, the checksum changes nothing for the blocks after it.
 */
#include <errno.h>

#include "chunk_parse.h"

/* A block's meta as it stands in the file: off counts from the data. */
struct block_meta {
	uint64_t entries, off, raw_bytes, bytes;
	int64_t mint_ns, maxt_ns;
};

static void meta_read(struct cr_reader *r, uint8_t version, struct block_meta *m)
{
	m->entries = cr_read_uvarint(r);
	m->mint_ns = cr_read_varint(r);
	m->maxt_ns = cr_read_varint(r);
	m->off = cr_read_uvarint(r);
	m->raw_bytes = version >= CR_VERSION_SIZES ? cr_read_uvarint(r) : 0;
	m->bytes = cr_read_uvarint(r);
}

static struct cr_reader metas_start(const uint8_t *metas, const struct cr_chunk *chunk)
{
	uint64_t blocks;

	return cr_section_start(metas, chunk->metas_bytes, &blocks);
}

/* Where the first block belongs; counts from the data, as all places here do. */
static uint64_t first_place(const struct cr_chunk *chunk)
{
	if (chunk->version < CR_VERSION_SYMBOLS)
		return chunk->body_off - chunk->data_off;
	return chunk->symbols_off - chunk->data_off + chunk->symbols_bytes + CR_CHUNK_CRC_BYTES;
}

/* ---- Where a block is ---- */

enum place {
	PLACE_GOOD,
	PLACE_BAD_CRC,
	PLACE_OUTSIDE, /* Loki says so */
	PLACE_CRC_CUT, /* the block is inside, its CRC is not: Loki panics */
};

static enum place look_at(const uint8_t *file, const struct cr_chunk *chunk,
			  struct cr_block_walk *walk, uint64_t off, uint64_t bytes, bool need_crc)
{
	if (off > chunk->data_bytes || bytes > chunk->data_bytes - off)
		return PLACE_OUTSIDE;
	if (CR_CHUNK_CRC_BYTES > chunk->data_bytes - off - bytes)
		return PLACE_CRC_CUT;
	off += chunk->data_off;
	if (!need_crc || cr_crc_follows(file + off, bytes, walk->crc(walk->arg, off, bytes)))
		return PLACE_GOOD;
	return PLACE_BAD_CRC;
}

/* Loki's search. CR_BLOCK_UNKNOWN: it fails the chunk. Without need_crc a block where it belongs is
 * taken for good. */
static enum cr_block_state find(const uint8_t *file, const struct cr_chunk *chunk,
				struct cr_block_walk *walk, const struct block_meta *m, uint64_t expected,
				bool need_crc)
{
	enum place said = look_at(file, chunk, walk, m->off, m->bytes,
				  need_crc || m->off != expected);
	enum place other = said;

	if (said == PLACE_GOOD)
		return CR_BLOCK_RECORDED;
	if (said != PLACE_CRC_CUT && m->off != expected)
		other = look_at(file, chunk, walk, expected, m->bytes, true);
	if (other == PLACE_CRC_CUT || (said == PLACE_OUTSIDE && other != PLACE_GOOD))
		return CR_BLOCK_UNKNOWN;
	return other == PLACE_GOOD ? CR_BLOCK_MOVED : CR_BLOCK_BAD;
}

/* Where the block after it belongs. */
static uint64_t next_place(const struct block_meta *m, enum cr_block_state state, uint64_t expected)
{
	return (state == CR_BLOCK_RECORDED ? m->off : expected) + m->bytes + CR_CHUNK_CRC_BYTES;
}

/* ---- Whether Loki could load them all ---- */

/*
 * Blocks that follow each other can't be longer than the data. Before others are looked for, this
 * makes sure of it: no writer makes such a chunk, Loki would read it, and without our refusal a
 * small file could ask for gigabytes of checksums.
 */
static enum cr_chunk_reason check_sum(const uint8_t *file, const struct cr_chunk *chunk)
{
	struct cr_reader r = metas_start(file + chunk->metas_off, chunk);
	uint64_t i, left = chunk->data_bytes;
	struct block_meta m;

	for (i = 0; i < chunk->blocks; i++) {
		meta_read(&r, chunk->version, &m);
		if (m.bytes > chunk->data_bytes)
			return CR_REASON_BLOCK_RANGE;
		if (m.bytes + CR_CHUNK_CRC_BYTES > left)
			return CR_REASON_BLOCK_OVERLAP;
		left -= m.bytes + CR_CHUNK_CRC_BYTES;
	}
	return CR_REASON_NONE;
}

/*
 * Loki holds off, bytes and their sum in an int. Where one is negative it panics or fails, even if
 * the block is at the other place.
 *
 * Metas that end early give blocks of zeros. Loki drops those, and notices the malformed number
 * only after a block that is good.
 */
static enum cr_chunk_reason check_blocks(const uint8_t *file, const struct cr_chunk *chunk,
					 struct cr_block_walk *walk)
{
	struct cr_reader r = metas_start(file + chunk->metas_off, chunk);
	uint64_t i, expected = first_place(chunk);
	enum cr_chunk_reason reason;
	enum cr_block_state state;
	bool summed = false;
	struct block_meta m;

	for (i = 0; i < chunk->blocks; i++) {
		meta_read(&r, chunk->version, &m);
		if (m.off > INT64_MAX || m.bytes > INT64_MAX - m.off)
			return CR_REASON_BLOCK_RANGE;
		if (m.off != expected && !summed) {
			reason = check_sum(file, chunk);
			if (reason != CR_REASON_NONE)
				return reason;
			summed = true;
		}
		state = find(file, chunk, walk, &m, expected, walk->every_block || r.bad);
		if (state == CR_BLOCK_UNKNOWN)
			return CR_REASON_BLOCK_RANGE;
		if (r.bad && state != CR_BLOCK_BAD)
			return CR_REASON_METAS_FORMAT;
		walk->good += state == CR_BLOCK_RECORDED;
		walk->moved += state == CR_BLOCK_MOVED;
		walk->bad += state == CR_BLOCK_BAD;
		expected = next_place(&m, state, expected);
	}
	return CR_REASON_NONE;
}

enum cr_chunk_reason cr_chunk_blocks(const uint8_t *file, struct cr_chunk *chunk,
				     struct cr_block_walk *walk)
{
	enum cr_chunk_reason reason = check_blocks(file, chunk, walk);

	return reason == CR_REASON_NONE ? reason : cr_chunk_wrong(chunk, reason, chunk->metas_off);
}

/* ---- One block after the other ---- */

static int next_meta(const uint8_t *metas, const struct cr_chunk *chunk, struct cr_block_cursor *c,
		     struct block_meta *m)
{
	struct cr_reader r;

	if (c->blocks >= chunk->blocks)
		return 0;
	if (c->metas_bytes > chunk->metas_bytes)
		return -EBADMSG;
	if (c->blocks == 0) {
		r = metas_start(metas, chunk);
		c->expected = first_place(chunk);
	} else {
		r = (struct cr_reader){ .p = metas + c->metas_bytes,
					.end = metas + chunk->metas_bytes };
	}
	meta_read(&r, chunk->version, m);
	if (r.bad || m->off > INT64_MAX || m->bytes > INT64_MAX)
		return -EBADMSG;
	c->blocks++;
	c->metas_bytes = (uint64_t)(r.p - metas);
	return 1;
}

static struct cr_block as_recorded(const struct cr_chunk *chunk, const struct block_meta *m)
{
	return (struct cr_block){
		.off = chunk->data_off + m->off,
		.found_off = chunk->data_off + m->off,
		.bytes = m->bytes,
		.entries = m->entries,
		.uncompressed_bytes = m->raw_bytes,
		.mint_ns = m->mint_ns,
		.maxt_ns = m->maxt_ns,
	};
}

int cr_chunk_meta_next(const void *metas, const struct cr_chunk *chunk,
		       struct cr_block_cursor *cursor, struct cr_block *out)
{
	struct block_meta m;
	int more = next_meta(metas, chunk, cursor, &m);

	if (more > 0)
		*out = as_recorded(chunk, &m);
	return more;
}

static uint32_t crc_of_part(void *file, uint64_t off, uint64_t bytes)
{
	return cr_crc32c(0, (const uint8_t *)file + off, bytes);
}

int cr_chunk_block_next(const void *file, const struct cr_chunk *chunk,
			struct cr_block_cursor *cursor, struct cr_block *out)
{
	struct cr_block_walk walk = { .crc = crc_of_part, .arg = (void *)(uintptr_t)file };
	enum cr_block_state state;
	struct block_meta m;
	int more = next_meta((const uint8_t *)file + chunk->metas_off, chunk, cursor, &m);

	if (more <= 0)
		return more;
	*out = as_recorded(chunk, &m);
	state = find(file, chunk, &walk, &m, cursor->expected, true);
	out->state = state == CR_BLOCK_UNKNOWN ? CR_BLOCK_BAD : state;
	if (state == CR_BLOCK_MOVED)
		out->found_off = chunk->data_off + cursor->expected;
	cursor->expected = next_place(&m, state, cursor->expected);
	return 1;
}
