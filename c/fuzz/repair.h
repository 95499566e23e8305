/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes lengths and checksums right after a mutation, as far as they can be found, so that what was
 * changed inside is reached. Written apart from the parser under test and more lenient.
 */
#ifndef CR_FUZZ_REPAIR_H
#define CR_FUZZ_REPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct part {
	size_t off, bytes;
};

/* The checksum of every snappy frame. Returns where the frames end: at stop or stop + 4 if one ends
 * there, else behind the last that is whole. */
size_t repair_frames(uint8_t *p, size_t n, size_t stop);

/* Metadata length, data length, the frames' checksums, the metas' and the structured metadata's, and,
 * if blocks, every block's. */
void repair_chunk(uint8_t *p, size_t n, bool blocks);

/* What a chunk file is made of, as its own numbers tell. */
#define PARTS_MAX 16u
enum { PART_FRAMES, PART_HEADER, PART_METAS, PART_FOOTER, PART_SYMBOLS, PART_BLOCKS };
/* parts[PART_BLOCKS ..] are blocks; one that is not there has 0 bytes. Returns how many. */
size_t find_parts(const uint8_t *p, size_t n, struct part parts[PARTS_MAX]);

/* How many bytes the varint at p has, 0 if it does not end within n bytes. */
size_t varint_bytes(const uint8_t *p, size_t n);

void put_be32(uint8_t *p, uint32_t x);
void put_be64(uint8_t *p, uint64_t x);
uint64_t get_be64(const uint8_t *p);

#endif
