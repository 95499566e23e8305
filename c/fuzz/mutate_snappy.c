/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes anywhere, then mostly the right checksum in every snappy frame. */
#include "fuzz.h"
#include "repair.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned int seed)
{
	n = LLVMFuzzerMutate(data, n, room);
	if (seed % 8)
		repair_frames(data, n, SIZE_MAX / 2);
	return n;
}
