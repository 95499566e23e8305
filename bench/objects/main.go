// SPDX-License-Identifier: Apache-2.0

// Command objects measures whole Lokis whose chunks lie in an object store, with a cache in front of it or
// none: cold, warm, and warm after everything was killed. The object store is a stand-in that answers as late
// and as slowly as one far away, and counts what it is asked for. Every answer is compared with that of an
// unpatched Loki without a cache; a wrong one ends the run, and so does a cache that was not used.
//
//	setups.go   what is measured: a Loki and what stands in front of the object store
//	caches.go   memcached and nginx as processes
//	stores.go   the buckets, which are made once
//	turn.go     one setup from empty to killed
//	measure.go  turns in turns, what they say together
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/coldcache"
	"github.com/chunkring/chunkring/go/test/lokiproc"
	"github.com/chunkring/chunkring/go/test/objectstore"
)

type options struct {
	stock, ours               string
	dir                       string
	setups, stores, queries   *regexp.Regexp
	bytes, chunks             int
	rounds, warmUps, warm     int
	memcachedMB               int
	dropPages                 bool
	conditions                objectstore.Conditions
	jsonFile                  string
	quick                     bool
	makeOnly                  bool
	timeout                   time.Duration
	commandWords              []string
	streamMBPerS, totalMBPerS int
}

func main() { cli.Main("objects", parse, run) }

func parse(args []string) (options, error) {
	var o options
	var setups, stores, queries string
	f := cli.Flags("objects", "", "0 measured, all answers equal and all caches used; 1 something differs or failed; 2 wrong flags")
	f.StringVar(&o.stock, "stock", "build/loki-stock", "unpatched Loki `binary`")
	f.StringVar(&o.ours, "loki", "build/loki", "Loki `binary` with chunkring")
	f.StringVar(&o.dir, "dir", "build/_objects", "`directory` of the buckets, which are used again, and of the last run's logs")
	f.StringVar(&setups, "setups", ".", "measure the setups whose name matches this `regexp`, and stock without a cache")
	f.StringVar(&stores, "stores", ".", "measure the buckets whose name matches this `regexp`: large, small")
	f.StringVar(&queries, "queries", "^(short range|needle|count)$", "measure the queries whose name matches this `regexp`")
	f.IntVar(&o.bytes, "bytes", 400e6, "bytes of log lines in the bucket large")
	f.IntVar(&o.chunks, "chunks", 4500, "chunks of 8 KB in the bucket small")
	f.IntVar(&o.rounds, "rounds", 9, "turns of each setup for each query; one cold and one killed sample in each")
	f.IntVar(&o.warmUps, "warm-ups", 2, "times that the query is asked after the cold sample and before the warm ones")
	f.IntVar(&o.warm, "warm", 3, "warm samples in a turn")
	f.IntVar(&o.memcachedMB, "memcached-mb", 128, "memory of memcached; what does not fit goes to its file")
	f.BoolVar(&o.dropPages, "drop-pages", false, "empty the kernel's page cache before each warm and each killed sample (root)")
	f.DurationVar(&o.conditions.FirstByte, "first-byte", 30*time.Millisecond, "latency of the object store")
	f.IntVar(&o.streamMBPerS, "stream", 100, "its bandwidth for one GET, in `MB/s`; 0: no bound")
	f.IntVar(&o.totalMBPerS, "total", 1000, "its bandwidth for all GETs together, in `MB/s`; 0: no bound")
	f.Float64Var(&o.conditions.Unavailable, "unavailable", 0, "`part` of the GETs that get 503")
	f.Float64Var(&o.conditions.Truncated, "truncated", 0, "`part` of the GETs that are cut; Loki fails a query for it")
	f.Uint64Var(&o.conditions.Seed, "seed", 1, "of the two")
	f.BoolVar(&o.quick, "quick", false, "small buckets, one round, without count: below 5 minutes; tells what is wrong, not how fast it is")
	f.BoolVar(&o.makeOnly, "make-only", false, "make the missing buckets, measure nothing")
	f.StringVar(&o.jsonFile, "json", "", "write everything, each sample too, to this `file`")
	f.DurationVar(&o.timeout, "timeout", 6*time.Hour, "give up after")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	o.commandWords = cli.Given(f, "dir", "json", "loki", "stock")
	if o.quick {
		o.dir = filepath.Join(o.dir, "quick") // and the large buckets stay
		o.bytes, o.chunks, o.rounds, o.warmUps, o.warm, queries = 60e6, 1200, 1, 2, 1, "^(short range|needle)$"
	}
	for _, r := range []struct {
		flag, text string
		to         **regexp.Regexp
	}{{"-setups", setups, &o.setups}, {"-stores", stores, &o.stores}, {"-queries", queries, &o.queries}} {
		var err error
		if *r.to, err = regexp.Compile(r.text); err != nil {
			return o, fmt.Errorf("%s: %w", r.flag, err)
		}
	}
	return o, o.check()
}

