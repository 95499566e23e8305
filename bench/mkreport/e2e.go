// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// measured is the contender that the plot shows; a run may have chunkring switched off beside it.
const measured = "ours"

// ratioTicks lie closer than a decade's: most ratios are between 1 and 3.
var ratioTicks = plot.ConstantTicks{{Value: 0.75, Label: "0.75"}, {Value: 1, Label: "1"}, {Value: 1.25}, {Value: 1.5, Label: "1.5"},
	{Value: 1.75}, {Value: 2, Label: "2"}, {Value: 2.5, Label: "2.5"}, {Value: 3, Label: "3"}, {Value: 4, Label: "4"}, {Value: 5, Label: "5"}}

// e2ePlot has every query over every store: how many times as fast as the unpatched Loki, wall and CPU.
func e2ePlot(runs []*result.E2E) (*figure, error) {
	var rows []result.E2ERow
	for _, e := range runs {
		for _, r := range e.Rows {
			if r.Contender == measured {
				rows = append(rows, r)
			}
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no row of %q", measured)
	}
	var names []string // of a store and a query, warm and cold on one line
	name := func(r *result.E2ERow) string { return strings.TrimPrefix(r.Store, "full-") + ": " + r.Query }
	for i := range rows {
		if n := name(&rows[i]); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Reverse(names) // the first at the top
	h := &runs[0].Header
	f := &figure{name: "e2e", about: "whole Lokis, every query: the unpatched one's time / that with chunkring",
		finding: "Whole Lokis over the same store, in turns: stock's time / ours",
		note:    h.Machine + "; " + h.Backend + "; medians of pairs, 10 % to 90 %", width: 1150, height: vg.Length(130 + 17*len(names))}
	for i, panel := range []struct {
		title string
		of    func(*result.E2ERow) result.Spread
	}{
		{"time until the answer", func(r *result.E2ERow) result.Spread { return r.WallRatio }},
		{"CPU time", func(r *result.E2ERow) result.Spread { return r.CPURatio }},
	} {
		p := newPlot(panel.title, "stock / ours (above 1: ours is better)", "")
		grid(p)
		for _, state := range []struct {
			name  string
			color color.RGBA
			shape draw.GlyphDrawer
			shift float64
		}{{"warm", vermillion, draw.CircleGlyph{}, 0.14}, {"cold", blue, draw.BoxGlyph{}, -0.14}} {
			var medians plotter.XYs
			for j := range rows {
				r := &rows[j]
				if r.State != state.name {
					continue
				}
				at, s := float64(slices.Index(names, name(r)))+state.shift, panel.of(r)
				medians = append(medians, plotter.XY{X: s.P50, Y: at})
				whisker, err := plotter.NewLine(plotter.XYs{{X: s.P10, Y: at}, {X: s.P90, Y: at}})
				if err != nil {
					return nil, err
				}
				whisker.Color = state.color
				p.Add(whisker)
			}
			if len(medians) == 0 {
				continue
			}
			points, err := plotter.NewScatter(medians)
			if err != nil {
				return nil, err
			}
			points.Color, points.Shape, points.Radius = state.color, state.shape, 3.2
			p.Add(points)
			p.Legend.Add("page cache "+state.name, points)
		}
		one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(names)) - 0.5}})
		if err != nil {
			return nil, err
		}
		p.Add(one)
		shown := names
		if i > 0 {
			shown = make([]string, len(names)) // the first panel's serve both
		}
		p.NominalY(shown...)
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ratioTicks
		p.X.Min, p.X.Max = min(0.7, p.X.Min/1.05), max(3, p.X.Max*1.05)
		p.Y.Min, p.Y.Max = -0.7, float64(len(names))+0.8 // room for the legend
		p.Legend.Top = true
		f.panels = append(f.panels, p)
	}
	f.widths = []float64{1.35, 1}
	return f, nil
}

// reportE2E makes e2e.md, e2e.json and the plot of runs over the same machine.
func reportE2E(in, out string) error {
	var runs []*result.E2E
	var text bytes.Buffer
	onlyCrowds := true // which have a table, and no plot
	for i, file := range strings.Split(in, ",") {
		e, err := result.LoadE2E(file)
		if err != nil {
			return err
		}
		runs = append(runs, e)
		onlyCrowds = onlyCrowds && len(e.Rows) == 0 && len(e.Crowds) > 0
		fmt.Fprintf(&text, "\n## Run %d\n\n", i+1)
		e.Markdown(&text)
		name := "e2e.json"
		if i > 0 {
			name = fmt.Sprintf("e2e-%d.json", i+1)
		}
		if err := result.Save(filepath.Join(out, name), e); err != nil {
			return err
		}
	}
	title := "# Whole Lokis\n\nMade of runs of bench/e2espeed; [what is measured and how](../README.md#whole-lokis).\n"
	if !onlyCrowds {
		f, err := e2ePlot(runs)
		if err != nil {
			return err
		}
		if err := f.save(out); err != nil {
			return err
		}
		title += "\n![every query](e2e.svg)\n"
	}
	return os.WriteFile(filepath.Join(out, "e2e.md"), append([]byte(title), text.Bytes()...), 0o644)
}
