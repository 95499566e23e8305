/* SPDX-License-Identifier: Apache-2.0 */
/* A path: if it is a chunk's, its key has exactly that name. */
#include "chunkring.h"
#include "fuzz.h"

static bool ends_with(const char *path, const char *end)
{
	size_t n = strlen(path), m = strlen(end);

	return n >= m && strcmp(path + n - m, end) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *path = malloc(n + 1), made[CR_KEY_PATH_BYTES_MAX], *at = path;
	struct cr_key key;
	size_t made_bytes;

	FUZZ_CHECK(path);
	for (size_t i = 0; i < n; i++) { /* "//" is "/" to a file system, and to the key */
		if (data[i] != '/' || at == path || at[-1] != '/')
			*at++ = (char)data[i];
	}
	*at = '\0';
	if (cr_key_of_path(path, &key)) {
		FUZZ_CHECK(key.tenant_bytes == strlen(key.tenant) && key.tenant_bytes > 0);
		made_bytes = cr_key_path(&key, made);
		FUZZ_CHECK(made_bytes == strlen(made));
		FUZZ_CHECK(ends_with(path, made));
	}
	free(path);
	return 0;
}
