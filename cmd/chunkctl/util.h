/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkctl: what every file of the program shares. The map:
 *
 *	commands             main.c cli.c and one file each: verify.c (with verify_settle.c,
 *	                     verify_summary.c, state.c), ls.c (totals.c), cat.c (merge.c), info.c,
 *	                     salvage.c, quarantine.c (suspects.c), bench.c, doctor.c
 *	files of a store     walk.c (walk_list.c, walk_job.c, walk_count.c,
 *	                     walk_foreign.c, walk_empty.c, names.c): folders into
 *	                     chunks; scan.c: batches of chunks through cr_batch_read; key.c: names
 *	one chunk            chunk.c meta.c entries.c: what is in it; peek.c: from its two ends;
 *	                     check.c check_deep.c findings.c: what is wrong with it
 *	in and out           report.c lines.c json_out.c json_in.c matcher.c quote.c base64.c
 *	                     out.c progress.c
 *	the rest             bytes.c text.c util.c
 *
 * Conventions: a command returns an exit code (enum below). Memory that can't be had ends the
 * program with a message: there is nothing to go on with. What comes from files, names included, is
 * hostile.
 */
#ifndef CHUNKCTL_UTIL_H
#define CHUNKCTL_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chunkring.h"

enum exit_code {
	EXIT_SOUND    = 0,
	EXIT_FINDINGS = 1,
	EXIT_TROUBLE  = 2, /* usage, or input or output failed: the answer is not complete */
};

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* ---- Memory: never NULL ---- */

void *mem_get(size_t n);
void *mem_zero(size_t n);
void *mem_resize(void *p, size_t n);
char *mem_string(const char *s);

/* A growable run of bytes. Never longer than max (0: 1 GiB); full remembers that something did not
 * fit. Zero it to begin. */
struct bytes {
	char  *p;
	size_t n, cap, max;
	bool   full;
};

bool bytes_room(struct bytes *b, size_t more); /* makes room for more bytes after n */
bool bytes_add(struct bytes *b, const void *p, size_t n);
bool bytes_addc(struct bytes *b, char c);
bool bytes_adds(struct bytes *b, const char *s);
bool bytes_printf(struct bytes *b, const char *fmt, ...) PRINTF(2, 3);
const char *bytes_string(struct bytes *b); /* with a NUL behind it, which does not count */
void bytes_free(struct bytes *b);

/* ---- Messages, on stderr: "chunkctl verify: what: why" and "chunkctl verify: next step" ---- */

extern const char *command_name; /* set once by main() */
void complain(const char *fmt, ...) PRINTF(1, 2);
void complain_errno(int err, const char *fmt, ...) PRINTF(2,
							  3); /* and advice, where there is some */
const char *error_text(int err); /* what an errno means for a file of a store */
_Noreturn void die(const char *fmt, ...) PRINTF(1, 2);

/* ---- Stopping. Set by SIGINT and SIGTERM: commands finish what they are at and sum up. ---- */

extern uint32_t stop_word;
void signals_catch(void);
bool stopped(void);
void stop_now(void); /* our own decision: the output is gone */

/* ---- Time, sizes ---- */

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

uint64_t now_ns(void);    /* monotonic */
int64_t  wall_ns(void);   /* since 1970 */
void     sleep_until_ns(uint64_t monotonic_ns); /* ends early when stopped() */
double   cpu_seconds(void);

#define TIME_TEXT_BYTES 40
const char *time_text(int64_t ns,
		      char out[TIME_TEXT_BYTES]);    /* 2024-03-12T10:00:00.123456789Z */
const char *time_text_ms(int64_t ms, char out[TIME_TEXT_BYTES]); /* 2024-03-12T10:00:00.123Z */
const char *time_text_s(int64_t ms, char out[TIME_TEXT_BYTES]);  /* 2024-03-12 10:00:00 */
const char *time_text_day(int64_t ms, char out[TIME_TEXT_BYTES]); /* 2024-03-12 */

#define SIZE_TEXT_BYTES 24
const char *size_text(uint64_t bytes, char out[SIZE_TEXT_BYTES]);  /* 1.5 MB */
const char *count_text(uint64_t n, char out[SIZE_TEXT_BYTES]);     /* 1,234,567 */
const char *span_text(double seconds, char out[SIZE_TEXT_BYTES]);  /* 3:02:01 */

#define UTF8_BYTES_MAX 4u
bool is_utf8(const void *p, size_t n);
/* Bytes at p that one valid UTF-8 character takes, or 0. */
size_t utf8_char(const uint8_t *p, size_t n);
/* U+FFFD for what is no character. Always true, but where out is full. */
bool utf8_add(struct bytes *out, uint32_t c);

#endif
