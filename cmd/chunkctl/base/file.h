/* SPDX-License-Identifier: Apache-2.0 */
/* A file as a whole. */
#ifndef CHUNKCTL_FILE_H
#define CHUNKCTL_FILE_H

#include "bytes.h"

#define FILE_BYTES_MAX CR_FILE_BYTES_DEFAULT

/* Reads dir_fd/path into out (replacing). 0 or an errno: EFBIG beyond FILE_BYTES_MAX, EINVAL what is
 * not a regular file. *mtime_ns may be NULL. Symbolic links are followed only when they are the last
 * component and follow is set. */
int file_read(int dir_fd, const char *path, bool follow, struct bytes *out, int64_t *mtime_ns);

#endif
