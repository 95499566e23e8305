/* SPDX-License-Identifier: Apache-2.0 */
/* Containment: which paths are taken at all, and opening one without leaving the directory. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "open_how.h"

/* Plain components only. RESOLVE_BENEATH alone would allow "a/../b": no chunk is named so, and a
 * tenant id must not be able to say it. */
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

/* For kernels before 5.6 and sandboxes that refuse openat2: a component at a time, no symlinks. */
static int open_by_component(int dir_fd, const char *path)
{
	char part[256]; /* NAME_MAX + NUL: a longer component can't exist */
	int at = dir_fd;

	for (;;) {
		const char *slash = strchr(path, '/');
		size_t bytes = slash ? (size_t)(slash - path) : strlen(path);
		int flags = slash ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
				  : (int)(CR_OPEN_FLAGS | O_NOFOLLOW);
		int fd = -ENAMETOOLONG;

		if (bytes < sizeof(part)) {
			memcpy(part, path, bytes);
			part[bytes] = '\0';
			fd = openat(at, part, flags);
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

int cr_path_open_cached(struct cr_ctx *ctx, const char *path)
{
	struct open_how how = CR_OPEN_HOW;
	long fd;

	if (atomic_load_explicit(&ctx->no_cached_open, memory_order_relaxed) ||
	    atomic_load_explicit(&ctx->no_openat2, memory_order_relaxed))
		return -EAGAIN;
	how.resolve |= RESOLVE_CACHED;
	fd = syscall(SYS_openat2, ctx->dir_fd, path, &how, sizeof(how));
	if (fd >= 0)
		return (int)fd;
	if (errno == EINVAL || errno == ENOSYS || errno == EPERM) {
		atomic_store_explicit(&ctx->no_cached_open, true, memory_order_relaxed);
		return -EAGAIN; /* cr_path_open() finds out what it is about */
	}
	return -errno;
}

int cr_path_open(struct cr_ctx *ctx, const char *path)
{
	if (!atomic_load_explicit(&ctx->no_openat2, memory_order_relaxed)) {
		struct open_how how = CR_OPEN_HOW;
		long fd = syscall(SYS_openat2, ctx->dir_fd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		/* seccomp profiles that don't know openat2 answer ENOSYS or EPERM; EPERM is no answer
		 * that a plain O_RDONLY open of a file gives */
		if (errno != ENOSYS && errno != EPERM)
			return -errno;
		atomic_store_explicit(&ctx->no_openat2, true, memory_order_relaxed);
	}
	return open_by_component(ctx->dir_fd, path);
}
