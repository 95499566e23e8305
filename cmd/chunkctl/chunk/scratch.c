/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/die.h"
#include "base/mem.h"

static struct {
	pthread_mutex_t mu;
	struct scratch *free;
} scratches = { .mu = PTHREAD_MUTEX_INITIALIZER };

struct scratch *scratch_get(void)
{
	struct scratch *s;

	pthread_mutex_lock(&scratches.mu);
	s = scratches.free;
	if (s)
		scratches.free = s->next;
	pthread_mutex_unlock(&scratches.mu);
	if (s)
		return s;
	s = mem_zero(sizeof(*s));
	if (cr_decompressor_open(&s->decompressor) != 0)
		die("out of memory");
	s->json.max = CR_META_BYTES_MAX + 1;
	return s;
}

#define KEEP_BYTES (4u << 20) /* of a scratch's buffers: one giant block must not stay for ever */

void scratch_put(struct scratch *s)
{
	if (s->raw.cap_bytes > KEEP_BYTES) {
		free(s->raw.p);
		s->raw = (struct cr_buf){ 0 };
	}
	pthread_mutex_lock(&scratches.mu);
	s->next = scratches.free;
	scratches.free = s;
	pthread_mutex_unlock(&scratches.mu);
}
