/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of chunk files. Loki asks for a chunk by a name made of its key, so a name is a chunk's only
 * if it is exactly what Loki would make of that key.
 */
#include <stdio.h>
#include <string.h>

#include "chunkring.h"

#define NAME_BYTES_MAX 255u
#define KEY_TEXT_MAX   320u /* tenant and 64 bytes of numbers */

_Static_assert(CR_KEY_PATH_BYTES_MAX > (KEY_TEXT_MAX + 2) / 3 * 4, "a flat name fits");
_Static_assert(CR_KEY_PATH_BYTES_MAX > CR_TENANT_BYTES_MAX + 18 + 64, "a nested path fits");

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
static bool times_read(const char *p, const char *end, struct cr_key *out)
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
static bool tenant_set(struct cr_key *out, const char *tenant, size_t n)
{
	if (n == 0 || n > CR_TENANT_BYTES_MAX || memchr(tenant, '/', n) || memchr(tenant, '\0', n) ||
	    (n == 1 && tenant[0] == '.') || (n == 2 && memcmp(tenant, "..", 2) == 0))
		return false;
	memcpy(out->tenant, tenant, n);
	out->tenant[n] = '\0';
	out->tenant_bytes = (uint8_t)n;
	return true;
}

bool cr_key_of_flat(const char *name, struct cr_key *out)
{
	char text[KEY_TEXT_MAX];
	size_t n = cr_base64_decode(name, strlen(name), text, sizeof(text));
	const char *slash = n ? memchr(text, '/', n) : NULL, *p, *end = text + n;

	if (!slash || !tenant_set(out, text, (size_t)(slash - text)))
		return false;
	p = slash + 1;
	out->flat = true;
	return hex_read(&p, end, &out->fingerprint) && skip(&p, end, ':') &&
	       times_read(p, end, out);
}

bool cr_key_fingerprint(const char *folder, uint64_t *out)
{
	const char *p = folder, *end = folder + strlen(folder);

	return hex_read(&p, end, out) && p == end;
}

bool cr_key_of_nested(const char *tenant, const char *fp, const char *name, struct cr_key *out)
{
	char text[KEY_TEXT_MAX];
	size_t n = cr_base64_decode(name, strlen(name), text, sizeof(text));

	out->flat = false;
	return n && tenant_set(out, tenant, strlen(tenant)) &&
	       cr_key_fingerprint(fp, &out->fingerprint) && times_read(text, text + n, out);
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

bool cr_key_of_path(const char *path, struct cr_key *out)
{
	char name[NAME_BYTES_MAX + 1], fp[NAME_BYTES_MAX + 1], tenant[NAME_BYTES_MAX + 1];
	const char *end = path + strlen(path);

	if (!last_part(path, &end, name))
		return false;
	if (cr_key_of_flat(name, out))
		return true;
	return last_part(path, &end, fp) && last_part(path, &end, tenant) &&
	       cr_key_of_nested(tenant, fp, name, out);
}

/* ---- From a key to its name ---- */

static int signed_hex(char *out, size_t cap, int64_t x)
{
	unsigned long long size = x < 0 ? 0 - (unsigned long long)x : (unsigned long long)x;

	return snprintf(out, cap, "%s%llx", x < 0 ? "-" : "", size);
}

static size_t times_text(const struct cr_key *key, char *out, size_t cap)
{
	size_t n = (size_t)signed_hex(out, cap, key->from_ms);

	out[n++] = ':';
	n += (size_t)signed_hex(out + n, cap - n, key->through_ms);
	return n + (size_t)snprintf(out + n, cap - n, ":%x", key->crc);
}

size_t cr_key_path(const struct cr_key *key, char out[CR_KEY_PATH_BYTES_MAX])
{
	unsigned long long fp = key->fingerprint;
	char text[KEY_TEXT_MAX];
	size_t n = 0, at = 0;

	if (key->flat)
		n = (size_t)snprintf(text, sizeof(text), "%s/%llx:", key->tenant, fp);
	else
		at = (size_t)snprintf(out, CR_KEY_PATH_BYTES_MAX, "%s/%llx/", key->tenant, fp);
	n += times_text(key, text + n, sizeof(text) - n);
	at += cr_base64_encode(text, n, out + at);
	out[at] = '\0';
	return at;
}
