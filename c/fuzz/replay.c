/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over files, and over the files of directories, without libFuzzer. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

#define PATH_BYTES 4096u

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(FUZZ_INPUT_MAX), *exact;
	size_t n;

	FUZZ_CHECK(file && data);
	n = fread(data, 1, FUZZ_INPUT_MAX, file);
	FUZZ_CHECK(!ferror(file));
	fclose(file);
	exact = malloc(n ? n : 1); /* a byte beyond is one that sanitizers and valgrind see */
	FUZZ_CHECK(exact);
	memcpy(exact, data, n);
	free(data);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

static uint32_t run(const char *path)
{
	struct dirent *entry;
	uint32_t files = 0;
	struct stat st;
	DIR *dir;

	FUZZ_CHECK(stat(path, &st) == 0);
	if (!S_ISDIR(st.st_mode)) {
		fprintf(stderr, "%s\n", path); /* the last one is the one that failed */
		run_file(path);
		return 1;
	}
	dir = opendir(path);
	FUZZ_CHECK(dir);
	while ((entry = readdir(dir))) {
		char below[PATH_BYTES];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		files += run(below);
	}
	closedir(dir);
	return files;
}

int main(int argc, char **argv)
{
	uint32_t files = 0;

	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		files += run(argv[i]);
	FUZZ_CHECK(files > 0);
	printf("[  PASSED  ] %u inputs\n", files);
	return 0;
}
