/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "walk_inner.h"

/* What the lister hands out of one folder; the names of the store's folders into tenants. */
static uint64_t count_names(const struct walk *w, int at, const char *path, struct names *tenants,
			    char *list)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct names names = { 0 };
	uint64_t n = 0, fp;

	if (fd < 0)
		return 0;
	while (!walk_over(w) && names_list(fd, list, LIST_BYTES, &names, NULL) > 0) {
		for (uint32_t i = 0; i < names.n; i++) {
			const char *name = name_of(&names, i);

			if (names.list[i].type != DT_DIR)
				n++;
			else if (!tenants)
				n += cr_key_fingerprint(name, &fp);
			else if (strcmp(name, QUARANTINE_DIR) != 0)
				names_add(tenants, name, 0, DT_DIR);
		}
		names_clear(&names);
	}
	names_free(&names);
	close(fd);
	return n;
}

void *walk_count(void *walk)
{
	struct walk *w = walk;
	struct walk_inner *in = w->inner;
	char *list = mem_get(LIST_BYTES);
	uint64_t total = 0;

	for (uint32_t r = 0; r < in->n_roots && !walk_over(w); r++) {
		struct names tenants = { 0 };

		total += count_names(w, in->roots[r].fd, ".", &tenants, list);
		for (uint32_t i = 0; i < tenants.n && !walk_over(w); i++)
			if (walk_wants_tenant(w, &in->roots[r], name_of(&tenants, i)))
				total += count_names(w, in->roots[r].fd, name_of(&tenants, i), NULL,
						     list);
		names_free(&tenants);
	}
	free(list);
	pthread_mutex_lock(&in->mu);
	in->total = total;
	in->counted = !walk_over(w);
	pthread_mutex_unlock(&in->mu);
	return NULL;
}

void walk_progress(struct walk *w, uint64_t *done, uint64_t *total)
{
	struct walk_inner *in = __atomic_load_n(&w->inner, __ATOMIC_ACQUIRE);

	*done = *total = 0;
	if (!in)
		return;
	pthread_mutex_lock(&in->mu);
	*done = in->done;
	*total = in->counted ? in->total : 0;
	pthread_mutex_unlock(&in->mu);
}
