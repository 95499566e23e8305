// SPDX-License-Identifier: Apache-2.0

// Command e2e is what `make test-e2e` runs: it starts an unpatched Loki and one with chunkring, lets
// both write stores, and checks that both give the same answers to the same LogQL queries over the same
// stores: every codec, cold and warm, with and without Loki's chunk cache, read in part, with a damaged block,
// after deletes, and as a cluster of processes of which one is killed. It exits 1 at the first difference.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

type options struct {
	stock, ours string
	old         string
	s3Server    string
	lokiArgs    string
	self        bool
	dir         string
	keep        bool
	lines       int
	loghub      string
	codecs      []string
	phases      []string
	timeout     time.Duration
}

var allPhases = []string{"write", "read", "blocks", "delete", "cluster"}

// These need an S3 server, root for file systems, or an older Loki, and run by themselves.
const (
	phaseS3      = "s3"
	phaseObjects = "objects"
	phaseDisks   = "disks"
	phaseSwitch  = "switch"
)

func main() { cli.Main("e2e", parse, run) }

func parse(args []string) (options, error) {
	var o options
	var codecs, phases string
	f := cli.Flags("e2e", "", "0 all equal; 1 something differs or failed; 2 wrong flags")
	f.StringVar(&o.stock, "stock", "build/loki-stock", "unpatched Loki `binary`")
	f.StringVar(&o.ours, "loki", "build/loki", "Loki `binary` with chunkring")
	f.StringVar(&o.old, "old", "build/v3.5.7/loki-stock", "unpatched Loki `binary` from which, and back to which, the phase switch goes")
	f.StringVar(&o.s3Server, "s3-server", "build/versitygw", "versitygw `binary`, for the phases s3 and objects")
	f.StringVar(&o.lokiArgs, "loki-args", "", "more `flags` for the Loki with chunkring; -local.chunkring.max-chunk-bytes=5000 must make this test fail")
	f.BoolVar(&o.self, "self", false, "run the unpatched Loki in place of the other too: checks this test")
	f.StringVar(&o.dir, "dir", "", "`directory` for stores and logs (default: a temporary one, kept if the test fails)")
	f.BoolVar(&o.keep, "keep", false, "keep the directory")
	f.IntVar(&o.lines, "lines", 12000, "log lines a store")
	f.StringVar(&o.loghub, "loghub", os.Getenv("CHUNKRING_LOGHUB"), "`directory` of *.log files with real lines, added to the generated ones (default $CHUNKRING_LOGHUB)")
	f.StringVar(&codecs, "codecs", "gzip,snappy,zstd,lz4-64k,none", "codecs of the stores")
	f.StringVar(&phases, "phases", strings.Join(allPhases, ","), "what to run, also s3, objects, disks and switch; read, delete and cluster need write")
	f.DurationVar(&o.timeout, "timeout", 15*time.Minute, "give up after")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	o.codecs, o.phases = strings.Split(codecs, ","), strings.Split(phases, ",")
	for _, p := range o.phases {
		if known := append(slices.Clone(allPhases), phaseS3, phaseObjects, phaseDisks, phaseSwitch); !slices.Contains(known, p) {
			return o, fmt.Errorf("-phases: %q is none of %s", p, strings.Join(known, ", "))
		}
	}
	if o.self {
		o.ours = o.stock
	}
	if slices.Contains(o.phases, phaseSwitch) {
		if err := lokiproc.FindBinaries(&o.old); err != nil {
			return o, err
		}
	}
	return o, lokiproc.FindBinaries(&o.stock, &o.ours)
}

// test is one run of this program.
type test struct {
	options
	lokiproc.Fleet
	started time.Time
	store   string
	corpus  *corpus
	tenants []string

	stockLoki, oursLoki, threadsLoki, offLoki lokiproc.Build

	compared int // answers found equal
	asked    int
}

func run(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("-timeout %s is over", o.timeout))
	defer cancel()
	temporary := o.dir == ""
	if temporary {
		dir, err := os.MkdirTemp("", "chunkring-e2e-")
		if err != nil {
			return err
		}
		o.dir = dir
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	t := &test{options: o, started: time.Now(), store: filepath.Join(dir, "store")}
	t.Fleet.Root = dir
	t.setBuilds()
	defer t.KillAll()
	err = t.phasesInOrder(ctx)
	t.KillAll()
	if bad := t.Alarming(); len(bad) > 0 && err == nil {
		err = fmt.Errorf("%d alarming lines in logs:\n  %s", len(bad), strings.Join(bad[:min(len(bad), 20)], "\n  "))
	}
	if err != nil {
		return fmt.Errorf("%w\n  stores and logs are in %s", err, dir)
	}
	t.say("all %d answers equal to unpatched Loki's; %d requests", t.compared, t.asked)
	if temporary && !t.keep {
		return os.RemoveAll(dir)
	}
	return nil
}

func (t *test) setBuilds() {
	t.stockLoki = lokiproc.Build{Name: "stock", Bin: t.stock}
	if t.self {
		t.oursLoki, t.threadsLoki, t.offLoki = t.stockLoki, t.stockLoki, t.stockLoki
		t.oursLoki.Name, t.threadsLoki.Name, t.offLoki.Name = "self1", "self2", "self3"
		return
	}
	t.oursLoki = lokiproc.Build{Name: "ours", Bin: t.ours, Patched: true, Backend: "any", Args: strings.Fields(t.lokiArgs)}
	t.threadsLoki = lokiproc.Build{Name: "threads", Bin: t.ours, Patched: true, Backend: "threads",
		Args: []string{"-local.chunkring.backend=threads", "-store.chunkring.block-path=in_place"}}
	t.offLoki = lokiproc.Build{Name: "off", Bin: t.ours, Patched: true,
		Args: []string{"-local.chunkring.enabled=false", "-store.chunkring.block-path=off"}}
}

// say prints progress with the time since the start.
func (t *test) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(t.started).Seconds(), fmt.Sprintf(format, args...))
}

func (t *test) phasesInOrder(ctx context.Context) error {
	var err error
	if t.corpus, err = makeCorpus(t.lines, 1, t.loghub); err != nil {
		return err
	}
	t.say("%d log lines, %.1f MB, %d streams a store; %d queries", t.corpus.lines, float64(t.corpus.bytes)/1e6, len(t.corpus.streams), len(queries()))
	if slices.Contains(t.phases, "write") {
		if err := t.write(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(t.phases, "read") {
		for _, cacheMB := range []int{0, 100} {
			if err := t.read(ctx, cacheMB); err != nil {
				return err
			}
		}
	}
	if slices.Contains(t.phases, "blocks") {
		if err := t.blocks(ctx); err != nil {
			return err
		}
	}
	if err := t.deleteAndCluster(ctx); err != nil {
		return err
	}
	if slices.Contains(t.phases, phaseS3) {
		if err := t.s3(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(t.phases, phaseObjects) {
		if err := t.objects(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(t.phases, phaseDisks) {
		if err := t.disks(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(t.phases, phaseSwitch) {
		return t.switchOver(ctx)
	}
	return nil
}

// deleteAndCluster runs the cluster while the compactors of the deletes wait for their minute.
func (t *test) deleteAndCluster(ctx context.Context) error {
	var swept func() error
	if slices.Contains(t.phases, "delete") {
		var err error
		if swept, err = t.deletes(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(t.phases, "cluster") {
		if err := t.cluster(ctx); err != nil {
			return err
		}
	}
	if swept != nil {
		return swept()
	}
	return nil
}
