// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/procstat"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/test/coldcache"
	"github.com/chunkring/chunkring/go/test/lokiproc"
	"github.com/chunkring/chunkring/go/test/objectstore"
)

const (
	restStep = 100 * time.Millisecond
	restCPU  = restStep / 20
	restMax  = 10 * time.Second
)

// turn takes one setup from empty to killed. Nothing else runs meanwhile.
type turn struct {
	bench *bench
	setup *setup
	store *store
	query corpus.Query
	fleet lokiproc.Fleet
	loki  *lokiproc.Proc
	cache *lokiproc.Service // nil: none that is a process
	want  []byte            // stock's answer without a cache; nil: this is to be it
}

// turnSamples are a turn's, by state.
type turnSamples map[string][]result.ObjectsSample

// run returns the answer and what it cost in each state.
func (t *turn) run(ctx context.Context) (turnSamples, error) {
	t.fleet.Root = t.bench.runDir()
	if err := os.RemoveAll(t.fleet.Root); err != nil {
		return nil, err
	}
	defer t.fleet.KillAll()
	if err := t.start(ctx); err != nil {
		return nil, err
	}
	samples := turnSamples{}
	ask := func(state string) error {
		s, err := t.ask(ctx)
		if err == nil && state != "" {
			samples[state] = append(samples[state], s)
		}
		return err
	}
	if err := ask(result.StateCold); err != nil {
		return nil, err
	}
	for range t.bench.warmUps {
		if err := ask(""); err != nil {
			return nil, err
		}
	}
	for range t.bench.warm {
		if err := t.dropPages(); err != nil {
			return nil, err
		}
		if err := ask(result.StateWarm); err != nil {
			return nil, err
		}
	}
	if err := t.checkUse(ctx, samples); err != nil {
		return nil, err
	}
	if err := t.killAndRun(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(t.dropPages(), ask(result.StateKilled)); err != nil {
		return nil, err
	}
	t.fleet.KillAll()
	if bad := t.fleet.Alarming(); len(bad) > 0 {
		return nil, fmt.Errorf("%d alarming lines in Loki's log:\n  %s", len(bad), strings.Join(bad[:min(len(bad), 20)], "\n  "))
	}
	return samples, nil
}

// start starts all of it, empty.
func (t *turn) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(t.fleet.Root, 0o777); err != nil {
		return err
	}
	folder := filepath.Join(t.fleet.Root, "cache")
	cfg := lokiproc.Config{S3: t.bench.address, Bucket: t.store.name, CacheMB: t.setup.cacheMB}
	if t.setup.program != "" {
		if t.cache, err = t.bench.startCache(ctx, &t.fleet, t.setup.program, folder); err != nil {
			return err
		}
	}
	switch {
	case t.setup.program == memcachedProgram:
		cfg.Memcached = t.cache.Address
	case t.setup.program == nginxProgram:
		cfg.S3 = t.cache.Address
	case t.setup.disk:
		cfg.DiskCache = folder
	case t.setup.files:
		cfg = lokiproc.Config{Store: t.store.dir}
	}
	if t.loki, err = t.fleet.Start(ctx, t.setup.build(t.bench), t.setup.name, cfg); err != nil {
		return err
	}
	return t.loadIndex(ctx)
}

// killAndRun kills everything but the object store, and starts it over what it left.
func (t *turn) killAndRun(ctx context.Context) error {
	t.loki.Kill()
	if t.cache != nil {
		t.cache.Kill()
		if err := t.cache.Run(ctx); err != nil {
			return err
		}
	}
	if err := t.loki.Run(); err != nil {
		return err
	}
	if err := t.loki.WaitReady(ctx); err != nil {
		return err
	}
	return t.loadIndex(ctx)
}

// loadIndex has Loki fetch the index, which every setup does alike and which is not what is measured.
func (t *turn) loadIndex(ctx context.Context) error {
	_, err := lokiproc.Ask(ctx, t.loki, corpus.Tenant, corpus.IndexQuery())
	return errors.Join(err, t.rest())
}

func (t *turn) dropPages() error {
	if !t.bench.dropPages {
		return nil
	}
	return coldcache.Caches.Drop(nil)
}

// ask asks once. CPU time and GETs count until all have come to rest, so that what goes on after the answer
// is this query's, too.
func (t *turn) ask(ctx context.Context) (result.ObjectsSample, error) {
	var s result.ObjectsSample
	t.bench.objects.ResetCounts()
	before, err := t.cost(true)
	if err != nil {
		return s, err
	}
	a, err := lokiproc.Ask(ctx, t.loki, corpus.Tenant, t.query.Query)
	if err != nil {
		return s, err
	}
	if err := t.check(a); err != nil {
		return s, err
	}
	if err := t.rest(); err != nil {
		return s, err
	}
	after, err := t.cost(false)
	if err != nil {
		return s, err
	}
	s.WallMs = a.Wall.Seconds() * 1e3
	s.LokiCPUMs, s.CacheCPUMs = spent(before.loki, after.loki), spent(before.cache, after.cache)
	s.LokiPeakMB, s.CachePeakMB = after.lokiPeak, after.cachePeak
	s.GETs, s.Distinct, s.MB = chunkGETs(t.bench.objects.Counts(), t.store.name)
	return s, nil
}

