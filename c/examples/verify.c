/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are these the bytes of sound chunks? verify FILE... reads them one by one; an empty answer is a good one. It does not
 * compare a file's name and folder with the metadata in it, and checks the file's CRC only if its name is a chunk's.
 *
 *	find /loki/chunks/fake -type f | xargs verify
 *	cc -Ic/include c/examples/verify.c build/libchunkring.a -pthread
 */
#include <chunkring.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0 or an errno. *bytes is the caller's to free. */
static int read_file(const char *path, char **bytes, size_t *n)
{
	FILE *f = fopen(path, "rb");
	size_t cap = 0;

	*n = 0;
	*bytes = NULL;
	if (!f)
		return errno;
	do {
		char *more = *n < cap ? *bytes : realloc(*bytes, cap = 2 * cap + 65536);

		if (!more)
			break;
		*bytes = more;
		*n += fread(*bytes + *n, 1, cap - *n, f);
	} while (*n == cap);
	cap = ferror(f) || !feof(f);
	fclose(f);
	return cap ? EIO : 0;
}

static int check(const char *path, const char *file, size_t n)
{
	struct cr_verdict v;
	struct cr_key key;

	cr_chunk_verify(file, n, &v);
	if (v.reason != CR_REASON_NONE)
		printf("%s: %s\n", path, cr_chunk_reason_text(v.reason));
	else if (cr_key_of_path(path, &key) && v.crc != key.crc)
		printf("%s: its CRC32C is %08x, its name says %08x\n", path, v.crc, key.crc);
	else if (v.blocks_bad)
		printf("%s: Loki drops %u of its blocks\n", path, v.blocks_bad);
	else
		return 0;
	return 1;
}

int main(int argc, char **argv)
{
	int code = 0;

	for (int i = 1; i < argc; i++) {
		char *file;
		size_t n;
		int err = read_file(argv[i], &file, &n);

		if (err) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(err));
			code = 2;
		} else if (check(argv[i], file, n) != 0 && code == 0) {
			code = 1;
		}
		free(file);
	}
	return code;
}
