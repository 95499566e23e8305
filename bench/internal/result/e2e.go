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
	Crowds []E2ECrowd
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
	LeftOut []string // what was to be measured, and why it could not be
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
	PeakMB, AnonMB         float64 // the peaks of the resident and of its anonymous memory
	ReadMB, DiskMB         float64 // of chunks for one answer, and of all files by the disk, ahead too
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

// E2ECrowd is many queries at once, asked of Lokis each in a control group of its own. They are new in every round.
type E2ECrowd struct {
	Store, Name string
	Queries     int
	LimitMiB    int
	Rounds      int
	Lokis       []E2ECrowdLoki
}

// E2ECrowdLoki is what became of one Loki.
type E2ECrowdLoki struct {
	Name                   string
	Killed, Late           int     // rounds in which the kernel killed it for want of memory, and in which time was over
	Answered               int     // queries of all rounds that were answered
	WallMs, CPUMs          Spread  // until all were answered, of the rounds in which they were
	AnonMB, GroupMB        float64 // the largest peaks of anonymous memory, and of the group with its page cache
	DiskMB                 Spread  // of the same rounds
	Walls, CPUs, DiskReads []float64
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
	for _, l := range h.LeftOut {
		fmt.Fprintf(w, "- left out: %s\n", l)
	}
	e.markdownRows(w)
	e.markdownMemory(w)
	e.markdownCrowds(w)
}

// markdownRows shows every query over every store.
func (e *E2E) markdownRows(w io.Writer) {
	if len(e.Rows) == 0 {
		return
	}
	fmt.Fprintf(w, "- medians [10 %%..90 %%]; ratios are those of each pair, stock / other: above 1 the other is better. CPU is that of all threads of the process, in user mode and kernel, until it has come to rest after the answer. GetChunks is Loki's own count (chunksDownloadTime), all concurrent parts of the query together: more than the wall time if they wait for each other. Peak RSS is that within the query's rounds; anonymous is the part of it that no file stands behind, looked at every 5 ms. MB read is of chunks, for one answer: Loki's own count of whole chunks, chunkring's of what it read. MB from disk is the kernel's count, read-ahead included.\n\n")
	fmt.Fprintf(w, "| store | query | page cache | chunks | N | stock ms | other | ms | stock/other | stock CPU ms | CPU ms | CPU stock/other | stock GetChunks ms | GetChunks ms | stock peak MB | peak MB | stock anonymous MB | anonymous MB | stock MB read | MB read | stock MB from disk | MB from disk |\n")
	fmt.Fprintf(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range e.Rows {
		fmt.Fprintf(w, "| %s | %s | %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %.1f | %.1f | %.0f | %.0f | %s | %s | %s | %s | %s | %s |\n", r.Store, r.Query, r.State, r.Chunks, r.Pairs,
			r.Stock.WallMs, r.Contender, r.Other.WallMs, r.WallRatio, r.Stock.CPUMs, r.Other.CPUMs, r.CPURatio,
			r.Stock.FetchMs.P50, r.Other.FetchMs.P50, r.Stock.PeakMB, r.Other.PeakMB,
			r.Stock.megabytes(r.Stock.AnonMB), r.Other.megabytes(r.Other.AnonMB), r.Stock.megabytes(r.Stock.ReadMB), r.Other.megabytes(r.Other.ReadMB),
			r.Stock.megabytes(r.Stock.DiskMB), r.Other.megabytes(r.Other.DiskMB))
	}
}

// megabytes prints a figure that older runs do not have: they have no anonymous memory, which every process has.
func (c *E2ECost) megabytes(mb float64) string {
	switch {
	case c.AnonMB == 0:
		return "-"
	case mb < 9.95:
		return fmt.Sprintf("%.1f", mb)
	}
	return fmt.Sprintf("%.0f", mb)
}

// markdownCrowds shows who answered where memory was short.
func (e *E2E) markdownCrowds(w io.Writer) {
	if len(e.Crowds) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMany queries at once, the page cache cold. Each Loki is new in each round, alone on the machine and in a control group with a limit of memory, page cache included, without swap and without GOMEMLIMIT. Killed: by the kernel, for want of memory. Late: not all was answered in time. Times are of the rounds in which all was answered.\n\n")
	fmt.Fprintf(w, "| store | queries | limit MiB | Loki | rounds | killed | late | queries answered | ms until all are | CPU ms | peak anonymous MB | peak of the group MB | MB from disk |\n")
	fmt.Fprintf(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range e.Crowds {
		for _, l := range c.Lokis {
			wall, cpu, disk := "-", "-", "-"
			if len(l.Walls) > 0 {
				wall, cpu, disk = l.WallMs.String(), l.CPUMs.String(), l.DiskMB.String()
			}
			fmt.Fprintf(w, "| %s | %s | %d | %s | %d | %d | %d | %d of %d | %s | %s | %.0f | %.0f | %s |\n", c.Store, c.Name, c.LimitMiB, l.Name,
				c.Rounds, l.Killed, l.Late, l.Answered, c.Rounds*c.Queries, wall, cpu, l.AnonMB, l.GroupMB, disk)
		}
	}
}

// markdownMemory shows each store's processes, and the largest of all.
func (e *E2E) markdownMemory(w io.Writer) {
	if len(e.Memory) == 0 {
		return
	}
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