// check compares an answer with stock's, or the first of all with what was pushed.
func (t *turn) check(a lokiproc.Answer) error {
	if t.want == nil {
		t.want = a.Text
		if t.query.Check == nil {
			return nil
		}
		return t.query.Check(a, t.store.Written)
	}
	if !bytes.Equal(t.want, a.Text) {
		return fmt.Errorf("the answer differs from that of stock without a cache %s", lokiproc.Difference(t.want, a.Text))
	}
	return nil
}

// chunkGETs sums up what was asked for of a bucket's chunks.
func chunkGETs(c objectstore.Counts, bucket string) (gets, distinct int, mb float64) {
	for name, n := range c.Objects {
		if strings.HasPrefix(name, bucket+"/"+corpus.Tenant+"/") {
			gets += n.GETs
			distinct++
			mb += float64(n.Bytes) / 1e6
		}
	}
	return gets, distinct, mb
}

// cost is what the processes have spent, by their ids, and how large they were.
type cost struct {
	loki, cache         map[int]time.Duration
	lokiPeak, cachePeak float64 // MB
}

// cost notes where the processes stand; reset begins a new peak.
func (t *turn) cost(reset bool) (c cost, err error) {
	if c.loki, c.lokiPeak, err = family(t.loki.PID(), reset); err == nil && t.cache != nil {
		c.cache, c.cachePeak, err = family(t.cache.PID(), reset)
	}
	return c, err
}

// family is a process and its children, some of which may end at any time: nginx has one that loads the
// names of its files.
func family(pid int, reset bool) (cpu map[int]time.Duration, peakMB float64, err error) {
	children, err := procstat.Children(pid)
	if err != nil {
		return nil, 0, err
	}
	cpu = map[int]time.Duration{}
	for _, p := range append(children, pid) {
		spent, err := procstat.CPUTime(p)
		var peak int64
		if err == nil {
			peak, err = procstat.PeakRSS(p)
		}
		if err == nil && reset {
			err = procstat.ResetPeak(p)
		}
		if err != nil && p == pid {
			return nil, 0, err
		}
		if err == nil {
			cpu[p], peakMB = spent, peakMB+float64(peak)/1e6
		}
	}
	return cpu, peakMB, nil
}

// spent is in milliseconds. Who is new has spent all it has; who has ended is not counted.
func spent(before, after map[int]time.Duration) float64 {
	total := time.Duration(0)
	for pid, d := range after {
		total += d - before[pid]
	}
	return total.Seconds() * 1e3
}

// rest waits until all spend next to nothing, but not for ever.
func (t *turn) rest() error {
	last, err := t.cost(false)
	for waited := time.Duration(0); err == nil && waited < restMax; waited += restStep {
		time.Sleep(restStep)
		var now cost
		if now, err = t.cost(false); err != nil {
			return err
		}
		if spent(last.loki, now.loki)+spent(last.cache, now.cache) < restCPU.Seconds()*1e3 {
			return nil
		}
		last = now
	}
	return err
}

// checkUse: the cold sample found an empty cache, and the warm ones found what the setup is there for.
func (t *turn) checkUse(ctx context.Context, samples turnSamples) error {
	cold, warm := samples[result.StateCold][0], samples[result.StateWarm]
	readsAll := t.query.Check != nil
	got := slices.MaxFunc(warm, func(a, b result.ObjectsSample) int { return a.GETs - b.GETs }).GETs
	if t.setup.files {
		if cold.GETs+got > 0 {
			return fmt.Errorf("void: a filesystem store made %d GETs", cold.GETs+got)
		}
		return nil
	}
	if cold.GETs == 0 || readsAll && cold.Distinct != t.store.Chunks {
		return fmt.Errorf("void: the cache was not empty: of %d chunks only %d were fetched", t.store.Chunks, cold.Distinct)
	}
	switch t.setup.warm {
	case keepsNothing:
		if readsAll && got < cold.Distinct {
			return fmt.Errorf("void: without a cache only %d of %d chunks were fetched again", got, cold.Distinct)
		}
	case keepsAny:
		m, err := t.loki.Metrics(ctx)
		if err != nil {
			return err
		}
		if m.Sum("loki_cache_fetched_keys", `name="chunks`) == 0 {
			return errors.New("void: no chunk was looked for in the cache")
		}
	case keepsHalf:
		if readsAll && got > cold.GETs/2 {
			return fmt.Errorf("void: %d GETs with the cache empty, still %d with it warm", cold.GETs, got)
		}
	case keepsAll:
		if got > cold.GETs/20 {
			return fmt.Errorf("void: %d GETs with the cache empty, still %d with it warm", cold.GETs, got)
		}
	}
	return nil
}
