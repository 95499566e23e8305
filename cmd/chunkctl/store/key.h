/* SPDX-License-Identifier: Apache-2.0 */
/* Names in a store, beyond what the library says of chunks' keys. */
#ifndef CHUNKCTL_KEY_H
#define CHUNKCTL_KEY_H

#include "base/bytes.h"

/* Whether Loki takes a name for a tenant's: at most 150 of a-z A-Z 0-9 ! - _ . * ' ( ), not "."
 * or "..". Chunks from before it looked may lie under other names. */
bool key_is_tenant(const char *name);

/* Whether a name looks like base64 of a chunk's key though it is none: a name worth a finding. */
bool key_is_near(const char *name);

/* Whether a path's last part is the name of a chunk that lies in its stream's folder, but the folders
 * before it are not TENANT/FINGERPRINT: Loki does not look for it there. */
bool key_is_misplaced(const char *path);

/* A name that PutChunks of chunkring's Go package writes before it renames. */
bool key_is_temporary(const char *name);

/* As Loki prints it in its logs: tenant/fp/from:through:crc. */
void key_text(const struct cr_key *key, struct bytes *out);

#endif
