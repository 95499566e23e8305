// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
)

// plots makes all figures that the run has points for, and returns them in the report's order.
func plots(r *result.Run, dir string) ([]*figure, error) {
	var made []*figure
	for _, make := range []func(*result.Run) (*figure, error){
		fileSweep,
		func(r *result.Run) (*figure, error) { return sizeSweep(r, 100) },
		func(r *result.Run) (*figure, error) { return sizeSweep(r, 200) },
		ablation, stages, cost, cold, overview,
	} {
		f, err := make(r)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue // a run that has not enough points for it
		}
		if err := f.save(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		made = append(made, f)
	}
	return made, nil
}

var groupTitles = []struct{ group, title string }{
	{result.GroupFiles, "Number of files (900 KB each)"},
	{result.GroupSizes, "Size of files"},
	{result.GroupSmall, "Small files"},
	{result.GroupOne, "One file"},
	{result.GroupCallers, "Several callers at the same time (time of each call)"},
	{result.GroupOneCPU, "One CPU"},
	{result.GroupCold, "From the disk"},
	{result.GroupAblation, "Ablation"},
}

func markdown(r *result.Run, made []*figure) []byte {
	var b bytes.Buffer
	head(&b, r)
	for _, f := range made {
		fmt.Fprintf(&b, "\n![%s](%s.svg)\n", f.about, f.name)
	}
	for _, g := range groupTitles {
		ps := pick(r, in(g.group), func(*result.Point) float64 { return 0 })
		if len(ps) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		for _, p := range ps {
			pointTable(&b, p)
		}
	}
	controlTable(&b, r)
	stageTable(&b, r)
	diskTable(&b, r)
	shapeTable(&b, r)
	return b.Bytes()
}

func head(b *bytes.Buffer, r *result.Run) {
	m, n := r.Machine, r.Noise
	fmt.Fprintf(b, "# Measured (%s run)\n\nMade by `make bench` (`bench/mkreport`); don't edit. [results.csv](results.csv) and [results.json](results.json) have all of it.\n\n", r.Mode)
	fmt.Fprintf(b, "- %s; %s; %s memory, transparent huge pages %s; stores on %s\n", m.Name, m.Go, m.Memory, m.HugePages, m.FileSystem)
	fmt.Fprintf(b, "- Loki %s; commit %s; %s, %.0f minutes\n", m.Loki, m.Commit, r.Begin.Format("2006-01-02 15:04 MST"), r.Minutes)
	fmt.Fprintf(b, "- A fixed loop's time spread (10-90 %%) by %.0f %% before the run and %.0f %% during it; a copy's in memory by %.0f %%; %.1f %% of the CPU time was stolen.",
		100*n.CPU.Spread(), 100*n.During.Spread(), 100*n.Memory.Spread(), 100*n.Stolen)
	if n.Forced {
		b.WriteString(" **The machine was too noisy; the run went on all the same.**")
	}
	fmt.Fprintf(b, "\n- Cold: %s.\n- System calls: %s.\n", r.ColdHow, r.CallsHow)
	for _, left := range r.Left {
		fmt.Fprintf(b, "- Left out: %s.\n", left)
	}
	b.WriteString("\nEvery reader runs in a process of its own that keeps 100 MB of chunks, as Loki's cache does, or as much other memory; " +
		"they read in turns, in another order each round. Before timing, all that each returns was compared with stock's. " +
		"Times are medians of single GetChunks; `stock/this` is the median of the ratios within each round. " +
		"Readers marked unsafe reuse buffers under live chunks: nobody may do that. Rows that begin with floor only move bytes.\n\n" +
		"The rows threads and uring, released or not, are chunkring in a Loki that lokifork patched (DecodeVerified: one checksum pass, in C); " +
		"those that end in -unpatched are chunkring in an unmodified Loki, whose Decode checksums every byte twice more.\n")
}

