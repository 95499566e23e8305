/* SPDX-License-Identifier: Apache-2.0 */
/* Names of folders' entries, as many as are sorted or handed on at once. */
#ifndef CHUNKCTL_NAMES_H
#define CHUNKCTL_NAMES_H

#include "base/bytes.h"

struct name {
	uint64_t ino;
	uint32_t off;   /* in text */
	uint8_t  type;  /* DT_* */
};

struct names { /* zero it to begin */
	struct bytes text;
	struct name *list;
	uint32_t     n, cap;
};

void names_add(struct names *x, const char *name, uint64_t ino, uint8_t type);
const char *name_of(const struct names *x, uint32_t i);
void names_clear(struct names *x);
void names_free(struct names *x);
void names_sort_by_inode(struct names *x);
void names_sort_by_text(struct names *x);

#define LIST_BYTES (32u << 10) /* what one getdents64 is given room for */

/* Adds the entries that one system call gives, at most `room` bytes of them (LIST_BYTES at most), but
 * for "." and "..". *off (or NULL) is then the position behind the last. 1: there may be more; 0: the
 * end; or -errno. */
int names_list(int fd, char *buf, size_t room, struct names *out, int64_t *off);

/* What DT_UNKNOWN stands for, on file systems that don't tell it with the name; DT_UNKNOWN where that
 * can't be had, and *err (or NULL) is then why: ENOENT, it is gone. */
uint8_t name_type(int dir_fd, const char *name, uint8_t type, int *err);

#endif
