// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/go/test/coldcache"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	mixedTenant  = "mixed" // half of its chunks are stock's, half ours
	flushTimeout = time.Minute
)

// write fills the store: for every codec, unpatched Loki writes one tenant and ours another.
func (t *test) write(ctx context.Context) error {
	for i, codec := range t.codecs {
		for _, b := range []lokiproc.Build{t.stockLoki, t.oursLoki} {
			tenant := b.Name + "-" + codec
			parts := []part{{tenant, 0, 1}}
			if i == 0 && b.Name == t.stockLoki.Name {
				parts = append(parts, part{mixedTenant, 0, 0.5})
			} else if i == 0 {
				parts = append(parts, part{mixedTenant, 0.5, 1})
			}
			if err := t.writeWith(ctx, b, codec, parts); err != nil {
				return fmt.Errorf("write %s: %w", tenant, err)
			}
			t.tenants = append(t.tenants, tenant)
		}
	}
	t.tenants = append(t.tenants, mixedTenant)
	return nil
}

// part is what of the corpus goes to a tenant.
type part struct {
	tenant   string
	from, to float64
}

func (t *test) writeWith(ctx context.Context, b lokiproc.Build, codec string, parts []part) error {
	begin := time.Now()
	p, err := t.Start(ctx, b, "write "+b.Name+" "+codec, lokiproc.Config{Store: t.store, Codec: codec, Name: b.Name + "-" + codec})
	if err != nil {
		return err
	}
	ready := time.Since(begin)
	for _, part := range parts {
		if err := lokiproc.Push(ctx, p, part.tenant, t.corpus.pushBatches(3000, part.from, part.to)); err != nil {
			return err
		}
	}
	if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
		return err
	}
	m, err := p.Metrics(ctx)
	if err != nil {
		return err
	}
	begin = time.Now()
	if err := p.Stop(); err != nil {
		return err
	}
	files, size, err := lokiproc.ChunkFiles(t.store, parts[0].tenant)
	if err != nil {
		return err
	}
	if err := lokiproc.CheckPuts(b, m); err != nil {
		return err
	}
	t.say("%s wrote %s: %d chunks, %.2f MB (%s; ready in %.1fs, stopped in %.1fs)", b.Name, parts[0].tenant, len(files),
		float64(size)/1e6, lokiproc.ServedBy(m), ready.Seconds(), time.Since(begin).Seconds())
	return nil
}

// pass is one way to send queries.
type pass struct {
	name    string
	cold    bool // the page cache is dropped before every query
	every   int  // n-th query only
	tenants []string
	all     []string // tenants for which all Lokis are asked, not just stock and ours
}

// read lets four Lokis answer queries over the store: stock; ours; ours on threads, whose pipelines see every
// line; ours switched off.
func (t *test) read(ctx context.Context, cacheMB int) error {
	cache := "no chunk cache"
	some := []string{t.tenants[0], t.tenants[1], mixedTenant}
	passes := []pass{
		{"cold, no chunk cache", true, 1, t.tenants, some},
		{"warm, no chunk cache", false, 3, t.tenants, t.tenants},
	}
	if cacheMB > 0 {
		cache = "chunk cache"
		passes = []pass{
			{"cold, chunk cache", true, 2, some, some},
			{"warm, chunk cache", false, 1, some, nil},
		}
	}
	readers, err := t.launchAll(ctx, "read "+cache, lokiproc.Config{Store: t.store, CacheMB: cacheMB},
		t.stockLoki, t.oursLoki, t.threadsLoki, t.offLoki)
	if err != nil {
		return err
	}
	for _, pass := range passes {
		if err := t.pass(ctx, readers, cacheMB > 0, pass); err != nil {
			return fmt.Errorf("%s: %w", pass.name, err)
		}
	}
	for _, p := range readers {
		m, err := p.Metrics(ctx)
		if err != nil {
			return err
		}
		if err := lokiproc.CheckBlocks(p.Build, m, true); err != nil {
			return err
		}
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// pass compares the other readers' answers with the first's.
func (t *test) pass(ctx context.Context, readers []*lokiproc.Proc, cache bool, how pass) error {
	begin := time.Now()
	tallies := make([]lokiproc.Tally, len(readers))
	for i, p := range readers {
		if err := tallies[i].Begin(ctx, p); err != nil {
			return err
		}
	}
	n := t.compared
	for _, tenant := range how.tenants {
		asked := readers
		if !slices.Contains(how.all, tenant) {
			asked = readers[:2]
		}
		if err := t.passTenant(ctx, asked, tallies, tenant, how); err != nil {
			return fmt.Errorf("tenant %s: %w", tenant, err)
		}
	}
	t.say("%s: %d answers equal to stock's; %d tenants x %d queries, %.1fs", how.name, t.compared-n, len(how.tenants), len(someQueries(how.every)), time.Since(begin).Seconds())
	for i, p := range readers {
		if tallies[i].Asked == 0 {
			continue
		}
		line, err := tallies[i].End(ctx, p, cache)
		if err != nil {
			return err
		}
		t.say("    %-8s %4d answers: %s", p.Name, tallies[i].Asked, line)
	}
	return nil
}

func (t *test) passTenant(ctx context.Context, readers []*lokiproc.Proc, tallies []lokiproc.Tally, tenant string, how pass) error {
	files, _, err := lokiproc.ChunkFiles(t.store, tenant)
	if err != nil {
		return err
	}
	if how.cold {
		if err := errors.Join(coldcache.Fadvise.Drop(files), coldcache.Check(files)); err != nil {
			return err
		}
	}
	for _, q := range someQueries(how.every) {
		var want lokiproc.Answer
		for i, p := range readers {
			if how.cold {
				if err := coldcache.Fadvise.Drop(files); err != nil {
					return err
				}
			}
			got, err := lokiproc.Ask(ctx, p, tenant, q)
			if err != nil {
				return err
			}
			tallies[i].Add(got)
			t.asked++
			if i == 0 {
				want = got
				err = t.checkTotal(q, got)
			} else {
				err = t.same(q, want, p, got)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *test) same(q lokiproc.Query, want lokiproc.Answer, p *lokiproc.Proc, got lokiproc.Answer) error {
	if bytes.Equal(want.Text, got.Text) {
		t.compared++
		return nil
	}
	return fmt.Errorf("query %q (%s): %s differs from stock %s", q.Name, q.Params.Get("query"), p.Label, lokiproc.Difference(want.Text, got.Text))
}

// checkTotal compares the answer to totalLines with what was pushed.
func (t *test) checkTotal(q lokiproc.Query, a lokiproc.Answer) error {
	if q.Params.Get("query") != totalLines {
		return nil
	}
	n, err := lokiproc.VectorValue(a.Text)
	if err != nil {
		return err
	}
	if n != t.corpus.lines {
		return fmt.Errorf("%d lines were pushed, the store has %d", t.corpus.lines, n)
	}
	return nil
}

// sameAll compares the answers of several Lokis to some queries, a few at a time.
func (t *test) sameAll(ctx context.Context, procs []*lokiproc.Proc, tenant string, some []lokiproc.Query) error {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(3)
	for _, q := range some {
		g.Go(func() error {
			var want lokiproc.Answer
			for i, p := range procs {
				got, err := lokiproc.Ask(ctx, p, tenant, q)
				if err != nil {
					return err
				}
				mu.Lock()
				t.asked++
				if i == 0 {
					want = got
				} else {
					err = t.same(q, want, p, got)
				}
				mu.Unlock()
				if err != nil {
					return fmt.Errorf("tenant %s: %w", tenant, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}
