/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders of a disk cache (docs/diskcache.md): copies of an object store's chunks, under the names of a
 * filesystem store. The marker in them tells whose they are.
 */
#ifndef CHUNKCTL_CACHE_H
#define CHUNKCTL_CACHE_H

#include "base/bytes.h"
#include "base/out.h"
#include "walk.h"

/* Whether a directory, or the one up to two levels above it (of a tenant, of a stream), is a disk cache. *store
 * (replaced) is then which object store's, for people. What is no directory is none. */
bool cache_of(const char *dir, struct bytes *store);

/* Writes a line for each argument that is one: a sentence, which `more` ends, or JSON. True: all are. */
bool caches_tell(const struct walk *w, struct out *o, bool json, const char *more);

#endif
