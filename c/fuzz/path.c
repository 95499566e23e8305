/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A path of a hostile tenant: what cr_path_ok() takes is what a plain reading of the rule takes, and
 * both ways to open it agree and end inside the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "internal.h"

static struct cr_ctx by_openat2, by_component;
static char root[64];

/* All that lies in the way of whoever walks up, through a link or into what is no directory. Names of
 * one letter, so that a fuzzer finds them. */
static void make_store(void)
{
	int fd;

	snprintf(root, sizeof(root), "/tmp/chunkring-fuzz.XXXXXX");
	FUZZ_CHECK(mkdtemp(root) && chdir(root) == 0);
	FUZZ_CHECK(mkdir("s", 0755) == 0 && mkdir("s/d", 0755) == 0 && mkdir("s/d/e", 0755) == 0);
	fd = open("outside", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0);
	close(fd);
	fd = open("s/f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0);
	close(fd);
	FUZZ_CHECK(link("s/f", "s/d/g") == 0 && mkfifo("s/p", 0600) == 0);
	FUZZ_CHECK(symlink("..", "s/u") == 0 && symlink("/", "s/r") == 0);
	FUZZ_CHECK(symlink("d", "s/l") == 0 && symlink("../f", "s/d/m") == 0);
	FUZZ_CHECK(symlink("/proc/self/root", "s/x") == 0 && symlink("o", "s/o") == 0);
}

static void remove_store(void)
{
	static const char *const names[] = { "s/o", "s/x", "s/d/m", "s/l", "s/r", "s/u", "s/p",
					     "s/d/g", "s/f", "outside" };

	if (chdir(root) != 0)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	rmdir("s/d/e");
	rmdir("s/d");
	rmdir("s");
	rmdir(root);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char cwd[4096];

	(void)argc;
	(void)argv;
	FUZZ_CHECK(getcwd(cwd, sizeof(cwd)));
	make_store();
	by_openat2.dir_fd = open("s", O_PATH | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(by_openat2.dir_fd >= 0);
	by_component.dir_fd = by_openat2.dir_fd;
	by_component.no_openat2 = true;
	atexit(remove_store);
	FUZZ_CHECK(chdir(cwd) == 0);
	return 0;
}

/* The rule, said in another way: no byte is NUL, and between any two slashes (and the ends) there is
 * a name that is neither "." nor "..". */
static bool plain(const uint8_t *p, size_t n)
{
	size_t bytes = 0, dots = 0;

	if (n == 0 || n >= CR_PATH_BYTES_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		if (i < n && p[i] == '\0')
			return false;
		if (i < n && p[i] != '/') {
			bytes++;
			dots += p[i] == '.';
			continue;
		}
		if (bytes == 0 || (bytes == dots && dots <= 2))
			return false;
		bytes = dots = 0;
	}
	return true;
}

static void check_inside(int fd)
{
	char link[64], target[4096], store[128];
	ssize_t bytes;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	bytes = readlink(link, target, sizeof(target) - 1);
	FUZZ_CHECK(bytes > 0);
	target[bytes] = '\0';
	snprintf(store, sizeof(store), "%s/s/", root);
	FUZZ_CHECK(strncmp(target, store, strlen(store)) == 0);
	FUZZ_CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	FUZZ_CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *path = malloc(n + 1);
	int fd, other, cached;

	FUZZ_CHECK(path);
	memcpy(path, data, n);
	path[n] = '\0';
	FUZZ_CHECK(cr_path_ok(path, n < UINT32_MAX ? (uint32_t)n : UINT32_MAX) == plain(data, n));
	if (n > 1) /* a length that is not its own: what is behind was not looked at */
		FUZZ_CHECK(!cr_path_ok(path, (uint32_t)n - 1) || path[n - 1] == '\0');
	if (plain(data, n)) {
		fd = cr_path_open(&by_openat2, path);
		other = cr_path_open(&by_component, path);
		cached = cr_path_open_cached(&by_openat2, path);
		FUZZ_CHECK((fd < 0) == (other < 0) && (fd >= 0 || fd == other));
		if (cached >= 0)
			check_inside(cached);
		else
			FUZZ_CHECK(cached == fd || cached == -EAGAIN);
		if (fd >= 0) {
			check_inside(fd);
			check_inside(other);
			close(other);
			close(fd);
		}
		if (cached >= 0)
			close(cached);
	}
	free(path);
	return 0;
}
