// SPDX-License-Identifier: Apache-2.0

// Command soak has chunkring do all it can do at the same time, for as long as it is told: batches with
// good, missing and damaged chunks, garbage-collected and pooled, queries that read block by block, put, delete,
// cancel, Stop and New, with few descriptors and little memory. It compares every byte that it reads with what was
// written, and what is missing with what should be; it looks for leaks, and for what grows.
//
//	corpus.go    the chunks
//	slots.go     what each chunk's name holds at each moment
//	load.go      readers, writers and those who disturb them
//	query.go     readers that ask as queries do, and read block by block
//	sample.go    memory, descriptors, threads, latencies over time
//	verdict.go   leaks and growth
//	limits.go    descriptors, control group
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/soakresult"
)

type options struct {
	duration time.Duration
	dir, out string
	memory   int64 // bytes; 0: no limit
	files    uint64
	seed     uint64
	child    bool
	parts    []part
	progress func(done, total int)
}

func main() { cli.Main("soak", parse, run) }

func parse(args []string) (options, error) {
	var o options
	f := cli.Flags("soak", "", "0 all is well; 1 something was wrong; 2 wrong flags, or it could not run")
	minutes := f.Float64("minutes", 30, "how long")
	f.StringVar(&o.dir, "dir", "", "`directory` to make the store's directory in (default: that for temporary files)")
	f.StringVar(&o.out, "out", "build/soak", "`directory` for soak.json and soak.csv")
	memory := f.Int64("memory", 384, "`MiB` of memory, page cache included where there are control groups")
	f.Uint64Var(&o.files, "files", 256, "file descriptors")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the random choices; timing makes each run another one all the same")
	f.BoolVar(&o.child, "child", false, "what it starts itself as")
	if err := cli.Parse(f, args, 0); err != nil {
		return o, err
	}
	if *minutes <= 0 || *memory < 64 || o.files < 64 {
		return o, errors.New("-minutes must be above 0, -memory and -files at least 64")
	}
	o.duration, o.memory, o.parts = time.Duration(*minutes*float64(time.Minute)), *memory<<20, fullCorpus
	return o, nil
}

func run(ctx context.Context, o options) error {
	do := supervise
	if o.child {
		do = child
	}
	err := do(ctx, o)
	if err != nil && !errors.Is(err, errWrong) {
		return cli.WithCode(exitCouldNotRun, err)
	}
	return err
}

// exitCouldNotRun tells a run that says nothing from one that found something wrong.
const exitCouldNotRun = 2

var errWrong = errors.New("something was wrong")

