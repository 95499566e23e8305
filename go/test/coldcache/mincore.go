// SPDX-License-Identifier: Apache-2.0

package coldcache

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// residentPages counts the pages of a mapping that are in memory.
func residentPages(m []byte) (int64, error) {
	page := os.Getpagesize()
	vec := make([]byte, (len(m)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		return 0, errno
	}
	var n int64
	for _, v := range vec {
		n += int64(v & 1)
	}
	return n, nil
}
