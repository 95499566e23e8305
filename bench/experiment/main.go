// SPDX-License-Identifier: Apache-2.0

// Command experiment runs the published experiment again, against every peer of bench/internal/peers, in
// one interleaved run; bench/mkreport makes tables and plots of what it leaves. bench/README.md has the
// how and the results.
//
//	experiment -mode full     everything (about 25 minutes)
//	experiment -mode quick    a handful of points (below 3 minutes)
//	experiment -mode demo     what make run shows: stock and chunkring, every entry compared (a minute)
//	experiment -mode check    the regression gate: chunkring's ratios to stock against the baseline's
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/bench/internal/stats"
	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/coldcache"
)

type options struct {
	mode      string
	dir, out  string
	unpatched string
	baseline  string
	update    bool
	noisyOK   bool
	resume    bool
	cpus      int
	cap       time.Duration
	only      *regexp.Regexp
}

const exitNoisy = 3

var errNoisy = cli.WithCode(exitNoisy, errors.New("go on all the same with -noisy-ok"))

func main() {
	serveAsChild()
	cli.Main("experiment", parse, run)
}

// serveAsChild does not return where the driver has started this program as a reader.
func serveAsChild() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		cli.Child("experiment", func(ctx context.Context) error { return runChild(ctx, os.Args[2:]) })
	}
}

func parse(args []string) (options, error) {
	var o options
	var only string
	f := cli.Flags("experiment", "", "0 done; 1 a reader failed, differs from stock or fell behind the baseline; 2 wrong flags; 3 too noisy a machine")
	f.StringVar(&o.mode, "mode", "quick", "what to measure: full, quick, demo, check")
	f.StringVar(&o.dir, "dir", "build/bench/stores", "`directory` for the generated stores; they are kept for the next run")
	f.StringVar(&o.out, "out", "build/bench", "`directory` for the results: MODE.json, MODE.bench (for benchstat)")
	f.StringVar(&o.unpatched, "unpatched", "", "this `program`, built with an unmodified Loki: stock in it is the control")
	f.StringVar(&o.baseline, "baseline", "bench/report/baseline.json", "`file` of the gate's ratios")
	f.BoolVar(&o.update, "update", false, "with -mode check: write the baseline instead of comparing")
	f.BoolVar(&o.noisyOK, "noisy-ok", false, "go on where the machine is too noisy; the results say so")
	f.BoolVar(&o.resume, "resume", false, "go on with what an interrupted run left: MODE.part.json")
	f.IntVar(&o.cpus, "cpus", min(2, runtime.NumCPU()), "CPUs for the readers, but where one is the point")
	f.DurationVar(&o.cap, "cap", 0, "`time` for the rounds of each point instead of the planned; fewer than three rounds are no measure")
	f.StringVar(&only, "only", "", "measure only points whose title matches this `regexp`")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	if !slices.Contains([]string{"full", "quick", "demo", "check"}, o.mode) {
		return o, fmt.Errorf("-mode: %q is none of full, quick, demo, check", o.mode)
	}
	if o.cpus < 1 || o.cpus > runtime.NumCPU() {
		return o, fmt.Errorf("-cpus %d: there are %d", o.cpus, runtime.NumCPU())
	}
	var err error
	o.only, err = regexp.Compile(only)
	return o, err
}

func runChild(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("child is for this program's own use")
	}
	files, err1 := strconv.Atoi(args[2])
	callers, err2 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return serve(ctx, childConfig{Dir: args[0], Peer: args[1], Files: files, Callers: callers}, os.Stdin, os.Stdout)
}

func run(ctx context.Context, o options) error {
	if !peers.Patched() {
		return errors.New("built with an unmodified Loki: build it with -modfile build/patched.mod, as make bench does")
	}
	how, err := coldcache.Choose(coldcache.Auto)
	if err != nil {
		return err
	}
	d := &driver{begin: time.Now(), unpatched: o.unpatched, cold: how}
	r := &result.Run{Mode: o.mode, Begin: d.begin.UTC().Truncate(time.Second), Machine: machine(ctx, o.dir), ColdHow: how.Describe() + "; before every GetChunks"}
	if d.exe, err = os.Executable(); err != nil {
		return err
	}
	r.CallsHow, d.calls = callsHow()
	p := choosePlan(o)
	if len(p) == 0 {
		return errors.New("-only matches no point")
	}
	if d.stores, err = makeStores(ctx, o.dir, p.stores()); err != nil {
		return err
	}
	if o.mode == "demo" {
		return d.demo(ctx, o, p, r)
	}
	total, stolen := cpuTimes()
	if err := listenFirst(o, r); err != nil {
		return err
	}
	if o.mode == "check" {
		return d.check(ctx, o, p, r.Machine)
	}
	failed, err := d.measureAll(ctx, o, p, r)
	if err != nil {
		return err
	}
	r.Noise.During = stats.Of(d.noise)
	if t, s := cpuTimes(); t > total {
		r.Noise.Stolen = (s - stolen) / (t - total)
	}
	r.Minutes = time.Since(d.begin).Minutes()
	if err := write(o, r); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d points failed; the others are written", failed, len(p))
	}
	if err := os.RemoveAll(partName(o)); err != nil || o.noisyOK {
		return err
	}
	return noisyPoints(r.Points)
}

// listenFirst refuses a machine that is too noisy to measure on, unless it was told to go on.
func listenFirst(o options, r *result.Run) error {
	r.Noise = listen()
	for tries := 1; tries < listenTries && tooNoisy(r.Noise) != nil; tries++ {
		time.Sleep(listenPause) // something may just have ended
		r.Noise = listen()
	}
	err := tooNoisy(r.Noise)
	if err == nil {
		return nil
	}
	if !o.noisyOK {
		return fmt.Errorf("%w; %w", err, errNoisy)
	}
	fmt.Fprintln(os.Stderr, "experiment:", err)
	r.Noise.Forced = true
	return nil
}

func choosePlan(o options) plan {
	var p, chosen plan
	switch o.mode {
	case "full":
		p = fullPlan(o.cpus, o.unpatched != "")
	case "quick":
		p = quickPlan(o.cpus, o.unpatched != "")
	case "demo":
		p = demoPlan(o.cpus, o.unpatched != "")
	case "check":
		p = checkPlan(o.cpus)
	}
	for _, s := range p {
		if o.cap > 0 {
			s.cap, s.rounds[0] = o.cap, 1
		}
		if o.only.MatchString(s.title()) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// makeStores makes the stores, or finds them made, and reads them once: warm points want them in the page
// cache, and what is not yet on the disk can't be dropped from it.
func makeStores(ctx context.Context, dir string, need map[int]int) (map[int]*chunkgen.Index, error) {
	stores := map[int]*chunkgen.Index{}
	for size, files := range need {
		x, err := chunkgen.Write(ctx, filepath.Join(dir, fmt.Sprintf("%dx%d", files, size)), chunkgen.Options{Count: files, Size: size},
			cli.Progress(fmt.Sprintf("store of %d chunks of %d KB", files, size/1000)))
		if err != nil {
			return nil, err
		}
		stores[size] = x
	}
	unix.Sync()
	return stores, nil
}
