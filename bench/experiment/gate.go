// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
)

// baseline is what the gate compares with: stock's time over chunkring's, by point and reader.
type baseline struct {
	Machine result.Machine                   `json:"machine"`
	Ratios  map[string]map[string]stats.Dist `json:"ratios"`
}

// line is one ratio and what the gate thinks of it.
type line struct {
	point, peer string
	stockMs, ms float64
	now, before stats.Dist
	known       bool // the baseline has it
	allowed     float64
	verdict     stats.Verdict
}

// check is the regression gate. What fell is measured once more before it counts.
func (d *driver) check(ctx context.Context, o options, p plan, m result.Machine) error {
	base := baseline{Machine: m, Ratios: map[string]map[string]stats.Dist{}}
	if !o.update {
		var err error
		if base, err = loadBaseline(o.baseline); err != nil {
			return err
		}
		if base.Machine.Name != m.Name {
			fmt.Fprintf(os.Stderr, "experiment: the baseline is of another machine (%s, not %s): ratios differ between machines, so -update it here first\n", base.Machine.Name, m.Name)
		}
	}
	var lines []line
	for i, s := range p {
		point, err := d.point(ctx, s, fmt.Sprintf("%d/%d %s", i+1, len(p), s.title()))
		if err != nil {
			return fmt.Errorf("%s: %w", s.title(), err)
		}
		if o.update {
			base.add(point)
			continue
		}
		judged := base.judge(point)
		if count(judged, stats.Held) < len(judged) {
			if point, err = d.point(ctx, s, "once more "+s.title()); err != nil {
				return fmt.Errorf("%s: %w", s.title(), err)
			}
			judged = base.judge(point)
		}
		lines = append(lines, judged...)
	}
	if o.update {
		fmt.Fprintln(os.Stderr, "experiment: writing", o.baseline)
		return result.Save(o.baseline, base)
	}
	printGate(os.Stdout, lines)
	return decide(lines)
}

func loadBaseline(name string) (baseline, error) {
	var b baseline
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return b, fmt.Errorf("%w: -update makes it", err)
	}
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

func (b *baseline) add(p *result.Point) {
	ratios := map[string]stats.Dist{}
	for _, row := range p.Rows {
		if row.Peer != peers.Stock {
			ratios[row.Peer] = row.Ratio
		}
	}
	b.Ratios[p.Name()] = ratios
}

func (b *baseline) judge(p *result.Point) []line {
	var lines []line
	for _, row := range p.Rows {
		if row.Peer == peers.Stock {
			continue
		}
		l := line{point: p.Name(), peer: row.Peer, stockMs: p.Rows[0].Wall.P50, ms: row.Wall.P50, now: row.Ratio, verdict: stats.Held}
		if l.before, l.known = b.Ratios[p.Name()][row.Peer]; l.known {
			l.verdict, l.allowed = stats.Judge(l.before, l.now)
		}
		lines = append(lines, l)
	}
	return lines
}

func count(lines []line, v stats.Verdict) (n int) {
	for _, l := range lines {
		if l.verdict == v {
			n++
		}
	}
	return n
}

func printGate(w io.Writer, lines []line) {
	fmt.Fprintf(w, "| point | reader | stock ms | ms | stock/this [95 %% of the median] | baseline | may fall by | |\n|---|---|---|---|---|---|---|---|\n")
	for _, l := range lines {
		was, verdict := fmt.Sprintf("%.2f", l.before.P50), string(l.verdict)
		if !l.known {
			was, verdict = "none", "new"
		}
		fmt.Fprintf(w, "| %s | %s | %.2f | %.2f | %.2f [%.2f %.2f] | %s | %.0f %% | %s |\n",
			l.point, l.peer, l.stockMs, l.ms, l.now.P50, l.now.Low, l.now.High, was, 100*l.allowed, verdict)
	}
}

// decide is the gate's end: an error if a ratio fell, errNoisy if that could not be told.
func decide(lines []line) error {
	var fell []string
	for _, l := range lines {
		if l.verdict == stats.Fell {
			fell = append(fell, fmt.Sprintf("%s at %s: %.2f, was %.2f", l.peer, l.point, l.now.P50, l.before.P50))
		}
	}
	if fell != nil {
		return fmt.Errorf("slower against stock than the baseline: %s", strings.Join(fell, "; "))
	}
	if n := count(lines, stats.Noisy); n > 0 {
		return fmt.Errorf("%d ratios are too noisy to tell whether they fell; %w", n, errNoisy)
	}
	return nil
}
