/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk from its two ends: what they say is what the whole file says, and no byte beyond them is
 * read (run under AddressSanitizer: each end is an allocation of its size).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "chunkring.h"
#include "corpus.h"

#define ASKS_MAX 6u

static uint8_t *copy(const uint8_t *p, size_t n)
{
	uint8_t *c = malloc(n + !n);

	assert_non_null(c);
	return n ? memcpy(c, p, n) : c;
}

static void same_blocks(const uint8_t *file, const uint8_t *metas, const struct cr_chunk *chunk)
{
	struct cr_block_cursor a = { 0 }, b = { 0 };
	struct cr_block x, y;
	int more;

	while ((more = cr_chunk_meta_next(metas, chunk, &a, &x)) == 1) {
		assert_int_equal(cr_chunk_meta_next(file + chunk->metas_off, chunk, &b, &y), 1);
		assert_true(x.off == y.off && x.found_off == x.off && x.state == CR_BLOCK_UNKNOWN &&
			    x.bytes == y.bytes && x.entries == y.entries &&
			    x.uncompressed_bytes == y.uncompressed_bytes &&
			    x.mint_ns == y.mint_ns && x.maxt_ns == y.maxt_ns);
	}
	assert_int_equal(more, cr_chunk_meta_next(file + chunk->metas_off, chunk, &b, &y));
}

/* Asks until there is an answer, from first bytes of each end on. */
static uint32_t outline(const uint8_t *file, size_t n, size_t first)
{
	struct cr_ends ends = { .file_bytes = n, .head_bytes = first < n ? first : n,
				.tail_bytes = first < n ? first : n };
	struct cr_chunk chunk, whole;
	uint32_t status, asks = 0;

	for (;;) {
		struct cr_ends had = ends;
		uint8_t *head = copy(file, ends.head_bytes);
		uint8_t *tail = copy(file + n - ends.tail_bytes, ends.tail_bytes);

		ends.head = head;
		ends.tail = tail;
		status = cr_chunk_outline(&ends, &chunk);
		assert_in_range(status, CR_ENDS_OK, CR_ENDS_WHOLE);
		if (status == CR_ENDS_OK) {
			assert_int_equal(cr_chunk_parse(file, n, &whole), CR_REASON_NONE);
			assert_same_chunk(&chunk, &whole);
			same_blocks(file, tail + (ends.tail_bytes - (n - chunk.metas_off)), &chunk);
		}
		free(head);
		free(tail);
		if (status != CR_ENDS_MORE)
			return status;
		assert_true(++asks <= ASKS_MAX);
		assert_true(ends.head_bytes <= n && ends.tail_bytes <= n);
		assert_true((ends.head_bytes > had.head_bytes && ends.tail_bytes == had.tail_bytes) ||
			    (ends.tail_bytes > had.tail_bytes && ends.head_bytes == had.head_bytes));
	}
}

static uint32_t whole_needed;

static void see(const char *path, const uint8_t *file, size_t n)
{
	static const size_t firsts[] = { 0, 1, 64, 1000, CR_ENDS_BYTES };
	uint32_t status = outline(file, n, SIZE_MAX);
	struct cr_chunk chunk;

	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		if (outline(file, n, firsts[i]) != status)
			fail_msg("%s: another answer from %zu bytes on", path, firsts[i]);
	}
	whole_needed += status == CR_ENDS_WHOLE && cr_chunk_parse(file, n, &chunk) == CR_REASON_NONE;
}

/* All that Loki writes; of testdata only the files whose blocks don't follow each other. */
static void good_files_need_no_more(void **state)
{
	(void)state;
	whole_needed = 0;
	assert_true(corpus_each("good", see) > 60);
	assert_int_equal(whole_needed, 2);
}

static void bad_files_too(void **state)
{
	(void)state;
	assert_true(corpus_each("bad", see) > 400);
}

/* Whatever is wrong with a file, its ends say no more than the whole: outline() compares. */
static void see_damaged(const char *path, const uint8_t *file, size_t n)
{
	uint8_t *damaged = copy(file, n);

	(void)path;
	for (size_t i = 0; i < 400 && i < n; i++) {
		size_t at = i % 2 ? n - 1 - i / 2 : i / 2;

		damaged[at] ^= (uint8_t)(1u << i % 8);
		outline(damaged, n, 64);
		damaged[at] = file[at];
	}
	for (size_t cut = 1; cut < 100 && cut < n; cut++)
		outline(file, n - cut, 64);
	free(damaged);
}

static void damage_at_both_ends(void **state)
{
	(void)state;
	corpus_each("good", see_damaged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_need_no_more),
		cmocka_unit_test(bad_files_too),
		cmocka_unit_test(damage_at_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
