/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON metadata out of its snappy frames. */
#include <errno.h>

#include "chunk_parse.h"
#include "snappy_frame.h"

static struct cr_frame_walk frames(const void *file, const struct cr_chunk *chunk, void *out)
{
	return (struct cr_frame_walk){
		.src = (const uint8_t *)file + chunk->frames_off,
		.src_bytes = chunk->frames_bytes,
		.out = out,
		.raw_bytes_max = chunk->json_bytes,
	};
}

int cr_chunk_json(const void *file, const struct cr_chunk *chunk, void *out, size_t cap_bytes)
{
	struct cr_frame_walk walk = frames(file, chunk, out);

	if (cap_bytes < chunk->json_bytes)
		return -ENOSPC;
	while (walk.pos < walk.src_bytes) {
		if (cr_frame_next(&walk) != CR_FRAME_OK)
			return -EBADMSG;
	}
	return walk.raw_bytes == chunk->json_bytes ? 0 : -EBADMSG;
}

bool cr_chunk_json_is_last(const void *file, const struct cr_chunk *chunk, size_t json_bytes)
{
	struct cr_frame_walk walk = frames(file, chunk, NULL);

	while (walk.pos < walk.src_bytes && walk.raw_bytes < json_bytes) {
		if (cr_frame_next(&walk) != CR_FRAME_OK)
			return true; /* cr_chunk_json() says so */
	}
	return walk.pos == walk.src_bytes;
}
