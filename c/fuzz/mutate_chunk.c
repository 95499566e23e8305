/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mutator that knows chunk files: it changes one part (with the offsets of what lies behind moved
 * along), one number of the metas or one word of the footer, and then mostly makes lengths and
 * checksums right again. Without it hardly an input would get past the first checksum.
 */
#include "fuzz.h"
#include "repair.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned int seed);

static uint32_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

static uint64_t awkward(uint64_t *state, size_t n)
{
	static const uint64_t values[] = { 0, 1, 4, 5, 6, 127, 128, 255, 256, UINT32_MAX,
					   (uint64_t)UINT32_MAX + 1, INT64_MAX, (uint64_t)INT64_MAX + 1,
					   UINT64_MAX - 3, UINT64_MAX };
	uint32_t which = next(state) % 24;

	if (which < sizeof(values) / sizeof(values[0]))
		return values[which];
	return n - 8 + next(state) % 16 - (which & 1 ? next(state) % (n + 1) : 0);
}

/* Replaces part by the bytes of with: what is behind moves. Returns the new size, or n if there is no
 * room. */
static size_t splice(uint8_t *data, size_t n, size_t room, struct part part, const uint8_t *with,
		     size_t bytes)
{
	if (n - part.bytes + bytes > room)
		return n;
	memmove(data + part.off + bytes, data + part.off + part.bytes,
		n - part.off - part.bytes);
	memcpy(data + part.off, with, bytes);
	return n - part.bytes + bytes;
}

/* The footer's offsets and lengths after part number i grew by grown (or shrank). */
static void move_sections(uint8_t *data, size_t n, const struct part *parts, size_t i, size_t grown)
{
	static const struct {
		uint8_t part, length, off; /* words, back from the end */
	} words[] = { { PART_METAS, 16, 8 }, { PART_SYMBOLS, 32, 24 } };
	bool v4 = parts[PART_FOOTER].bytes == 32;

	if (i == PART_FRAMES || i == PART_FOOTER || !parts[PART_FOOTER].bytes)
		return;
	for (size_t w = 0; w < (v4 ? 2 : 1); w++) {
		uint8_t *end = data + n;

		if (v4 && i == words[w].part)
			put_be64(end - words[w].length, get_be64(end - words[w].length) + grown);
		if (parts[words[w].part].off > parts[i].off)
			put_be64(end - words[w].off, get_be64(end - words[w].off) + grown);
	}
}

static size_t mutate_part(uint8_t *data, size_t n, size_t room, uint64_t *state)
{
	struct part parts[PARTS_MAX];
	size_t i = next(state) % find_parts(data, n, parts), bytes = parts[i].bytes, max, now;
	uint8_t *copy;

	if (!bytes)
		return LLVMFuzzerMutate(data, n, room);
	max = bytes + 64 < room - n + bytes ? bytes + 64 : room - n + bytes;
	copy = malloc(max ? max : 1);
	FUZZ_CHECK(copy);
	memcpy(copy, data + parts[i].off, bytes);
	bytes = LLVMFuzzerMutate(copy, bytes, max);
	now = splice(data, n, room, parts[i], copy, bytes);
	free(copy);
	if (now != n)
		move_sections(data, now, parts, i, now - n);
	return now;
}

/* Any varint of the metas, each with the same chance. */
static struct part pick_number(const uint8_t *data, struct part metas, uint64_t *state)
{
	size_t at = metas.off, end = metas.off + metas.bytes, bytes;
	struct part picked = { 0 };

	for (uint32_t seen = 1; (bytes = varint_bytes(data + at, end - at)); seen++, at += bytes)
		if (next(state) % seen == 0)
			picked = (struct part){ at, bytes };
	return picked;
}

static size_t mutate_number(uint8_t *data, size_t n, size_t room, uint64_t *state)
{
	struct part parts[PARTS_MAX], number;
	uint8_t with[10];
	size_t bytes = 0, now;

	find_parts(data, n, parts);
	number = pick_number(data, parts[PART_METAS], state);
	if (!number.bytes)
		return mutate_part(data, n, room, state);
	for (uint64_t x = awkward(state, n); bytes == 0 || x; x >>= 7)
		with[bytes++] = (uint8_t)((x & 0x7f) | (x >> 7 ? 0x80 : 0));
	now = splice(data, n, room, number, with, bytes);
	if (now != n)
		move_sections(data, now, parts, PART_METAS, now - n);
	return now;
}

static size_t mutate_footer(uint8_t *data, size_t n, uint64_t *state)
{
	size_t words = n >= 32 ? 4 : n / 8;

	if (words)
		put_be64(data + n - 8 * (1 + next(state) % words), awkward(state, n));
	return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned int seed)
{
	uint64_t state = seed;

	switch (next(&state) % 8) {
	case 0:
		n = LLVMFuzzerMutate(data, n, room);
		break;
	case 1:
		n = mutate_footer(data, n, &state);
		break;
	case 2:
	case 3:
		n = mutate_number(data, n, room, &state);
		break;
	default:
		n = mutate_part(data, n, room, &state);
	}
	if (next(&state) % 16)
		repair_chunk(data, n, next(&state) % 4 != 0);
	return n;
}
