/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C with the crc32cx instruction of ARMv8. It takes 8 bytes a cycle but gives its result after
 * two or three, so three neighbouring stretches run side by side. They are long enough that joining
 * them by ordinary multiplications costs little: not every core with CRC32 has PMULL.
 */
#include "crc32c.h" /* outside, so that no build of this file is empty */

#if defined(__aarch64__)
#include <string.h>
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1u << 7)
#endif

static int supported(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

/* Assembly because arm_acle.h of clang 14 has these only when the whole file is built for CRC. */
static inline uint32_t crc_u64(uint32_t crc, uint64_t v)
{
	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(v));
	return crc;
}

static inline uint32_t crc_u8(uint32_t crc, uint8_t v)
{
	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(v));
	return crc;
}

struct run {
	uint32_t crc;
	const uint8_t *p;
	size_t n;
};

/* Takes 3 * lane bytes a step while there are that many. x1 and x2 shift a crc by one and by two
 * lanes: x^(8 * lane) and x^(16 * lane). */
static inline void three_lanes(struct run *r, size_t lane, uint32_t x1, uint32_t x2)
{
	for (; r->n >= 3 * lane; r->p += 3 * lane, r->n -= 3 * lane) {
		const uint8_t *p = r->p, *end = p + lane;
		uint32_t c0 = r->crc, c1 = 0, c2 = 0;
		uint64_t v0, v1, v2;

		for (; p < end; p += 8) {
			memcpy(&v0, p, 8);
			memcpy(&v1, p + lane, 8);
			memcpy(&v2, p + 2 * lane, 8);
			c0 = crc_u64(c0, v0);
			c1 = crc_u64(c1, v1);
			c2 = crc_u64(c2, v2);
		}
		r->crc = cr_crc32c_mul_portable(c0, x2) ^ cr_crc32c_mul_portable(c1, x1) ^ c2;
	}
}

static uint32_t update(uint32_t crc, const void *data, size_t n)
{
	struct run r = { .crc = ~crc, .p = data, .n = n };
	uint64_t v;

	/* 16 KiB and a bit: at 16 KiB sharp all three would use the same lines of a 2-way L1. */
	three_lanes(&r, 16896, 0x1409a35bu, 0x05f6b022u);
	three_lanes(&r, 1024, 0xe4172b16u, 0x0d65762au);
	for (; r.n >= 8; r.p += 8, r.n -= 8) {
		memcpy(&v, r.p, 8);
		r.crc = crc_u64(r.crc, v);
	}
	for (; r.n; r.p++, r.n--)
		r.crc = crc_u8(r.crc, *r.p);
	return ~r.crc;
}

const struct cr_crc32c_kernel cr_crc32c_armv8 = {
	.name = "armv8",
	.supported = supported,
	.update = update,
	.mul = cr_crc32c_mul_portable,
};
#endif
