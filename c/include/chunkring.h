/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkring: read Grafana Loki chunk files from a local directory, many at a time.
 *
 * This header is the whole contract of libchunkring.a. The way through it:
 *
 *	cr_ctx_open() once -> cr_batch_read() from any number of threads -> cr_ctx_close() once
 *
 * and through the bytes of one chunk file, with no context:
 *
 *	cr_chunk_parse() -> cr_chunk_block_next() -> cr_block_decompress_grow() -> cr_entries_next()
 *
 * and through a file of which only some blocks are wanted:
 *
 *	cr_batch_read() with CR_READ_ENDS -> cr_chunk_outline() -> cr_chunk_meta_next() -> cr_block_read()
 *
 * Conventions. Sizes, offsets and capacities are bytes and end in _bytes or _off; counts are plain
 * nouns. A function that can fail returns 0 or a negative errno value, never by errno. The
 * library never prints, never exits (a mistake of its own that it finds traps: CR_ASSERT) and has no
 * global mutable state besides the CRC32C kernel chosen by the CPU. Everything that comes from a file
 * is treated as hostile.
 */
#ifndef CHUNKRING_H
#define CHUNKRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with hidden visibility; only what is declared here is exported. */
#define CR_API __attribute__((visibility("default")))

/* What this header describes; a version between releases is that of the next one. Before 1.0 a minor version
 * may change what is here. */
#define CR_VERSION_MAJOR 0
#define CR_VERSION_MINOR 1
#define CR_VERSION_PATCH 0

/* ---- Limits. Every queue, buffer and loop in the library ends at one of these or limits.h. ---- */

#define CR_BATCH_MAX            65536u        /* requests in one cr_batch_read() */
#define CR_WORKERS_MAX          144u          /* threads of one context, the kernel's for its rings included */
#define CR_PATH_BYTES_MAX       4096u         /* PATH_MAX of Linux, with the final NUL */
#define CR_FILE_BYTES_DEFAULT   (64u << 20)   /* largest file that is read unless options say more */
#define CR_FILE_BYTES_MAX       (1u << 30)    /* the most options may say; below INT32_MAX (a CQE
					       * result) and far above any chunk Loki writes */
#define CR_RING_ENTRIES_MAX     4096u

/* ---- Status of one request. Values are ABI: append, never renumber. ---- */

enum cr_status {
	CR_PENDING     = 0,  /* never returned: a lost completion must not look like success */
	CR_OK          = 1,
	CR_NOT_FOUND   = 2,  /* no file of that name (ENOENT) */
	CR_BAD_PATH    = 3,  /* empty, absolute, too long, or with a ".", ".." or empty component */
	CR_REFUSED     = 4,  /* the path crosses a symbolic link */
	CR_NOT_REGULAR = 5,  /* a directory, FIFO, socket or device */
	CR_TOO_BIG     = 6,  /* larger than file_bytes_max; nothing was allocated for it */
	CR_TOO_SMALL   = 7,  /* caller's buffer holds less than size_bytes */
	CR_NO_BUFFER   = 8,  /* the allocation callback left buf NULL or failed */
	CR_SHORT       = 9,  /* ended before size_bytes, and what is there is not what crc_want says (with a
			      * check only: without one such a file is CR_OK and as long as it is) */
	CR_BAD_CRC     = 10, /* CRC32C of the file is crc_got, not crc_want */
	CR_BAD_FORMAT  = 11, /* not a chunk that Loki can decode; reason says where */
	CR_CANCELED    = 12, /* the cancel word became non-zero before the file was read */
	CR_TIMED_OUT   = 13, /* timeout_ms passed before the file was read */
	CR_IO          = 14, /* the system refused: os_errno says why */
	CR_STATUS_COUNT
};

/* Short name ("not_found") and one plain sentence for a status; never NULL. Thread-safe. */
CR_API const char *cr_status_name(uint32_t status);
CR_API const char *cr_status_text(uint32_t status);

/* ---- Context ---- */

struct cr_ctx; /* opaque; shared by any number of threads until cr_ctx_close() */

enum cr_backend {
	CR_BACKEND_AUTO    = 0, /* io_uring, or threads when it can't be set up or stops working */
	CR_BACKEND_URING   = 1, /* falls back to threads, too; cr_backend_name() says which one runs */
	CR_BACKEND_THREADS = 2,
};

/* Zero in any field means the default. Start from `struct cr_options opt = {0};`. */
struct cr_options {
	uint32_t backend;        /* enum cr_backend */
	uint32_t workers;        /* most threads that wait for the storage at a time, those that the
				  * kernel starts for the rings included; at most CR_WORKERS_MAX. Default:
				  * 144, or a quarter of what RLIMIT_NPROC and the control group's pids.max
				  * leave. There is at least one of each kind (threads: 1; uring: 1, one with a
				  * ring and 3 of the kernel's) */
	uint32_t ring_entries;   /* submission entries per ring, a power of two; default: the
				  * window of 64. Fewer also narrow the window */
	uint32_t file_bytes_max; /* larger files are CR_TOO_BIG; at most CR_FILE_BYTES_MAX */
	uint32_t open_files_max; /* descriptors all batches may hold together; default: a quarter of
				  * RLIMIT_NOFILE, at most 2048 */
	uint32_t cpus;           /* CPUs to reckon with; default: the affinity mask's. Less where a
				  * cgroup quota says so. Beyond 1024 it is taken as 1024 */
};

/*
 * Opens dir (which may itself be reached through symbolic links), chooses the back-end and starts the
 * first threads: one, and with io_uring one for each CPU, at most 8 and an eighth of workers. More come
 * while batches wait for slow storage, and end after 2 seconds without work. opt may be NULL. On success
 * *out owns everything, on failure it is NULL.
 * Errors: -EINVAL (an option out of range), -ENOMEM, what open(2) says of dir, -EAGAIN (no
 * thread could be started). A refused io_uring is not an error: see cr_backend_errno(). (It needs Linux
 * 5.15.)
 * A child of fork(2) has none of the threads: it must neither use nor close a context of its parent.
 */
CR_API int cr_ctx_open(const char *dir, const struct cr_options *opt, struct cr_ctx **out);

