// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"io"
	"strings"

	"github.com/chunkring/chunkring/bench/internal/stats"
)

// E2E is one run of bench/e2espeed: whole Lokis, each compared with the unpatched one, the first.
type E2E struct {
	Header E2EHeader
	Rows   []E2ERow
	Memory []E2EMemory
}

// E2EHeader is what the figures depend on.
type E2EHeader struct {
	Time    string
	Machine string
	Backend string   // of chunkring, that ran
	Flags   []string // of e2espeed
	CacheMB int      // Loki's embedded chunk cache
	Cold    string   // how it is made
	Lokis   []E2ELoki
	Stores  []E2EStore
}

// E2ELoki is one of the programs.
type E2ELoki struct {
	Name, Version string
	Args          []string
}

// E2EStore is what they read.
type E2EStore struct {
	Name, Codec   string
	Lines, Chunks int
	Bytes         int64 // of lines
	ChunkBytes    int64 // of files
}

// E2ERow compares one Loki with the unpatched one over one query.
type E2ERow struct {
	Store, Query, State string // State: warm or cold
	Contender           string
	Pairs               int
	Chunks              int // that Loki fetched for one answer
	Stock, Other        E2ECost
	WallRatio, CPURatio Spread // stock / other, of each pair
}

// E2ECost is what one Loki needed.
type E2ECost struct {
	WallMs, CPUMs, FetchMs Spread
	PeakMB                 float64
	Samples                []E2ESample
}

// E2ESample is one answer's cost.
type E2ESample struct {
	WallMs  float64
	CPUMs   float64
	FetchMs float64 // in GetChunks, all parts of the query together, as Loki counts
}

// Spread is a median with the 10th and 90th percentile.
type Spread struct{ P50, P10, P90 float64 }

// E2EMemory is of the processes over one store.
type E2EMemory struct {
	Store          string
	PeakMB         map[string]float64
	IdleCPUPercent map[string]float64 // while the others were asked
}

// SpreadOf is the spread of v.
func SpreadOf(v []float64) Spread {
	return Spread{stats.Quantile(v, 0.5), stats.Quantile(v, 0.1), stats.Quantile(v, 0.9)}
}

func (s Spread) String() string {
	format := "%.2f [%.2f..%.2f]"
	if s.P50 >= 100 {
		format = "%.0f [%.0f..%.0f]"
	} else if s.P50 >= 10 {
		format = "%.1f [%.1f..%.1f]"
	}
	return fmt.Sprintf(format, s.P50, s.P10, s.P90)
}

// LoadE2E reads what Save wrote of one.
func LoadE2E(file string) (*E2E, error) {
	return load[E2E](file)
}

// Markdown writes all of it but the samples.
func (e *E2E) Markdown(w io.Writer) {
	h := &e.Header
	fmt.Fprintf(w, "Whole Lokis, one process each (target=all, empty ingester), asked in turns; every answer is equal to the unpatched Loki's.\n\n")
	fmt.Fprintf(w, "- machine: %s; %s\n", h.Machine, h.Time)
	for _, l := range h.Lokis {
		fmt.Fprintf(w, "- %s: %s; `%s`\n", l.Name, l.Version, strings.Join(l.Args, " "))
	}
	fmt.Fprintf(w, "- back-end of chunkring that ran: %s\n", h.Backend)
	fmt.Fprintf(w, "- results caches off; embedded chunk cache: %d MB; flags: `%s`\n", h.CacheMB, strings.Join(h.Flags, " "))
	fmt.Fprintf(w, "- cold: %s\n", h.Cold)
	for _, s := range h.Stores {
		fmt.Fprintf(w, "- store %s: %s, %d lines, %.0f MB of them, in %d chunks of %.1f KB\n", s.Name, s.Codec, s.Lines,
			float64(s.Bytes)/1e6, s.Chunks, float64(s.ChunkBytes)/1e3/float64(s.Chunks))
	}
	fmt.Fprintf(w, "- medians [10 %%..90 %%]; ratios are those of each pair, stock / other: above 1 the other is better. CPU is that of all threads of the process, in user mode and kernel, until it has come to rest after the answer. GetChunks is Loki's own count (chunksDownloadTime), all concurrent parts of the query together: more than the wall time if they wait for each other. Peak RSS is that within the query's rounds.\n\n")
	fmt.Fprintf(w, "| store | query | page cache | chunks | N | stock ms | other | ms | stock/other | stock CPU ms | CPU ms | CPU stock/other | stock GetChunks ms | GetChunks ms | stock peak MB | peak MB |\n")
	fmt.Fprintf(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range e.Rows {
		fmt.Fprintf(w, "| %s | %s | %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %.1f | %.1f | %.0f | %.0f |\n", r.Store, r.Query, r.State, r.Chunks, r.Pairs,
			r.Stock.WallMs, r.Contender, r.Other.WallMs, r.WallRatio, r.Stock.CPUMs, r.Other.CPUMs, r.CPURatio,
			r.Stock.FetchMs.P50, r.Other.FetchMs.P50, r.Stock.PeakMB, r.Other.PeakMB)
	}
	e.markdownMemory(w)
}

// markdownMemory shows each store's processes, and the largest of all.
func (e *E2E) markdownMemory(w io.Writer) {
	fmt.Fprintf(w, "\n| store | Loki | peak RSS MB | CPU while the others were asked, %% of one |\n|---|---|---|---|\n")
	largest := map[string]float64{}
	for _, m := range e.Memory {
		for _, l := range e.Header.Lokis {
			fmt.Fprintf(w, "| %s | %s | %.0f | %.1f |\n", m.Store, l.Name, m.PeakMB[l.Name], m.IdleCPUPercent[l.Name])
			largest[l.Name] = max(largest[l.Name], m.PeakMB[l.Name])
		}
	}
	for _, l := range e.Header.Lokis {
		fmt.Fprintf(w, "| largest | %s | %.0f | |\n", l.Name, largest[l.Name])
	}
}
