/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and checks chunks in batches through libchunkring: what verify's jobs do with the files that
 * a walk finds, or their two ends. Memory: SCAN_BYTES in all, and one file a job that is larger than its share.
 */
#ifndef CHUNKCTL_SCAN_H
#define CHUNKCTL_SCAN_H

#include <pthread.h>

#include "chunk/findings.h"
#include "walk.h"

#define SCAN_BYTES       (32u << 20) /* of files in memory, all jobs together */
#define SCAN_FILES_MAX   1024u       /* of one batch */
#define SCAN_BYPASS_MAX  64u         /* of one batch when the cache is bypassed: each is open twice */

struct scan_result {
	const struct found *found;     /* path, key, sums; the root */
	enum cr_status      status;
	int                 err;       /* behind CR_IO */
	uint64_t            bytes;     /* of the file, */
	uint64_t            bytes_read; /* ... and of these */
	uint64_t            bytes_unchecked; /* of blocks, where the ends were enough; else 0 */
	uint64_t            entries;
	struct findings    *findings;  /* or NULL: none */
	const uint8_t      *file;      /* what was read with CR_BAD_CRC and CR_BAD_FORMAT */
};

struct scan_shared {
	/* in */
	uint32_t            backend;
	uint32_t            jobs;
	uint32_t            flags;      /* CHECK_* */
	uint64_t            rate;       /* bytes a second, 0: as fast as it goes */
	bool                bypass;     /* leave the page cache as it is */
	bool                ends;       /* no more of a file than its two ends, and the CRC behind each block,
					 * where these are what the name says */
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
const char *scan_backend(struct scan_shared *sh); /* that ran; "" before the first batch */

struct scan; /* one job's */
struct scan *scan_job_open(struct scan_shared *sh);
void scan_add(struct scan *s, const struct found *f); /* FOUND_CHUNK */
void scan_flush(struct scan *s);
void scan_job_close(struct scan *s);

#endif
