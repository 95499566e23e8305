/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run is what is in time order by itself: all blocks of a chunk where each begins after the one
 * before it ended, as Loki's own iterator has it, else a single block. A heap holds the runs by the
 * time of their next entry.
 */
#include "merge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/die.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "base/text.h"
#include "blocks.h"
#include "contents.h"
#include "partial.h"
#include "scratch.h"

struct run {
	struct chunk_open  *chunk;
	uint32_t            next_block, end_block;
	uint32_t            order;  /* in its chunk */
	struct cr_buf       raw;
	struct cr_entries reader;
	struct cr_entry        entry;
};

struct merge {
	struct merge_chunk *list;
	size_t              n, next;
	int64_t             since_ns, until_ns;
	struct run        **heap;
	size_t              runs, cap;
	struct run         *current; /* the heap's first, whose entry the caller has */
	struct scratch     *scratch;
	uint64_t            bytes, damaged, trouble, gone;
	uint32_t            opened;
};

/* ---- Order ---- */

static int compare_text(const char *a, size_t n, const char *b, size_t m)
{
	int diff = memcmp(a, b, n < m ? n : m);

	return diff ? diff : n < m ? -1 : n > m;
}

/* As Loki does for entries of one stream and time. */
static int compare_pairs(const struct cr_entry *a, const struct cr_entry *b)
{
	for (uint32_t i = 0; i < a->pairs_n && i < b->pairs_n; i++) {
		const struct cr_pair *x = &a->pairs[i], *y = &b->pairs[i];
		int diff = compare_text(x->name, x->name_bytes, y->name, y->name_bytes);

		if (!diff)
			diff = compare_text(x->value, x->value_bytes, y->value, y->value_bytes);
		if (diff)
			return diff;
	}
	return a->pairs_n < b->pairs_n ? -1 : a->pairs_n > b->pairs_n;
}

static bool before(const struct run *a, const struct run *b)
{
	int diff;

	if (a->entry.ns != b->entry.ns)
		return a->entry.ns < b->entry.ns;
	if (a->chunk != b->chunk)
		return a->chunk->order < b->chunk->order;
	diff = compare_pairs(&a->entry, &b->entry);
	return diff ? diff < 0 : a->order < b->order;
}

static void sift_down(struct merge *m, size_t i)
{
	for (;;) { /* ends at a leaf */
		size_t least = i, left = 2 * i + 1;

		for (size_t c = left; c < left + 2 && c < m->runs; c++)
			if (before(m->heap[c], m->heap[least]))
				least = c;
		if (least == i)
			return;
		struct run *swap = m->heap[i];

		m->heap[i] = m->heap[least];
		m->heap[least] = swap;
		i = least;
	}
}

static void push(struct merge *m, struct run *r)
{
	size_t i = m->runs++;

	if (m->runs > m->cap) {
		m->cap = m->cap ? 2 * m->cap : 64;
		m->heap = mem_resize(m->heap, m->cap * sizeof(struct run *));
	}
	m->heap[i] = r;
	while (i && before(m->heap[i], m->heap[(i - 1) / 2])) {
		struct run *swap = m->heap[i];

		m->heap[i] = m->heap[(i - 1) / 2];
		m->heap[(i - 1) / 2] = swap;
		i = (i - 1) / 2;
	}
}

/* ---- Chunks and runs ---- */

static void chunk_release(struct merge *m, struct chunk_open *c)
{
	m->bytes -= c->bytes;
	bytes_free(&c->file);
	bytes_free(&c->labels);
	cr_symbols_free(&c->symbols);
	cr_meta_free(&c->meta);
	free(c->blocks.list);
	free(c);
}

static void run_free(struct run *r)
{
	cr_entries_free(&r->reader);
	free(r->raw.p);
	free(r);
}

/* A run that was in the heap; with its last run a chunk goes too. */
static void run_end(struct merge *m, struct run *r)
{
	if (--r->chunk->runs == 0)
		chunk_release(m, r->chunk);
	run_free(r);
}

/* The next block of the run that can be read. */
static bool next_block(struct merge *m, struct run *r)
{
	struct chunk_open *c = r->chunk;

	while (r->next_block < r->end_block) {
		uint32_t i = r->next_block++;
		const struct cr_block *b = &c->blocks.list[i];

		if (!block_overlaps(b, m->since_ns, m->until_ns))
			continue; /* perhaps it was not read */
		if (b->state == CR_BLOCK_BAD) {
			complain("%s: block %u has a wrong checksum: %llu line%s left out",
				 c->path, i, (unsigned long long)b->entries, plural(b->entries));
			m->damaged++;
			continue;
		}
		if (block_decompress(m->scratch, (const uint8_t *)c->file.p, &c->chunk, b, &r->raw) !=
		    CR_DECOMPRESS_OK) {
			complain("%s: block %u does not decompress: %llu line%s left out",
				 c->path, i, (unsigned long long)b->entries, plural(b->entries));
			m->damaged++;
			continue;
		}
		cr_entries_begin(&r->reader, r->raw.p, r->raw.bytes, c->chunk.version, &c->symbols);
		return true;
	}
	return false;
}

/* To the run's next entry within the times. */
static bool advance(struct merge *m, struct run *r)
{
	for (;;) { /* ends with the run's last block */
		while (entries_next(&r->reader, &r->entry))
			if (r->entry.ns >= m->since_ns && r->entry.ns < m->until_ns)
				return true;
		if (r->reader.error) {
			complain("%s: block %u: %s: the rest of the block is left out",
				 r->chunk->path,
				 r->next_block - 1, r->reader.error);
			m->damaged++;
		}
		if (!next_block(m, r))
			return false;
	}
}

