/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "common.h"

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

const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
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
