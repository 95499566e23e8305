/* SPDX-License-Identifier: Apache-2.0 */
#include "labels.h"

#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/quote.h"

const char *labels_find(const struct cr_meta *m, const char *name, size_t len, size_t *n)
{
	for (uint32_t i = 0; i < m->labels_n; i++) {
		const struct cr_label *l = &m->labels[i];

		if (l->name_bytes != len || memcmp(l->name, name, len) != 0)
			continue;
		*n = l->value_bytes;
		return l->value;
	}
	return NULL;
}

void labels_text(const struct cr_meta *m, struct bytes *out)
{
	bytes_addc(out, '{');
	for (uint32_t i = 0; i < m->labels_n; i++) {
		const struct cr_label *l = &m->labels[i];

		if (i)
			bytes_adds(out, ", ");
		text_label(out, l->name, l->name_bytes, l->value,
			   l->value_bytes);
	}
	bytes_addc(out, '}');
}

static struct json_pair label_at(const void *meta, uint32_t i)
{
	const struct cr_meta *m = meta;
	const struct cr_label *l = &m->labels[i];

	return (struct json_pair){ l->name, l->value, l->name_bytes,
				   l->value_bytes };
}

void labels_json(const struct cr_meta *m, const char *key, struct bytes *out)
{
	json_pairs(out, key, label_at, m, m->labels_n);
}
