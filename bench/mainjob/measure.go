// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

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
	FaultsPerChunk float64 `json:"page_faults_per_chunk"`
}

type sample struct {
	wall, cpu     time.Duration
	allocs, bytes uint64
	faults        int64
}

// measure compares every reader with the first, then times them in turns (A B C, B A C, ...), so that
// whatever else the machine does hits all alike. Ratios are taken within a round.
func measure(ctx context.Context, index *chunkgen.Index, readers []reader, rounds int) ([]row, error) {
	for _, r := range readers[1:] {
		if err := compare(ctx, index, readers[0], r, progress("comparing "+r.name+" with stock")); err != nil {
			return nil, err
		}
	}
	for i := range readers {
		r := &readers[i]
		for n := 0; n < fillsMax && !r.releases && r.kept.total+int(index.Bytes()) < cacheBytes; n++ {
			if _, err := once(ctx, index, r); err != nil {
				return nil, err
			}
		}
	}
	samples := make([][]sample, len(readers))
	step := progress("timing")
	for round := -warmUps; round < rounds; round++ {
		// In another order each round: what a reader leaves in the heap is the next one's start.
		for _, i := range rand.New(rand.NewPCG(uint64(round+warmUps), 0)).Perm(len(readers)) {
			s, err := once(ctx, index, &readers[i])
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				samples[i] = append(samples[i], s)
			}
		}
		step(round+1+warmUps, rounds+warmUps)
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
			FaultsPerChunk: median(samples[i], func(s sample) float64 { return float64(s.faults) / n }),
		})
	}
	return rows, nil
}

// Before anything counts the heap has to settle: caches fill, as long as that takes no more than
// fillsMax batches, and a few rounds.
const (
	fillsMax = 400
	warmUps  = 3
)

// cacheBytes is what Loki's embedded chunk cache holds by default (chunk_store_config). Its chunks are
// the live heap that the garbage collector paces itself by; without one it would run all the time.
const cacheBytes = 100 << 20

// cache keeps the last chunks, as that cache does.
type cache struct {
	chunks []chunk.Chunk
	bytes  []int
	total  int
}

func (c *cache) add(chunks []chunk.Chunk, size int) {
	for _, chk := range chunks {
		c.chunks, c.bytes, c.total = append(c.chunks, chk), append(c.bytes, size), c.total+size
	}
	drop := 0
	for ; c.total > cacheBytes; drop++ {
		c.total -= c.bytes[drop]
		c.chunks[drop] = chunk.Chunk{}
	}
	c.chunks, c.bytes = c.chunks[drop:], c.bytes[drop:]
}

// once reads the batch twice and measures the second time; the first leaves the reader's own garbage and
// caches. The heap is not collected in between: readers share it, in an order that changes each round,
// at the size that it settles to with their caches, as in a Loki that has run for a while.
func once(ctx context.Context, index *chunkgen.Index, r *reader) (sample, error) {
	refs, size := index.Chunks(), int(index.Bytes())/len(index.Refs)
	var s sample
	for range 2 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu, faults := usage()
		begin := time.Now()
		chunks, release, err := r.get(ctx, refs)
		s = sample{wall: time.Since(begin)}
		s.cpu, s.faults = usage()
		s.cpu -= cpu
		s.faults -= faults
		if err != nil {
			return s, fmt.Errorf("%s: %w", r.name, err)
		}
		if len(chunks) != len(refs) {
			return s, fmt.Errorf("%s returned %d of %d chunks", r.name, len(chunks), len(refs))
		}
		runtime.ReadMemStats(&after)
		s.allocs, s.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
		if r.releases {
			release()
		} else {
			r.kept.add(chunks, size)
		}
	}
	return s, nil
}

// usage is the CPU time that all threads of this process have spent, the C ones included, and their
// page faults.
func usage() (cpu time.Duration, faults int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0 // can't fail for RUSAGE_SELF
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Minflt
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
