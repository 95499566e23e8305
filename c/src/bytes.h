/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers out of hostile bytes. The fixed-size ones trust their caller about the room; the
 * variable-length ones are told where it ends.
 */
#ifndef CR_BYTES_H
#define CR_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CR_UVARINT_BYTES_MAX 10u /* 64 bits, seven a byte */

/* Chunk files hold big-endian numbers and snappy little-endian ones; both on either machine. */
static inline uint32_t cr_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t cr_be64(const uint8_t *p)
{
	return (uint64_t)cr_be32(p) << 32 | cr_be32(p + 4);
}

static inline uint32_t cr_le16(const uint8_t *p)
{
	return (uint32_t)p[1] << 8 | p[0];
}

static inline uint32_t cr_le24(const uint8_t *p)
{
	return (uint32_t)p[2] << 16 | cr_le16(p);
}

static inline uint32_t cr_le32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | cr_le24(p);
}

/*
 * Reads one number from the n bytes at p. Returns how many it took (1..10), or 0 where Go's
 * binary.Uvarint says "too short" or "overflow": no last byte within n or within ten, or a tenth
 * byte above 1. Overlong forms (80 00 for 0) are numbers, there and here.
 */
static inline size_t cr_uvarint(const uint8_t *p, size_t n, uint64_t *out)
{
	size_t most = n < CR_UVARINT_BYTES_MAX ? n : CR_UVARINT_BYTES_MAX;
	uint64_t x = 0;
	size_t i;

	for (i = 0; i < most; i++) {
		if (p[i] < 0x80) {
			if (i == CR_UVARINT_BYTES_MAX - 1 && p[i] > 1)
				return 0;
			*out = x | (uint64_t)p[i] << (7 * i);
			return i + 1;
		}
		x |= (uint64_t)(p[i] & 0x7f) << (7 * i);
	}
	return 0;
}

/* 0, -1, 1, -2, ... from 0, 1, 2, 3, ... */
static inline int64_t cr_zigzag(uint64_t u)
{
	uint64_t x = u >> 1 ^ (0 - (u & 1));
	int64_t s;

	memcpy(&s, &x, sizeof(s)); /* a cast above INT64_MAX is implementation-defined */
	return s;
}

/*
 * A run of numbers whose error is sticky: once one is malformed, it and all later ones are 0.
 * That is how Loki reads block metas, and which files it accepts depends on it.
 */
struct cr_reader {
	const uint8_t *p, *end;
	bool bad;
};

static inline uint64_t cr_read_uvarint(struct cr_reader *r)
{
	uint64_t x;
	size_t n;

	if (r->bad)
		return 0;
	n = cr_uvarint(r->p, (size_t)(r->end - r->p), &x);
	if (n == 0) {
		r->bad = true;
		return 0;
	}
	r->p += n;
	return x;
}

static inline int64_t cr_read_varint(struct cr_reader *r)
{
	return cr_zigzag(cr_read_uvarint(r));
}

#endif
