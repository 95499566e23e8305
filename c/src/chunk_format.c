/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk file: envelope, footer, block metas.
 *
 *	u32 metadata length | snappy frames of JSON | u32 data length | MemChunk
 *	MemChunk: header | structured metadata (v4) | blocks | block metas | footer
 *
 * All numbers are big-endian or varints. The rule for every decision here: what stock Loki 3.7
 * decodes is accepted; what would make it panic, loop or allocate absurdly is refused. So the
 * oddities below (sticky errors, blocks looked for in two places) are Loki's, followed on purpose.
 * Offsets inside a MemChunk count from its start ("data") and become file offsets in struct
 * cr_chunk.
 */
#include "chunk_format.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "snappy_frame.h"

#define LENGTH_BYTES      4u
#define CRC_BYTES         4u
#define MAGIC             0x012ee56au
#define FOOTER_BYTES      8u  /* versions 1-3: where the metas are; their CRC is before it */
#define FOOTER_V4_BYTES   32u /* length and offset of the structured metadata, then of the metas */
#define VERSION_MAX       4u
#define CODEC_GZIP        1u
#define CODECS            0x3fbu /* bit n: Loki has codec n (0 none .. 9 zstd; 2 never existed) */
#define SYMBOLS_MAX       (UINT64_C(1) << 32) /* symbols are numbered by uint32 */

