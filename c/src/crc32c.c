/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C: chooses the kernel once, and joins the checksums of neighbours. */
#include "crc32c.h"

#include <stdatomic.h>

#include "chunkring.h"

/* x^(8 * d * 16^i) in row i, column d: the shift by one hexadecimal digit of a length in bytes.
 * Column 0 and the last row beyond 8 never come up. */
static const uint32_t shift_by_digit[8][16] = {
	{ 0x80000000u, 0x00800000u, 0x00008000u, 0x00000080u, 0x82f63b78u, 0xfbc3faf9u,
	  0x8b277743u, 0x52a0c93fu, 0x6ea2d55cu, 0x1c08b7d6u, 0xf56e0ef4u, 0x34019664u,
	  0xa66805ebu, 0x7a1f6b24u, 0xe75d06aau, 0xc94ec098u },
	{ 0x80000000u, 0x18b8ea18u, 0x510ac59au, 0xb2dea967u, 0xb82be955u, 0x36c41f1cu,
	  0x19b29a35u, 0xc9e90b9eu, 0xb8fdb1e7u, 0xe55ef1f3u, 0x1fe0b5c3u, 0xe0553f1eu,
	  0x18e4a304u, 0x2b830011u, 0x56993a31u, 0x0246e2e6u },
	{ 0x80000000u, 0x88e56f72u, 0x74c360a4u, 0x631bb273u, 0xe4172b16u, 0x71892b1bu,
	  0x835305c9u, 0x196b1eaeu, 0x0d65762au, 0xafc81338u, 0xb5a50ab7u, 0xf373c3acu,
	  0x5f60970fu, 0xd46d3063u, 0x3a5275eau, 0x02331c01u },
	{ 0x80000000u, 0x35d73a62u, 0x28461564u, 0x43eefc9fu, 0xbf455269u, 0x5edcdeb9u,
	  0x65059450u, 0x4e6f41a4u, 0xe2ea32dcu, 0xf5b95b32u, 0x695a4c87u, 0xf204502cu,
	  0x9a4f01b6u, 0x941a0916u, 0x4303cb97u, 0x4c3d3d65u },
	{ 0x80000000u, 0xfe7740e6u, 0xf946610bu, 0xa0a51f5fu, 0x3c204f8fu, 0x40f28a69u,
	  0x35af26b2u, 0xda70c2a6u, 0x538586e3u, 0x78edc103u, 0xf0f3875eu, 0xefb7cf1du,
	  0x683988b2u, 0xe5dbb221u, 0x0fc062f5u, 0xd7b17b91u },
	{ 0x80000000u, 0x59726915u, 0x734d5309u, 0xdb1b3315u, 0xbc1ac763u, 0x11b31f9du,
	  0x5414bce3u, 0x54f2f77bu, 0x7d0722ccu, 0xbae70d08u, 0x238acb2bu, 0xd2074e2bu,
	  0x546dfa6eu, 0x3f76a96cu, 0xa3aa3946u, 0xf054ca48u },
	{ 0x80000000u, 0xd289cabeu, 0xe94ca9bcu, 0x6ac5538fu, 0x05b74f3fu, 0x9e0b2298u,
	  0x14de47cdu, 0x3a9fb07du, 0xa51e1f42u, 0xfe578179u, 0x038d778cu, 0x5fe3cf44u,
	  0xb7c64e40u, 0x20cbb8e3u, 0x4f04f803u, 0x56745358u },
	{ 0x80000000u, 0x40000000u, 0x20000000u, 0x10000000u, 0x08000000u, 0x04000000u,
	  0x02000000u, 0x01000000u, 0x00800000u, 0x00400000u, 0x00200000u, 0x00100000u,
	  0x00080000u, 0x00040000u, 0x00020000u, 0x00010000u },
};

static const struct cr_crc32c_kernel *const kernels[] = {
#if defined(__x86_64__)
	&cr_crc32c_vpclmul512,
	&cr_crc32c_vpclmul256,
	&cr_crc32c_sse42,
#elif defined(__aarch64__)
	&cr_crc32c_armv8,
#endif
	&cr_crc32c_portable,
};

#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

const struct cr_crc32c_kernel *const *cr_crc32c_kernels(size_t *n)
{
	*n = KERNELS;
	return kernels;
}

/* Threads that meet here for the first time all find the same kernel, so no lock is needed; it
 * points at const data, so neither is an order. */
static const struct cr_crc32c_kernel *chosen(void)
{
	static _Atomic(const struct cr_crc32c_kernel *) once;
	const struct cr_crc32c_kernel *k = atomic_load_explicit(&once, memory_order_relaxed);
	size_t i;

	if (k)
		return k;
	for (i = 0; i < KERNELS - 1 && !kernels[i]->supported(); i++)
		;
	atomic_store_explicit(&once, kernels[i], memory_order_relaxed);
	return kernels[i];
}

uint32_t cr_crc32c(uint32_t crc, const void *p, size_t n)
{
	return chosen()->update(crc, p, n);
}

const char *cr_crc32c_kernel(void)
{
	return chosen()->name;
}

/*
 * The crc of A followed by B is crc(A) * x^(8 * |B|) + crc(B); the inversions at both ends cancel.
 * The order of x mod P is 2^31 - 1 (P is x + 1 times a primitive polynomial), so any length comes
 * down to eight hexadecimal digits.
 */
uint32_t cr_crc32c_combine_by(const struct cr_crc32c_kernel *kernel, uint32_t crc_a, uint32_t crc_b,
			      uint64_t b_bytes)
{
	const uint64_t order = (1u << 31) - 1;
	unsigned int i;

	b_bytes = (b_bytes & order) + (b_bytes >> 31);
	b_bytes = (b_bytes & order) + (b_bytes >> 31); /* now at most 2^31 + 4 */
	for (i = 0; b_bytes; i++, b_bytes >>= 4) {
		if (b_bytes & 15)
			crc_a = kernel->mul(crc_a, shift_by_digit[i][b_bytes & 15]);
	}
	return crc_a ^ crc_b;
}

uint32_t cr_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t b_bytes)
{
	return cr_crc32c_combine_by(chosen(), crc_a, crc_b, b_bytes);
}
