/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every bound of the library that is not part of the contract (those are in chunkring.h).
 */
#ifndef CR_LIMITS_H
#define CR_LIMITS_H

#include "chunkring.h"

#define CR_WAVE_FILES_MAX   1024u       /* files of one batch that are open at a time */
#define CR_SLICE_FILES_MAX  32u         /* files that are tried before others hear of it, and the unit
					 * of fairness between batches */
#define CR_SLICE_FILES_MIN  4u          /* ... at least: each slice with a cold file in it costs a lock
					 * and a wake-up */
#define CR_SLICE_BYTES      (256u << 10) /* ... and bytes, so that what was read is still in L2
					 * (1 MiB or more on current servers) when it is checksummed */
#define CR_HELPER_FILES     128u        /* hot files that are worth waking a thread for: 0.2 ms of
					 * open, or of reads of a page. Fewer, and a busy process
					 * loses more by the switches than the batch gains */
#define CR_READ_BYTES_MAX   (1u << 20)  /* one read: a whole usual chunk, but no file holds a
					 * thread for long */
#define CR_READAHEAD_BYTES  (128u << 10) /* Linux's default read-ahead (bdi read_ahead_kb): the kernel is told
					 * in steps of this what it should fetch of a longer file */
#define CR_ADVISE_BYTES     (4u << 20)  /* ... so far ahead of what was read */
#define CR_RETRIES_MAX      1000u       /* EINTR, EAGAIN on one file before it is CR_IO */
#define CR_GREW_TRIES       3u          /* further tries of a file that grows while it is read */
#define CR_STALE_TRIES      3u          /* of ESTALE: NFS wants the path walked again */

/* ---- The two ends of a file ---- */

#define CR_ENDS_FIRST_BYTES 4096u       /* of each, at first: enough of nearly all chunks, and a page or two */
#define CR_ENDS_BYTES_MAX   (64u << 10) /* of both; and at most a quarter of the file: else it is read whole */
#define CR_ENDS_TRIES       3u          /* how often more of them is read before the file is read whole */
#define CR_ENDS_BLOCK_BYTES_MIN (16u << 10) /* blocks that are smaller on average cost more calls than reading
					 * them all would */
#define CR_SCRATCH_STEP_BYTES (64u << 10) /* what a decompressor holds compressed bytes in grows in such steps */
#define CR_SCRATCH_KEEP_BYTES (256u << 10) /* ... and more than that is given back after a call */

/* ---- Rings ---- */

#define CR_RINGS_MAX        8u          /* threads with a ring; one keeps an NVMe disk busy, more share
					 * the copying and checksums */
#define CR_WINDOW_FILES     64u         /* in flight per ring: enough to keep an NVMe disk busy */
#define CR_RING_ENTRIES     CR_WINDOW_FILES /* a file has one request at a time */
#define CR_RING_FILES_MIN   4u          /* of a wave that are left to read; fewer are not worth a ring */
#define CR_IOWQ_MAX         3u          /* kernel threads of a ring, for the reads that it can't do
					 * without (file systems without FMODE_BUF_RASYNC) */
#define CR_RING_LOOK_NS     500000u     /* a thread that waits for its ring looks so often whether there
					 * is more to read */
#define CR_RING_REFUSED_MAX 20u         /* io_uring_enter out of memory, in a row: the kernel asks for
					 * another try. Then the ring is left */
#define CR_RING_REFUSED_NAP_NS 1000000u
#define CR_RING_WRONG_MAX   8u          /* reads in a row that failed in a ring and not by pread(2) before
					 * the rings are left */

/* ---- Threads that may block ---- */

#define CR_THREADS_DEFAULT  144u        /* of all kinds, the kernel's included, in one context; Loki's own
					 * client has 150 goroutines (FSConfig.ChunkDownloadParallel of
					 * pkg/storage/chunk/client/util/parallel_chunk_fetch.go) */
#define CR_THREADS_SHARE    4u          /* ... and at most one of so many that the process may have */
#define CR_BLOCKED_MIN      8u          /* threads that wait at a time, if there is work for them: what a
					 * disk of 0.1 ms wants */