static const struct {
	const char *name, *text;
} reasons[] = {
	[CR_REASON_NONE]           = { "none", "nothing is wrong with it" },
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
static bool goes_on_too_far(struct cr_frame_walk walk, uint64_t file_bytes)
{
	enum cr_frame_status status;

	walk.src_bytes = file_bytes;
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
static enum cr_chunk_reason parse_envelope(const uint8_t *file, uint64_t n, struct cr_chunk *out)
{
	struct cr_frame_walk walk = {
		.src = file, .pos = LENGTH_BYTES, .raw_bytes_max = CR_META_BYTES_MAX,
	};
	enum cr_frame_status status;
	uint64_t meta_bytes;

	if (n < LENGTH_BYTES)
		return CR_REASON_TRUNCATED;
	meta_bytes = cr_be32(file);
	walk.src_bytes = meta_bytes + LENGTH_BYTES; /* with the data length, or legacy */
	if (n < walk.src_bytes)
		return CR_REASON_TRUNCATED;
	do {
		status = cr_frame_next(&walk);
		if (status != CR_FRAME_OK)
			return frame_reason(status);
	} while (walk.pos != meta_bytes && walk.pos != walk.src_bytes);

	if (goes_on_too_far(walk, n))
		return CR_REASON_META_TOO_BIG;
	if (walk.pos > UINT32_MAX - LENGTH_BYTES)
		return CR_REASON_META_LENGTH; /* data_off has no room for it: 4 GiB of metadata */
	if (n - walk.pos < LENGTH_BYTES)
		return CR_REASON_TRUNCATED;
	out->frames_off = LENGTH_BYTES;
	out->frames_bytes = (uint32_t)(walk.pos - LENGTH_BYTES);
	out->json_bytes = (uint32_t)walk.raw_bytes;
	if (cr_be32(file + walk.pos) != n - walk.pos - LENGTH_BYTES)
		return CR_REASON_DATA_LENGTH;
	out->data_off = (uint32_t)walk.pos + LENGTH_BYTES;
	out->data_bytes = n - out->data_off;
	return CR_REASON_NONE;
}

/* Magic, version and, from version 2 on, codec. */
static uint64_t header_bytes(uint8_t version)
{
	return version == 1 ? 5 : 6;
}

/* Loki decodes versions 2 and 3 with a codec that it doesn't have, then panics when it iterates:
 * hence the check for all. */
static enum cr_chunk_reason parse_header(const uint8_t *data, uint64_t n, struct cr_chunk *out)
{
	if (n < header_bytes(1))
		return CR_REASON_TRUNCATED;
	if (cr_be32(data) != MAGIC)
		return CR_REASON_MAGIC;
	out->version = data[4];
	if (out->version < 1 || out->version > VERSION_MAX)
		return CR_REASON_VERSION;
	if (n < header_bytes(out->version))
		return CR_REASON_TRUNCATED;
	out->codec = out->version == 1 ? CODEC_GZIP : data[5];
	if (out->codec > 9 || !(CODECS >> out->codec & 1))
		return CR_REASON_CODEC;
	return CR_REASON_NONE;
}

/* A section and the CRC after it within n bytes. */
static bool section_fits(uint64_t off, uint64_t bytes, uint64_t n)
{
	return off <= n && bytes <= n - off && CRC_BYTES <= n - off - bytes;
}

/* Loki lets sections lie anywhere in the data, even over each other: so do we. */
static enum cr_chunk_reason parse_footer(const uint8_t *data, uint64_t n, struct cr_chunk *out)
{
	uint64_t off, bytes;

	if (n < (out->version == 4 ? FOOTER_V4_BYTES : FOOTER_BYTES + CRC_BYTES))
		return CR_REASON_TRUNCATED;
	off = cr_be64(data + n - 8);
	if (out->version == 4)
		bytes = cr_be64(data + n - 16);
	else
		bytes = n - FOOTER_BYTES - CRC_BYTES - off; /* may wrap: no fit */
	if (!section_fits(off, bytes, n))
		return CR_REASON_METAS_RANGE;
	out->metas_off = out->data_off + off;
	out->metas_bytes = bytes;
	if (out->version < 4)
		return CR_REASON_NONE;

	bytes = cr_be64(data + n - 32);
	off = cr_be64(data + n - 24);
	if (!section_fits(off, bytes, n))
		return CR_REASON_SYMBOLS_RANGE;
	out->symbols_off = out->data_off + off;
	out->symbols_bytes = bytes;
	return CR_REASON_NONE;
}

/* Compares the CRC that follows a part of the file. */
static bool crc_follows(const uint8_t *file, uint64_t off, uint64_t bytes, uint32_t crc)
{
	return crc == cr_be32(file + off + bytes);
}

/* Where the section's number is malformed, Loki takes 0 and goes on. */
static struct cr_reader section_start(const uint8_t *file, uint64_t off, uint64_t bytes,
				      uint64_t *number)
{
	struct cr_reader r = { .p = file + off, .end = file + off + bytes };

	*number = cr_read_uvarint(&r);
	return r;
}

/* Loki allocates for as many blocks as there are said to be; a meta takes a byte at the very
 * least. A count a little too large is left to cr_chunk_blocks(): Loki may drop such blocks. */
static enum cr_chunk_reason parse_metas(const uint8_t *file, struct cr_chunk *out, uint32_t *crc)
{
	struct cr_reader r;
	uint64_t blocks;

	*crc = cr_crc32c(0, file + out->metas_off, out->metas_bytes);
	if (!crc_follows(file, out->metas_off, out->metas_bytes, *crc))
		return CR_REASON_METAS_CRC;
	r = section_start(file, out->metas_off, out->metas_bytes, &blocks);
	/* Loki makes room for all of them (64 bytes each) before it looks, and drops those that the
	 * metas don't describe. A few too many do no harm there, so none here: up to what keeps
	 * that room below four times the data. */
	if (blocks > (uint64_t)(r.end - r.p) && blocks > out->data_bytes / 16)
		return CR_REASON_METAS_FORMAT;
	if (blocks > CR_BLOCKS_MAX)
		return CR_REASON_METAS_FORMAT;
	out->blocks = blocks;
	return CR_REASON_NONE;
}

/* Only what is impossible whatever the rest inflates to; whoever inflates it checks the rest. */
static enum cr_chunk_reason parse_symbols(const uint8_t *file, struct cr_chunk *out, uint32_t *crc)
{
	struct cr_reader r;

	*crc = cr_crc32c(0, file + out->symbols_off, out->symbols_bytes);
	if (!crc_follows(file, out->symbols_off, out->symbols_bytes, *crc))
		return CR_REASON_SYMBOLS_CRC;
	r = section_start(file, out->symbols_off, out->symbols_bytes, &out->symbols);
	if (out->symbols > SYMBOLS_MAX || (out->symbols && r.p == r.end))
		return CR_REASON_SYMBOLS_FORMAT;
	return CR_REASON_NONE;
}

enum cr_chunk_reason cr_chunk_sections(const uint8_t *file, size_t file_bytes, struct cr_chunk *out,
				       struct cr_section_crcs *crcs)
{
	enum cr_chunk_reason reason;

	*out = (struct cr_chunk){ .file_bytes = file_bytes };
	*crcs = (struct cr_section_crcs){ 0 };
	reason = parse_envelope(file, file_bytes, out);
	if (reason == CR_REASON_NONE)
		reason = parse_header(file + out->data_off, out->data_bytes, out);
	if (reason == CR_REASON_NONE)
		reason = parse_footer(file + out->data_off, out->data_bytes, out);
	if (reason == CR_REASON_NONE)
		reason = parse_metas(file, out, &crcs->metas);
	if (reason == CR_REASON_NONE && out->version == 4)
		reason = parse_symbols(file, out, &crcs->symbols);
	return reason;
}

/* A block's meta as it stands in the file: off counts from the data. */
struct meta {
	uint64_t entries, off, raw_bytes, bytes;
	int64_t mint_ns, maxt_ns;
};

static void meta_read(struct cr_reader *r, uint8_t version, struct meta *m)
{
	m->entries = cr_read_uvarint(r);
	m->mint_ns = cr_read_varint(r);
	m->maxt_ns = cr_read_varint(r);
	m->off = cr_read_uvarint(r);
	m->raw_bytes = version >= 3 ? cr_read_uvarint(r) : 0;
	m->bytes = cr_read_uvarint(r);
}

/*
 * Blocks that follow each other can't be longer than the data. Before others are looked for, this
 * makes sure of it: no writer makes such a chunk, Loki would read it, and without our refusal a
 * small file could ask for gigabytes of checksums.
 */
static enum cr_chunk_reason check_sum(const uint8_t *file, const struct cr_chunk *chunk)
{
	uint64_t i, blocks, left = chunk->data_bytes;
	struct cr_reader r = section_start(file, chunk->metas_off, chunk->metas_bytes, &blocks);
	struct meta m;

	for (i = 0; i < chunk->blocks; i++) {
		meta_read(&r, chunk->version, &m);
		if (m.bytes > chunk->data_bytes)
			return CR_REASON_BLOCK_RANGE;
		if (m.bytes + CRC_BYTES > left)
			return CR_REASON_BLOCK_OVERLAP;
		left -= m.bytes + CRC_BYTES;
	}
	return CR_REASON_NONE;
}

enum place {
	PLACE_GOOD,
	PLACE_BAD_CRC,
	PLACE_OUTSIDE, /* Loki says so */
	PLACE_CRC_CUT, /* the block is inside, its CRC is not: Loki panics */
};

/* What Loki finds at off. off + bytes is at most INT64_MAX. */
static enum place look_at(const uint8_t *file, const struct cr_chunk *chunk,
			  struct cr_block_walk *walk, uint64_t off, uint64_t bytes, bool need_crc)
{
	if (off + bytes > chunk->data_bytes)
		return PLACE_OUTSIDE;
	if (off + bytes + CRC_BYTES > chunk->data_bytes)
		return PLACE_CRC_CUT;
	off += chunk->data_off;
	if (!need_crc || crc_follows(file, off, bytes, walk->crc(walk->arg, off, bytes)))
		return PLACE_GOOD;
	return PLACE_BAD_CRC;
}

/*
 * Loki looks for a block where its meta says and then where the block before it ends ("expected"),
 * because some chunks were written with wrong offsets. A block with a wrong checksum in both places
 * is dropped; one that its meta puts outside and that isn't at the other place either fails the
 * chunk. Where both places are the same, the checksum changes nothing for the blocks after it.
 *
 * Loki holds off, bytes and their sum in an int. Where one is negative it panics or fails, even if
 * the block is at the other place.
 *
 * Metas that end early give blocks of zeros. Loki drops those, and notices the malformed number
 * only after a block that is good.
 */
enum cr_chunk_reason cr_chunk_blocks(const uint8_t *file, const struct cr_chunk *chunk,
				     struct cr_block_walk *walk)
{
	uint64_t i, blocks, expected = header_bytes(chunk->version);
	struct cr_reader r = section_start(file, chunk->metas_off, chunk->metas_bytes, &blocks);
	enum cr_chunk_reason reason;
	enum place said, other;
	bool summed = false;
	struct meta m;

	if (chunk->version == 4)
		expected = chunk->symbols_off - chunk->data_off + chunk->symbols_bytes + CRC_BYTES;
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
		said = look_at(file, chunk, walk, m.off, m.bytes,
			       walk->every_block || r.bad || m.off != expected);
		other = said;
		if (said != PLACE_GOOD && said != PLACE_CRC_CUT && m.off != expected)
			other = look_at(file, chunk, walk, expected, m.bytes, true);
		if (other == PLACE_CRC_CUT || (said == PLACE_OUTSIDE && other != PLACE_GOOD))
			return CR_REASON_BLOCK_RANGE;
		if (other != PLACE_GOOD) {
			walk->bad++;
			expected += m.bytes + CRC_BYTES;
			continue;
		}
		if (r.bad)
			return CR_REASON_METAS_FORMAT;
		if (said == PLACE_GOOD) {
			walk->good++;
			expected = m.off;
		} else {
			walk->moved++;
		}
		expected += m.bytes + CRC_BYTES;
	}
	return CR_REASON_NONE;
}

static uint32_t crc_of_part(void *file, uint64_t off, uint64_t bytes)
{
	return cr_crc32c(0, (const uint8_t *)file + off, bytes);
}

enum cr_chunk_reason cr_chunk_parse(const void *file, size_t file_bytes, struct cr_chunk *out)
{
	struct cr_block_walk walk = { .crc = crc_of_part, .arg = (void *)(uintptr_t)file };
	enum cr_chunk_reason reason;
	struct cr_section_crcs crcs;

	reason = cr_chunk_sections(file, file_bytes, out, &crcs);
	return reason == CR_REASON_NONE ? cr_chunk_blocks(file, out, &walk) : reason;
}

/* The cursor is the number of blocks done and, in its low half, the bytes of the metas done: both
 * are below 2^32, because the data length is. */
int cr_chunk_block_next(const void *file, const struct cr_chunk *chunk, uint64_t *cursor,
			struct cr_block *out)
{
	uint64_t done = *cursor >> 32, off = *cursor & UINT32_MAX, blocks;
	const uint8_t *metas;
	struct cr_reader r;
	struct meta m;

	if (done >= chunk->blocks)
		return 0;
	if (off > chunk->metas_bytes)
		return -EBADMSG;
	metas = (const uint8_t *)file + chunk->metas_off;
	if (done == 0)
		r = section_start(file, chunk->metas_off, chunk->metas_bytes, &blocks);
	else
		r = (struct cr_reader){ .p = metas + off, .end = metas + chunk->metas_bytes };
	meta_read(&r, chunk->version, &m);
	if (r.bad || m.off > INT64_MAX || m.bytes > INT64_MAX)
		return -EBADMSG;
	*out = (struct cr_block){
		.off = chunk->data_off + m.off,
		.bytes = m.bytes,
		.entries = m.entries,
		.uncompressed_bytes = m.raw_bytes,
		.mint_ns = m.mint_ns,
		.maxt_ns = m.maxt_ns,
	};
	*cursor = (done + 1) << 32 | (uint64_t)(r.p - metas);
	return 1;
}

int cr_chunk_json(const void *file, const struct cr_chunk *chunk, void *out, size_t cap_bytes)
{
	struct cr_frame_walk walk = {
		.src = (const uint8_t *)file + chunk->frames_off,
		.src_bytes = chunk->frames_bytes,
		.out = out,
		.raw_bytes_max = chunk->json_bytes,
	};

	if (cap_bytes < chunk->json_bytes)
		return -ENOSPC;
	while (walk.pos < walk.src_bytes) {
		if (cr_frame_next(&walk) != CR_FRAME_OK)
			return -EBADMSG;
	}
	return walk.raw_bytes == chunk->json_bytes ? 0 : -EBADMSG;
}