func (o *options) check() (err error) {
	c := &o.conditions
	switch {
	case o.bytes < 1e6 || o.chunks < 100 || o.chunks > corpus.TinyMax:
		return fmt.Errorf("-bytes, -chunks: out of range")
	case o.rounds < 1 || o.warmUps < 0 || o.warm < 1 || o.memcachedMB < 64:
		return fmt.Errorf("-rounds, -warm-ups, -warm, -memcached-mb: out of range")
	case c.FirstByte < 0 || o.streamMBPerS < 0 || o.totalMBPerS < 0 || c.Unavailable < 0 || c.Unavailable > 1 || c.Truncated < 0 || c.Truncated > 1:
		return fmt.Errorf("-first-byte, -stream, -total, -unavailable, -truncated: out of range")
	}
	c.StreamBytesPerSec, c.TotalBytesPerSec = o.streamMBPerS*1e6, o.totalMBPerS*1e6
	if o.dropPages {
		if how, err := coldcache.Choose(coldcache.Auto); err != nil || how != coldcache.Caches {
			return fmt.Errorf("-drop-pages: only root may empty the page cache (%v)", err)
		}
	}
	if err := lokiproc.FindBinaries(&o.stock, &o.ours); err != nil {
		return err
	}
	o.dir, err = filepath.Abs(o.dir)
	return err
}

// bench is one run of this program.
type bench struct {
	options
	objects *objectstore.Server
	address string // of it
	result.Objects
}

func run(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("-timeout %s is over", o.timeout))
	defer cancel()
	b := &bench{options: o}
	unlock, err := cli.Lock(o.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(os.RemoveAll(b.runDir()), os.MkdirAll(b.bucketsDir(), 0o777)); err != nil {
		return err
	}
	stop, err := b.serveObjects()
	if err != nil {
		return err
	}
	defer stop()
	stores, err := b.makeStores(ctx)
	if err != nil || o.makeOnly {
		return err
	}
	setups, err := b.chooseSetups()
	if err != nil {
		return err
	}
	if err := b.header(ctx, stores, setups); err != nil {
		return err
	}
	err = b.measure(ctx, stores, setups)
	if len(b.Rows) == 0 {
		return err
	}
	b.Markdown(os.Stdout) // what there is, even if something failed later
	if o.jsonFile != "" {
		err = errors.Join(err, result.Save(o.jsonFile, &b.Objects))
	}
	return err
}

func (b *bench) runDir() string     { return filepath.Join(b.dir, "run") }
func (b *bench) bucketsDir() string { return filepath.Join(b.dir, "buckets") }

// serveObjects starts the object store in this process: it is nobody's cost.
func (b *bench) serveObjects() (stop func(), err error) {
	if b.objects, err = objectstore.New(b.bucketsDir()); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, b.objects.Close())
	}
	b.address = l.Addr().String()
	web := &http.Server{Handler: b.objects}
	go func() { _ = web.Serve(l) }() // until it is closed
	return func() {
		_ = web.Close()       // clients are gone
		_ = b.objects.Close() // and nothing is open
	}, nil
}

func (b *bench) conditionsText() string {
	c := b.conditions
	text := fmt.Sprintf("first byte after %s", c.FirstByte)
	if b.streamMBPerS > 0 {
		text += fmt.Sprintf(", %d MB/s a GET", b.streamMBPerS)
	}
	if b.totalMBPerS > 0 {
		text += fmt.Sprintf(", %d MB/s in all", b.totalMBPerS)
	}
	if c.Unavailable > 0 || c.Truncated > 0 {
		text += fmt.Sprintf(", 503 for %g and cut %g of the GETs (seed %d)", c.Unavailable, c.Truncated, c.Seed)
	}
	return text
}

func (b *bench) header(ctx context.Context, stores []store, setups []setup) error {
	h := &b.Header
	h.Time, h.Machine, h.Flags = time.Now().UTC().Format(time.RFC3339), cli.Machine(), b.commandWords
	h.Conditions = b.conditionsText()
	h.PageCache = "as the run leaves it: warm"
	if b.dropPages {
		h.PageCache = coldcache.Caches.Describe() + "; before each warm and each killed sample"
	}
	h.WarmUps = b.warmUps
	for _, s := range setups {
		v, err := (lokiproc.Build{Bin: s.build(b).Bin}).Version(ctx)
		if err != nil {
			return err
		}
		e := result.ObjectsSetup{Name: s.name, About: s.about, Loki: v, Args: s.build(b).Args}
		if s.program != "" {
			if e.Cache, err = programVersion(ctx, s.program); err != nil {
				return err
			}
			if s.program == memcachedProgram {
				e.Cache += fmt.Sprintf(", %d MB of memory, the rest in its file", b.memcachedMB)
			}
		}
		h.Setups = append(h.Setups, e)
	}
	for _, s := range stores {
		h.Stores = append(h.Stores, result.E2EStore{Name: s.name, Codec: codec, Lines: s.Written.Lines, Chunks: s.Chunks,
			Bytes: int64(s.Written.Bytes), ChunkBytes: s.ChunkBytes})
	}
	return nil
}
