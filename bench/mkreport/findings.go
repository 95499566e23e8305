// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
)

// What a figure shows, as its title says it: every number is of the run itself.

var (
	gcPeers       = []string{result.Threads, result.URing}
	releasedPeers = []string{result.ThreadsReleased, result.URingReleased}
)

// values are f of every row of these peers.
func values(ps []*result.Point, peers []string, f func(*result.Point, *result.Row) float64) []float64 {
	var v []float64
	for _, p := range ps {
		for _, peer := range peers {
			if row := p.Row(peer); row != nil {
				v = append(v, f(p, row))
			}
		}
	}
	return v
}

func ratioOf(_ *result.Point, row *result.Row) float64 { return row.Ratio.P50 }

// span is "1.9-2.3", or one number where both would read the same; "-" without values.
func span(format string, v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	low, high := fmt.Sprintf(format, slices.Min(v)), fmt.Sprintf(format, slices.Max(v))
	if low == high {
		return low
	}
	return low + "-" + high
}

func sweepFinding(what string, ps []*result.Point) string {
	s := fmt.Sprintf("%s: chunkring is %s times as fast as Loki's client", what, span("%.1f", values(ps, gcPeers, ratioOf)))
	if v := values(ps, releasedPeers, ratioOf); v != nil {
		s += fmt.Sprintf(" (released buffers %s)", span("%.1f", v))
	}
	if v := values(ps, []string{result.Published}, ratioOf); v != nil {
		s += fmt.Sprintf(", the published design %s", span("%.1f", v))
	}
	return s
}

// saved is by how much of itself a step of the ablation is faster than another, in percent.
func saved(p *result.Point, from, to string) (percent float64, ok bool) {
	var a, b *result.Row
	for i := range p.Rows {
		switch p.Rows[i].Label {
		case from:
			a = &p.Rows[i]
		case to:
			b = &p.Rows[i]
		}
	}
	if a == nil || b == nil {
		return 0, false
	}
	return 100 * (1 - a.Ratio.P50/b.Ratio.P50), true
}

// ablationFinding answers the question at the largest files.
func ablationFinding(ps []*result.Point) string {
	p := ps[0]
	var parts []string
	for _, step := range []struct{ from, to, what string }{
		{result.StepShape, result.StepRing, "io_uring"},
		{result.StepShape, result.StepFresh, "no zeroing"},
		{result.StepShape, result.StepRecycled, "recycled buffers"},
		{result.StepTwoCRCs, result.StepOneCRC, "one CRC less"},
		{result.StepShape, result.StepWorkers, "one goroutine a CPU"},
	} {
		if percent, ok := saved(p, step.from, step.to); ok {
			parts = append(parts, fmt.Sprintf("%s %+.0f %%", step.what, -percent))
		}
	}
	return fmt.Sprintf("IO or memory? Each change alone, %d x %s: %s", p.Files, sizeName(p.Size), strings.Join(parts, ", "))
}

func stagesFinding(r *result.Run) string {
	s := r.Stages[0]
	share := func(s *result.Stages, stages ...string) (percent float64) {
		for _, stage := range stages {
			percent += 100 * s.Share[stage]
		}
		return percent
	}
	f := fmt.Sprintf("%d x %s: %.0f %% of stock's CPU time is reading, %.0f %% memory (allocation, zeroing, faults, GC), %.0f %% CRC",
		s.Files, sizeName(s.Size), share(&s, result.StageRead), share(&s, result.StageAlloc, result.StageZero, result.StageFaults, result.StageGC), share(&s, result.StageCRC))
	for i := range r.Stages {
		if t := &r.Stages[i]; t.Peer == result.URing && t.Files == s.Files && t.Size == s.Size {
			f += fmt.Sprintf("; chunkring needs %.0f %% of it", 100*t.CPU/s.CPU)
		}
	}
	return f
}

// costFinding tells how far from linear the cost is: the exponents of t = c * n^e.
func costFinding(r *result.Run) string {
	exponents := func(ps []*result.Point, x func(*result.Point) float64) (es []float64) {
		for _, peer := range append([]string{result.Stock}, gcPeers...) {
			var xs, ys []float64
			for _, p := range ps {
				if row := p.Row(peer); row != nil {
					xs, ys = append(xs, x(p)), append(ys, row.Wall.P50)
				}
			}
			if len(xs) > 1 {
				es = append(es, stats.Exponent(xs, ys))
			}
		}
		return es
	}
	large := exponents(pick(r, in(result.GroupFiles), filesOf), filesOf)
	var small []float64
	for _, size := range []int{1_000, 4_000, 20_000} {
		small = append(small, exponents(pick(r, func(p *result.Point) bool { return in(result.GroupSmall)(p) && p.Size == size }, filesOf), filesOf)...)
	}
	return fmt.Sprintf("Cost by number of files: time ~ n^e with e = %s at 900 KB and %s at 1-20 KB (1 is linear)", span("%.2f", large), span("%.2f", small))
}

func coldFinding(r *result.Run, ps []*result.Point) string {
	ofDisk := func(p *result.Point, row *result.Row) float64 {
		limit := math.NaN()
		for _, d := range r.Disk {
			if d.Files == p.Files && d.Size == p.Size {
				limit = math.Max(d.MBps, nanTo(limit, 0))
			}
		}
		return 100 * p.Bytes() / 1e3 / row.Wall.P50 / limit
	}
	if len(r.Disk) == 0 {
		return fmt.Sprintf("From the disk: chunkring is %s times as fast as Loki's client", span("%.1f", values(ps, gcPeers, ratioOf)))
	}
	return fmt.Sprintf("From the disk: chunkring reads at %s %% of the speed that fio reaches, Loki's client at %s %%",
		span("%.0f", values(ps, gcPeers, ofDisk)), span("%.0f", values(ps, []string{result.Stock}, ofDisk)))
}

func nanTo(v, other float64) float64 {
	if math.IsNaN(v) {
		return other
	}
	return v
}

func overviewFinding(ps []*result.Point) string {
	v := values(ps, gcPeers, ratioOf)
	faster := 0
	for _, ratio := range v {
		if ratio > 1 {
			faster++
		}
	}
	return fmt.Sprintf("chunkring (garbage-collected buffers) is faster than Loki's client in %d of %d cases, %.1f times in the median", faster, len(v), stats.Of(v).P50)
}
