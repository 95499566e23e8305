/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes what the tests of blocks read: text as in logs, and blocks of every codec by the codecs' own
 * libraries.
 */
#ifndef CR_TEST_BLOCK_BUILD_H
#define CR_TEST_BLOCK_BUILD_H

#include <libdeflate.h>
#include <lz4frame.h>
#include <stdio.h>
#include <zstd.h>

#include "snappy_build.h"

static inline void must(bool ok)
{
	if (!ok)
		abort();
}

/* n bytes of lines that compress to about a quarter. */
static inline struct buf lines(size_t n)
{
	uint64_t seed = 7;
	struct buf b = { 0 };
	char line[200];

	while (b.n < n) {
		uint64_t x = next_random(&seed);
		int len = snprintf(line, sizeof(line), "ts=%llu level=%s caller=flush.go:%d msg=\"request completed\" id=%llx\n",
				   1700000000000ull + b.n, x & 1 ? "info" : "warn", (int)(x >> 8 & 255),
				   (unsigned long long)(x >> 32));
		put(&b, line, (size_t)len);
	}
	b.n = n;
	return b;
}

static inline void put_deflate(struct buf *b, const struct buf *raw, int level, bool gzip)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(level);
	size_t room, n;
	void *out;

	must(c);
	room = libdeflate_gzip_compress_bound(c, raw->n);
	out = malloc(room);
	must(out);
	n = gzip ? libdeflate_gzip_compress(c, raw->p, raw->n, out, room) :
		   libdeflate_deflate_compress(c, raw->p, raw->n, out, room);
	must(n);
	put(b, out, n);
	free(out);
	libdeflate_free_compressor(c);
}

static inline void put_gzip(struct buf *b, const struct buf *raw)
{
	put_deflate(b, raw, 6, true);
}

static inline void put_flate(struct buf *b, const struct buf *raw)
{
	put_deflate(b, raw, 6, false);
}

/* With a checksum, as Loki writes it, and without the size. */
static inline void put_zstd(struct buf *b, const struct buf *raw)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(raw->n), n;
	void *out = malloc(room);

	must(c && out);
	must(!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)));
	must(!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0)));
	must(!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 22)));
	n = ZSTD_compress2(c, out, room, raw->p, raw->n);
	must(!ZSTD_isError(n));
	put(b, out, n);
	free(out);
	ZSTD_freeCCtx(c);
}

static inline void put_lz4_frame(struct buf *b, const struct buf *raw, const LZ4F_preferences_t *prefs)
{
	size_t room = LZ4F_compressFrameBound(raw->n, prefs), n;
	void *out = malloc(room);

	must(out);
	n = LZ4F_compressFrame(out, room, raw->p, raw->n, prefs);
	must(!LZ4F_isError(n));
	put(b, out, n);
	free(out);
}

static inline void put_lz4(struct buf *b, const struct buf *raw)
{
	LZ4F_preferences_t prefs = { .frameInfo = { .blockSizeID = LZ4F_max64KB,
						    .blockMode = LZ4F_blockIndependent } };

	put_lz4_frame(b, raw, &prefs);
}

static inline void put_snappy(struct buf *b, const struct buf *raw)
{
	size_t pos, n;

	put_stream_frame(b);
	for (pos = 0; pos < raw->n; pos += n) {
		n = raw->n - pos < 65536 ? raw->n - pos : 65536;
		put_frame(b, true, raw->p + pos, n);
	}
}

#endif
