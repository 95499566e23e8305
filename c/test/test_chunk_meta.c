/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of a chunk: what Loki reads is read, where Loki fails is an error, and where memory ends too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunkring.h"
#include "corpus.h"

/* ---- Memory that can't be had ---- */

static uint32_t reallocs_left = UINT32_MAX;

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	if (reallocs_left != UINT32_MAX && reallocs_left-- == 0) {
		reallocs_left = 0;
		return NULL;
	}
	return __real_realloc(p, n);
}

/* ---- Reading ---- */

/* From an allocation of its size, which is gone when the answer is looked at. */
static int read_text(struct cr_meta *m, const char *json, size_t n)
{
	char *exact = malloc(n + !n);
	int rc;

	assert_non_null(exact);
	memcpy(exact, json, n);
	rc = cr_meta_read(m, exact, n);
	free(exact);
	assert_int_equal(rc == -EBADMSG, m->error != NULL);
	return rc;
}

static int read_string(struct cr_meta *m, const char *json)
{
	return read_text(m, json, strlen(json));
}

static void assert_bytes(const char *p, size_t n, const char *want)
{
	assert_int_equal(n, strlen(want));
	assert_memory_equal(p, want, n);
}

static void all_fields(void **state)
{
	static const char json[] =
		"{\"fingerprint\":18446744073709551615,\"userID\":\"te\\u006eant\",\"from\":1.5,"
		"\"through\":-2.25,\"metric\":{\"b\":\"2\",\"__name__\":\"logs\",\"a\":\"\\\"\\n\"},"
		"\"encoding\":129,\"more\":[1,{\"x\":[null,true,false,-1.5e+3]},\"\\ud83d\\ude00\"]}";
	struct cr_meta m = { 0 };

	(void)state;
	assert_int_equal(read_text(&m, json, sizeof(json) - 1), 0);
	assert_true(m.fingerprint == UINT64_MAX && m.from_ms == 1500 && m.through_ms == -1750);
	assert_true(m.has_encoding && m.encoding == 129);
	assert_bytes(m.tenant, m.tenant_bytes, "tenant");
	assert_int_equal(m.labels_n, 2);
	assert_bytes(m.labels[0].name, m.labels[0].name_bytes, "b");
	assert_bytes(m.labels[0].value, m.labels[0].value_bytes, "2");
	assert_bytes(m.labels[1].name, m.labels[1].name_bytes, "a");
	assert_bytes(m.labels[1].value, m.labels[1].value_bytes, "\"\n");
	assert_int_equal(m.end_bytes, sizeof(json) - 1);
	assert_false(m.twice || m.other_case || m.trailing);
	assert_int_equal(read_string(&m, "{}"), 0); /* used again: nothing is left of it */
	assert_true(m.labels_n == 0 && m.tenant_bytes == 0 && m.fingerprint == 0 && !m.has_encoding);
	cr_meta_free(&m);
}

static void oddities_are_told(void **state)
{
	struct cr_meta m = { 0 };

	(void)state;
	assert_int_equal(read_string(&m, "{\"from\":1,\"from\":2} "), 0);
	assert_true(m.twice && !m.other_case && !m.trailing && m.from_ms == 2000);
	assert_int_equal(read_string(&m, "{\"FROM\":1}x"), 0);
	assert_true(!m.twice && m.other_case && m.trailing && m.from_ms == 1000);
	assert_int_equal(m.end_bytes, 10);
	assert_int_equal(read_string(&m, "{\"metric\":{\"a\":\"b\"},\"metric\":null}"), 0);
	assert_true(m.twice && m.labels_n == 0);
	assert_int_equal(read_string(&m, "null"), 0);
	assert_int_equal(m.end_bytes, 4);
	cr_meta_free(&m);
}

static void times(void **state)
{
	static const struct { const char *text; int64_t ms; } good[] = {
		{ "0", 0 }, { "1", 1000 }, { "1.5", 1500 }, { "1.0005", 1000 }, { "-0.5", -500 },
		{ "-1.5", -500 }, /* Loki's own sum: -1000 + 500, but for what is above 0 */
		{ "9223372036854775.807", INT64_MAX },
	};
	static const char *const bad[] = { "\"1\"", "1e3", "9223372036854775.808", "9223372036854776",
					   "--1", "1.", "null", "99999999999999999999" };
	struct cr_meta m = { 0 };
	char json[64];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(json, sizeof(json), "{\"from\":%s}", good[i].text);
		assert_int_equal(read_string(&m, json), 0);
		assert_true(m.from_ms == good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(json, sizeof(json), "{\"from\":%s}", bad[i]);
		if (read_string(&m, json) != -EBADMSG)
			fail_msg("%s is a time", bad[i]);
	}
	cr_meta_free(&m);
}

static void malformed(void **state)
{
	static const char *const bad[] = {
		"", " ", "[]", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{,}",
		"{\"a\":[1,]}", "{\"a\":[,1]}", "{\"a\":\"", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}",
		"{\"a\":\"\\u123", "{\"a\":\"\n\"}", "{\"a\":tru}", "{\"a\":01x}", "{\"a\":-}",
		"{\"a\":1.}", "{\"a\":1e}", "{a:1}", "{\"fingerprint\":-1}", "{\"fingerprint\":\"5\"}",
		"{\"fingerprint\":18446744073709551616}", "{\"encoding\":256}", "{\"userID\":5}",
		"{\"metric\":{\"a\":1}}", "{\"metric\":[]}", "{\"a\":}", "nul", "{\"a\":\"\\",
	};
	struct cr_meta m = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (read_string(&m, bad[i]) != -EBADMSG)
			fail_msg("%s is read", bad[i]);
		assert_true(m.end_bytes <= strlen(bad[i]));
	}
	cr_meta_free(&m);
}

