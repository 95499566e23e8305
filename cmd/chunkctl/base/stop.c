/* SPDX-License-Identifier: Apache-2.0 */
#include "stop.h"

#include <signal.h>
#include <stddef.h>

uint32_t stop_word;

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
