// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/chunkring/chunkring/go/test/soakresult"
)

// Growth is told by the medians of the second and the last quarter of a run: the first one warms up.
// What a quantity may grow by, as a part and on top, is what runs without a leak were seen to differ by.
var grows = []struct {
	name       string
	of         func(*soakresult.Sample) float64
	part, plus float64
}{
	{"RSS without mapped files, MB", func(s *soakresult.Sample) float64 { return s.AnonMB }, 0.10, 16},
	{"live Go heap, MB", func(s *soakresult.Sample) float64 { return s.HeapMB }, 0.10, 12},
	{"descriptors", func(s *soakresult.Sample) float64 { return float64(s.FDs) }, 0.10, 8},
	{"threads", func(s *soakresult.Sample) float64 { return float64(s.Threads) }, 0.10, 4},
	{"goroutines", func(s *soakresult.Sample) float64 { return float64(s.Goroutines) }, 0.10, 8},
}

const growthSamplesMin = 40 // fewer say nothing about growth

// growth gives one line a quantity, and how many of them grew.
func growth(samples []soakresult.Sample) (lines []string, grew int) {
	n := len(samples)
	if n < growthSamplesMin {
		return []string{fmt.Sprintf("growth: not judged, %d samples are too few", n)}, 0
	}
	median := func(part []soakresult.Sample, of func(*soakresult.Sample) float64) float64 {
		var v []float64
		for i := range part {
			v = append(v, of(&part[i]))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	for _, g := range grows {
		early, late := median(samples[n/4:n/2], g.of), median(samples[n*3/4:], g.of)
		word := "steady"
		if late > early*(1+g.part)+g.plus {
			word = "GREW"
			grew++
		}
		lines = append(lines, fmt.Sprintf("%s: %.0f in the second quarter, %.0f in the last: %s", g.name, early, late, word))
	}
	return lines, grew
}

// levels is what must be back where it was when everything has stopped.
type levels struct{ fds, threads, goroutines int }

func levelsNow() levels {
	return levels{count("/proc/self/fd"), otherThreads(), runtime.NumGoroutine()}
}

// otherThreads are those that Go did not start: it keeps its own, once it has them.
func otherThreads() int {
	return count("/proc/self/task") - int(runtimeMetric("/sched/threads/total:threads"))
}

// leaks waits for goroutines and threads that are about to end. One line each, and how many leaked.
func leaks(before levels) (lines []string, leaked int) {
	var now levels
	done := func() bool {
		now = levelsNow()
		return now.fds <= before.fds && now.goroutines <= before.goroutines && now.threads <= before.threads
	}
	for end := time.Now().Add(30 * time.Second); !done() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, l := range []struct {
		name          string
		before, after int
	}{
		{"descriptors", before.fds, now.fds}, {"goroutines", before.goroutines, now.goroutines},
		{"threads that are not Go's", before.threads, now.threads},
	} {
		word := "none left"
		if l.after > l.before {
			word = "LEAKED"
			leaked++
		}
		lines = append(lines, fmt.Sprintf("%s after Stop: %d, before New %d: %s", l.name, l.after, l.before, word))
	}
	return lines, leaked
}