/* Lone surrogates, and what is one character of two. */
static void escapes(void **state)
{
	static const char json[] = "{\"userID\":\"\\ud83d\\ude00 \\ud83d \\ude00\\ud83d\\u0041\\/\\b\\f\\r\\t"
				   "\\u0000\\u00e9\\u20ac\"}";
	static const char want[] = "\xf0\x9f\x98\x80 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd"
				   "A/\b\f\r\t\0\xc3\xa9\xe2\x82\xac";
	struct cr_meta m = { 0 };
	char utf8[4];

	(void)state;
	assert_int_equal(read_string(&m, json), 0);
	assert_int_equal(m.tenant_bytes, sizeof(want) - 1);
	assert_memory_equal(m.tenant, want, sizeof(want) - 1);
	assert_int_equal(cr_utf8(0x110000, utf8), 3);
	assert_memory_equal(utf8, "\xef\xbf\xbd", 3);
	assert_int_equal(cr_utf8(0x7f, utf8), 1);
	assert_int_equal(cr_utf8(0x10ffff, utf8), 4);
	assert_memory_equal(utf8, "\xf4\x8f\xbf\xbf", 4);
	cr_meta_free(&m);
}

static char *many(const char *open, const char *each, size_t n, const char *close)
{
	size_t bytes = strlen(open) + n * strlen(each) + strlen(close) + 1;
	char *s = malloc(bytes), *at;

	assert_non_null(s);
	at = stpcpy(s, open);
	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, each);
	strcpy(at, close);
	return s;
}

static void bounds(void **state)
{
	static const struct {
		const char *open, *each;
		size_t n;
		const char *close, *why; /* why not; NULL: it is read */
	} forms[] = {
		{ "{\"a\":", "[", CR_JSON_DEPTH_MAX - 1, "x", "a number was expected" },
		{ "{\"a\":", "[", CR_JSON_DEPTH_MAX, "x", "nested too deep" },
		{ "{\"metric\":{\"x\":\"\"", ",\"a\":\"b\"", CR_LABELS_MAX - 1, "}}", NULL },
		{ "{\"metric\":{\"x\":\"\"", ",\"a\":\"b\"", CR_LABELS_MAX, "}}", "more than 4096 labels" },
		{ "{\"userID\":\"", "x", CR_META_BYTES_MAX - 13, "\"}", NULL },
		{ "{\"userID\":\"", "x", CR_META_BYTES_MAX - 12, "\"}", "longer than 4 MiB" },
	};
	struct cr_meta m = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		char *json = many(forms[i].open, forms[i].each, forms[i].n, forms[i].close);

		assert_int_equal(read_string(&m, json), forms[i].why ? -EBADMSG : 0);
		if (forms[i].why)
			assert_string_equal(m.error, forms[i].why);
		free(json);
	}
	cr_meta_free(&m);
}

static void memory_ends(void **state)
{
	char *json = many("{\"metric\":{\"x\":\"\"", ",\"a\":\"b\"", 40, "},\"from\":1}");
	struct cr_meta m = { 0 };
	uint32_t n = 0;
	int rc;

	(void)state;
	do {
		cr_meta_free(&m);
		reallocs_left = n++;
		rc = cr_meta_read(&m, json, strlen(json));
		reallocs_left = UINT32_MAX;
		assert_true(rc == 0 || rc == -ENOMEM);
	} while (rc != 0);
	assert_true(n > 3); /* the text, and the labels more than once */
	assert_int_equal(m.labels_n, 41);
	cr_meta_free(&m);
	free(json);
}

/* ---- What Loki writes, and every cut of it ---- */

static void see(const char *path, const uint8_t *file, size_t n)
{
	struct cr_meta m = { 0 };
	struct cr_chunk chunk;
	char *json;

	if (cr_chunk_parse(file, n, &chunk) != CR_REASON_NONE)
		fail_msg("%s: %s", path, cr_chunk_reason_text(cr_chunk_parse(file, n, &chunk)));
	json = malloc(chunk.json_bytes);
	assert_non_null(json);
	assert_int_equal(cr_chunk_json(file, &chunk, json, chunk.json_bytes), 0);
	assert_int_equal(read_text(&m, json, chunk.json_bytes), 0);
	assert_true(m.labels_n > 0 && m.tenant_bytes > 0 && m.has_encoding);
	assert_true(cr_chunk_json_is_last(file, &chunk, m.end_bytes));
	for (size_t cut = 0; cut < m.end_bytes; cut++)
		assert_int_equal(read_text(&m, json, cut), -EBADMSG);
	cr_meta_free(&m);
	free(json);
}

static void chunks_of_loki(void **state)
{
	(void)state;
	assert_true(corpus_each("good", see) > 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fields),
		cmocka_unit_test(oddities_are_told),
		cmocka_unit_test(times),
		cmocka_unit_test(malformed),
		cmocka_unit_test(escapes),
		cmocka_unit_test(bounds),
		cmocka_unit_test(memory_ends),
		cmocka_unit_test(chunks_of_loki),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
