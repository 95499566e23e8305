// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func printTable(w io.Writer, o options, rows []row) {
	fmt.Fprintf(w, "\nEvery byte and every decoded entry is equal to what Loki's own client returns.\n")
	loki := "an unmodified Loki v3.7.6"
	if patched() {
		loki = "a Loki v3.7.6 patched by lokifork"
	}
	fmt.Fprintf(w, "Whole GetChunks with %s, page cache warm, %d rounds in random order.\n"+
		"Medians; stock/this is the median of the ratios within each round [10 %% .. 90 %%]: a wide range means a busy machine.\n\n", loki, o.rounds)
	fmt.Fprintf(w, "| reader            | files | file size | stock ms | ms     | stock/this          | CPU ms | allocs/chunk | allocated/chunk | page faults/chunk |\n")
	fmt.Fprintf(w, "|-------------------|-------|-----------|----------|--------|---------------------|--------|--------------|-----------------|-------------------|\n")
	for _, r := range rows {
		fmt.Fprintf(w, "| %-17s | %5d | %6d KB | %8.2f | %6.2f | %5.2f [%5.2f %5.2f] | %6.2f | %12.1f | %12.0f KB | %17.1f |\n",
			r.Reader, r.Files, r.FileBytes/1000, r.StockWallMs, r.WallMs, r.Ratio, r.RatioLow, r.RatioHigh, r.CPUMs,
			r.AllocsPerChunk, r.BytesPerChunk/1000, r.FaultsPerChunk)
	}
	fmt.Fprintf(w, "\n%s\n", machine())
}

// machine names what the figures depend on.
func machine() string {
	var u unix.Utsname
	kernel := "?"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("machine: %s, %d CPUs (GOMAXPROCS %d), Linux %s, %s %s/%s",
		cpuModel(), runtime.NumCPU(), runtime.GOMAXPROCS(0), kernel, runtime.Version(), runtime.GOOS, runtime.GOARCH)
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

// progress draws a bar on stderr if that is a terminal; else it says once what is being done.
func progress(what string) func(done, total int) {
	const width = 30
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err != nil {
		said := false
		return func(int, int) {
			if !said {
				fmt.Fprintln(os.Stderr, what, "...")
				said = true
			}
		}
	}
	var last time.Time
	return func(done, total int) {
		if done < total && time.Since(last) < 50*time.Millisecond {
			return
		}
		last = time.Now()
		full := width * done / total
		fmt.Fprintf(os.Stderr, "\r\033[K%s [%s%s] %d/%d", what, strings.Repeat("#", full), strings.Repeat(".", width-full), done, total)
		if done == total {
			fmt.Fprintln(os.Stderr)
		}
	}
}
