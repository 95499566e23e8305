/* SPDX-License-Identifier: Apache-2.0 */
#include "key.h"

#include <stdio.h>
#include <string.h>

#include "base64.h"

#define KEY_TEXT_MAX 320u /* tenant and 64 bytes of numbers */

/* ---- Hexadecimal as Go's %x writes it: lower case, no leading zero ---- */

static bool hex_read(const char **p, const char *end, uint64_t *out)
{
	const char *begin = *p;
	uint64_t x = 0;

	for (; *p < end; ++*p) {
		char c = **p;
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (d < 0)
			break;
		if (x >> 60)
			return false;
		x = x << 4 | (uint64_t)d;
	}
	*out = x;
	return *p > begin && (*begin != '0' || *p == begin + 1);
}

static bool signed_hex_read(const char **p, const char *end, int64_t *out)
{
	bool minus = *p < end && **p == '-';
	uint64_t x;

	*p += minus;
	if (!hex_read(p, end, &x))
		return false;
	if (minus) {
		if (x == 0 || x > (uint64_t)INT64_MAX + 1)
			return false;
		*out = (int64_t)(0 - x);
	} else {
		if (x > INT64_MAX)
			return false;
		*out = (int64_t)x;
	}
	return true;
}

static bool skip(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	++*p;
	return true;
}

/* FROM:THROUGH:CRC */
static bool times_read(const char *p, const char *end, struct key *out)
{
	uint64_t crc;

	if (!signed_hex_read(&p, end, &out->from_ms) || !skip(&p, end, ':') ||
	    !signed_hex_read(&p, end, &out->through_ms) || !skip(&p, end, ':') ||
	    !hex_read(&p, end, &crc) || crc > UINT32_MAX)
		return false;
	out->crc = (uint32_t)crc;
	return p == end;
}

/* Loki takes no tenant with a slash, "." or ".."; the rest is checked where the name is used. */
static bool tenant_set(struct key *out, const char *tenant, size_t n)
{
	if (n == 0 || n > TENANT_BYTES_MAX || memchr(tenant, '/', n) || memchr(tenant, '\0', n) ||
	    (n == 1 && tenant[0] == '.') || (n == 2 && memcmp(tenant, "..", 2) == 0))
		return false;
	memcpy(out->tenant, tenant, n);
	out->tenant[n] = '\0';
	out->tenant_bytes = (uint8_t)n;
	return true;
}

bool key_of_flat(const char *name, struct key *out)
{
	char text[KEY_TEXT_MAX];
	size_t n = base64_decode(name, strlen(name), text, sizeof(text));
	const char *slash = n ? memchr(text, '/', n) : NULL, *p, *end = text + n;

	if (!slash || !tenant_set(out, text, (size_t)(slash - text)))
		return false;
	p = slash + 1;
	out->flat = true;
	return hex_read(&p, end, &out->fingerprint) && skip(&p, end, ':') &&
	       times_read(p, end, out);
}

bool key_is_fingerprint(const char *name, uint64_t *out)
{
	const char *p = name, *end = name + strlen(name);

	return hex_read(&p, end, out) && p == end;
}

bool key_of_nested(const char *tenant, const char *fp, const char *name, struct key *out)
{
	char text[KEY_TEXT_MAX];
	size_t n = base64_decode(name, strlen(name), text, sizeof(text));

	out->flat = false;
	return n && tenant_set(out, tenant, strlen(tenant)) &&
	       key_is_fingerprint(fp, &out->fingerprint) && times_read(text, text + n, out);
}

/* The component of path that ends before *end; moves *end to its slash. */
static bool last_part(const char *path, const char **end, char out[NAME_BYTES_MAX + 1])
{
	const char *begin = *end;

	while (begin > path && begin[-1] != '/')
		begin--;
	if (begin == *end || (size_t)(*end - begin) > NAME_BYTES_MAX)
		return false;
	memcpy(out, begin, (size_t)(*end - begin));
	out[*end - begin] = '\0';
	while (begin > path && begin[-1] == '/')
		begin--;
	*end = begin;
	return true;
}

bool key_of_path(const char *path, struct key *out)
{
	char name[NAME_BYTES_MAX + 1], fp[NAME_BYTES_MAX + 1], tenant[NAME_BYTES_MAX + 1];
	const char *end = path + strlen(path);

	if (!last_part(path, &end, name))
		return false;
	if (key_of_flat(name, out))
		return true;
	return last_part(path, &end, fp) && last_part(path, &end, tenant) &&
	       key_of_nested(tenant, fp, name, out);
}

#define LOKI_TENANT_BYTES_MAX 150u

bool key_is_tenant(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				"!-_.*'()");

	return n > 0 && n <= LOKI_TENANT_BYTES_MAX && !name[n] && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

/* At least as long as "0:0:0" and mostly what a key's characters give: a cut, renamed or otherwise
 * mistreated name still shows its colons. */
bool key_is_near(const char *name)
{
	size_t n = strlen(name), start = 0, good = 0;
	char text[KEY_TEXT_MAX];

	while (start < n && base64_digit(name[start]) >= 0)
		start++;
	if (start < 8)
		return false;
	start -= start % 4;
	n = base64_decode(name, start < 400 ? start : 400, text, sizeof(text));
	for (size_t i = 0; i < n; i++)
		good += (text[i] >= '0' && text[i] <= ':') || (text[i] >= 'a' && text[i] <= 'f');
	return n >= 5 && good * 10 >= n * 8 && memchr(text, ':', n);
}

bool key_is_temporary(const char *name)
{
	static const char prefix[] = ".chunkring-", suffix[] = ".tmp";
	size_t n = strlen(name);

	return n >= sizeof(prefix) + sizeof(suffix) - 2 &&
	       memcmp(name, prefix, sizeof(prefix) - 1) == 0 &&
	       strcmp(name + n - (sizeof(suffix) - 1), suffix) == 0;
}

static void signed_hex_add(struct bytes *out, int64_t x)
{
	if (x < 0)
		bytes_printf(out, "-%llx", (unsigned long long)(0 - (uint64_t)x));
	else
		bytes_printf(out, "%llx", (unsigned long long)x);
}

void key_text(const struct key *key, struct bytes *out)
{
	bytes_printf(out, "%s/%llx%c", key->tenant, (unsigned long long)key->fingerprint,
		     key->flat ? ':' : '/');
	signed_hex_add(out, key->from_ms);
	bytes_addc(out, ':');
	signed_hex_add(out, key->through_ms);
	bytes_printf(out, ":%x", key->crc);
}
