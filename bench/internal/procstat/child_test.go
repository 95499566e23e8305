// SPDX-License-Identifier: Apache-2.0

package procstat

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	childCPU   = 100 * time.Millisecond
	childBytes = 64 << 20
)

// child spends CPU time on a thread that ends and touches memory that it returns; then it waits.
func child() {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for thread := time.Duration(0); thread < childCPU; {
			var ts unix.Timespec
			if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
				os.Exit(1)
			}
			thread = time.Duration(ts.Nano())
		}
		close(done)
	}()
	<-done
	m, err := unix.Mmap(-1, 0, childBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		os.Exit(1)
	}
	for i := 0; i < len(m); i += os.Getpagesize() {
		m[i] = 1
	}
	if unix.Munmap(m) != nil {
		os.Exit(1)
	}
	fmt.Print("x")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