/* Joins the threads and frees everything. No cr_batch_read() may be running or start. NULL is fine. */
CR_API void cr_ctx_close(struct cr_ctx *ctx);

/* The back-end that runs: "uring" or "threads". Never NULL. It changes at most once, from the first to the
 * second: when io_uring refuses to go on, or fails reads that pread(2) can do. */
CR_API const char *cr_backend_name(const struct cr_ctx *ctx);

/* Why io_uring does not run though it was wanted: a positive errno, and in *step (may be NULL)
 * the step that failed, a constant string. 0 and "" while what was wanted runs. */
CR_API int cr_backend_errno(const struct cr_ctx *ctx, const char **step);

/* Threads of the context that run now, without the kernel's. */
CR_API uint32_t cr_workers(struct cr_ctx *ctx);

/* ---- Batch reads ---- */

struct cr_req {
	const char *path;        /* in:  NUL-terminated, relative to the directory; borrowed */
	uint32_t    path_bytes;  /* in:  strlen(path), or 0 to have it counted */
	uint32_t    crc_want;    /* in:  CRC32C of the whole file (from the chunk's key) */
	void       *buf;         /* in or from the callback: room for want_bytes. Its bytes are
				  * undefined unless status is CR_OK (CR_BAD_CRC and CR_BAD_FORMAT:
				  * the bytes read, for whoever wants to look) */
	uint32_t    cap_bytes;   /* in or from the callback: room in buf */
	uint32_t    want_bytes;  /* out, for the callback: room that is needed; in the end how many bytes
				  * of buf were read, if status is CR_OK. It is size_bytes, but of a
				  * file whose ends are read */
	uint32_t    size_bytes;  /* out: size of the file */
	uint32_t    head_bytes;  /* out, behind CR_OK: 0, or, of a file that was read at its ends: buf has the
				  * first head_bytes of the file, */
	uint32_t    tail_bytes;  /* ... and right behind them its last tail_bytes */
	uint32_t    status;      /* out: enum cr_status; CR_PENDING while the callback runs */
	uint32_t    os_errno;    /* out: positive errno behind CR_IO, CR_REFUSED; else 0 */
	uint32_t    op;          /* out: enum cr_op: what failed, behind CR_IO; else 0 */
	uint32_t    crc_got;     /* out: CRC32C of the file, with CR_CHECK_CRC or CR_CHECK_CHUNK. Of a file
				  * that was read at its ends only with CR_REQ_SEALED, else 0 */
	uint32_t    reason;      /* out: enum cr_chunk_reason behind CR_BAD_FORMAT; with CR_BAD_CRC
				  * what was found besides, or 0 */
	uint32_t    blocks_bad;  /* out: with CR_CHECK_CHUNK: blocks whose own CRC is wrong. Not an
				  * error: Loki drops such blocks and serves the rest */
	uint32_t    flags;       /* out: CR_REQ_* */
	bool        seal_known;  /* in:  with CR_READ_ENDS: the caller has seen it CR_REQ_SEALED, and can tell by
				  * the ends whether they are still those: it is not sealed again */
	int32_t     fd;          /* out: with CR_KEEP_OPEN, behind CR_OK: a descriptor of a file that was read at its
				  * ends, which is the caller's to close. 0: none */
};

enum cr_op { CR_OP_NONE = 0, CR_OP_OPEN = 1, CR_OP_STAT = 2, CR_OP_READ = 3 };

#define CR_REQ_BLOCKS_OK 1u /* CR_CHECK_CHUNK ran and every block lies at its recorded offset with
			     * the right CRC: nothing in the file needs to be checked again */
#define CR_REQ_SEALED    2u /* of a file that was read at its ends: its CRC32C, joined from the ends and the
			     * CRCs that it stores behind its blocks, is crc_want. So a block with the
			     * CRC that is stored behind it is what the chunk's writer wrote */

/*
 * Called on the thread that called cr_batch_read(), with no lock held, when the files
 * reqs[first .. first+n) are open and sized: for each one whose status is CR_PENDING and whose
 * cap_bytes < want_bytes it sets buf and cap_bytes >= want_bytes. The others have failed, or have what
 * they need. One left without a buffer gets CR_NO_BUFFER; a non-zero return gives that to all of them.
 * Called once a batch; once a wave when a batch has more files than a wave may open (1024, or half of what
 * open_files_max leaves, or 16 where memory is short); and again for files that are tried again: one that
 * could be opened only when others were closed, and one that has grown or whose ends did not tell enough,
 * which comes with the buffer that it had, for the callee to reuse or give back.
 * Neither it nor done may call cr_batch_read(), cr_block_read() or cr_ctx_close() of the same context.
 */
typedef int (*cr_alloc_fn)(void *arg, struct cr_req *reqs, uint32_t first, uint32_t n);

/*
 * Called as soon as files are read and checked with CR_OK: reqs[index[0 .. n)], n >= 1, final. It runs
 * on the thread that read them, while their bytes are in its caches: the caller's or one of the
 * context's threads, so at the same time on several, with no lock held. Each such file is named
 * once, before cr_batch_read() returns; the others, and those with fewer than done_bytes_min in buf, not at
 * all.
 */
typedef void (*cr_done_fn)(void *arg, const uint32_t *index, uint32_t n);

#define CR_CHECK_CRC   1u /* compare the file's CRC32C with crc_want */
#define CR_CHECK_CHUNK 2u /* CR_CHECK_CRC, and check the structure and every block's CRC in the
			   * same pass over the bytes: CR_BAD_FORMAT, blocks_bad, CR_REQ_BLOCKS_OK */
#define CR_READ_ENDS   4u /* with CR_CHECK_CHUNK: see below */
#define CR_KEEP_OPEN   8u /* with CR_READ_ENDS: files that were read at their ends stay open, for cr_block_read(). It
			   * saves a round trip a block where each open asks a server. open_files_max does not
			   * bound what the caller has */

