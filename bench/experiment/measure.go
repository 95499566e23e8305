// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/coldcache"
)

const (
	visitWish   = 50 * time.Millisecond // visits are at least about so long, for what is counted over one
	opsMin      = 2                     // of a warm visit
	opsMax      = 500
	callsOps    = 5        // whose system calls are counted
	linesBytes  = 16 << 20 // of the chunks whose every line is compared
	settleLimit = 600 * time.Millisecond
	repeatsMax  = 3 // of a warm visit that read from the disk
)

// errDiffers is returned where a reader's chunks are not stock's: there is nothing to time then.
var errDiffers = errors.New("returned other chunks than stock")

// errNotWarm is returned where a warm point reads from the disk.
var errNotWarm = errors.New("the page cache does not keep the store: too little memory, or somebody drops it")

// driver measures points.
type driver struct {
	exe       string // of this program
	unpatched string // the same program with an unmodified Loki, or ""
	stores    map[int]*chunkgen.Index
	cold      coldcache.How
	calls     bool // system calls can be counted
	begin     time.Time
	noise     []float64
}

// point measures one point: every reader opens and is compared with stock, then they read in turns, in
// another order each round, so that whatever else the machine does hits all alike.
func (d *driver) point(ctx context.Context, s *spec, title string) (*result.Point, error) {
	x := d.stores[s.size]
	readers, err := d.open(ctx, s, x)
	defer func() {
		for _, r := range readers {
			r.stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := compare(s, x, readers); err != nil {
		return nil, err
	}
	ops, err := settle(s, readers)
	if err != nil {
		return nil, err
	}
	p := s.point()
	for _, r := range x.Refs[:s.files] {
		p.FileBytes += float64(r.Size) / float64(s.files)
	}
	visits, err := d.rounds(s, x, readers, ops, p, cli.Progress(title))
	if err != nil {
		return nil, err
	}
	for i, r := range readers {
		row := summarize(r, visits[i], visits[0])
		if d.calls && !s.cold {
			rep, err := r.ask(request{Do: doCalls, Ops: callsOps})
			if err != nil {
				return nil, err
			}
			row.Calls = &rep.Calls
		}
		rep, err := r.ask(request{Do: doEnd})
		if err != nil {
			return nil, err
		}
		row.PeakMB = rep.PeakMB
		p.Rows = append(p.Rows, row)
	}
	return p, nil
}

func (d *driver) open(ctx context.Context, s *spec, x *chunkgen.Index) ([]*reader, error) {
	var readers []*reader
	for _, name := range s.peers {
		exe, cfg := d.exe, childConfig{Dir: x.Dir(), Peer: name, Files: s.files, Callers: s.callers}
		if peer, unpatched := strings.CutSuffix(name, result.Unpatched); unpatched {
			exe, cfg.Peer = d.unpatched, peer
		}
		r, err := startReader(ctx, exe, name, cfg, s.cpus)
		if err != nil {
			return readers, err
		}
		readers = append(readers, r)
	}
	return readers, nil
}

// compare aborts where a reader returns anything else than stock, the first.
func compare(s *spec, x *chunkgen.Index, readers []*reader) error {
	every := s.linesEvery(int(x.Bytes()) / len(x.Refs))
	digests, err := all(readers, func(r *reader) (string, error) {
		rep, err := r.ask(request{Do: doDigest, LinesEvery: every})
		return rep.Digest, err
	})
	if err != nil {
		return err
	}
	for i, r := range readers {
		if digests[i] != digests[0] && digests[i] != "" {
			return fmt.Errorf("%s: %w", r.name, errDiffers)
		}
	}
	if digests[0] == "" {
		return errors.New("stock returned nothing to compare with")
	}
	return nil
}

// settle brings every reader's heap to its size, and says how many GetChunks each makes in a visit.
func settle(s *spec, readers []*reader) ([]int, error) {
	return all(readers, func(r *reader) (int, error) {
		rep, err := r.ask(request{Do: doSettle, Limit: settleLimit})
		if s.cold {
			return 1, err
		}
		return min(max(opsMin, int(visitWish/max(rep.Op, 1))), opsMax), err
	})
}

// all asks two readers at a time: this is no measure.
func all[T any](readers []*reader, ask func(*reader) (T, error)) ([]T, error) {
	out := make([]T, len(readers))
	var g errgroup.Group
	g.SetLimit(2)
	for i, r := range readers {
		g.Go(func() (err error) {
			out[i], err = ask(r)
			return err
		})
	}
	return out, g.Wait()
}

func (d *driver) rounds(s *spec, x *chunkgen.Index, readers []*reader, ops []int, p *result.Point, step func(done, total int)) ([][]visit, error) {
	visits := make([][]visit, len(readers))
	begin := time.Now()
	var noise []float64
	for p.Rounds < s.rounds[1] && (p.Rounds < s.rounds[0] || time.Since(begin) < s.cap) {
		noise = append(noise, cpuLoop().Seconds())
		for _, i := range rand.New(rand.NewPCG(uint64(p.Rounds), uint64(s.files))).Perm(len(readers)) {
			v, repeated, err := d.visit(s, x, readers[i], ops[i])
			if err != nil {
				return nil, err
			}
			p.Repeated += repeated
			visits[i] = append(visits[i], v)
		}
		p.Rounds++
		bySpent := int(float64(s.rounds[1]) * time.Since(begin).Seconds() / s.cap.Seconds())
		step(max(p.Rounds, min(bySpent, s.rounds[1]-1)), s.rounds[1])
	}
	step(s.rounds[1], s.rounds[1])
	d.noise = append(d.noise, noise...)
	p.Noise = stats.Of(noise).Spread()
	return visits, nil
}

// visit has one reader read: from the page cache, all of it, or from the disk.
func (d *driver) visit(s *spec, x *chunkgen.Index, r *reader, ops int) (v visit, repeated int, err error) {
	for ; ; repeated++ {
		warm := 1
		if s.cold {
			warm = 0
			if err := d.makeCold(x); err != nil {
				return v, 0, err
			}
		}
		rep, err := r.ask(request{Do: doVisit, Ops: ops, Warm: warm})
		if err != nil {
			return v, 0, err
		}
		v = rep.Visit
		switch {
		case s.cold || v.DiskMB == 0:
			return v, repeated, nil
		case repeated == repeatsMax:
			return v, 0, fmt.Errorf("%s read %.1f MB from the disk, again and again: %w", r.name, v.DiskMB, errNotWarm)
		}
	}
}

// makeCold makes the kernel forget the store. It fails where the pages are still there.
func (d *driver) makeCold(x *chunkgen.Index) error {
	names := make([]string, len(x.Refs))
	for i, r := range x.Refs {
		names[i] = x.Path(r)
	}
	if err := d.cold.Drop(names); err != nil {
		return err
	}
	const enough = 20 // files, to see whether it worked
	return coldcache.Check(names[:min(len(names), enough)])
}

func summarize(r *reader, visits, stock []visit) result.Row {
	row := result.Row{Peer: r.name, Label: ablationLabel(r.name), Backend: r.backend}
	var walls, ratios, cpu []float64
	var chunks, ops float64
	for i, v := range visits {
		for _, w := range v.Walls {
			walls = append(walls, milliseconds(w))
		}
		row.Visits = append(row.Visits, visitMedian(v))
		ratios = append(ratios, visitMedian(stock[i])/visitMedian(v))
		ops += float64(len(v.Walls))
		chunks += float64(v.Chunks)
		cpu = append(cpu, milliseconds(v.CPU)/float64(len(v.Walls)))
		row.ReadMB += v.DiskMB
		row.AllocatedBytes += float64(v.Bytes)
		row.Allocations += float64(v.Allocs)
		row.Faults += float64(v.Faults)
		row.Switches += float64(v.Switches)
	}
	row.Wall, row.Ratio = stats.Of(walls), stats.Of(ratios)
	row.CPU, row.ReadMB = stats.Of(cpu).P50, row.ReadMB/ops
	for _, f := range []*float64{&row.AllocatedBytes, &row.Allocations, &row.Faults, &row.Switches} {
		*f /= chunks
	}
	return row
}

func visitMedian(v visit) float64 {
	w := slices.Sorted(slices.Values(v.Walls))
	return milliseconds(w[len(w)/2])
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

func (s *spec) point() *result.Point {
	return &result.Point{Groups: s.groups, Files: s.files, Size: s.size, Callers: s.callers, CPUs: s.cpus, Cold: s.cold}
}

// title says what a point is.
func (s *spec) title() string {
	cache := "warm"
	if s.cold {
		cache = "cold"
	}
	return fmt.Sprintf("%s: %d x %d KB, %s, %d callers, %d CPUs", strings.Join(s.groups, "+"), s.files, s.size/1000, cache, s.callers, s.cpus)
}
