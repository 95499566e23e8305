// SPDX-License-Identifier: Apache-2.0

// Command verifyspeed measures `chunkctl verify` over a store against what does the same work: Loki's own
// packages on all CPUs (bench/verifypeer), sha1sum on all CPUs, which looks at bytes and understands
// nothing, and fio, which is what the disk gives. They take turns; each is a process of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chunkring/chunkring/bench/internal/fio"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/coldcache"
)

// tool is a command that reads every file of a store.
type tool struct {
	name     string
	args     []string
	coldOnly bool
	bytes    int64 // of the store: this one is fio, and says its speed itself
	runs     []cost
}

type cost struct{ seconds, cpu, peakMB float64 }

type options struct {
	store          string
	chunkctl, peer string
	rounds         int
	states         []string
	only           *regexp.Regexp
	deep           bool
}

func main() { cli.Main("verifyspeed", parse, run) }

func parse(args []string) (options, error) {
	var o options
	var states, only string
	f := cli.Flags("verifyspeed", "STORE", "0 measured; 1 a tool failed; 2 wrong flags")
	f.StringVar(&o.chunkctl, "chunkctl", "build/chunkctl", "`binary`")
	f.StringVar(&o.peer, "peer", "build/bench/verifypeer", "`binary` of bench/verifypeer")
	f.IntVar(&o.rounds, "rounds", 7, "of each, warm and cold")
	f.StringVar(&states, "states", "warm,cold", "of the page cache; cold needs root")
	f.StringVar(&only, "only", "", "measure the tools whose name matches this `regexp`; chunkctl always")
	f.BoolVar(&o.deep, "deep", false, "chunkctl and the peer decompress every block, too")
	if err := cli.Parse(f, args, 1); err != nil {
		return o, err
	}
	if o.rounds < 1 {
		return o, errors.New("-rounds is at least 1")
	}
	var err error
	if o.only, err = regexp.Compile(only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	o.store, o.states = f.Arg(0), strings.Split(states, ",")
	for _, state := range o.states {
		if state != "warm" && state != "cold" {
			return o, fmt.Errorf("-states: %q is neither warm nor cold", state)
		}
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	files, size, err := sizeOf(o.store)
	if err != nil {
		return err
	}
	if files == 0 {
		return fmt.Errorf("%s holds no chunks (of v12 or later: those of v11 are not told apart from the index)", o.store)
	}
	tools := toolsFor(o, files, size)
	tools = slices.DeleteFunc(tools, func(t *tool) bool { return t != tools[0] && !o.only.MatchString(t.name) })
	fmt.Printf("%d files, %.1f MB; %s; %s; medians [10 %%..90 %%] of %d rounds, in turns\n\n", files, float64(size)/1e6, cli.Machine(), runtime.Version(), o.rounds)
	fmt.Printf("| page cache | tool | s | CPU s | peak RSS MB | time / chunkctl's |\n|---|---|---|---|---|---|\n")
	for _, state := range o.states {
		if err := compare(ctx, tools, state, o.rounds); err != nil {
			return err
		}
	}
	return nil
}

// sizeOf counts the chunks of a store, not its index.
func sizeOf(store string) (files, size int64, err error) {
	err = filepath.WalkDir(store, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Dir(path) == filepath.Clean(store) {
			return err
		}
		fi, err := e.Info()
		if err == nil {
			files, size = files+1, size+fi.Size()
		}
		return err
	})
	return files, size, err
}

func toolsFor(o options, files, size int64) []*tool {
	verify, check := []string{o.chunkctl, "verify", o.store}, []string{o.peer}
	if o.deep {
		verify, check = []string{o.chunkctl, "verify", "--deep", o.store}, append(check, "-deep")
	}
	return []*tool{
		{name: "chunkctl verify", args: verify},
		{name: "chunkctl verify --bypass-cache", args: append(slices.Clone(verify), "--bypass-cache")},
		{name: "Go on Loki's packages", args: append(check, o.store)},
		{name: "find, xargs, sha1sum", args: []string{"sh", "-c",
			fmt.Sprintf("find \"$1\" -type f -print0 | xargs -0 -n 100 -P %d sha1sum >/dev/null", runtime.NumCPU()), "sh", o.store}},
		{name: "fio, O_DIRECT, depth 64", coldOnly: true, bytes: size, args: []string{"--name=cold", "--readonly", "--rw=read",
			"--file_service_type=sequential", fmt.Sprintf("--bs=%d", fio.Block(int(size/files))), "--direct=1", "--ioengine=io_uring", "--iodepth=64", "--openfiles=64",
			"--output-format=json", "--opendir=" + o.store}},
	}
}

// compare prints a row for each tool.
func compare(ctx context.Context, tools []*tool, state string, rounds int) error {
	var in []*tool
	for _, t := range tools {
		if !t.coldOnly || state == "cold" {
			t.runs = nil
			in = append(in, t)
		}
	}
	step := cli.Progress(state)
	for round := range rounds + 1 { // the first one only warms up
		for i := range in {
			t := in[(i+round)%len(in)]
			if state == "cold" {
				if err := coldcache.Caches.Drop(nil); err != nil {
					return fmt.Errorf("cold: %w; -states warm measures the rest", err)
				}
			}
			c, err := t.run(ctx)
			if err != nil {
				return err
			}
			if round > 0 {
				t.runs = append(t.runs, c)
			}
		}
		step(round+1, rounds+1)
	}
	for _, t := range in {
		cpu, peak := "", "" // of fio they are not known
		if t.bytes == 0 {
			cpu = fmt.Sprint(t.spread(func(i int) float64 { return t.runs[i].cpu }))
			peak = fmt.Sprintf("%.0f", t.spread(func(i int) float64 { return t.runs[i].peakMB }).P50)
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", state, t.name, t.spread(func(i int) float64 { return t.runs[i].seconds }),
			cpu, peak, t.spread(func(i int) float64 { return t.runs[i].seconds / in[0].runs[i].seconds }))
	}
	return nil
}

func (t *tool) spread(of func(i int) float64) result.Spread {
	var v []float64
	for i := range t.runs {
		v = append(v, of(i))
	}
	return result.SpreadOf(v)
}

// run takes the time of one run. fio's start takes longer than its reading of few files, and it leaves out their
// ends: what it would take for all bytes counts.
func (t *tool) run(ctx context.Context) (c cost, err error) {
	if t.bytes > 0 {
		mbps, err := fio.Run(ctx, t.args)
		return cost{seconds: float64(t.bytes) / 1e6 / max(mbps, 1e-3)}, err
	}
	cmd := exec.CommandContext(ctx, t.args[0], t.args[1:]...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("%s: %w: %s", strings.Join(t.args, " "), err, complaint.String())
	}
	c.seconds = time.Since(begin).Seconds()
	c.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return c, errors.New("no resource usage of a child")
	}
	c.peakMB = float64(u.Maxrss) / 1e3
	return c, nil
}
