// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	clusterTenant = "cluster"
	loadTime      = 30 * time.Second
	loadWorkers   = 3
	retriesMax    = 300 // a minute, and the time of the requests
)

// members of the cluster, each a process.
type members struct {
	distributor, frontend, compactor *lokiproc.Proc
	ingesters, queriers              []*lokiproc.Proc
}

// cluster runs Loki with chunkring as seven processes over one shared directory. Both ingesters get
// every line; most lines are in the store, and the youngest in the ingesters' memory only. A querier is
// killed under load and started again: every answer that is given must be that of a stock Loki.
func (t *test) cluster(ctx context.Context) error {
	expected, err := t.expected(ctx)
	if err != nil {
		return err
	}
	c, err := t.startCluster(ctx)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := t.settle(ctx, c, expected); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := t.load(ctx, c, expected); err != nil {
		return fmt.Errorf("cluster under load: %w", err)
	}
	return t.stopCluster(ctx, c)
}

// expectation is a query of a tenant's and stock's answer to it.
type expectation struct {
	lokiproc.Query
	tenant string
	want   []byte
}

// expected asks a stock single binary over a store that it wrote itself. What depends on how chunks were
// cut, as all that is answered from the index does, is left out.
func (t *test) expected(ctx context.Context) ([]expectation, error) {
	p, err := t.Start(ctx, t.stockLoki, "oracle", lokiproc.Config{Store: t.store})
	if err != nil {
		return nil, err
	}
	var all []expectation
	for _, q := range fromChunks() {
		if q.Unordered {
			continue
		}
		a, err := lokiproc.Ask(ctx, p, t.tenants[0], q)
		if err != nil {
			return nil, err
		}
		all = append(all, expectation{q, clusterTenant, a.Text})
	}
	return all, p.Stop()
}

