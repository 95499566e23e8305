// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/chunkring/chunkring/bench/internal/result"
)

var stageColors = map[string]color.RGBA{
	result.StageOpen: yellow, result.StageSize: lightGrey, result.StageAlloc: purple, result.StageZero: vermillion,
	result.StageFaults: darkRed, result.StageRead: skyBlue, result.StageCRC: orange, result.StageDecode: green,
	result.StageGC: blue, result.StageOther: grey,
}

// stages stacks where each reader's CPU time goes.
func stages(r *result.Run) (*figure, error) {
	if len(r.Stages) == 0 {
		return nil, nil
	}
	f := &figure{name: "stages", finding: stagesFinding(r), about: "CPU time of all threads for one chunk, by stage (sampled by perf, user and kernel side)",
		legend: newLegend(), legendWidth: 150, height: 490,
		note: "CPU time of all threads, user and kernel side, sampled by perf; page cache warm"}
	var keys []string
	for _, s := range r.Stages {
		if k := fmt.Sprintf("%d x %s", s.Files, sizeName(s.Size)); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, key := range keys {
		p := newPlot(key, "", "µs of CPU for each chunk")
		p.Y.Min = 0
		p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = 0.9, draw.XRight, draw.YCenter
		var names []string
		var rows []result.Stages
		for _, l := range looks {
			for _, s := range r.Stages {
				if s.Peer == l.peer && fmt.Sprintf("%d x %s", s.Files, sizeName(s.Size)) == key {
					names, rows = append(names, short(s.Peer)), append(rows, s)
				}
			}
		}
		var below *plotter.BarChart
		for _, stage := range result.AllStages {
			v := make(plotter.Values, len(rows))
			for i, s := range rows {
				v[i] = s.CPU * s.Share[stage]
			}
			bars, err := plotter.NewBarChart(v, 17)
			if err != nil {
				return nil, err
			}
			bars.Color, bars.LineStyle.Width = stageColors[stage], 0
			if below != nil {
				bars.StackOn(below)
			}
			below = bars
			p.Add(bars)
			if len(f.panels) == 0 {
				defer func() { f.legend.Add(stage, bars) }() // the topmost first, as they are stacked
			}
		}
		p.NominalX(names...)
		p.Y.Max *= 1.04
		f.panels = append(f.panels, p)
	}
	f.width = max(900, vg.Length(150+235*len(f.panels)+20))
	return f, nil
}

// short names fit below a bar.
func short(peer string) string {
	return strings.NewReplacer("published-io_uring", "published", "stock+sync.Pool", "stock+Pool", "-released", ", rel.", "go-2-workers", "go").Replace(peer)
}

// ablation shows what each part of a reader costs: switched alone from stock's shape, then one on the other.
func ablation(r *result.Run) (*figure, error) {
	ps := pick(r, in(result.GroupAblation), func(p *result.Point) float64 { return -p.FileBytes })
	if len(ps) == 0 {
		return nil, nil
	}
	f := &figure{name: "ablation", finding: ablationFinding(ps), about: "is it the IO or the memory allocation? Each part of a reader switched alone, then one after the other; warm, 100 files", legendWidth: 0, height: 490,
		note: "page cache warm; blue: one change to a reader of stock's shape (the CRC passes: with a decoder that has none of its own); green: changes added one after the other"}
	for i, pt := range ps {
		p := newPlot(fmt.Sprintf("%d x %s", pt.Files, sizeName(pt.Size)), "time, % of Loki's client (median, and its 95 % interval)", "")
		p.X.Min = 0
		var names []string
		rows := slices.Clone(pt.Rows)
		slices.Reverse(rows) // the first at the top
		for at, row := range rows {
			label := row.Label
			if row.Peer == result.Stock {
				label = "Loki's client"
			}
			names = append(names, label)
			if err := percentBar(p, row, float64(at)); err != nil {
				return nil, err
			}
		}
		whole, err := plotter.NewLine(plotter.XYs{{X: 100, Y: -0.5}, {X: 100, Y: float64(len(rows)) - 0.5}})
		if err != nil {
			return nil, err
		}
		whole.Color, whole.Dashes = black, []vg.Length{3, 3}
		p.Add(whole)
		if i > 0 {
			names = make([]string, len(names)) // the first panel's serve all
		}
		p.NominalY(names...)
		f.panels = append(f.panels, p)
	}
	f.widths = []float64{1.9}
	for range f.panels[1:] {
		f.widths = append(f.widths, 1)
	}
	f.width = vg.Length(520 + 260*(len(f.panels)-1))
	return f, nil
}

// percentBar is one bar of the ablation, with its interval and its figure.
func percentBar(p *plot.Plot, row result.Row, at float64) error {
	percent := 100 / row.Ratio.P50
	bar, err := plotter.NewBarChart(plotter.Values{percent}, 20)
	if err != nil {
		return err
	}
	bar.Horizontal, bar.XMin, bar.LineStyle.Width = true, at, 0
	switch {
	case row.Peer == result.Stock:
		bar.Color = black
	case strings.HasPrefix(row.Label, "+"):
		bar.Color = green
	default:
		bar.Color = blue
	}
	low, high := 100/row.Ratio.High, 100/row.Ratio.Low
	whisker, err := plotter.NewLine(plotter.XYs{{X: low, Y: at}, {X: high, Y: at}})
	if err != nil {
		return err
	}
	whisker.Color, whisker.Width = vermillion, 1.2
	figure, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: 4, Y: at}}, Labels: []string{fmt.Sprintf("%.0f %%", percent)}})
	if err != nil {
		return err
	}
	figure.TextStyle[0].YAlign = draw.YCenter
	figure.TextStyle[0].Font.Size, figure.TextStyle[0].Color = textSize, color.White
	p.Add(bar, whisker, figure)
	return nil
}

