// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"io"
	"strings"
)

// States of a cache, in the order in which bench/objects measures them.
const (
	StateCold   = "cold"   // empty
	StateWarm   = "warm"   // the same was asked before
	StateKilled = "killed" // warm, and then everything but the object store was killed and started again
)

// States are all.
var States = []string{StateCold, StateWarm, StateKilled}

// Objects is one run of bench/objects: whole Lokis over an object store, each compared with an unpatched one
// without a cache, the first.
type Objects struct {
	Header  ObjectsHeader
	Rows    []ObjectsRow
	Skipped []ObjectsSkip
}

// ObjectsHeader is what the figures depend on.
type ObjectsHeader struct {
	Time       string
	Machine    string
	Flags      []string
	Conditions string // of the object store
	PageCache  string
	WarmUps    int
	Setups     []ObjectsSetup
	Stores     []E2EStore
}

// ObjectsSetup is a Loki and what stands in front of the object store.
type ObjectsSetup struct {
	Name, About string
	Loki        string // version
	Cache       string // version of the process that is the cache
	Args        []string
}

// ObjectsSkip is a setup that was left out.
type ObjectsSkip struct{ Setup, Why string }

// ObjectsRow is one setup in one state, over one query.
type ObjectsRow struct {
	Store, Query, State, Setup string
	N                          int
	WallMs, CPUMs              Spread // CPU: Loki and the cache together
	CacheCPUMs                 Spread // the cache's part of it
	GETs, Distinct             Spread // of chunks, and how many different ones
	LokiPeakMB, CachePeakMB    float64
	WallRatio                  Spread // stock without a cache / this, of samples of the same round
	Samples                    []ObjectsSample
}

// ObjectsSample is one answer's cost.
type ObjectsSample struct {
	WallMs                  float64
	LokiCPUMs, CacheCPUMs   float64
	GETs, Distinct          int
	MB                      float64 // that the object store sent
	LokiPeakMB, CachePeakMB float64
}

// NewObjectsRow sums samples up; stock has as many.
func NewObjectsRow(store, query, state, setup string, samples, stock []ObjectsSample) ObjectsRow {
	of := func(f func(i int, s ObjectsSample) float64) Spread {
		var v []float64
		for i, s := range samples {
			v = append(v, f(i, s))
		}
		return SpreadOf(v)
	}
	r := ObjectsRow{Store: store, Query: query, State: state, Setup: setup, N: len(samples), Samples: samples,
		WallMs:     of(func(_ int, s ObjectsSample) float64 { return s.WallMs }),
		CPUMs:      of(func(_ int, s ObjectsSample) float64 { return s.LokiCPUMs + s.CacheCPUMs }),
		CacheCPUMs: of(func(_ int, s ObjectsSample) float64 { return s.CacheCPUMs }),
		GETs:       of(func(_ int, s ObjectsSample) float64 { return float64(s.GETs) }),
		Distinct:   of(func(_ int, s ObjectsSample) float64 { return float64(s.Distinct) }),
		WallRatio:  of(func(i int, s ObjectsSample) float64 { return stock[i].WallMs / s.WallMs }),
	}
	for _, s := range samples {
		r.LokiPeakMB, r.CachePeakMB = max(r.LokiPeakMB, s.LokiPeakMB), max(r.CachePeakMB, s.CachePeakMB)
	}
	return r
}

// LoadObjects reads what Save wrote of one.
func LoadObjects(file string) (*Objects, error) { return load[Objects](file) }

// Markdown writes all of it but the samples.
func (o *Objects) Markdown(w io.Writer) {
	h := &o.Header
	fmt.Fprintf(w, "Whole Lokis, one process each (target=all, empty ingester), over an object store; every answer is equal to that of an unpatched Loki without a cache.\n\n")
	fmt.Fprintf(w, "- machine: %s; %s; flags: `%s`\n", h.Machine, h.Time, strings.Join(h.Flags, " "))
	fmt.Fprintf(w, "- object store: a stand-in on the same machine: %s\n", h.Conditions)
	for _, s := range h.Setups {
		cache := ""
		if s.Cache != "" {
			cache = "; " + s.Cache
		}
		fmt.Fprintf(w, "- %s: %s; %s%s; `%s`\n", s.Name, s.About, s.Loki, cache, strings.Join(s.Args, " "))
	}
	for _, s := range o.Skipped {
		fmt.Fprintf(w, "- %s: left out: %s\n", s.Setup, s.Why)
	}
	for _, s := range h.Stores {
		fmt.Fprintf(w, "- bucket %s: %s, %d lines, %.0f MB of them, in %d chunks of %.1f KB\n", s.Name, s.Codec, s.Lines,
			float64(s.Bytes)/1e6, s.Chunks, float64(s.ChunkBytes)/1e3/float64(max(1, s.Chunks)))
	}
	fmt.Fprintf(w, "- cold: everything new and the cache empty; warm: asked %d times before; killed: then everything but the object store was killed with SIGKILL and started again. The index is loaded before each. Page cache: %s\n", h.WarmUps+1, h.PageCache)
	fmt.Fprintf(w, "- medians [10 %%..90 %%]. The setups take turns; stock / this is of samples of the same round: above 1 this one is quicker. CPU is that of Loki and the cache, all threads, until both have come to rest. GETs are those of chunks; peaks are the largest resident sets within a query.\n\n")
	fmt.Fprintf(w, "| bucket | query | state | setup | N | ms | stock / this | CPU ms | of it the cache | GETs | distinct | Loki's peak MB | the cache's |\n")
	fmt.Fprintf(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range o.Rows {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %d | %s | %s | %s | %.0f | %.0f [%.0f..%.0f] | %.0f | %.0f | %.0f |\n", r.Store, r.Query, r.State, r.Setup, r.N,
			r.WallMs, r.WallRatio, r.CPUMs, r.CacheCPUMs.P50, r.GETs.P50, r.GETs.P10, r.GETs.P90, r.Distinct.P50, r.LokiPeakMB, r.CachePeakMB)
	}
}
