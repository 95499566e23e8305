/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk's JSON metadata: read, again from the memory of the last one, and as any JSON by the reader
 * behind it. What is read as an object is JSON, and every string that is told is there.
 */
#include <errno.h>

#include "chunkring.h"
#include "fuzz.h"

static void check_labels(const struct cr_meta *m, size_t n)
{
	uint64_t bytes = m->tenant_bytes;
	uint32_t crc = cr_crc32c(0, m->tenant, m->tenant_bytes);

	FUZZ_CHECK(m->labels_n <= CR_LABELS_MAX);
	for (uint32_t i = 0; i < m->labels_n; i++) {
		const struct cr_label *l = &m->labels[i];

		bytes += l->name_bytes + (uint64_t)l->value_bytes;
		crc = cr_crc32c(cr_crc32c(crc, l->name, l->name_bytes), l->value, l->value_bytes);
	}
	FUZZ_CHECK(bytes <= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct cr_meta used;
	const char *json = (const char *)data;
	struct cr_meta fresh = { 0 };
	struct cr_json any;
	int rc = cr_meta_read(&fresh, json, n);

	FUZZ_CHECK(rc == 0 || rc == -EBADMSG);
	FUZZ_CHECK((rc == 0) == (fresh.error == NULL) && fresh.end_bytes <= n);
	check_labels(&fresh, n);
	FUZZ_CHECK(cr_meta_read(&used, json, n) == rc && used.end_bytes == fresh.end_bytes);
	FUZZ_CHECK(used.labels_n == fresh.labels_n && used.fingerprint == fresh.fingerprint &&
		   used.from_ms == fresh.from_ms && used.through_ms == fresh.through_ms);
	cr_json_begin(&any, json, n);
	if (rc == 0)
		FUZZ_CHECK(cr_json_skip(&any) && (size_t)(any.p - json) == fresh.end_bytes);
	else
		cr_json_skip(&any);
	FUZZ_CHECK(any.p <= any.end && any.depth <= CR_JSON_DEPTH_MAX + 1);
	cr_meta_free(&fresh);
	return 0;
}