#define CR_BLOCK_NS_EACH    16000u      /* one more thread for each such part of the time that a call
					 * blocks: above what a call costs in CPU time, or threads that
					 * wait for a CPU would look like slow storage */
#define CR_BLOCK_WINDOW_NS  500000000u  /* the shortest call of so long a time counts, and of the time before */
#define CR_BLOCK_BYTES      (64u << 10) /* the time of a longer read is divided by so many bytes: it is the
					 * storage's bandwidth, which more threads don't change */
#define CR_IDLE_MS          2000u       /* a thread without work ends after that; one stays */
#define CR_TICK_NS_MIN      250000u     /* a caller that waits looks so often whether more threads are
					 * wanted, at first; later half as often each time */
#define CR_TICK_NS_MAX      8000000u
#define CR_NO_THREAD_MS     1000u       /* after the system had no thread to give */
#define CR_STACK_BYTES      (256u << 10) /* of a thread; what counts a file's bytes takes 64 KiB of it,
					 * the snappy scratch as much */
#define CR_SLOW_OPEN_NS     200000u     /* an open that should not block and takes longer did (FUSE and NFS
					 * ask their server though the path is cached) */
#define CR_SLOW_STREAK      2u          /* so many in a row */
#define CR_SLOW_OPENS       1024u       /* ... then so many are left to threads that may block */
#define CR_LEASE_WAIT_MS    2000u       /* a file under a lease: tried again so long, then waited for */
#define CR_LEASE_NAP_MS     2u
#define CR_SPIN_NS          20000u      /* a finished caller looks this long before it sleeps:
					 * about what a futex wake-up costs in a VM */

/* ---- Descriptors, buffers ---- */

#define CR_OPEN_FILES_CAP   2048u       /* descriptors of one context unless options say more */
#define CR_STARVED_WAIT_MS  2000u       /* how long a batch waits for the rest of the process to
					 * give back descriptors (EMFILE) */
#define CR_STARVED_NAP_MS   5u
#define CR_POOL_CLASS_MIN   12u         /* smallest buffer class, 4 KiB */
#define CR_POOL_CLASSES     76u         /* four classes per power of two up to CR_FILE_BYTES_MAX */

/* ---- Eviction ---- */

#define CR_EVICT_SMALL_PART 10u         /* the small queue has one of so many bytes */
#define CR_EVICT_USES_MAX   3u          /* counted of a file; each is a round in the main queue */
#define CR_EVICT_USES_KEPT  2u          /* in the small queue, to get into the main queue. One would be had by
					 * whatever a single query reads twice (chunks at the edges of its
					 * parts) */
#define CR_EVICT_STEPS_MAX  256u        /* files a victim is looked for among; then the next one goes, used or
					 * not. Else the one call after a million hits takes 0.1 s */
#define CR_EVICT_GHOST_WAYS 8u          /* hashes of files that went in one bucket: a cache line */

_Static_assert(CR_SLICE_FILES_MAX <= CR_WINDOW_FILES, "a slice fits a window");
_Static_assert(CR_RING_ENTRIES <= CR_RING_ENTRIES_MAX, "default within what options allow");
_Static_assert(CR_WINDOW_FILES <= UINT8_MAX, "a file's place in the window is a uint8");
_Static_assert(CR_THREADS_DEFAULT <= CR_WORKERS_MAX, "default within what options allow");
_Static_assert(CR_THREADS_DEFAULT > CR_RINGS_MAX * (1 + CR_IOWQ_MAX) + CR_BLOCKED_MIN,
	       "rings leave threads for what blocks");
_Static_assert(2 * CR_ENDS_FIRST_BYTES <= CR_ENDS_BYTES_MAX, "the first try is not too much");
_Static_assert(CR_READ_BYTES_MAX <= INT32_MAX, "the result of a read is an int32");
_Static_assert(CR_FILE_BYTES_MAX <= INT32_MAX, "sizes fit the uint32 of a request");

#endif
