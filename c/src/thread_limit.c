/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many threads this process may have. Where that is few (a pod's pids limit, a unit's TasksMax), the
 * rest of the process must find some left: a Go runtime that can't start a thread aborts.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#define CGROUP_BYTES_MAX 4096u /* of /proc/self/cgroup, and of a path in it */

/* The text of a small file, cut to what fits; false if it can't be read. */
static bool file_text(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, text, room - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

/* pids.max of the group and of those above it; each of them binds. */
static uint32_t cgroup_limit(const char *mount, char *group)
{
	char path[CGROUP_BYTES_MAX + 64], text[32];
	uint32_t least = UINT32_MAX;

	for (;;) { /* bounded: the path becomes shorter */
		char *slash = strrchr(group, '/');
		unsigned long max;
		char *end;

		snprintf(path, sizeof(path), "%s%s/pids.max", mount, group);
		if (file_text(path, text, sizeof(text))) { /* "max" is no number */
			max = strtoul(text, &end, 10);
			if (end != text && max < least)
				least = (uint32_t)max;
		}
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* cgroup v2: "0::/path"; v1: "7:pids:/path", perhaps among other controllers. */
static uint32_t cgroups_limit(void)
{
	char text[CGROUP_BYTES_MAX], *line = text, *rest;
	uint32_t least = UINT32_MAX;

	if (!file_text("/proc/self/cgroup", text, sizeof(text)))
		return least;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *controllers = strchr(line, ':'), *group;
		uint32_t limit = UINT32_MAX;

		group = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!group)
			continue;
		*group++ = '\0';
		if (controllers[1] == '\0')
			limit = cgroup_limit("/sys/fs/cgroup", group);
		else if (strstr(controllers, "pids"))
			limit = cgroup_limit("/sys/fs/cgroup/pids", group);
		if (limit < least)
			least = limit;
	}
	return least;
}

uint32_t cr_thread_limit(void)
{
	uint32_t least = cgroups_limit();
	struct rlimit lim;

	if (getrlimit(RLIMIT_NPROC, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY && lim.rlim_cur < least)
		least = (uint32_t)lim.rlim_cur;
	return least;
}
