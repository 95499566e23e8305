/* SPDX-License-Identifier: Apache-2.0 */
#include "die.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common.h"

const char *command_name = "";

_Noreturn void die(const char *fmt, ...)
{
	va_list args;
	char text[1024];

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	/* No allocation here: memory may be what is short. So what a terminal would obey is only
	 * taken out. */
	for (char *c = text; *c; c++)
		if ((uint8_t)*c < ' ' || (uint8_t)*c > 126)
			*c = '?';
	dprintf(STDERR_FILENO, "chunkctl %s: %s\n", command_name, text);
	_exit(EXIT_TROUBLE);
}
