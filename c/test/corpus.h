/* SPDX-License-Identifier: Apache-2.0 */
/* The chunk files of testdata, and what a parse makes of them. */
#ifndef CR_TEST_CORPUS_H
#define CR_TEST_CORPUS_H

#include <stddef.h>
#include <stdint.h>

#include "chunkring.h"

/* Calls see with every chunk file in testdata/folder and below, whose bytes are an allocation of their size.
 * Returns how many there were. */
uint32_t corpus_each(const char *folder, void (*see)(const char *path, const uint8_t *file, size_t n));

void assert_same_chunk(const struct cr_chunk *a, const struct cr_chunk *b);

#endif
