/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines and their structured metadata, out of blocks that are right, cut, or made to harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chunkring.h"
#include "corpus.h"

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

/* ---- Making blocks ---- */

struct text {
	uint8_t p[4096];
	size_t  n;
};

static void put(struct text *t, const void *p, size_t n)
{
	assert_true(n <= sizeof(t->p) - t->n);
	memcpy(t->p + t->n, p, n);
	t->n += n;
}

static void put_uvarint(struct text *t, uint64_t x)
{
	for (; x >= 0x80; x >>= 7)
		put(t, &(uint8_t){ (uint8_t)(x | 0x80) }, 1);
	put(t, &(uint8_t){ (uint8_t)x }, 1);
}

static void put_string(struct text *t, const char *s)
{
	put_uvarint(t, strlen(s));
	put(t, s, strlen(s));
}

static void put_entry(struct text *t, int64_t ns, const char *line)
{
	put_uvarint(t, (uint64_t)ns << 1 ^ (uint64_t)(ns >> 63));
	put_string(t, line);
}

/* n pairs of numbers; the length of them is not looked at. */
static void put_pairs(struct text *t, const uint32_t *symbols, size_t n)
{
	put_uvarint(t, 0);
	put_uvarint(t, n);
	for (size_t i = 0; i < 2 * n; i++)
		put_uvarint(t, symbols[i]);
}

/* A section without compression. */
static int take_symbols(struct cr_symbols *sy, struct cr_decompressor *decompressor, const struct text *t)
{
	struct cr_chunk chunk = { .version = 4, .codec = CR_CODEC_NONE, .symbols_bytes = t->n };
	uint8_t *exact = malloc(t->n + !t->n);
	int rc;

	assert_non_null(exact);
	memcpy(exact, t->p, t->n);
	rc = cr_symbols_read(sy, decompressor, exact, &chunk);
	free(exact);
	assert_int_equal(rc == -EBADMSG, sy->error != NULL);
	return rc;
}

static struct cr_decompressor *decompressor(void)
{
	static struct cr_decompressor *d;

	if (!d)
		assert_int_equal(cr_decompressor_open(&d), 0);
	return d;
}

static void symbols_of(struct cr_symbols *sy, const char *const *strings, size_t n)
{
	struct text t = { .n = 0 };

	put_uvarint(&t, n);
	for (size_t i = 0; i < n; i++)
		put_string(&t, strings[i]);
	assert_int_equal(take_symbols(sy, decompressor(), &t), 0);
	assert_int_equal(sy->n, n);
	assert_int_equal(sy->unused_bytes, 0);
}

static void assert_text(const char *p, size_t n, const char *want)
{
	assert_int_equal(n, strlen(want));
	assert_memory_equal(p, want, n);
}

/* ---- What is right ---- */

static void lines_of_each_format(void **state)
{
	static const int64_t times[] = { 0, -1, INT64_MAX, INT64_MIN, 1700000000000000000 };
	struct cr_entries r = { 0 };
	struct cr_entry e;

	(void)state;
	for (uint8_t version = 1; version <= 4; version++) {
		struct text t = { .n = 0 };

		for (size_t i = 0; i < 5; i++) {
			put_entry(&t, times[i], i % 2 ? "" : "a line");
			if (version == 4)
				put_pairs(&t, NULL, 0);
		}
		cr_entries_begin(&r, t.p, t.n, version, NULL);
		for (size_t i = 0; i < 5; i++) {
			assert_int_equal(cr_entries_next(&r, &e), 1);
			assert_true(e.ns == times[i]);
			assert_text(e.line, e.line_bytes, i % 2 ? "" : "a line");
			assert_int_equal(e.pairs_n, 0);
		}
		assert_int_equal(cr_entries_next(&r, &e), 0);
		assert_int_equal(r.off, t.n);
	}
	cr_entries_free(&r);
}

