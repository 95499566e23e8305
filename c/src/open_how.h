/* SPDX-License-Identifier: Apache-2.0 */
/* How every file is opened. */
#ifndef CR_OPEN_HOW_H
#define CR_OPEN_HOW_H

#include <fcntl.h>
#include <linux/openat2.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* linux/openat2.h, 5.12 */
#endif

/* O_NONBLOCK: opening a FIFO must not wait for a writer. A regular file then says EAGAIN where open(2)
 * would wait for another process to give back a lease: see cr_path_open_waiting(). */
#define CR_OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* The kernel refuses symbolic links on the way (magic ones, too), cr_path_ok() every "..", "/..." and "": so there
 * is no way out of the directory. RESOLVE_BENEATH would refuse the same once more, for a tenth of the time
 * of an open. */
#define CR_RESOLVE RESOLVE_NO_SYMLINKS

#endif
