/* SPDX-License-Identifier: Apache-2.0 */
/* Containment: which paths are taken at all, and opening one without leaving the directory. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "open_how.h"

/* Plain components only: this, and that the kernel follows no symbolic link (open_how.h), is what keeps a
 * tenant's id from naming a file outside the directory. */
bool cr_path_ok(const char *path, uint32_t path_bytes)
{
	/* The kernel stops at the first NUL: before path_bytes it would open another file, and behind
	 * it lies what was not looked at. */
	if (path_bytes == 0 || path_bytes >= CR_PATH_BYTES_MAX ||
	    strnlen(path, (size_t)path_bytes + 1) != path_bytes)
		return false;

	const char *end = path + path_bytes;

	for (const char *part = path;; ) {
		const char *slash = memchr(part, '/', (size_t)(end - part));
		size_t bytes = (size_t)((slash ? slash : end) - part);

		if (bytes == 0 || (bytes == 1 && part[0] == '.') ||
		    (bytes == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		if (!slash)
			return true;
		part = slash + 1;
	}
}

/* For kernels before 5.6, sandboxes that refuse openat2, and file systems that don't like how it is
 * called: a component at a time, no symlinks. */
static int open_by_component(int dir_fd, const char *path, int flags)
{
	char part[256]; /* NAME_MAX + NUL: a longer component can't exist */
	int at = dir_fd;

	for (;;) {
		const char *slash = strchr(path, '/');
		size_t bytes = slash ? (size_t)(slash - path) : strlen(path);
		int fd = -ENAMETOOLONG;

		if (bytes < sizeof(part)) {
			memcpy(part, path, bytes);
			part[bytes] = '\0';
			fd = openat(at, part, O_NOFOLLOW | (slash ? O_PATH | O_DIRECTORY | O_CLOEXEC : flags));
			if (fd < 0)
				fd = -errno;
			/* O_DIRECTORY on a symbolic link says ENOTDIR: tell it from a plain file */
			if (fd == -ENOTDIR && slash) {
				char link[1];

				if (readlinkat(at, part, link, sizeof(link)) >= 0)
					fd = -ELOOP;
			}
		}
		if (at != dir_fd)
			close(at);
		if (fd < 0 || !slash)
			return fd;
		at = fd;
		path = slash + 1;
	}
}

static int openat2_contained(const struct cr_ctx *ctx, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = { .flags = (uint64_t)flags, .resolve = CR_RESOLVE | resolve };
	long fd = syscall(SYS_openat2, ctx->dir_fd, path, &how, sizeof(how));

	return fd >= 0 ? (int)fd : -errno;
}

int cr_path_open_cached(struct cr_ctx *ctx, const char *path)
{
	int fd;

	if (atomic_load_explicit(&ctx->no_cached_open, memory_order_relaxed) ||
	    atomic_load_explicit(&ctx->no_openat2, memory_order_relaxed))
		return -EOPNOTSUPP;
	fd = openat2_contained(ctx, path, CR_OPEN_FLAGS, RESOLVE_CACHED);
	if (fd == -EINVAL || fd == -ENOSYS || fd == -EPERM) {
		atomic_store_explicit(&ctx->no_cached_open, true, memory_order_relaxed);
		return -EOPNOTSUPP; /* cr_path_open() finds out what it is about */
	}
	return fd;
}

static int open_contained(struct cr_ctx *ctx, const char *path, int flags)
{
	int fd;

	if (atomic_load_explicit(&ctx->no_openat2, memory_order_relaxed))
		return open_by_component(ctx->dir_fd, path, flags);
	fd = openat2_contained(ctx, path, flags, 0);
	switch (fd) {
	case -ENOSYS: /* seccomp profiles that don't know openat2 answer ENOSYS or EPERM; EPERM is no */
	case -EPERM:  /* answer that a plain O_RDONLY open of a file gives */
		atomic_store_explicit(&ctx->no_openat2, true, memory_order_relaxed);
		return open_by_component(ctx->dir_fd, path, flags);
	case -EINVAL: /* "not this way", of this file */
	case -E2BIG:
	case -EOPNOTSUPP:
		return open_by_component(ctx->dir_fd, path, flags);
	default:
		return fd;
	}
}

int cr_path_open(struct cr_ctx *ctx, const char *path)
{
	return open_contained(ctx, path, CR_OPEN_FLAGS);
}

/* Without O_NONBLOCK, of a file that is known to be a regular one: opening the descriptor again opens the
 * same file, whatever its name stands for by now. */
int cr_path_open_waiting(struct cr_ctx *ctx, const char *path)
{
	char self[32];
	struct stat st;
	int fd = -EAGAIN, at = open_contained(ctx, path, O_PATH | O_CLOEXEC);

	if (at < 0)
		return at;
	if (fstat(at, &st) == 0 && S_ISREG(st.st_mode)) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", at);
		fd = open(self, CR_OPEN_FLAGS & ~O_NONBLOCK);
		if (fd < 0)
			fd = errno == ENOENT ? -EAGAIN : -errno; /* no /proc here */
	}
	close(at);
	return fd;
}