/* As Loki serves it: sorted, the last of a name, names that Prometheus takes. */
static void pairs_as_served(void **state)
{
	static const char *const strings[] = { "z", "a.b", "value", "a_b", "other", "" };
	static const uint32_t pairs[] = { 0, 2, 1, 2, 3, 4, 5, 5 };
	struct cr_symbols sy = { 0 };
	struct cr_entries r = { 0 };
	struct text t = { .n = 0 };
	struct cr_entry e;

	(void)state;
	symbols_of(&sy, strings, 6);
	put_entry(&t, 1, "x");
	put_pairs(&t, pairs, 4);
	for (int again = 0; again < 2; again++) { /* names are made once */
		cr_entries_begin(&r, t.p, t.n, 4, &sy);
		assert_int_equal(cr_entries_next(&r, &e), 1);
		assert_int_equal(e.pairs_n, 3);
		assert_text(e.pairs[0].name, e.pairs[0].name_bytes, "");
		assert_text(e.pairs[1].name, e.pairs[1].name_bytes, "a_b");
		assert_text(e.pairs[1].value, e.pairs[1].value_bytes, "other");
		assert_text(e.pairs[2].name, e.pairs[2].name_bytes, "z");
		assert_text(e.pairs[2].value, e.pairs[2].value_bytes, "value");
		assert_int_equal(e.stored_pairs, 4);
		assert_int_equal(e.stored_bytes, 1 + 5 + 3 + 5 + 3 + 5);
		assert_false(r.bad_ref || r.nameless);
		assert_int_equal(cr_entries_next(&r, &e), 0);
	}
	cr_entries_begin(&r, t.p, t.n, 4, NULL);
	assert_int_equal(cr_entries_next(&r, &e), 1);
	assert_true(e.pairs_n == 0 && e.stored_pairs == 4);
	cr_entries_free(&r);
	cr_symbols_free(&sy);
}

static void names(void **state)
{
	static const struct { const char *stored, *shown; bool nameless; } forms[] = {
		{ "plain", "plain", false }, { "a.b", "a_b", false }, { "a..-b", "a_b", false },
		{ ".a", "_a", false }, { "a.", "a_", false }, { "1a", "key_1a", false },
		{ "__a__", "__a__", false }, { "__a.b__", "__a_b__", false }, { "__1__", "__1__", false },
		{ "_a", "_a", false }, { "____", "____", true }, { "__", "__", true },
		{ "\xd0\xb3\xd0\xbe", "\xd0\xb3\xd0\xbe", true }, { "-", "-", true },
		{ "a\xd0\xb3", "a_", false }, { "9", "key_9", false },
	};
	const char *strings[sizeof(forms) / sizeof(forms[0])];
	struct cr_symbols sy = { 0 };
	struct cr_entries r = { 0 };
	struct cr_entry e;
	uint32_t n = sizeof(forms) / sizeof(forms[0]);

	(void)state;
	for (uint32_t i = 0; i < n; i++)
		strings[i] = forms[i].stored;
	symbols_of(&sy, strings, n);
	for (uint32_t i = n; i-- > 0;) {
		struct text t = { .n = 0 };

		put_entry(&t, 1, "");
		put_pairs(&t, (uint32_t[]){ i, i }, 1);
		cr_entries_begin(&r, t.p, t.n, 4, &sy);
		assert_int_equal(cr_entries_next(&r, &e), 1);
		assert_text(e.pairs[0].name, e.pairs[0].name_bytes, forms[i].shown);
		assert_text(e.pairs[0].value, e.pairs[0].value_bytes, forms[i].stored);
		assert_int_equal(r.nameless, forms[i].nameless);
	}
	cr_entries_free(&r);
	cr_symbols_free(&sy);
}

/* Loki takes a string that does not exist for "". */
static void references_to_nothing(void **state)
{
	static const char *const strings[] = { "a" };
	struct cr_symbols sy = { 0 }, none = { 0 };
	struct cr_entries r = { 0 };
	struct text t = { .n = 0 };
	struct cr_entry e;

	(void)state;
	symbols_of(&sy, strings, 1);
	put_entry(&t, 1, "x");
	put_pairs(&t, (uint32_t[]){ 0, 1 }, 1);
	for (int i = 0; i < 2; i++) {
		cr_entries_begin(&r, t.p, t.n, 4, i ? &none : &sy);
		assert_int_equal(cr_entries_next(&r, &e), 1);
		assert_text(e.pairs[0].name, e.pairs[0].name_bytes, i ? "" : "a");
		assert_text(e.pairs[0].value, e.pairs[0].value_bytes, "");
		assert_true(r.bad_ref);
	}
	cr_entries_free(&r);
	cr_symbols_free(&sy);
}

/* ---- What is wrong ---- */

