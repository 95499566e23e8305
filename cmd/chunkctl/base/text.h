/* SPDX-License-Identifier: Apache-2.0 */
/* Times and sizes for people. */
#ifndef CHUNKCTL_TEXT_H
#define CHUNKCTL_TEXT_H

#include "common.h"

#define TIME_TEXT_BYTES 40
const char *time_text(int64_t ns,
		      char out[TIME_TEXT_BYTES]);    /* 2024-03-12T10:00:00.123456789Z */
const char *time_text_ms(int64_t ms, char out[TIME_TEXT_BYTES]); /* 2024-03-12T10:00:00.123Z */
const char *time_text_s(int64_t ms, char out[TIME_TEXT_BYTES]);  /* 2024-03-12 10:00:00 */
const char *time_text_day(int64_t ms, char out[TIME_TEXT_BYTES]); /* 2024-03-12 */

#define SIZE_TEXT_BYTES 24
const char *size_text(uint64_t bytes, char out[SIZE_TEXT_BYTES]);  /* 1.5 MB */
const char *count_text(uint64_t n, char out[SIZE_TEXT_BYTES]);     /* 1,234,567 */
const char *plural(uint64_t n); /* "s", but "" behind 1 */
const char *span_text(double seconds, char out[SIZE_TEXT_BYTES]);  /* 3:02:01 */

#endif
