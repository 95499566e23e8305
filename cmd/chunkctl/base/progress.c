/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "stderr.h"
#include "text.h"

#define DRAW_NS      (200 * NS_PER_MS)
#define COLUMNS_MAX  200u
#define COLUMNS_MIN  10u /* narrower terminals get nothing */
#define BAR_COLUMNS  20u
#define RATE_WEIGHT  0.15 /* of the newest measurement in the rate shown */

static struct {
	pthread_mutex_t mu; /* stop, and that nothing is drawn behind it */
	pthread_t       thread;
	bool            runs, stop;
	progress_fn     ask;
	void           *arg;
	uint64_t        begin_ns, last_ns, last_bytes;
	double          rate; /* bytes a second, smoothed */
} bar = { .mu = PTHREAD_MUTEX_INITIALIZER };

static uint32_t columns(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0)
		return 80;
	return w.ws_col < COLUMNS_MAX ? w.ws_col : COLUMNS_MAX;
}

static void measure(const struct progress_now *p)
{
	uint64_t now = now_ns(), took = now - bar.last_ns;
	double rate = took ? (double)(p->bytes - bar.last_bytes) * (double)NS_PER_S / (double)took
			   : 0;

	bar.rate = bar.rate > 0 ? bar.rate + RATE_WEIGHT * (rate - bar.rate) : rate;
	bar.last_ns = now;
	bar.last_bytes = p->bytes;
}

static void draw(const struct progress_now *p)
{
	char line[512], files[SIZE_TEXT_BYTES], bytes[SIZE_TEXT_BYTES], rate[SIZE_TEXT_BYTES],
	     span[SIZE_TEXT_BYTES];
	uint32_t width = columns();
	size_t n = 0;

	measure(p);
	if (width < COLUMNS_MIN)
		return;
	if (p->total) {
		double part = p->done < p->total ? (double)p->done / (double)p->total : 1;
		uint32_t full = (uint32_t)(part * BAR_COLUMNS);
		double spent = (double)(now_ns() - bar.begin_ns) / (double)NS_PER_S;

		line[n++] = '[';
		for (uint32_t i = 0; i < BAR_COLUMNS; i++)
			line[n++] = i < full ? '#' : '.';
		n += (size_t)snprintf(line + n, sizeof(line) - n, "] %2.0f%%  ETA %s  ", part * 100,
				      part > 0.001 ? span_text(spent / part - spent, span) : "-");
	}
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s files  %s  %s/s",
			      count_text(p->files, files), size_text(p->bytes, bytes),
			      size_text((uint64_t)bar.rate, rate));
	if (p->findings)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "  %s findings",
				      count_text(p->findings, files));
	if (n > width - 1) /* the last column would wrap */
		n = width - 1;
	line_draw(line, n);
}

static void *run(void *arg)
{
	struct timespec nap = { .tv_nsec = (long)DRAW_NS };

	(void)arg;
	for (bool stop = false; !stop;) {
		struct progress_now now = { 0 };

		nanosleep(&nap, NULL);
		bar.ask(bar.arg, &now); /* takes locks of others, who may want ours to complain */
		pthread_mutex_lock(&bar.mu);
		stop = bar.stop;
		if (!stop)
			draw(&now);
		pthread_mutex_unlock(&bar.mu);
	}
	return NULL;
}

void progress_start(progress_fn ask, void *arg, bool wanted)
{
	const char *term = getenv("TERM");

	if (!wanted || !isatty(STDERR_FILENO) || !term || strcmp(term, "dumb") == 0)
		return;
	bar.ask = ask;
	bar.arg = arg;
	bar.begin_ns = bar.last_ns = now_ns();
	bar.runs = pthread_create(&bar.thread, NULL, run, NULL) == 0;
}

bool progress_runs(void)
{
	return bar.runs;
}

void progress_stop(void)
{
	if (!bar.runs)
		return;
	pthread_mutex_lock(&bar.mu);
	bar.stop = true;
	pthread_mutex_unlock(&bar.mu);
	line_hide();
	line_show();
	pthread_join(bar.thread, NULL);
	bar.runs = bar.stop = false;
}
