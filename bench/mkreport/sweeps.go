// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// points that a filter takes, sorted by x.
func pick(r *result.Run, take func(*result.Point) bool, x func(*result.Point) float64) []*result.Point {
	var ps []*result.Point
	for i := range r.Points {
		if take(&r.Points[i]) {
			ps = append(ps, &r.Points[i])
		}
	}
	sort.SliceStable(ps, func(a, b int) bool { return x(ps[a]) < x(ps[b]) })
	return ps
}

func in(group string) func(*result.Point) bool {
	return func(p *result.Point) bool { return slices.Contains(p.Groups, group) }
}

// curve is one reader's line: xs, ys and the interval around each y.
type curve struct {
	plotter.XYs
	plotter.YErrors
}

// series adds a line with error bars to p, and to the legend if that is not nil.
func series(p *plot.Plot, legend *plot.Legend, l look, c curve, bars bool) error {
	line, points, err := plotter.NewLinePoints(c.XYs)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = l.color, 1.6, l.dashes
	points.Color, points.Shape, points.Radius = l.color, l.shape, 3.4
	p.Add(line, points)
	if bars {
		e, err := plotter.NewYErrorBars(c)
		if err != nil {
			return err
		}
		e.Color, e.CapWidth = l.color, 4
		p.Add(e)
	}
	if legend != nil {
		legend.Add(l.name, line, points)
	}
	return nil
}

// sweep is one of the experiment's charts: time of a batch, and how many times faster than stock.
func sweep(name, about, xLabel string, ps []*result.Point, x func(*result.Point) float64) (*figure, error) {
	if len(ps) < 2 {
		return nil, nil
	}
	times := newPlot("time", xLabel, "ms for one GetChunks (median)")
	faster := newPlot("times as fast as Loki's client", xLabel, "stock's time / this time (median, and its 95 % interval)")
	grid(times)
	grid(faster)
	f := &figure{name: name, about: about, finding: sweepFinding(about, ps),
		note: "GetChunks of the whole batch, page cache warm, one caller; unsafe: buffers are reused under live chunks", panels: []*plot.Plot{times, faster}, legend: newLegend(), legendWidth: 235, width: 1050, height: 440}
	for _, l := range looks {
		var wall, ratio curve
		for _, p := range ps {
			row := p.Row(l.peer)
			if row == nil {
				continue
			}
			at := func(y float64) plotter.XY { return plotter.XY{X: x(p), Y: y} }
			wall.XYs = append(wall.XYs, at(row.Wall.P50))
			ratio.XYs = append(ratio.XYs, at(row.Ratio.P50))
			ratio.YErrors = append(ratio.YErrors, struct{ Low, High float64 }{row.Ratio.P50 - row.Ratio.Low, row.Ratio.High - row.Ratio.P50})
		}
		if len(wall.XYs) == 0 {
			continue
		}
		if err := series(times, &f.legend, l, wall, false); err != nil {
			return nil, err
		}
		if l.peer != result.FloorCopy { // far above, and no reader
			if err := series(faster, nil, l, ratio, !strings.HasPrefix(l.peer, "floor") && l.peer != result.Stock); err != nil {
				return nil, err
			}
		}
	}
	times.Y.Min, faster.Y.Min = 0, 0
	for _, p := range f.panels {
		edge := 0.03 * (p.X.Max - p.X.Min) // for the marks at the ends
		p.X.Min, p.X.Max = p.X.Min-edge, p.X.Max+edge
	}
	return f, nil
}

func filesOf(p *result.Point) float64 { return float64(p.Files) }
func kbOf(p *result.Point) float64    { return p.FileBytes / 1e3 }

func fileSweep(r *result.Run) (*figure, error) {
	return sweep("files", "Warm files of 900 KB", "files in a batch", pick(r, in(result.GroupFiles), filesOf), filesOf)
}

func sizeSweep(r *result.Run, files int) (*figure, error) {
	ps := pick(r, func(p *result.Point) bool { return in(result.GroupSizes)(p) && p.Files == files }, kbOf)
	return sweep(fmt.Sprintf("sizes-%d", files), fmt.Sprintf("%d warm files of 235 KB-1.65 MB", files), "size of each file, KB", ps, kbOf)
}

