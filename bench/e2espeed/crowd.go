// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/memgroup"
	"github.com/chunkring/chunkring/bench/internal/procstat"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// killedWithin is how long after a connection broke a Loki that was killed has ended.
const killedWithin = 10 * time.Second

// crowdsOf are the crowds that a store's Lokis are asked.
func (b *bench) crowdsOf(s store) (chosen []corpus.Crowd) {
	if b.crowd == 0 || s.Tiny > 0 || s.Wide {
		return nil
	}
	for _, c := range corpus.Crowds(b.crowd) {
		if b.shapes.MatchString(c.Name) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// leaveOutCrowds says now, not in an hour, that no control group can be made. Without its limit nothing is asked.
func (b *bench) leaveOutCrowds(stores []store) {
	if !slices.ContainsFunc(stores, func(s store) bool { return len(b.crowdsOf(s)) > 0 }) {
		return
	}
	g, err := b.newGroup()
	if err == nil {
		err = g.Remove()
	}
	if err != nil {
		why := fmt.Sprintf("%d queries at once with %d MiB of memory: %v", b.crowd, b.crowdMiB, err)
		b.Header.LeftOut = append(b.Header.LeftOut, why)
		b.crowd = 0
		fmt.Fprintln(os.Stderr, "left out:", why)
	}
}

func (b *bench) limit() int64 { return int64(b.crowdMiB) << 20 }

func (b *bench) newGroup() (*memgroup.Group, error) {
	b.groups++
	return memgroup.New(fmt.Sprintf("e2espeed-%d-%d", os.Getpid(), b.groups), b.limit())
}

// crowd is many queries at once over one store, and what has been measured.
type crowd struct {
	corpus.Crowd
	bench *bench
	store store
	files []string
	want  map[string][]byte // answers, by the query's name
}

func (b *bench) measureCrowds(ctx context.Context, s store, files []string) error {
	for _, asked := range b.crowdsOf(s) {
		c := &crowd{Crowd: asked, bench: b, store: s, files: files, want: map[string][]byte{}}
		if err := c.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

func (c *crowd) measure(ctx context.Context) error {
	builds := c.bench.contenders()
	if err := c.learn(ctx, builds[0]); err != nil {
		return err
	}
	row := result.E2ECrowd{Store: c.store.name, Name: c.Name, Queries: len(c.Queries), LimitMiB: c.bench.crowdMiB, Rounds: c.bench.crowdRounds}
	for _, build := range builds {
		row.Lokis = append(row.Lokis, result.E2ECrowdLoki{Name: build.Name})
	}
	step := cli.Progress(c.store.name + ": " + c.Name)
	for round := range row.Rounds {
		for i := range builds {
			which := (i + round) % len(builds)
			if err := c.round(ctx, builds[which], &row.Lokis[which]); err != nil {
				return err
			}
		}
		step(round+1, row.Rounds)
	}
	for i := range row.Lokis {
		l := &row.Lokis[i]
		if len(l.Walls) > 0 {
			l.WallMs, l.CPUMs, l.DiskMB = result.SpreadOf(l.Walls), result.SpreadOf(l.CPUs), result.SpreadOf(l.DiskReads)
		}
	}
	c.bench.Crowds = append(c.bench.Crowds, row)
	return nil
}

// learn has an unpatched Loki without a limit say what the answers are.
func (c *crowd) learn(ctx context.Context, stock lokiproc.Build) error {
	p, err := c.bench.Start(ctx, stock, "answer "+c.store.name, lokiproc.Config{Store: c.store.dir, CacheMB: c.bench.cacheMB})
	if err != nil {
		return err
	}
	for _, q := range c.Queries {
		if c.want[q.Name] != nil {
			continue
		}
		a, err := lokiproc.Ask(ctx, p, corpus.Tenant, q.Query)
		if err == nil {
			err = checkAnswer(q, a, c.store.Written)
		}
		if err != nil {
			return err
		}
		c.want[q.Name] = a.Text
	}
	return p.Stop()
}

// round starts a Loki in a group of its own, asks everything at once, and ends it.
func (c *crowd) round(ctx context.Context, build lokiproc.Build, l *result.E2ECrowdLoki) (err error) {
	g, err := c.bench.newGroup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Remove()) }()
	// Pages that others had read would count for them, not for this group.
	if err := c.bench.drop.Drop(c.files); err != nil {
		return err
	}
	build.Wrap = g.Wrap()
	p, err := c.bench.Launch(build, "crowd "+c.store.name+" "+build.Name, lokiproc.Config{Store: c.store.dir, CacheMB: c.bench.cacheMB})
	if err != nil {
		return err
	}
	defer p.Kill() // before its group is removed
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	if err := errors.Join(g.Check(p.PID(), c.bench.limit()), checkBackend(ctx, &contender{Proc: p})); err != nil {
		return err
	}
	if err := c.ask(ctx, p, g, l); err != nil {
		return err
	}
	peak, err := g.Peak()
	l.GroupMB = max(l.GroupMB, float64(peak)/1e6)
	return err
}

// spent is what a process has needed so far.
type spent struct {
	cpu  time.Duration
	disk int64
}

func spentBy(pid int) (s spent, err error) {
	if s.cpu, err = procstat.CPUTime(pid); err != nil {
		return s, err
	}
	s.disk, err = procstat.ReadFromDisk(pid)
	return s, err
}

// ask asks everything at once, and notes what became of it.
func (c *crowd) ask(ctx context.Context, p *lokiproc.Proc, g *memgroup.Group, l *result.E2ECrowdLoki) error {
	before, err := spentBy(p.PID())
	if err != nil {
		return err
	}
	stop := procstat.WatchAnonymous(p.PID())
	begin := time.Now()
	answered, failed, wrong := c.askAll(ctx, p)
	wall := time.Since(begin)
	anon, watched := stop()
	if err := errors.Join(wrong, watched, ctx.Err()); err != nil {
		return err
	}
	l.Answered += answered
	l.AnonMB = max(l.AnonMB, float64(anon)/1e6)
	if failed != nil {
		return noteFailure(p, g, l, failed)
	}
	if err := procstat.Settle(p.PID()); err != nil {
		return err
	}
	after, err := spentBy(p.PID())
	if err != nil {
		return err
	}
	l.Walls, l.CPUs = append(l.Walls, ms(wall)), append(l.CPUs, ms(after.cpu-before.cpu))
	l.DiskReads = append(l.DiskReads, float64(after.disk-before.disk)/1e6)
	return g.Check(p.PID(), c.bench.limit())
}

// noteFailure: a Loki that the kernel killed for want of memory, or that was too slow, is a result. All else is an error.
func noteFailure(p *lokiproc.Proc, g *memgroup.Group, l *result.E2ECrowdLoki, failed error) error {
	late := errors.Is(failed, context.DeadlineExceeded)
	if !late && p.WaitKilled(killedWithin) {
		kills, err := g.Kills()
		if err != nil {
			return err
		}
		if kills == 0 {
			return fmt.Errorf("%s was killed, and not for want of memory: %w", p.Label, failed)
		}
		l.Killed++
		return nil
	}
	if late {
		l.Late++
		return nil
	}
	return failed
}

// askAll returns how many queries were answered as they must be, why the first of the others was not, and that an
// answer was wrong.
func (c *crowd) askAll(ctx context.Context, p *lokiproc.Proc) (answered int, failed, wrong error) {
	ctx, cancel := context.WithTimeout(ctx, c.bench.crowdTime)
	defer cancel()
	type reply struct {
		failed, wrong error
	}
	replies := make(chan reply, len(c.Queries))
	for _, q := range c.Queries {
		go func() {
			a, err := lokiproc.Ask(ctx, p, corpus.Tenant, q.Query)
			r := reply{failed: err}
			if err == nil && !bytes.Equal(a.Text, c.want[q.Name]) {
				r.wrong = fmt.Errorf("%s: %s: the answer differs from stock's %s", p.Label, q.Name, lokiproc.Difference(c.want[q.Name], a.Text))
			}
			replies <- r
		}()
	}
	for range c.Queries {
		r := <-replies
		switch {
		case r.wrong != nil:
			wrong = r.wrong
		case r.failed == nil:
			answered++
		case failed == nil:
			failed = r.failed
		}
	}
	return answered, failed, wrong
}
