/* SPDX-License-Identifier: Apache-2.0 */
/* Stopping: set by SIGINT and SIGTERM. Commands finish what they are at and sum up. */
#ifndef CHUNKCTL_STOP_H
#define CHUNKCTL_STOP_H

#include "common.h"

extern uint32_t stop_word;
void signals_catch(void);
bool stopped(void);
void stop_now(void); /* our own decision: the output is gone */

#endif
