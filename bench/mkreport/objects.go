// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// setupLooks are taken in the order of a run's setups.
var setupLooks = []struct {
	color color.RGBA
	shape draw.GlyphDrawer
}{
	{black, draw.CircleGlyph{}}, {skyBlue, draw.CircleGlyph{}}, {orange, draw.SquareGlyph{}}, {orange, draw.BoxGlyph{}}, {purple, draw.PyramidGlyph{}},
	{green, draw.TriangleGlyph{}}, {blue, draw.BoxGlyph{}}, {grey, draw.CrossGlyph{}}, {vermillion, draw.PlusGlyph{}}, {darkRed, draw.RingGlyph{}},
}

// stateTitles say what happened before a query.
var stateTitles = map[string]string{
	result.StateCold: "the cache is empty", result.StateWarm: "asked before", result.StateKilled: "asked before, then all was killed",
}

// objectsPlot has every query over every bucket, a panel for each state: time until the answer.
func objectsPlot(o *result.Objects) (*figure, error) {
	var names []string // of a bucket and a query
	name := func(r *result.ObjectsRow) string { return r.Store + ": " + r.Query }
	for i := range o.Rows {
		if n := name(&o.Rows[i]); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("a run without rows")
	}
	slices.Reverse(names) // the first at the top
	f := &figure{name: "objects", about: "whole Lokis over an object store, every query: time until the answer",
		finding: "Whole Lokis over an object store, by what stands in front of it", legend: newLegend(), legendWidth: 150,
		note: o.Header.Machine + "; " + o.Header.Conditions + "; medians, 10 % to 90 %", width: 1250, height: vg.Length(150 + 56*len(names))}
	low, high := o.Rows[0].WallMs.P10, o.Rows[0].WallMs.P90
	for i := range o.Rows {
		low, high = min(low, o.Rows[i].WallMs.P10), max(high, o.Rows[i].WallMs.P90)
	}
	for i, state := range result.States {
		p := newPlot(stateTitles[state], "ms (less is better)", "")
		grid(p)
		for k, s := range o.Header.Setups {
			points, err := setupPoints(p, o, state, s.Name, k, names, name)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				f.legend.Add(s.Name, points)
			}
		}
		shown := names
		if i > 0 {
			shown = make([]string, len(names)) // the first panel's serve all
		}
		p.NominalY(shown...)
		logAxis(&p.X)
		p.X.Min, p.X.Max = low/1.2, high*1.2
		p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
		f.panels = append(f.panels, p)
	}
	f.widths = []float64{1.4, 1, 1}
	return f, nil
}

// setupPoints draws one setup's medians and spreads in one state, on the k-th of the lines of each name.
func setupPoints(p *plot.Plot, o *result.Objects, state, setup string, k int, names []string, name func(*result.ObjectsRow) string) (*plotter.Scatter, error) {
	look := setupLooks[k%len(setupLooks)]
	shift := 0.35 - 0.7*float64(k)/float64(max(1, len(o.Header.Setups)-1))
	var medians plotter.XYs
	for i := range o.Rows {
		r := &o.Rows[i]
		if r.State != state || r.Setup != setup {
			continue
		}
		at := float64(slices.Index(names, name(r))) + shift
		medians = append(medians, plotter.XY{X: r.WallMs.P50, Y: at})
		whisker, err := plotter.NewLine(plotter.XYs{{X: r.WallMs.P10, Y: at}, {X: r.WallMs.P90, Y: at}})
		if err != nil {
			return nil, err
		}
		whisker.Color = look.color
		p.Add(whisker)
	}
	if len(medians) == 0 {
		return nil, fmt.Errorf("no row of %q, %s", setup, state)
	}
	points, err := plotter.NewScatter(medians)
	if err != nil {
		return nil, err
	}
	points.Color, points.Shape, points.Radius = look.color, look.shape, 3.4
	p.Add(points)
	return points, nil
}

// reportObjects makes objects.md, objects.json and the plot of a run.
func reportObjects(in, out string) error {
	o, err := result.LoadObjects(in)
	if err != nil {
		return err
	}
	f, err := objectsPlot(o)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	text.WriteString("# Whole Lokis over an object store\n\nMade of a run of bench/objects; [what is measured and how](../README.md#lokis-over-an-object-store).\n\n![every query](objects.svg)\n\n")
	o.Markdown(&text)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "objects.md"), text.Bytes(), 0o644); err != nil {
		return err
	}
	if err := result.Save(filepath.Join(out, "objects.json"), o); err != nil {
		return err
	}
	return f.save(out)
}