/*
 * CR_READ_ENDS. Of a file that is larger than ends_bytes_min only the two ends are read, if they tell all that
 * is in the file but its blocks: cr_chunk_outline() says CR_ENDS_OK. (Then every checksum of what was read is
 * right, and no byte of the file is in no part.) All other files are read whole, as without the flag, and
 * end as they do: damaged ones; what no writer of Loki's makes; a block above CR_BLOCK_BYTES_MAX; blocks that
 * are on average smaller than 16 KiB or an eighth of ends_bytes_min, whichever is less, for which a read each
 * costs more than it saves; ends of together more than 64 KiB or a quarter of the file.
 *
 * A chunk's codec has no checksum but the file's. Where it can't be proven by the seal, the first bytes of what
 * was compressed must agree with it: of the structured metadata, and of the first wanted block if that is in the
 * page cache. Without a codec (CR_CODEC_NONE) a block's first timestamp must be one that its meta allows.
 */
enum cr_seal {
	CR_SEAL_OFF      = 0,
	CR_SEAL_RESIDENT = 1, /* where the page cache has all that it takes: 4 bytes behind each block */
	CR_SEAL_ALWAYS   = 2, /* read them, too */
};

struct cr_batch {
	struct cr_req  *reqs;
	uint32_t        n;          /* 1..CR_BATCH_MAX */
	uint32_t        flags;      /* CR_CHECK_*, CR_READ_ENDS, CR_KEEP_OPEN */
	uint32_t        timeout_ms; /* 0 = none. Stops new work; reads in flight are waited for */
	cr_alloc_fn     alloc;      /* NULL: buf and cap_bytes of every request are set already */
	void           *arg;        /* for alloc and done */
	cr_done_fn      done;       /* may be NULL */
	uint32_t        done_bytes_min; /* files below are not named to done: where a call costs more
				     * than their bytes being in a cache saves. 0: all are */
	/* with CR_READ_ENDS: */
	uint32_t        ends_bytes_min; /* smaller files, and those of this size, are read whole */
	uint32_t        seal;       /* enum cr_seal. A file's CRC32C that is not crc_want has it read whole */
	int64_t         from_ns, through_ns; /* blocks are wanted that have an entry in this span, both times
				     * included */
	bool            backward;   /* they are wanted from the last to the first */
	uint32_t        ahead;      /* so many of them, the first that will be wanted, are fetched into the page
				     * cache: the call does not wait for it. 0: none */
	const uint32_t *cancel;     /* may be NULL. Whoever stores a non-zero value (atomically)
				     * stops new work, like a timeout; it stays non-zero */
	uint64_t        open_ns;    /* out: wall time spent opening and sizing, */
	uint64_t        alloc_ns;   /* ... in alloc, */
	uint64_t        read_ns;    /* ... reading, checking and in done */
	uint32_t        backend_errno; /* out: cr_backend_errno() when the batch ended */
};

/*
 * Opens, sizes, reads, checks and closes every file of the batch. Returns 0 when the batch ran (each
 * file: its status, in any mixture), or -EINVAL if it is malformed (no req touched).
 * Owns nothing: when it returns, even after cancel or timeout, no thread and no kernel request
 * holds any buf, and no file it opened is open, but for CR_KEEP_OPEN. Any number of threads may
 * call it with the same ctx at the same time; they share the workers fairly. The calling thread
 * opens and reads what is in the page cache
 * and makes no call that is known to block; the context's threads do the rest. (Where nobody can tell whether
 * an open would block, before Linux 5.12, in a sandbox without openat2, on FUSE and NFS, it opens as long as
 * that is quick.)
 * A file that waits for a thread ends with CR_CANCELED or CR_TIMED_OUT within 10 ms of the stop; a call
 * that has begun is waited for.
 * A request's out fields are written by this call only; requests may name the same file.
 */
CR_API int cr_batch_read(struct cr_ctx *ctx, struct cr_batch *batch);

/* ---- One block of a file ---- */

struct cr_decompressor; /* below: blocks */

#define CR_BLOCK_BYTES_MAX (1u << 20) /* compressed. Loki's blocks are 256 KiB before they are compressed, unless
				       * a line is longer */

/* What became of the block. Values are ABI: append, never renumber. */
enum cr_block_read_status {
	CR_BLOCK_READ_PENDING   = 0,  /* never returned */
	CR_BLOCK_READ_OK        = 1,
	CR_BLOCK_READ_NOT_FOUND = 2,  /* no file of that name */
	CR_BLOCK_READ_SHORT     = 3,  /* the file ends before the block and its CRC do */
	CR_BLOCK_READ_BAD_CRC   = 4,  /* CRC32C of the block is crc_got, not the one behind it */
	CR_BLOCK_READ_IO        = 5,  /* the system refused: os_errno and op say what */
	CR_BLOCK_READ_ROOM      = 6,  /* does not fit cap_bytes; raw_bytes says what it takes, or 0 */
	CR_BLOCK_READ_BAD       = 7,  /* CR_DECOMPRESS_BAD, CR_DECOMPRESS_CODEC, or CR_CODEC_NONE and
				       * a block that was compressed */
	CR_BLOCK_READ_UNSURE    = 8,  /* CR_DECOMPRESS_UNSURE: only Loki's own reader can tell */
	CR_BLOCK_READ_NO_MEMORY = 9,
	CR_BLOCK_READ_REFUSED   = 10, /* CR_BAD_PATH, CR_REFUSED, CR_NOT_REGULAR of cr_batch_read(); or a
				       * block above CR_BLOCK_BYTES_MAX */
	CR_BLOCK_READ_STATUS_COUNT
};

/* Short name ("bad_crc"); never NULL. Thread-safe. */
CR_API const char *cr_block_read_status_name(uint32_t status);

