/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, values and paths for people. They come from files and may hold anything: newlines that
 * make one record two, NULs that end a string early, escape sequences that a terminal obeys,
 * bytes that are no UTF-8. What is not clean is written with Go's escapes, as LogQL has them, so
 * that nothing is lost and --match takes it back.
 */
#ifndef CHUNKCTL_QUOTE_H
#define CHUNKCTL_QUOTE_H

#include "bytes.h"

/* Bytes at p that one character takes which may be shown as it is, or 0: a control character, one
 * that turns or hides the text around it, or no UTF-8. */
size_t clean_char(const uint8_t *p, size_t n);
uint32_t code_point(const uint8_t *p, size_t n); /* of UTF-8 of n bytes */
bool is_clean(const char *s, size_t n);

/* In double quotes, whatever it is: "a\x00b\"c" */
void text_quote(struct bytes *out, const char *s, size_t n);
/* As it is, or quoted where it is not clean or begins with a quote. */
void text_show(struct bytes *out, const char *s);
/* Prose that may have names in it: only what is not clean is escaped. */
void text_escape(struct bytes *out, const char *s, size_t n);
/* name="value"; the name in quotes where LogQL needs them. */
void text_label(struct bytes *out, const char *name, size_t n, const char *value, size_t m);

/* Reads a string in "", with Go's escapes, or in ``, as it is, and moves *p behind it. Replaces
 * what is in out. False: it is neither. */
bool text_unquote(const char **p, struct bytes *out);

#endif
