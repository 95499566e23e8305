// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// evictRow is one line of what bench/evict writes.
type evictRow struct {
	Trace  string  `json:"trace"`
	Policy string  `json:"policy"`
	Cache  float64 `json:"cache"` // part of all bytes
	Hits   float64 `json:"hits"`  // part of the reads
}

var evictLooks = []struct {
	policy string
	color  color.RGBA
	shape  draw.GlyphDrawer
	dashes []vg.Length
}{
	{"S3-FIFO", blue, draw.BoxGlyph{}, nil},
	{"LRU", orange, draw.SquareGlyph{}, []vg.Length{4, 2}},
	{"FIFO", black, draw.CircleGlyph{}, []vg.Length{1, 2}},
}

// evictPlot has a panel a trace: how many of the reads hit, by the size of the cache.
func evictPlot(rows []evictRow) (*figure, error) {
	f := &figure{name: "evict", about: "hit ratios of eviction policies", legend: newLegend(), legendWidth: 90,
		finding: "A scan larger than the cache leaves the hot set in place",
		note:    "replays of bench/evict: 10,000 files of 8 KB to 1.3 MB; the hot set is 5 % of them; reads of the scan itself are not counted"}
	var traces []string
	for _, r := range rows {
		if !slices.Contains(traces, r.Trace) {
			traces = append(traces, r.Trace)
		}
	}
	for _, trace := range traces {
		p := newPlot(trace, "cache, % of all bytes", "reads that hit, %")
		grid(p)
		for _, l := range evictLooks {
			var xy plotter.XYs
			for _, r := range rows {
				if r.Trace == trace && r.Policy == l.policy {
					xy = append(xy, plotter.XY{X: r.Cache * 100, Y: r.Hits * 100})
				}
			}
			line, points, err := plotter.NewLinePoints(xy)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", trace, l.policy, err)
			}
			line.Color, line.Width, line.Dashes = l.color, 1.2, l.dashes
			points.Color, points.Shape = l.color, l.shape
			p.Add(line, points)
			if len(f.panels) == 0 {
				f.legend.Add(l.policy, plot.Thumbnailer(line), points)
			}
		}
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 100, 0, 102
		f.panels = append(f.panels, p)
	}
	f.width, f.height = vg.Length(110+270*len(f.panels)), 400
	return f, nil
}

func reportEvict(in, out string) error {
	text, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var rows []evictRow
	if err := json.Unmarshal(text, &rows); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	f, err := evictPlot(rows)
	if err != nil {
		return err
	}
	return f.save(out)
}