struct cr_block_read {
	const char *path;       /* in:  as struct cr_req has it */
	uint32_t    path_bytes; /* in:  strlen(path), or 0 to have it counted */
	uint32_t    codec;      /* in:  enum cr_codec */
	uint64_t    off;        /* in:  of the block in the file, and its bytes without */
	uint32_t    bytes;      /* ... the CRC that follows them; at most CR_BLOCK_BYTES_MAX */
	uint32_t    next_bytes; /* in:  a block of the same file that will be wanted next: the call begins to
				 * fetch it into the page cache. 0: none */
	uint64_t    next_off;   /* in */
	int32_t     fd;         /* in:  of the file, from CR_KEEP_OPEN; it stays open, and nobody else uses it
				 * meanwhile. 0: path is opened, as it is where fd turns out to be stale */
	void       *dst;        /* in:  room for cap_bytes; undefined unless status is OK */
	size_t      cap_bytes;  /* in */
	size_t      raw_bytes;  /* out: OK: bytes of dst that are valid. ROOM: how many it takes, or 0. Else 0 */
	uint32_t    status;     /* out: enum cr_block_read_status */
	uint32_t    os_errno;   /* out: positive errno behind IO; behind REFUSED, if the system said so; else 0 */
	uint32_t    op;         /* out: enum cr_op behind IO; else 0 */
	uint32_t    crc_got;    /* out: CRC32C of the block behind OK, BAD_CRC and what decompressing it says */
};

/*
 * Opens the file unless it is open, reads the block, checks it, decompresses it into dst and closes the file again.
 * Returns b->status.
 * It keeps nothing: a chunk's name holds the CRC of its bytes, so the file that has the name now has the bytes of
 * the one whose ends were read. It may block, on the calling thread, and holds one descriptor meanwhile, of
 * those that open_files_max bounds. Paths, leases, EINTR, ESTALE and EMFILE are as in a cr_batch_read() of one.
 * Any number of threads may call it with the same ctx, each with a decompressor of its own, which keeps at
 * most 256 KiB of the memory that the compressed bytes took.
 */
CR_API uint32_t cr_block_read(struct cr_ctx *ctx, struct cr_decompressor *decompressor, struct cr_block_read *b);

/* The same without decompressing: dst gets the block as it is in the file. Its codec is not looked at. */
CR_API uint32_t cr_block_read_raw(struct cr_ctx *ctx, struct cr_block_read *b);

/* ---- Buffers with explicit release, for C callers ---- */

struct cr_pool; /* thread-safe */

/*
 * A pool of buffers in size classes. It keeps at most retain_bytes_max of released buffers for
 * reuse and gives the rest back to the system at once. -ENOMEM.
 */
CR_API int cr_pool_open(uint64_t retain_bytes_max, struct cr_pool **out);

/* Frees what is retained. Buffers not released yet stay valid but can't be released any more:
 * release first. Returns how many were still out (0 in a correct program). NULL is fine: 0. */
CR_API uint64_t cr_pool_close(struct cr_pool *pool);

/* A buffer of at least size_bytes (1..CR_FILE_BYTES_MAX), 4096-aligned, not zeroed; NULL when
 * memory is short or size_bytes is out of range. *cap_bytes (may be NULL) says its real room. */
CR_API void *cr_pool_get(struct cr_pool *pool, uint32_t size_bytes, uint32_t *cap_bytes);

/* Gives buf back. Builds with -DCR_DEBUG fill it with 0xDB. 0; -EINVAL if it is not a buffer of
 * this pool, -EALREADY if it was released before: surely so in CR_DEBUG builds only; others look at
 * the page before buf. */
CR_API int cr_pool_release(struct cr_pool *pool, void *buf);

struct cr_pool_stats {
	uint64_t out_bytes, out_buffers;           /* handed out now */
	uint64_t retained_bytes, retained_buffers; /* waiting for reuse */
};
CR_API void cr_pool_stats(struct cr_pool *pool, struct cr_pool_stats *stats);

/* A cr_alloc_fn whose arg is a struct cr_pool *: cr_batch.alloc = cr_pool_alloc. The caller
 * releases every non-NULL buf of the batch, failed requests included. */
CR_API int cr_pool_alloc(void *pool, struct cr_req *reqs, uint32_t first, uint32_t n);

/* ---- CRC32C (Castagnoli; RFC 3720 B.4, the one in Loki's keys, blocks and snappy frames) ---- */

/* CRC of the n bytes at p continued from crc (0 to start). Thread-safe, any alignment. */
CR_API uint32_t cr_crc32c(uint32_t crc, const void *p, size_t n);

/* CRC of A followed by B, given crc(A), crc(B) and the length of B. Constant time. */
CR_API uint32_t cr_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t b_bytes);

/* Name of the kernel in use: "vpclmul512", "vpclmul256", "sse42", "armv8" or "portable". */
CR_API const char *cr_crc32c_kernel(void);

/* ---- Chunk file ---- */

/* What is wrong with a chunk file. Values are ABI: append, never renumber. */
enum cr_chunk_reason {
	CR_REASON_NONE             = 0,
	CR_REASON_TRUNCATED        = 1,  /* too short for the part that should be there */
	CR_REASON_META_LENGTH      = 2,  /* the metadata frames don't end where their length says */
	CR_REASON_META_FRAME       = 3,  /* a snappy frame of the metadata is malformed */
	CR_REASON_META_FRAME_CRC   = 4,  /* a snappy frame's own checksum is wrong */
	CR_REASON_META_TOO_BIG     = 5,  /* the metadata inflates beyond CR_META_BYTES_MAX */
	CR_REASON_DATA_LENGTH      = 6,  /* the data length is not what is left of the file */
	CR_REASON_MAGIC            = 7,
	CR_REASON_VERSION          = 8,  /* not 1-4 */
	CR_REASON_CODEC            = 9,  /* a codec that Loki does not have */
	CR_REASON_METAS_RANGE      = 10, /* the block metas lie outside the data */
	CR_REASON_METAS_CRC        = 11,
	CR_REASON_METAS_FORMAT     = 12, /* more blocks than the metas have room for */
	CR_REASON_BLOCK_RANGE      = 13, /* a block lies outside the data */
	CR_REASON_BLOCK_OVERLAP    = 14, /* the blocks together are longer than the data */
	CR_REASON_SYMBOLS_RANGE    = 15, /* the structured metadata lies outside the data */
	CR_REASON_SYMBOLS_CRC      = 16,
	CR_REASON_SYMBOLS_FORMAT   = 17, /* a symbol count that the section can't hold */
	CR_REASON_COUNT
};
CR_API const char *cr_chunk_reason_name(uint32_t reason); /* "metas_crc" */
CR_API const char *cr_chunk_reason_text(uint32_t reason); /* one plain sentence */

