/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, signals, clocks. */
#include "util.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"
#include "quote.h"

const char *command_name = "";
uint32_t stop_word;

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
	case EAGAIN:
		return "try again a little later";
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

const char *error_text(int err)
{
	/* "Resource temporarily unavailable" */
	if (err == EAGAIN)
		return "another program holds a lease on it (Samba: an oplock)";
	return strerror(err);
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
	bytes_printf(&line, "chunkctl%s%s: ", *command_name ? " " : "", command_name);
	text_escape(&line, text, strlen(text)); /* it may name a file */
	if (err)
		bytes_printf(&line, ": %s", error_text(err));
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
	/* No allocation here: memory may be what is short. So what a terminal would obey is only
	 * taken out. */
	for (char *c = text; *c; c++)
		if ((uint8_t)*c < ' ' || (uint8_t)*c > 126)
			*c = '?';
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

/* ---- Clocks ---- */

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
