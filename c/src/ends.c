/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is read at its two ends: which parts of it, and whether they tell all that is in it but the
 * blocks. Whatever is doubtful has the file read whole, so that what is said of a damaged file is what a whole
 * read says.
 *
 * The seal is the file's checksum without the bytes of its blocks: the CRC that is stored behind a block is that
 * of its bytes, and is joined with those of the ends. Wherever the two differ, the seal is wrong or the block is
 * refused when it is read.
 */
#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "codec_sniff.h"
#include "internal.h"
#include "layout.h"

#define EPOCH_NS 1024 /* what a compressed block begins with is a timestamp less than that from 1970 */

/* What the ends say. */
struct outline {
	struct cr_chunk chunk;
	const uint8_t  *head, *tail;
	uint64_t        tail_off;            /* in the file */
	uint64_t        wanted_off, wanted_end; /* the blocks to fetch; equal: none */
	struct cr_block sample;              /* the first wanted block, or the first of all */
	bool            wants;               /* there is a wanted one */
};

/* ---- Which parts ---- */

static uint32_t at_most(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t ends_max(uint32_t file_bytes)
{
	uint32_t most = at_most(file_bytes / 4, CR_ENDS_BYTES_MAX);

	if (most < 2 * CR_ENDS_FIRST_BYTES)
		most = 2 * CR_ENDS_FIRST_BYTES;
	return at_most(most, file_bytes);
}

void cr_ends_plan(struct cr_file *f)
{
	const struct cr_batch *b = f->wave->batch;
	uint32_t bytes = f->req->size_bytes;

	if (!(b->flags & CR_READ_ENDS) || bytes <= b->ends_bytes_min || bytes < 2)
		f->whole = true;
	if (!f->head_bytes) {
		f->head_bytes = at_most(CR_ENDS_FIRST_BYTES, bytes / 2);
		f->tail_bytes = at_most(CR_ENDS_FIRST_BYTES, bytes - f->head_bytes);
	}
	if ((uint64_t)f->head_bytes + f->tail_bytes > ends_max(bytes))
		f->whole = true;
	if (f->whole)
		f->head_bytes = f->tail_bytes = 0;
	f->req->want_bytes = f->whole ? bytes : f->head_bytes + f->tail_bytes;
}

static enum cr_ends_next read_whole(struct cr_file *f)
{
	f->whole = true;
	return ENDS_MORE;
}

/* In whole steps, so that what lies behind is there, too. The plan of the next try says what is too much. */
static uint32_t longer(uint64_t bytes, uint32_t file_bytes)
{
	uint64_t steps = (bytes + CR_ENDS_FIRST_BYTES - 1) / CR_ENDS_FIRST_BYTES;

	return steps * CR_ENDS_FIRST_BYTES < file_bytes ? (uint32_t)steps * CR_ENDS_FIRST_BYTES : file_bytes;
}

static enum cr_ends_next read_more(struct cr_file *f, const struct cr_ends *ends)
{
	uint32_t bytes = f->req->size_bytes;

	if (f->ends_tries == CR_ENDS_TRIES)
		return read_whole(f);
	if (ends->head_bytes > f->head_bytes)
		f->head_bytes = longer(ends->head_bytes, bytes);
	if (ends->tail_bytes > f->tail_bytes)
		f->tail_bytes = longer(ends->tail_bytes, bytes);
	return ENDS_MORE;
}

/* ---- The blocks ---- */

static uint64_t blocks_off(const struct cr_chunk *chunk)
{
	if (chunk->version < CR_VERSION_SYMBOLS)
		return chunk->body_off;
	return chunk->symbols_off + chunk->symbols_bytes + CR_CHUNK_CRC_BYTES;
}

/* Calls see with each block until it says no. False where it did. */
static bool each_block(const struct outline *o, bool (*see)(void *arg, const struct cr_block *b), void *arg)
{
	const uint8_t *metas = o->tail + (o->chunk.metas_off - o->tail_off);
	struct cr_block_cursor cursor = { 0 };
	struct cr_block b;

	while (cr_chunk_meta_next(metas, &o->chunk, &cursor, &b) > 0)
		if (!see(arg, &b))
			return false;
	return true;
}

static bool is_wanted(const struct cr_batch *batch, const struct cr_block *b)
{
	return batch->through_ns >= b->mint_ns && b->maxt_ns >= batch->from_ns;
}

struct scan {
	const struct cr_batch *batch;
	struct outline        *o;
	uint64_t               wanted, skip; /* so many wanted ones are not fetched */
	uint64_t               seen;
};

/* Counts the wanted ones, and refuses what is not worth a read each, or can't be read so. Without a codec
 * cr_block_read() takes a block that begins as compressed ones do for one, which it may be near 1970. */
static bool scan_block(void *arg, const struct cr_block *b)
{
	struct scan *s = arg;
	bool wanted = is_wanted(s->batch, b);

	if (b->bytes > CR_BLOCK_BYTES_MAX)
		return false;
	if (s->o->chunk.codec == CR_CODEC_NONE && b->mint_ns <= EPOCH_NS && b->maxt_ns >= -EPOCH_NS)
		return false;
	if (!s->seen++ || (wanted && (!s->wanted || s->batch->backward)))
		s->o->sample = *b;
	s->wanted += wanted;
	return true;
}

static bool add_wanted(void *arg, const struct cr_block *b)
{
	struct scan *s = arg;

	if (!is_wanted(s->batch, b))
		return true;
	if (s->seen >= s->skip && s->seen - s->skip < s->batch->ahead) {
		if (s->o->wanted_end == 0)
			s->o->wanted_off = b->off;
		s->o->wanted_end = b->off + b->bytes + CR_CHUNK_CRC_BYTES;
	}
	s->seen++;
	return true;
}

static bool blocks_are_worth_it(const struct cr_batch *batch, struct outline *o)
{
	struct scan s = { .batch = batch, .o = o };
	uint64_t least = at_most(CR_ENDS_BLOCK_BYTES_MIN, batch->ends_bytes_min / 8);

	if (o->chunk.metas_off - blocks_off(&o->chunk) < least * o->chunk.blocks || !each_block(o, scan_block, &s))
		return false;
	o->wants = s.wanted > 0;
	if (batch->backward && s.wanted > batch->ahead)
		s.skip = s.wanted - batch->ahead;
	s.seen = 0;
	return each_block(o, add_wanted, &s);
}

/* ---- Parts between the ends ---- */

/* Bytes of the file into to: 0, -EAGAIN where it would block, or another -errno. */
static int read_between(struct cr_file *f, const struct outline *o, uint64_t off, void *to, uint32_t bytes,
			bool wait)
{
	uint32_t got = 0;

	if (off + bytes <= f->head_bytes) {
		memcpy(to, o->head + off, bytes);
		return 0;
	}
	if (off >= o->tail_off) {
		memcpy(to, o->tail + (off - o->tail_off), bytes);
		return 0;
	}
	for (f->retries = 0; got < bytes && f->retries < CR_RETRIES_MAX; f->retries++) {
		int64_t res = f->wave->ctx->ops->read(f, (char *)to + got, bytes - got, off + got, wait);

		if (res > 0)
			got += (uint32_t)res;
		else if (res == 0)
			return -EIO; /* it ends here by now */
		else if (res != -EINTR && (!wait || res != -EAGAIN))
			return wait ? (int)res : -EAGAIN; /* errors are for pread(2) to say */
	}
	return got == bytes ? 0 : -EIO;
}

/* ---- The seal ---- */

struct seal {
	struct cr_file *f;
	struct outline *o;
	bool            wait;
	uint32_t        crc; /* of the file up to the next block */
	int             err;
};

static bool seal_block(void *arg, const struct cr_block *b)
{
	uint8_t stored[CR_CHUNK_CRC_BYTES] = { 0 };
	struct seal *s = arg;
	enum cr_status why;

	if (s->wait && cr_wave_stopped(s->f->wave, &why))
		s->err = -ECANCELED;
	else
		s->err = read_between(s->f, s->o, b->off + b->bytes, stored, sizeof(stored), s->wait);
	if (s->err)
		return false;
	s->crc = cr_crc32c_combine(s->crc, cr_be32(stored), b->bytes);
	s->crc = cr_crc32c(s->crc, stored, sizeof(stored));
	return true;
}

static bool seal_fetch(void *arg, const struct cr_block *b)
{
	struct seal *s = arg;

	cr_plain_fetch(s->f, b->off + b->bytes, CR_CHUNK_CRC_BYTES, false);
	return true;
}

/* 0 and *crc, -EAGAIN where it would block, -ECANCELED when the batch was stopped, or another -errno. */
static int seal(struct cr_file *f, struct outline *o, bool wait, uint32_t *crc)
{
	struct seal s = { .f = f, .o = o, .wait = wait };

	s.crc = cr_crc32c(0, o->head, blocks_off(&o->chunk));
	if (wait)
		each_block(o, seal_fetch, &s);
	if (!each_block(o, seal_block, &s))
		return s.err;
	*crc = cr_crc32c(s.crc, o->tail + (o->chunk.metas_off - o->tail_off),
			 o->chunk.file_bytes - o->chunk.metas_off);
	return 0;
}

static enum cr_ends_next take_seal(struct cr_file *f, struct outline *o, bool wait)
{
	bool always = f->wave->batch->seal == CR_SEAL_ALWAYS;
	uint32_t crc;
	int err = seal(f, o, wait && always, &crc);

	if (err == -EAGAIN)
		return always ? ENDS_BLOCK : ENDS_GOOD;
	if (err == -ECANCELED)
		return ENDS_STOP;
	if (err || crc != f->req->crc_want)
		return read_whole(f);
	f->req->crc_got = crc;
	f->req->flags |= CR_REQ_SEALED;
	return ENDS_GOOD;
}

/* ---- The codec, of a file without a seal ---- */

/* What is compressed of the structured metadata, which is in the head. */
static bool symbols_agree(const struct outline *o)
{
	const uint8_t *p = o->head + o->chunk.symbols_off;
	uint64_t strings, n = o->chunk.symbols_bytes;
	size_t number = cr_uvarint(p, n, &strings);

	if (number == 0 || number == n) /* snappy makes nothing of nothing */
		return true;
	return cr_codec_agrees(o->chunk.codec, p + number, n - number);
}

/* A block that is not compressed begins with a timestamp that its meta allows, and no other does: the way to tell
 * it from deflate, which has no mark. */
static bool block_agrees(uint32_t codec, const struct cr_block *b, const uint8_t *p, size_t n)
{
	struct cr_reader r = { .p = p, .end = p + n };
	int64_t ns = cr_read_varint(&r);
	bool entry = !r.bad && ns >= b->mint_ns && ns <= b->maxt_ns;

	if (codec == CR_CODEC_NONE || codec == CR_CODEC_FLATE)
		return entry == (codec == CR_CODEC_NONE) && cr_codec_agrees(codec, p, n);
	return cr_codec_agrees(codec, p, n);
}

/* Only without a codec is there no decompressor that would refuse a block of another: then it is looked at in any
 * case. cold: what is wanted is not in the page cache. */
static enum cr_ends_next take_codec(struct cr_file *f, const struct outline *o, bool cold, bool wait)
{
	bool none = o->chunk.codec == CR_CODEC_NONE;
	const struct cr_block *b = &o->sample;
	uint8_t first[CR_UVARINT_BYTES_MAX] = { 0 };
	uint32_t n;
	int err;

	if (!symbols_agree(o))
		return read_whole(f);
	if (o->chunk.blocks == 0 || (!none && (!o->wants || cold)))
		return ENDS_GOOD;
	n = b->bytes < sizeof(first) ? (uint32_t)b->bytes : sizeof(first);
	err = read_between(f, o, b->off, first, n, none && wait);
	if (err == -EAGAIN)
		return none ? ENDS_BLOCK : ENDS_GOOD;
	if (err || !block_agrees(o->chunk.codec, b, first, n))
		return read_whole(f);
	return ENDS_GOOD;
}

/* ---- All of it ---- */

/* The wanted blocks are fetched also where the ends were in the page cache: another query may have left them there,
 * and not what this one wants. */
static enum cr_ends_next judge(struct cr_file *f, struct outline *o, bool wait)
{
	const struct cr_batch *b = f->wave->batch;
	enum cr_seal seal = f->req->seal_known ? CR_SEAL_OFF : b->seal;
	struct cr_ctx *ctx = f->wave->ctx;
	uint64_t bytes = o->wanted_end - o->wanted_off;
	bool ahead = atomic_load_explicit(&ctx->read_ahead, memory_order_relaxed) != READ_AHEAD_NO;
	bool fetch = bytes > 0 && ahead && !cr_plain_cached(f, o->wanted_off, bytes);
	bool cold = fetch && !atomic_load_explicit(&ctx->no_cachestat, memory_order_relaxed);
	enum cr_ends_next next = ENDS_GOOD;

	if (fetch && !wait)
		return ENDS_BLOCK;
	if (fetch) /* first: it goes on while the rest is looked at */
		cr_plain_fetch(f, o->wanted_off, bytes, b->backward);
	if (seal == CR_SEAL_ALWAYS || (seal == CR_SEAL_RESIDENT && !cold))
		next = take_seal(f, o, wait);
	if (next == ENDS_GOOD && !(f->req->flags & CR_REQ_SEALED))
		next = take_codec(f, o, cold, wait);
	return next;
}

enum cr_ends_next cr_ends_judge(struct cr_file *f, bool wait)
{
	struct outline o = { .head = f->req->buf };
	struct cr_ends ends = { .file_bytes = f->req->size_bytes, .head_bytes = f->head_bytes,
				.tail_bytes = f->tail_bytes };

	o.tail = o.head + f->head_bytes;
	o.tail_off = ends.file_bytes - f->tail_bytes;
	ends.head = o.head;
	ends.tail = o.tail;
	switch (cr_chunk_outline(&ends, &o.chunk)) {
	case CR_ENDS_OK:   break;
	case CR_ENDS_MORE: return read_more(f, &ends);
	default:           return read_whole(f);
	}
	/* without JSON: its frame may have become one that readers pass over, by a flipped bit */
	if (o.chunk.json_bytes == 0 || !blocks_are_worth_it(f->wave->batch, &o))
		return read_whole(f);
	return judge(f, &o, wait);
}