#define CR_META_BYTES_MAX (4u << 20) /* JSON metadata, inflated. Loki's label limits keep it under
				      * 100 KiB; snappy alone would allow 21 times the file */
#define CR_BLOCKS_MAX (1u << 18)     /* of one chunk: Loki makes room for all it says (64 bytes
				      * each) before it looks. A full chunk has about 26 */

#define CR_CHUNK_CRC_BYTES 4u    /* the CRC32C, big-endian, behind each block and section */

/* Where the parts of a chunk file are. Offsets count from the start of the FILE. A section's bytes
 * are those without the CRC that follows it. */
struct cr_chunk {
	uint64_t file_bytes;
	uint32_t frames_off, frames_bytes;   /* snappy-framed JSON metadata */
	uint32_t json_bytes;                 /* the JSON, inflated */
	uint32_t data_off;                   /* the MemChunk: magic number on */
	uint64_t data_bytes;
	uint8_t  version;                    /* 1..4 */
	uint8_t  codec;                      /* enum cr_codec */
	uint64_t body_off;                   /* behind the header: structured metadata or blocks */
	uint64_t symbols_off, symbols_bytes; /* structured metadata (version 4), else 0, 0 */
	uint64_t symbols;                    /* strings that it says it holds */
	uint64_t metas_off, metas_bytes;     /* block metas */
	uint64_t blocks;                     /* how many they say there are */
	uint64_t footer_off;
	uint64_t reason_off;                 /* behind a reason: where in the file it was found */
};

/* Walks the envelope, the footer and the sizes of everything. Checks the snappy frames' CRCs, the
 * metas' and the structured metadata's; not the file's and the blocks'. CR_REASON_NONE or what is
 * wrong (*out is then filled as far as it got). file is only read. Thread-safe. */
CR_API enum cr_chunk_reason cr_chunk_parse(const void *file, size_t file_bytes, struct cr_chunk *out);

/* For files that cr_chunk_parse() refuses: whether there is anything of a chunk in it, and where its
 * data may begin (the first magic number; false: there is none). */
CR_API bool cr_chunk_resembles(const void *file, size_t file_bytes);
CR_API bool cr_chunk_find_data(const void *file, size_t file_bytes, uint32_t *data_off);

/* cr_chunk_parse() of the data from data_off to the end of the file, whatever is in front of it: *out
 * says nothing of the JSON metadata. body_off is set (not 0) where the header is right. */
CR_API enum cr_chunk_reason cr_chunk_parse_data(const void *file, size_t file_bytes,
						uint32_t data_off, struct cr_chunk *out);

/* Inflates the JSON metadata of a parsed chunk into out (cap_bytes >= chunk->json_bytes). Reads
 * nothing of the file behind the frames. 0, -ENOSPC or -EBADMSG. */
CR_API int cr_chunk_json(const void *file, const struct cr_chunk *chunk, void *out, size_t cap_bytes);

/* Whether no snappy frame follows the one that holds the json_bytes-th byte of the JSON. Loki reads
 * frames until the object is closed (struct cr_meta: end_bytes), and the data length right behind: it
 * can't read a file with more frames. */
CR_API bool cr_chunk_json_is_last(const void *file, const struct cr_chunk *chunk, size_t json_bytes);

/* Where a block is. Loki looks for it where its meta says, then where the block before it ends. */
enum cr_block_state {
	CR_BLOCK_UNKNOWN  = 0, /* nobody has looked */
	CR_BLOCK_RECORDED = 1, /* where its meta says, with the right CRC */
	CR_BLOCK_MOVED    = 2, /* only where the block before it ends: Loki reads it there */
	CR_BLOCK_BAD      = 3, /* a wrong CRC in both places: Loki drops it */
};

struct cr_block {
	uint64_t off;                /* as recorded, from the start of the FILE; may lie outside */
	uint64_t found_off;          /* where it is: within the file if it is RECORDED or MOVED, else off */
	uint32_t state;              /* enum cr_block_state */
	uint64_t bytes;              /* compressed, without the CRC that follows it */
	uint64_t entries;
	uint64_t uncompressed_bytes; /* 0 before version 3 */
	int64_t  mint_ns, maxt_ns;
};

/* Where a walk over the blocks is; zero it to begin. */
struct cr_block_cursor {
	uint64_t blocks;      /* done */
	uint64_t metas_bytes; /* of the metas done; 0 before the first block */
	uint64_t expected;    /* the library's own */
};

/* Steps through the blocks of a chunk that cr_chunk_parse() found right, and looks where each of them
 * is: takes the CRC of its bytes, at most twice. 1 and *out, 0 at the end, -EBADMSG where the metas
 * end early or a number is malformed. Thread-safe. */
CR_API int cr_chunk_block_next(const void *file, const struct cr_chunk *chunk,
			       struct cr_block_cursor *cursor, struct cr_block *out);

/* The same without looking: state is UNKNOWN. It needs no more of the file than the metas, which begin
 * at metas (file + chunk->metas_off in a whole file), and no chunk whose blocks are right. */
CR_API int cr_chunk_meta_next(const void *metas, const struct cr_chunk *chunk,
			      struct cr_block_cursor *cursor, struct cr_block *out);

struct cr_verdict {
	uint32_t reason;      /* enum cr_chunk_reason */
	uint32_t crc;         /* CRC32C of the whole file */
	uint32_t blocks_good; /* CRC right at the recorded offset */
	uint32_t blocks_moved;/* right only at the offset where the block before it ends: Loki reads
			       * it there */
	uint32_t blocks_bad;  /* dropped by Loki */
};

/* Parses the chunk and checks every CRC in it with ONE pass over the bytes: each block's CRC is
 * taken once and combined into the file's. crc is right even when the structure is not. */
CR_API void cr_chunk_verify(const void *file, size_t file_bytes, struct cr_verdict *out);

/* ---- Blocks: decompress them ---- */

/* Loki's codec numbers (pkg/compression/codec.go); 2 was never used. */
enum cr_codec {
	CR_CODEC_NONE     = 0,
	CR_CODEC_GZIP     = 1,
	CR_CODEC_LZ4_64K  = 3, /* the four LZ4 are one format: frames */
	CR_CODEC_SNAPPY   = 4, /* framed */
	CR_CODEC_LZ4_256K = 5,
	CR_CODEC_LZ4_1M   = 6,
	CR_CODEC_LZ4_4M   = 7,
	CR_CODEC_FLATE    = 8,
	CR_CODEC_ZSTD     = 9,
};

