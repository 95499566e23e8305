/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3-FIFO (Yang et al., SOSP 2023) over bytes instead of objects. Its ghost queue is a table whose buckets
 * forget their oldest: no links, and what it forgets too early costs a hit, nothing else.
 */
#include <errno.h>
#include <stdlib.h>

#include "limits.h"

/* Numbers of nodes are slots plus one, so that zeroed memory has no links and needs not be written. */
struct node {
	uint64_t hash;
	uint32_t size_bytes;
	uint32_t chain;       /* the next one of its bucket */
	uint32_t newer, older; /* in its queue; older also: the next free one */
};

_Static_assert(sizeof(struct node) == 24, "chunkring.h says what a file costs");

enum { USES = 3u, IN_MAIN = 4u }; /* bits of a node's state */

_Static_assert(CR_EVICT_USES_MAX <= USES && CR_EVICT_USES_KEPT <= CR_EVICT_USES_MAX, "uses fit the state");

struct queue {
	uint32_t newest, oldest;
	uint64_t items, bytes;
};

struct ghost {
	uint32_t tag;   /* the half of the mixed hash that did not choose the bucket */
	uint32_t stamp; /* when it went, in files that went; 0: free */
};

_Static_assert(sizeof(struct ghost) * CR_EVICT_GHOST_WAYS == 64, "a bucket is a cache line");

struct cr_evict {
	uint32_t      items_max, ghost_buckets;
	uint32_t      unused; /* nodes behind this one were never held */
	uint32_t      free;   /* the last one that was freed */
	uint32_t      stamp;
	struct queue  small, main;
	struct node  *nodes;   /* [items_max], by slot */
	uint8_t      *states;  /* [items_max] */
	uint32_t     *buckets; /* [items_max] */
	struct ghost *ghosts;  /* [ghost_buckets * CR_EVICT_GHOST_WAYS] */
};

/* The finalizer of splitmix64: the caller's hashes may be plain numbers. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
	return x ^ (x >> 31);
}

/* The upper half of a mixed hash as a number below n, without a division. */
static uint32_t below(uint64_t mixed, uint32_t n)
{
	return (uint32_t)((mixed >> 32) * n >> 32);
}

static struct node *node_of(const struct cr_evict *e, uint32_t at) { return &e->nodes[at - 1]; }
static uint8_t *state_of(const struct cr_evict *e, uint32_t at) { return &e->states[at - 1]; }

/* ---- The table of hashes ---- */

/* The link that leads to a hash: its target is 0 if the hash is not known. */
static uint32_t *link_to(const struct cr_evict *e, uint64_t hash)
{
	uint32_t *link = &e->buckets[below(mix(hash), e->items_max)];

	while (*link && node_of(e, *link)->hash != hash) /* ends: a chain has no node twice */
		link = &node_of(e, *link)->chain;
	return link;
}

/* ---- The queues ---- */

static struct queue *queue_of(struct cr_evict *e, uint32_t at)
{
	return *state_of(e, at) & IN_MAIN ? &e->main : &e->small;
}

static void queue_push(struct cr_evict *e, struct queue *q, uint32_t at)
{
	struct node *n = node_of(e, at);

	n->newer = 0;
	n->older = q->newest;
	if (q->newest)
		node_of(e, q->newest)->newer = at;
	else
		q->oldest = at;
	q->newest = at;
	q->items++;
	q->bytes += n->size_bytes;
}

static void queue_take(struct cr_evict *e, struct queue *q, uint32_t at)
{
	struct node *n = node_of(e, at);

	*(n->newer ? &node_of(e, n->newer)->older : &q->newest) = n->older;
	*(n->older ? &node_of(e, n->older)->newer : &q->oldest) = n->newer;
	q->items--;
	q->bytes -= n->size_bytes;
}

/* ---- Those that went ---- */

static struct ghost *ghost_bucket(const struct cr_evict *e, uint64_t mixed)
{
	return &e->ghosts[(size_t)below(mixed, e->ghost_buckets) * CR_EVICT_GHOST_WAYS];
}

static void ghost_add(struct cr_evict *e, uint64_t hash)
{
	uint64_t mixed = mix(hash);
	struct ghost *bucket = ghost_bucket(e, mixed), *oldest = bucket;

	for (uint32_t i = 1; i < CR_EVICT_GHOST_WAYS && oldest->stamp; i++)
		if (!bucket[i].stamp || e->stamp - bucket[i].stamp > e->stamp - oldest->stamp)
			oldest = &bucket[i];
	e->stamp++;
	e->stamp += !e->stamp;
	*oldest = (struct ghost){ .tag = (uint32_t)mixed, .stamp = e->stamp };
}

/* Whether a hash is one of the last to go: as many are remembered as are held. It is forgotten. */
static bool ghost_take(struct cr_evict *e, uint64_t hash)
{
	uint64_t mixed = mix(hash);
	struct ghost *bucket = ghost_bucket(e, mixed);

	for (uint32_t i = 0; i < CR_EVICT_GHOST_WAYS; i++) {
		if (!bucket[i].stamp || bucket[i].tag != (uint32_t)mixed)
			continue;
		bool fresh = e->stamp - bucket[i].stamp <= e->small.items + e->main.items;

		bucket[i].stamp = 0;
		return fresh;
	}
	return false;
}

/* ---- Files come, are used, and go ---- */