func pointTable(b *bytes.Buffer, p *result.Point) {
	fmt.Fprintf(b, "\n**%s** (%d rounds, %.1f MB, a fixed loop's spread meanwhile %.0f %%)\n\n", pointName(p), p.Rounds, p.Bytes()/1e6, 100*p.Noise)
	b.WriteString("| reader | ms | p95 | 10-90 % | stock/this | 10-90 % | CPU ms | KB allocated/chunk | allocs/chunk | page faults/chunk | system calls/chunk | switches/chunk | peak MB |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range p.Rows {
		name := row.Label
		if name == "" {
			name = row.Peer
		}
		if row.Peer == result.StockPool || row.Peer == result.Published {
			name += " (unsafe)"
		}
		calls := "-"
		if row.Calls != nil {
			calls = fmt.Sprintf("%.1f", *row.Calls)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s - %s | %.2f | %.2f - %.2f | %s | %.1f | %.1f | %.1f | %s | %.2f | %.0f |\n", name,
			number(row.Wall.P50), number(row.Wall.P95), number(row.Wall.P10), number(row.Wall.P90), row.Ratio.P50, row.Ratio.P10, row.Ratio.P90,
			number(row.CPU), row.AllocatedBytes/1e3, row.Allocations, row.Faults, calls, row.Switches, row.PeakMB)
	}
}

// number has three significant digits.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func controlTable(b *bytes.Buffer, r *result.Run) {
	first := true
	for i := range r.Points {
		row := r.Points[i].Row(result.StockUnpatched)
		if row == nil {
			continue
		}
		if first {
			b.WriteString("\n## Control: Loki's client in an unmodified Loki\n\nStock above runs in a program whose Loki is patched (chunkring needs that). Here it is against itself in one whose Loki is not:\n\n" +
				"| point | patched ms | unmodified ms | patched/unmodified | 10-90 % |\n|---|---|---|---|---|\n")
			first = false
		}
		p := &r.Points[i]
		fmt.Fprintf(b, "| %s | %s | %s | %.2f | %.2f - %.2f |\n", pointName(p), number(p.Row(result.Stock).Wall.P50), number(row.Wall.P50),
			row.Ratio.P50, row.Ratio.P10, row.Ratio.P90)
	}
}

