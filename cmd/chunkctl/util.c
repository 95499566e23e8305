/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, messages, signals, time. */
#include "util.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

#define BYTES_MAX_DEFAULT (1u << 30)

const char *command_name = "";
uint32_t stop_word;

/* ---- Memory ---- */

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

/* ---- Messages ---- */

static const char *advice(int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return "run it as the user that Loki runs as, or as root";
	case ENOSPC:
	case EDQUOT:
		return "free some space there, or write somewhere else";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files (ulimit -n), or give fewer --jobs";
	case EIO:
		return "the disk failed to read or write: look at dmesg and smartctl";
	case ENOENT:
		return "check the spelling; chunks lie where Loki's storage_config.filesystem.directory "
		       "says";
	case ENOTDIR:
		return "a store is a directory; for single files use chunkctl info";
	case EROFS:
		return "the file system is mounted read-only";
	case EXDEV:
		return "both must be on one file system";
	}
	return NULL;
}

/* One write a message: several threads may have something to say. */
static void say(const char *fmt, va_list args, int err)
{
	struct bytes line = { 0 };
	va_list copy;
	char text[4096];

	va_copy(copy, args);
	vsnprintf(text, sizeof(text), fmt, copy);
	va_end(copy);
	bytes_printf(&line, "chunkctl%s%s: %s", *command_name ? " " : "", command_name, text);
	if (err)
		bytes_printf(&line, ": %s", strerror(err));
	bytes_addc(&line, '\n');
	if (err && advice(err))
		bytes_printf(&line, "chunkctl%s%s: %s\n", *command_name ? " " : "", command_name,
			     advice(err));
	progress_hide();
	/* Nowhere to complain about complaints. */
	if (write(STDERR_FILENO, line.p, line.n) < 0)
		errno = 0;
	progress_show();
	bytes_free(&line);
}

void complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args, 0);
	va_end(args);
}

void complain_errno(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args, err);
	va_end(args);
}

_Noreturn void die(const char *fmt, ...)
{
	va_list args;
	char text[1024];

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	/* No allocation here: memory may be what is short. */
	dprintf(STDERR_FILENO, "chunkctl %s: %s\n", command_name, text);
	_exit(EXIT_TROUBLE);
}

/* ---- Signals ---- */

static void on_signal(int sig)
{
	(void)sig;
	__atomic_store_n(&stop_word, 1, __ATOMIC_RELAXED);
}

void signals_catch(void)
{
	/* RESETHAND: a second ^C ends the program at once. No RESTART: a read from a terminal
	 * or a sleep is to end. */
	struct sigaction stop = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGHUP, &stop, NULL);
	/* A closed pipe is seen as EPIPE, so that quarantine is not cut short between two steps;
	 * main() dies of the signal in the end. */
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL); /* a limit of file sizes is an error of write() */
}

bool stopped(void)
{
	return __atomic_load_n(&stop_word, __ATOMIC_RELAXED) != 0;
}

void stop_now(void)
{
	__atomic_store_n(&stop_word, 1, __ATOMIC_RELAXED);
}

/* ---- Time ---- */

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

#define NAP_NS (100 * NS_PER_MS) /* how soon a sleeper notices that it is to stop */

void sleep_until_ns(uint64_t until)
{
	for (uint64_t now = now_ns(); now < until && !stopped(); now = now_ns()) {
		uint64_t left = until - now < NAP_NS ? until - now : NAP_NS;
		struct timespec ts = { .tv_nsec = (long)left };

		nanosleep(&ts, NULL);
	}
}

double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Days count from 1970 by the Gregorian calendar; any int64 of nanoseconds has a year of four
 * digits, milliseconds may not. */
static void split_time(int64_t seconds, struct tm *tm)
{
	time_t t = (time_t)seconds;

	if (!gmtime_r(&t, tm))
		memset(tm, 0, sizeof(*tm));
}

