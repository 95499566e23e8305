/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structured metadata of a chunk, format 4: uvarint strings | compressed: for each its uvarint
 * length and its bytes. Names become what Loki shows when an entry first refers to them: most strings
 * are values.
 */
#include "chunk_symbols.h"

#include <string.h>

#include "bytes.h"
#include "grow.h"
#include "layout.h"

#define PREFIX       "key_"
#define PREFIX_BYTES 4u

static int fail(struct cr_symbols *sy, const char *error)
{
	sy->error = error;
	return -EBADMSG;
}

static int split(struct cr_symbols *sy, uint64_t count)
{
	const uint8_t *text = sy->text.p;
	size_t at = 0, n = sy->text.bytes, head;
	struct cr_symbol *list;
	uint64_t bytes;

	if (count > n) /* each takes a byte at least */
		return fail(sy, "it announces more strings than it has bytes");
	sy->unused_bytes = n;
	if (count == 0)
		return 0;
	/* room for all names that there can be, so that none moves */
	if (cr_grow(&sy->list, count * sizeof(*list)) != 0 ||
	    cr_grow(&sy->names, n + count * PREFIX_BYTES) != 0)
		return -ENOMEM;
	list = sy->list.p;
	for (uint64_t i = 0; i < count; i++) {
		head = cr_uvarint(text + at, n - at, &bytes);
		if (head == 0)
			return fail(sy, "the length of a string is malformed");
		at += head;
		if (bytes > n - at)
			return fail(sy, "a string is longer than what is left");
		list[i] = (struct cr_symbol){ .off = (uint32_t)at, .bytes = (uint32_t)bytes };
		at += bytes;
	}
	sy->n = (uint32_t)count;
	sy->unused_bytes = n - at;
	return 0;
}

int cr_symbols_read(struct cr_symbols *sy, struct cr_decompressor *decompressor, const void *file,
		    const struct cr_chunk *chunk)
{
	const uint8_t *p = (const uint8_t *)file + chunk->symbols_off;
	uint64_t count;
	size_t head;

	sy->n = 0;
	sy->unused_bytes = 0;
	sy->error = NULL;
	sy->names.bytes = 0;
	if (chunk->version < CR_VERSION_SYMBOLS)
		return 0;
	head = cr_uvarint(p, chunk->symbols_bytes, &count);
	if (head == 0)
		count = 0; /* Loki goes on without symbols */
	if (chunk->symbols_bytes == head)
		return count ? fail(sy, "it ends before its first string") : 0;
	switch (cr_block_decompress_grow(decompressor, chunk->codec, p + head, chunk->symbols_bytes - head, 0,
				     &sy->text)) {
	case CR_DECOMPRESS_OK:
		return split(sy, count);
	case CR_DECOMPRESS_ROOM:
		return fail(sy, "it inflates to more than 64 MiB");
	case CR_DECOMPRESS_NO_MEMORY:
		return -ENOMEM;
	default:
		if (count) /* else nobody asks for it */
			return fail(sy, "it does not inflate");
		sy->unused_bytes = chunk->symbols_bytes - head;
		return 0;
	}
}

void cr_symbols_free(struct cr_symbols *sy)
{
	cr_buf_free(&sy->text);
	cr_buf_free(&sy->names);
	cr_buf_free(&sy->list);
	*sy = (struct cr_symbols){ 0 };
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
}

/* Runs of what a name can't have become one '_' each. False: there is nothing else in it. */
static bool normalize(const char *from, const char *end, char **to)
{
	bool gap = false, any = false;

	for (; from < end; from++) {
		bool good = is_name_char(*from);

		if (good || !gap)
			*(*to)++ = good ? *from : '_';
		gap = !good;
		any |= good;
	}
	return any;
}

/* Prometheus' rule for names that come from OpenTelemetry: normalized, but that __x__ keeps its ends and a
 * leading digit gets "key_". https://github.com/prometheus/otlptranslator */
static void make_name(struct cr_symbols *sy, struct cr_symbol *s)
{
	const char *from = (const char *)sy->text.p + s->off, *end = from + s->bytes;
	char *begin = (char *)sy->names.p + sy->names.bytes, *to = begin;
	bool reserved = s->bytes >= 4 && memcmp(from, "__", 2) == 0 && memcmp(end - 2, "__", 2) == 0;
	const char *ends = reserved ? "__" : is_digit(*from) ? PREFIX : "";

	to = stpcpy(to, ends);
	s->nameless = !normalize(from + 2 * reserved, end - 2 * reserved, &to);
	if (reserved)
		to = stpcpy(to, ends);
	if (s->nameless) /* Loki gives up here; people are to see what it is */
		to = mempcpy(begin, from, s->bytes);
	s->name_off = (uint32_t)sy->names.bytes;
	s->name_bytes = (uint32_t)(to - begin);
	sy->names.bytes += s->name_bytes;
}

bool cr_symbols_name(struct cr_symbols *sy, uint32_t i, struct cr_pair *p)
{
	struct cr_symbol *s = (struct cr_symbol *)sy->list.p + i;

	if (s->bytes && !s->name_bytes)
		make_name(sy, s);
	p->name = s->bytes ? (const char *)sy->names.p + s->name_off : "";
	p->name_bytes = s->name_bytes;
	p->stored_bytes += s->bytes;
	return !s->nameless;
}

void cr_symbols_value(const struct cr_symbols *sy, uint32_t i, struct cr_pair *p)
{
	const struct cr_symbol *s = (const struct cr_symbol *)sy->list.p + i;

	p->value = (const char *)sy->text.p + s->off;
	p->value_bytes = s->bytes;
	p->stored_bytes += s->bytes;
}
