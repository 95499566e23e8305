/* SPDX-License-Identifier: Apache-2.0 */
/* Names of chunk files: a name is a chunk's only if the key that it tells has that name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "chunkring.h"

static struct cr_key key(const char *tenant, uint64_t fp, int64_t from, int64_t through, uint32_t crc,
			 bool flat)
{
	struct cr_key k = { .fingerprint = fp, .from_ms = from, .through_ms = through, .crc = crc,
			    .flat = flat, .tenant_bytes = (uint8_t)strlen(tenant) };

	strcpy(k.tenant, tenant);
	return k;
}

static void expect_round_trip(const struct cr_key *k)
{
	char path[CR_KEY_PATH_BYTES_MAX], deep[CR_KEY_PATH_BYTES_MAX + 32];
	size_t n = cr_key_path(k, path);
	struct cr_key back;

	assert_int_equal(n, strlen(path));
	snprintf(deep, sizeof(deep), "/loki//chunks/%s", path);
	if (!cr_key_of_path(deep, &back))
		fail_msg("%s is no key's path", path);
	assert_string_equal(back.tenant, k->tenant);
	assert_int_equal(back.tenant_bytes, k->tenant_bytes);
	assert_true(back.fingerprint == k->fingerprint && back.from_ms == k->from_ms &&
		    back.through_ms == k->through_ms && back.crc == k->crc && back.flat == k->flat);
}

/* The names that Loki makes. */
static void names_of_loki(void **state)
{
	struct cr_key nested = key("fake", 0x34fed081c46c3eb5, 0x18e32e6b5a0, 0x18e32e6b5a1, 0xabc, false);
	struct cr_key flat = key("fake", 0x34fed081c46c3eb5, 0x18e32e6b5a0, 0x18e32e6b5a1, 0xabc, true);
	char path[CR_KEY_PATH_BYTES_MAX];

	(void)state;
	cr_key_path(&nested, path);
	assert_string_equal(path, "fake/34fed081c46c3eb5/MThlMzJlNmI1YTA6MThlMzJlNmI1YTE6YWJj");
	cr_key_path(&flat, path);
	assert_string_equal(path, "ZmFrZS8zNGZlZDA4MWM0NmMzZWI1OjE4ZTMyZTZiNWEwOjE4ZTMyZTZiNWExOmFiYw==");
}

static void round_trips(void **state)
{
	static const int64_t times[] = { 0, 1, -1, INT64_MAX, INT64_MIN, 0x18e32e6b5a0, -0x1000 };
	static const char *const tenants[] = { "x", "a tenant's", "..." };
	char longest[CR_TENANT_BYTES_MAX + 1];
	struct cr_key k;

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		for (size_t j = 0; j < sizeof(tenants) / sizeof(tenants[0]); j++) {
			for (int flat = 0; flat < 2; flat++) {
				k = key(tenants[j], i ? UINT64_MAX / i : 0, times[i], times[6 - i],
					UINT32_MAX >> i, flat);
				expect_round_trip(&k);
			}
		}
	}
	memset(longest, 't', CR_TENANT_BYTES_MAX);
	longest[CR_TENANT_BYTES_MAX] = '\0';
	k = key(longest, UINT64_MAX, INT64_MIN, INT64_MIN, UINT32_MAX, false);
	expect_round_trip(&k);
	k.flat = true; /* no file system takes that name, but there is room for it */
	assert_int_equal(cr_key_path(&k, (char[CR_KEY_PATH_BYTES_MAX]){ 0 }), 424);
}

/* base64(text) as a name below x/1. */
static bool is_name(const char *text)
{
	char name[256];
	struct cr_key k;

	name[cr_base64_encode(text, strlen(text), name)] = '\0';
	return cr_key_of_nested("x", "1", name, &k);
}

static void only_one_form(void **state)
{
	struct cr_key k;
	uint64_t fp;

	(void)state;
	assert_true(is_name("0:0:0"));
	assert_true(is_name("-1:a:ffffffff"));
	assert_false(is_name("0:0:100000000"));
	assert_false(is_name("00:0:0"));
	assert_false(is_name("-0:0:0"));
	assert_false(is_name("A:0:0"));
	assert_false(is_name("8000000000000000:0:0"));
	assert_true(is_name("-8000000000000000:0:0"));
	assert_false(is_name("-8000000000000001:0:0"));
	assert_false(is_name("0:0:0:"));
	assert_false(is_name("0:0"));
	assert_false(is_name(":0:0"));
	assert_false(is_name(""));
	assert_true(cr_key_of_nested("x", "1", "MDowOjA=", &k));
	assert_false(cr_key_of_nested("x", "1", "MDowOjB=", &k)); /* other bits behind the last byte */
	assert_false(cr_key_of_nested("x", "1", "MDowOjA", &k));
	assert_false(cr_key_of_nested("x", "01", "MDowOjA=", &k));
	assert_false(cr_key_of_nested("x", "10000000000000000", "MDowOjA=", &k));
	assert_false(cr_key_of_nested("", "1", "MDowOjA=", &k));
	assert_false(cr_key_of_nested("..", "1", "MDowOjA=", &k));
	assert_false(cr_key_of_nested("a/b", "1", "MDowOjA=", &k));
	assert_false(cr_key_of_path("", &k));
	assert_false(cr_key_of_path("/", &k));
	assert_false(cr_key_of_path("1/MDowOjA=", &k));
	assert_true(cr_key_of_path("x/1/MDowOjA=", &k));
	assert_false(cr_key_of_flat("MDowOjA=", &k)); /* no tenant */
	assert_true(cr_key_fingerprint("ffffffffffffffff", &fp) && fp == UINT64_MAX);
	assert_false(cr_key_fingerprint("FF", &fp));
	assert_false(cr_key_fingerprint("", &fp));
	assert_false(cr_key_fingerprint("0x1", &fp));
}

static void base64_of_all_lengths(void **state)
{
	uint8_t bytes[64], back[64];
	char text[96];

	(void)state;
	for (size_t n = 1; n <= sizeof(bytes); n++) {
		size_t length;

		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(i * 37 + n);
		length = cr_base64_encode(bytes, n, text);
		assert_int_equal(length, (n + 2) / 3 * 4);
		assert_int_equal(cr_base64_decode(text, length, back, n), n);
		assert_memory_equal(back, bytes, n);
		assert_int_equal(cr_base64_decode(text, length, back, n - 1), 0);
		text[length / 2] = '-'; /* of another alphabet */
		assert_int_equal(cr_base64_decode(text, length, back, n), 0);
	}
	assert_int_equal(cr_base64_encode(NULL, 0, text), 0);
	assert_int_equal(cr_base64_decode("", 0, back, sizeof(back)), 0);
	assert_int_equal(cr_base64_decode("A===", 4, back, sizeof(back)), 0);
	assert_int_equal(cr_base64_decode("AA==AAAA", 8, back, sizeof(back)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_loki),
		cmocka_unit_test(round_trips),
		cmocka_unit_test(only_one_form),
		cmocka_unit_test(base64_of_all_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
