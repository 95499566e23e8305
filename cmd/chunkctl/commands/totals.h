/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of chunks by tenant, stream, codec or day, and how their sizes are spread: ls --totals. */
#ifndef CHUNKCTL_TOTALS_H
#define CHUNKCTL_TOTALS_H

#include <pthread.h>

#include "base/bytes.h"
#include "base/out.h"
#include "chunk/peek.h"
#include "store/walk.h"

enum totals_by { TOTALS_OFF, TOTALS_NONE, TOTALS_TENANT, TOTALS_STREAM, TOTALS_CODEC, TOTALS_DAY };

#define TOTALS_CLASSES 8u /* of sizes */

struct group {
	char    *name;
	uint64_t chunks, bytes, raw_bytes, entries, tiny;
	int64_t  from_ms, through_ms;
};

struct totals {
	enum totals_by  by;    /* in */
	pthread_mutex_t mu;
	struct group   *groups;
	size_t          n_groups, cap_groups;
	uint32_t       *slots; /* hash of a name -> group + 1 */
	struct group    all;
	uint64_t        spread[TOTALS_CLASSES], spread_bytes[TOTALS_CLASSES];
};

void totals_open(struct totals *t);
/* Thread-safe. m: the chunk's metadata, if p->meta; text is scratch. */
void totals_add(struct totals *t, const struct found *f, const struct peek *p, const struct cr_meta *m,
		struct bytes *text);
void totals_print(struct totals *t, struct out *o, bool json); /* once */
void totals_free(struct totals *t);

#endif
