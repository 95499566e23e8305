// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/chunkring/chunkring/go/test/soakresult"
)

// sampler watches this process from within.
type sampler struct {
	group string // the file with the group's memory in bytes, or ""
	times map[string]*histogram
	begin time.Time
}

func (s *sampler) sample() soakresult.Sample {
	x := soakresult.Sample{
		Seconds:    time.Since(s.begin).Seconds(),
		AnonMB:     statusKB("RssAnon:") / 1e3,
		HeapMB:     runtimeMetric("/gc/heap/live:bytes") / 1e6,
		FDs:        count("/proc/self/fd") - 1, // but the one that counts
		Threads:    count("/proc/self/task"),
		Goroutines: runtime.NumGoroutine(),
		Ops:        map[string]soakresult.Latency{},
	}
	if s.group != "" {
		if b, err := os.ReadFile(s.group); err == nil {
			n, _ := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
			x.GroupMB = n / 1e6
		}
	}
	for op, h := range s.times {
		x.Ops[op] = h.take()
	}
	return x
}

func count(dir string) int {
	var entries []os.DirEntry
	_ = withDescriptor(func() (err error) { entries, err = os.ReadDir(dir); return err })
	return len(entries)
}

func statusKB(name string) float64 {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := bytes.Cut(b, []byte(name))
	fields := strings.Fields(string(rest))
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseFloat(fields[0], 64)
	return n * 1.024
}

func runtimeMetric(name string) float64 {
	m := []metrics.Sample{{Name: name}}
	metrics.Read(m)
	return float64(m[0].Value.Uint64())
}
