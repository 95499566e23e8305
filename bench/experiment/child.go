// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/go/chunkgen"
)

// child is one reader in its process.
type child struct {
	cfg     childConfig
	peer    peers.Peer
	batches [][]chunk.Chunk // one a caller
	size    int             // mean bytes of a file

	kept    cache
	ballast []byte
}

// Before anything counts the heap has to settle: the cache fills, and batches are read until a few in a
// row touched almost no new memory. Both are bounded by the time the driver grants.
const (
	fillsMax     = 400
	warmUpsMax   = 60
	warmUpsCalm  = 4
	calmFraction = 0.01 // of the batch's pages that fault
)

// serve answers requests until in ends.
func serve(ctx context.Context, cfg childConfig, in io.Reader, out io.Writer) error {
	c, err := newChild(cfg)
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	if err != nil {
		return enc.Encode(reply{Err: err.Error(), Fell: errors.Is(err, peers.ErrBackend)})
	}
	defer c.peer.Stop()
	if err := enc.Encode(reply{Backend: c.peer.Info().Backend}); err != nil {
		return err
	}
	for {
		var req request
		if err := dec.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		rep, err := c.answer(ctx, req)
		if err != nil {
			rep.Err = err.Error()
		}
		if err := enc.Encode(rep); err != nil {
			return err
		}
	}
}

func newChild(cfg childConfig) (*child, error) {
	x, err := chunkgen.LoadIndex(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.Files < 1 || cfg.Files > len(x.Refs) || cfg.Callers < 1 {
		return nil, fmt.Errorf("%d callers of %d files: the store has %d", cfg.Callers, cfg.Files, len(x.Refs))
	}
	peer, err := peers.Open(cfg.Peer, peers.Store{Dir: x.Dir(), Schema: x.Schema()})
	if err != nil {
		return nil, err
	}
	c := &child{cfg: cfg, peer: peer, size: int(x.Bytes()) / len(x.Refs)}
	all := x.Chunks()
	for i := range cfg.Callers { // each its own files, as far as there are any
		batch := make([]chunk.Chunk, 0, cfg.Files)
		for j := range cfg.Files {
			batch = append(batch, all[(i*cfg.Files+j)%len(all)])
		}
		c.batches = append(c.batches, batch)
	}
	return c, nil
}

func (c *child) answer(ctx context.Context, req request) (rep reply, err error) {
	switch req.Do {
	case doDigest:
		rep.Digest, err = c.digest(ctx, req.LinesEvery)
	case doSettle:
		rep.Op, err = c.settle(ctx, req.Limit)
	case doVisit:
		rep.Visit, err = c.visit(ctx, req.Ops, req.Warm)
	case doCalls:
		rep.Calls, err = c.countCalls(ctx, req.Ops)
	case doStages:
		if s, ok := c.peer.(interface {
			Stages() (map[string]float64, error)
		}); ok {
			rep.Stages, err = s.Stages()
		}
	case doEnd:
		rep.PeakMB, err = peakMB()
	default:
		err = fmt.Errorf("unknown request %q", req.Do)
	}
	return rep, err
}

func (c *child) digest(ctx context.Context, linesEvery int) (string, error) {
	if c.peer.Info().Floor {
		return "", nil
	}
	var all []string
	for _, batch := range c.batches {
		d, err := peers.Digest(ctx, c.peer, batch, linesEvery)
		if err != nil {
			return "", err
		}
		all = append(all, d)
	}
	return strings.Join(all, " "), nil
}

// settle forgets what comparing left in memory, brings the heap to the size that it will have, and says
// how long a GetChunks takes.
func (c *child) settle(ctx context.Context, limit time.Duration) (time.Duration, error) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return 0, fmt.Errorf("reset of the peak memory: %w", err)
	}
	info, batch := c.peer.Info(), c.cfg.Files*c.size*c.cfg.Callers
	keeps := !info.Releases && !info.Floor && !info.Unsafe
	begin := time.Now()
	for n := 0; keeps && n < fillsMax && time.Since(begin) < limit && c.kept.total+batch < cacheBytes; n++ {
		if _, err := c.run(ctx, 1); err != nil {
			return 0, err
		}
	}
	// A Loki has that much besides, whoever reads its chunks; without it a reader that keeps nothing would
	// have its garbage collected all the time.
	if rest := cacheBytes - c.kept.total; rest > 0 && !info.Floor {
		c.ballast = make([]byte, rest)
		for i := 0; i < len(c.ballast); i += os.Getpagesize() {
			c.ballast[i] = 1
		}
	}
	switch {
	case keeps:
		touchHeap(2 * (cacheBytes + batch))
	case !info.Floor:
		touchHeap(2 * cacheBytes)
	}
	return c.warmUp(ctx, begin.Add(2*limit))
}