static void every_cut(void **state)
{
	static const char *const strings[] = { "a", "b" };
	size_t ends[4], n_ends = 0;
	struct cr_symbols sy = { 0 };
	struct cr_entries r = { 0 };
	struct text t = { .n = 0 };
	struct cr_entry e;

	(void)state;
	symbols_of(&sy, strings, 2);
	ends[n_ends++] = 0;
	for (int i = 0; i < 3; i++) {
		put_entry(&t, 1700000000000000000, "a line of some length");
		put_pairs(&t, (uint32_t[]){ 0, 1, 1, 0 }, 2);
		ends[n_ends++] = t.n;
	}
	for (size_t cut = 0; cut <= t.n; cut++) {
		uint8_t *exact = malloc(cut + !cut);
		size_t whole = 0, entries = 0;
		int rc;

		assert_non_null(exact);
		memcpy(exact, t.p, cut);
		while (whole + 1 < n_ends && ends[whole + 1] <= cut)
			whole++;
		cr_entries_begin(&r, exact, cut, 4, &sy);
		while ((rc = cr_entries_next(&r, &e)) == 1)
			entries++;
		assert_int_equal(entries, whole);
		assert_int_equal(rc, ends[whole] == cut ? 0 : -EBADMSG);
		assert_int_equal(r.error != NULL, rc != 0);
		assert_int_equal(cr_entries_next(&r, &e), rc); /* and from then on */
		assert_true(r.off <= cut);
		free(exact);
	}
	cr_entries_free(&r);
	cr_symbols_free(&sy);
}

static void expect_malformed(const struct text *t)
{
	struct cr_symbols none = { 0 };
	struct cr_entries r = { 0 };
	struct cr_entry e;

	cr_entries_begin(&r, t->p, t->n, 4, &none);
	assert_int_equal(cr_entries_next(&r, &e), -EBADMSG);
	assert_non_null(r.error);
	cr_entries_free(&r);
}

static void lengths_that_lie(void **state)
{
	struct text t = { .n = 0 };

	(void)state;
	put_uvarint(&t, 0);
	put_uvarint(&t, UINT64_MAX);
	expect_malformed(&t);
	t.n = 1;
	put_uvarint(&t, CR_LINE_BYTES_MAX);
	expect_malformed(&t);
	t.n = 1;
	put_uvarint(&t, 1);
	expect_malformed(&t);
	t.n = 0;
	put_entry(&t, 0, "");
	put_uvarint(&t, 0);
	put_uvarint(&t, UINT64_MAX); /* pairs: nothing is allocated for them */
	expect_malformed(&t);
}

static void symbols_malformed(void **state)
{
	struct cr_chunk chunk = { .version = 4, .codec = CR_CODEC_GZIP, .symbols_bytes = 5 };
	struct cr_symbols sy = { 0 };
	struct text t = { .n = 0 };

	(void)state;
	assert_int_equal(take_symbols(&sy, decompressor(), &t), 0); /* no count: Loki goes on */
	put_uvarint(&t, 1);
	assert_int_equal(take_symbols(&sy, decompressor(), &t), -EBADMSG); /* and no string */
	put_uvarint(&t, 5);
	assert_int_equal(take_symbols(&sy, decompressor(), &t), -EBADMSG); /* which is cut */
	put(&t, "abcde+", 6);
	assert_int_equal(take_symbols(&sy, decompressor(), &t), 0);
	assert_true(sy.n == 1 && sy.unused_bytes == 1);
	t.p[0] = 100; /* more than there are bytes */
	assert_int_equal(take_symbols(&sy, decompressor(), &t), -EBADMSG);
	assert_int_equal(sy.n, 0);
	t.p[0] = 0;
	assert_int_equal(take_symbols(&sy, decompressor(), &t), 0);
	assert_int_equal(sy.unused_bytes, 7);
	assert_int_equal(cr_symbols_read(&sy, decompressor(), "\x01gzip", &chunk), -EBADMSG);
	assert_string_equal(sy.error, "it does not inflate");
	assert_int_equal(cr_symbols_read(&sy, decompressor(), "\x00gzip", &chunk), 0); /* nobody asks for it */
	assert_int_equal(sy.unused_bytes, 4);
	chunk.version = 3;
	assert_int_equal(cr_symbols_read(&sy, decompressor(), NULL, &chunk), 0);
	cr_symbols_free(&sy);
}

/* ---- Memory ---- */

static void memory_ends(void **state)
{
	static const char *const strings[] = { "a", "b" };
	struct cr_symbols sy = { 0 };
	struct cr_entries r = { 0 };
	struct text t = { .n = 0 }, s = { .n = 0 };
	struct cr_entry e;
	uint32_t n = 0;
	int rc;

	(void)state;
	put_uvarint(&s, 2);
	put_string(&s, strings[0]);
	put_string(&s, strings[1]);
	do {
		cr_symbols_free(&sy);
		reallocs_left = n++;
		rc = take_symbols(&sy, decompressor(), &s);
		reallocs_left = UINT32_MAX;
		assert_true(rc == 0 || (rc == -ENOMEM && sy.n == 0));
	} while (rc != 0);
	assert_int_equal(n, 4); /* text, list, names */
	put_entry(&t, 1, "x");
	put_pairs(&t, (uint32_t[]){ 0, 1 }, 1);
	cr_entries_begin(&r, t.p, t.n, 4, &sy);
	reallocs_left = 0;
	assert_int_equal(cr_entries_next(&r, &e), -ENOMEM);
	reallocs_left = UINT32_MAX;
	cr_entries_begin(&r, t.p, t.n, 4, &sy);
	assert_int_equal(cr_entries_next(&r, &e), 1);
	assert_int_equal(e.pairs_n, 1);
	cr_entries_free(&r);
	cr_symbols_free(&sy);
}

