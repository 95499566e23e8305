/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C for CPUs that have VPCLMULQDQ but no AVX-512: carry-less multiplication of 32 bytes at a
 * time, with the crc32 instruction beside it.
 *
 * Zen 4 begins one such multiplication every two cycles whatever its width, so folding alone is no
 * faster there than crc32 alone (29 GB/s each; together 44). So long
 * inputs are cut into blocks
 *
 *	| lane 0 | lane 1 | lane 2 | folded part |
 *
 * whose lanes go through crc32 while the folded part goes through the multiplier. The accumulators
 * jump over the lanes of the next block, and the lanes' crcs are added to them at a block's end.
 */
#include "crc32c.h" /* outside, so that no build of this file is empty */

#if defined(__x86_64__)
#include "crc32c_x86.h"

#define TARGET __attribute__((target("avx2,vpclmulqdq,pclmul,sse4.2")))

#define STEP_BYTES  128u
#define BLOCK_STEPS 16u
#define LANE_BYTES  (BLOCK_STEPS * 24u) /* three words in each lane for a step */
#define BLOCK_BYTES (BLOCK_STEPS * STEP_BYTES + 3 * LANE_BYTES)

/* D = 1024 + 3 * 8 * LANE_BYTES: a step, and the lanes between two folded parts. */
#define MOVE_BLOCK MOVE(0xb8f15f3fu, 0xe3125636u)

/*
 * A lane's crc stands for crc * x^-32 at the lane's end. This brings it to where the first lane of
 * accumulator 0 stands at the block's end, 1024 - 128 bits before that end: x^(S - 65 - 896), where
 * S is the distance in bits from the lane's end to the block's.
 */
#define LANE_0_TO_ACC 0xff017717u
#define LANE_1_TO_ACC 0x0fe89b1bu
#define LANE_2_TO_ACC 0x8443dcb9u

struct acc {
	__m256i a0, a1, a2, a3;
};

/* The compiler's runtime says AVX2 only when XCR0 says that the system keeps its registers. */
static int supported(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq") &&
	       __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2");
}

TARGET static inline __m256i load(const uint8_t *p)
{
	return _mm256_loadu_si256((const void *)p);
}

/* The same move for both lanes. */
#define ALL_LANES(move) _mm256_set_epi64x(move, move)

/* v moved, plus next. */
TARGET static inline __m256i fold(__m256i v, __m256i move, __m256i next)
{
	__m256i lo = _mm256_clmulepi64_epi128(v, move, 0x00);
	__m256i hi = _mm256_clmulepi64_epi128(v, move, 0x11);

	return _mm256_xor_si256(_mm256_xor_si256(lo, next), hi);
}

/* Adds the two lanes where the second one stands, and takes the 128 bits through the crc. */
TARGET static inline uint32_t reduce(__m256i v)
{
	const __m256i move = _mm256_set_epi64x(MOVE_0, MOVE_128);
	__m128i sum;
	uint64_t crc;

	v = fold(v, move, _mm256_setzero_si256());
	sum = _mm_xor_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
	crc = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));
	return (uint32_t)_mm_crc32_u64(crc, (uint64_t)_mm_extract_epi64(sum, 1));
}

TARGET static inline struct acc fold_step(struct acc a, __m256i move, const uint8_t *p)
{
	a.a0 = fold(a.a0, move, load(p));
	a.a1 = fold(a.a1, move, load(p + 32));
	a.a2 = fold(a.a2, move, load(p + 64));
	a.a3 = fold(a.a3, move, load(p + 96));
	return a;
}

TARGET static inline uint64_t crc_word(uint64_t crc, const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return _mm_crc32_u64(crc, v);
}

TARGET static inline __m128i lane_to_acc(uint64_t crc, uint32_t power)
{
	return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
				    _mm_cvtsi64_si128((long long)((uint64_t)power << 32)), 0);
}

/* Takes the whole blocks of the input; leaves *data and *n at the rest. */
TARGET static inline struct acc fold_blocks(uint32_t crc, const uint8_t **data, size_t *n)
{
	const __m256i step = ALL_LANES(MOVE_1024), zero = _mm256_setzero_si256();
	struct acc a = { zero, zero, zero, zero };
	const uint8_t *p = *data;
	uint64_t c0 = crc, c1, c2;
	unsigned int i;

	for (; *n >= BLOCK_BYTES; *n -= BLOCK_BYTES) {
		const uint8_t *folded = p + 3 * LANE_BYTES;
		__m256i move = ALL_LANES(MOVE_BLOCK);
		__m128i sum;

		c1 = 0;
		c2 = 0;
		for (i = 0; i < BLOCK_STEPS; i++, p += 24, folded += STEP_BYTES) {
			a = fold_step(a, move, folded);
			move = step;
			c0 = crc_word(crc_word(crc_word(c0, p), p + 8), p + 16);
			c1 = crc_word(crc_word(crc_word(c1, p + LANE_BYTES), p + LANE_BYTES + 8),
				      p + LANE_BYTES + 16);
			c2 = crc_word(crc_word(crc_word(c2, p + 2 * LANE_BYTES),
					       p + 2 * LANE_BYTES + 8),
				      p + 2 * LANE_BYTES + 16);
		}
		sum = _mm_xor_si128(lane_to_acc(c0, LANE_0_TO_ACC),
				    lane_to_acc(c1, LANE_1_TO_ACC));
		sum = _mm_xor_si128(sum, lane_to_acc(c2, LANE_2_TO_ACC));
		a.a0 = _mm256_xor_si256(a.a0, _mm256_zextsi128_si256(sum));
		c0 = 0;
		p = folded;
	}
	*data = p;
	return a;
}

/* The first step of an input too short for blocks. */
TARGET static inline struct acc load_step(uint32_t crc, const uint8_t *p)
{
	struct acc a = { load(p), load(p + 32), load(p + 64), load(p + 96) };

	a.a0 = _mm256_xor_si256(a.a0, _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)crc)));
	return a;
}

/* Folds what can be, down to a rest of less than 32 bytes, and returns the running crc there. */
TARGET static inline uint32_t fold_rest(struct acc a, const uint8_t **data, size_t *n)
{
	const __m256i step = ALL_LANES(MOVE_1024), one = ALL_LANES(MOVE_256);
	const uint8_t *p = *data;
	size_t left = *n;

	for (; left >= STEP_BYTES; p += STEP_BYTES, left -= STEP_BYTES)
		a = fold_step(a, step, p);
	a.a3 = fold(a.a0, ALL_LANES(MOVE_768), a.a3);
	a.a3 = fold(a.a1, ALL_LANES(MOVE_512), a.a3);
	a.a3 = fold(a.a2, one, a.a3);
	for (; left >= 32; p += 32, left -= 32)
		a.a3 = fold(a.a3, one, load(p));
	*data = p;
	*n = left;
	return reduce(a.a3);
}

TARGET static uint32_t update(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;
	struct acc a;

	crc = ~crc;
	if (n >= BLOCK_BYTES) {
		a = fold_blocks(crc, &p, &n);
		crc = fold_rest(a, &p, &n);
	} else if (n >= STEP_BYTES) {
		a = load_step(crc, p);
		p += STEP_BYTES;
		n -= STEP_BYTES;
		crc = fold_rest(a, &p, &n);
	}
	return ~cr_crc32c_serial(crc, p, n);
}

const struct cr_crc32c_kernel cr_crc32c_vpclmul256 = {
	.name = "vpclmul256",
	.supported = supported,
	.update = update,
	.mul = cr_crc32c_mul_clmul,
};
#endif
