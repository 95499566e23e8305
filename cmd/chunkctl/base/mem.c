/* SPDX-License-Identifier: Apache-2.0 */
#include "mem.h"

#include <stdlib.h>
#include <string.h>

#include "die.h"

static void *or_die(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

void *mem_get(size_t n)
{
	return or_die(malloc(n ? n : 1));
}

void *mem_zero(size_t n)
{
	return or_die(calloc(1, n ? n : 1));
}

void *mem_resize(void *p, size_t n)
{
	return or_die(realloc(p, n ? n : 1));
}

char *mem_string(const char *s)
{
	return or_die(strdup(s));
}
