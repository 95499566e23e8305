// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/test/soakresult"
)

// seat is a place for a client, which the load uses while others stop it and put another one there.
type seat struct {
	cfg    chunkring.Config
	client atomic.Pointer[chunkring.Client]
}

// load is everything that runs at the same time.
type load struct {
	slots  []*slot
	large  []*slot // those of them that queries may read in part
	seats  []*seat
	schema config.SchemaConfig
	reg    *prometheus.Registry // of all clients
	times  map[string]*histogram

	mu     sync.Mutex
	wrong  []string
	counts map[string]int64 // outcomes
	wrongN int64

	chunks, bytes, retained, blocks, restarts, unsettled, noDescriptor, hogged atomic.Int64
}

const (
	wrongShown = 20
	retainMax  = 6 << 20 // bytes that one reader keeps, as Loki's chunk cache does
	hogMax     = 1024    // descriptors; the limit is meant to come first
)

func newLoad(dir string, slots []*slot, schema config.SchemaConfig) (*load, error) {
	l := &load{slots: slots, schema: schema, reg: prometheus.NewRegistry(), times: map[string]*histogram{}, counts: map[string]int64{}}
	for _, op := range soakresult.Ops {
		l.times[op] = &histogram{}
	}
	for _, s := range slots {
		if len(s.want) > wholeBytes {
			l.large = append(l.large, s)
		}
	}
	// The second shares the first one's threads, rings and buffers. What is kept for reuse grows with the most
	// that was ever in use at once: bounded well below the process's memory, so that it does not hide a leak.
	for _, cfg := range []chunkring.Config{
		{Backend: chunkring.BackendURing, PooledBytes: 16 << 20}, {Backend: chunkring.BackendURing, PooledBytes: 16 << 20},
		{Backend: chunkring.BackendThreads, PooledBytes: 16 << 20, StrictBlocks: true, Seal: chunkring.SealAlways},
		{Backend: chunkring.BackendAuto, MaxOpenFiles: 16, PooledBytes: 4 << 20},
	} {
		cfg.Directory = dir
		s := &seat{cfg: cfg}
		c, err := chunkring.New(cfg, schema, nil, l.reg)
		if err != nil {
			l.stop()
			return nil, err
		}
		s.client.Store(c)
		l.seats = append(l.seats, s)
	}
	return l, nil
}

func (l *load) stop() {
	for _, s := range l.seats {
		s.client.Load().Stop()
	}
}

