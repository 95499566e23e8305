/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bytes.h"
#include "json.h"

static bool add_string(struct cr_json *r, struct bytes *out)
{
	struct cr_json_span s;

	out->n = 0;
	if (!cr_json_string(r, &s))
		return false;
	if (!bytes_room(out, s.bytes + 1))
		return cr_json_fail(r, "a string is too long");
	out->n = cr_json_unescape(&s, out->p);
	return true;
}

static struct bytes *field_of(const struct cr_json_span *key, const struct json_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(fields[i].name) == key->bytes &&
		    memcmp(fields[i].name, key->p, key->bytes) == 0)
			return fields[i].to;
	return NULL;
}

bool json_read_fields(struct cr_json *r, const struct json_field *fields, size_t n)
{
	struct cr_json_span key;

	for (size_t i = 0; i < n; i++)
		fields[i].to->n = 0;
	cr_json_enter(r, '{');
	while (cr_json_next(r, &key)) {
		struct bytes *to = field_of(&key, fields, n);

		if (to ? !add_string(r, to) : !cr_json_skip(r))
			break;
	}
	return !r->error;
}