/* What became of one block. Values are ABI: append, never renumber. */
enum cr_decompress_status {
	CR_DECOMPRESS_PENDING   = 0, /* never returned */
	CR_DECOMPRESS_OK        = 1, /* all of it, every checksum in it right: Loki's reader gives the
				  * same bytes and no error. (Or, of a deflate stream that no
				  * compressor writes, the same bytes up to its error: it refuses
				  * undefined codes, which libdeflate takes) */
	CR_DECOMPRESS_BAD       = 2, /* malformed, cut, followed by what does not belong to it, or a
				  * checksum is wrong */
	CR_DECOMPRESS_ROOM      = 3, /* does not fit cap_bytes */
	CR_DECOMPRESS_UNSURE    = 4, /* well-formed perhaps, but nothing that Loki writes: only Loki's own
				  * reader can tell */
	CR_DECOMPRESS_CODEC     = 5, /* not a codec of Loki's */
	CR_DECOMPRESS_NO_MEMORY = 6, /* the decompressor's own memory */
	CR_DECOMPRESS_STATUS_COUNT
};

/* Short name ("ok", "bad"); never NULL. */
CR_API const char *cr_decompress_status_name(uint32_t status);

/* The codecs' working memory (zstd: about 160 KB), made when a codec is first used and kept. Each is
 * used by one thread at a time: keep one a worker, or a few in a pool. */
struct cr_decompressor;

CR_API int cr_decompressor_open(struct cr_decompressor **out); /* -ENOMEM */
CR_API void cr_decompressor_close(struct cr_decompressor *decompressor); /* NULL is fine */

struct cr_decompress {
	const void *src;       /* in:  the block without the CRC that follows it; only read */
	size_t      src_bytes; /* in */
	void       *dst;       /* in:  room for cap_bytes; must not overlap src */
	size_t      cap_bytes; /* in:  bound of the output: not a byte is written beyond it */
	size_t      raw_bytes; /* out: OK: bytes of dst that are valid. ROOM: how many the block says
				* it takes, or 0. Else 0 */
	uint32_t    codec;     /* in:  enum cr_codec, for instance cr_chunk.codec */
	uint32_t    status;    /* out: enum cr_decompress_status */
};

/*
 * Decompresses one block. Returns d->status; unless it is CR_DECOMPRESS_OK, the bytes of dst are
 * undefined. Nothing is allocated for the output: a block that inflates to gigabytes costs no more
 * than cap_bytes. After ROOM try again with raw_bytes or twice cap_bytes, whichever is more, up to
 * your own limit.
 */
CR_API uint32_t cr_block_decompress(struct cr_decompressor *decompressor, struct cr_decompress *d);

/* The same for d[0 .. n), in this order, whatever becomes of each. Returns how many are OK. */
CR_API uint32_t cr_block_decompress_batch(struct cr_decompressor *decompressor, struct cr_decompress *d, uint32_t n);

/* ---- Memory that grows ---- */

/*
 * The caller's, as getline(3) has it: p is NULL or from malloc(3). The library makes it larger with
 * realloc(3) where it must, never smaller, and keeps nothing of it: use it again for the next block, and
 * free(3) p in the end. Zero it to begin.
 */
struct cr_buf {
	void  *p;
	size_t cap_bytes; /* room */
	size_t bytes;     /* out: how many of them are valid */
};

#define CR_RAW_BYTES_MAX (64u << 20) /* one block or the structured metadata, inflated: Loki's blocks
				      * are 256 KB unless a line is longer */

/* cr_block_decompress() of src into out, which grows up to CR_RAW_BYTES_MAX: ROOM is what inflates to more.
 * guess_bytes is how large it may get, for instance cr_block.uncompressed_bytes, or 0. Returns enum
 * cr_decompress_status; unless it is OK, out->bytes is 0. */
CR_API uint32_t cr_block_decompress_grow(struct cr_decompressor *decompressor, uint32_t codec, const void *src,
				     size_t src_bytes, uint64_t guess_bytes, struct cr_buf *out);

/* ---- Entries: the log lines in a block ---- */

#define CR_LINE_BYTES_MAX (1u << 30) /* Loki's own bound */

/*
 * The strings of a chunk's structured metadata (version 4), by number. Zero it to begin; it may be read
 * again for the next chunk. One thread at a time uses it, cr_entries_next() included.
 */
struct cr_symbols {
	uint32_t      n;            /* out: strings; 0 unless it was read */
	uint64_t      unused_bytes; /* out: of the section, inflated, behind the last string */
	const char   *error;        /* out: behind -EBADMSG, one sentence; a constant */
	struct cr_buf text, names, list; /* the library's own */
};

/* Inflates and splits them. 0 (a chunk before version 4 has none), -EBADMSG or -ENOMEM: then there are
 * none, and entries can still be read. chunk: as cr_chunk_parse() found it right, or one of which version,
 * codec, symbols_off and symbols_bytes are set and lie within the file. */
CR_API int cr_symbols_read(struct cr_symbols *symbols, struct cr_decompressor *decompressor, const void *file,
			   const struct cr_chunk *chunk);
CR_API void cr_symbols_free(struct cr_symbols *symbols);

/* A name and a value of an entry's structured metadata. The name is as Loki shows it: what Prometheus
 * would not take in a name is '_'. Any bytes, without a NUL behind them. */
struct cr_pair {
	const char *name, *value;
	uint32_t    name_bytes, value_bytes;
	uint32_t    order;        /* in the block, from 0 */
	uint64_t    stored_bytes; /* of both strings, before names were changed */
};

struct cr_entry {
	int64_t     ns;         /* since 1970 */
	const char *line;       /* in the block; any bytes, without a NUL behind them */
	size_t      line_bytes;
	const struct cr_pair *pairs; /* by name, no name twice (the last counts): as Loki serves them */
	uint32_t    pairs_n;
	uint64_t    stored_pairs, stored_bytes; /* as they are in the block; the sum of theirs */
};

