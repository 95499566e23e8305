// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// A query over very many streams has a block of each open. Beyond the bound Loki's own readers, which
// hold 50 to 150 KiB each, take over, so a small bound costs speed and no answer. Where the process may
// use little memory, decompressed blocks get an eighth of it at most.
const (
	heldBytesUsual = 256 << 20
	heldShare      = 8
)

// heldBytesDefault is the bound where nobody sets one. It is looked up once: a limit that changes later
// changes nothing.
var heldBytesDefault = sync.OnceValue(func() int64 {
	return min(heldBytesUsual, min(debug.SetMemoryLimit(-1), cgroupLimit(os.DirFS("/")))/heldShare)
})

// cgroupLimit is the memory that the process's control group, or one above it, may use: version 2's or 1's.
// It is math.MaxInt64 if there is no limit, or none that can be read.
func cgroupLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	groups, _ := fs.ReadFile(root, "proc/self/cgroup") // missing: no groups
	for line := range strings.Lines(string(groups)) {
		controllers, group, _ := strings.Cut(line[strings.IndexByte(line, ':')+1:], ":")
		mount, file := "sys/fs/cgroup", "memory.max"
		switch controllers {
		case "": // version 2
		case "memory":
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's: then only its root is there, which is the container's.
		for group = path.Join("/", strings.TrimSpace(group)); ; group = path.Dir(group) {
			text, _ := fs.ReadFile(root, path.Join(mount, group, file)) // missing: no limit
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				limit = min(limit, n)
			}
			if group == "/" {
				break
			}
		}
	}
	return limit
}
