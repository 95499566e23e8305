// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/procstat"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/coldcache"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	slowQuery   = 300 * time.Millisecond // from here on, -pairs-slow
	warmUpsWarm = 2
	warmUpsCold = 1
)

// contender is a Loki under test, and what was measured of one query.
type contender struct {
	*lokiproc.Proc
	tally      lokiproc.Tally
	samples    []result.E2ESample
	peak, anon int64         // RSS in this query, and its anonymous part
	diskBefore int64         // read from the disk before this query
	disk       int64         // and for it, all rounds
	readChunks bool          // some query did
	peakAll    int64         // and in all of this store
	idleCPU    time.Duration // spent while others were asked
	idle       time.Duration // that others were asked
}

// course is a store with the Lokis that read it.
type course struct {
	store
	setup
	bench      *bench
	files      []string
	contenders []*contender
}

// setup is how the Lokis over a store are run, and what they are asked.
type setup struct {
	name    string // in the name of the row; empty for the usual one
	args    []string
	queries []corpus.Query
}

// splitInterval is a fraction of what a full chunk covers.
const splitInterval = "15m"

func (s store) setups() []setup {
	switch {
	case s.Wide:
		return []setup{{queries: corpus.WideQueries()}}
	case s.Tiny > 0:
		return []setup{{queries: corpus.Queries(true)}}
	}
	return []setup{{queries: corpus.FullQueries()},
		{"splits of " + splitInterval, []string{"-querier.split-queries-by-interval=" + splitInterval}, corpus.SplitQueries(splitInterval)}}
}

// chosen are the queries that the flags ask for.
func (s setup) chosen(b *bench) (queries []corpus.Query) {
	for _, q := range s.queries {
		if b.shapes.MatchString(q.Name) {
			queries = append(queries, q)
		}
	}
	return queries
}

// measureStore measures all setups over a store, and crowds.
func (b *bench) measureStore(ctx context.Context, s store) error {
	files, _, err := lokiproc.ChunkFiles(s.dir, corpus.Tenant)
	if err != nil {
		return err
	}
	if len(files) != s.Chunks {
		return fmt.Errorf("%d chunk files, the manifest says %d; remove %s", len(files), s.Chunks, s.dir)
	}
	if b.cold || len(b.crowdsOf(s)) > 0 {
		if err := errors.Join(b.drop.Drop(files), coldcache.Check(files)); err != nil {
			return err
		}
	}
	for _, how := range s.setups() {
		if len(how.chosen(b)) == 0 {
			continue
		}
		c := &course{store: s, setup: how, bench: b, files: files}
		if err := c.run(ctx); err != nil {
			return err
		}
	}
	return b.measureCrowds(ctx, s, files)
}

