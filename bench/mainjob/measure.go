// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// row is one line of the result.
type row struct {
	Reader         string  `json:"reader"`
	Files          int     `json:"files"`
	FileBytes      int64   `json:"file_bytes"`
	WallMs         float64 `json:"wall_ms"` // medians over the rounds
	CPUMs          float64 `json:"cpu_ms"`
	StockWallMs    float64 `json:"stock_wall_ms"`
	Ratio          float64 `json:"ratio"` // stock / this, median over the rounds
	RatioLow       float64 `json:"ratio_p10"`
	RatioHigh      float64 `json:"ratio_p90"`
	AllocsPerChunk float64 `json:"allocs_per_chunk"`
	BytesPerChunk  float64 `json:"alloc_bytes_per_chunk"`
}

type sample struct {
	wall, cpu     time.Duration
	allocs, bytes uint64
}

// measure compares every reader with the first, then times them in turns (A B C A B C ...), so that
// whatever else the machine does hits all alike. Ratios are taken within a round.
func measure(ctx context.Context, index *chunkgen.Index, readers []reader, rounds int) ([]row, error) {
	for _, r := range readers[1:] {
		if err := compare(ctx, index, readers[0], r, progress("comparing "+r.name+" with stock")); err != nil {
			return nil, err
		}
	}
	samples := make([][]sample, len(readers))
	step := progress("timing")
	for round := range rounds {
		for i, r := range readers {
			s, err := once(ctx, index, r)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], s)
		}
		step(round+1, rounds)
	}
	var rows []row
	for i, r := range readers {
		n := float64(len(index.Refs))
		var ratios []float64
		for round := range rounds {
			ratios = append(ratios, float64(samples[0][round].wall)/float64(samples[i][round].wall))
		}
		rows = append(rows, row{
			Reader: r.name, Files: len(index.Refs), FileBytes: index.Bytes() / int64(len(index.Refs)),
			WallMs:      median(samples[i], func(s sample) float64 { return s.wall.Seconds() * 1e3 }),
			CPUMs:       median(samples[i], func(s sample) float64 { return s.cpu.Seconds() * 1e3 }),
			StockWallMs: median(samples[0], func(s sample) float64 { return s.wall.Seconds() * 1e3 }),
			Ratio:       quantile(ratios, 0.5), RatioLow: quantile(ratios, 0.1), RatioHigh: quantile(ratios, 0.9),
			AllocsPerChunk: median(samples[i], func(s sample) float64 { return float64(s.allocs) / n }),
			BytesPerChunk:  median(samples[i], func(s sample) float64 { return float64(s.bytes) / n }),
		})
	}
	return rows, nil
}

// once reads the batch twice and measures the second time: the heap is collected first, so that no
// reader pays for another's garbage, and the first time leaves its own, as a running Loki would.
func once(ctx context.Context, index *chunkgen.Index, r reader) (sample, error) {
	refs := index.Chunks()
	var before, after runtime.MemStats
	runtime.GC()
	if _, err := r.client.GetChunks(ctx, refs); err != nil {
		return sample{}, fmt.Errorf("%s: %w", r.name, err)
	}
	runtime.ReadMemStats(&before)
	cpu, begin := cpuTime(), time.Now()
	chunks, err := r.client.GetChunks(ctx, refs)
	s := sample{wall: time.Since(begin), cpu: cpuTime() - cpu}
	runtime.ReadMemStats(&after)
	s.allocs, s.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	if err != nil {
		return s, fmt.Errorf("%s: %w", r.name, err)
	}
	if len(chunks) != len(refs) {
		return s, fmt.Errorf("%s returned %d of %d chunks", r.name, len(chunks), len(refs))
	}
	return s, nil
}

// cpuTime is the time all threads of this process have spent, the C ones included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // can't fail for RUSAGE_SELF
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(samples []sample, of func(sample) float64) float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = of(s)
	}
	return quantile(v, 0.5)
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1)+0.5)]
}