// touchHeap grows Go's heap to what it will have between two collections, with every page of it touched.
// Where the guest's page tables are shadowed a first touch takes about 8 us, ten times what reading the
// page takes; a heap that grows slowly would meet such pages all through the measurement.
func touchHeap(bytes int) {
	const each = 64 << 10
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	percent := debug.SetGCPercent(-1)
	for have := int(m.HeapAlloc); have < bytes; have += each {
		touched = make([]byte, each)
		for i := 0; i < each; i += os.Getpagesize() {
			touched[i] = 1
		}
	}
	touched = nil
	debug.SetGCPercent(percent)
	runtime.GC()
}

var touched []byte // so that it is allocated on the heap

// warmUp returns how long a GetChunks takes at the end.
func (c *child) warmUp(ctx context.Context, until time.Time) (op time.Duration, err error) {
	calmFaults := max(10, int64(calmFraction*float64(c.cfg.Files*c.size*c.cfg.Callers)/float64(os.Getpagesize())))
	for n, calm := 0, 0; n < warmUpsMax && calm < warmUpsCalm && (n < warmUpsCalm || time.Now().Before(until)); n++ {
		v, err := c.visit(ctx, 1, 0)
		if err != nil {
			return 0, err
		}
		if calm++; v.Faults > calmFaults {
			calm = 0
		}
		op = slices.Min(v.Walls)
	}
	return op, nil
}

// run has each caller read its batch so many times, all at the same time, and returns how long each
// GetChunks took.
func (c *child) run(ctx context.Context, times int) ([]time.Duration, error) {
	walls := make([][]time.Duration, len(c.batches))
	errs := make([]error, len(c.batches))
	var wg sync.WaitGroup
	caller := func(i int) {
		walls[i] = make([]time.Duration, 0, times)
		for range times {
			begin := time.Now()
			err := c.get(ctx, c.batches[i])
			walls[i] = append(walls[i], time.Since(begin))
			if err != nil {
				errs[i] = err
				return
			}
		}
	}
	for i := 1; i < len(c.batches); i++ {
		wg.Go(func() { caller(i) })
	}
	caller(0)
	wg.Wait()
	return slices.Concat(walls...), errors.Join(errs...)
}

func (c *child) get(ctx context.Context, refs []chunk.Chunk) error {
	chunks, release, err := c.peer.Get(ctx, refs, nil)
	info := c.peer.Info()
	switch {
	case err != nil:
		return err
	case !info.Floor && len(chunks) != len(refs):
		return fmt.Errorf("%s returned %d of %d chunks", info.Name, len(chunks), len(refs))
	case info.Releases:
		release()
	case !info.Floor && !info.Unsafe:
		c.kept.add(chunks, c.size)
	}
	return nil
}

// visit measures. The first GetChunks of it don't count: other readers ran since the last visit.
func (c *child) visit(ctx context.Context, ops, warm int) (v visit, err error) {
	if warm > 0 {
		if _, err := c.run(ctx, warm); err != nil {
			return v, err
		}
	}
	var before, after runtime.MemStats
	var used, usedAfter unix.Rusage
	runtime.ReadMemStats(&before)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return v, err
	}
	if v.Walls, err = c.run(ctx, ops); err != nil {
		return v, err
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usedAfter); err != nil {
		return v, err
	}
	runtime.ReadMemStats(&after)
	c.peer.Settle()
	v.Chunks = len(v.Walls) * c.cfg.Files
	v.CPU = time.Duration(usedAfter.Utime.Nano() + usedAfter.Stime.Nano() - used.Utime.Nano() - used.Stime.Nano())
	v.Bytes, v.Allocs = after.TotalAlloc-before.TotalAlloc, after.Mallocs-before.Mallocs
	v.Faults = usedAfter.Minflt + usedAfter.Majflt - used.Minflt - used.Majflt
	v.Switches = usedAfter.Nvcsw + usedAfter.Nivcsw - used.Nvcsw - used.Nivcsw
	v.DiskMB = float64(usedAfter.Inblock-used.Inblock) * 512 / 1e6
	return v, nil
}

// peakMB is the most memory this process had since settle.
func peakMB() (float64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return float64(kb) * 1024 / 1e6, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}

// cacheBytes is what Loki's embedded chunk cache holds by default (chunk_store_config). Its chunks are
// the live heap that the garbage collector paces itself by; without one it would run all the time.
const cacheBytes = 100 << 20

// cache keeps the last chunks, as that cache does.
type cache struct {
	mu     sync.Mutex
	chunks []chunk.Chunk
	total  int
	size   int // of each
}

func (k *cache) add(chunks []chunk.Chunk, size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.chunks, k.size = append(k.chunks, chunks...), size
	drop := max(0, len(k.chunks)-cacheBytes/size)
	clear(k.chunks[:drop])
	k.chunks = k.chunks[drop:]
	k.total = len(k.chunks) * size
}
