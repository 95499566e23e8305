/* SPDX-License-Identifier: Apache-2.0 */
#include "totals.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/common.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/quote.h"
#include "base/stop.h"
#include "base/text.h"
#include "chunk/codec.h"
#include "chunk/labels.h"
#include "chunk/report.h"

#define GROUPS_MAX (1u << 20)
#define SLOTS      (2u * GROUPS_MAX)

static const uint64_t bounds[] = { 1000, 4000, 10000, 100000, 500000, 1000000, 2000000, UINT64_MAX };
static const char *const bound_names[] = { "under 1 KB", "1 to 4 KB", "4 to 10 KB", "10 to 100 KB",
					   "100 to 500 KB", "500 KB to 1 MB", "1 to 2 MB",
					   "2 MB and more" };
#define TINY_BYTES 100000u /* Loki aims at 1.5 MB; below this, idle streams were flushed */

_Static_assert(LEN(bounds) == TOTALS_CLASSES && LEN(bound_names) == TOTALS_CLASSES, "a name each");

void totals_open(struct totals *t)
{
	pthread_mutex_init(&t->mu, NULL);
	t->all.from_ms = INT64_MAX;
	t->all.through_ms = INT64_MIN;
}

static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

/* mu is held. */
static struct group *group_get(struct totals *t, const char *name)
{
	uint32_t at = hash(name) % SLOTS;

	if (!t->slots)
		t->slots = mem_zero(SLOTS * sizeof(*t->slots));
	for (; t->slots[at]; at = (at + 1) % SLOTS) /* ends: half of them are free */
		if (strcmp(t->groups[t->slots[at] - 1].name, name) == 0)
			return &t->groups[t->slots[at] - 1];
	if (t->n_groups == GROUPS_MAX - 1 && strcmp(name, "(others)") != 0)
		return group_get(t, "(others)");
	if (t->n_groups == t->cap_groups) {
		t->cap_groups = t->cap_groups ? 2 * t->cap_groups : 64;
		t->groups = mem_resize(t->groups, t->cap_groups * sizeof(*t->groups));
	}
	t->groups[t->n_groups] = (struct group){ .name = mem_string(name), .from_ms = INT64_MAX,
						   .through_ms = INT64_MIN };
	t->slots[at] = (uint32_t)++t->n_groups;
	return &t->groups[t->n_groups - 1];
}

static void group_add(struct group *g, const struct cr_key *k, const struct peek *p)
{
	g->chunks++;
	g->bytes += p->chunk.file_bytes;
	g->raw_bytes += p->raw_bytes;
	g->entries += p->entries;
	g->tiny += p->chunk.file_bytes < TINY_BYTES;
	if (k && k->from_ms < g->from_ms)
		g->from_ms = k->from_ms;
	if (k && k->through_ms > g->through_ms)
		g->through_ms = k->through_ms;
}

void totals_add(struct totals *t, const struct found *f, const struct peek *p, const struct cr_meta *m,
		struct bytes *text)
{
	char day[TIME_TEXT_BYTES];
	size_t b = 0;

	text->n = 0;
	switch (t->by) {
	case TOTALS_STREAM:
		text_show(text, f->key ? f->key->tenant : "-");
		bytes_printf(text, "/%llx ", f->key ? (unsigned long long)f->key->fingerprint : 0);
		if (p->meta)
			labels_text(m, text);
		break;
	case TOTALS_CODEC:
		bytes_adds(text, p->reason ? "damaged" : codec_name(p->chunk.codec));
		break;
	case TOTALS_DAY:
		bytes_adds(text, f->key ? time_text_day(f->key->from_ms, day) : "-");
		break;
	default:
		bytes_adds(text, f->key ? f->key->tenant : "-");
		break;
	}
	while (p->chunk.file_bytes >= bounds[b])
		b++;
	pthread_mutex_lock(&t->mu);
	group_add(group_get(t, bytes_string(text)), f->key, p);
	group_add(&t->all, f->key, p);
	t->spread[b]++;
	t->spread_bytes[b] += p->chunk.file_bytes;
	pthread_mutex_unlock(&t->mu);
}

