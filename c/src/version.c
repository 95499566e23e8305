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

#define TEXT(x)   #x
#define NUMBER(x) TEXT(x)

const char *cr_version(void)
{
	return BUILD NUMBER(CR_VERSION_MAJOR) "." NUMBER(CR_VERSION_MINOR) "." NUMBER(CR_VERSION_PATCH) ", " CR_LIBRARIES
		", " __VERSION__;
}
