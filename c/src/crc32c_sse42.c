/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C with the crc32 instruction of SSE 4.2. It takes 8 bytes a cycle but gives its result after
 * three, so three neighbouring stretches run side by side and are joined by carry-less products.
 */
#include "crc32c.h" /* outside, so that no build of this file is empty */

#if defined(__x86_64__)
#include "crc32c_x86.h"

#define TARGET __attribute__((target("sse4.2,pclmul")))

static int supported(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

TARGET static inline uint64_t clmul32(uint32_t a, uint32_t b)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)a),
					       _mm_cvtsi32_si128((int)b), 0);

	return (uint64_t)_mm_cvtsi128_si64(product);
}

/* The reflected product has 63 bits; moved up by one, its halves are hi + lo * x^32, and * x^32 is
 * what the instruction does to a word. */
TARGET static inline uint32_t reduce(uint64_t product)
{
	product <<= 1;
	return (uint32_t)(product >> 32) ^ _mm_crc32_u32(0, (uint32_t)product);
}

TARGET uint32_t cr_crc32c_mul_clmul(uint32_t a, uint32_t b)
{
	return reduce(clmul32(a, b));
}

struct run {
	uint32_t crc;
	const uint8_t *p;
	size_t n;
};

/* Takes 3 * lane bytes a step while there are that many. x1 and x2 shift a crc by one and by two
 * lanes: x^(8 * lane) and x^(16 * lane). */
TARGET static inline void three_lanes(struct run *r, size_t lane, uint32_t x1, uint32_t x2)
{
	for (; r->n >= 3 * lane; r->p += 3 * lane, r->n -= 3 * lane) {
		const uint8_t *p = r->p, *end = p + lane;
		uint64_t c0 = r->crc, c1 = 0, c2 = 0, v0, v1, v2;

		for (; p < end; p += 8) {
			memcpy(&v0, p, 8);
			memcpy(&v1, p + lane, 8);
			memcpy(&v2, p + 2 * lane, 8);
			c0 = _mm_crc32_u64(c0, v0);
			c1 = _mm_crc32_u64(c1, v1);
			c2 = _mm_crc32_u64(c2, v2);
		}
		r->crc = (uint32_t)c2 ^
			 reduce(clmul32((uint32_t)c0, x2) ^ clmul32((uint32_t)c1, x1));
	}
}

TARGET static uint32_t update(uint32_t crc, const void *data, size_t n)
{
	struct run r = { .crc = ~crc, .p = data, .n = n };

	three_lanes(&r, 4096, 0x35d73a62u, 0x28461564u);
	three_lanes(&r, 512, 0x74c360a4u, 0xe4172b16u);
	three_lanes(&r, 64, 0xb82be955u, 0xb8fdb1e7u);
	return ~cr_crc32c_serial(r.crc, r.p, r.n);
}

const struct cr_crc32c_kernel cr_crc32c_sse42 = {
	.name = "sse42",
	.supported = supported,
	.update = update,
	.mul = cr_crc32c_mul_clmul,
};
#endif