// cold compares every reader's throughput from the disk with the disk's own.
func cold(r *result.Run) (*figure, error) {
	ps := pick(r, in(result.GroupCold), func(p *result.Point) float64 { return -p.FileBytes*1e6 - filesOf(p) })
	if len(ps) == 0 {
		return nil, nil
	}
	f := &figure{name: "cold", finding: coldFinding(r, ps), about: "from the disk: what each reader reaches of what fio does (nothing in the page cache)", legend: newLegend(), legendWidth: 235, width: 1050, height: 440,
		note: "nothing in the page cache before each batch"}
	p := newPlot("", "", "GB/s (median; fio: best of 3)")
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	shown := []string{result.Stock, result.StockPool, result.Published, result.GoDirect, result.Threads, result.URing, result.ThreadsReleased, result.URingReleased, result.FloorRotating}
	const width, spread = 9.0, 9.6
	for i, peer := range shown {
		v := make(plotter.Values, len(ps))
		for j, pt := range ps {
			if row := pt.Row(peer); row != nil && row.Wall.P50 > 0 {
				v[j] = pt.Bytes() / 1e6 / row.Wall.P50
			}
		}
		bars, err := plotter.NewBarChart(v, width)
		if err != nil {
			return nil, err
		}
		l := lookOf(peer)
		bars.Color, bars.LineStyle.Width, bars.Offset = l.color, 0, vg.Length((float64(i)-float64(len(shown)-1)/2)*spread)
		p.Add(bars)
		f.legend.Add(l.name, bars)
	}
	names := make([]string, len(ps))
	for j, pt := range ps {
		names[j] = fmt.Sprintf("%d x %s", pt.Files, sizeName(pt.Size))
		if err := diskLines(p, f, r, pt, float64(j), j == 0); err != nil {
			return nil, err
		}
	}
	p.NominalX(names...)
	p.Y.Max *= 1.04
	p.X.Min, p.X.Max = -0.5, float64(len(ps))-0.5
	f.panels = []*plot.Plot{p}
	return f, nil
}

// diskLines draws fio's results across a group of bars.
func diskLines(p *plot.Plot, f *figure, r *result.Run, pt *result.Point, at float64, legend bool) error {
	dashes := [][]vg.Length{nil, {4, 3}}
	n := 0
	for _, d := range r.Disk {
		if d.Files != pt.Files || d.Size != pt.Size {
			continue
		}
		line, err := plotter.NewLine(plotter.XYs{{X: at - 0.45, Y: d.MBps / 1e3}, {X: at + 0.45, Y: d.MBps / 1e3}})
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = black, 1.8, dashes[n%len(dashes)]
		p.Add(line)
		if legend {
			f.legend.Add("fio: "+d.Name, line)
		}
		n++
	}
	return nil
}

// overview has every warm point's speed against stock.
func overview(r *result.Run) (*figure, error) {
	ps := pick(r, func(p *result.Point) bool { return !in(result.GroupAblation)(p) }, func(*result.Point) float64 { return 0 })
	if len(ps) == 0 {
		return nil, nil
	}
	slices.Reverse(ps) // the first at the top
	p := newPlot("", "stock's time / this time (median of the ratios within each round)", "")
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = lightGrey, lightGrey
	p.Add(g)
	f := &figure{name: "overview", finding: overviewFinding(ps), about: "every point: how many times as fast as Loki's client", legend: newLegend(), legendWidth: 235,
		width: 950, height: vg.Length(120 + 17*len(ps)), note: "page cache warm and 2 CPUs where nothing else is said; unsafe: buffers are reused under live chunks", panels: []*plot.Plot{p}}
	for _, l := range looks {
		var xys plotter.XYs
		for at, pt := range ps {
			if row := pt.Row(l.peer); row != nil && !strings.HasPrefix(l.peer, "floor") && l.peer != result.Stock {
				xys = append(xys, plotter.XY{X: row.Ratio.P50, Y: float64(at)})
			}
		}
		if len(xys) == 0 {
			continue
		}
		points, err := plotter.NewScatter(xys)
		if err != nil {
			return nil, err
		}
		points.Color, points.Shape, points.Radius = l.color, l.shape, 3.6
		p.Add(points)
		f.legend.Add(l.name, points)
	}
	names := make([]string, len(ps))
	for at, pt := range ps {
		names[at] = pointName(pt)
	}
	one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(ps)) - 0.5}})
	if err != nil {
		return nil, err
	}
	p.Add(one)
	p.NominalY(names...)
	logAxis(&p.X)
	p.X.Min, p.X.Max = min(0.5, p.X.Min/1.1), max(4, p.X.Max*1.1)
	return f, nil
}

func pointName(p *result.Point) string {
	name := fmt.Sprintf("%d x %s", p.Files, sizeName(p.Size))
	if p.Callers > 1 {
		name += fmt.Sprintf(", %d callers", p.Callers)
	}
	if in(result.GroupOneCPU)(p) {
		name += ", 1 CPU"
	}
	if p.Cold {
		name += ", cold"
	}
	return name
}
