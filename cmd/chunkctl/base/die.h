/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the program where there is nothing to go on with. */
#ifndef CHUNKCTL_DIE_H
#define CHUNKCTL_DIE_H

#include "common.h"

extern const char *command_name; /* set once by main() */

_Noreturn void die(const char *fmt, ...) PRINTF(1, 2);

#endif