static int by_bytes(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

/* shown: the name is text for people already */
static void group_print(struct out *o, bool json, const struct group *g, const char *type,
			bool shown)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES], raw[SIZE_TEXT_BYTES], e[SIZE_TEXT_BYTES],
	     from[TIME_TEXT_BYTES] = "-", through[TIME_TEXT_BYTES] = "-";
	struct bytes b = { 0 };

	if (json) {
		json_open(&b, NULL, '{');
		json_string(&b, "type", type);
		json_string(&b, "name", g->name);
		json_u64(&b, "chunks", g->chunks);
		json_u64(&b, "bytes", g->bytes);
		json_u64(&b, "uncompressed_bytes", g->raw_bytes);
		json_u64(&b, "entries", g->entries);
		json_u64(&b, "tiny_chunks", g->tiny);
		if (g->from_ms <= g->through_ms) {
			json_i64(&b, "from_ms", g->from_ms);
			json_i64(&b, "through_ms", g->through_ms);
		}
		json_close(&b, '}');
	} else {
		if (g->from_ms <= g->through_ms) {
			time_text_s(g->from_ms, from);
			time_text_s(g->through_ms, through);
		}
		bytes_printf(&b, "%10s %9s %12s %14s %5.1f%%  %-19s  %-19s  ", count_text(g->chunks,
											 n),
			     size_text(g->bytes, size), size_text(g->raw_bytes, raw),
			     count_text(g->entries, e),
			     g->chunks ? 100.0 * (double)g->tiny / (double)g->chunks : 0, from, through);
		if (shown)
			bytes_adds(&b, g->name);
		else
			text_show(&b, g->name);
	}
	bytes_addc(&b, '\n');
	out_bytes(o, b.p, b.n);
	bytes_free(&b);
}

#define BAR "########################################"

static void spread_print(const struct totals *t, struct out *o, bool json)
{
	char n[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < LEN(bounds); i++) {
		double part = t->all.chunks ? (double)t->spread[i] / (double)t->all.chunks : 0;
		struct bytes b = { 0 };

		if (json) {
			json_open(&b, NULL, '{');
			json_string(&b, "type", "size_class");
			json_string(&b, "name", bound_names[i]);
			json_u64(&b, "chunks", t->spread[i]);
			json_u64(&b, "bytes", t->spread_bytes[i]);
			json_close(&b, '}');
		} else {
			bytes_printf(&b, "  %-15s %10s %9s %5.1f%%  %.*s", bound_names[i],
				     count_text(t->spread[i], n), size_text(t->spread_bytes[i],
									     size),
				     part * 100, (int)(part * (sizeof(BAR) - 1) + 0.5), BAR);
		}
		bytes_addc(&b, '\n');
		out_bytes(o, b.p, b.n);
		bytes_free(&b);
	}
}

void totals_print(struct totals *t, struct out *o, bool json)
{
	if (!json)
		out_printf(o, "%10s %9s %12s %14s %6s  %-19s  %-19s\n", "chunks", "size",
			   "decompressed",
			   "entries", "tiny", "from", "through");
	if (t->n_groups)
		qsort(t->groups, t->n_groups, sizeof(*t->groups),
		      t->by == TOTALS_DAY ? by_name : by_bytes);
	for (size_t i = 0; i < t->n_groups && t->by != TOTALS_NONE && !stopped(); i++)
		group_print(o, json, &t->groups[i], "total", t->by == TOTALS_STREAM);
	t->all.name = "all";
	group_print(o, json, &t->all, "all", true);
	if (!json)
		out_string(o, "sizes of chunk files (tiny above: under 100 KB; Loki aims at "
				     "1.5 MB):\n");
	spread_print(t, o, json);
}

void totals_free(struct totals *t)
{
	for (size_t i = 0; i < t->n_groups; i++)
		free(t->groups[i].name);
	free(t->groups);
	free(t->slots);
	pthread_mutex_destroy(&t->mu);
}
