// SPDX-License-Identifier: Apache-2.0

// Command verifyspeed measures `chunkctl verify` over a store against what does the same work: Loki's own
// packages on all CPUs (bench/verifypeer), sha1sum on all CPUs, which looks at bytes and understands
// nothing, and fio, which is what the disk gives. They take turns; each is a process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/fio"
	"github.com/chunkring/chunkring/bench/internal/report"
	"github.com/chunkring/chunkring/bench/internal/result"
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

func main() {
	chunkctl := flag.String("chunkctl", "build/chunkctl", "`binary`")
	peer := flag.String("peer", "build/bench/verifypeer", "`binary` of bench/verifypeer")
	rounds := flag.Int("rounds", 7, "of each, warm and cold")
	states := flag.String("states", "warm,cold", "of the page cache; cold needs root")
	only := flag.String("only", "", "measure the tools whose name matches this `regexp`; chunkctl always")
	deep := flag.Bool("deep", false, "chunkctl and the peer decompress every block, too")
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "usage: verifyspeed [flags] STORE")
		os.Exit(2)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "verifyspeed: -only:", err)
		os.Exit(2)
	}
	for _, state := range strings.Split(*states, ",") {
		if state != "warm" && state != "cold" {
			fmt.Fprintf(os.Stderr, "verifyspeed: -states: %q is neither warm nor cold\n", state)
			os.Exit(2)
		}
	}
	files, size, err := sizeOf(flag.Arg(0))
	if err == nil && files == 0 {
		err = fmt.Errorf("%s holds no chunks (of v12 or later: those of v11 are not told apart from the index)", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verifyspeed:", err)
		os.Exit(1)
	}
	tools := toolsFor(flag.Arg(0), *chunkctl, *peer, *deep, files, size)
	tools = slices.DeleteFunc(tools, func(t *tool) bool { return t != tools[0] && !wanted.MatchString(t.name) })
	fmt.Printf("%d files, %.1f MB; %s; %s; medians [10 %%..90 %%] of %d rounds, in turns\n\n", files, float64(size)/1e6, report.Machine(), runtime.Version(), *rounds)
	fmt.Printf("| page cache | tool | s | CPU s | peak RSS MB | time / chunkctl's |\n|---|---|---|---|---|---|\n")
	for _, state := range strings.Split(*states, ",") {
		if err := compare(tools, state, *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "verifyspeed:", err)
			os.Exit(1)
		}
	}
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

func toolsFor(store, chunkctl, peer string, deep bool, files, size int64) []*tool {
	verify, check := []string{chunkctl, "verify", store}, []string{peer}
	if deep {
		verify, check = []string{chunkctl, "verify", "--deep", store}, append(check, "-deep")
	}
	return []*tool{
		{name: "chunkctl verify", args: verify},
		{name: "chunkctl verify --bypass-cache", args: append(slices.Clone(verify), "--bypass-cache")},
		{name: "Go on Loki's packages", args: append(check, store)},
		{name: "find, xargs, sha1sum", args: []string{"sh", "-c",
			fmt.Sprintf("find \"$1\" -type f -print0 | xargs -0 -n 100 -P %d sha1sum >/dev/null", runtime.NumCPU()), "sh", store}},
		{name: "fio, O_DIRECT, depth 64", coldOnly: true, bytes: size, args: []string{"--name=cold", "--readonly", "--rw=read",
			"--file_service_type=sequential", fmt.Sprintf("--bs=%d", fio.Block(int(size/files))), "--direct=1", "--ioengine=io_uring", "--iodepth=64", "--openfiles=64",
			"--output-format=json", "--opendir=" + store}},
	}
}

// compare prints a row for each tool.
func compare(tools []*tool, state string, rounds int) error {
	var in []*tool
	for _, t := range tools {
		if !t.coldOnly || state == "cold" {
			t.runs = nil
			in = append(in, t)
		}
	}
	step := report.Progress(state)
	for round := range rounds + 1 { // the first one only warms up
		for i := range in {
			t := in[(i+round)%len(in)]
			if state == "cold" {
				if err := dropCaches(); err != nil {
					return err
				}
			}
			c, err := t.run()
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
		fmt.Printf("| %s | %s | %s | %s | %.0f | %s |\n", state, t.name, t.spread(func(i int) float64 { return t.runs[i].seconds }),
			t.spread(func(i int) float64 { return t.runs[i].cpu }), t.spread(func(i int) float64 { return t.runs[i].peakMB }).P50,
			t.spread(func(i int) float64 { return t.runs[i].seconds / in[0].runs[i].seconds }))
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
func (t *tool) run() (c cost, err error) {
	if t.bytes > 0 {
		mbps, err := fio.Run(context.Background(), t.args)
		return cost{seconds: float64(t.bytes) / 1e6 / max(mbps, 1e-3)}, err
	}
	cmd := exec.Command(t.args[0], t.args[1:]...)
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

func dropCaches() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("cold: %w (root can; -states warm measures the rest)", err)
	}
	return nil
}
