/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes sound chunk files of any size, as Loki lays them out; test_chunk_parse.c makes what no writer does. Of the
 * codecs only the first bytes are right unless put_bytes says more: enough of who does not decompress.
 */
#ifndef CR_TEST_CHUNK_BUILD_H
#define CR_TEST_CHUNK_BUILD_H

#include "codec_sniff.h"
#include "snappy_build.h"

#define CHUNK_NS INT64_C(1700000000000000000) /* of the first entry; each block lasts 100 ns */

struct chunk_spec {
	uint8_t  version, codec;
	uint32_t blocks;
	uint32_t (*block_bytes)(const struct chunk_spec *s, uint32_t i); /* NULL: block_bytes_each */
	uint32_t block_bytes_each;
	void   (*put_bytes)(struct buf *b, const struct chunk_spec *s, uint32_t i, uint32_t n); /* NULL: noise */
	uint32_t symbols_bytes; /* compressed */
	uint32_t json_bytes;    /* of padding in the JSON */
	uint64_t seed;          /* of noise */
};

static inline int64_t chunk_mint(uint32_t i)
{
	return CHUNK_NS + 100 * (int64_t)i;
}

static inline void put_begin(struct buf *b, uint8_t codec, uint32_t block)
{
	switch (codec) {
	case CR_CODEC_NONE:   put_varint(b, chunk_mint(block) + 1); break;
	case CR_CODEC_GZIP:   put(b, "\x1f\x8b\x08", 3); break;
	case CR_CODEC_SNAPPY: put(b, "\xff\x06\x00\x00sNaPpY", 10); break;
	case CR_CODEC_ZSTD:   put_be(b, 0x28b52ffd, 4); break;
	case CR_CODEC_FLATE:  put_u8(b, 5); break;
	default:              put_be(b, 0x04224d18, 4); break;
	}
}

static inline void put_noise(struct buf *b, uint64_t seed, size_t end)
{
	uint64_t random = seed * 2 + 1;

	while (b->n < end)
		put_be(b, next_random(&random), end - b->n < 8 ? (unsigned int)(end - b->n) : 8);
}

static inline void put_section_crc(struct buf *b, size_t off)
{
	put_be(b, cr_crc32c(0, b->p + off, b->n - off), 4);
}

static inline void put_word(struct buf *b, size_t at, uint64_t x)
{
	for (unsigned int i = 0; i < 4; i++)
		b->p[at + i] = (uint8_t)(x >> (24 - 8 * i));
}

static inline void put_json_frames(struct buf *b, uint32_t padding)
{
	static const char json[] = "{\"fingerprint\":5,\"userID\":\"tenant\",\"from\":1.5,\"through\":2.5,"
				   "\"metric\":{\"__name__\":\"logs\",\"app\":\"app\"},\"encoding\":129}";
	struct buf text = { 0 };

	put(&text, json, sizeof(json) - 2);
	for (uint32_t i = 0; i < padding; i++)
		put_u8(&text, ' ');
	put(&text, "}\n", 2);
	put_be(b, 0, 4);
	put_stream_frame(b);
	put_frame(b, false, text.p, text.n); /* stored: padding takes room */
	put_word(b, 0, b->n);
	free(text.p);
}

/* Where the parts are, in the file. */
struct chunk_made {
	struct buf b;
	size_t     data_off, symbols_off, symbols_bytes, blocks_off, metas_off, metas_bytes;
};

static inline void put_blocks_of(struct chunk_made *m, const struct chunk_spec *s, uint32_t *sizes)
{
	struct buf *b = &m->b;

	m->blocks_off = b->n;
	for (uint32_t i = 0; i < s->blocks; i++) {
		size_t off = b->n;
		uint32_t n = s->block_bytes ? s->block_bytes(s, i) : s->block_bytes_each;

		if (s->put_bytes) {
			s->put_bytes(b, s, i, n);
		} else {
			put_begin(b, s->codec, i);
			put_noise(b, s->seed + i, off + n);
		}
		sizes[i] = (uint32_t)(b->n - off);
		put_section_crc(b, off);
	}
}

static inline void put_metas_of(struct chunk_made *m, const struct chunk_spec *s, const uint32_t *sizes)
{
	size_t off = m->blocks_off - m->data_off;
	struct buf *b = &m->b;

	m->metas_off = b->n;
	put_uvarint(b, s->blocks);
	for (uint32_t i = 0; i < s->blocks; i++) {
		put_uvarint(b, 10 + i);
		put_varint(b, chunk_mint(i));
		put_varint(b, chunk_mint(i) + 99);
		put_uvarint(b, off);
		if (s->version >= 3)
			put_uvarint(b, 4ull * sizes[i]);
		put_uvarint(b, sizes[i]);
		off += sizes[i] + 4;
	}
	m->metas_bytes = b->n - m->metas_off;
	put_section_crc(b, m->metas_off);
}

/* Free m->b.p. */
static inline void make_chunk(struct chunk_made *m, const struct chunk_spec *s)
{
	uint32_t *sizes = calloc(s->blocks + 1ul, sizeof(*sizes));
	struct buf *b = &m->b;

	if (!sizes)
		abort();
	*m = (struct chunk_made){ 0 };
	put_json_frames(b, s->json_bytes);
	put_be(b, 0, 4);
	m->data_off = b->n;
	put_be(b, 0x012ee56a, 4);
	put_u8(b, s->version);
	if (s->version >= 2)
		put_u8(b, s->codec);
	if (s->version >= 4) {
		m->symbols_off = b->n;
		put_uvarint(b, 1);
		put_begin(b, s->codec, 0);
		put_noise(b, s->seed + 1000, m->symbols_off + s->symbols_bytes);
		m->symbols_bytes = b->n - m->symbols_off;
		put_section_crc(b, m->symbols_off);
	}
	put_blocks_of(m, s, sizes);
	put_metas_of(m, s, sizes);
	if (s->version >= 4) {
		put_be(b, m->symbols_bytes, 8);
		put_be(b, m->symbols_off - m->data_off, 8);
		put_be(b, m->metas_bytes, 8);
	}
	put_be(b, m->metas_off - m->data_off, 8);
	put_word(b, m->data_off - 4, b->n - m->data_off);
	free(sizes);
}

#endif
