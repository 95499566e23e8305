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

	"github.com/chunkring/chunkring/go/test/lokiproc"
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
	var procs []*lokiproc.Proc
	for _, b := range []lokiproc.Build{t.stockLoki, t.oursLoki} {
		store := filepath.Join(t.Root, "store-delete-"+b.Name)
		if err := os.CopyFS(store, os.DirFS(t.store)); err != nil {
			return nil, err
		}
		p, err := t.Start(ctx, b, "delete "+b.Name, lokiproc.Config{Store: store, Deletes: true})
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

func sendDeletes(ctx context.Context, p *lokiproc.Proc, tenant string) error {
	for _, d := range deletions {
		v := url.Values{"query": {d.query}}
		for name, minute := range map[string]int{"start": d.span.from, "end": d.span.to} {
			v.Set(name, strconv.FormatInt(dataStart.Add(time.Duration(minute)*time.Minute).Unix(), 10))
		}
		code, body, err := lokiproc.Do(ctx, http.MethodPost, p.URL("/loki/api/v1/delete?"+v.Encode()), tenant, nil)
		if err != nil || code != http.StatusNoContent {
			return fmt.Errorf("%s: delete request %s: HTTP %d: %s %w", p.Label, d.query, code, body, err)
		}
	}
	return nil
}

// awaitDeletes waits until all requests are done, retention took its stream, and the querier has the
// new index.
func (t *test) awaitDeletes(ctx context.Context, p *lokiproc.Proc, tenants []string) error {
	want := t.corpus.remaining()
	count := instant("", 370, totalLines)
	for _, tenant := range tenants {
		last := ""
		err := p.Poll(ctx, deleteTimeout, "process the delete requests", func() (bool, error) {
			code, body, err := lokiproc.Get(ctx, p.URL("/loki/api/v1/delete"), tenant)
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
			a, err := lokiproc.Ask(ctx, p, tenant, count)
			if err != nil {
				return false, nil
			}
			n, err := lokiproc.VectorValue(a.Text)
			last = fmt.Sprintf("%d lines, want %d", n, want)
			return n == want, err
		})
		if err != nil {
			return fmt.Errorf("tenant %s: %s: %w", tenant, last, err)
		}
	}
	return nil
}

func (t *test) sameAfterDeletes(ctx context.Context, procs []*lokiproc.Proc, tenants []string, when string) error {
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
func afterDeletes() []lokiproc.Query {
	var some []lokiproc.Query
	for _, q := range queries() {
		q.MayBeEmpty = true
		some = append(some, q)
	}
	return some
}

// afterSweep waits until both sweepers deleted the files of the chunks that were taken out of the index,
// and compares the stores: the same files with the same bytes must be left.
func (t *test) afterSweep(ctx context.Context, procs []*lokiproc.Proc, tenants []string) error {
	var before []string
	for _, tenant := range t.tenants {
		files, _, err := lokiproc.ChunkFiles(t.store, tenant)
		if err != nil {
			return err
		}
		before = append(before, files...)
	}
	t.say("deletes: waiting for the sweepers")
	for _, p := range procs {
		if err := p.Poll(ctx, sweepTimeout, "sweep", func() (bool, error) { return t.swept(ctx, p) }); err != nil {
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
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// swept: the expired stream's folder is a good witness, as all its chunks go.
func (t *test) swept(ctx context.Context, p *lokiproc.Proc) (bool, error) {
	m, err := p.Metrics(ctx)
	if err != nil {
		return false, err
	}
	const prefix = "loki_boltdb_shipper_retention_sweeper_"
	return m.Sum(prefix+"chunk_deleted_duration_seconds_count") > 0 && m.Sum(prefix+"marker_files_current") == 0 &&
		m.Sum(prefix+"marker_files_deleted_total") > 0, nil
}

// sameStores compares the chunk files of two stores; kept are those of the original store.
func (t *test) sameStores(procs []*lokiproc.Proc) (kept, added int, err error) {
	for _, tenant := range t.tenants {
		first, err := contents(procs[0].Cfg.Store, tenant)
		if err != nil {
			return 0, 0, err
		}
		second, err := contents(procs[1].Cfg.Store, tenant)
		if err != nil {
			return 0, 0, err
		}
		for name, data := range first {
			if other, ok := second[name]; !ok || !bytes.Equal(data, other) {
				return 0, 0, fmt.Errorf("tenant %s: chunk %s is left by %s; by %s: %t, with %d and %d bytes", tenant, name, procs[0].Label, procs[1].Label, ok, len(data), len(other))
			}
			if _, err := os.Stat(filepath.Join(t.store, tenant, name)); err == nil {
				kept++
			} else {
				added++
			}
		}
		for name := range second {
			if _, ok := first[name]; !ok {
				return 0, 0, fmt.Errorf("tenant %s: chunk %s is left by %s only", tenant, name, procs[1].Label)
			}
		}
	}
	return kept, added, nil
}

func contents(store, tenant string) (map[string][]byte, error) {
	names, _, err := lokiproc.ChunkFiles(store, tenant)
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
func (t *test) checkCompactor(ctx context.Context, p *lokiproc.Proc, deleted, added int) error {
	if p.Backend == "" {
		return nil
	}
	m, err := p.Metrics(ctx)
	if err != nil {
		return err
	}
	count := func(operation string) float64 {
		return m.Sum("chunkring_chunks_total", `operation="`+operation+`"`, `result="ok"`)
	}
	t.say("    ours: chunkring read %v, put %v, deleted %v chunks", count("read"), count("put"), count("delete"))
	if count("delete") < float64(deleted) || count("put") < float64(added) {
		return fmt.Errorf("%s: chunkring deleted %v of %d chunks and wrote %v of %d", p.Label, count("delete"), deleted, count("put"), added)
	}
	return nil
}
