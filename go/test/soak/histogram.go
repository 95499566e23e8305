// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/chunkring/chunkring/go/test/soakresult"
)

// histogram counts durations in buckets an eighth of a power of two wide, from a microsecond on. Adding
// takes no lock, taking begins the next interval.
type histogram struct {
	buckets [40 * 8]atomic.Int64
	longest atomic.Int64 // nanoseconds
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0)) + 8 // so that there are always three bits below the highest
	e := bits.Len64(us) - 1
	return min((e-3)*8+int(us>>(e-3)&7), 40*8-1)
}

// topOf is the largest duration of a bucket, in milliseconds.
func topOf(bucket int) float64 {
	e, sub := bucket/8, bucket%8
	return float64(uint64(8+sub+1)<<e-8) / 1000
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(d)].Add(1)
	for old := h.longest.Load(); int64(d) > old && !h.longest.CompareAndSwap(old, int64(d)); old = h.longest.Load() {
	}
}

func (h *histogram) take() (l soakresult.Latency) {
	var counts [40 * 8]int64
	for i := range h.buckets {
		counts[i] = h.buckets[i].Swap(0)
		l.N += counts[i]
	}
	l.Max = float64(h.longest.Swap(0)) / 1e6
	seen := int64(0)
	for i, n := range counts {
		before := seen
		seen += n
		if before <= (l.N-1)/2 && seen > (l.N-1)/2 {
			l.P50 = min(topOf(i), l.Max)
		}
		if before <= (l.N-1)*99/100 && seen > (l.N-1)*99/100 {
			l.P99 = min(topOf(i), l.Max)
		}
	}
	return l
}
