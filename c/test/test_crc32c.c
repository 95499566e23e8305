/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every CRC32C kernel this CPU can run, against the polynomial division written out bit by bit.
 *
 * With -DCR_TEST_PLAIN it needs no cmocka: for a cross build that runs under qemu.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CR_TEST_PLAIN
#define assert_true(c)                                                                             \
	do {                                                                                       \
		if (!(c)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c);                    \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define assert_int_equal(a, b)    assert_true((a) == (b))
#define assert_string_equal(a, b) assert_true(!strcmp(a, b))
#else
#include <cmocka.h>
#endif

#include "chunkring.h"
#include "crc32c.h"

#define LENGTH_MAX 5000u
#define ALIGNMENTS 65u
#define BIG_BYTES  (1u << 20)
#define PAIRS      1000u /* random lengths and alignments for one kernel */
#define SPLITS     300u

static uint8_t data[BIG_BYTES + ALIGNMENTS];

static uint32_t random_u32(void)
{
	static uint64_t state = 88172645463325252u; /* the same in every run: failures repeat */

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32);
}

static uint32_t reference(uint32_t crc, const uint8_t *p, size_t n)
{
	unsigned int bit;

	crc = ~crc;
	for (; n; p++, n--) {
		crc ^= *p;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* Runs check for every kernel; those that this CPU lacks are named, so that nobody takes a run
 * without them for a test of them. */
static void for_each_kernel(void (*check)(const struct cr_crc32c_kernel *))
{
	const struct cr_crc32c_kernel *const *k;
	size_t n, i;

	k = cr_crc32c_kernels(&n);
	for (i = 0; i < n; i++) {
		if (k[i]->supported())
			check(k[i]);
		else
			printf("           not on this CPU: %s\n", k[i]->name);
	}
}

static void check_vectors(const struct cr_crc32c_kernel *k)
{
	static const uint8_t read_command[48] = {
		[0] = 0x01, [1] = 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18,
		[32] = 0x28, [40] = 0x02,
	};
	uint8_t v[32];
	uint8_t i;

	memset(v, 0, sizeof(v));
	assert_int_equal(k->update(0, v, sizeof(v)), 0x8a9136aau);
	memset(v, 0xff, sizeof(v));
	assert_int_equal(k->update(0, v, sizeof(v)), 0x62a8ab43u);
	for (i = 0; i < 32; i++)
		v[i] = i;
	assert_int_equal(k->update(0, v, sizeof(v)), 0x46dd794eu);
	for (i = 0; i < 32; i++)
		v[i] = 31 - i;
	assert_int_equal(k->update(0, v, sizeof(v)), 0x113fdb5cu);
	assert_int_equal(k->update(0, read_command, sizeof(read_command)), 0xd9963a56u);
	assert_int_equal(k->update(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(k->update(0, "", 0), 0);
	assert_int_equal(k->update(0, NULL, 0), 0);
	assert_int_equal(k->update(0x12345678u, NULL, 0), 0x12345678u);
}

/* The data is copied to the end of an exact allocation, so that a sanitizer sees a load beyond it;
 * malloc() aligns to 16, so skipping up to 64 bytes gives every alignment. */
static void check_one(const struct cr_crc32c_kernel *k, uint32_t crc, size_t n, size_t skip)
{
	uint8_t *buf = malloc(skip + n ? skip + n : 1);

	assert_true(buf != NULL);
	memcpy(buf + skip, data, n);
	assert_int_equal(k->update(crc, buf + skip, n), reference(crc, data, n));
	free(buf);
}

static void check_all_lengths(const struct cr_crc32c_kernel *k)
{
	uint32_t crc = 0, want = 0;
	size_t n;

	/* The reference runs along, one byte at a time: every length for little money. */
	for (n = 0; n <= LENGTH_MAX; n++) {
		assert_int_equal(k->update(crc, data, n), want);
		want = reference(want, data + n, 1);
	}
}

static void check_alignments(const struct cr_crc32c_kernel *k)
{
	unsigned int i;

	for (i = 0; i < ALIGNMENTS; i++) {
		check_one(k, random_u32(), random_u32() % 64, i);
		check_one(k, random_u32(), 64 + random_u32() % 512, i);
		check_one(k, random_u32(), LENGTH_MAX - i, i);
	}
	for (i = 0; i < PAIRS; i++)
		check_one(k, random_u32(), random_u32() % (LENGTH_MAX + 1),
			  random_u32() % ALIGNMENTS);
}

static void check_big(const struct cr_crc32c_kernel *k)
{
	static const size_t sizes[] = { 50687, 50688, 50689, 65536, 100003, BIG_BYTES - 1,
					BIG_BYTES };
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_one(k, random_u32(), sizes[i], i * 9);
}

static void check_continued(const struct cr_crc32c_kernel *k)
{
	uint32_t want = reference(0, data, 60000), crc;
	unsigned int i;
	size_t done, n;

	for (i = 0; i < 20; i++) {
		crc = 0;
		for (done = 0; done < 60000; done += n) {
			n = random_u32() % 9000;
			if (n > 60000 - done)
				n = 60000 - done;
			crc = k->update(crc, data + done, n);
		}
		assert_int_equal(crc, want);
	}
}

static void check_combine_of(const struct cr_crc32c_kernel *k, size_t a, size_t b)
{
	uint32_t crc_a = k->update(0, data, a), crc_b = k->update(0, data + a, b);

	assert_int_equal(cr_crc32c_combine_by(k, crc_a, crc_b, b), k->update(0, data, a + b));
}

static void check_combine(const struct cr_crc32c_kernel *k)
{
	unsigned int i;
	size_t whole, a;

	check_combine_of(k, 0, 0);
	check_combine_of(k, 0, 1000);
	check_combine_of(k, 1000, 0);
	check_combine_of(k, 1, BIG_BYTES - 1);
	for (i = 0; i < SPLITS; i++) {
		whole = 1 + random_u32() % (i % 2 ? BIG_BYTES : LENGTH_MAX);
		a = random_u32() % (whole + 1);
		check_combine_of(k, a, whole - a);
	}
}

/* Lengths no buffer has: b zero bytes append like b1 and then b - b1 of them. Every digit of the
 * power table takes part, and the wrap at the order of x. */
static void check_combine_huge(const struct cr_crc32c_kernel *k)
{
	uint32_t crc = 0xdeadbeefu, in_two;
	unsigned int i;
	uint64_t b, b1;

	for (i = 0; i < SPLITS; i++) {
		b = (uint64_t)random_u32() << 32 | random_u32();
		b >>= random_u32() % 64;
		b1 = b ? ((uint64_t)random_u32() << 32 | random_u32()) % b : 0;
		in_two = cr_crc32c_combine_by(k, crc, 0, b1);
		in_two = cr_crc32c_combine_by(k, in_two, 0, b - b1);
		assert_int_equal(cr_crc32c_combine_by(k, crc, 0, b), in_two);
	}
	assert_int_equal(cr_crc32c_combine_by(k, crc, 0, (1u << 31) - 1), crc);
	assert_int_equal(cr_crc32c_combine_by(k, crc, 0, UINT64_MAX),
			 cr_crc32c_combine_by(k, crc, 0, 3)); /* 2^64 - 1 = 2^2 - 1 mod 2^31 - 1 */
	/* One digit at a time, each row of the table from the one before it. */
	for (i = 0; i < 7; i++) {
		in_two = crc;
		for (b = 0; b < 16; b++)
			in_two = cr_crc32c_combine_by(k, in_two, 0, (uint64_t)1 << 4 * i);
		assert_int_equal(cr_crc32c_combine_by(k, crc, 0, (uint64_t)16 << 4 * i), in_two);
	}
}

static void check_mul(const struct cr_crc32c_kernel *k)
{
	uint32_t a, b, want, x;
	unsigned int i, bit;

	for (i = 0; i < 2000; i++) {
		a = random_u32();
		b = random_u32();
		want = 0;
		for (bit = 0, x = a; bit < 32; bit++) {
			want ^= b >> (31 - bit) & 1 ? x : 0;
			x = x >> 1 ^ (x & 1 ? 0x82f63b78u : 0);
		}
		assert_int_equal(k->mul(a, b), want);
	}
}

static void rfc_3720_vectors(void **state)
{
	(void)state;
	for_each_kernel(check_vectors);
}

static void every_length(void **state)
{
	(void)state;
	for_each_kernel(check_all_lengths);
}

static void every_alignment(void **state)
{
	(void)state;
	for_each_kernel(check_alignments);
}

static void big_buffers(void **state)
{
	(void)state;
	for_each_kernel(check_big);
}

static void continues_in_pieces(void **state)
{
	(void)state;
	for_each_kernel(check_continued);
}

static void multiplies(void **state)
{
	(void)state;
	for_each_kernel(check_mul);
}

static void combines_like_concatenation(void **state)
{
	(void)state;
	for_each_kernel(check_combine);
}

static void combines_any_length(void **state)
{
	(void)state;
	for_each_kernel(check_combine_huge);
}

static void first_supported_kernel_is_chosen(void **state)
{
	const struct cr_crc32c_kernel *const *k;
	uint32_t a = reference(0, data, 10), b = reference(0, data + 10, 990);
	size_t n, i;

	(void)state;
	k = cr_crc32c_kernels(&n);
	assert_true(n > 0 && k[n - 1]->supported());
	assert_string_equal(k[n - 1]->name, "portable");
	for (i = 0; !k[i]->supported(); i++)
		;
	assert_string_equal(cr_crc32c_kernel(), k[i]->name);
	printf("           chosen: %s\n", k[i]->name);
	assert_int_equal(cr_crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(cr_crc32c(0, NULL, 0), 0);
	assert_int_equal(cr_crc32c_combine(a, b, 990), cr_crc32c(0, data, 1000));
}

static void fill(void)
{
	size_t i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)random_u32();
}

#ifdef CR_TEST_PLAIN
int main(void)
{
	static void (*const tests[])(void **) = {
		rfc_3720_vectors,
		every_length,
		every_alignment,
		big_buffers,
		continues_in_pieces,
		multiplies,
		combines_like_concatenation,
		combines_any_length,
		first_supported_kernel_is_chosen,
	};
	size_t i;

	fill();
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](NULL);
	printf("%zu tests passed\n", i);
	return 0;
}
#else
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_3720_vectors),
		cmocka_unit_test(every_length),
		cmocka_unit_test(every_alignment),
		cmocka_unit_test(big_buffers),
		cmocka_unit_test(continues_in_pieces),
		cmocka_unit_test(multiplies),
		cmocka_unit_test(combines_like_concatenation),
		cmocka_unit_test(combines_any_length),
		cmocka_unit_test(first_supported_kernel_is_chosen),
	};

	fill();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
