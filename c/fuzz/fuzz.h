/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz targets. A target is one file with LLVMFuzzerTestOneInput(); it is linked twice:
 *
 *	with libFuzzer     make fuzz SECONDS=60      new inputs, made from seeds.c's
 *	with replay.c      make test-c               every input that once found something, and all of
 *	                                             testdata/, as an ordinary test
 *
 * An input is never trusted to be of any form, and never changes what the next one sees.
 */
#ifndef CR_FUZZ_H
#define CR_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_INPUT_MAX (1u << 20) /* of replay.c and seeds.c */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Run once before the first input, if the target has one. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define FUZZ_CHECK(cond)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
