/* SPDX-License-Identifier: Apache-2.0 */
#include "stderr.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "die.h"
#include "quote.h"

/* ---- The terminal's last line ---- */

static struct {
	pthread_mutex_t mu;
	bool            drawn;
} last = { .mu = PTHREAD_MUTEX_INITIALIZER };

static void put(const char *s, size_t n)
{
	/* Nowhere to complain about complaints. */
	if (write(STDERR_FILENO, s, n) < 0)
		errno = 0;
}

void line_hide(void)
{
	pthread_mutex_lock(&last.mu);
	if (last.drawn)
		put("\r\033[K", 4);
	last.drawn = false;
}

void line_show(void)
{
	pthread_mutex_unlock(&last.mu);
}

void line_draw(const char *s, size_t n)
{
	line_hide();
	put(s, n);
	last.drawn = true;
	line_show();
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
	case EAGAIN:
		return "try again a little later";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files (ulimit -Hn), or give fewer directories or --jobs";
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
	/* "Too many levels of symbolic links" */
	if (err == ELOOP)
		return "a symbolic link: not followed";
	/* "No such device or address" */
	if (err == ENXIO)
		return "a FIFO, a socket or a device, not a file";
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
	line_hide();
	put(line.p, line.n);
	line_show();
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
