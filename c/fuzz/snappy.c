/* SPDX-License-Identifier: Apache-2.0 */
/* Snappy frames: checking and inflating agree, with any bound, and stay within it. */
#include "snappy_frame.h"

#include "fuzz.h"

#define RAW_BYTES_MAX (160u << 10)
#define CANARY        0x5c

/* Walks to the first frame that is not OK or to the end; its status. */
static enum cr_frame_status walk_all(struct cr_frame_walk *walk)
{
	enum cr_frame_status status = CR_FRAME_OK;

	while (walk->pos < walk->src_bytes && status == CR_FRAME_OK) {
		size_t pos = walk->pos;
		uint64_t raw_bytes = walk->raw_bytes;

		status = cr_frame_next(walk);
		FUZZ_CHECK(walk->pos <= walk->src_bytes && walk->raw_bytes <= walk->raw_bytes_max);
		if (status == CR_FRAME_OK)
			FUZZ_CHECK(walk->pos >= pos + CR_FRAME_HEADER_BYTES &&
				   walk->raw_bytes >= raw_bytes);
		else
			FUZZ_CHECK(walk->pos == pos && walk->raw_bytes == raw_bytes);
	}
	return status;
}

/* Inflates with room for raw_bytes_max and not a byte more. */
static enum cr_frame_status inflate(const uint8_t *data, size_t n, uint64_t raw_bytes_max,
				    struct cr_frame_walk *walk)
{
	uint8_t *out = malloc(raw_bytes_max + 1);
	enum cr_frame_status status;

	FUZZ_CHECK(out);
	out[raw_bytes_max] = CANARY;
	*walk = (struct cr_frame_walk){ .src = data, .src_bytes = n, .out = out,
					.raw_bytes_max = raw_bytes_max };
	status = walk_all(walk);
	FUZZ_CHECK(out[raw_bytes_max] == CANARY);
	free(out);
	return status;
}

/* The bytes as one block, without a frame. */
static void one_block(const uint8_t *data, size_t n)
{
	uint64_t raw_bytes;
	uint8_t *out;

	if (!cr_snappy_raw_bytes(data, n, &raw_bytes) || raw_bytes > RAW_BYTES_MAX)
		return;
	out = malloc(raw_bytes ? raw_bytes : 1);
	FUZZ_CHECK(out);
	cr_snappy_inflate(data, n, out, raw_bytes);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cr_frame_walk check = { .src = data, .src_bytes = n, .raw_bytes_max = RAW_BYTES_MAX };
	struct cr_frame_walk made;
	enum cr_frame_status status = walk_all(&check);

	FUZZ_CHECK(inflate(data, n, RAW_BYTES_MAX, &made) == status);
	FUZZ_CHECK(made.pos == check.pos && made.raw_bytes == check.raw_bytes);
	if (status == CR_FRAME_OK) {
		FUZZ_CHECK(inflate(data, n, check.raw_bytes, &made) == CR_FRAME_OK);
		if (check.raw_bytes)
			FUZZ_CHECK(inflate(data, n, check.raw_bytes - 1, &made) == CR_FRAME_TOO_BIG);
	}
	one_block(data, n);
	return 0;
}
