// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"maps"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/test/soakresult"
)

// overTime adds one quantity of a soak to a plot as a line. What is zero could not be read, as sampling
// needs a descriptor, too, or is the time of an operation that there was none of.
func overTime(p *plot.Plot, s *soakresult.Run, name string, c color.RGBA, dashed bool, of func(*soakresult.Sample) float64) error {
	var xy plotter.XYs
	for i := range s.Samples {
		if y := of(&s.Samples[i]); y > 0 {
			xy = append(xy, plotter.XY{X: s.Samples[i].Seconds / 60, Y: y})
		}
	}
	line, err := plotter.NewLine(xy)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, 1.2
	if dashed {
		line.Dashes = lookOf(result.StockPool).dashes
	}
	p.Add(line)
	p.Legend.Add(name, line)
	return nil
}

// soakPlot is a soak over time: memory, what could leak, and latencies.
func soakPlot(s *soakresult.Run) (*figure, error) {
	memory := newPlot("memory", "minutes", "MB")
	counts := newPlot("descriptors, threads, goroutines", "minutes", "")
	latency := newPlot("one call: median and 99th percentile", "minutes", "ms")
	logAxis(&latency.Y)
	f := &figure{name: "soak", about: "soak over time",
		finding: fmt.Sprintf("%.0f minutes of everything at once: %d GB compared byte by byte, %d wrong", s.Seconds/60, s.Counts.Bytes/1e9, s.WrongN),
		note:    fmt.Sprintf("%s, %s; %s", s.Machine, s.Go, strings.Join(slices.Sorted(maps.Values(s.Limits)), ", ")), panels: []*plot.Plot{memory, counts, latency}, width: 1150, height: 400}
	for _, p := range f.panels {
		grid(p)
		p.Legend.Top = true
	}
	type curve struct {
		on     *plot.Plot
		name   string
		color  color.RGBA
		dashed bool
		of     func(*soakresult.Sample) float64
	}
	curves := []curve{
		{memory, "RSS without mapped files", blue, false, func(x *soakresult.Sample) float64 { return x.AnonMB }},
		{memory, "live Go heap", skyBlue, false, func(x *soakresult.Sample) float64 { return x.HeapMB }},
		{counts, "descriptors", vermillion, false, func(x *soakresult.Sample) float64 { return float64(x.FDs) }},
		{counts, "threads", black, false, func(x *soakresult.Sample) float64 { return float64(x.Threads) }},
		{counts, "goroutines", green, true, func(x *soakresult.Sample) float64 { return float64(x.Goroutines) }},
	}
	if len(s.Samples) > 0 && s.Samples[0].GroupMB > 0 {
		curves = append(curves, curve{memory, "control group, with page cache", grey, false, func(x *soakresult.Sample) float64 { return x.GroupMB }})
	}
	colors := map[string]color.RGBA{"get": blue, "get pooled": green, "query": vermillion, "put": orange, "delete": purple}
	for _, op := range soakresult.Ops {
		curves = append(curves,
			curve{latency, op, colors[op], false, func(x *soakresult.Sample) float64 { return x.Ops[op].P50 }},
			curve{latency, op + ", p99", colors[op], true, func(x *soakresult.Sample) float64 { return x.Ops[op].P99 }})
	}
	for _, c := range curves {
		if err := overTime(c.on, s, c.name, c.color, c.dashed, c.of); err != nil {
			return nil, err
		}
	}
	for _, p := range []*plot.Plot{memory, counts} {
		p.Y.Min, p.Y.Max = 0, p.Y.Max*1.3 // room for the legend
	}
	latency.Y.Max *= 1000
	return f, nil
}

func reportSoak(in, out string) error {
	s, err := soakresult.Load(in)
	if err != nil {
		return err
	}
	if len(s.Samples) < 2 {
		return fmt.Errorf("%s: %d samples make no plot", in, len(s.Samples))
	}
	f, err := soakPlot(s)
	if err != nil {
		return err
	}
	return f.save(out)
}
