/* SPDX-License-Identifier: Apache-2.0 */
/* Label matchers as in LogQL: {job="x", pod=~"y.*", level!="debug", "k8s.zone"!~"a|b"} */
#ifndef CHUNKCTL_MATCHER_H
#define CHUNKCTL_MATCHER_H

#include <regex.h>

#include "base/bytes.h"

#define MATCHERS_MAX 64u

struct matcher {
	struct bytes name, value; /* any bytes */
	bool         negative, is_regex;
	regex_t      regex;
};

struct matchers {
	struct matcher list[MATCHERS_MAX];
	uint32_t       n;
};

/* Adds those in text. Regexes are POSIX extended and match a whole value. False, with a complaint
 * that says where, if it is malformed. */
bool matchers_parse(struct matchers *m, const char *text);
/* A label that a stream does not have is "". */
bool matchers_take(const struct matchers *m, const struct cr_meta *meta);
void matchers_free(struct matchers *m);

#endif
