// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The bounds of the twin. Each has the meaning and the value of its namesake in c/include/chunkring.h or
// c/src/limits.h, where the reasons are.
const (
	workersMax          = 144      // CR_WORKERS_MAX
	pathBytesMax        = 4096     // CR_PATH_BYTES_MAX
	maxFileBytesDefault = 64 << 20 // CR_FILE_BYTES_DEFAULT
	maxFileBytesMax     = 1 << 30  // CR_FILE_BYTES_MAX
	ringEntriesMax      = 4096     // CR_RING_ENTRIES_MAX

	sliceBytes   = 256 << 10 // CR_SLICE_BYTES
	helperFiles  = 128       // CR_HELPER_FILES
	readBytesMax = 1 << 20   // CR_READ_BYTES_MAX
	retriesMax   = 1000      // CR_RETRIES_MAX
	grewTries    = 3         // CR_GREW_TRIES
	staleTries   = 3         // CR_STALE_TRIES
	measureBytes = 64 << 10  // MEASURE_BYTES in c/src/file.c

	workersDefault = 144                    // CR_THREADS_DEFAULT
	threadsShare   = 4                      // CR_THREADS_SHARE
	slowOpen       = 200 * time.Microsecond // CR_SLOW_OPEN_NS
	slowStreak     = 2                      // CR_SLOW_STREAK
	slowOpens      = 1024                   // CR_SLOW_OPENS
	leaseWait      = 2 * time.Second        // CR_LEASE_WAIT_MS
	leaseNap       = 2 * time.Millisecond   // CR_LEASE_NAP_MS

	starvedWait = 2 * time.Second      // CR_STARVED_WAIT_MS
	starvedNap  = 5 * time.Millisecond // CR_STARVED_NAP_MS
)

// threadLimit is cr_thread_limit of c/src/thread_limit.c: how many threads the process may have at most. A
// goroutine that blocks takes a thread of Go's, and a Go runtime that can't start a thread aborts.
func threadLimit() uint64 {
	least := uint64(math.MaxUint64)
	if groups, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		least = cgroupsLimit(string(groups), "/sys/fs/cgroup")
	}
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &lim) == nil { // RLIM_INFINITY is the largest number
		least = min(least, lim.Cur)
	}
	return least
}

// cgroupsLimit is the least pids.max of the groups of a /proc/PID/cgroup. A line of it is "0::/path" (cgroup
// v2) or "7:pids:/path" (v1), perhaps with other controllers.
func cgroupsLimit(groups, mount string) uint64 {
	least := uint64(math.MaxUint64)
	for line := range strings.Lines(groups) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(fields) < 3:
		case fields[1] == "":
			least = min(least, cgroupLimit(mount, fields[2]))
		case strings.Contains(fields[1], "pids"):
			least = min(least, cgroupLimit(path.Join(mount, "pids"), fields[2]))
		}
	}
	return least
}

// cgroupLimit is the least pids.max of the group and of those above it, each of which binds.
func cgroupLimit(mount, group string) uint64 {
	least := uint64(math.MaxUint64)
	for group = path.Join("/", group); ; group = path.Dir(group) { // bounded: the path becomes shorter
		if text, err := os.ReadFile(path.Join(mount, group, "pids.max")); err == nil {
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // "max" is no number
				least = min(least, n)
			}
		}
		if group == "/" {
			return least
		}
	}
}
