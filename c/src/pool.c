/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers in size classes, four per power of two (a buffer is at most 25 % larger than asked for).
 * Each has a header page before it, which says whose it is and makes releases checkable.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

#define HEADER_BYTES 4096u /* keeps the buffer page-aligned, which O_DIRECT will want */
#define POISON       0xDB

struct header {
	struct cr_pool *pool;
	struct header  *next_free;
	uint64_t        cap_bytes;
	uint32_t        class_no;
	bool            is_out;
	/* every buffer of the pool, so that release can tell a foreign pointer without reading it */
	struct header  *prev, *next;
};

_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header has its page");

struct cr_pool {
	pthread_mutex_t      mu;
	uint64_t             retain_bytes_max;
	struct cr_pool_stats stats;
	struct header       *free[CR_POOL_CLASSES];
	struct header       *all;
};

/* Class c holds (4 + c % 4) << (CR_POOL_CLASS_MIN - 2 + c / 4) bytes. */
static uint64_t class_bytes(uint32_t class_no)
{
	return (uint64_t)(4 + class_no % 4) << (CR_POOL_CLASS_MIN - 2 + class_no / 4);
}

static uint32_t class_for(uint32_t size_bytes)
{
	uint32_t c = 0;

	while (class_bytes(c) < size_bytes)
		c++; /* ends: class_bytes(CR_POOL_CLASSES - 1) > CR_FILE_BYTES_MAX */
	return c;
}

_Static_assert((7ull << (CR_POOL_CLASS_MIN - 2 + (CR_POOL_CLASSES - 1) / 4)) >= CR_FILE_BYTES_MAX,
	       "every size has a class");

int cr_pool_open(uint64_t retain_bytes_max, struct cr_pool **out)
{
	struct cr_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->retain_bytes_max = retain_bytes_max;
	pthread_mutex_init(&pool->mu, NULL);
	*out = pool;
	return 0;
}

static void unlink_and_free(struct cr_pool *pool, struct header *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		pool->all = h->next;
	if (h->next)
		h->next->prev = h->prev;
	free(h);
}

uint64_t cr_pool_close(struct cr_pool *pool)
{
	uint64_t out_buffers;

	if (!pool)
		return 0;
	out_buffers = pool->stats.out_buffers;
	for (struct header *h = pool->all, *next; h; h = next) {
		next = h->next;
		if (!h->is_out)
			free(h);
	}
	pthread_mutex_destroy(&pool->mu);
	free(pool);
	return out_buffers;
}

void *cr_pool_get(struct cr_pool *pool, uint32_t size_bytes, uint32_t *cap_bytes)
{
	struct header *h;
	uint32_t class_no;
	uint64_t bytes;
	void *mem;

	if (size_bytes == 0 || size_bytes > CR_FILE_BYTES_MAX)
		return NULL;
	class_no = class_for(size_bytes);
	bytes = class_bytes(class_no);
	pthread_mutex_lock(&pool->mu);
	h = pool->free[class_no];
	if (h) {
		pool->free[class_no] = h->next_free;
		pool->stats.retained_bytes -= bytes;
		pool->stats.retained_buffers--;
	} else {
		/* not aligned_alloc, which wants a multiple of the alignment */
		if (posix_memalign(&mem, HEADER_BYTES, HEADER_BYTES + bytes) != 0) {
			pthread_mutex_unlock(&pool->mu);
			return NULL;
		}
		h = mem;
		*h = (struct header){ .pool = pool, .cap_bytes = bytes, .class_no = class_no,
				      .next = pool->all };
		if (pool->all)
			pool->all->prev = h;
		pool->all = h;
	}
	h->is_out = true;
	pool->stats.out_bytes += bytes;
	pool->stats.out_buffers++;
	pthread_mutex_unlock(&pool->mu);
	if (cap_bytes)
		*cap_bytes = (uint32_t)bytes;
	return (char *)h + HEADER_BYTES;
}

/* In debug builds by the list of all buffers, without reading memory that may not be ours; else by
 * the header page. */
static struct header *header_of(struct cr_pool *pool, void *buf)
{
	struct header *h = (struct header *)((char *)buf - HEADER_BYTES);

	if ((uintptr_t)buf % HEADER_BYTES != 0)
		return NULL;
#ifdef CR_DEBUG
	for (struct header *at = pool->all; at; at = at->next)
		if (at == h)
			return h;
	return NULL;
#else
	return h->pool == pool ? h : NULL;
#endif
}

int cr_pool_release(struct cr_pool *pool, void *buf)
{
	struct header *h;
	uint64_t bytes;

	if (!buf)
		return -EINVAL;
	pthread_mutex_lock(&pool->mu);
	h = header_of(pool, buf);
	if (!h || !h->is_out) {
		pthread_mutex_unlock(&pool->mu);
		return h ? -EALREADY : -EINVAL;
	}
	bytes = h->cap_bytes;
	h->is_out = false;
	pool->stats.out_bytes -= bytes;
	pool->stats.out_buffers--;
#ifdef CR_DEBUG
	memset(buf, POISON, bytes);
#endif
	if (pool->stats.retained_bytes + bytes > pool->retain_bytes_max) {
		unlink_and_free(pool, h);
	} else {
		h->next_free = pool->free[h->class_no];
		pool->free[h->class_no] = h;
		pool->stats.retained_bytes += bytes;
		pool->stats.retained_buffers++;
	}
	pthread_mutex_unlock(&pool->mu);
	return 0;
}

void cr_pool_stats(struct cr_pool *pool, struct cr_pool_stats *stats)
{
	pthread_mutex_lock(&pool->mu);
	*stats = pool->stats;
	pthread_mutex_unlock(&pool->mu);
}

int cr_pool_alloc(void *pool, struct cr_req *reqs, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		struct cr_req *req = &reqs[i];

		if (req->status != CR_PENDING || req->cap_bytes >= req->want_bytes)
			continue;
		if (req->buf) /* it has grown */
			cr_pool_release(pool, req->buf);
		req->buf = cr_pool_get(pool, req->want_bytes, &req->cap_bytes);
		if (!req->buf)
			req->cap_bytes = 0;
	}
	return 0;
}