// run starts the contenders, asks everything, and ends them.
func (c *course) run(ctx context.Context) error {
	b, s := c.bench, c.store
	for _, build := range b.contenders() {
		build.Args = append(slices.Clone(build.Args), c.args...)
		p, err := b.Launch(build, strings.TrimSpace("read "+s.name+" "+c.setup.name)+" "+build.Name, lokiproc.Config{Store: s.dir, CacheMB: b.cacheMB})
		if err != nil {
			return err
		}
		c.contenders = append(c.contenders, &contender{Proc: p})
	}
	for _, p := range c.contenders {
		if err := p.WaitReady(ctx); err != nil {
			return err
		}
		if err := checkBackend(ctx, p); err != nil {
			return err
		}
	}
	if err := c.queries(ctx); err != nil {
		return err
	}
	c.reportMemory()
	for _, p := range c.contenders {
		if p.readChunks {
			m, err := p.Metrics(ctx)
			if err != nil {
				return err
			}
			if err := lokiproc.CheckBlocks(p.Build, m, false); err != nil {
				return err
			}
		}
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// checkBackend: what is measured is what the table will say.
func checkBackend(ctx context.Context, p *contender) error {
	m, err := p.Metrics(ctx)
	if err != nil {
		return err
	}
	if got := m.Backend(); got != p.Backend {
		return fmt.Errorf("%s: chunkring's back-end is %q, not %q (-backend)", p.Label, got, p.Backend)
	}
	return nil
}

func (c *course) queries(ctx context.Context) error {
	for _, sh := range c.chosen(c.bench) {
		for _, cold := range []bool{false, true} {
			if cold && !c.bench.cold || !cold && !c.bench.warm {
				continue
			}
			if err := c.measure(ctx, sh, cold); err != nil {
				return fmt.Errorf("%s, %s: %w", sh.Name, stateName(cold), err)
			}
			if err := c.profiles(ctx, sh, cold); err != nil {
				return err
			}
		}
	}
	return nil
}

func stateName(cold bool) string {
	if cold {
		return "cold"
	}
	return "warm"
}

// measure asks one query in turns (A B, B A, ...), so that whatever else the machine does hits all alike.
func (c *course) measure(ctx context.Context, sh corpus.Query, cold bool) error {
	for _, p := range c.contenders {
		p.samples, p.tally, p.anon = nil, lokiproc.Tally{}, 0
		if err := p.tally.Begin(ctx, p.Proc); err != nil {
			return err
		}
		var err error
		if p.diskBefore, err = procstat.ReadFromDisk(p.PID()); err != nil {
			return err
		}
		if err := procstat.ResetPeak(p.PID()); err != nil {
			return err
		}
	}
	warmUps, rounds := warmUpsWarm, c.bench.pairs
	if cold {
		warmUps = warmUpsCold
	}
	step := cli.Progress(fmt.Sprintf("%s: %s, %s", c.store.name, sh.Name, stateName(cold)))
	var want lokiproc.Answer
	for round := 0; round < warmUps+rounds; round++ {
		for i := range c.contenders {
			p := c.contenders[(i+round)%len(c.contenders)]
			got, s, err := c.turn(ctx, p, sh, cold)
			if err != nil {
				return err
			}
			if want.Text == nil { // in the first round the first is the unpatched Loki
				want = got
				err = checkAnswer(sh, got, c.Written)
			} else if !bytes.Equal(want.Text, got.Text) {
				err = fmt.Errorf("%s: the answer differs from stock's first %s", p.Label, lokiproc.Difference(want.Text, got.Text))
			}
			if err != nil {
				return err
			}
			if round >= warmUps {
				p.samples = append(p.samples, s)
			} else if i == 0 && round == warmUps-1 && got.Wall >= slowQuery {
				rounds = c.bench.slowPairs
			}
		}
		step(round+1, warmUps+rounds)
	}
	return c.finish(ctx, sh, cold, want)
}

func checkAnswer(sh corpus.Query, a lokiproc.Answer, w corpus.Written) error {
	if sh.Check == nil {
		return nil
	}
	return sh.Check(a, w)
}

// finish checks who read the chunks, and adds the rows of the table.
func (c *course) finish(ctx context.Context, sh corpus.Query, cold bool, a lokiproc.Answer) error {
	for _, p := range c.contenders {
		if sh.Chunks {
			if _, err := p.tally.End(ctx, p.Proc, c.bench.cacheMB > 0); err != nil {
				return err
			}
			p.readChunks = true
		}
		var err error
		if p.peak, err = procstat.PeakRSS(p.PID()); err != nil {
			return err
		}
		p.peakAll = max(p.peakAll, p.peak)
		disk, err := procstat.ReadFromDisk(p.PID())
		if err != nil {
			return err
		}
		p.disk = disk - p.diskBefore
	}
	for _, p := range c.contenders[1:] {
		addRow(&c.bench.E2E, c.contenders[0], p, result.E2ERow{Store: c.store.name, Query: sh.Name, State: stateName(cold), Chunks: a.Downloaded})
	}
	return nil
}

// turn asks one Loki. Its CPU time counts until it has come to rest, so that a collection of garbage that
// goes on after the answer is its own and no burden to the next one.
func (c *course) turn(ctx context.Context, p *contender, sh corpus.Query, cold bool) (lokiproc.Answer, result.E2ESample, error) {
	if cold {
		if err := c.bench.drop.Drop(c.files); err != nil {
			return lokiproc.Answer{}, result.E2ESample{}, err
		}
	}
	before, err := c.cpuTimes()
	if err != nil {
		return lokiproc.Answer{}, result.E2ESample{}, err
	}
	begin := time.Now()
	stop := procstat.WatchAnonymous(p.PID())
	a, err := lokiproc.Ask(ctx, p.Proc, corpus.Tenant, sh.Query)
	settled := procstat.Settle(p.PID())
	anon, watched := stop()
	if err := errors.Join(err, settled, watched); err != nil {
		return a, result.E2ESample{}, err
	}
	p.anon = max(p.anon, anon)
	after, err := c.cpuTimes()
	if err != nil {
		return a, result.E2ESample{}, err
	}
	p.tally.Add(a)
	s := result.E2ESample{WallMs: ms(a.Wall), FetchMs: ms(a.Fetching)}
	for i, other := range c.contenders {
		spent := after[i] - before[i]
		if other == p {
			s.CPUMs = ms(spent)
		} else {
			other.idleCPU += spent
			other.idle += time.Since(begin)
		}
	}
	return a, s, nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

func (c *course) cpuTimes() ([]time.Duration, error) {
	var all []time.Duration
	for _, p := range c.contenders {
		t, err := procstat.CPUTime(p.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// reportMemory notes the peaks of this store's processes.
func (c *course) reportMemory() {
	m := result.E2EMemory{Store: strings.TrimSpace(c.store.name + " " + c.setup.name), PeakMB: map[string]float64{}, IdleCPUPercent: map[string]float64{}}
	for _, p := range c.contenders {
		m.PeakMB[p.Name] = float64(p.peakAll) / 1e6
		m.IdleCPUPercent[p.Name] = 100 * p.idleCPU.Seconds() / max(p.idle.Seconds(), 1e-3)
	}
	c.bench.Memory = append(c.bench.Memory, m)
}
