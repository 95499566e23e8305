/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, on stderr: "chunkctl verify: what: why" and "chunkctl verify: next step". This file alone
 * writes there (but for die()), so that a message and the line that shows progress don't mix. */
#ifndef CHUNKCTL_STDERR_H
#define CHUNKCTL_STDERR_H

#include "common.h"

void complain(const char *fmt, ...) PRINTF(1, 2);
void complain_errno(int err, const char *fmt, ...) PRINTF(2, 3); /* and advice, where there is some */
const char *error_text(int err); /* what an errno means for a file of a store */

/* The last line of a terminal: drawn in place of the one before. Whoever writes to the terminal, to
 * stdout too, hides it first. */
void line_draw(const char *s, size_t n);
void line_hide(void); /* locks: nothing is drawn until line_show() */
void line_show(void);

#endif
