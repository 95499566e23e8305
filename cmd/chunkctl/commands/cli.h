/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: what the commands' options have in common. */
#ifndef CHUNKCTL_CLI_H
#define CHUNKCTL_CLI_H

#include <getopt.h>

#include "store/walk.h"

/* Each command is given its own words, argv[0] being its name. */
int cmd_verify(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_cat(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_quarantine(int argc, char **argv);
int cmd_salvage(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

/* Options that several commands have; the values are above any character's. */
enum {
	OPT_TENANT = 256, OPT_SINCE, OPT_UNTIL, OPT_JOBS, OPT_JSON, OPT_BACKEND, OPT_QUIET,
	OPT_EMPTY,
	OPT_OWN /* a command's own count from here */
};
#define OPTIONS_HELP	{ "help", no_argument, NULL, 'h' }
#define OPTIONS_FILTER	{ "tenant", required_argument, NULL, OPT_TENANT }, \
			{ "since", required_argument, NULL, OPT_SINCE }, \
			{ "until", required_argument, NULL, OPT_UNTIL }
#define OPTIONS_EMPTY	{ "allow-empty", no_argument, NULL, OPT_EMPTY }
#define OPTIONS_LIST	{ "null", no_argument, NULL, '0' }

/* 1: not one of these; 0: taken; -1: a bad value, complained of. */
int filter_option(struct filter *f, int opt, const char *value);

/* These complain and return false. */
bool parse_u64(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *out);
bool parse_time(const char *option, const char *value, int64_t *ms);
bool parse_backend(const char *value, uint32_t *out);

/* What getopt_long() complained of is on stderr; this adds where help is. EXIT_TROUBLE. */
int bad_usage(void);
int print_help(const char *text); /* EXIT_SOUND, unless stdout fails */

/* Of a list: files that are chunks neither by name nor by content were left alone. */
void tell_foreign(uint64_t n);

uint32_t default_jobs(void);

#endif