static void run_start(struct merge *m, struct chunk_open *c, uint32_t from, uint32_t to)
{
	struct run *r = mem_zero(sizeof(*r));

	r->chunk = c;
	r->next_block = from;
	r->end_block = to;
	r->order = from;
	if (next_block(m, r) && advance(m, r)) {
		c->runs++;
		push(m, r);
	} else {
		run_free(r);
	}
}

static bool in_order(const struct block_list *blocks)
{
	int64_t last = 0;

	for (uint32_t i = 0; i < blocks->n; i++) {
		if (blocks->list[i].state == CR_BLOCK_BAD)
			continue;
		if (blocks->list[i].mint_ns < last)
			return false;
		last = blocks->list[i].maxt_ns;
	}
	return true;
}

/* Where only some blocks overlap the times, and the file is sound without the others. */
static bool load_partly(struct merge *m, struct chunk_open *c)
{
	struct partial p = { .path = c->path, .crc_want = c->key.crc, .since_ns = m->since_ns,
			     .until_ns = m->until_ns, .file = &c->file, .blocks = &c->blocks };
	bool timed = m->since_ns != INT64_MIN || m->until_ns != INT64_MAX;

	if (!c->named || !timed || !partial_read(&p))
		return false;
	c->chunk = p.chunk;
	c->bytes = p.bytes_read;
	return true;
}

static bool load_whole(struct merge *m, struct chunk_open *c)
{
	const uint8_t *file;
	enum cr_chunk_reason reason;
	int err = file_read(AT_FDCWD, c->path, false, &c->file, NULL);

	if (err) {
		m->gone += err == ENOENT; /* Loki deleted it meanwhile */
		if (err == ENOENT)
			return false;
		complain_errno(err, "%s", c->path);
		m->trouble++;
		return false;
	}
	c->bytes = c->file.n;
	file = (const uint8_t *)c->file.p;
	if (c->named && cr_crc32c(0, file, c->file.n) != c->key.crc) {
		complain("%s: its CRC32C is not the one in its name; showing what blocks are whole",
			 c->path);
		m->damaged++;
	}
	reason = cr_chunk_parse(file, c->file.n, &c->chunk);
	if (reason != CR_REASON_NONE) {
		complain("%s: %s: %s; chunkctl salvage may save lines of it", c->path,
			 cr_chunk_reason_name(reason), cr_chunk_reason_text(reason));
		m->damaged++;
		return false;
	}
	blocks_find(file, &c->chunk, &c->blocks);
	return true;
}

static bool chunk_load(struct merge *m, struct chunk_open *c)
{
	const uint8_t *file;
	const char *error;
	bool loaded;

	c->named = cr_key_of_path(c->path, &c->key);
	loaded = load_partly(m, c) || load_whole(m, c);
	m->bytes += c->bytes;
	if (!loaded)
		return false;
	file = (const uint8_t *)c->file.p;
	error = symbols_read(&c->symbols, m->scratch, file, &c->chunk);
	if (error) {
		complain("%s: structured metadata: %s: showing lines without it", c->path, error);
		m->damaged++;
	}
	chunk_meta(file, &c->chunk, m->scratch, &c->meta); /* without it: lines without labels */
	return true;
}

static void chunk_start(struct merge *m, const struct merge_chunk *mc)
{
	struct chunk_open *c = mem_zero(sizeof(*c));

	c->path = mc->path;
	c->order = m->opened++;
	c->file.max = FILE_BYTES_MAX + 1;
	if (chunk_load(m, c)) {
		if (in_order(&c->blocks)) {
			run_start(m, c, 0, c->blocks.n);
		} else {
			for (uint32_t i = 0; i < c->blocks.n; i++)
				run_start(m, c, i, i + 1);
		}
	}
	if (c->runs == 0)
		chunk_release(m, c);
	if (m->bytes > MERGE_BYTES_MAX)
		die("chunks of more than 2 GiB overlap in time; narrow them with --match, --tenant, "
		    "--since and --until");
}

/* ---- Contract ---- */

static int by_from(const void *a, const void *b)
{
	const struct merge_chunk *x = a, *y = b;

	if (x->from_ns != y->from_ns)
		return x->from_ns < y->from_ns ? -1 : 1;
	return strcmp(x->path, y->path);
}

struct merge *merge_open(struct merge_chunk *list, size_t n, int64_t since_ns, int64_t until_ns)
{
	struct merge *m = mem_zero(sizeof(*m));

	if (n)
		qsort(list, n, sizeof(*list), by_from);
	m->list = list;
	m->n = n;
	m->since_ns = since_ns;
	m->until_ns = until_ns;
	m->scratch = scratch_get();
	return m;
}

bool merge_next(struct merge *m, struct merged *out)
{
	if (m->current) {
		struct run *r = m->current;

		m->current = NULL;
		if (advance(m, r)) {
			sift_down(m, 0);
		} else {
			m->heap[0] = m->heap[--m->runs];
			if (m->runs)
				sift_down(m, 0);
			run_end(m, r);
		}
	}
	while (m->next < m->n && !stopped() &&
	       (m->runs == 0 || m->list[m->next].from_ns <= m->heap[0]->entry.ns))
		chunk_start(m, &m->list[m->next++]);
	if (m->runs == 0 || stopped())
		return false;
	m->current = m->heap[0];
	*out = (struct merged){ .entry = &m->current->entry, .chunk = m->current->chunk };
	return true;
}

uint64_t merge_damaged(const struct merge *m, uint64_t *trouble)
{
	*trouble = m->trouble;
	return m->damaged;
}

uint64_t merge_gone(const struct merge *m)
{
	return m->gone;
}

void merge_close(struct merge *m)
{
	for (size_t i = 0; i < m->runs; i++)
		run_end(m, m->heap[i]);
	scratch_put(m->scratch);
	free(m->heap);
	free(m);
}