/* A walk over a block's entries. Zero it before the first cr_entries_begin(); the fields are the
 * library's to write. */
struct cr_entries {
	const void        *raw;
	size_t             raw_bytes;
	size_t             off;      /* out: bytes read */
	uint8_t            version;
	struct cr_symbols *symbols;
	const char        *error;    /* out: behind -EBADMSG, one sentence; a constant */
	bool               bad_ref;  /* out: a pair refers to a string that does not exist (Loki: "") */
	bool               nameless; /* out: a pair has a name of which Loki can't make one: it stops there */
	struct cr_buf      pairs;    /* the library's own */
};

/* raw: a block, decompressed, of a chunk of that version; borrowed, as symbols are, until the last
 * cr_entries_next(). symbols NULL: entries are without pairs. A walk may begin anew at any time. */
CR_API void cr_entries_begin(struct cr_entries *r, const void *raw, size_t raw_bytes, uint8_t version,
			     struct cr_symbols *symbols);
/* The next entry: 1, *out valid until the next call; 0 at the end; -EBADMSG where it is malformed (now
 * and from then on: Loki stops there, too); -ENOMEM. */
CR_API int cr_entries_next(struct cr_entries *r, struct cr_entry *out);
CR_API void cr_entries_free(struct cr_entries *r);

/* ---- The two ends of a chunk file ---- */

#define CR_ENDS_BYTES (16u << 10) /* of each end: enough of nearly all chunks */

enum cr_ends_status {
	CR_ENDS_PENDING = 0, /* never returned */
	CR_ENDS_OK      = 1,
	CR_ENDS_MORE    = 2, /* read more: head_bytes and tail_bytes say how much */
	CR_ENDS_WHOLE   = 3, /* only cr_chunk_parse() of the whole file can tell: it is damaged, or no
			      * writer of Loki's made it */
};

struct cr_ends {
	const void *head, *tail; /* in: the first head_bytes and the last tail_bytes of the file */
	uint64_t    file_bytes;  /* in */
	uint64_t    head_bytes;  /* in; out with MORE: how many of each are needed, of one */
	uint64_t    tail_bytes;  /* ... end more than there are, of none more than file_bytes */
};

/*
 * cr_chunk_parse() from the two ends of a file, which may overlap: begin with CR_ENDS_BYTES of each, or
 * with nothing, read what MORE asks for and call again. It asks at most 6 times. OK: *out is what
 * cr_chunk_parse() makes of the whole file, which it calls right. So cr_chunk_json() works on head, and
 * cr_chunk_meta_next() on tail + (tail_bytes - (file_bytes - out->metas_off)); nothing is known of the
 * blocks' bytes. Unless it is OK, *out is undefined. Returns enum cr_ends_status. Thread-safe.
 */
CR_API uint32_t cr_chunk_outline(struct cr_ends *ends, struct cr_chunk *out);

/* ---- Metadata: the JSON of a chunk ---- */

#define CR_LABELS_MAX 4096u /* of one stream; Loki allows 15 unless told otherwise */

struct cr_label { /* any bytes, without a NUL behind them */
	const char *name, *value;
	uint32_t    name_bytes, value_bytes;
};

/* What it says. Zero it to begin; it may be read again for the next chunk. */
struct cr_meta {
	const char *tenant;          /* no NUL behind it */
	uint32_t    tenant_bytes;
	uint64_t    fingerprint;     /* of the stream */
	int64_t     from_ms, through_ms;
	uint32_t    encoding;        /* 129: a chunk of logs (128: of an old Loki) */
	bool        has_encoding;
	const struct cr_label *labels; /* without __name__, in the order of the file (Loki sorts them) */
	uint32_t    labels_n;
	/* what Loki reads but never writes: a field twice, in another case, something behind the object */
	bool        twice, other_case, trailing;
	size_t      end_bytes;       /* of the JSON, up to the closing brace; behind -EBADMSG: to the error */
	const char *error;           /* behind -EBADMSG, one sentence; a constant */
	bool        no_memory;       /* the library's own, */
	struct cr_buf text, list;    /* ... as these are */
};

/* Reads the object (cr_chunk_json()) as Loki does: unknown fields are skipped, of a repeated one the last
 * counts. json is only read, and not needed any more afterwards. 0; -EBADMSG where Loki would fail, and
 * beyond CR_META_BYTES_MAX and CR_LABELS_MAX (the fields in front of the error are set); -ENOMEM. */
CR_API int cr_meta_read(struct cr_meta *m, const char *json, size_t json_bytes);
CR_API void cr_meta_free(struct cr_meta *m);

/* ---- Keys: the names of chunk files ---- */

#define CR_TENANT_BYTES_MAX   255u /* a file name; Loki itself stops at 150 */
#define CR_KEY_PATH_BYTES_MAX 512u /* with the NUL */

/*
 * What Loki asks for a chunk by. A path is
 *
 *	schema v12 and later  tenant/FP/base64("FROM:THROUGH:CRC")
 *	up to v11 (flat)      base64("tenant/FP:FROM:THROUGH:CRC")
 *
 * with FP, CRC and the times in hexadecimal digits.
 */
struct cr_key {
	uint64_t fingerprint;
	int64_t  from_ms, through_ms;
	uint32_t crc;   /* CRC32C of the whole file: cr_req.crc_want */
	bool     flat;
	uint8_t  tenant_bytes;
	char     tenant[CR_TENANT_BYTES_MAX + 1]; /* with a NUL */
};

/* Whether a name is that of a chunk: exactly what Loki makes of the key that it tells. Else *out is
 * undefined. Names are NUL-terminated. Thread-safe. */
CR_API bool cr_key_of_flat(const char *name, struct cr_key *out);
CR_API bool cr_key_of_nested(const char *tenant, const char *folder, const char *name,
			     struct cr_key *out);
/* By the last component of a path (flat) or its last three. */
CR_API bool cr_key_of_path(const char *path, struct cr_key *out);
/* Whether a name can be that of a stream's folder: 64 bits as Loki writes them. */
CR_API bool cr_key_fingerprint(const char *folder, uint64_t *out);

