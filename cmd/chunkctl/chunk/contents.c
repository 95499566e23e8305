/* SPDX-License-Identifier: Apache-2.0 */
#include "contents.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/die.h"
#include "scratch.h"

static int memory_or_die(int result)
{
	if (result == -ENOMEM)
		die("out of memory");
	return result;
}

bool chunk_meta(const uint8_t *file, const struct cr_chunk *c, struct scratch *s, struct cr_meta *m)
{
	s->json.n = 0;
	if (!c->frames_bytes || !bytes_room(&s->json, c->json_bytes + 1u) ||
	    cr_chunk_json(file, c, s->json.p, s->json.cap) != 0) {
		cr_meta_free(m);
		return false;
	}
	s->json.n = c->json_bytes;
	return memory_or_die(cr_meta_read(m, s->json.p, s->json.n)) == 0;
}

const char *symbols_read(struct cr_symbols *sy, struct scratch *s, const uint8_t *file,
			 const struct cr_chunk *c)
{
	memory_or_die(cr_symbols_read(sy, s->decompressor, file, c));
	return sy->error;
}

bool entries_next(struct cr_entries *r, struct cr_entry *e)
{
	return memory_or_die(cr_entries_next(r, e)) > 0;
}

uint32_t decompress(struct scratch *s, uint32_t codec, const uint8_t *p, uint64_t n, uint64_t guess,
		 struct cr_buf *out)
{
	uint32_t status = cr_block_decompress_grow(s->decompressor, codec, p, n, guess, out);

	if (status == CR_DECOMPRESS_NO_MEMORY)
		die("out of memory");
	return status;
}

uint32_t block_decompress(struct scratch *s, const uint8_t *file, const struct cr_chunk *c,
		       const struct cr_block *b, struct cr_buf *out)
{
	return decompress(s, c->codec, file + b->found_off, b->bytes, b->uncompressed_bytes, out);
}