static int64_t floor_div(int64_t a, int64_t b, int64_t *rest)
{
	int64_t q = a / b;

	*rest = a % b;
	if (*rest < 0) {
		*rest += b;
		q--;
	}
	return q;
}

static size_t date_text(int64_t seconds, char sep, char out[TIME_TEXT_BYTES])
{
	struct tm tm;
	int n;

	split_time(seconds, &tm);
	n = snprintf(out, TIME_TEXT_BYTES, "%04lld-%02d-%02d%c%02d:%02d:%02d",
		     (long long)tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, sep, tm.tm_hour,
		     tm.tm_min, tm.tm_sec);
	return (size_t)n < TIME_TEXT_BYTES ? (size_t)n : TIME_TEXT_BYTES - 1;
}

const char *time_text(int64_t ns, char out[TIME_TEXT_BYTES])
{
	int64_t rest, s = floor_div(ns, (int64_t)NS_PER_S, &rest);
	size_t n = date_text(s, 'T', out);

	snprintf(out + n, TIME_TEXT_BYTES - n, ".%09lldZ", (long long)rest);
	return out;
}

const char *time_text_ms(int64_t ms, char out[TIME_TEXT_BYTES])
{
	int64_t rest, s = floor_div(ms, 1000, &rest);
	size_t n = date_text(s, 'T', out);

	snprintf(out + n, TIME_TEXT_BYTES - n, ".%03lldZ", (long long)rest);
	return out;
}

const char *time_text_s(int64_t ms, char out[TIME_TEXT_BYTES])
{
	int64_t rest;

	date_text(floor_div(ms, 1000, &rest), ' ', out);
	return out;
}

const char *time_text_day(int64_t ms, char out[TIME_TEXT_BYTES])
{
	int64_t rest;
	struct tm tm;

	split_time(floor_div(ms, 1000, &rest), &tm);
	snprintf(out, TIME_TEXT_BYTES, "%04lld-%02d-%02d", (long long)tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday);
	return out;
}

const char *size_text(uint64_t bytes, char out[SIZE_TEXT_BYTES])
{
	static const char *const units[] = { "B", "KB", "MB", "GB", "TB", "PB", "EB" };
	double x = (double)bytes;
	size_t u = 0;

	while (x >= 999.5 && u + 1 < LEN(units)) {
		x /= 1000;
		u++;
	}
	snprintf(out, SIZE_TEXT_BYTES, u == 0 || x >= 99.95 ? "%.0f %s" : "%.1f %s", x, units[u]);
	return out;
}

const char *count_text(uint64_t n, char out[SIZE_TEXT_BYTES])
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), at = 0;

	if (n >= 1000000000000000ull) { /* separators would not fit */
		snprintf(out, SIZE_TEXT_BYTES, "%s", digits);
		return out;
	}
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}

const char *span_text(double seconds, char out[SIZE_TEXT_BYTES])
{
	unsigned long s = seconds > 0 && seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 0;

	if (seconds < 9.95)
		snprintf(out, SIZE_TEXT_BYTES, "%.1f s", seconds);
	else if (s < 3600)
		snprintf(out, SIZE_TEXT_BYTES, "%lu:%02lu", s / 60, s % 60);
	else
		snprintf(out, SIZE_TEXT_BYTES, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	return out;
}

/* ---- Text ---- */

static bool is_tail(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return false;
	return true;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t utf8_char(const uint8_t *p, size_t n)
{
	size_t len;

	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n < len || !is_tail(p + 1, len - 1))
		return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

bool is_utf8(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0, len; i < n; i += len) {
		len = utf8_char(p + i, n - i);
		if (!len)
			return false;
	}
	return true;
}

void base64_add(struct bytes *out, const void *bytes, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t w = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);

		bytes_addc(out, digits[w >> 18]);
		bytes_addc(out, digits[w >> 12 & 63]);
		bytes_addc(out, i + 1 < n ? digits[w >> 6 & 63] : '=');
		bytes_addc(out, i + 2 < n ? digits[w & 63] : '=');
	}
}
