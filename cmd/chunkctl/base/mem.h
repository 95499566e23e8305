/* SPDX-License-Identifier: Apache-2.0 */
/* Memory. Never NULL: where it is short the program ends. */
#ifndef CHUNKCTL_MEM_H
#define CHUNKCTL_MEM_H

#include "common.h"

void *mem_get(size_t n);
void *mem_zero(size_t n);
void *mem_resize(void *p, size_t n);
char *mem_string(const char *s);

#endif
