/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "clock.h"

int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns)
{
	/* NONBLOCK: not to wait for the writer of a FIFO */
	int fd = openat(dir_fd, path,
			O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW)), err = 0;
	struct stat st;

	out->n = 0;
	if (fd < 0)
		return errno;
	if (fstat(fd, &st) != 0)
		err = errno;
	else if (!S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	else if (st.st_size > FILE_BYTES_MAX)
		err = EFBIG;
	if (!err) {
		if (mtime_ns)
			*mtime_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
		bytes_room(out, (size_t)st.st_size + 1);
	}
	while (!err && out->n < (size_t)st.st_size) {
		ssize_t n = read(fd, out->p + out->n, (size_t)st.st_size - out->n);

		if (n > 0)
			out->n += (size_t)n;
		else if (n == 0)
			break; /* it shrank: whoever looks at it will see */
		else if (errno != EINTR)
			err = errno;
	}
	close(fd);
	return err;
}
