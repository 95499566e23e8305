/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the log lines of a chunk file: lines < FILE
 *
 *	cc -Ic/include c/examples/lines.c build/libchunkring.a -pthread
 */
#include <chunkring.h>
#include <stdio.h>
#include <stdlib.h>

static void print_entry(const struct cr_entry *e)
{
	printf("%lld", (long long)e->ns);
	for (uint32_t i = 0; i < e->pairs_n; i++) {
		const struct cr_pair *p = &e->pairs[i];

		printf(" %.*s=%.*s", (int)p->name_bytes, p->name, (int)p->value_bytes, p->value);
	}
	putchar(' ');
	fwrite(e->line, 1, e->line_bytes, stdout);
	putchar('\n');
}

/* 0, or 1 where lines are missing. */
static int print_lines(const char *file, const struct cr_chunk *chunk, struct cr_decompressor *decompressor)
{
	struct cr_block_cursor cursor = { 0 };
	struct cr_symbols symbols = { 0 };
	struct cr_entries entries = { 0 };
	struct cr_buf raw = { 0 };
	struct cr_block block;
	struct cr_entry entry;
	int more, failed = cr_symbols_read(&symbols, decompressor, file, chunk) != 0;

	while ((more = cr_chunk_block_next(file, chunk, &cursor, &block)) > 0) {
		if (block.state == CR_BLOCK_BAD ||
		    cr_block_decompress_grow(decompressor, chunk->codec, file + block.found_off, block.bytes,
					 block.uncompressed_bytes, &raw) != CR_DECOMPRESS_OK) {
			failed = 1;
			continue;
		}
		cr_entries_begin(&entries, raw.p, raw.bytes, chunk->version, &symbols);
		while ((more = cr_entries_next(&entries, &entry)) > 0)
			print_entry(&entry);
		failed |= more < 0;
	}
	cr_entries_free(&entries);
	cr_symbols_free(&symbols);
	free(raw.p);
	return failed || more < 0;
}

int main(int argc, char **argv)
{
	char *file = malloc(CR_FILE_BYTES_DEFAULT);
	size_t n = file ? fread(file, 1, CR_FILE_BYTES_DEFAULT, stdin) : 0;
	struct cr_decompressor *decompressor;
	struct cr_chunk chunk;
	uint32_t reason;
	int code;

	if (argc > 1) {
		fprintf(stderr, "usage: %s < FILE\n", argv[0]);
		return 2;
	}
	if (!file || cr_decompressor_open(&decompressor) != 0)
		return 2;
	reason = cr_chunk_parse(file, n, &chunk);
	if (reason != CR_REASON_NONE) {
		fprintf(stderr, "not a chunk that Loki can read: %s\n", cr_chunk_reason_text(reason));
		code = 1;
	} else {
		code = print_lines(file, &chunk, decompressor);
	}
	cr_decompressor_close(decompressor);
	free(file);
	return code;
}
