/* SPDX-License-Identifier: Apache-2.0 */
/* A file as a whole. */
#ifndef CHUNKCTL_FILE_H
#define CHUNKCTL_FILE_H

#include <sys/stat.h>

#include "bytes.h"

#define FILE_BYTES_MAX CR_FILE_BYTES_DEFAULT

/* Opens dir_fd/path for reading. A descriptor or a negative errno: -EFBIG beyond FILE_BYTES_MAX,
 * -EISDIR, -ENXIO what else is not a regular file (the kernel's own for a socket). A symbolic link as
 * the last component is followed only with follow. */
int file_open(int dir_fd, const char *path, bool follow, struct stat *st);

/* n bytes from off on. 0 or an errno; *got is less than n where the file ends. */
int file_read_at(int fd, char *to, size_t n, uint64_t off, size_t *got);

/* Reads dir_fd/path into out (replacing). 0 or an errno, as of file_open(). mtime_ns may be NULL. */
int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns);

#endif
