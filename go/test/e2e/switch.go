// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	switchWriters = 3
	switchQueries = 5 // every n-th is asked about the history
	// Answers that are given before the next process is replaced, so that each mixture of versions is asked.
	switchAnswers = 30
)

// switchLoki is a simple scalable Loki over one directory, whose processes are replaced one after the other.
//
// It is the smallest in which that fails no query, loses no line and has none twice:
//   - Three writers, and three replicas of each line. A push is taken when two have it, and a query asks two. With two and
//     two no query fails either, but a push fails when a writer stops that another one has already taken; it is repeated, and
//     then Loki may have its lines twice. One writer has a gap in which queries fail.
//   - Two readers. Each is frontend and queriers, and reads the index in the shared directory itself (index gateways would
//     be the backend's, and would have to be two as well).
//   - One backend. It has the compactor, which no query waits for.
//   - A load balancer that leaves a process alone before it is stopped. A query-frontend that stops answers 500 ("queue is
//     stopped"), and a distributor leaves a push unanswered (seen of 3.5.7).
type switchLoki struct {
	*clients
	dir                       string           // chunks and index
	writers, backend, readers []*lokiproc.Proc // one backend
}

// servers first: a reader sends its queries to writers, and an older one understands less.
func (s *switchLoki) forth() []*lokiproc.Proc {
	return slices.Concat(s.writers, s.backend, s.readers)
}

func (s *switchLoki) back() []*lokiproc.Proc {
	return slices.Concat(s.readers, s.backend, s.writers)
}

