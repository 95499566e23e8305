/* SPDX-License-Identifier: Apache-2.0 */
/* What every file may need. */
#ifndef CHUNKCTL_COMMON_H
#define CHUNKCTL_COMMON_H

#include "chunkring.h"

enum exit_code {
	EXIT_SOUND    = 0,
	EXIT_FINDINGS = 1,
	EXIT_TROUBLE  = 2, /* usage, or input or output failed: the answer is not complete */
};

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#endif
