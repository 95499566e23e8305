/* SPDX-License-Identifier: Apache-2.0 */
/* What went into the archive. The versions come from the Makefile: not every library has a macro. */
#include "chunkring.h"

#ifndef CR_LIBRARIES
#error "the Makefile says which libraries are linked"
#endif

#ifdef CR_DEBUG
#define BUILD "debug build, "
#else
#define BUILD ""
#endif

const char *cr_version(void)
{
	return BUILD CR_LIBRARIES ", " __VERSION__;
}
