// SPDX-License-Identifier: Apache-2.0

// Package report is what benchmarks say about themselves: the machine, their progress, quantiles.
package report

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is the running kernel's release.
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Machine names what figures depend on.
func Machine() string {
	return fmt.Sprintf("%s, %d CPUs, Linux %s, %s/%s", cpuModel(), runtime.NumCPU(), Kernel(), runtime.GOOS, runtime.GOARCH)
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// Quantile returns the q-th quantile of v, which has at least one value.
func Quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+0.5)]
}

// Progress draws a bar on stderr if that is a terminal; else it says once what is being done.
func Progress(what string) func(done, total int) {
	const width = 30
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err != nil {
		fmt.Fprintln(os.Stderr, what, "...")
		return func(int, int) {}
	}
	var last time.Time
	return func(done, total int) {
		done = min(done, total)
		if done < total && time.Since(last) < 50*time.Millisecond {
			return
		}
		last = time.Now()
		full := width * done / max(total, 1)
		fmt.Fprintf(os.Stderr, "\r\033[K%s [%s%s] %d/%d", what, strings.Repeat("#", full), strings.Repeat(".", width-full), done, total)
		if done == total {
			fmt.Fprintln(os.Stderr)
		}
	}
}