// startCluster fills the store and starts everything.
func (t *test) startCluster(ctx context.Context) (*members, error) {
	const processes = 7
	ports, err := lokiproc.FreePorts(3 * processes)
	if err != nil {
		return nil, err
	}
	gossip := ports[2*processes:]
	n := 0
	frontendGRPC, compactorHTTP := ports[2*5+1], ports[2*6]
	// In this order, so that the two above fit.
	launch := func(target, name string) (*lokiproc.Proc, error) {
		cfg := lokiproc.Config{
			HTTP: ports[2*n], GRPC: ports[2*n+1], Store: filepath.Join(t.Root, "store-cluster"),
			Ring: "memberlist", RingPort: gossip[n], RingJoin: gossip[:3], Replicas: 2, Name: name, Compactor: compactorHTTP,
			Frontend: frontendGRPC,
		}
		if target == "querier" {
			cfg.CacheMB = 1 // and none for ingesters, which don't write what the cache has
		}
		n++
		return t.Launch(t.oursLoki, "cluster "+name, cfg, "-target="+target)
	}
	c := &members{}
	var all []*lokiproc.Proc
	for _, m := range [][2]string{{"distributor", "distributor"}, {"ingester", "ingester-1"}, {"ingester", "ingester-2"}} {
		p, err := launch(m[0], m[1])
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	c.distributor, c.ingesters = all[0], all[1:]
	if err := t.fill(ctx, c); err != nil {
		return nil, err
	}
	for _, m := range [][2]string{{"querier", "querier-1"}, {"querier", "querier-2"}, {"query-frontend", "query-frontend"}, {"compactor", "compactor"}} {
		p, err := launch(m[0], m[1])
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	c.queriers, c.frontend, c.compactor = all[3:5], all[5], all[6]
	return c, ready(ctx, all)
}

// fill pushes 70 % of the lines and restarts the ingesters, which writes chunks and index to the store,
// and then the rest, which stays in memory.
func (t *test) fill(ctx context.Context, c *members) error {
	if err := ready(ctx, append([]*lokiproc.Proc{c.distributor}, c.ingesters...)); err != nil {
		return err
	}
	if err := t.ring(ctx, c.distributor, 2); err != nil {
		return err
	}
	if err := lokiproc.Push(ctx, c.distributor, clusterTenant, t.corpus.pushBatches(1500, 0, 0.7)); err != nil {
		return err
	}
	for _, p := range c.ingesters {
		if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
			return err
		}
		m, err := p.Metrics(ctx)
		if err != nil {
			return err
		}
		if err := lokiproc.CheckPuts(p.Build, m); err != nil {
			return err
		}
	}
	for _, p := range c.ingesters {
		if err := p.Stop(); err != nil {
			return err
		}
		// All is flushed; with the log, the ingester would have all in memory again and answer in the
		// store's place.
		if err := os.RemoveAll(filepath.Join(p.Dir, "wal")); err != nil {
			return err
		}
		if err := p.Run(); err != nil {
			return err
		}
	}
	if err := ready(ctx, c.ingesters); err != nil {
		return err
	}
	if err := t.ring(ctx, c.distributor, 2); err != nil {
		return err
	}
	if err := lokiproc.Push(ctx, c.distributor, clusterTenant, t.corpus.pushBatches(1500, 0.7, 1)); err != nil {
		return err
	}
	files, size, err := lokiproc.ChunkFiles(c.distributor.Cfg.Store, clusterTenant)
	t.say("cluster: distributor and 2 ingesters wrote %d chunks, %.2f MB; 30 %% of the lines stay in the ingesters", len(files), float64(size)/1e6)
	return err
}

// launchAll starts a Loki of each build with the same configuration, and waits until all are ready.
func (t *test) launchAll(ctx context.Context, label string, cfg lokiproc.Config, builds ...lokiproc.Build) (procs []*lokiproc.Proc, err error) {
	for _, b := range builds {
		p, err := t.Launch(b, label+" "+b.Name, cfg)
		if err != nil {
			return nil, err
		}
		procs = append(procs, p)
	}
	return procs, ready(ctx, procs)
}

func ready(ctx context.Context, procs []*lokiproc.Proc) error {
	for _, p := range procs {
		if err := p.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ring waits until a process sees n active ingesters.
func (t *test) ring(ctx context.Context, p *lokiproc.Proc, n int) error {
	return p.Poll(ctx, time.Minute, fmt.Sprintf("see %d ingesters in the ring", n), func() (bool, error) {
		m, err := p.Metrics(ctx)
		if err != nil {
			return false, err
		}
		members := m.Sum("loki_ring_members", `name="ingester"`, `state="ACTIVE"`)
		others := m.Sum("loki_ring_members", `name="ingester"`) - members
		return members == float64(n) && others == 0, nil
	})
}

// settle waits for the queriers' ring, and then wants all answers right.
func (t *test) settle(ctx context.Context, c *members, expected []expectation) error {
	for _, p := range c.queriers {
		if err := t.ring(ctx, p, 2); err != nil {
			return err
		}
	}
	for _, e := range expected {
		if err := t.right(ctx, c.frontend, e); err != nil {
			return err
		}
	}
	t.say("cluster: %d answers of 7 processes equal to a stock single binary's", len(expected))
	return nil
}

// right asks once and compares.
func (t *test) right(ctx context.Context, p *lokiproc.Proc, e expectation) error {
	a, err := lokiproc.Ask(ctx, p, e.tenant, e.Query)
	if err != nil {
		return err
	}
	if !bytes.Equal(e.want, a.Text) {
		return &wrongAnswer{e.Query, lokiproc.Difference(e.want, a.Text)}
	}
	t.compared++
	t.asked++
	return nil
}

type wrongAnswer struct {
	lokiproc.Query
	diff string
}

func (w *wrongAnswer) Error() string {
	return fmt.Sprintf("query %q (%s): the answer differs from a stock single binary's %s", w.Name, w.Params.Get("query"), w.diff)
}

// load asks all queries over and over, while a querier is killed and restarted and the ingesters flush.
func (t *test) load(ctx context.Context, c *members, expected []expectation) error {
	asked, failed, err := t.underLoad(ctx, []*lokiproc.Proc{c.frontend}, expected, func(ctx context.Context, asked *atomic.Int64) error {
		return t.disturb(ctx, c, asked)
	})
	if err != nil {
		return err
	}
	t.say("cluster: %d answers under load, all right; %d requests failed and were sent again", asked, failed)
	return nil
}

// underLoad asks some processes all queries over and over, until disturb returns.
func (t *test) underLoad(ctx context.Context, procs []*lokiproc.Proc, expected []expectation,
	disturb func(ctx context.Context, asked *atomic.Int64) error) (answered, refused int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	var asked, failed atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for w := range loadWorkers {
		g.Go(func() error {
			for i := w; ; i += loadWorkers {
				select {
				case <-stop:
					return nil
				default:
				}
				n, err := askUntilAnswered(gctx, procs[w%len(procs)], expected[i%len(expected)])
				failed.Add(int64(n))
				if err != nil {
					return err
				}
				asked.Add(1)
			}
		})
	}
	g.Go(func() error {
		defer close(stop)
		return disturb(gctx, &asked)
	})
	err = g.Wait()
	t.compared += int(asked.Load())
	t.asked += int(asked.Load() + failed.Load())
	return asked.Load(), failed.Load(), err
}

// askUntilAnswered sends a query again if it is refused, but never accepts a wrong answer.
func askUntilAnswered(ctx context.Context, p *lokiproc.Proc, e expectation) (failed int, err error) {
	for failed = 0; ; failed++ {
		a, err := lokiproc.Ask(ctx, p, e.tenant, e.Query)
		if err == nil && !bytes.Equal(e.want, a.Text) {
			return failed, &wrongAnswer{e.Query, lokiproc.Difference(e.want, a.Text)}
		}
		if err == nil || failed == retriesMax {
			return failed, err
		}
		if a.Text != nil {
			return failed, err // an answer, and an empty one
		}
		select {
		case <-ctx.Done():
			return failed, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (t *test) disturb(ctx context.Context, c *members, asked *atomic.Int64) error {
	victim := c.queriers[0]
	events := map[time.Duration]func() error{
		loadTime / 4: func() error {
			m, err := victim.Metrics(ctx)
			if err != nil {
				return err
			}
			t.say("cluster: killing %s after %d answers; it read %v chunks (%s)", victim.Label, asked.Load(), m.Sum("chunkring_chunks_total", `operation="read"`), lokiproc.ServedBy(m))
			victim.Kill()
			return nil
		},
		loadTime / 2: func() error {
			t.say("cluster: the ingesters flush, after %d answers", asked.Load())
			for _, p := range c.ingesters {
				if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
					return err
				}
			}
			return nil
		},
		loadTime * 5 / 8: func() error {
			if err := victim.Run(); err != nil {
				return err
			}
			t.say("cluster: started %s again, after %d answers", victim.Label, asked.Load())
			return victim.WaitReady(ctx)
		},
		loadTime: func() error { return nil },
	}
	return onSchedule(ctx, events)
}

// onSchedule does what is due at times from now.
func onSchedule(ctx context.Context, events map[time.Duration]func() error) error {
	begin := time.Now()
	for _, at := range slices.Sorted(maps.Keys(events)) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(begin.Add(at))):
		}
		if err := events[at](); err != nil {
			return err
		}
	}
	return nil
}

// stopCluster checks who read and wrote, and ends all.
func (t *test) stopCluster(ctx context.Context, c *members) error {
	for _, p := range slices.Concat(c.ingesters, c.queriers) {
		m, err := p.Metrics(ctx)
		if err != nil {
			return err
		}
		const name = "chunkring_chunks_total"
		read, put := m.Sum(name, `operation="read"`, `result="ok"`), m.Sum(name, `operation="put"`, `result="ok"`)
		bad := m.Sum(name) - read - put - m.Sum(name, `result="canceled"`)
		t.say("    %-20s chunkring read %v, put %v (%s)", p.Label, read, put, lokiproc.ServedBy(m))
		isQuerier := strings.Contains(p.Label, "querier")
		if p.Backend != "" && (bad != 0 || isQuerier && read == 0 || !isQuerier && put == 0) {
			return fmt.Errorf("%s: chunkring read %v and put %v chunks, %v failed", p.Label, read, put, bad)
		}
	}
	for _, p := range slices.Concat(c.queriers, []*lokiproc.Proc{c.frontend, c.distributor}, c.ingesters, []*lokiproc.Proc{c.compactor}) {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}
