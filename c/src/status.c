/* SPDX-License-Identifier: Apache-2.0 */
/* One name and one sentence per status. */
#include "chunkring.h"

static const struct {
	const char *name, *text;
} statuses[] = {
	[CR_PENDING]     = { "pending", "not done (a bug in chunkring if you see it)" },
	[CR_OK]          = { "ok", "read and checked as asked" },
	[CR_NOT_FOUND]   = { "not_found", "no such file" },
	[CR_BAD_PATH]    = { "bad_path", "the path is empty, absolute, too long or has a '.', '..' or "
				         "empty component" },
	[CR_REFUSED]     = { "refused", "the path crosses a symbolic link or leaves the store" },
	[CR_NOT_REGULAR] = { "not_regular", "not a regular file" },
	[CR_TOO_BIG]     = { "too_big", "larger than the largest file that may be read" },
	[CR_TOO_SMALL]   = { "too_small", "the buffer holds less than the file" },
	[CR_NO_BUFFER]   = { "no_buffer", "no buffer was provided" },
	[CR_SHORT]       = { "short", "the file became shorter while it was read" },
	[CR_BAD_CRC]     = { "bad_crc", "the file's CRC32C is not the one in its key" },
	[CR_BAD_FORMAT]  = { "bad_format", "the file is not a chunk that Loki can decode" },
	[CR_CANCELED]    = { "canceled", "canceled before it was read" },
	[CR_TIMED_OUT]   = { "timed_out", "the batch's time was over before it was read" },
	[CR_IO]          = { "io", "the system refused to open or read it" },
};

_Static_assert(sizeof(statuses) / sizeof(statuses[0]) == CR_STATUS_COUNT, "one entry a status");

const char *cr_status_name(uint32_t status)
{
	return status < CR_STATUS_COUNT ? statuses[status].name : "unknown";
}

const char *cr_status_text(uint32_t status)
{
	return status < CR_STATUS_COUNT ? statuses[status].text : "unknown status";
}
