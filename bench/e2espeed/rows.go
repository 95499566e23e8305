// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
)

func wallOf(s result.E2ESample) float64  { return s.WallMs }
func cpuOf(s result.E2ESample) float64   { return s.CPUMs }
func fetchOf(s result.E2ESample) float64 { return s.FetchMs }

func costOf(p *contender) result.E2ECost {
	values := func(of func(result.E2ESample) float64) (v []float64) {
		for _, s := range p.samples {
			v = append(v, of(s))
		}
		return v
	}
	asked := float64(max(p.tally.Asked, 1))
	return result.E2ECost{WallMs: result.SpreadOf(values(wallOf)), CPUMs: result.SpreadOf(values(cpuOf)), FetchMs: result.SpreadOf(values(fetchOf)),
		PeakMB: float64(p.peak) / 1e6, AnonMB: float64(p.anon) / 1e6,
		ReadMB: p.tally.Bytes / 1e6 / asked, DiskMB: float64(p.disk) / 1e6 / asked, Samples: slices.Clone(p.samples)}
}

// addRow adds what other needed beside stock.
func addRow(r *result.E2E, stock, other *contender, add result.E2ERow) {
	ratios := func(of func(result.E2ESample) float64) (v []float64) {
		for i := range stock.samples {
			v = append(v, of(stock.samples[i])/of(other.samples[i]))
		}
		return v
	}
	add.Contender, add.Pairs = other.Name, len(other.samples)
	add.Stock, add.Other = costOf(stock), costOf(other)
	add.WallRatio, add.CPURatio = result.SpreadOf(ratios(wallOf)), result.SpreadOf(ratios(cpuOf))
	r.Rows = append(r.Rows, add)
}

func (b *bench) header(ctx context.Context, stores []store) (result.E2EHeader, error) {
	h := result.E2EHeader{
		Time: time.Now().UTC().Format(time.RFC3339), Machine: cli.Machine(), Backend: b.backend, Flags: b.commandWords,
		CacheMB: b.cacheMB, Cold: b.drop.Describe() + "; before every query",
	}
	for _, c := range b.contenders() {
		v, err := c.Version(ctx)
		if err != nil {
			return h, err
		}
		h.Lokis = append(h.Lokis, result.E2ELoki{Name: c.Name, Version: v, Args: c.Args})
	}
	for _, s := range stores {
		h.Stores = append(h.Stores, result.E2EStore{Name: s.name, Codec: s.Codec, Lines: s.Written.Lines, Chunks: s.Chunks,
			Bytes: int64(s.Written.Bytes), ChunkBytes: s.ChunkBytes})
	}
	return h, nil
}
