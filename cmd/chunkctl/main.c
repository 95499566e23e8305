/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkctl: the operator's tool for Loki chunk stores on local disks, C on libchunkring alone. Its rooms; none
 * includes one above it:
 *
 *	commands/  cli.c: what command lines have in common; one file for each command: verify.c (with
 *	           verify_publish.c, verify_settle.c, verify_summary.c), ls.c (totals.c), cat.c, info.c,
 *	           salvage.c, quarantine.c (suspects.c), bench.c, doctor.c
 *	store/     a store's files: walk.c (walk_queue.c, walk_list.c, walk_job.c, walk_count.c,
 *	           walk_foreign.c, walk_empty.c, names.c): folders into chunks; scan.c: batches of chunks
 *	           through cr_batch_read(); state.c: what a walk was at; key.c: names that are no chunk's;
 *	           cache.c: folders of a disk cache
 *	chunk/     one chunk: contents.c, blocks.c, labels.c, codec.c: what is in it; peek.c: from its two
 *	           ends; partial.c: some of its blocks; check.c, check_deep.c, findings.c: what is
 *	           wrong with it; merge.c: lines of many in time order; matcher.c, lines.c, report.c:
 *	           what is asked for, and shown; scratch.c
 *	base/      memory (mem.c, bytes.c, file.c), text (text.c, utf8.c, quote.c, base64.c, json_in.c,
 *	           json_out.c), the terminal (stderr.c, progress.c, out.c), die.c, stop.c, clock.c
 *
 * Conventions: a command returns an exit code (common.h). Memory that can't be had ends the program with a
 * message: there is nothing to go on with. What comes from files, names included, is hostile.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/common.h"
#include "base/die.h"
#include "base/out.h"
#include "base/stderr.h"
#include "base/stop.h"
#include "commands/cli.h"

#ifndef CHUNKCTL_VERSION
#define CHUNKCTL_VERSION "unversioned"
#endif

static const char help[] =
"usage: chunkctl COMMAND [options] ...\n"
"\n"
"Looks after directories of Grafana Loki chunks on local disks (storage_config.filesystem), of every\n"
"schema, chunk format and codec. Only quarantine --yes changes anything in them.\n"
"\n"
"  verify      is every chunk what Loki wrote? Finds every damaged file\n"
"  ls          what is in a store: streams, times, codecs, sizes; totals, tiny chunks\n"
"  cat         log lines of chunks or streams in time order\n"
"  info        everything in one chunk file, and where it is damaged\n"
"  salvage     the lines of a damaged chunk that can still be read\n"
"  quarantine  move damaged files aside, and back\n"
"  bench       how fast a store can be read, by which back-end\n"
"  doctor      does the machine suit the store?\n"
"\n"
"chunkctl COMMAND --help says more, with examples; so does man chunkctl.\n"
"exit code: 0 sound, 1 findings, 2 wrong usage, a failed read or write, or no chunk found\n";

static const struct {
	const char *name;
	int       (*run)(int argc, char **argv);
} commands[] = {
	{ "verify", cmd_verify },	  { "ls", cmd_ls },	      { "cat", cmd_cat },
	{ "info", cmd_info },		  { "salvage", cmd_salvage }, { "quarantine", cmd_quarantine },
	{ "bench", cmd_bench },		  { "doctor", cmd_doctor },
};

static int dispatch(int argc, char **argv)
{
	static char name_for_getopt[32];
	const char *name = argc > 1 ? argv[1] : "";

	for (size_t i = 0; i < LEN(commands); i++) {
		if (strcmp(name, commands[i].name) != 0)
			continue;
		command_name = commands[i].name;
		snprintf(name_for_getopt, sizeof(name_for_getopt), "chunkctl %s", commands[i].name);
		argv[1] = name_for_getopt;
		signals_catch();
		return commands[i].run(argc - 1, argv + 1);
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return print_help(help);
	if (strcmp(name, "--version") == 0)
		return print_help("chunkctl " CHUNKCTL_VERSION "\n");
	if (*name)
		complain("there is no command %s", name);
	else
		complain("which command? verify, ls, cat, info, salvage, quarantine, bench or doctor");
	return bad_usage();
}

/* As many as the system allows, as Loki does. A shell's own limit is 1024 most often: a quarter of that is what a
 * store may have open at a time, and each store takes a descriptor and a ring besides. */
static void raise_open_files(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur == lim.rlim_max)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim); /* if it may not, it goes on with what it has */
}

int main(int argc, char **argv)
{
	int code;

	raise_open_files();
	code = dispatch(argc, argv);

	if (out_pipe_closed) { /* as any other filter ends whose reader is gone */
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	return code;
}
