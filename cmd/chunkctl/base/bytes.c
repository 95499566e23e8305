/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "die.h"
#include "mem.h"

#define BYTES_MAX_DEFAULT (1u << 30)

bool bytes_room(struct bytes *b, size_t more)
{
	size_t max = b->max ? b->max : BYTES_MAX_DEFAULT, cap = b->cap ? b->cap : 256;

	if (more > max || b->n > max - more) {
		b->full = true;
		return false;
	}
	if (b->n + more <= b->cap)
		return true;
	while (cap < b->n + more)
		cap *= 2;
	b->p = mem_resize(b->p, cap);
	b->cap = cap;
	return true;
}

bool bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (!bytes_room(b, n))
		return false;
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return true;
}

bool bytes_addc(struct bytes *b, char c)
{
	return bytes_add(b, &c, 1);
}

bool bytes_adds(struct bytes *b, const char *s)
{
	return bytes_add(b, s, strlen(s));
}

bool bytes_printf(struct bytes *b, const char *fmt, ...)
{
	va_list args, again;
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n >= 0 && bytes_room(b, (size_t)n + 1)) {
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
		b->n += (size_t)n;
	}
	va_end(again);
	return n >= 0 && !b->full;
}

const char *bytes_string(struct bytes *b)
{
	if (!bytes_room(b, 1))
		die("a text is longer than %zu bytes", b->max);
	b->p[b->n] = '\0';
	return b->p;
}

void bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){ .max = b->max };
}
