// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/report"
)

// results are all that is written to -json; the tables show most of it.
type results struct {
	Header header
	Rows   []row
	Memory []memory
}

type header struct {
	Time     string
	Machine  string
	Versions map[string]string // of the binaries, with their Go
	Backend  string            // that ran
	Flags    []string          // of this program
	LokiArgs map[string][]string
	Cold     string
	Stores   []manifest
}

// row compares one Loki with the unpatched one over one query.
type row struct {
	Store, Query, State string
	Contender           string
	Pairs               int
	Chunks              int // that Loki fetched for one answer
	Stock, Other        cost
	WallRatio, CPURatio spread // stock / other, of each pair
}

// cost is what one Loki needed.
type cost struct {
	WallMs, CPUMs, FetchMs spread
	PeakMB                 float64
	Samples                []sample
}

// spread is a median with the 10th and 90th percentile.
type spread struct{ P50, P10, P90 float64 }

type memory struct {
	Store          string
	PeakMB         map[string]float64
	IdleCPUPercent map[string]float64
}

func spreadOf(v []float64) spread {
	return spread{report.Quantile(v, 0.5), report.Quantile(v, 0.1), report.Quantile(v, 0.9)}
}

func wallOf(s sample) float64  { return s.WallMs }
func cpuOf(s sample) float64   { return s.CPUMs }
func fetchOf(s sample) float64 { return s.FetchMs }

func costOf(p *contender) cost {
	values := func(of func(sample) float64) (v []float64) {
		for _, s := range p.samples {
			v = append(v, of(s))
		}
		return v
	}
	return cost{spreadOf(values(wallOf)), spreadOf(values(cpuOf)), spreadOf(values(fetchOf)), float64(p.peak) / 1e6, slices.Clone(p.samples)}
}

func (r *results) addRow(stock, other *contender, add row) {
	ratios := func(of func(sample) float64) (v []float64) {
		for i := range stock.samples {
			v = append(v, of(stock.samples[i])/of(other.samples[i]))
		}
		return v
	}
	add.Contender, add.Pairs = other.Name, len(other.samples)
	add.Stock, add.Other = costOf(stock), costOf(other)
	add.WallRatio, add.CPURatio = spreadOf(ratios(wallOf)), spreadOf(ratios(cpuOf))
	r.Rows = append(r.Rows, add)
}

func (b *bench) header(ctx context.Context, stores []store) (header, error) {
	h := header{
		Time: time.Now().UTC().Format(time.RFC3339), Machine: report.Machine(), Versions: map[string]string{},
		Backend: b.backend, Flags: b.commandWords, LokiArgs: map[string][]string{}, Cold: describeDrop(b.drop),
	}
	for _, c := range b.contenders() {
		v, err := version(ctx, c.Bin)
		if err != nil {
			return h, err
		}
		h.Versions[c.Name], h.LokiArgs[c.Name] = v, c.Args
	}
	for _, s := range stores {
		h.Stores = append(h.Stores, s.manifest)
	}
	return h, nil
}

// version is a Loki's, and the Go's that compiled it.
func version(ctx context.Context, bin string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -version: %w: %s", bin, err, out)
	}
	first, rest, _ := strings.Cut(string(out), "\n")
	for line := range strings.Lines(rest) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "go version" {
			return first + ", " + strings.TrimSpace(value), nil
		}
	}
	return first, nil
}

func (s spread) String() string {
	format := "%.2f [%.2f..%.2f]"
	if s.P50 >= 100 {
		format = "%.0f [%.0f..%.0f]"
	} else if s.P50 >= 10 {
		format = "%.1f [%.1f..%.1f]"
	}
	return fmt.Sprintf(format, s.P50, s.P10, s.P90)
}

func (b *bench) print(w io.Writer) {
	h := b.Header
	fmt.Fprintf(w, "Whole Lokis, one process each (target=all, empty ingester), asked in turns; every answer is equal to the unpatched Loki's.\n\n")
	fmt.Fprintf(w, "- machine: %s; %s\n", h.Machine, h.Time)
	for _, c := range b.contenders() {
		fmt.Fprintf(w, "- %s: %s; `%s`\n", c.Name, h.Versions[c.Name], strings.Join(c.Args, " "))
	}
	fmt.Fprintf(w, "- back-end of chunkring that ran: %s\n", h.Backend)
	fmt.Fprintf(w, "- results caches off; embedded chunk cache: %d MB; flags: `%s`\n", b.cacheMB, strings.Join(h.Flags, " "))
	fmt.Fprintf(w, "- cold: %s\n", h.Cold)
	for i, s := range h.Stores {
		fmt.Fprintf(w, "- store %s: %s, %d lines, %.0f MB of them, in %d chunks of %.1f KB\n", b.names[i], s.Codec, s.Written.Lines,
			float64(s.Written.Bytes)/1e6, s.Chunks, float64(s.ChunkBytes)/1e3/float64(s.Chunks))
	}
	fmt.Fprintf(w, "- medians [10 %%..90 %%]; ratios are those of each pair, stock / other: above 1 the other is better. CPU is that of all threads of the process, in user mode and kernel, until it has come to rest after the answer. GetChunks is Loki's own count (chunksDownloadTime), all concurrent parts of the query together: more than the wall time if they wait for each other. Peak RSS is that within the query's rounds.\n\n")
	fmt.Fprintf(w, "| store | query | page cache | chunks | N | stock ms | other | ms | stock/other | stock CPU ms | CPU ms | CPU stock/other | stock GetChunks ms | GetChunks ms | stock peak MB | peak MB |\n")
	fmt.Fprintf(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range b.Rows {
		fmt.Fprintf(w, "| %s | %s | %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %.1f | %.1f | %.0f | %.0f |\n", r.Store, r.Query, r.State, r.Chunks, r.Pairs,
			r.Stock.WallMs, r.Contender, r.Other.WallMs, r.WallRatio, r.Stock.CPUMs, r.Other.CPUMs, r.CPURatio,
			r.Stock.FetchMs.P50, r.Other.FetchMs.P50, r.Stock.PeakMB, r.Other.PeakMB)
	}
	b.printMemory(w)
}

// printMemory shows each store's processes, and the largest of all.
func (b *bench) printMemory(w io.Writer) {
	fmt.Fprintf(w, "\n| store | Loki | peak RSS MB | CPU while the others were asked, %% of one |\n|---|---|---|---|\n")
	largest := map[string]float64{}
	for _, m := range b.Memory {
		for _, c := range b.contenders() {
			fmt.Fprintf(w, "| %s | %s | %.0f | %.1f |\n", m.Store, c.Name, m.PeakMB[c.Name], m.IdleCPUPercent[c.Name])
			largest[c.Name] = max(largest[c.Name], m.PeakMB[c.Name])
		}
	}
	for _, c := range b.contenders() {
		fmt.Fprintf(w, "| largest | %s | %.0f | |\n", c.Name, largest[c.Name])
	}
}

func (b *bench) writeJSON(name string) error {
	data, err := json.MarshalIndent(b.results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o666)
}
