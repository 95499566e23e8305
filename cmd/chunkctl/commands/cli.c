/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/common.h"
#include "base/die.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/stderr.h"
#include "base/text.h"

bool parse_u64(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(value, &end, 10);
	if (value[0] >= '0' && value[0] <= '9' && !*end && !errno && *out >= min && *out <= max)
		return true;
	complain("--%s %s: a number from %llu to %llu is wanted", option, value,
		 (unsigned long long)min, (unsigned long long)max);
	return false;
}

/* 90m, 12h, 7d, 2w: so long ago. */
static bool parse_ago(const char *value, int64_t *ms)
{
	static const struct { char unit; int64_t ms; } units[] = {
		{ 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 }, { 'd', 86400000 }, { 'w', 604800000 },
	};
	char *end;
	long long n = strtoll(value, &end, 10);

	if (end == value || n < 0 || n > 1000000 || !end[0] || end[1])
		return false;
	for (size_t i = 0; i < LEN(units); i++) {
		if (*end == units[i].unit) {
			*ms = wall_ns() / (int64_t)NS_PER_MS - n * units[i].ms;
			return true;
		}
	}
	return false;
}

static bool parse_number(const char *value, int64_t *ms)
{
	size_t digits = strspn(value, "0123456789");
	uint64_t x;

	if (digits == 0 || value[digits] || digits > 19)
		return false;
	x = strtoull(value, NULL, 10);
	if (x > INT64_MAX)
		return false;
	*ms = digits <= 11 ? (int64_t)x * 1000 : digits <= 14 ? (int64_t)x :
	      digits <= 17 ? (int64_t)(x / 1000) : (int64_t)(x / NS_PER_MS);
	return true;
}

/* RFC 3339, or its date alone. */
static bool parse_date(const char *value, int64_t *ms)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
					     "%Y-%m-%d" };
	int hours, minutes, used = 0;
	const char *end = NULL;
	struct tm tm;

	for (size_t i = 0; i < LEN(forms) && !end; i++) {
		memset(&tm, 0, sizeof(tm));
		end = strptime(value, forms[i], &tm);
	}
	if (!end)
		return false;
	*ms = (int64_t)timegm(&tm) * 1000;
	if (*end == '.' && end[1] >= '0' && end[1] <= '9') {
		*ms += (int64_t)(strtod(end, NULL) * 1000);
		end += 1 + strspn(end + 1, "0123456789");
	}
	if (sscanf(end, "%3d:%2d%n", &hours, &minutes, &used) == 2 && !end[used] &&
	    (*end == '+' || *end == '-')) {
		*ms -= (int64_t)(hours * 60 + (*end == '-' ? -minutes : minutes)) * 60000;
		return true;
	}
	return !*end || strcmp(end, "Z") == 0;
}

bool parse_time(const char *option, const char *value, int64_t *ms)
{
	if (strcmp(value, "now") == 0) {
		*ms = wall_ns() / (int64_t)NS_PER_MS;
		return true;
	}
	if (parse_number(value, ms) || parse_ago(value, ms) || parse_date(value, ms))
		return true;
	complain("--%s %s: a time is wanted: 2024-03-12T10:00:00Z, 2024-03-12, 36h (ago), or seconds, "
		 "ms, us or ns since 1970", option, value);
	return false;
}

bool parse_backend(const char *value, uint32_t *out)
{
	static const char *const names[] = { "auto", "uring", "threads" };

	for (uint32_t i = 0; i < LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			*out = i;
			return true;
		}
	}
	complain("--backend %s: auto, uring or threads is wanted", value);
	return false;
}

int filter_option(struct filter *f, int opt, const char *value)
{
	if (opt != OPT_TENANT && opt != OPT_SINCE && opt != OPT_UNTIL)
		return 1;
	if (!f->timed) {
		f->since_ms = INT64_MIN;
		f->until_ms = INT64_MAX;
	}
	if (opt == OPT_TENANT) {
		f->tenants = mem_resize(f->tenants, (f->n_tenants + 1) * sizeof(*f->tenants));
		f->tenants[f->n_tenants++] = value;
		return 0;
	}
	f->timed = true;
	if (opt == OPT_SINCE)
		return parse_time("since", value, &f->since_ms) ? 0 : -1;
	return parse_time("until", value, &f->until_ms) ? 0 : -1;
}

int bad_usage(void)
{
	complain("see chunkctl%s%s --help", *command_name ? " " : "", command_name);
	return EXIT_TROUBLE;
}

int print_help(const char *text)
{
	static struct out o;

	out_open(&o, STDOUT_FILENO, "standard output");
	out_string(&o, text);
	return out_end(&o, EXIT_SOUND);
}

void tell_foreign(uint64_t n)
{
	if (n)
		complain("left alone %llu file%s: no chunk, neither by name nor by content",
			 (unsigned long long)n, plural(n));
}

/* More than CPUs: folders are opened and listed one after the other by each job, and cold that means
 * waiting for the disk. */
#define JOBS_MIN     8u
#define JOBS_DEFAULT 16u

uint32_t default_jobs(void)
{
	cpu_set_t set;
	uint32_t cpus = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (uint32_t)CPU_COUNT(&set);
	return cpus < JOBS_MIN ? JOBS_MIN : cpus > JOBS_DEFAULT ? JOBS_DEFAULT : cpus;
}