func stageTable(b *bytes.Buffer, r *result.Run) {
	if len(r.Stages) == 0 {
		return
	}
	b.WriteString("\n## CPU time by stage\n\nMicroseconds for each chunk, all threads; sampled by perf (cpu-clock, call stacks of user and kernel side; the innermost known function decides). " +
		"Zeroing is Go's; page faults are the kernel's own zeroing of fresh memory and its bookkeeping.\n\n| point | reader | samples | all | ")
	b.WriteString(strings.Join(result.AllStages, " | ") + " |\n|---|---|---|---|" + strings.Repeat("---|", len(result.AllStages)) + "\n")
	for _, s := range r.Stages {
		fmt.Fprintf(b, "| %d x %s | %s | %d | %s |", s.Files, sizeName(s.Size), s.Peer, s.Samples, number(s.CPU))
		for _, stage := range result.AllStages {
			fmt.Fprintf(b, " %s |", number(s.CPU*s.Share[stage]))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nchunkring's own metrics in the same runs, microseconds for each chunk: wall time, but for decode, which is the sum over threads and lies within read (so does the checksum).\n\n" +
		"| point | reader | open, size | alloc | read | of it decode | all of GetChunks |\n|---|---|---|---|---|---|---|\n")
	for _, s := range r.Stages {
		if s.Metrics != nil {
			fmt.Fprintf(b, "| %d x %s | %s | %s | %s | %s | %s | %s |\n", s.Files, sizeName(s.Size), s.Peer, number(s.Metrics["open"]),
				number(s.Metrics["alloc"]), number(s.Metrics["read"]), number(s.Metrics["decode"]), number(s.Metrics["get"]))
		}
	}
}

func diskTable(b *bytes.Buffer, r *result.Run) {
	if len(r.Disk) == 0 {
		return
	}
	b.WriteString("\n## The disk's own speed\n\nfio on the same files, cold, the best of 3:\n\n| files | how | MB/s | command |\n|---|---|---|---|\n")
	for _, d := range r.Disk {
		fmt.Fprintf(b, "| %d x %s | %s | %.0f | `%s` |\n", d.Files, sizeName(d.Size), d.Name, d.MBps, d.Command)
	}
}

// shapeTable says whether cost is linear, in files and in bytes.
func shapeTable(b *bytes.Buffer, r *result.Run) {
	first := true
	line := func(what string, ps []*result.Point, x func(*result.Point) float64, unit string, perUnit float64) {
		if len(ps) < 3 {
			return
		}
		if first {
			b.WriteString("\n## Is the cost linear?\n\nFits over the warm points: `ms = c * x^e` (e = 1 is linear) and `ms = a + b * x`.\n\n| over | points | reader | e | a, ms | b |\n|---|---|---|---|---|---|\n")
			first = false
		}
		for _, peer := range []string{result.Stock, result.Threads, result.URing, result.ThreadsReleased, result.URingReleased, result.FloorRotating} {
			var xs, ys []float64
			for _, p := range ps {
				if row := p.Row(peer); row != nil {
					xs, ys = append(xs, x(p)), append(ys, row.Wall.P50)
				}
			}
			a, slope := stats.Line(xs, ys)
			fmt.Fprintf(b, "| %s | %d | %s | %.2f | %s | %s %s |\n", what, len(xs), peer, stats.Exponent(xs, ys), strconv.FormatFloat(a, 'g', 3, 64), number(slope*perUnit), unit)
		}
	}
	line("50-500 files of 900 KB", pick(r, in(result.GroupFiles), filesOf), filesOf, "us/file", 1e3)
	for _, n := range []int{100, 200} {
		line(fmt.Sprintf("%d files of 235 KB-1.65 MB", n),
			pick(r, func(p *result.Point) bool { return in(result.GroupSizes)(p) && p.Files == n }, kbOf),
			func(p *result.Point) float64 { return p.Bytes() / 1e6 }, "us/MB", 1e3)
	}
	for _, size := range []int{1_000, 4_000, 20_000} {
		line(fmt.Sprintf("100-5000 files of %s", sizeName(size)),
			pick(r, func(p *result.Point) bool { return in(result.GroupSmall)(p) && p.Size == size }, filesOf), filesOf, "us/file", 1e3)
	}
}

func csvTable(r *result.Run) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	write := func(cells ...any) {
		record := make([]string, len(cells))
		for i, c := range cells {
			if f, ok := c.(float64); ok {
				record[i] = strconv.FormatFloat(f, 'g', 6, 64)
			} else {
				record[i] = fmt.Sprint(c)
			}
		}
		_ = w.Write(record) // to memory
	}
	write("groups", "files", "size", "file_bytes", "callers", "cpus", "cold", "rounds", "reader", "label", "ms", "ms_p10", "ms_p90", "ms_p95", "samples",
		"stock_over_this", "ratio_p10", "ratio_p90", "cpu_ms", "alloc_bytes_per_chunk", "allocs_per_chunk", "page_faults_per_chunk", "switches_per_chunk",
		"system_calls_per_chunk", "peak_mb", "read_from_disk_mb")
	for _, p := range r.Points {
		for _, row := range p.Rows {
			var calls any = ""
			if row.Calls != nil {
				calls = *row.Calls
			}
			write(strings.Join(p.Groups, "+"), p.Files, p.Size, p.FileBytes, p.Callers, p.CPUs, p.Cold, p.Rounds, row.Peer, row.Label,
				row.Wall.P50, row.Wall.P10, row.Wall.P90, row.Wall.P95, row.Wall.N, row.Ratio.P50, row.Ratio.P10, row.Ratio.P90, row.CPU,
				row.AllocatedBytes, row.Allocations, row.Faults, row.Switches, calls, row.PeakMB, row.ReadMB)
		}
	}
	w.Flush()
	return b.Bytes()
}
