// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callsHow says how system calls are counted, or why they are not.
func callsHow() (how string, ok bool) {
	if _, err := callsEvent(); err != nil {
		return "not counted: " + err.Error(), false
	}
	return "tracepoint raw_syscalls:sys_enter of every thread, in visits of their own", true
}

const tracefs = "/sys/kernel/tracing"

// callsEvent is the tracepoint's number. Where nobody mounted tracefs yet, root does, as perf would.
func callsEvent() (uint64, error) {
	const name = tracefs + "/events/raw_syscalls/sys_enter/id"
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && os.Geteuid() == 0 {
		if err := unix.Mount("none", tracefs, "tracefs", 0, ""); err != nil {
			return 0, fmt.Errorf("mount of tracefs: %w", err)
		}
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// countCalls returns the system calls of all threads for a chunk.
func (c *child) countCalls(ctx context.Context, ops int) (float64, error) {
	if _, err := c.run(ctx, 1); err != nil { // whatever threads it takes are there then
		return 0, err
	}
	counters, err := callCounters()
	defer func() {
		for _, fd := range counters {
			_ = unix.Close(fd)
		}
	}()
	if err != nil {
		return 0, err
	}
	before, err := sumCounters(counters)
	if err != nil {
		return 0, err
	}
	if _, err := c.run(ctx, ops); err != nil {
		return 0, err
	}
	after, err := sumCounters(counters)
	c.peer.Settle()
	return float64(after-before) / float64(ops*c.cfg.Callers*c.cfg.Files), err
}

// callCounters starts a counter for each thread, which counts the threads that it will start, too.
func callCounters() (fds []int, err error) {
	event, err := callsEvent()
	if err != nil {
		return nil, err
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: event, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unsafe.Sizeof(attr))
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fds, err
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) {
			continue // it ended meanwhile
		}
		if err != nil {
			return fds, fmt.Errorf("perf_event_open: %w", err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func sumCounters(fds []int) (sum uint64, err error) {
	var b [8]byte
	for _, fd := range fds {
		if n, err := unix.Read(fd, b[:]); err != nil || n != len(b) {
			return 0, fmt.Errorf("read of a counter: %d bytes, %w", n, err)
		}
		sum += binary.NativeEndian.Uint64(b[:])
	}
	return sum, nil
}
