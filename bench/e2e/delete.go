// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	deleteTimeout = 90 * time.Second
	sweepTimeout  = 180 * time.Second // the sweeper looks once a minute
)

// deletion is a delete request, and what it matches.
type deletion struct {
	query   string
	span    span
	matches func(s *stream, e entry) bool
}

var serverError = regexp.MustCompile(`" 50[03] `)

var deletions = []deletion{
	{`{app="api"} |= "rollback"`, whole, func(s *stream, e entry) bool {
		return s.labels["app"] == "api" && strings.Contains(e.line, "rollback")
	}},
	{`{instance="worker-1"}`, span{61, 181}, func(s *stream, _ entry) bool {
		return s.labels["instance"] == "worker-1"
	}},
	{`{app="worker"} | region="us"`, middle, func(s *stream, e entry) bool {
		return s.labels["app"] == "worker" && e.meta["region"] == "us"
	}},
	{"{app=\"nginx\"} |~ \"\\\" 50[03] \"", span{-10, 120}, func(s *stream, e entry) bool {
		return s.labels["app"] == "nginx" && serverError.MatchString(e.line)
	}},
	{`{instance="cron-03"}`, whole, func(s *stream, _ entry) bool { return s.labels["instance"] == "cron-03" }},
}

// remaining counts the lines that no deletion and no retention takes away.
func (c *corpus) remaining() int {
	n := 0
	for _, s := range c.streams {
		if s.labels["env"] == "expired" {
			continue
		}
		for _, e := range s.entries {
			if !slices.ContainsFunc(deletions, func(d deletion) bool { return d.has(e.ts) && d.matches(s, e) }) {
				n++
			}
		}
	}
	return n
}

func (d deletion) has(ts int64) bool {
	at := time.Unix(0, ts).Sub(dataStart)
	return at >= time.Duration(d.span.from)*time.Minute && at <= time.Duration(d.span.to)*time.Minute
}

