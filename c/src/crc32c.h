/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C inside the library: the kernels, and how tests and benchmarks get at each of them.
 *
 * Notation. A 32-bit value stands for a polynomial over GF(2) in the reflected order of CRC32C:
 * bit i is the coefficient of x^(31-i), so 0x80000000 is 1. P is the Castagnoli polynomial
 * x^32 + 0x1edc6f41. "x^n" next to a constant means x^n mod P written that way. crc values that
 * cross a function are finished ones (inverted), so that 0 starts a checksum.
 */
#ifndef CR_CRC32C_H
#define CR_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The kernels load words as the CRC wants them, lowest byte first. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "chunkring runs on x86-64 and arm64");

struct cr_crc32c_kernel {
	const char *name;         /* as cr_crc32c_kernel() says it */
	int (*supported)(void);   /* non-zero if this CPU and system can run it */
	/* n may be 0, then p may be NULL. */
	uint32_t (*update)(uint32_t crc, const void *p, size_t n);
	uint32_t (*mul)(uint32_t a, uint32_t b); /* a * b mod P, for combine */
};

/* The kernels of this build, fastest first; *n says how many. The last runs everywhere. */
const struct cr_crc32c_kernel *const *cr_crc32c_kernels(size_t *n);

/* cr_crc32c_combine() with a given kernel's multiplication. */
uint32_t cr_crc32c_combine_by(const struct cr_crc32c_kernel *kernel, uint32_t crc_a, uint32_t crc_b,
			      uint64_t b_bytes);

extern const struct cr_crc32c_kernel cr_crc32c_portable;
uint32_t cr_crc32c_mul_portable(uint32_t a, uint32_t b);

#if defined(__aarch64__)
extern const struct cr_crc32c_kernel cr_crc32c_armv8;
#endif

#if defined(__x86_64__)
extern const struct cr_crc32c_kernel cr_crc32c_sse42;
extern const struct cr_crc32c_kernel cr_crc32c_vpclmul256;
extern const struct cr_crc32c_kernel cr_crc32c_vpclmul512;
uint32_t cr_crc32c_mul_clmul(uint32_t a, uint32_t b);
#endif

#endif
