// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
)

// Where a reader's CPU time goes is sampled by perf, user and kernel side together: the same way for all
// readers, without a line in their code. Each sample is a call stack; the innermost frame that a rule
// knows decides. Rules see a frame and its caller: "callee < caller".
var stageRules = []struct {
	stage string
	frame *regexp.Regexp
}{
	{result.StageFaults, regexp.MustCompile(`^(asm_)?exc_page_fault|^handle_mm_fault|^do_user_addr_fault`)},
	{result.StageOpen, regexp.MustCompile(`^(do_sys_open|__x64_sys_open|__x64_sys_close|__se_sys_open|do_filp_open|path_openat|io_openat|io_close|__fput|fput|filp_close|file_close_fd|__arm64_sys_open|__arm64_sys_close|task_work_run|____fput)`)},
	{result.StageSize, regexp.MustCompile(`^(vfs_fstat|vfs_statx|__do_sys_newfstat|__x64_sys_newfstat|__x64_sys_statx|cp_new_stat|vfs_getattr)`)},
	{result.StageRead, regexp.MustCompile(`^(vfs_read|ksys_read|ksys_pread64|__x64_sys_pread64|filemap_read|generic_file_read_iter|ext4_file_read_iter|io_read|__io_read|new_sync_read|filemap_get_pages|_copy_to_iter|copy_folio_to_iter)`)},
	{result.StageCRC, regexp.MustCompile(`^hash/crc32\.|^cr_crc32c|^update < `)},
	{result.StageZero, regexp.MustCompile(`^runtime\.memclrNoHeapPointers < runtime\.(mallocgcLarge|memclrNoHeapPointersChunked) `)},
	{result.StageGC, regexp.MustCompile(`^runtime\.(gcBgMarkWorker|gcDrain|gcAssist|bgsweep|bgscavenge|gcStart|gcMark|sweepone|scanobject|gcFlushBgCredit|\(\*sweepLocked\)|wbBufFlush)`)},
	{result.StageAlloc, regexp.MustCompile(`^runtime\.mallocgcLarge|^internal/bytealg\.MakeNoZero|core\.NewBuffer|chunkringAlloc|^sync\.\(\*Pool\)`)},
	{result.StageDecode, regexp.MustCompile(`\(\*Chunk\)\.Decode|\(\*Chunk\)\.DecodeVerified|chunkcheck\.|^cr_chunk_|chunkenc\.`)},
	{result.StageOther, regexp.MustCompile(`^io_sq_thread`)},
}

// stageOf classifies one stack, innermost frame first.
func stageOf(frames []string) string {
	for i, f := range frames {
		f += " < "
		if i+1 < len(frames) {
			f += frames[i+1] + " "
		}
		for _, r := range stageRules {
			if r.frame.MatchString(f) {
				return r.stage
			}
		}
	}
	return result.StageOther
}

const (
	profileHz      = "1999"
	profileSamples = 300 // with fewer a share of 5 % is off by half
)

// stages profiles all readers at one point, each for so long.
func (d *driver) stages(ctx context.Context, s *spec, each time.Duration) ([]result.Stages, error) {
	x := d.stores[s.size]
	var all []result.Stages
	for _, name := range s.peers {
		if slices.Contains(peers.Floors, name) || name == result.StockUnpatched {
			continue // a floor has one stage; stock's are the same
		}
		one := *s
		one.peers = []string{name}
		readers, err := d.open(ctx, &one, x)
		if err != nil {
			return all, err
		}
		st, err := profile(ctx, readers[0], s, each)
		readers[0].stop()
		if err != nil {
			return all, err
		}
		all = append(all, st)
	}
	return all, nil
}

func profile(ctx context.Context, r *reader, s *spec, each time.Duration) (result.Stages, error) {
	st := result.Stages{Peer: r.name, Files: s.files, Size: s.size}
	ops, err := settle(s, []*reader{r})
	if err != nil {
		return st, err
	}
	dir, err := os.MkdirTemp("", "chunkring-perf-")
	if err != nil {
		return st, err
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "data")
	stop, err := startPerf(ctx, data, r.process.PID())
	if err != nil {
		return st, err
	}
	err = r.profiled(&st, ops[0], each)
	if err := errors.Join(err, stop()); err != nil {
		return st, err
	}
	return st, readProfile(ctx, data, &st)
}

