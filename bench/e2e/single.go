// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const mixedTenant = "mixed" // half of its chunks are stock's, half ours

// write fills the store: for every codec, unpatched Loki writes one tenant and ours another.
func (t *test) write(ctx context.Context) error {
	for i, codec := range t.codecs {
		for _, b := range []build{t.stockLoki, t.oursLoki} {
			tenant := b.name + "-" + codec
			parts := []part{{tenant, 0, 1}}
			if i == 0 && b.name == t.stockLoki.name {
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

func (t *test) writeWith(ctx context.Context, b build, codec string, parts []part) error {
	begin := time.Now()
	p, err := t.start(ctx, b, "write "+b.name+" "+codec, lokiConfig{Store: t.store, Codec: codec, Name: b.name + "-" + codec})
	if err != nil {
		return err
	}
	ready := time.Since(begin)
	for _, part := range parts {
		if err := push(ctx, p, part.tenant, t.corpus.pushBatches(3000, part.from, part.to)); err != nil {
			return err
		}
	}
	if err := flush(ctx, p); err != nil {
		return err
	}
	m, err := p.metrics(ctx)
	if err != nil {
		return err
	}
	begin = time.Now()
	if err := p.stop(); err != nil {
		return err
	}
	files, size, err := chunkFiles(t.store, parts[0].tenant)
	if err != nil {
		return err
	}
	if err := checkPuts(b, m); err != nil {
		return err
	}
	t.say("%s wrote %s: %d chunks, %.2f MB (%s; ready in %.1fs, stopped in %.1fs)", b.name, parts[0].tenant, len(files),
		float64(size)/1e6, servedBy(m), ready.Seconds(), time.Since(begin).Seconds())
	return nil
}

func servedBy(m metrics) string {
	if be := m.backend(); be != "" {
		return "chunkring, " + be
	}
	return "Loki's own client"
}

// checkPuts: what the ingester flushed went through chunkring, or not, as it should.
func checkPuts(b build, m metrics) error {
	flushed, put := m.sum("loki_ingester_chunks_flushed_total"), m.sum("chunkring_chunks_total", `operation="put"`, `result="ok"`)
	switch {
	case b.backend == "" && put != 0:
		return fmt.Errorf("%s wrote %v chunks with chunkring", b.name, put)
	case b.backend != "" && (put == 0 || put != flushed):
		return fmt.Errorf("%s flushed %v chunks, chunkring wrote %v", b.name, flushed, put)
	}
	return nil
}

func push(ctx context.Context, p *proc, tenant string, bodies [][]byte) error {
	for _, body := range bodies {
		code, answer, err := do(ctx, http.MethodPost, p.url("/loki/api/v1/push"), tenant, body)
		if err != nil {
			return fmt.Errorf("push to %s: %w", p.label, err)
		}
		if code != http.StatusNoContent {
			return fmt.Errorf("push to %s: HTTP %d: %s", p.label, code, answer)
		}
	}
	return nil
}

// flush writes all chunks to the store and waits for the end of it.
func flush(ctx context.Context, p *proc) error {
	code, body, err := do(ctx, http.MethodPost, p.url("/flush"), "", nil)
	if err != nil || code >= 300 {
		return fmt.Errorf("%s: /flush: HTTP %d: %s %w", p.label, code, body, err)
	}
	return p.poll(ctx, time.Minute, "flush", func() (bool, error) {
		m, err := p.metrics(ctx)
		if err != nil {
			return false, err
		}
		return m.sum("loki_ingester_flush_queue_length") == 0 && m.sum("loki_ingester_chunks_flushed_total") >= m.sum("loki_ingester_chunks_created_total"), nil
	})
}

// pass is one way to send queries.
type pass struct {
	name    string
	cold    bool // the page cache is dropped before every query
	every   int  // n-th query only
	tenants []string
	all     []string // tenants for which all Lokis are asked, not just stock and ours
}

// read lets four Lokis answer queries over the store: stock, ours, ours on threads, ours switched off.
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
	var readers []*proc
	for _, b := range []build{t.stockLoki, t.oursLoki, t.threadsLoki, t.offLoki} {
		p, err := t.launch(b, "read "+b.name+" "+cache, lokiConfig{Store: t.store, CacheMB: cacheMB})
		if err != nil {
			return err
		}
		readers = append(readers, p)
	}
	if err := ready(ctx, readers); err != nil {
		return err
	}
	for _, pass := range passes {
		if err := t.pass(ctx, readers, cacheMB > 0, pass); err != nil {
			return fmt.Errorf("%s: %w", pass.name, err)
		}
	}
	for _, p := range readers {
		if err := p.stop(); err != nil {
			return err
		}
	}
	return nil
}

// pass compares the other readers' answers with the first's.
func (t *test) pass(ctx context.Context, readers []*proc, cache bool, how pass) error {
	begin := time.Now()
	tallies := make([]tally, len(readers))
	for i, p := range readers {
		if err := tallies[i].begin(ctx, p); err != nil {
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
		if tallies[i].asked == 0 {
			continue
		}
		line, err := tallies[i].end(ctx, p, cache)
		if err != nil {
			return err
		}
		t.say("    %-8s %4d answers: %s", p.name, tallies[i].asked, line)
	}
	return nil
}

func (t *test) passTenant(ctx context.Context, readers []*proc, tallies []tally, tenant string, how pass) error {
	files, _, err := chunkFiles(t.store, tenant)
	if err != nil {
		return err
	}
	if how.cold {
		if err := checkDrop(files); err != nil {
			return err
		}
	}
	for _, q := range someQueries(how.every) {
		var want answer
		for i, p := range readers {
			if how.cold {
				if err := dropCache(files); err != nil {
					return err
				}
			}
			got, err := ask(ctx, p, tenant, q)
			if err != nil {
				return err
			}
			tallies[i].add(got)
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

// checkDrop makes sure that cold is cold.
func checkDrop(files []string) error {
	if err := dropCache(files); err != nil {
		return err
	}
	cached, err := cachedBytes(files)
	if err == nil && cached > 0 {
		return fmt.Errorf("the page cache keeps %d bytes of the store after fadvise: nothing here is cold", cached)
	}
	return err
}

func (t *test) same(q query, want answer, p *proc, got answer) error {
	if bytes.Equal(want.text, got.text) {
		t.compared++
		return nil
	}
	return fmt.Errorf("query %q (%s): %s differs from stock %s", q.name, q.params.Get("query"), p.label, difference(want.text, got.text))
}

// checkTotal compares the answer to totalLines with what was pushed.
func (t *test) checkTotal(q query, a answer) error {
	if q.params.Get("query") != totalLines {
		return nil
	}
	n, err := vectorValue(a.text)
	if err != nil {
		return err
	}
	if n != t.corpus.lines {
		return fmt.Errorf("%d lines were pushed, the store has %d", t.corpus.lines, n)
	}
	return nil
}

func vectorValue(text []byte) (int, error) {
	var doc struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return 0, err
	}
	if len(doc.Data.Result) != 1 {
		return 0, errors.New("not a vector of one")
	}
	s, _ := doc.Data.Result[0].Value[1].(string)
	return strconv.Atoi(s)
}

// tally checks who really read the chunks.
type tally struct {
	before     metrics
	downloaded int // chunks, says Loki
	asked      int
}

func (t *tally) begin(ctx context.Context, p *proc) (err error) {
	t.before, err = p.metrics(ctx)
	return err
}

func (t *tally) add(a answer) {
	t.downloaded += a.downloaded
	t.asked++
}

// end compares Loki's statistics with chunkring's metrics. Loki counts chunks that its cache had, too.
func (t *tally) end(ctx context.Context, p *proc, cache bool) (string, error) {
	m, err := p.metrics(ctx)
	if err != nil {
		return "", err
	}
	delta := func(labels ...string) float64 {
		const name = "chunkring_chunks_total"
		return m.sum(name, labels...) - t.before.sum(name, labels...)
	}
	all, ok, backend := delta(`operation="read"`), delta(`operation="read"`, `result="ok"`), m.backend()
	switch {
	case t.downloaded == 0:
		return "", fmt.Errorf("%s read no chunks", p.label)
	case p.backend == "" && (all != 0 || backend != ""):
		return "", fmt.Errorf("%s read %v chunks with chunkring %s, and should not", p.label, all, backend)
	case p.backend == "":
		return fmt.Sprintf("%d chunks, Loki's own client", t.downloaded), nil
	case p.backend != "any" && backend != p.backend, backend == "":
		return "", fmt.Errorf("%s: chunkring's back-end is %q, not %q", p.label, backend, p.backend)
	case all-ok > m.sum("chunkring_chunks_total", `operation="read"`, `result="canceled"`):
		return "", fmt.Errorf("%s: chunkring could not read %v chunks", p.label, all-ok)
	case !cache && ok < float64(t.downloaded):
		return "", fmt.Errorf("%s: Loki read %d chunks, chunkring only %v", p.label, t.downloaded, ok)
	}
	return fmt.Sprintf("%d chunks, chunkring (%s) read %v", t.downloaded, backend, ok), nil
}

// sameAll compares the answers of several Lokis to some queries, a few at a time.
func (t *test) sameAll(ctx context.Context, procs []*proc, tenant string, some []query) error {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(3)
	for _, q := range some {
		g.Go(func() error {
			var want answer
			for i, p := range procs {
				got, err := ask(ctx, p, tenant, q)
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
