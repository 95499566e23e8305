/* SPDX-License-Identifier: Apache-2.0 */
/* Standard output and files that commands write: buffered, every error kept and told in the end. */
#ifndef CHUNKCTL_OUT_H
#define CHUNKCTL_OUT_H

#include <pthread.h>

#include "common.h"

#define OUT_BYTES (64u << 10)

struct out {
	int             fd;
	const char     *name;   /* for messages */
	int             err;    /* the first that happened; nothing is written from then on */
	bool            lines;  /* a terminal: whole lines at once */
	pthread_mutex_t mu;
	size_t          n;
	char            buf[OUT_BYTES];
};

void out_open(struct out *o, int fd, const char *name);
void out_bytes(struct out *o, const void *p, size_t n); /* thread-safe: never torn by another's */
void out_string(struct out *o, const char *s);
void out_printf(struct out *o, const char *fmt, ...) PRINTF(2, 3);
void out_flush(struct out *o);
/* Flushes; the exit code: code, or EXIT_TROUBLE with a message where writing failed. A closed pipe
 * gives EXIT_TROUBLE without a message and makes main() end by SIGPIPE. */
int  out_end(struct out *o, int code);

extern bool out_pipe_closed;

/* Whether colours are wanted on fd: a terminal, no NO_COLOR, TERM other than dumb. */
bool out_colours(int fd);

#endif
