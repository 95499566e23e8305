/* SPDX-License-Identifier: Apache-2.0 */
/* What the x86-64 kernels of CRC32C share. */
#ifndef CR_CRC32C_X86_H
#define CR_CRC32C_X86_H

#include <immintrin.h>
#include <string.h>

#include "crc32c.h"

/* n bytes, one after the other, on a running (not inverted) crc: 3 cycles for each 8 bytes. For
 * heads and tails of every x86 kernel, which is why it is here. */
__attribute__((target("sse4.2"))) static inline uint32_t
cr_crc32c_serial(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t v64;
	uint32_t v32;
	uint16_t v16;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&v64, p, 8);
		crc = (uint32_t)_mm_crc32_u64(crc, v64);
	}
	if (n & 4) {
		memcpy(&v32, p, 4);
		crc = _mm_crc32_u32(crc, v32);
		p += 4;
	}
	if (n & 2) {
		memcpy(&v16, p, 2);
		crc = _mm_crc32_u16(crc, v16);
		p += 2;
	}
	if (n & 1)
		crc = _mm_crc32_u8(crc, *p);
	return crc;
}

/*
 * Folding. A 128-bit lane is hi + lo * x^64. To move it D bits ahead, where it can be added to the
 * data that stands there, each half is multiplied by a power mod P: lo by x^(D+64), hi by x^D. The
 * product of two reflected 64-bit factors comes out multiplied by x, so the constants are one power
 * lower: MOVE(x^(D+63), x^(D-1)), each at the upper end of its 64 bits.
 */
#define MOVE(lo_x, hi_x) (long long)((uint64_t)(hi_x) << 32), (long long)((uint64_t)(lo_x) << 32)
#define MOVE_0    MOVE(0xdd45aab8u, 0x05ec76f1u)
#define MOVE_128  MOVE(0x3743f7bdu, 0x3171d430u)
#define MOVE_256  MOVE(0x33ccbbbcu, 0xa2158b34u)
#define MOVE_384  MOVE(0xa46ef4aau, 0x6051243fu)
#define MOVE_512  MOVE(0x1c19243bu, 0x75bba45bu)
#define MOVE_768  MOVE(0xc92f998du, 0x3365346au)
#define MOVE_1024 MOVE(0x6577b245u, 0x7417153fu)
#define MOVE_1536 MOVE(0x7ccbbbf2u, 0x31c94608u)
#define MOVE_2048 MOVE(0xe9a5d8beu, 0x1426a815u)

#endif
