/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk's metadata: the JSON object in its envelope. */
#ifndef CHUNKCTL_META_H
#define CHUNKCTL_META_H

#include "util.h"

#define LABELS_MAX 4096u /* of one stream; Loki allows 15 unless told otherwise */

struct label {
	uint32_t name, name_bytes, value, value_bytes; /* in meta.text */
};

struct meta {
	struct bytes text;      /* tenant, names and values */
	uint32_t     tenant, tenant_bytes;
	uint64_t     fingerprint;
	int64_t      from_ms, through_ms;
	uint32_t     encoding;
	bool         has_encoding;
	struct label *labels;   /* without __name__, in the order of the file (Loki sorts them) */
	uint32_t     n_labels, cap_labels;
	/* what Loki reads but never writes */
	bool         twice, other_case, trailing;
	size_t       end;       /* bytes of the source up to the closing brace */
	const char  *error;     /* NULL: read; else why not, */
	size_t       error_at;  /* ... and where in the JSON */
};

/* Reads the object as Loki does: unknown fields are skipped, of a repeated one the last counts. False
 * and an error where Loki would fail. m may be used again; meta_free() in the end. */
bool meta_read(struct meta *m, const char *json, size_t n);
void meta_free(struct meta *m);
/* The value of the label whose name has len bytes; NULL: none. */
const char *meta_label(const struct meta *m, const char *name, size_t len, size_t *n);
/* {app="x", "k8s.pod"="y"} */
void meta_labels_text(const struct meta *m, struct bytes *out);
void meta_labels_json(const struct meta *m, const char *key, struct bytes *out);

#endif