// startPerf returns when perf samples every thread of the process.
func startPerf(ctx context.Context, data string, pid int) (stop func() error, err error) {
	orders, order, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	acks, ack, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, order.Close())
	}
	const first, second = 3, 4 // ExtraFiles' numbers in perf
	perf := exec.CommandContext(ctx, "perf", "record", "-q", "-o", data, "-e", "cpu-clock", "-F", profileHz, "-g", "-p", strconv.Itoa(pid),
		"--delay=-1", fmt.Sprintf("--control=fd:%d,%d", first, second))
	perf.Stderr, perf.ExtraFiles = os.Stderr, []*os.File{orders, ack}
	if err := perf.Start(); err != nil {
		return nil, errors.Join(err, order.Close(), acks.Close(), ack.Close())
	}
	stop = func() error {
		err := perf.Process.Signal(syscall.SIGINT)
		_ = perf.Wait() // its exit status says that it was interrupted
		return errors.Join(err, order.Close(), acks.Close())
	}
	if _, err := order.WriteString("enable\n"); err != nil {
		return nil, errors.Join(err, stop())
	}
	if err := ack.Close(); err != nil { // so that the read below ends with perf
		return nil, errors.Join(err, stop())
	}
	if _, err := acks.Read(make([]byte, 8)); err != nil {
		return nil, errors.Join(fmt.Errorf("perf does not answer: %w", err), stop())
	}
	return stop, nil
}

// profiled has the reader read while perf looks.
func (r *reader) profiled(st *result.Stages, ops int, each time.Duration) error {
	before, err := r.ask(request{Do: doStages})
	if err != nil {
		return err
	}
	var cpu time.Duration
	var chunks int
	for begin := time.Now(); time.Since(begin) < each; {
		rep, err := r.ask(request{Do: doVisit, Ops: max(ops, 3)})
		if err != nil {
			return err
		}
		cpu += rep.Visit.CPU
		chunks += rep.Visit.Chunks
	}
	after, err := r.ask(request{Do: doStages})
	if err != nil {
		return err
	}
	st.CPU = cpu.Seconds() * 1e6 / float64(chunks)
	for stage, seconds := range after.Stages {
		if st.Metrics == nil {
			st.Metrics = map[string]float64{}
		}
		st.Metrics[stage] = (seconds - before.Stages[stage]) * 1e6 / float64(chunks)
	}
	return nil
}

func readProfile(ctx context.Context, data string, st *result.Stages) error {
	script := exec.CommandContext(ctx, "perf", "script", "-i", data, "-F", "comm,ip,sym")
	script.Stderr = io.Discard // warnings about symbols that it can't find
	out, err := script.StdoutPipe()
	if err != nil {
		return err
	}
	if err := script.Start(); err != nil {
		return err
	}
	counts, total, err := countStages(out)
	if err := errors.Join(err, script.Wait()); err != nil {
		return fmt.Errorf("perf script: %w", err)
	}
	if total < profileSamples {
		return fmt.Errorf("perf took only %d samples of %s", total, st.Peer)
	}
	st.Samples, st.Share = total, map[string]float64{}
	for stage, n := range counts {
		st.Share[stage] = float64(n) / float64(total)
	}
	return nil
}

// countStages reads what perf script prints: a line with the thread's name, then one line a frame ("address
// symbol"), then an empty one.
func countStages(r io.Reader) (counts map[string]int, total int, err error) {
	counts = map[string]int{}
	var frames []string
	inSample := false
	flush := func() {
		if inSample {
			counts[stageOf(frames)]++
			total++
		}
		frames, inSample = frames[:0], false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			flush()
		case line[0] != ' ' && line[0] != '\t':
			inSample = true
		default:
			inSample = true
			if _, symbol, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				frames = append(frames, symbol)
			}
		}
	}
	flush()
	return counts, total, lines.Err()
}
