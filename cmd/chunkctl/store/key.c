/* SPDX-License-Identifier: Apache-2.0 */
#include "key.h"

#include <string.h>

#include "base/bytes.h"

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define BASE64             LETTERS_AND_DIGITS "+/"

#define LOKI_TENANT_BYTES_MAX 150u

bool key_is_tenant(const char *name)
{
	size_t n = strspn(name, LETTERS_AND_DIGITS "!-_.*'()");

	return n > 0 && n <= LOKI_TENANT_BYTES_MAX && !name[n] && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

/* At least as long as "0:0:0" and mostly what a key's characters give: a cut, renamed or otherwise
 * mistreated name still shows its colons. */
bool key_is_near(const char *name)
{
	size_t n, start, good = 0;
	char text[300];

	start = strspn(name, BASE64);
	if (start < 8)
		return false;
	start -= start % 4;
	n = cr_base64_decode(name, start < 400 ? start : 400, text, sizeof(text));
	for (size_t i = 0; i < n; i++)
		good += (text[i] >= '0' && text[i] <= ':') || (text[i] >= 'a' && text[i] <= 'f');
	return n >= 5 && good * 10 >= n * 8 && memchr(text, ':', n);
}

bool key_is_misplaced(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct cr_key key;

	return !cr_key_of_path(path, &key) &&
	       cr_key_of_nested("x", "1", slash ? slash + 1 : path, &key);
}

bool key_is_temporary(const char *name)
{
	static const char prefix[] = ".chunkring-", suffix[] = ".tmp";
	size_t n = strlen(name);

	return n >= sizeof(prefix) + sizeof(suffix) - 2 &&
	       memcmp(name, prefix, sizeof(prefix) - 1) == 0 &&
	       strcmp(name + n - (sizeof(suffix) - 1), suffix) == 0;
}

static void time_add(struct bytes *out, int64_t ms)
{
	bytes_printf(out, "%s%llx:", ms < 0 ? "-" : "",
		     ms < 0 ? 0 - (unsigned long long)ms : (unsigned long long)ms);
}

void key_text(const struct cr_key *key, struct bytes *out)
{
	bytes_printf(out, "%s/%llx%c", key->tenant, (unsigned long long)key->fingerprint,
		     key->flat ? ':' : '/');
	time_add(out, key->from_ms);
	time_add(out, key->through_ms);
	bytes_printf(out, "%x", key->crc);
}