/* The path of a chunk in its store, cr_req.path, with a NUL behind it. Returns its length. */
CR_API size_t cr_key_path(const struct cr_key *key, char out[CR_KEY_PATH_BYTES_MAX]);

/* base64 of RFC 4648 section 4, as it is in names. Decodes to at most cap_bytes: how many, 0 where it is
 * not base64 in its only form, or is empty, or more. Encodes n bytes to (n + 2) / 3 * 4, without a NUL. */
CR_API size_t cr_base64_decode(const char *text, size_t text_bytes, void *out, size_t cap_bytes);
CR_API size_t cr_base64_encode(const void *bytes, size_t n, char *out);

/* ---- JSON: the reader behind cr_meta_read() ---- */

/*
 * Pulls values from front to back out of one text, which it borrows, and takes no memory. A function
 * that returns bool says whether there is what was asked for; after the first false for which error is
 * set all are false. (For reports of chunkctl, too.)
 */
struct cr_json {
	const char *p, *end; /* where it is */
	const char *error;   /* what is wrong at p, one phrase; a constant */
	uint32_t    depth;
	bool        first;   /* the library's own */
};

#define CR_JSON_DEPTH_MAX 64u

struct cr_json_span { /* of the text */
	const char *p;
	size_t      bytes;
};

CR_API void cr_json_begin(struct cr_json *r, const char *p, size_t bytes);
/* The next value's first character ('{', '[', '"', '-', a digit, 't', 'f', 'n'), or 0 at the end. */
CR_API char cr_json_peek(struct cr_json *r);
/* Into an object '{' or an array '[': while (cr_json_next()) read or skip one value. key is NULL in
 * arrays, else what is between the quotes. */
CR_API bool cr_json_enter(struct cr_json *r, char bracket);
CR_API bool cr_json_next(struct cr_json *r, struct cr_json_span *key);
CR_API bool cr_json_string(struct cr_json *r, struct cr_json_span *out); /* between the quotes */
CR_API bool cr_json_number(struct cr_json *r, struct cr_json_span *out);
CR_API bool cr_json_u64(struct cr_json *r, uint64_t *out);
CR_API bool cr_json_i64(struct cr_json *r, int64_t *out);
CR_API bool cr_json_bool(struct cr_json *r, bool *out);
CR_API bool cr_json_skip(struct cr_json *r);
CR_API bool cr_json_fail(struct cr_json *r, const char *error); /* the caller's own: false */

/* Decodes what cr_json_string() or cr_json_next() gave. Writes at most s->bytes; returns how many. */
CR_API size_t cr_json_unescape(const struct cr_json_span *s, char *out);
/* A character as UTF-8, U+FFFD for what is none. Returns 1 to 4. */
CR_API size_t cr_utf8(uint32_t c, char out[4]);

/* ---- Eviction: which file of a bounded folder of files goes next ---- */

/*
 * S3-FIFO over bytes: what is new waits in a small queue (a tenth of the bytes) and goes from there, unless it
 * was used twice meanwhile; the rest is in a main queue, where each use is another round. So what is
 * read once, however much it is, passes through the small queue and pushes nothing else out. What went
 * from the small queue is remembered by its hash: coming again, it enters the main queue.
 *
 * Pure decisions: no IO, no clock, no thread, no lock (one caller at a time), nothing but the numbers it is
 * told. The caller has the limits and deletes the victims. Equal calls in equal order give equal victims.
 *
 * Memory: 37 bytes for each of items_max (25 a file, 4 of the table of hashes, 8 for one that went), of
 * which the system gives what is touched.
 */
struct cr_evict; /* opaque */

#define CR_EVICT_ITEMS_MAX (1u << 28)
#define CR_EVICT_BYTES_MAX UINT32_MAX /* of one file */

struct cr_evict_item {
	uint64_t hash;       /* 64 bits that stand for the file; two files of one hash are one */
	uint32_t size_bytes;
	uint32_t slot;       /* below items_max, the file's own until it goes: an index for what the caller
			      * must know of it */
};

struct cr_evict_stats {
	uint64_t items, bytes;             /* held */
	uint64_t small_items, small_bytes; /* of these, in the small queue */
};

/* Room for items_max files. 0, -EINVAL (none, or more than CR_EVICT_ITEMS_MAX), -ENOMEM. */
CR_API int cr_evict_open(uint32_t items_max, struct cr_evict **out);
CR_API void cr_evict_close(struct cr_evict *e); /* NULL is fine */

/* A file is there from now on. kept: it was there before, so it enters the main queue (a restart tells the
 * oldest first). A hash that is known keeps its place and slot and gets the size. *slot may be NULL.
 * 0; -EFBIG: more than CR_EVICT_BYTES_MAX; -ENOSPC: items_max are held, take a victim first. */
CR_API int cr_evict_add(struct cr_evict *e, uint64_t hash, uint64_t size_bytes, bool kept, uint32_t *slot);

/* These files were read. Unknown ones are passed over. Returns how many are known. */
CR_API uint32_t cr_evict_touch(struct cr_evict *e, const uint64_t *hashes, uint32_t n);

/* Whether a file is known, and what of it. out may be NULL. */
CR_API bool cr_evict_find(const struct cr_evict *e, uint64_t hash, struct cr_evict_item *out);

/* A file is gone for another reason. False: it was not known. out may be NULL. */
CR_API bool cr_evict_remove(struct cr_evict *e, uint64_t hash, struct cr_evict_item *out);

/* The next file to delete, which is known no more, as long as more than keep_bytes or keep_items are held.
 * False: no more are. A call takes bounded time, whatever was read before. */
CR_API bool cr_evict_victim(struct cr_evict *e, uint64_t keep_bytes, uint32_t keep_items,
			    struct cr_evict_item *out);

CR_API void cr_evict_stats(const struct cr_evict *e, struct cr_evict_stats *out);

/* ---- What this was built from ---- */

/* The version of this library, of those that are linked statically, and the compiler's: "0.1.0, liburing 2.3,
 * libzstd 1.5.4, libdeflate 1.14, liblz4 1.9.4, 12.2.0". For people and bug reports; the form may change. */
CR_API const char *cr_version(void);

#ifdef __cplusplus
}
#endif
#endif /* CHUNKRING_H */
