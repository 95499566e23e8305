/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of chunk files. Loki asks for a chunk by a name made of its key, so a name is a chunk's only
 * if it is exactly what Loki would make of that key:
 *
 *	schema v12 and later  tenant/FP/base64("FROM:THROUGH:CRC")
 *	up to v11             base64("tenant/FP:FROM:THROUGH:CRC")
 *
 * FP, CRC and the times in milliseconds in hexadecimal digits, base64 as in RFC 4648 section 4.
 */
#ifndef CHUNKCTL_KEY_H
#define CHUNKCTL_KEY_H

#include "util.h"

#define TENANT_BYTES_MAX 255u /* a file name; Loki itself stops at 150 */
#define NAME_BYTES_MAX   255u

struct key {
	uint64_t fingerprint;
	int64_t  from_ms, through_ms;
	uint32_t crc;   /* CRC32C of the whole file */
	bool     flat;  /* v11's layout */
	uint8_t  tenant_bytes;
	char     tenant[TENANT_BYTES_MAX + 1];
};

/* A file in the store directory itself. */
bool key_of_flat(const char *name, struct key *out);

/* A file tenant/fp/name. */
bool key_of_nested(const char *tenant, const char *fp, const char *name, struct key *out);

/* The same from the last components of any path; flat or nested. */
bool key_of_path(const char *path, struct key *out);

/* Whether a name can be that of a folder of a stream: canonical hexadecimal of 64 bits. */
bool key_is_fingerprint(const char *name, uint64_t *out);

/* Whether Loki takes a name for a tenant's: at most 150 of a-z A-Z 0-9 ! - _ . * ' ( ), not "."
 * or "..". Chunks from before it looked may lie under other names. */
bool key_is_tenant(const char *name);

/* Whether a name looks like base64 of a chunk's key though it is none: a name worth a finding. */
bool key_is_near(const char *name);

/* A name that PutChunks of chunkring's Go package writes before it renames. */
bool key_is_temporary(const char *name);

/* As Loki prints it in its logs: tenant/fp/from:through:crc. */
void key_text(const struct key *key, struct bytes *out);

#endif
