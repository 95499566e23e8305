/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strings of a chunk's structured metadata and a block's entries that refer to them: u8 version,
 * u16 (little-endian) bytes of the strings' section, that section uncompressed, the block. Nothing
 * outside them is shown, pairs are in order, and with or without the strings there are the same lines.
 */
#include <errno.h>

#include "chunkring.h"
#include "fuzz.h"

#define HEAD_BYTES 3u

static void check_pairs(const struct cr_entry *e)
{
	FUZZ_CHECK(e->pairs_n <= e->stored_pairs);
	for (uint32_t i = 0; i < e->pairs_n; i++) {
		const struct cr_pair *p = &e->pairs[i], *q = p - 1;
		size_t n;
		int order;

		FUZZ_CHECK(p->name && p->value); /* every byte of them is there: sanitizers see it */
		(void)cr_crc32c(cr_crc32c(0, p->name, p->name_bytes), p->value, p->value_bytes);
		if (i == 0)
			continue;
		n = p->name_bytes < q->name_bytes ? p->name_bytes : q->name_bytes;
		order = memcmp(q->name, p->name, n);
		FUZZ_CHECK(order < 0 || (order == 0 && q->name_bytes < p->name_bytes));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct cr_decompressor *decompressor; /* from input to input, as in a worker */
	static struct cr_symbols symbols;
	static struct cr_entries with, without;
	struct cr_chunk chunk = { .codec = CR_CODEC_NONE, .symbols_off = HEAD_BYTES };
	struct cr_entry a, b;
	const uint8_t *raw;
	size_t raw_bytes;
	int rc, other, read;

	if (n < HEAD_BYTES)
		return 0;
	if (!decompressor)
		FUZZ_CHECK(cr_decompressor_open(&decompressor) == 0);
	chunk.version = 1 + data[0] % 4;
	chunk.symbols_bytes = data[1] | (uint64_t)data[2] << 8;
	if (chunk.symbols_bytes > n - HEAD_BYTES)
		chunk.symbols_bytes = n - HEAD_BYTES;
	raw = data + HEAD_BYTES + chunk.symbols_bytes;
	raw_bytes = n - HEAD_BYTES - chunk.symbols_bytes;

	read = cr_symbols_read(&symbols, decompressor, data, &chunk);
	FUZZ_CHECK(read == 0 || (read == -EBADMSG && symbols.error && symbols.n == 0));
	FUZZ_CHECK(symbols.n <= chunk.symbols_bytes && symbols.unused_bytes <= chunk.symbols_bytes);
	cr_entries_begin(&with, raw, raw_bytes, chunk.version, &symbols);
	cr_entries_begin(&without, raw, raw_bytes, chunk.version, NULL);
	do { /* ends: each entry takes two bytes */
		rc = cr_entries_next(&with, &a);
		other = cr_entries_next(&without, &b);
		FUZZ_CHECK(rc == other && with.off == without.off && with.off <= raw_bytes);
		FUZZ_CHECK(rc == 0 || rc == 1 || (rc == -EBADMSG && with.error));
		if (rc != 1)
			break;
		FUZZ_CHECK(a.ns == b.ns && a.line == b.line && a.line_bytes == b.line_bytes);
		FUZZ_CHECK((const uint8_t *)a.line >= raw && a.line_bytes <= raw_bytes);
		FUZZ_CHECK(b.pairs_n == 0 && a.stored_pairs == b.stored_pairs);
		check_pairs(&a);
	} while (rc == 1);
	FUZZ_CHECK(rc != 0 || with.off == raw_bytes);
	return 0;
}
