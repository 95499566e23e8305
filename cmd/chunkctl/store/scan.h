/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads chunks in batches through libchunkring, or their two ends, and checks them: what jobs do with
 * the files that a walk finds. Memory: SCAN_BYTES in all, and one file a job that is larger than its
 * share.
 */
#ifndef CHUNKCTL_SCAN_H
#define CHUNKCTL_SCAN_H

#include <pthread.h>

#include "chunk/findings.h"
#include "walk.h"

#define SCAN_BYTES       (32u << 20) /* of files in memory, all jobs together */
#define SCAN_FILES_MAX   1024u       /* of one batch */
#define SCAN_BYPASS_MAX  64u         /* of one batch when the cache is bypassed: each is open twice */

enum scan_how {
	SCAN_WHOLE,  /* every byte is read and checked */
	SCAN_SEALED, /* no more of a file than its two ends, and the CRC behind each block, where
		      * these are what the name says */
	SCAN_PEEK,   /* no more of a file than its two ends, where these tell what is in it;
		      * nothing is checked */
};

struct scan_result {
	const struct found *found;     /* path, key, sums; the root */
	enum cr_status      status;
	int                 err;       /* behind CR_IO */
	uint64_t            bytes;     /* of the file, */
	uint64_t            bytes_read; /* ... and of these */
	uint64_t            bytes_unchecked; /* of blocks, where the ends were enough; else 0 */
	uint64_t            entries;
	struct findings    *findings;  /* or NULL: none */
	/* behind CR_OK, CR_BAD_CRC and CR_BAD_FORMAT, else NULL: the first head_bytes of the file and
	 * right behind them its last tail_bytes; or, where both are 0, all of it */
	const uint8_t      *file;
	uint32_t            head_bytes, tail_bytes;
};

struct scan_shared {
	/* in */
	uint32_t            backend;
	uint32_t            jobs;
	uint32_t            flags;      /* CHECK_* */
	uint64_t            rate;       /* bytes a second, 0: as fast as it goes */
	bool                bypass;     /* leave the page cache as it is */
	enum scan_how       how;
	void               *arg;
	void              (*result)(void *arg,
				    const struct scan_result *r); /* on the job's thread */
	/* inner */
	struct cr_ctx      *ctx[ROOTS_MAX + 1];
	pthread_mutex_t     mu;
	uint64_t            rate_due_ns;
};

void scan_open(struct scan_shared *sh);
void scan_close(struct scan_shared *sh);
/* Why there are no bytes: an errno; 0 where there are. */
int scan_errno(const struct scan_result *r);
const char *scan_backend(struct scan_shared *sh); /* that ran; "" before the first batch */

struct scan; /* one job's */
struct scan *scan_job_open(struct scan_shared *sh);
void scan_add(struct scan *s, const struct found *f); /* FOUND_CHUNK */
void scan_flush(struct scan *s);
void scan_job_close(struct scan *s);

#endif
