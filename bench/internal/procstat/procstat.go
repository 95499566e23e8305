// SPDX-License-Identifier: Apache-2.0

// Package procstat says what a process has spent.
package procstat

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	settleStep = 5 * time.Millisecond
	settleCPU  = settleStep / 10
	settleMax  = 300 * time.Millisecond
)

// CPUTime is what all threads of a process have spent, in user mode and in the kernel, those that ended
// included: io_uring's workers, too. It is the clock that clock_getcpuclockid(3) names, in nanoseconds;
// /proc/PID/stat has ticks of 10 ms, and /proc/PID/schedstat the main thread only.
func CPUTime(pid int) (time.Duration, error) {
	const wholeProcess = 2 // CPUCLOCK_SCHED; linux/posix-timers_types.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|wholeProcess), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// PeakRSS is the largest resident set since the start or the last ResetPeak, in bytes.
func PeakRSS(pid int) (int64, error) {
	kb, err := field(pid, "status", "VmHWM")
	return kb << 10, err
}

// Anonymous is the resident memory that no file stands behind, in bytes: heaps and stacks, not the program.
func Anonymous(pid int) (int64, error) {
	kb, err := field(pid, "status", "RssAnon")
	return kb << 10, err
}

// ReadFromDisk is how many bytes a process has had the disk read, ahead too. What the page cache has is not
// among them.
func ReadFromDisk(pid int) (int64, error) { return field(pid, "io", "read_bytes") }

// field is the number behind a name in a process's file.
func field(pid int, file, name string) (int64, error) {
	data, err := os.ReadFile(procFile(pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, fmt.Errorf("process %d: %s has no %s", pid, file, name)
}

// ResetPeak makes the peak what is resident now.
func ResetPeak(pid int) error { return os.WriteFile(procFile(pid, "clear_refs"), []byte("5"), 0) }

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Children are the processes that a process's main thread started and that run.
func Children(pid int) (pids []int, err error) {
	data, err := os.ReadFile(procFile(pid, fmt.Sprintf("task/%d/children", pid)))
	if err != nil {
		return nil, err
	}
	for _, text := range strings.Fields(string(data)) {
		child, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		pids = append(pids, child)
	}
	return pids, nil
}

// Settle waits until a process spends next to nothing, but not for ever.
func Settle(pid int) error {
	last, err := CPUTime(pid)
	for waited := time.Duration(0); err == nil && waited < settleMax; waited += settleStep {
		time.Sleep(settleStep)
		var now time.Duration
		if now, err = CPUTime(pid); err == nil && now-last < settleCPU {
			return nil
		}
		last = now
	}
	return err
}

// anonStep is how often WatchAnonymous looks. The kernel keeps no peak of anonymous memory.
const anonStep = 5 * time.Millisecond

// WatchAnonymous looks at a process's anonymous memory until stop, which returns the most that was seen. A
// process that ends meanwhile is no error: what it had is what was seen.
func WatchAnonymous(pid int) (stop func() (int64, error)) {
	end, ended := make(chan struct{}), make(chan struct{})
	var most int64
	var failed error
	go func() {
		defer close(ended)
		for {
			now, err := Anonymous(pid)
			if err != nil {
				if most == 0 {
					failed = err
				}
				return
			}
			most = max(most, now)
			select {
			case <-end:
				return
			case <-time.After(anonStep):
			}
		}
	}()
	return func() (int64, error) {
		close(end)
		<-ended
		return most, failed
	}
}
