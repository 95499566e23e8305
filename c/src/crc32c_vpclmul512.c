/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C by carry-less multiplication, 64 bytes an instruction (AVX-512 and VPCLMULQDQ). Four
 * registers are folded side by side, which covers the latency of the multiplication.
 */
#include "crc32c.h" /* outside, so that no build of this file is empty */

#if defined(__x86_64__)
#include "crc32c_x86.h"

#define TARGET __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))

#define STEP_BYTES 256u

/* The CPU has to have it and the system to keep the upper halves of the registers; the compiler's
 * runtime says AVX-512F only when XCR0 says the latter. */
static int supported(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") &&
	       __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2");
}

TARGET static inline __m512i load(const uint8_t *p)
{
	return _mm512_loadu_si512((const void *)p);
}

/* The same move for all four lanes. */
#define ALL_LANES(move) _mm512_set_epi64(move, move, move, move)

/* v moved, plus next. */
TARGET static inline __m512i fold(__m512i v, __m512i move, __m512i next)
{
	__m512i lo = _mm512_clmulepi64_epi128(v, move, 0x00);
	__m512i hi = _mm512_clmulepi64_epi128(v, move, 0x11);

	return _mm512_ternarylogic_epi64(lo, hi, next, 0x96); /* xor of three */
}

/* Adds the four lanes where the last one stands, and takes the 128 bits through the crc. */
TARGET static inline uint32_t reduce(__m512i v)
{
	const __m512i move = _mm512_set_epi64(MOVE_0, MOVE_128, MOVE_256, MOVE_384);
	__m256i half;
	__m128i sum;
	uint64_t crc;

	v = fold(v, move, _mm512_setzero_si512());
	half = _mm256_xor_si256(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
	sum = _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
	crc = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));
	return (uint32_t)_mm_crc32_u64(crc, (uint64_t)_mm_extract_epi64(sum, 1));
}

/* *n >= STEP_BYTES. Leaves *data and *n at the rest, less than 64 bytes. crc is running. */
TARGET static inline uint32_t fold_all(uint32_t crc, const uint8_t **data, size_t *n)
{
	const __m512i step = ALL_LANES(MOVE_2048), one = ALL_LANES(MOVE_512);
	const uint8_t *p = *data;
	size_t left = *n - STEP_BYTES;
	__m512i a0 = load(p), a1 = load(p + 64), a2 = load(p + 128), a3 = load(p + 192);

	a0 = _mm512_xor_si512(a0, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
	for (p += STEP_BYTES; left >= STEP_BYTES; p += STEP_BYTES, left -= STEP_BYTES) {
		a0 = fold(a0, step, load(p));
		a1 = fold(a1, step, load(p + 64));
		a2 = fold(a2, step, load(p + 128));
		a3 = fold(a3, step, load(p + 192));
	}
	a3 = fold(a0, ALL_LANES(MOVE_1536), a3);
	a3 = fold(a1, ALL_LANES(MOVE_1024), a3);
	a3 = fold(a2, one, a3);
	for (; left >= 64; p += 64, left -= 64)
		a3 = fold(a3, one, load(p));
	*data = p;
	*n = left;
	return reduce(a3);
}

TARGET static uint32_t update(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;

	crc = ~crc;
	if (n >= STEP_BYTES)
		crc = fold_all(crc, &p, &n);
	return ~cr_crc32c_serial(crc, p, n);
}

const struct cr_crc32c_kernel cr_crc32c_vpclmul512 = {
	.name = "vpclmul512",
	.supported = supported,
	.update = update,
	.mul = cr_crc32c_mul_clmul,
};
#endif