// cost shows on logarithmic axes what a batch costs by number of files and a file by its size.
func cost(r *result.Run) (*figure, error) {
	warm := func(p *result.Point) bool {
		return !p.Cold && p.Callers == 1 && !in(result.GroupAblation)(p) && !in(result.GroupOneCPU)(p)
	}
	byFiles := newPlot("a batch, by number of files", "files in a batch", "ms for one GetChunks (median)")
	bySize := newPlot("a file, by its size (batches of 100)", "size of each file, KB", "µs for each file (median)")
	f := &figure{name: "cost", about: "cost against number and size of files, logarithmic; where a line is parallel to the dotted ones the cost is linear",
		finding: costFinding(r), note: "page cache warm, one caller, logarithmic axes: lines parallel to the dotted one are linear", panels: []*plot.Plot{byFiles, bySize}, legend: newLegend(), legendWidth: 260, width: 1050, height: 450}
	for _, p := range f.panels {
		grid(p)
		logAxis(&p.X)
		logAxis(&p.Y)
	}
	peers := []string{result.Stock, result.Threads, result.URing, result.URingReleased, result.FloorRotating}
	shapes := map[int]draw.GlyphDrawer{4_000: draw.TriangleGlyph{}, 20_000: draw.SquareGlyph{}, 900_000: draw.CircleGlyph{}}
	drawn := 0
	for _, peer := range peers {
		l := lookOf(peer)
		l.dashes = nil
		for _, size := range []int{4_000, 20_000, 900_000} {
			l.shape = shapes[size]
			ps := pick(r, func(p *result.Point) bool { return warm(p) && p.Size == size }, filesOf)
			n, err := wallCurve(byFiles, nil, l, ps, filesOf, func(*result.Point) float64 { return 1 })
			if err != nil {
				return nil, err
			}
			drawn += n
		}
		l.shape = draw.CircleGlyph{}
		ps := pick(r, func(p *result.Point) bool { return warm(p) && p.Files == 100 }, kbOf)
		n, err := wallCurve(bySize, &f.legend, l, ps, kbOf, func(p *result.Point) float64 { return 1e3 / filesOf(p) })
		if err != nil {
			return nil, err
		}
		drawn += n
	}
	if drawn < 2*len(peers) {
		return nil, nil
	}
	for _, size := range []int{4_000, 20_000, 900_000} {
		f.legend.Add("left: files of "+sizeName(size), glyph{shapes[size]})
	}
	for i, p := range f.panels {
		line, err := linear(p)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			f.legend.Add("linear", line)
		}
	}
	return f, nil
}

// wallCurve draws a reader's times, scaled, over x; nothing where there are fewer than two, and says how many
// lines that makes.
func wallCurve(p *plot.Plot, legend *plot.Legend, l look, ps []*result.Point, x, scale func(*result.Point) float64) (int, error) {
	var c curve
	for _, pt := range ps {
		if row := pt.Row(l.peer); row != nil {
			c.XYs = append(c.XYs, plotter.XY{X: x(pt), Y: row.Wall.P50 * scale(pt)})
		}
	}
	if len(c.XYs) < 2 {
		return 0, nil
	}
	return 1, series(p, legend, l, c, false)
}

// linear adds a line of slope one to logarithmic axes, from their lower left as far as it fits.
func linear(p *plot.Plot) (*plotter.Line, error) {
	factor := min(p.X.Max/p.X.Min, p.Y.Max/p.Y.Min)
	line, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: p.Y.Min}, {X: p.X.Min * factor, Y: p.Y.Min * factor}})
	if err != nil {
		return nil, err
	}
	line.Color, line.Width, line.Dashes = black, 1, []vg.Length{1, 3}
	p.Add(line)
	return line, nil
}

// glyph is a legend's entry of a shape alone.
type glyph struct{ shape draw.GlyphDrawer }

func (g glyph) Thumbnail(c *draw.Canvas) {
	c.DrawGlyph(draw.GlyphStyle{Color: grey, Radius: vg.Length(3.4), Shape: g.shape}, c.Center())
}
