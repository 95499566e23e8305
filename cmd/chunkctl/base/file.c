/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "clock.h"

int file_open(int dir_fd, const char *path, bool follow, struct stat *st)
{
	/* NONBLOCK: not to wait for the writer of a FIFO */
	int fd = openat(dir_fd, path,
			O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW)), err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, st) != 0)
		err = errno;
	else if (!S_ISREG(st->st_mode))
		err = S_ISDIR(st->st_mode) ? EISDIR : ENXIO;
	else if (st->st_size > FILE_BYTES_MAX)
		err = EFBIG;
	if (!err)
		return fd;
	close(fd);
	return -err;
}

int file_read_at(int fd, char *to, size_t n, uint64_t off, size_t *got)
{
	for (*got = 0; *got < n;) {
		ssize_t more = pread(fd, to + *got, n - *got, (off_t)(off + *got));

		if (more < 0 && errno != EINTR)
			return errno;
		if (more == 0)
			break;
		if (more > 0)
			*got += (size_t)more;
	}
	return 0;
}

int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns)
{
	struct stat st;
	int fd = file_open(dir_fd, path, follow, &st), err;

	out->n = 0;
	if (fd < 0)
		return -fd;
	if (mtime_ns)
		*mtime_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
	bytes_room(out, (size_t)st.st_size + 1);
	err = file_read_at(fd, out->p, (size_t)st.st_size, 0, &out->n);
	close(fd);
	return err;
}
