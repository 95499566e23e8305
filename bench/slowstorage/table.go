// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/stats"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

// measuredRun is what -json writes. Times are milliseconds.
type measuredRun struct {
	Begin   time.Time  `json:"begin"`
	Machine string     `json:"machine"` // CPU, number of CPUs, kernel
	Go      string     `json:"go"`
	Loki    string     `json:"loki"`
	Flags   string     `json:"flags"`
	Points  []measured `json:"points"`
}

type measured struct {
	LatencyMS float64 `json:"latency_ms"`
	Size      int     `json:"size"` // nominal bytes of a file
	Files     int     `json:"files"`
	SpanS     float64 `json:"span_seconds,omitempty"` // of the lines that are read; 0: whole chunks, and no line
	Rounds    int     `json:"rounds"`
	Void      int     `json:"void"` // samples that came from a cache and were taken again
	Readers   []row   `json:"readers"`
	title     string
}

type kinds map[slowfs.Op]int

type row struct {
	Name     string     `json:"name"`
	Backend  string     `json:"backend,omitempty"`
	Wall     stats.Dist `json:"wall_ms"`
	Ratio    stats.Dist `json:"stock_over_this"` // within each round
	Reads    float64    `json:"reads_per_file"`
	Opens    float64    `json:"opens_per_file"`
	KB       float64    `json:"kb_per_file"`
	UnderWay int        `json:"under_way"` // requests at once, at most
	Kinds    kinds      `json:"under_way_by_kind"`
	Tasks    tasks      `json:"threads"` // at most
}

func newRun(o options) *measuredRun {
	return &measuredRun{Begin: time.Now().UTC().Truncate(time.Second), Machine: cli.Machine(), Go: runtime.Version(), Loki: lokiVersion(),
		Flags: fmt.Sprintf("entry-timeout %s, cap %s", o.cacheTime, o.cap)}
}

// lokiVersion is of the Loki whose client is stock.
func lokiVersion() string {
	const module = "github.com/grafana/loki/v3"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			switch {
			case dep.Path == module && dep.Replace != nil:
				return dep.Version + ", patched by lokifork"
			case dep.Path == module:
				return dep.Version
			}
		}
	}
	return "?"
}

// head says what the figures depend on, and what they are.
func head(w io.Writer, run *measuredRun) {
	fmt.Fprintf(w, "%s; %s; Loki %s; %s\n", run.Machine, run.Go, run.Loki, run.Flags)
	fmt.Fprintf(w, "Each LOOKUP, OPEN and READ takes the latency. Medians [10 %%..90 %%] of the rounds, in turns; ratios within each round.\n"+
		"At most: requests under way at once; threads of the reader's process + io_uring's kernel threads.\n"+
		"A file: its OPENs, its READs and its KB that came from the storage.\n")
}

// columns begins a table.
func columns(w io.Writer, all []contender) {
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	fmt.Fprintf(w, "\n| latency, batch | %s ms |", strings.Join(names, " ms | "))
	for _, r := range names[1:] {
		fmt.Fprintf(w, " %s / %s |", names[0], r)
	}
	in := strings.Join(names, "; ")
	fmt.Fprintf(w, " a file: %s | under way: %s | threads: %s | rounds |\n", in, in, in)
	fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", 1+len(names)+len(names)-1+4))
}

// line is one point's row of the table.
func line(w io.Writer, m *measured) {
	fmt.Fprintf(w, "| %s |", m.title)
	for _, r := range m.Readers {
		fmt.Fprintf(w, " %s |", spread(r.Wall))
	}
	var file, underWay, threads []string
	for i, r := range m.Readers {
		if i > 0 {
			fmt.Fprintf(w, " %s |", spread(r.Ratio))
		}
		file = append(file, fmt.Sprintf("%.1f %.1f %.0f", r.Opens, r.Reads, r.KB))
		underWay = append(underWay, fmt.Sprint(r.UnderWay))
		threads = append(threads, fmt.Sprintf("%d+%d", r.Tasks.Own, r.Tasks.Kernel))
	}
	fmt.Fprintf(w, " %s | %s | %s | %d |\n", strings.Join(file, "; "), strings.Join(underWay, "; "), strings.Join(threads, "; "), m.Rounds)
}

// spread prints three significant digits.
func spread(d stats.Dist) string {
	digits := 2
	switch {
	case d.P50 >= 100:
		digits = 0
	case d.P50 >= 10:
		digits = 1
	}
	return fmt.Sprintf("%.*f [%.*f..%.*f]", digits, d.P50, digits, d.P10, digits, d.P90)
}

// foot says on what the readers ran, and what did not count.
func foot(w io.Writer, run *measuredRun) {
	var void int
	for _, m := range run.Points {
		void += m.Void
	}
	fmt.Fprintf(w, "\nEvery chunk, and every line of a range, of every reader was the same as %s's. %d samples came from a cache and were taken again.\n",
		run.Points[0].Readers[0].Name, void)
	last := run.Points[len(run.Points)-1] // has all readers, if any point has
	for _, r := range last.Readers[1:] {
		if r.Backend != "" {
			fmt.Fprintf(w, "%s ran on: %s\n", r.Name, r.Backend)
		}
	}
}
