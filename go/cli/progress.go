// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	barWidth = 30
	barEvery = 50 * time.Millisecond // a bar that is drawn more often costs more than it tells
)

// Progress returns what shows on stderr how much of a task is done: a bar if stderr is a terminal, else the
// task's name once. Nothing is shown before the first call: a task with nothing to do says nothing.
func Progress(what string) func(done, total int) { return ProgressOn(os.Stderr, what) }

// ProgressOn is Progress on another file than stderr.
func ProgressOn(f *os.File, what string) func(done, total int) {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return progress(f, err == nil, what)
}

func progress(w io.Writer, terminal bool, what string) func(done, total int) {
	if !terminal {
		said := false
		return func(int, int) {
			if !said {
				fmt.Fprintln(w, what, "...")
				said = true
			}
		}
	}
	var last time.Time
	return func(done, total int) {
		total = max(total, 1)
		done = min(done, total)
		if done < total && time.Since(last) < barEvery {
			return
		}
		last = time.Now()
		full := barWidth * done / total
		fmt.Fprintf(w, "\r\033[K%s [%s%s] %d/%d", what, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total)
		if done == total {
			fmt.Fprintln(w)
		}
	}
}
