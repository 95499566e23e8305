// SPDX-License-Identifier: Apache-2.0

package chunkring

// SetEndsAlways has chunks of every size read by their ends, or only large ones, in this process.
func SetEndsAlways(on bool) {
	endsAlways = ""
	if on {
		endsAlways = "yes"
	}
}