// switchOver replaces the processes of an older unpatched Loki by those of ours, one after the other, and goes back: to
// the unpatched Loki of the same version, and to the older one. Lines are pushed and queries are asked all the time. After each
// round every line that was taken is there once, and the answers over what the old Loki had written before are the
// same. In the end, so they are in the store alone, for each of the three.
func (t *test) switchOver(ctx context.Context) error {
	old := lokiproc.Build{Name: "old", Bin: t.old}
	s := &switchLoki{clients: &clients{start: time.Now().Truncate(time.Second)}, dir: filepath.Join(t.Root, "store-switch")}
	if err := t.writeHistory(ctx, s, old); err != nil {
		return fmt.Errorf("switch, history: %w", err)
	}
	if err := t.startSwitch(ctx, s, old); err != nil {
		return fmt.Errorf("switch, start: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	stop := make(chan struct{})
	s.work(gctx, g, stop)
	g.Go(func() error {
		defer close(stop)
		return t.rounds(gctx, s, old)
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("switch, under load: %w", err)
	}
	t.say("switch: %d answers under load, all right; %d pushes repeated", s.answered.Load(), s.repeated.Load())
	t.asked += int(s.answered.Load())
	t.compared += int(s.answered.Load())
	if err := t.storeAlone(ctx, s, old); err != nil {
		return fmt.Errorf("switch, the store alone: %w", err)
	}
	return nil
}

// writeHistory has the old Loki write a tenant for each codec, and answer queries about it.
func (t *test) writeHistory(ctx context.Context, s *switchLoki, old lokiproc.Build) error {
	var procs []*lokiproc.Proc
	for _, codec := range t.codecs {
		p, err := t.Launch(old, "switch write "+codec, lokiproc.Config{Store: s.dir, Codec: codec, Name: "history-" + codec})
		if err != nil {
			return err
		}
		procs = append(procs, p)
	}
	var g errgroup.Group
	for _, p := range procs {
		g.Go(func() error {
			if err := p.WaitReady(ctx); err != nil {
				return err
			}
			if err := lokiproc.Push(ctx, p, p.Cfg.Codec, t.corpus.pushBatches(3000, 0, 1)); err != nil {
				return err
			}
			if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
				return err
			}
			return p.Stop()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p, err := t.Start(ctx, old, "switch oracle", lokiproc.Config{Store: s.dir})
	if err != nil {
		return err
	}
	for _, codec := range t.codecs {
		for _, q := range someQueries(switchQueries) {
			if !q.Chunks || q.Unordered {
				continue // depends on how chunks are cut
			}
			a, err := lokiproc.Ask(ctx, p, codec, q)
			if err != nil {
				return err
			}
			if err := t.checkTotal(q, a); err != nil {
				return err
			}
			want, err := sortStreams(a.Text)
			if err != nil {
				return err
			}
			s.history = append(s.history, expectation{q, codec, want})
		}
	}
	t.say("switch: the old Loki wrote %d tenants, a codec each, and answered %d queries", len(t.codecs), len(s.history))
	return p.Stop()
}

func (t *test) startSwitch(ctx context.Context, s *switchLoki, old lokiproc.Build) error {
	members := []struct {
		target, name string
		of           *[]*lokiproc.Proc
	}{
		{"write", "write-1", &s.writers}, {"write", "write-2", &s.writers}, {"write", "write-3", &s.writers},
		{"read", "read-1", &s.readers}, {"read", "read-2", &s.readers},
		{"backend", "backend", &s.backend},
	}
	ports, err := lokiproc.FreePorts(3 * len(members))
	if err != nil {
		return err
	}
	gossip := ports[2*len(members):]
	for i, m := range members {
		cfg := lokiproc.Config{HTTP: ports[2*i], GRPC: ports[2*i+1], Store: s.dir, Ring: "memberlist", RingPort: gossip[i],
			RingJoin: gossip[:2], // one of them is there when the other comes back
			Replicas: switchWriters, Name: m.name, Compactor: ports[2*(len(members)-1)], KeepLog: true}
		if m.target == "read" {
			cfg.Frontend = cfg.GRPC // its own queriers work for it; a query-scheduler would need 10 s to get ready
		}
		p, err := t.Launch(old, "switch "+m.name, cfg, "-target="+m.target)
		if err != nil {
			return err
		}
		// An unpatched writer writes a chunk again in the place of another replica's, and a reader may meet it halfway. The
		// lines are in the writers. Our readers have our writers only, and checkState wants no such failure of them.
		p.Excuses = []string{"invalid chunk checksum"}
		*m.of = append(*m.of, p)
	}
	s.toWriters.procs, s.toReaders.procs = s.writers, s.readers
	for _, p := range s.forth() {
		if err := t.inService(ctx, s, p); err != nil {
			return err
		}
	}
	return nil
}

// inService waits until a process may be relied on, which is when the next one may be replaced: it is ready, is the
// Loki that it should be, and all agree that all writers are there.
func (t *test) inService(ctx context.Context, s *switchLoki, p *lokiproc.Proc) error {
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	m, err := p.Metrics(ctx)
	if err != nil {
		return err
	}
	if ours := strings.HasSuffix(m.Version(), "-chunkring"); ours != p.Patched || (m.Backend() != "") != p.Patched {
		return fmt.Errorf("%s: a Loki %q with chunkring's back-end %q runs where that of %s should", p.Label, m.Version(), m.Backend(), p.Bin)
	}
	for _, other := range slices.Concat(s.writers, s.readers) {
		if err := t.ring(ctx, other, switchWriters); err != nil {
			return err
		}
	}
	return nil
}

// rounds replaces all processes, and all again.
func (t *test) rounds(ctx context.Context, s *switchLoki, old lokiproc.Build) error {
	if err := s.served(ctx, s.writers[0]); err != nil {
		return err
	}
	if err := t.checkState(ctx, s, old); err != nil {
		return err
	}
	for _, round := range []struct {
		to    lokiproc.Build
		order []*lokiproc.Proc
		mixed bool
	}{{t.oursLoki, s.forth(), t.old != t.stock}, {t.stockLoki, s.back(), false}, {old, s.back(), true}} {
		if round.to.Bin == s.backend[0].Bin {
			continue // -self, or -old is -stock
		}
		s.mixed.Store(round.mixed)
		for _, p := range round.order {
			if err := t.replace(ctx, s, p, round.to); err != nil {
				return fmt.Errorf("%s by that of %s: %w", p.Label, round.to.Name, err)
			}
		}
		s.mixed.Store(false)
		if err := t.checkState(ctx, s, round.to); err != nil {
			return fmt.Errorf("all of %s: %w", round.to.Name, err)
		}
	}
	return nil
}

// replace ends a process as systemd does, and starts another Loki's with the same directories and ports.
func (t *test) replace(ctx context.Context, s *switchLoki, p *lokiproc.Proc, b lokiproc.Build) error {
	for _, b := range []*balancer{&s.toWriters, &s.toReaders} {
		if err := b.drain(ctx, p); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := p.Stop(); err != nil {
		return err
	}
	stopped := time.Since(begin)
	p.Build = b
	if err := p.Run(); err != nil {
		return err
	}
	if err := t.inService(ctx, s, p); err != nil {
		return err
	}
	ready := time.Since(begin) - stopped
	s.toWriters.undrain()
	s.toReaders.undrain()
	if err := s.served(ctx, p); err != nil {
		return err
	}
	t.say("    %s is that of %s: stopped in %.1fs, in service after %.1fs; %d answers, %d lines", p.Label, b.Name,
		stopped.Seconds(), ready.Seconds(), s.answered.Load(), s.pushed())
	return nil
}

// served waits until each shipper has pushed, and the askers have asked some more.
func (s *switchLoki) served(ctx context.Context, p *lokiproc.Proc) error {
	answered, taken := s.answered.Load(), s.taken()
	return p.Poll(ctx, time.Minute, "have the clients served", func() (bool, error) {
		for i, n := range s.taken() {
			if n == taken[i] {
				return false, nil
			}
		}
		return s.answered.Load() >= answered+switchAnswers, nil
	})
}

// pushed are all lines that were taken.
func (s *switchLoki) pushed() (n int64) {
	for _, lines := range s.taken() {
		n += shipperStreams * lines
	}
	return n
}

// checkState wants everything from each reader, and that the chunks were read and written by whom they should.
func (t *test) checkState(ctx context.Context, s *switchLoki, b lokiproc.Build) error {
	compared := 0
	for _, p := range s.readers {
		n, err := s.allThere(ctx, p)
		if err != nil {
			return err
		}
		compared += n
	}
	t.compared += compared
	t.asked += compared
	t.say("switch: all of %s: %d answers right, %d lines", b.Name, compared, s.pushed())
	for _, p := range s.readers {
		m, err := p.Metrics(ctx)
		if err != nil {
			return err
		}
		read := m.Sum("chunkring_chunks_total", `operation="read"`, `result="ok"`)
		bad := m.Sum("chunkring_chunks_total") - read - m.Sum("chunkring_chunks_total", `result="canceled"`)
		if (read > 0) != p.Patched || bad > 0 {
			return fmt.Errorf("%s read %v chunks with chunkring, and could not read %v", p.Label, read, bad)
		}
		t.say("    %s: version %q, chunkring read %v chunks", p.Label, m.Version(), read)
	}
	for _, p := range s.writers {
		if err := t.stored(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// stored waits until a writer has stored chunks, which it does with full ones while lines come: with chunkring or not,
// as it should.
func (t *test) stored(ctx context.Context, p *lokiproc.Proc) error {
	return p.Poll(ctx, time.Minute, "store chunks", func() (bool, error) {
		m, err := p.Metrics(ctx)
		if err != nil {
			return false, err
		}
		flushed := m.Sum("loki_ingester_chunks_flushed_total")
		put := m.Sum("chunkring_chunks_total", `operation="put"`, `result="ok"`)
		if flushed == 0 {
			return false, nil
		}
		if (put > 0) != p.Patched {
			return false, fmt.Errorf("it flushed %v chunks, %v with chunkring", flushed, put)
		}
		t.say("    %s: version %q flushed %v chunks, chunkring put %v", p.Label, m.Version(), flushed, put)
		return true, nil
	})
}

// storeAlone has all of it flushed and ended, and then asks Lokis that know nothing but the store.
func (t *test) storeAlone(ctx context.Context, s *switchLoki, old lokiproc.Build) error {
	for _, p := range s.writers {
		if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
			return err
		}
	}
	for _, p := range s.back() {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	procs, err := t.launchAll(ctx, "switch store", lokiproc.Config{Store: s.dir}, old, t.oursLoki, t.stockLoki)
	if err != nil {
		return err
	}
	for _, p := range procs {
		n, err := s.allThere(ctx, p)
		if err != nil {
			return err
		}
		t.compared += n
		t.asked += n
		t.say("switch: %s over the store alone: %d answers right, %d lines", p.Name, n, s.pushed())
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}