// run keeps all of it going until ctx ends.
func (l *load) run(ctx context.Context, seed uint64) {
	var wg sync.WaitGroup
	for i, work := range []func(ctx context.Context, r *rand.Rand){
		l.reader, l.reader, l.queryReader, l.queryReader, l.pooledReader, l.pooledReader, l.putter, l.putter, l.deleter, l.damager, l.restarter, l.hog,
	} {
		wg.Go(func() { work(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	wg.Wait()
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrongN++
	if len(l.wrong) < wrongShown {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

func (l *load) outcome(op, how string, n int64) {
	l.mu.Lock()
	l.counts[op+": "+how] += n
	l.mu.Unlock()
}

func (l *load) client(r *rand.Rand) *chunkring.Client {
	return l.seats[r.IntN(len(l.seats))].client.Load()
}

// patience is the context of one call: one in four ends soon, cancelled or by a deadline.
func patience(ctx context.Context, r *rand.Rand) (context.Context, context.CancelFunc) {
	soon := time.Duration(r.IntN(5000)) * time.Microsecond
	switch r.IntN(8) {
	case 0:
		return context.WithTimeout(ctx, soon)
	case 1:
		c, cancel := context.WithCancel(ctx)
		time.AfterFunc(soon, cancel)
		return c, cancel
	}
	return context.WithCancel(context.WithoutCancel(ctx)) // the end of the run is no cancel
}

// batch picks what to read of slots: mostly few chunks, sometimes many; one may come twice.
func batch(r *rand.Rand, slots []*slot) (picked []*slot, refs []chunk.Chunk, before []uint64) {
	n := 1 + r.IntN([]int{1, 8, 50, 50, 150}[r.IntN(5)])
	seen := map[*slot]uint64{}
	for range n {
		s := slots[r.IntN(len(slots))]
		now, twice := seen[s]
		if !twice { // one answer about it is as good as the other: they are not told apart
			now = s.now.Load()
			seen[s] = now
		}
		picked, refs, before = append(picked, s), append(refs, s.ref), append(before, now)
	}
	return picked, refs, before
}

// kept are chunks' own bytes that a reader still holds, as Loki does, while others are read.
type kept struct {
	slot *slot
	buf  []byte
}

func (l *load) reader(ctx context.Context, r *rand.Rand) {
	var cache []kept
	size := 0
	for ctx.Err() == nil {
		picked, refs, before := batch(r, l.slots)
		call, cancel := patience(ctx, r)
		begin := time.Now()
		out, err := l.client(r).GetChunks(call, refs)
		l.times["get"].add(time.Since(begin))
		l.check("get", picked, before, out, err, l.good)
		cancel()
		for i := range out {
			if b, err := out[i].Encoded(); err == nil {
				cache, size = append(cache, kept{slotOf(picked, &out[i]), b}), size+len(b)
			}
		}
		for size > retainMax {
			l.again(cache[0])
			cache, size = cache[1:], size-len(cache[0].buf)
		}
	}
	for _, k := range cache {
		l.again(k)
	}
}

func slotOf(picked []*slot, c *chunk.Chunk) *slot {
	for _, s := range picked {
		if s.ref.ChunkRef == c.ChunkRef {
			return s
		}
	}
	return nil // check has reported it
}

// again looks at a chunk that was read a while ago: nobody may have written into it.
func (l *load) again(k kept) {
	l.retained.Add(1)
	if k.slot != nil && !bytes.Equal(k.buf, k.slot.want) {
		l.fail("bytes changed under a live chunk: %s", k.slot.key)
	}
}

func (l *load) pooledReader(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		picked, refs, before := batch(r, l.slots)
		call, cancel := patience(ctx, r)
		begin := time.Now()
		b, err := l.client(r).GetChunksPooled(call, refs)
		l.times["get pooled"].add(time.Since(begin))
		l.check("get pooled", picked, before, b.Chunks, err, l.good)
		cancel()
		b.Release()
	}
}

// judge looks at a chunk that was read, and names the outcome. before is its slot as the call began; if sure, it
// held now all through the call.
type judge func(op string, s *slot, c *chunk.Chunk, before uint64, now state, sure bool) string

// check has judge look at each chunk of an answer, and compares each missing chunk's error with what the store held.
func (l *load) check(op string, picked []*slot, before []uint64, out []chunk.Chunk, err error, judge judge) {
	if errors.Is(err, chunkring.ErrStopped) {
		l.outcome(op, "client was stopped", 1)
		return
	}
	var batch *chunkring.BatchError
	if err != nil && !errors.As(err, &batch) {
		l.fail("%s: not a BatchError: %v", op, err)
		return
	}
	var failed []*chunkring.ChunkError
	if batch != nil {
		failed = batch.Failed
	}
	if len(out)+len(failed) != len(picked) {
		l.fail("%s: %d chunks and %d failures for %d requested", op, len(out), len(failed), len(picked))
		return
	}
	read := whichWereRead(picked, out, failed)
	if read == nil {
		l.fail("%s: of %d requested chunks one is missing or out of order", op, len(picked))
		return
	}
	how := map[string]int64{}
	for i, s := range picked {
		now, sure := settled(before[i], s.now.Load())
		if !sure {
			l.unsettled.Add(1)
		}
		if read[i] {
			how[judge(op, s, &out[0], before[i], now, sure)]++
			out = out[1:]
		} else {
			how[l.bad(op, s, failed[0], now, sure)]++
			failed = failed[1:]
		}
	}
	for name, n := range how {
		l.outcome(op, name, n)
	}
}

// whichWereRead says which of picked out answers, where failed answers all others and both are in the order
// of the request; nil if they can't be that. A chunk that was requested twice may have been read once, before
// or after it changed: which time it was, the chunks around it decide. failed has what out has not.
func whichWereRead(picked []*slot, out []chunk.Chunk, failed []*chunkring.ChunkError) []bool {
	wasRead := func(i, j int) bool { return j < len(out) && out[j].ChunkRef == picked[i].ref.ChunkRef }
	wasNot := func(i, j int) bool { return i-j < len(failed) && failed[i-j].Key == picked[i].key }
	// fits[i][j]: out[j:] and the failures after the first i-j answer picked[i:].
	fits := make([][]bool, len(picked)+1)
	for i := len(picked); i >= 0; i-- {
		fits[i] = make([]bool, i+1)
		for j := range fits[i] {
			if i == len(picked) {
				fits[i][j] = j == len(out)
			} else {
				fits[i][j] = fits[i+1][j+1] && wasRead(i, j) || fits[i+1][j] && wasNot(i, j)
			}
		}
	}
	if !fits[0][0] {
		return nil
	}
	read, j := make([]bool, len(picked)), 0
	for i := range picked {
		if read[i] = fits[i+1][j+1] && wasRead(i, j); read[i] {
			j++
		}
	}
	return read
}

// good compares each byte of a chunk that was read.
func (l *load) good(op string, s *slot, c *chunk.Chunk, _ uint64, now state, sure bool) string {
	b, err := c.Encoded()
	switch {
	case err != nil:
		l.fail("%s %s: no bytes: %v", op, s.key, err)
	case !bytes.Equal(b, s.want):
		l.fail("%s %s: WRONG BYTES (%d, wanted %d)", op, s.key, len(b), len(s.want))
	case sure && now != present:
		l.fail("%s %s: read, but it is %v", op, s.key, now)
	}
	l.chunks.Add(1)
	l.bytes.Add(int64(len(b)))
	return "good"
}

func (l *load) bad(op string, s *slot, err *chunkring.ChunkError, now state, sure bool) string {
	switch {
	case gaveUp(err):
		return "cancelled"
	case errors.Is(err, syscall.EMFILE):
		l.noDescriptor.Add(1)
		return "no descriptor"
	case sure && !now.expected(err):
		l.fail("%s %s, which is %v: %v", op, s.key, now, err)
		return "WRONG"
	}
	for st := range states {
		if st.expected(err) {
			return st.String()
		}
	}
	l.fail("%s %s, which changes: %v", op, s.key, err)
	return "WRONG"
}

// putter stores chunks, absent ones and over present and damaged ones.
func (l *load) putter(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		var mine []*slot
		var chunks []chunk.Chunk
		for range 1 + r.IntN([]int{1, 1, 8}[r.IntN(3)]) {
			s := l.slots[r.IntN(len(l.slots))]
			if !s.change.TryLock() {
				continue // somebody else's, or twice in this batch
			}
			c, err := s.whole()
			if err != nil {
				l.fail("%s: the test's own bytes: %v", s.key, err)
			}
			mine, chunks = append(mine, s), append(chunks, c)
			s.begin()
		}
		call, cancel := patience(ctx, r)
		begin := time.Now()
		err := l.client(r).PutChunks(call, chunks)
		l.times["put"].add(time.Since(begin))
		cancel()
		l.wasPut(mine, err)
	}
}

// wasPut takes the answer. A put that gave up or was refused before the rename left what was there.
func (l *load) wasPut(mine []*slot, err error) {
	failed := map[string]error{}
	var batch *chunkring.BatchError
	stopped := errors.Is(err, chunkring.ErrStopped)
	if errors.As(err, &batch) {
		for _, f := range batch.Failed {
			failed[f.Key] = f
		}
	} else if err != nil && !stopped {
		l.fail("put: not a BatchError: %v", err)
	}
	for _, s := range mine {
		now, err := s.state(), failed[s.key]
		switch {
		case stopped:
			l.outcome("put", "client was stopped", 1)
		case err == nil:
			now = present
			l.outcome("put", "good", 1)
		case gaveUp(err):
			l.outcome("put", "cancelled", 1)
		case errors.Is(err, syscall.EMFILE):
			l.noDescriptor.Add(1)
			l.outcome("put", "no descriptor", 1)
		default:
			l.fail("put: %v", err)
		}
		s.end(now)
		if err := s.onDisk(); err != nil {
			l.fail("after put: %v", err)
		}
		s.change.Unlock()
	}
}

func (l *load) deleter(ctx context.Context, r *rand.Rand) {
	for ; ctx.Err() == nil; time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond) {
		s := l.slots[r.IntN(len(l.slots))]
		if !s.change.TryLock() {
			continue
		}
		was := s.state()
		s.begin()
		begin := time.Now()
		err := l.client(r).DeleteChunk(ctx, s.ref.UserID, s.key)
		l.times["delete"].add(time.Since(begin))
		now := was
		switch {
		case errors.Is(err, chunkring.ErrStopped):
			l.outcome("delete", "client was stopped", 1)
		case err == nil && was != absent:
			now = absent
			l.outcome("delete", "good", 1)
		case was == absent && absent.expected(err):
			l.outcome("delete", "absent", 1)
		case errors.Is(err, syscall.EMFILE):
			if !s.exists() { // it was a folder above that could not be opened
				now = absent
			}
			l.noDescriptor.Add(1)
			l.outcome("delete", "no descriptor", 1)
		default:
			l.fail("delete %s, which was %v: %v", s.key, was, err)
		}
		s.end(now)
		if err := s.onDisk(); err != nil {
			l.fail("after delete: %v", err)
		}
		s.change.Unlock()
	}
}

// damager spoils one in so many present chunks.
func (l *load) damager(ctx context.Context, r *rand.Rand) {
	for ; ctx.Err() == nil; time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond) {
		s := l.slots[r.IntN(len(l.slots))]
		if !s.change.TryLock() {
			continue
		}
		if s.state() == present {
			s.begin()
			if err := s.damage(r); err != nil {
				l.fail("the test's own damage: %v", err)
			}
			s.end(damaged)
		}
		s.change.Unlock()
	}
}

// restarter stops a client with calls inside, and opens another in its place.
func (l *load) restarter(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(200+r.IntN(1500)) * time.Millisecond):
		}
		s := l.seats[r.IntN(len(l.seats))]
		s.client.Load().Stop()
		var c *chunkring.Client
		err := withDescriptor(func() (err error) { c, err = chunkring.New(s.cfg, l.schema, nil, l.reg); return err })
		if err != nil {
			l.fail("open a client again: %v", err)
			return
		}
		s.client.Store(c)
		l.restarts.Add(1)
	}
}

// hog takes all descriptors that are left for a moment, as a burst of connections does.
func (l *load) hog(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(500+r.IntN(3000)) * time.Millisecond):
		}
		var taken []*os.File
		for len(taken) < hogMax {
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			taken = append(taken, f)
		}
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		for _, f := range taken {
			_ = f.Close() // nothing was written
		}
		l.hogged.Add(1)
	}
}
