/* SPDX-License-Identifier: Apache-2.0 */
/* The labels of a chunk's stream. */
#ifndef CHUNKCTL_LABELS_H
#define CHUNKCTL_LABELS_H

#include "base/bytes.h"

/* The value of the label whose name has len bytes; NULL: none. */
const char *labels_find(const struct cr_meta *m, const char *name, size_t len, size_t *n);
/* {app="x", "k8s.pod"="y"} */
void labels_text(const struct cr_meta *m, struct bytes *out);
void labels_json(const struct cr_meta *m, const char *key, struct bytes *out);

#endif
