/* SPDX-License-Identifier: Apache-2.0 */
/* Names of codecs. */
#ifndef CHUNKCTL_CODEC_H
#define CHUNKCTL_CODEC_H

#include "base/common.h"

const char *codec_name(uint32_t codec); /* as Loki's configuration spells it */

#endif
