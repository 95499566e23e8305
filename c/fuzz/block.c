/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of FUZZ_CODEC: the bound holds, what is called right is what the codec's own library
 * makes of it, and a decompressor that was used before gives the same as a new one. (What Loki's readers,
 * written in Go, make of it is compared by FuzzSame in go/internal/blockread.)
 */
#include <lz4frame.h>
#include <zstd.h>

#include "chunkring.h"
#include "fuzz.h"

#define RAW_BYTES_MAX (160u << 10) /* more than two of the smallest LZ4 blocks */
#define CANARY_BYTES  16u
#define CANARY        0x5c

static struct cr_decompressor *used; /* from input to input, as in a worker */

/* Decompresses into exactly cap bytes, which the caller frees. */
static uint32_t decompress(struct cr_decompressor *decompressor, const uint8_t *data, size_t n, size_t cap,
		       struct cr_decompress *d)
{
	uint8_t *dst = malloc(cap + CANARY_BYTES);

	FUZZ_CHECK(dst);
	memset(dst + cap, CANARY, CANARY_BYTES);
	*d = (struct cr_decompress){ .src = data, .src_bytes = n, .dst = dst, .cap_bytes = cap,
				 .codec = FUZZ_CODEC };
	FUZZ_CHECK(cr_block_decompress(decompressor, d) == d->status);
	FUZZ_CHECK(d->status > CR_DECOMPRESS_PENDING && d->status < CR_DECOMPRESS_STATUS_COUNT);
	FUZZ_CHECK(d->status == CR_DECOMPRESS_OK ? d->raw_bytes <= cap :
		   d->status == CR_DECOMPRESS_ROOM || d->raw_bytes == 0);
	for (size_t i = 0; i < CANARY_BYTES; i++)
		FUZZ_CHECK(dst[cap + i] == CANARY);
	return d->status;
}

/* ---- What the codecs' own libraries say: bytes made, or SIZE_MAX if it is not right ---- */

static size_t by_zstd(const uint8_t *data, size_t n, uint8_t *out, size_t cap)
{
	size_t made = ZSTD_decompress(out, cap, data, n);

	return ZSTD_isError(made) ? SIZE_MAX : made;
}

static size_t by_lz4(const uint8_t *data, size_t n, uint8_t *out, size_t cap)
{
	size_t made = 0, in, one, hint = 0;
	LZ4F_dctx *ctx;

	FUZZ_CHECK(!LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION)));
	while (n) {
		in = n;
		one = cap - made;
		hint = LZ4F_decompress(ctx, out + made, &one, data, &in, NULL);
		if (LZ4F_isError(hint) || (in == 0 && one == 0))
			break;
		data += in;
		n -= in;
		made += one;
	}
	LZ4F_freeDecompressionContext(ctx);
	return n == 0 && hint == 0 ? made : SIZE_MAX;
}

static void compare(const uint8_t *data, size_t n, const struct cr_decompress *d)
{
	uint8_t *out = malloc(d->raw_bytes + 1);
	size_t made = d->raw_bytes;

	FUZZ_CHECK(out);
	switch (FUZZ_CODEC) {
	case CR_CODEC_ZSTD:
		made = by_zstd(data, n, out, d->raw_bytes);
		break;
	case CR_CODEC_LZ4_64K:
		made = by_lz4(data, n, out, d->raw_bytes);
		if (made == SIZE_MAX) { /* it wants the last 5 bytes to be literals; Loki's
					 * reader doesn't mind */
			free(out);
			return;
		}
		break;
	default: /* gzip and flate are the library; of snappy there is no other */
		free(out);
		return;
	}
	FUZZ_CHECK(made == d->raw_bytes && memcmp(out, d->dst, made) == 0);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cr_decompressor *fresh;
	struct cr_decompress d, other;

	if (!used)
		FUZZ_CHECK(cr_decompressor_open(&used) == 0);
	FUZZ_CHECK(cr_decompressor_open(&fresh) == 0);
	decompress(fresh, data, n, RAW_BYTES_MAX, &d);
	decompress(used, data, n, RAW_BYTES_MAX, &other);
	FUZZ_CHECK(d.status == other.status && d.raw_bytes == other.raw_bytes);
	free(other.dst);
	if (d.status == CR_DECOMPRESS_OK) {
		compare(data, n, &d);
		decompress(used, data, n, d.raw_bytes, &other);
		FUZZ_CHECK(other.status == CR_DECOMPRESS_OK && other.raw_bytes == d.raw_bytes);
		FUZZ_CHECK(memcmp(d.dst, other.dst, d.raw_bytes) == 0);
		free(other.dst);
		for (size_t cap = d.raw_bytes; cap; cap /= 2) {
			decompress(used, data, n, cap - 1, &other);
			FUZZ_CHECK(other.status == CR_DECOMPRESS_ROOM);
			free(other.dst);
		}
	}
	free(d.dst);
	cr_decompressor_close(fresh);
	return 0;
}
