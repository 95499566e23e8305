/* SPDX-License-Identifier: Apache-2.0 */
#include "out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "die.h"
#include "stderr.h"
#include "stop.h"

bool out_pipe_closed;

void out_open(struct out *o, int fd, const char *name)
{
	o->fd = fd;
	o->name = name;
	o->err = 0;
	o->n = 0;
	o->lines = isatty(fd);
	pthread_mutex_init(&o->mu, NULL);
}

static void write_all(struct out *o, const char *p, size_t n)
{
	while (n && !o->err) {
		ssize_t done = write(o->fd, p, n);

		if (done >= 0) {
			p += done;
			n -= (size_t)done;
		} else if (errno != EINTR && errno != EAGAIN) {
			o->err = errno;
			stop_now(); /* nobody hears the rest */
		}
	}
}

static void flush_locked(struct out *o)
{
	if (o->lines)
		line_hide();
	write_all(o, o->buf, o->n);
	o->n = 0;
	if (o->lines)
		line_show();
}

void out_bytes(struct out *o, const void *p, size_t n)
{
	pthread_mutex_lock(&o->mu);
	if (n > OUT_BYTES - o->n)
		flush_locked(o);
	if (n > OUT_BYTES) {
		write_all(o, p, n);
	} else if (n) {
		memcpy(o->buf + o->n, p, n);
		o->n += n;
	}
	if (o->lines && n && ((const char *)p)[n - 1] == '\n')
		flush_locked(o);
	pthread_mutex_unlock(&o->mu);
}

void out_string(struct out *o, const char *s)
{
	out_bytes(o, s, strlen(s));
}

void out_printf(struct out *o, const char *fmt, ...)
{
	char *text;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		die("out of memory");
	out_bytes(o, text, (size_t)n);
	free(text);
}

void out_flush(struct out *o)
{
	pthread_mutex_lock(&o->mu);
	flush_locked(o);
	pthread_mutex_unlock(&o->mu);
}

int out_end(struct out *o, int code)
{
	out_flush(o);
	if (!o->err)
		return code;
	if (o->err == EPIPE) {
		out_pipe_closed = true;
		return EXIT_TROUBLE;
	}
	complain_errno(o->err, "writing to %s", o->name);
	return EXIT_TROUBLE;
}

bool out_colours(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return !(no && *no) && term && strcmp(term, "dumb") != 0 && isatty(fd);
}