// supervise starts the load in a process of its own, whose limits it does not share.
func supervise(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp(o.dir, "chunkring-soak-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	cmd := exec.CommandContext(ctx, self, append(os.Args[1:], "-child", "-dir", o.dir, "-seed", strconv.FormatUint(o.seed, 10))...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	g, groupErr := makeGroup(o.memory)
	if g != nil {
		defer g.remove()
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if g != nil {
		if groupErr = g.join(cmd.Process.Pid); groupErr != nil {
			g = nil
		}
	}
	// The child's first line: which limit it has.
	if g != nil {
		fmt.Fprintf(in, "%s\n%s\n", g.about, g.usage)
	} else {
		fmt.Fprintf(os.Stderr, "soak: no control group (%v): GOMEMLIMIT and RLIMIT_AS instead\n", groupErr)
		fmt.Fprintf(in, "\n\n")
	}
	_ = in.Close()
	bar := cli.Progress("soak")
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "progress" {
			done, _ := strconv.Atoi(f[1])
			total, _ := strconv.Atoi(f[2])
			bar(done, total)
			continue
		}
		fmt.Println(lines.Text())
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != exitCouldNotRun { // it said what, unless it was killed
		return fmt.Errorf("%w: %v", errWrong, exit)
	}
	return err
}

// child waits for its limits, runs the load and prints what came out.
func child(ctx context.Context, o options) error {
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	about := in.Text()
	in.Scan()
	usage := in.Text()
	// A batch in C and the corpus's mapping are beside Go's heap.
	debug.SetMemoryLimit(o.memory / 2)
	if about == "" {
		var err error
		if about, err = limitAddressSpace(o.memory); err != nil {
			return err
		}
	}
	if err := limitDescriptors(o.files); err != nil {
		return err
	}
	o.progress = func(done, total int) { fmt.Println("progress", done, total) }
	s, err := soak(ctx, o, usage)
	if err != nil {
		return err
	}
	s.Limits = map[string]string{"descriptors": strconv.FormatUint(o.files, 10),
		"memory": fmt.Sprintf("%s; Go's own limit %d MiB", about, o.memory>>21)}
	if err := soakresult.Save(o.out, s); err != nil {
		return err
	}
	show(s, o.out)
	if s.Failed() {
		return errWrong
	}
	return nil
}

// soak makes the store, runs the load and judges.
func soak(ctx context.Context, o options, usage string) (*soakresult.Run, error) {
	items, schema, corpus, err := makeCorpus(o.dir, o.parts)
	if err != nil {
		return nil, err
	}
	store := filepath.Join(o.dir, "store")
	slots := makeSlots(store, items, schema)
	if err := fill(slots); err != nil {
		return nil, err
	}
	before := levelsNow()
	l, err := newLoad(store, slots, schema)
	if err != nil {
		return nil, err
	}
	s := &soakresult.Run{Begin: time.Now(), Machine: cli.Machine(), Go: runtime.Version(), Corpus: corpus}
	for _, seat := range l.seats {
		s.Clients = append(s.Clients, fmt.Sprintf("%s (asked for %s)", seat.client.Load().Backend(), seat.cfg.Backend))
	}
	loadCtx, stop := context.WithTimeout(ctx, o.duration)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(loadCtx, o, l, usage, s)
	}()
	l.run(loadCtx, o.seed)
	<-watched
	s.Seconds = time.Since(s.Begin).Seconds()
	l.stop()
	lines, leaked := leaks(before)
	growthLines, grew := growth(s.Samples)
	s.Verdicts = append(lines, growthLines...)
	l.wrongN += int64(leaked + grew)
	l.settle(store)
	return s, l.tell(s)
}

// watch samples until the load ends.
func watch(ctx context.Context, o options, l *load, usage string, s *soakresult.Run) {
	const samples = 450
	every := max(o.duration/samples, time.Second/2)
	tick := time.NewTicker(every)
	defer tick.Stop()
	w := &sampler{group: usage, times: l.times, begin: s.Begin}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Samples = append(s.Samples, w.sample())
			if o.progress != nil {
				o.progress(int(time.Since(s.Begin).Seconds()), int(o.duration.Seconds()))
			}
		}
	}
}

// settle compares what lies on the disk with what should: nothing else, and nothing torn.
func (l *load) settle(store string) {
	known := map[string]bool{}
	for _, s := range l.slots {
		known[s.path] = true
		if err := s.onDisk(); err != nil {
			l.fail("in the end: %v", err)
		}
	}
	err := filepath.WalkDir(store, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !known[path] {
			l.fail("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		l.fail("in the end: %v", err)
	}
}

func (l *load) tell(s *soakresult.Run) error {
	families, err := l.reg.Gather()
	if err != nil {
		return err
	}
	partly := int64(0)
	for _, f := range families {
		if f.GetName() == "chunkring_chunks_partly_read_total" {
			partly += int64(f.Metric[0].GetCounter().GetValue())
		}
	}
	s.Wrong, s.WrongN = l.wrong, l.wrongN
	s.Counts = soakresult.Counts{Chunks: l.chunks.Load(), Bytes: l.bytes.Load(), Retained: l.retained.Load(), Blocks: l.blocks.Load(), PartlyRead: partly,
		Outcomes: l.counts, Restarts: l.restarts.Load(), Unsettled: l.unsettled.Load(), NoDescriptor: l.noDescriptor.Load(), Hogged: l.hogged.Load()}
	return nil
}

func show(s *soakresult.Run, out string) {
	c := s.Counts
	fmt.Printf("%.0f s on %s, %s\n%s; %s descriptors; %s\nclients: %s\n", s.Seconds, s.Machine, s.Go, s.Limits["memory"],
		s.Limits["descriptors"], s.Corpus, strings.Join(s.Clients, ", "))
	fmt.Printf("%d chunks, %.1f GB compared byte by byte; %d once more after later batches; %d changed while they were read\n",
		c.Chunks, float64(c.Bytes)/1e9, c.Retained, c.Unsettled)
	fmt.Printf("%d blocks compared by queries, for which %d chunks were read by their ends\n", c.Blocks, c.PartlyRead)
	fmt.Printf("%d clients stopped and opened again; all descriptors taken %d times: %d chunks refused for it\n", c.Restarts, c.Hogged, c.NoDescriptor)
	var names []string
	for name := range c.Outcomes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Printf("  %-34s %d\n", name, c.Outcomes[name])
	}
	for _, v := range s.Verdicts {
		fmt.Println(v)
	}
	for _, w := range s.Wrong {
		fmt.Println("WRONG:", w)
	}
	fmt.Printf("%d wrong; %s\n", s.WrongN, filepath.Join(out, "soak.json"))
}