// deletes sends delete requests to a stock and to our Loki, each with a copy of the store, and waits for
// the compactors. What it returns is the rest of the test, for when the sweepers had their minute.
func (t *test) deletes(ctx context.Context) (func() error, error) {
	tenants := []string{t.tenants[0], t.tenants[min(3, len(t.tenants)-2)], mixedTenant}
	var procs []*proc
	for _, b := range []build{t.stockLoki, t.oursLoki} {
		store := filepath.Join(t.root, "store-delete-"+b.name)
		if err := os.CopyFS(store, os.DirFS(t.store)); err != nil {
			return nil, err
		}
		p, err := t.start(ctx, b, "delete "+b.name, lokiConfig{Store: store, Deletes: true})
		if err != nil {
			return nil, err
		}
		procs = append(procs, p)
	}
	t.say("deletes: %d requests to each of %d tenants, and retention of {env=\"expired\"}", len(deletions), len(tenants))
	for _, p := range procs {
		for _, tenant := range tenants {
			if err := sendDeletes(ctx, p, tenant); err != nil {
				return nil, err
			}
		}
	}
	var g errgroup.Group
	for _, p := range procs {
		g.Go(func() error { return t.awaitDeletes(ctx, p, tenants) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := t.sameAfterDeletes(ctx, procs, tenants, "after deletes"); err != nil {
		return nil, err
	}
	return func() error { return t.afterSweep(ctx, procs, tenants) }, nil
}

func sendDeletes(ctx context.Context, p *proc, tenant string) error {
	for _, d := range deletions {
		v := url.Values{"query": {d.query}}
		for name, minute := range map[string]int{"start": d.span.from, "end": d.span.to} {
			v.Set(name, strconv.FormatInt(dataStart.Add(time.Duration(minute)*time.Minute).Unix(), 10))
		}
		code, body, err := do(ctx, http.MethodPost, p.url("/loki/api/v1/delete?"+v.Encode()), tenant, nil)
		if err != nil || code != http.StatusNoContent {
			return fmt.Errorf("%s: delete request %s: HTTP %d: %s %w", p.label, d.query, code, body, err)
		}
	}
	return nil
}

// awaitDeletes waits until all requests are done, retention took its stream, and the querier has the
// new index.
func (t *test) awaitDeletes(ctx context.Context, p *proc, tenants []string) error {
	want := t.corpus.remaining()
	count := instant("", 370, totalLines)
	for _, tenant := range tenants {
		last := ""
		err := p.poll(ctx, deleteTimeout, "process the delete requests", func() (bool, error) {
			code, body, err := get(ctx, p.url("/loki/api/v1/delete"), tenant)
			if err != nil || code != http.StatusOK {
				return false, fmt.Errorf("delete requests: HTTP %d: %s %w", code, body, err)
			}
			var list []struct{ Status string }
			if err := json.Unmarshal(body, &list); err != nil {
				return false, err
			}
			for _, r := range list {
				if r.Status != "processed" {
					return false, nil
				}
			}
			a, err := ask(ctx, p, tenant, count)
			if err != nil {
				return false, nil
			}
			n, err := vectorValue(a.text)
			last = fmt.Sprintf("%d lines, want %d", n, want)
			return n == want, err
		})
		if err != nil {
			return fmt.Errorf("tenant %s: %s: %w", tenant, last, err)
		}
	}
	return nil
}

func (t *test) sameAfterDeletes(ctx context.Context, procs []*proc, tenants []string, when string) error {
	n := t.compared
	for _, tenant := range tenants {
		if err := t.sameAll(ctx, procs, tenant, afterDeletes()); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
	}
	t.say("%s: %d answers equal, %d of %d lines left", when, t.compared-n, t.corpus.remaining(), t.corpus.lines)
	return nil
}

// afterDeletes leaves out what is about all that was ever in the index of the day: Loki's queriers keep
// the old index for a while.
func afterDeletes() []query {
	var some []query
	for _, q := range queries() {
		q.mayBeEmpty = true
		some = append(some, q)
	}
	return some
}

// afterSweep waits until both sweepers deleted the files of the chunks that were taken out of the index,
// and compares the stores: the same files with the same bytes must be left.
func (t *test) afterSweep(ctx context.Context, procs []*proc, tenants []string) error {
	var before []string
	for _, tenant := range t.tenants {
		files, _, err := chunkFiles(t.store, tenant)
		if err != nil {
			return err
		}
		before = append(before, files...)
	}
	t.say("deletes: waiting for the sweepers")
	for _, p := range procs {
		if err := p.poll(ctx, sweepTimeout, "sweep", func() (bool, error) { return t.swept(ctx, p) }); err != nil {
			return err
		}
	}
	kept, added, err := t.sameStores(procs)
	if err != nil {
		return err
	}
	t.say("deletes: of %d chunk files %d are left, %d were rewritten; both stores are equal byte for byte", len(before), kept, added)
	if kept == len(before) || added == 0 {
		return fmt.Errorf("the compactors deleted %d files and wrote %d: nothing was tested", len(before)-kept, added)
	}
	if err := t.checkCompactor(ctx, procs[1], len(before)-kept, added); err != nil {
		return err
	}
	if err := t.sameAfterDeletes(ctx, procs, tenants, "after the sweep"); err != nil {
		return err
	}
	for _, p := range procs {
		if err := p.stop(); err != nil {
			return err
		}
	}
	return nil
}

// swept: the expired stream's folder is a good witness, as all its chunks go.
func (t *test) swept(ctx context.Context, p *proc) (bool, error) {
	m, err := p.metrics(ctx)
	if err != nil {
		return false, err
	}
	const prefix = "loki_boltdb_shipper_retention_sweeper_"
	return m.sum(prefix+"chunk_deleted_duration_seconds_count") > 0 && m.sum(prefix+"marker_files_current") == 0 &&
		m.sum(prefix+"marker_files_deleted_total") > 0, nil
}

// sameStores compares the chunk files of two stores; kept are those of the original store.
func (t *test) sameStores(procs []*proc) (kept, added int, err error) {
	for _, tenant := range t.tenants {
		first, err := contents(procs[0].cfg.Store, tenant)
		if err != nil {
			return 0, 0, err
		}
		second, err := contents(procs[1].cfg.Store, tenant)
		if err != nil {
			return 0, 0, err
		}
		for name, data := range first {
			if other, ok := second[name]; !ok || !bytes.Equal(data, other) {
				return 0, 0, fmt.Errorf("tenant %s: chunk %s is left by %s; by %s: %t, with %d and %d bytes", tenant, name, procs[0].label, procs[1].label, ok, len(data), len(other))
			}
			if _, err := os.Stat(filepath.Join(t.store, tenant, name)); err == nil {
				kept++
			} else {
				added++
			}
		}
		for name := range second {
			if _, ok := first[name]; !ok {
				return 0, 0, fmt.Errorf("tenant %s: chunk %s is left by %s only", tenant, name, procs[1].label)
			}
		}
	}
	return kept, added, nil
}

func contents(store, tenant string) (map[string][]byte, error) {
	names, _, err := chunkFiles(store, tenant)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(name, filepath.Join(store, tenant)+"/")] = data
	}
	return all, nil
}

// checkCompactor: our compactor deleted and wrote with chunkring.
func (t *test) checkCompactor(ctx context.Context, p *proc, deleted, added int) error {
	if p.backend == "" {
		return nil
	}
	m, err := p.metrics(ctx)
	if err != nil {
		return err
	}
	count := func(operation string) float64 {
		return m.sum("chunkring_chunks_total", `operation="`+operation+`"`, `result="ok"`)
	}
	t.say("    ours: chunkring read %v, put %v, deleted %v chunks", count("read"), count("put"), count("delete"))
	if count("delete") < float64(deleted) || count("put") < float64(added) {
		return fmt.Errorf("%s: chunkring deleted %v of %d chunks and wrote %v of %d", p.label, count("delete"), deleted, count("put"), added)
	}
	return nil
}
