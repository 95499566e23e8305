// SPDX-License-Identifier: Apache-2.0

// Command e2espeed measures whole Lokis: an unpatched one against one with chunkring, in turns, with the
// same queries over the same store, warm and cold. It makes the stores itself, by pushing logs to the
// unpatched Loki, and compares every answer; a wrong one ends it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/coldcache"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

type options struct {
	stock, ours  string
	oursArgs     string
	bothArgs     string
	backend      string
	disabled     bool
	dir          string
	codecs       []string
	bytes        int
	tiny         int
	tinyOverlap  int
	wide         int
	logs         []string
	makeOnly     bool
	shapes       *regexp.Regexp
	warm, cold   bool
	drop         coldcache.How
	pairs        int
	slowPairs    int
	crowd        int
	crowdMiB     int
	crowdRounds  int
	crowdTime    time.Duration
	cacheMB      int
	jsonFile     string
	profileDir   string
	profileTime  time.Duration
	timeout      time.Duration
	commandWords []string
}

func main() { cli.Main("e2espeed", parse, run) }

func parse(args []string) (options, error) {
	var o options
	var codecs, logs, states, shapes string
	f := cli.Flags("e2espeed", "", "0 measured, and all answers equal; 1 something differs or failed; 2 wrong flags")
	f.StringVar(&o.stock, "stock", "build/loki-stock", "unpatched Loki `binary`")
	f.StringVar(&o.ours, "loki", "build/loki", "Loki `binary` with chunkring")
	f.StringVar(&o.oursArgs, "loki-args", "", "more `flags` for the Loki with chunkring")
	f.StringVar(&o.bothArgs, "both-args", "", "more `flags` for all Lokis")
	f.StringVar(&o.backend, "backend", "uring", "back-end of chunkring, uring or threads; if another one runs, this stops")
	f.BoolVar(&o.disabled, "ours-disabled", false, "measure the Loki with chunkring switched off, too")
	f.StringVar(&o.dir, "dir", "build/_e2espeed", "`directory` of the stores, which are used again, and of the last run's logs")
	f.StringVar(&codecs, "codecs", "snappy,gzip,zstd,lz4,none", "a store of full chunks for each; empty for none")
	f.IntVar(&o.bytes, "bytes", 600e6, "bytes of log lines in such a store")
	f.IntVar(&o.tiny, "tiny", 50000, "chunks of the store of tiny chunks; 0 for none")
	f.IntVar(&o.tinyOverlap, "tiny-overlap", 10000, "chunks of the store of tiny chunks that all overlap; 0 for none")
	f.IntVar(&o.wide, "wide-bytes", 600e6, "bytes of log lines in the store of 200 streams and 24 hours; 0 for none")
	f.StringVar(&logs, "logs", "", "`files` with real log lines, comma-separated; a stream for each is added to the generated ones")
	f.BoolVar(&o.makeOnly, "make-only", false, "make the missing stores, measure nothing")
	f.StringVar(&shapes, "shapes", ".", "measure the queries whose name matches this `regexp`")
	f.StringVar(&states, "states", "warm,cold", "states of the page cache")
	drop := f.String("drop", string(coldcache.Auto), "how cold is made: caches (drop_caches, root only), fadvise (the store's files only), auto")
	f.IntVar(&o.pairs, "pairs", 21, "rounds of a query that takes less than 0.3 s")
	f.IntVar(&o.slowPairs, "pairs-slow", 5, "rounds of the others")
	f.IntVar(&o.crowd, "crowd", 16, "queries that a Loki with little memory is asked at once, of each store of full chunks; 0 for none")
	f.IntVar(&o.crowdMiB, "crowd-mib", 512, "its memory, page cache included: the limit of a control group, which root can make")
	f.IntVar(&o.crowdRounds, "crowd-rounds", 2, "rounds, each with new Lokis")
	f.DurationVar(&o.crowdTime, "crowd-time", 2*time.Minute, "time to answer all")
	f.IntVar(&o.cacheMB, "chunk-cache-mb", 0, "Loki's embedded chunk cache; it hides the client")
	f.StringVar(&o.jsonFile, "json", "", "write everything, each sample too, to this `file`")
	f.StringVar(&o.profileDir, "profile", "", "after measuring, write CPU profiles of every query into this `directory`")
	f.DurationVar(&o.profileTime, "profile-time", 8*time.Second, "length of a profile")
	f.DurationVar(&o.timeout, "timeout", 2*time.Hour, "give up after")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	o.commandWords = cli.Given(f, "dir", "json", "logs", "loki", "profile", "stock")
	o.codecs, o.logs = list(codecs), list(logs)
	o.drop = coldcache.How(*drop)
	return o, o.check(states, shapes)
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func (o *options) check(states, shapes string) (err error) {
	for _, s := range list(states) {
		switch s {
		case "warm":
			o.warm = true
		case "cold":
			o.cold = true
		default:
			return fmt.Errorf("-states: %q is neither warm nor cold", s)
		}
	}
	if o.shapes, err = regexp.Compile(shapes); err != nil {
		return fmt.Errorf("-shapes: %w", err)
	}
	switch {
	case !slices.Contains([]string{"uring", "threads"}, o.backend):
		return fmt.Errorf("-backend: %q is neither uring nor threads", o.backend)
	case o.bytes < 1e6 && len(o.codecs) > 0:
		return fmt.Errorf("-bytes: less than a megabyte makes no chunks worth measuring")
	case o.crowd < 0 || o.crowdMiB < 64 || o.crowdRounds < 1 || o.crowdTime < time.Second:
		return fmt.Errorf("-crowd, -crowd-mib, -crowd-rounds, -crowd-time: out of range")
	case o.wide != 0 && o.wide < 1e6:
		return fmt.Errorf("-wide-bytes: less than a megabyte makes no chunks worth measuring")
	case o.tiny < 0 || o.tinyOverlap < 0 || max(o.tiny, o.tinyOverlap) > corpus.TinyMax || o.pairs < 1 || o.slowPairs < 1 || o.cacheMB < 0 || o.profileTime < time.Second:
		return fmt.Errorf("-tiny, -tiny-overlap, -pairs, -pairs-slow, -chunk-cache-mb, -profile-time: out of range")
	}
	if o.drop, err = coldcache.Choose(o.drop); err != nil {
		return fmt.Errorf("-drop: %w", err)
	}
	if err := lokiproc.FindBinaries(&o.stock, &o.ours); err != nil {
		return err
	}
	o.dir, err = filepath.Abs(o.dir)
	return err
}

// contenders are the Lokis that are measured; the first is what the others are compared with.
func (o *options) contenders() []lokiproc.Build {
	args := append(slices.Clone(corpus.ReadArgs), strings.Fields(o.bothArgs)...)
	with := func(more ...string) []string { return append(slices.Clone(args), more...) }
	all := []lokiproc.Build{
		{Name: "stock", Bin: o.stock, Args: args},
		{Name: "ours", Bin: o.ours, Patched: true, Backend: o.backend,
			Args: append(with("-local.chunkring.backend="+o.backend), strings.Fields(o.oursArgs)...)},
	}
	if o.disabled {
		all = append(all, lokiproc.Build{Name: "disabled", Bin: o.ours, Patched: true,
			Args: with("-local.chunkring.enabled=false", "-store.chunkring.block-path=off")})
	}
	return all
}

// bench is one run of this program.
type bench struct {
	options
	lokiproc.Fleet
	result.E2E
	groups int // that were made
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
	b.Root = filepath.Join(o.dir, "run")
	if err := os.RemoveAll(b.Root); err != nil {
		return err
	}
	defer b.KillAll()
	stores, err := b.makeStores(ctx)
	if err != nil || o.makeOnly {
		return err
	}
	if b.Header, err = b.header(ctx, stores); err != nil {
		return err
	}
	b.leaveOutCrowds(stores)
	err = b.measureStores(ctx, stores)
	if len(b.Rows) == 0 && len(b.Crowds) == 0 {
		return err
	}
	b.Markdown(os.Stdout) // what there is, even if something failed later
	if o.jsonFile != "" {
		err = errors.Join(err, result.Save(o.jsonFile, &b.E2E))
	}
	return err
}

func (b *bench) measureStores(ctx context.Context, stores []store) error {
	for _, s := range stores {
		if err := b.measureStore(ctx, s); err != nil {
			return fmt.Errorf("%s: %w\n  logs are in %s", s.name, err, b.Root)
		}
	}
	if bad := b.Alarming(); len(bad) > 0 {
		return fmt.Errorf("%d alarming lines in the Lokis' logs:\n  %s", len(bad), strings.Join(bad[:min(len(bad), 20)], "\n  "))
	}
	return nil
}
