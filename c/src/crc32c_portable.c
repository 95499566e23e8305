/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C without special instructions: eight bytes a step through eight tables ("slicing by 8").
 *
 * Entry i of table t is the crc of byte i followed by t zero bytes. It is linear in i, so each of
 * its bits b contributes x^(39 + 8t - b), and the preprocessor writes all 2048 entries out of the
 * 64 powers below: nothing is set up at run time and there is no generated file.
 */
#include "crc32c.h"

#include <string.h>

/* x^32 to x^95. */
#define X_32_39 \
	0x82f63b78u, 0x417b1dbcu, 0x20bd8edeu, 0x105ec76fu, \
	0x8ad958cfu, 0xc79a971fu, 0xe13b70f7u, 0xf26b8303u
#define X_40_47 \
	0xfbc3faf9u, 0xff17c604u, 0x7f8be302u, 0x3fc5f181u, \
	0x9d14c3b8u, 0x4e8a61dcu, 0x274530eeu, 0x13a29877u
#define X_48_55 \
	0x8b277743u, 0xc76580d9u, 0xe144fb14u, 0x70a27d8au, \
	0x38513ec5u, 0x9edea41au, 0x4f6f520du, 0xa541927eu
#define X_56_63 \
	0x52a0c93fu, 0xaba65fe7u, 0xd725148bu, 0xe964b13du, \
	0xf64463e6u, 0x7b2231f3u, 0xbf672381u, 0xdd45aab8u
#define X_64_71 \
	0x6ea2d55cu, 0x37516aaeu, 0x1ba8b557u, 0x8f2261d3u, \
	0xc5670b91u, 0xe045beb0u, 0x7022df58u, 0x38116facu
#define X_72_79 \
	0x1c08b7d6u, 0x0e045bebu, 0x85f4168du, 0xc00c303eu, \
	0x6006181fu, 0xb2f53777u, 0xdb8ca0c3u, 0xef306b19u
#define X_80_87 \
	0xf56e0ef4u, 0x7ab7077au, 0x3d5b83bdu, 0x9c5bfaa6u, \
	0x4e2dfd53u, 0xa5e0c5d1u, 0xd0065990u, 0x68032cc8u
#define X_88_95 \
	0x34019664u, 0x1a00cb32u, 0x0d006599u, 0x847609b4u, \
	0x423b04dau, 0x211d826du, 0x9278fa4eu, 0x493c7d27u

#define ENTRY(i, b7, b6, b5, b4, b3, b2, b1, b0)                                                   \
	(((i) & 128 ? (b7) : 0) ^ ((i) & 64 ? (b6) : 0) ^ ((i) & 32 ? (b5) : 0) ^                  \
	 ((i) & 16 ? (b4) : 0) ^ ((i) & 8 ? (b3) : 0) ^ ((i) & 4 ? (b2) : 0) ^                     \
	 ((i) & 2 ? (b1) : 0) ^ ((i) & 1 ? (b0) : 0))
/* The powers travel as "..." because one macro name becomes eight arguments on the way. */
#define ROW2(i, ...)   ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__)
#define ROW4(i, ...)   ROW2(i, __VA_ARGS__), ROW2((i) + 2, __VA_ARGS__)
#define ROW8(i, ...)   ROW4(i, __VA_ARGS__), ROW4((i) + 4, __VA_ARGS__)
#define ROW16(i, ...)  ROW8(i, __VA_ARGS__), ROW8((i) + 8, __VA_ARGS__)
#define ROW32(i, ...)  ROW16(i, __VA_ARGS__), ROW16((i) + 16, __VA_ARGS__)
#define ROW64(i, ...)  ROW32(i, __VA_ARGS__), ROW32((i) + 32, __VA_ARGS__)
#define ROW128(i, ...) ROW64(i, __VA_ARGS__), ROW64((i) + 64, __VA_ARGS__)
#define TABLE(...)     { ROW128(0, __VA_ARGS__), ROW128(128, __VA_ARGS__) }

static const uint32_t table[8][256] = {
	TABLE(X_32_39), TABLE(X_40_47), TABLE(X_48_55), TABLE(X_56_63),
	TABLE(X_64_71), TABLE(X_72_79), TABLE(X_80_87), TABLE(X_88_95),
};

static int supported(void)
{
	return 1;
}

/* The running crc after 4 zero bytes, i.e. v * x^32. */
static inline uint32_t shift_4_bytes(uint32_t v)
{
	return table[3][v & 255] ^ table[2][v >> 8 & 255] ^ table[1][v >> 16 & 255] ^
	       table[0][v >> 24];
}

static uint32_t update(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;
	uint32_t lo, hi;

	crc = ~crc;
	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&lo, p, 4);
		memcpy(&hi, p + 4, 4);
		lo ^= crc;
		crc = table[7][lo & 255] ^ table[6][lo >> 8 & 255] ^ table[5][lo >> 16 & 255] ^
		      table[4][lo >> 24] ^ shift_4_bytes(hi);
	}
	for (; n; p++, n--)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
	return ~crc;
}

/*
 * Carry-less product by ordinary multiplication: with only every fourth bit kept in each factor,
 * at most 8 ones meet in a column, and the 4 bits up to the next column in use hold that sum. Its
 * lowest bit is the carry-less one.
 */
static uint64_t clmul32(uint32_t a, uint32_t b)
{
	const uint64_t every_4th = 0x1111111111111111u;
	uint64_t product = 0, sum;
	unsigned int i, j;

	for (i = 0; i < 4; i++) {
		sum = 0;
		for (j = 0; j < 4; j++)
			sum ^= (a & every_4th << j) * (b & every_4th << ((i - j) & 3));
		product |= sum & every_4th << i;
	}
	return product;
}

/* The reflected product has 63 bits; moved up by one, its halves are hi + lo * x^32. */
uint32_t cr_crc32c_mul_portable(uint32_t a, uint32_t b)
{
	uint64_t product = clmul32(a, b) << 1;

	return (uint32_t)(product >> 32) ^ shift_4_bytes((uint32_t)product);
}

const struct cr_crc32c_kernel cr_crc32c_portable = {
	.name = "portable",
	.supported = supported,
	.update = update,
	.mul = cr_crc32c_mul_portable,
};