static uint32_t node_get(struct cr_evict *e)
{
	uint32_t at = e->free;

	if (at)
		e->free = node_of(e, at)->older;
	else if (e->unused < e->items_max)
		at = ++e->unused;
	return at;
}

int cr_evict_add(struct cr_evict *e, uint64_t hash, uint64_t size_bytes, bool kept, uint32_t *slot)
{
	uint32_t *link = link_to(e, hash), at = *link;

	if (size_bytes > CR_EVICT_BYTES_MAX)
		return -EFBIG;
	if (at) {
		struct queue *q = queue_of(e, at);

		q->bytes = q->bytes - node_of(e, at)->size_bytes + size_bytes;
		node_of(e, at)->size_bytes = (uint32_t)size_bytes;
	} else {
		at = node_get(e);
		if (!at)
			return -ENOSPC;
		kept = ghost_take(e, hash) || kept;
		*link = at; /* the end of its bucket's chain */
		*node_of(e, at) = (struct node){ .hash = hash, .size_bytes = (uint32_t)size_bytes };
		*state_of(e, at) = kept ? IN_MAIN : 0;
		queue_push(e, queue_of(e, at), at);
	}
	if (slot)
		*slot = at - 1;
	return 0;
}

uint32_t cr_evict_touch(struct cr_evict *e, const uint64_t *hashes, uint32_t n)
{
	uint32_t known = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = *link_to(e, hashes[i]);

		if (!at)
			continue;
		known++;
		if ((*state_of(e, at) & USES) < CR_EVICT_USES_MAX)
			++*state_of(e, at);
	}
	return known;
}

static struct cr_evict_item item_of(const struct cr_evict *e, uint32_t at)
{
	const struct node *n = node_of(e, at);

	return (struct cr_evict_item){ .hash = n->hash, .size_bytes = n->size_bytes, .slot = at - 1 };
}

bool cr_evict_find(const struct cr_evict *e, uint64_t hash, struct cr_evict_item *out)
{
	uint32_t at = *link_to(e, hash);

	if (at && out)
		*out = item_of(e, at);
	return at != 0;
}

static void forget(struct cr_evict *e, uint32_t at)
{
	struct node *n = node_of(e, at);

	*link_to(e, n->hash) = n->chain;
	queue_take(e, queue_of(e, at), at);
	*state_of(e, at) = 0;
	n->older = e->free;
	e->free = at;
}

bool cr_evict_remove(struct cr_evict *e, uint64_t hash, struct cr_evict_item *out)
{
	uint32_t at = *link_to(e, hash);

	if (!at)
		return false;
	if (out)
		*out = item_of(e, at);
	forget(e, at);
	return true;
}

/* The next one to go. Something is held. */
static uint32_t choose(struct cr_evict *e)
{
	for (uint32_t step = 1;; step++) {
		bool full = e->small.bytes * CR_EVICT_SMALL_PART >= e->small.bytes + e->main.bytes;
		struct queue *q = e->small.items && (full || !e->main.items) ? &e->small : &e->main;
		uint32_t at = q->oldest, uses = *state_of(e, at) & USES;

		if (uses < (q == &e->small ? CR_EVICT_USES_KEPT : 1) || step == CR_EVICT_STEPS_MAX)
			return at;
		queue_take(e, q, at);
		/* In the main queue it must be used anew to stay longer. */
		*state_of(e, at) = (uint8_t)(IN_MAIN | (q == &e->small ? 0 : uses - 1));
		queue_push(e, &e->main, at);
	}
}

bool cr_evict_victim(struct cr_evict *e, uint64_t keep_bytes, uint32_t keep_items,
		     struct cr_evict_item *out)
{
	uint32_t at;

	if (e->small.bytes + e->main.bytes <= keep_bytes && e->small.items + e->main.items <= keep_items)
		return false;
	at = choose(e);
	*out = item_of(e, at);
	if (queue_of(e, at) == &e->small)
		ghost_add(e, out->hash);
	forget(e, at);
	return true;
}

void cr_evict_stats(const struct cr_evict *e, struct cr_evict_stats *out)
{
	*out = (struct cr_evict_stats){
		.items = e->small.items + e->main.items, .bytes = e->small.bytes + e->main.bytes,
		.small_items = e->small.items, .small_bytes = e->small.bytes,
	};
}

int cr_evict_open(uint32_t items_max, struct cr_evict **out)
{
	struct cr_evict *e;

	*out = NULL;
	if (items_max == 0 || items_max > CR_EVICT_ITEMS_MAX)
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->items_max = items_max;
	e->ghost_buckets = (items_max + CR_EVICT_GHOST_WAYS - 1) / CR_EVICT_GHOST_WAYS;
	e->nodes = calloc(items_max, sizeof(*e->nodes));
	e->states = calloc(items_max, sizeof(*e->states));
	e->buckets = calloc(items_max, sizeof(*e->buckets));
	e->ghosts = calloc((size_t)e->ghost_buckets * CR_EVICT_GHOST_WAYS, sizeof(*e->ghosts));
	if (!e->nodes || !e->states || !e->buckets || !e->ghosts) {
		cr_evict_close(e);
		return -ENOMEM;
	}
	*out = e;
	return 0;
}

void cr_evict_close(struct cr_evict *e)
{
	if (!e)
		return;
	free(e->nodes);
	free(e->states);
	free(e->buckets);
	free(e->ghosts);
	free(e);
}
