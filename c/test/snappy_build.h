/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes what the tests of snappy frames and chunk files read: a growing buffer, numbers, snappy
 * blocks and frames. Slow and simple on purpose; running out of memory ends the test program.
 */
#ifndef CR_TEST_SNAPPY_BUILD_H
#define CR_TEST_SNAPPY_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chunkring.h"

struct buf {
	uint8_t *p;
	size_t n, cap;
};

static inline void put(struct buf *b, const void *p, size_t n)
{
	if (b->n + n > b->cap) {
		b->cap = 2 * (b->n + n) + 64;
		b->p = realloc(b->p, b->cap);
		if (!b->p)
			abort();
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static inline void put_u8(struct buf *b, uint64_t x)
{
	uint8_t byte = (uint8_t)x;

	put(b, &byte, 1);
}

static inline void put_le(struct buf *b, uint64_t x, unsigned int bytes)
{
	for (; bytes; bytes--, x >>= 8)
		put_u8(b, x);
}

static inline void put_be(struct buf *b, uint64_t x, unsigned int bytes)
{
	while (bytes--)
		put_u8(b, x >> (8 * bytes));
}

static inline void put_uvarint(struct buf *b, uint64_t x)
{
	for (; x >= 0x80; x >>= 7)
		put_u8(b, x | 0x80);
	put_u8(b, x);
}

static inline void put_varint(struct buf *b, int64_t x)
{
	put_uvarint(b, x < 0 ? ~((uint64_t)x << 1) : (uint64_t)x << 1);
}

/* head_bytes (1..5) is the form of the length; 0 picks the shortest. */
static inline void put_literal(struct buf *b, const uint8_t *p, size_t n, unsigned int head_bytes)
{
	size_t code = n - 1;

	if (head_bytes == 0)
		head_bytes = code < 60 ? 1 : code < 256 ? 2 : code < 65536 ? 3 : 4;
	if (head_bytes == 1) {
		put_u8(b, code << 2);
	} else {
		put_u8(b, (58 + head_bytes) << 2);
		put_le(b, code, head_bytes - 1);
	}
	put(b, p, n);
}

/* form 1: 4..11 bytes within 2047; 2: 1..64 bytes within 65535; 3: 1..64 bytes. */
static inline void put_copy(struct buf *b, size_t n, size_t distance, unsigned int form)
{
	if (form == 1) {
		put_u8(b, 1 | (n - 4) << 2 | distance >> 8 << 5);
		put_u8(b, distance);
	} else {
		put_u8(b, form | (n - 1) << 2);
		put_le(b, distance, form == 2 ? 2 : 4);
	}
}

/* The longest earlier copy of what starts at p[at], at most 64 bytes. */
static inline size_t find_copy(const uint8_t *p, size_t n, size_t at, size_t *distance)
{
	size_t best = 0, from, len, first = at > 4096 ? at - 4096 : 0;

	for (from = first; from < at; from++) {
		for (len = 0; len < 64 && at + len < n && p[from + len] == p[at + len]; len++)
			;
		if (len > best) {
			best = len;
			*distance = at - from;
		}
	}
	return best;
}

/* A snappy block that uses all the forms of copies where it can. */
static inline void put_block(struct buf *b, const uint8_t *p, size_t n)
{
	size_t at = 0, lit = 0, len, distance = 0;

	put_uvarint(b, n);
	while (at < n) {
		len = find_copy(p, n, at, &distance);
		if (len < 4) {
			at++;
			continue;
		}
		if (at > lit)
			put_literal(b, p + lit, at - lit, 0);
		put_copy(b, len, distance, len <= 11 && distance < 2048 ? 1 : 2 + (at & 1));
		at += len;
		lit = at;
	}
	if (n > lit)
		put_literal(b, p + lit, n - lit, 0);
}

static inline void put_frame_head(struct buf *b, uint8_t type, size_t bytes)
{
	put_u8(b, type);
	put_le(b, bytes, 3);
}

static inline void put_stream_frame(struct buf *b)
{
	put(b, "\xff\x06\x00\x00sNaPpY", 10);
}

static inline uint32_t mask_crc(uint32_t crc)
{
	return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* body is what the type says: a snappy block, or the raw bytes themselves. */
static inline void put_frame_of(struct buf *b, uint8_t type, const struct buf *body,
				const uint8_t *raw, size_t raw_bytes)
{
	put_frame_head(b, type, 4 + body->n);
	put_le(b, mask_crc(cr_crc32c(0, raw, raw_bytes)), 4);
	put(b, body->p, body->n);
}

static inline void put_frame(struct buf *b, bool compressed, const uint8_t *raw, size_t n)
{
	struct buf body = { 0 };

	if (compressed)
		put_block(&body, raw, n);
	else
		put(&body, raw, n);
	put_frame_of(b, compressed ? 0 : 1, &body, raw, n);
	free(body.p);
}

/* A copy whose end is the end of its allocation, for AddressSanitizer. Free it. */
static inline uint8_t *exact_copy(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	if (n)
		memcpy(copy, p, n);
	return n ? copy : (free(copy), NULL);
}

/* The same numbers on every run and machine (xorshift64*). */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

#endif
