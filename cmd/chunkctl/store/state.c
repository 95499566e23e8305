/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/stderr.h"

/* Of sums it has the numbers only: what they mean goes with the version. */
#define HEAD "chunkctl state 3\n"

/* Names may hold anything but NUL; a line may not hold a newline. */
static void escape(struct bytes *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '%' || *s == '\n')
			bytes_printf(out, "%%%02x", (uint8_t)*s);
		else
			bytes_addc(out, *s);
	}
}

static void unescape(char *s)
{
	char *to = s;
	unsigned x;

	for (; *s; s++) {
		if (*s == '%' && sscanf(s + 1, "%2x", &x) == 1 && s[1] && s[2]) {
			*to++ = (char)x;
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

void state_pending(struct state *st, uint32_t root, const char *file)
{
	if (st->n_pending == STATE_PENDING_MAX)
		return;
	if (st->n_pending % 64 == 0)
		st->pending = mem_resize(st->pending, (st->n_pending + 64) * sizeof(*st->pending));
	st->pending[st->n_pending++] = (struct state_pending){ .root = root,
							       .file = mem_string(file) };
}

static bool read_at(struct state_at *at, char *line)
{
	int n = 0;

	if (sscanf(line, "at %" SCNu32 " %" SCNd64 "%n", &at->root, &at->off, &n) != 2 ||
	    line[n] != ' ')
		return false;
	unescape(line + n + 1);
	return (size_t)snprintf(at->tenant, sizeof(at->tenant), "%s", line + n + 1) <
	       sizeof(at->tenant);
}

static bool read_line(struct state *st, char *line)
{
	unsigned no;
	uint64_t x;
	int n = 0;

	if (sscanf(line, "sum %u %" SCNu64, &no, &x) == 2 && no < SUMS_MAX) {
		st->sums[no] = x;
		return true;
	}
	if (sscanf(line, "names %" SCNu64, &st->names) == 1)
		return true;
	if (sscanf(line, "pending %u%n", &no, &n) == 1 && line[n] == ' ' && no < st->n_roots) {
		unescape(line + n + 1);
		state_pending(st, no, line + n + 1);
		return true;
	}
	return read_at(&st->at, line);
}

static bool read_all(struct state *st, struct bytes *text)
{
	char *at = text->p + strlen(HEAD), *end;
	bool same = false, whole = false;

	for (; *at && !whole; at = end + 1) {
		end = strchr(at, '\n');
		if (!end)
			break;
		*end = '\0';
		if (strncmp(at, "options ", 8) == 0) {
			unescape(at + 8);
			same = strcmp(at + 8, st->options) == 0;
			if (!same) {
				complain("%s is the state of another command line: %s", st->path,
					 at + 8);
				complain("give the same arguments again, or remove the file to begin anew");
				return false;
			}
		} else if (strcmp(at, "end") == 0) {
			whole = true;
		} else if (!read_line(st, at)) {
			break;
		}
	}
	if (same && whole)
		return true;
	complain("%s is damaged; remove it to begin anew", st->path);
	return false;
}

bool state_open(struct state *st, const char *path, const char *options, uint32_t n_roots)
{
	struct bytes text = { 0 };
	int err = file_read(AT_FDCWD, path, true, &text, NULL);
	bool ok = true;

	*st = (struct state){ .path = path, .options = mem_string(options),
			       .n_roots = n_roots };
	if (err == ENOENT) {
		bytes_free(&text);
		return state_save(st); /* find out now whether it can be written */
	}
	if (err) {
		complain_errno(err, "reading the state file %s", path);
		ok = false;
	} else if (text.n < strlen(HEAD) || memcmp(text.p, HEAD, strlen(HEAD)) != 0) {
		complain("%s is not a state file of chunkctl's; choose another name", path);
		ok = false;
	} else {
		bytes_string(&text);
		ok = read_all(st, &text);
		st->resumed = ok;
	}
	bytes_free(&text);
	return ok;
}

static bool write_file(const char *path, const struct bytes *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), err = 0;
	size_t done = 0;

	if (fd < 0)
		return false;
	while (done < text->n && !err) {
		ssize_t n = write(fd, text->p + done, text->n - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			err = errno;
	}
	if (close(fd) != 0 && !err)
		err = errno;
	errno = err;
	return !err;
}

bool state_save(struct state *st)
{
	struct bytes text = { 0 }, temporary = { 0 };
	const char *path;
	bool ok;

	bytes_adds(&text, HEAD "options ");
	escape(&text, st->options);
	bytes_addc(&text, '\n');
	for (uint32_t i = 0; i < SUMS_MAX; i++)
		if (st->sums[i])
			bytes_printf(&text, "sum %u %" PRIu64 "\n", i, st->sums[i]);
	bytes_printf(&text, "names %" PRIu64 "\nat %" PRIu32 " %" PRId64 " ", st->names, st->at.root,
		     st->at.off);
	escape(&text, st->at.tenant);
	bytes_addc(&text, '\n');
	for (uint32_t i = 0; i < st->n_pending; i++) {
		bytes_printf(&text, "pending %" PRIu32 " ", st->pending[i].root);
		escape(&text, st->pending[i].file);
		bytes_addc(&text, '\n');
	}
	bytes_adds(&text, "end\n");
	bytes_printf(&temporary, "%s.tmp", st->path);
	path = bytes_string(&temporary);
	/* No fsync: after a power loss an old state costs time, a torn one is recognised. */
	ok = write_file(path, &text) && rename(path, st->path) == 0;
	if (!ok)
		complain_errno(errno, "writing the state file %s", st->path);
	bytes_free(&temporary);
	bytes_free(&text);
	st->saved_ns = now_ns();
	return ok;
}

void state_remove(struct state *st)
{
	if (unlink(st->path) != 0 && errno != ENOENT)
		complain_errno(errno, "removing the state file %s", st->path);
}

void state_free(struct state *st)
{
	for (uint32_t i = 0; i < st->n_pending; i++)
		free(st->pending[i].file);
	free(st->pending);
	free(st->options);
}