/* The room is in proportion to the block until the decompressor says more, and has an end. */
static void room_grows(void **state)
{
	uint8_t *big = calloc(1, CR_RAW_BYTES_MAX + 1);
	struct cr_buf out = { 0 };

	(void)state;
	assert_non_null(big);
	assert_int_equal(cr_block_decompress_grow(decompressor(), CR_CODEC_NONE, "abc", 3, UINT64_MAX, &out),
			 CR_DECOMPRESS_OK);
	assert_true(out.bytes == 3 && out.cap_bytes < (1u << 17));
	assert_int_equal(cr_block_decompress_grow(decompressor(), CR_CODEC_NONE, big, 1 << 20, 1, &out),
			 CR_DECOMPRESS_OK);
	assert_int_equal(out.bytes, 1 << 20);
	assert_int_equal(cr_block_decompress_grow(decompressor(), CR_CODEC_NONE, big, CR_RAW_BYTES_MAX, 0, &out),
			 CR_DECOMPRESS_OK);
	assert_int_equal(cr_block_decompress_grow(decompressor(), CR_CODEC_NONE, big, CR_RAW_BYTES_MAX + 1, 0, &out),
			 CR_DECOMPRESS_ROOM);
	assert_int_equal(out.bytes, 0);
	assert_int_equal(cr_block_decompress_grow(decompressor(), CR_CODEC_GZIP, "abc", 3, 0, &out), CR_DECOMPRESS_BAD);
	assert_int_equal(cr_block_decompress_grow(decompressor(), 2, "abc", 3, 0, &out), CR_DECOMPRESS_CODEC);
	free(out.p);
	out = (struct cr_buf){ 0 };
	reallocs_left = 0;
	assert_int_equal(cr_block_decompress_grow(decompressor(), CR_CODEC_NONE, "abc", 3, 0, &out),
			 CR_DECOMPRESS_NO_MEMORY);
	reallocs_left = UINT32_MAX;
	free(out.p);
	free(big);
}

/* ---- Chunks of Loki ---- */

static uint64_t with_pairs;

static void see(const char *path, const uint8_t *file, size_t n)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_symbols sy = { 0 };
	struct cr_entries r = { 0 };
	struct cr_buf raw = { 0 };
	struct cr_chunk chunk;
	struct cr_block b;
	struct cr_entry e;

	assert_int_equal(cr_chunk_parse(file, n, &chunk), CR_REASON_NONE);
	assert_int_equal(cr_symbols_read(&sy, decompressor(), file, &chunk), 0);
	assert_int_equal(sy.n, chunk.symbols);
	while (cr_chunk_block_next(file, &chunk, &cursor, &b) == 1) {
		uint64_t entries = 0;
		int rc;

		assert_int_equal(cr_block_decompress_grow(decompressor(), chunk.codec, file + b.found_off, b.bytes,
						      b.uncompressed_bytes, &raw), CR_DECOMPRESS_OK);
		cr_entries_begin(&r, raw.p, raw.bytes, chunk.version, &sy);
		for (; (rc = cr_entries_next(&r, &e)) == 1; entries++)
			with_pairs += e.pairs_n > 0;
		if (rc != 0 || entries != b.entries)
			fail_msg("%s: %s, %llu of %llu entries", path, r.error ? r.error : "the end",
				 (unsigned long long)entries, (unsigned long long)b.entries);
		assert_false(r.bad_ref);
	}
	free(raw.p);
	cr_entries_free(&r);
	cr_symbols_free(&sy);
}

static void chunks_of_loki(void **state)
{
	(void)state;
	assert_true(corpus_each("good", see) > 60);
	assert_true(with_pairs > 0);
}

static int close_decompressor(void **state)
{
	(void)state;
	cr_decompressor_close(decompressor());
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_each_format),
		cmocka_unit_test(pairs_as_served),
		cmocka_unit_test(names),
		cmocka_unit_test(references_to_nothing),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(lengths_that_lie),
		cmocka_unit_test(symbols_malformed),
		cmocka_unit_test(memory_ends),
		cmocka_unit_test(room_grows),
		cmocka_unit_test(chunks_of_loki),
	};

	return cmocka_run_group_tests(tests, NULL, close_decompressor);
}
