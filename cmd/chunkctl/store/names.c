/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/die.h"
#include "base/mem.h"

void names_add(struct names *x, const char *name, uint64_t ino, uint8_t type)
{
	if (x->n == x->cap) {
		x->cap = x->cap ? 2 * x->cap : 64;
		x->list = mem_resize(x->list, x->cap * sizeof(*x->list));
	}
	x->list[x->n++] = (struct name){ .ino = ino, .off = (uint32_t)x->text.n, .type = type };
	if (!bytes_add(&x->text, name, strlen(name) + 1))
		die("names of more than 1 GiB in one folder");
}

const char *name_of(const struct names *x, uint32_t i)
{
	return x->text.p + x->list[i].off;
}

void names_clear(struct names *x)
{
	x->n = 0;
	x->text.n = 0;
}

void names_free(struct names *x)
{
	free(x->list);
	bytes_free(&x->text);
	*x = (struct names){ 0 };
}

static int by_inode(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

void names_sort_by_inode(struct names *x)
{
	if (x->n) /* qsort wants a pointer even for nothing */
		qsort(x->list, x->n, sizeof(*x->list), by_inode);
}

static int by_text(const void *a, const void *b, void *text)
{
	return strcmp((char *)text + ((const struct name *)a)->off,
		      (char *)text + ((const struct name *)b)->off);
}

void names_sort_by_text(struct names *x)
{
	if (x->n)
		qsort_r(x->list, x->n, sizeof(*x->list), by_text, x->text.p);
}

int names_list(int fd, char *buf, size_t room, struct names *out, int64_t *off)
{
	ssize_t n = getdents64(fd, buf, room);

	if (n < 0)
		return -errno;
	for (ssize_t at = 0; at < n;) {
		const struct dirent64 *d = (const struct dirent64 *)(buf + at);

		at += d->d_reclen;
		if (off)
			*off = d->d_off;
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			names_add(out, d->d_name, d->d_ino, d->d_type);
	}
	return n > 0;
}

uint8_t name_type(int dir_fd, const char *name, uint8_t type, int *err)
{
	struct stat st;

	if (type != DT_UNKNOWN)
		return type;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		if (err)
			*err = errno;
		return DT_UNKNOWN;
	}
	return S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR :
	       S_ISLNK(st.st_mode) ? DT_LNK : DT_FIFO;
}
