// SPDX-License-Identifier: Apache-2.0

// Command slowstorage measures how fast batches of chunks are read from storage that answers late, as NFS, EFS
// and network block devices do: Loki's own client against chunkring on threads and on io_uring, in turns. The
// storage is go/test/slowfs over a store on the local disk.
//
//	main.go      flags
//	points.go    what is measured
//	protocol.go  what the processes say to each other
//	serve.go     the process that is the storage
//	read.go      the processes that read
//	query.go     what they do to read a short range of time
//	measure.go   the driver: rounds, and which samples count
//	tasks.go     the threads of a process
//	table.go     what is printed
//
// bench/README.md has the how, docs/performance.md the results.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

type options struct {
	quick     bool
	only      *regexp.Regexp
	readers   []string // stock first
	cacheTime time.Duration
	cap       time.Duration
	dir, json string
}

func main() {
	serveAsChild()
	cli.Main("slowstorage", parse, run)
}

// serveAsChild does not return where the driver has started this program as the storage or as a reader.
func serveAsChild() {
	if len(os.Args) != 3 {
		return
	}
	if child, ok := children[os.Args[1]]; ok {
		cli.Child("slowstorage", func(ctx context.Context) error { return child(ctx, []byte(os.Args[2]), os.Stdin, os.Stdout) })
	}
}

func parse(args []string) (options, error) {
	var o options
	var only, readers string
	f := cli.Flags("slowstorage", "", "0 done; 1 a reader failed, differs from stock or runs on another back-end, or FUSE can't be had; 2 wrong flags")
	f.BoolVar(&o.quick, "quick", false, "four points, below 2 minutes, instead of all, below 25")
	f.StringVar(&only, "only", "", "measure only the points whose title (\"10 ms, 100 x 4 KB\"; \"of it\" for short ranges) matches this `regexp`")
	f.StringVar(&readers, "readers", strings.Join([]string{peers.Stock, peers.Threads, peers.URing}, ","),
		"readers, stock first; of two alike the second shows the noise")
	f.DurationVar(&o.cacheTime, "entry-timeout", 30*time.Second,
		"how `long` the kernel believes names and attributes (NFS: 30 s for folders); with 0 it asks for each\nfolder of a path again")
	f.DurationVar(&o.cap, "cap", 15*time.Second, "`time` for the rounds of a point, of which there are 5 at least")
	f.StringVar(&o.dir, "dir", "build/bench/stores", "`directory` for the generated stores; they are kept for the next run")
	f.StringVar(&o.json, "json", "", "`file` to write the results to, too")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	var err error
	if o.only, err = regexp.Compile(only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	o.readers = strings.Split(readers, ",")
	switch {
	case o.readers[0] != peers.Stock:
		return o, fmt.Errorf("-readers begins with %s, which the others are compared with", peers.Stock)
	case o.cacheTime < 0 || o.cap < 0:
		return o, errors.New("-entry-timeout and -cap are not negative")
	}
	for _, r := range o.readers {
		if !slices.Contains(peers.Readers, r) {
			return o, fmt.Errorf("-readers: %q is none of %s", r, strings.Join(peers.Readers, ", "))
		}
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	if err := slowfs.Unavailable(); err != nil {
		return err
	}
	points := choose(o)
	if len(points) == 0 {
		return errors.New("-only matches no point")
	}
	stores, err := makeStores(ctx, o.dir, points)
	if err != nil {
		return err
	}
	d := &driver{opts: o}
	if d.exe, err = os.Executable(); err != nil {
		return err
	}
	out := newRun(o)
	head(os.Stdout, out)
	for i, p := range points {
		if i == 0 || p.span != points[i-1].span {
			columns(os.Stdout, contenders(o.readers, p))
		}
		name, _ := p.store()
		m, err := d.point(ctx, p, stores[name])
		if ctx.Err() != nil {
			return ctx.Err() // not what a reader says that was ended
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.title(), err)
		}
		out.Points = append(out.Points, *m)
		line(os.Stdout, m)
	}
	foot(os.Stdout, out)
	if o.json == "" {
		return nil
	}
	return result.Save(o.json, out)
}

// makeStores makes the stores, or finds them made.
func makeStores(ctx context.Context, dir string, points []point) (map[string]*chunkgen.Index, error) {
	stores := map[string]*chunkgen.Index{}
	for _, p := range points {
		name, opts := p.store()
		if stores[name] != nil {
			continue
		}
		x, err := chunkgen.Write(ctx, filepath.Join(dir, name), opts, cli.Progress(fmt.Sprintf("store of %d chunks of %d KB", opts.Count, opts.Size/1000)))
		if err != nil {
			return nil, err
		}
		stores[name] = x
	}
	return stores, nil
}

// decode reads the configuration that a child gets as its argument.
func decode[T any](arg []byte) (cfg T, err error) {
	err = json.Unmarshal(arg, &cfg)
	return cfg, err
}
