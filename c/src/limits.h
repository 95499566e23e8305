/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every bound of the library that is not part of the contract (those are in chunkring.h).
 */
#ifndef CR_LIMITS_H
#define CR_LIMITS_H

#include "chunkring.h"

#define CR_WAVE_FILES_MAX   1024u       /* files of one batch that are open at a time */
#define CR_SLICE_FILES_MAX  32u         /* files a thread takes at a time: what amortises a system
					 * call, and the unit of fairness between batches */
#define CR_SLICE_FILES_MIN  4u          /* ... at least: a batch of 31 cold files still occupies the
					 * threads back-end's eight threads */
#define CR_HELPER_FILES     128u        /* hot files that are worth waking a thread for: 0.2 ms of
					 * open, or of reads of a page. Fewer, and a busy process
					 * loses more by the switches than the batch gains */
#define CR_SLICE_BYTES      (256u << 10) /* ... and bytes, so that what was read is still in L2
					 * (1 MiB or more on current servers) when it is checksummed */
#define CR_WINDOW_FILES     64u         /* in flight per ring: enough to keep an NVMe disk busy */
#define CR_READ_BYTES_MAX   (1u << 20)  /* one read: a whole usual chunk, but no file holds a
					 * worker for long */
#define CR_RETRIES_MAX      1000u       /* EINTR, EAGAIN on one file before it is CR_IO */
#define CR_RING_ENTRIES     (2u * CR_WINDOW_FILES) /* a window of reads and of closes */
#define CR_GUESTS_MAX       8u          /* rings for calling threads; a caller beyond uses plain
					 * system calls */
#define CR_THREADS_WORKERS  8u          /* at least, on the threads back-end: a cold disk wants
					 * more requests than there are CPUs */
#define CR_CPUS_DEFAULT_MAX 8u          /* workers unless the options say more */
#define CR_STACK_BYTES      (512u << 10) /* of a worker; the snappy scratch takes 64 KiB of it */
#define CR_OPEN_FILES_CAP   2048u       /* descriptors of one context unless options say more */
#define CR_STARVED_WAIT_MS  2000u       /* how long a batch waits for the rest of the process to
					 * give back descriptors (EMFILE) */
#define CR_STARVED_NAP_MS   5u
#define CR_SPIN_NS          20000u      /* a finished caller looks this long before it sleeps:
					 * about what a futex wake-up costs in a VM */
#define CR_POOL_CLASS_MIN   12u         /* smallest buffer class, 4 KiB */
#define CR_POOL_CLASSES     76u         /* four classes per power of two up to CR_FILE_BYTES_MAX */

_Static_assert(CR_SLICE_FILES_MAX <= CR_WINDOW_FILES, "a slice fits a window");
_Static_assert(CR_RING_ENTRIES <= CR_RING_ENTRIES_MAX, "default within what options allow");
_Static_assert(CR_READ_BYTES_MAX <= INT32_MAX, "the result of a read is an int32");
_Static_assert(CR_FILE_BYTES_MAX <= INT32_MAX, "sizes fit the uint32 of a request");

#endif
