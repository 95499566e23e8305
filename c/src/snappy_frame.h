/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snappy: the framing format (a stream of typed frames, each at most 64 KiB inflated and with its
 * own checksum) and the block format inside its compressed frames. Nothing here allocates; all
 * input is hostile.
 * https://github.com/google/snappy/blob/main/framing_format.txt, format_description.txt
 */
#ifndef CR_SNAPPY_FRAME_H
#define CR_SNAPPY_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CR_FRAME_RAW_BYTES_MAX    65536u /* one frame, inflated */
/* The most that 64 KiB can take compressed, by the format's own bound (32 + n + n/6), plus the
 * checksum. Loki's reader refuses any frame beyond it, skippable ones included. */
#define CR_FRAME_BODY_BYTES_MAX   (4u + 32u + CR_FRAME_RAW_BYTES_MAX + CR_FRAME_RAW_BYTES_MAX / 6u)
#define CR_FRAME_HEADER_BYTES     4u
#define CR_FRAME_STREAM           "\xff\x06\x00\x00sNaPpY" /* the frame every stream starts with */
#define CR_FRAME_STREAM_BYTES     10u

enum cr_frame_status {
	CR_FRAME_OK = 1,
	CR_FRAME_SHORT,   /* it does not end within the bytes given */
	CR_FRAME_BAD,     /* malformed */
	CR_FRAME_BAD_CRC,
	CR_FRAME_TOO_BIG, /* the sum of what was inflated would exceed raw_bytes_max */
};

/* Where a walk is. Set src, src_bytes and raw_bytes_max, zero the rest. */
struct cr_frame_walk {
	const uint8_t *src;
	size_t         src_bytes;
	size_t         pos;           /* end of the frames done so far */
	uint8_t       *out;           /* room for raw_bytes_max; NULL: only check */
	uint64_t       raw_bytes;     /* inflated so far */
	uint64_t       raw_bytes_max;
	bool           started;       /* the stream's first frame was seen */
};

/*
 * Checks one frame, inflates it to out + raw_bytes if there is an out, and moves pos and raw_bytes
 * past it. Not CR_FRAME_OK: neither has moved; bytes of out beyond raw_bytes are undefined.
 * Without out it takes 64 KiB of stack for a compressed frame: worker threads have
 * CR_STACK_BYTES, well above the 128 KiB to plan for.
 */
enum cr_frame_status cr_frame_next(struct cr_frame_walk *walk);

/* Reads the length that a snappy block says it has inflated. Returns the bytes the length took,
 * or 0 if it is malformed or beyond 32 bits. */
size_t cr_snappy_raw_bytes(const uint8_t *src, size_t src_bytes, uint64_t *raw_bytes);

/* Inflates a snappy block (with its length in front) to exactly raw_bytes at dst. False if it is
 * malformed or has another length. src and dst must not overlap. */
bool cr_snappy_inflate(const uint8_t *src, size_t src_bytes, uint8_t *dst, size_t raw_bytes);

#endif
