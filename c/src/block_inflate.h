/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deflate (RFC 1951) from one buffer into another. All input is hostile.
 *
 * Own code where a good library exists, for one reason: libdeflate 1.14, the fastest, takes what
 * Loki's reader refuses (the two undefined lengths and the two undefined distances, and either bit
 * for a code of one symbol), often with the right bytes and so with the right checksum. This one
 * refuses exactly what Loki's does, at 95 % of its speed.
 */
#ifndef CR_BLOCK_INFLATE_H
#define CR_BLOCK_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CR_INFLATE_LENGTHS      288u /* symbols: 256 bytes, the end, lengths; 2 are undefined */
#define CR_INFLATE_DISTANCES    32u  /* 2 are undefined */
#define CR_INFLATE_LENGTH_LOG   11u  /* codes of up to so many bits are found in one step */
#define CR_INFLATE_DISTANCE_LOG 8u
/* The most entries that any code needs, with those of the second step: zlib's examples/enough.c
 * for 288 symbols, 11 bits, 15 bits, and for 32, 8, 15. The builder checks it all the same. */
#define CR_INFLATE_LENGTH_ENTRIES   2342u
#define CR_INFLATE_DISTANCE_ENTRIES 402u

/* Working memory; zeroed before its first use, then kept from one stream to the next. */
struct cr_inflate {
	uint32_t lengths[CR_INFLATE_LENGTH_ENTRIES];
	uint32_t distances[CR_INFLATE_DISTANCE_ENTRIES];
	uint8_t  code_bits[CR_INFLATE_LENGTHS + CR_INFLATE_DISTANCES]; /* of each symbol's code */
	bool     fixed_loaded; /* the tables are those of the fixed codes */
	bool     portable;     /* for tests: not the loop for BMI2 */
};

enum cr_inflate_status {
	CR_INFLATE_OK = 1,
	CR_INFLATE_BAD,  /* malformed or cut */
	CR_INFLATE_ROOM, /* there is more than fits, if it is not malformed further on */
};

/* One stream. Set src, src_bytes, dst and cap_bytes. */
struct cr_inflate_stream {
	const uint8_t *src;
	size_t         src_bytes;
	uint8_t       *dst;
	size_t         cap_bytes;
	size_t         used_bytes; /* out, if OK: of src; what follows does not belong to the stream */
	size_t         raw_bytes;  /* out, if OK: of dst */
};

/* Inflates a stream. Nothing is written beyond dst + cap_bytes. */
enum cr_inflate_status cr_inflate(struct cr_inflate *state, struct cr_inflate_stream *stream);

#endif
