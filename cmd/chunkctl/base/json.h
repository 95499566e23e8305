/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: objects written field by field into a buffer, and flat ones read. */
#ifndef CHUNKCTL_JSON_H
#define CHUNKCTL_JSON_H

#include "bytes.h"

/* ---- Writing. A NULL key writes an element of an array. ---- */

void json_open(struct bytes *b, const char *key, char bracket); /* '{' or '[' */
void json_close(struct bytes *b, char bracket);                 /* '}' or ']' */
/* Bytes that are no UTF-8 become U+FFFD; key_base64 with the exact bytes is then written as well.
 * */
void json_text(struct bytes *b, const char *key, const char *s, size_t n);

/* Names and values from files, as one object. A value that is no UTF-8 has its exact bytes beside
 * it as above; where any name or value is none, a second field, key_base64, has all pairs
 * exactly: an array of arrays of two strings in base64. */
struct json_pair {
	const char *name, *value;
	size_t      name_bytes, value_bytes;
};
typedef struct json_pair (*json_pair_fn)(const void *arg, uint32_t i);
void json_pairs(struct bytes *b, const char *key, json_pair_fn at, const void *arg, uint32_t n);

void json_string(struct bytes *b, const char *key, const char *s);
void json_u64(struct bytes *b, const char *key, uint64_t x);
void json_i64(struct bytes *b, const char *key, int64_t x);
void json_hex(struct bytes *b, const char *key, uint64_t x); /* a string: 64 bits don't fit a JSON
							      * number of most readers */
void json_real(struct bytes *b, const char *key, double x);
void json_bool(struct bytes *b, const char *key, bool x);
void json_quote(struct bytes *b, const char *s, size_t n); /* just the string with its quotes */

/* ---- Reading ---- */

struct json_field { /* whose value is a string */
	const char   *name; /* of ASCII */
	struct bytes *to;   /* replaced; empty if it is not there */
};

/* Reads those fields of the object that is next and skips the others. False: r->error. */
bool json_read_fields(struct cr_json *r, const struct json_field *fields, size_t n);

#endif
