// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/uring"
)

// published is the design of the published experiment, written anew: one io_uring of 128 entries with a
// polling kernel thread, whose submission side one goroutine owns, and three kinds of goroutines around
// it: those that open files and get buffers, one that polls for completions, those that decode. Buffers
// come from a sync.Pool and go back when a chunk is decoded, so it is UNSAFE like stockPool.
//
// Two choices are kinder than they need be: the goroutine that polls sleeps in the kernel when it finds
// nothing, and the kernel thread gives up after publishedIdle, so that it does not take a CPU away from
// whatever is measured next.
type published struct {
	store   Store
	ring    *uring.Ring
	submit  chan *request
	slots   chan uint64 // free indices of flight
	flight  [publishedEntries]atomic.Pointer[request]
	landing chan struct{} // one token a request in flight
	buffers sync.Pool     // of *[]byte
	ended   sync.WaitGroup
}

const (
	publishedEntries = 128
	publishedIdle    = 20 * time.Millisecond
	publishedSpins   = 64 // looks at the completion queue before sleeping in the kernel
)

// request is one file on its way.
type request struct {
	i, fd int
	buf   *[]byte
	size  int
	got   int
	err   error
	done  chan<- *request // of its batch
}

func newPublished(s Store) (Peer, error) {
	ring, err := uring.New(publishedEntries, publishedIdle)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", Published, ErrBackend, err)
	}
	p := &published{store: s, ring: ring, submit: make(chan *request, publishedEntries),
		slots: make(chan uint64, publishedEntries), landing: make(chan struct{}, publishedEntries),
		buffers: sync.Pool{New: func() any { return new([]byte) }}}
	for i := range uint64(publishedEntries) {
		p.slots <- i
	}
	p.ended.Add(2)
	go p.own()
	go p.poll()
	return p, nil
}

func (*published) Info() Info {
	return Info{Name: Published, Backend: "io_uring, SQPOLL", Unsafe: true}
}

// own is the only goroutine that submits.
func (p *published) own() {
	defer p.ended.Done()
	defer close(p.landing)
	for r := range p.submit {
		p.push(r)
		for more := true; more; { // whatever else is waiting goes along
			select {
			case r, ok := <-p.submit:
				if more = ok; ok {
					p.push(r)
				}
			default:
				more = false
			}
		}
	}
}

func (p *published) push(r *request) {
	slot := <-p.slots
	// Nothing of r is read after Store: poll may have it, and no lock orders what goes through the kernel.
	fd, rest, at := r.fd, (*r.buf)[r.got:r.size], int64(r.got)
	p.flight[slot].Store(r)
	// The ring has an entry for every slot, but the polling thread may not have taken it yet.
	for !p.ring.PushRead(fd, rest, at, slot) {
		runtime.Gosched()
	}
	if err := p.ring.Submit(0); err != nil {
		panic(err) // a ring that refuses to go on has no results to measure
	}
	p.landing <- struct{}{}
}

// poll is the only goroutine that takes completions.
func (p *published) poll() {
	defer p.ended.Done()
	for range p.landing {
		slot, res := p.take()
		r := p.flight[slot].Swap(nil)
		p.slots <- slot
		switch {
		case res < 0:
			r.err = unix.Errno(-res)
		case res == 0:
			r.err = io.ErrUnexpectedEOF
		default:
			if r.got += int(res); r.got < r.size {
				go func() { p.submit <- r }() // own may be waiting for the slots that poll gives back
				continue
			}
		}
		r.done <- r
	}
}

func (p *published) take() (slot uint64, res int32) {
	for spins := 0; ; spins++ {
		if slot, res, ok := p.ring.Take(); ok {
			return slot, res
		}
		if spins < publishedSpins {
			runtime.Gosched()
		} else if err := p.ring.Wait(); err != nil {
			panic(err)
		}
	}
}

func (p *published) Get(_ context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	out := make([]chunk.Chunk, len(refs))
	copy(out, refs)
	done := make(chan *request, len(out)) // room for all: poll never waits for a batch
	var openers, decoders sync.WaitGroup
	openers.Go(func() {
		_ = each(len(out), workersNow(), noState, func(_ struct{}, i int) error {
			p.open(i, &out[i], done)
			return nil
		})
	})
	var mu sync.Mutex
	var first error
	work := make(chan *request, len(out))
	for range workersNow() {
		decoders.Go(func() {
			dc := decodeContexts.Get().(*chunk.DecodeContext)
			defer decodeContexts.Put(dc)
			for r := range work {
				if err := p.decode(dc, r, &out[r.i], look); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for range out {
		work <- <-done
	}
	close(work)
	openers.Wait()
	decoders.Wait()
	if first != nil {
		return nil, noRelease, first
	}
	return out, noRelease, nil
}

// open sends file i to the ring, or straight to done if it can't be.
func (p *published) open(i int, c *chunk.Chunk, done chan<- *request) {
	r := &request{i: i, fd: -1, done: done}
	if r.fd, r.size, r.err = openSized(p.store.path(c)); r.err != nil {
		done <- r
		return
	}
	r.buf = p.buffers.Get().(*[]byte)
	if cap(*r.buf) < r.size {
		*r.buf = make([]byte, r.size)
	}
	p.submit <- r
}

func (p *published) decode(dc *chunk.DecodeContext, r *request, c *chunk.Chunk, look Look) error {
	if r.fd >= 0 {
		_ = unix.Close(r.fd) // only read
	}
	if r.err != nil {
		return r.err
	}
	defer p.buffers.Put(r.buf) // under the chunk
	if err := c.Decode(dc, (*r.buf)[:r.size:r.size]); err != nil {
		return err
	}
	if look != nil {
		look(c)
	}
	return nil
}

// Settle waits for the kernel thread to fall asleep.
func (p *published) Settle() {
	for range 10 * publishedIdle / time.Millisecond {
		if p.ring.Asleep() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Stop ends the goroutines. No Get may be running.
func (p *published) Stop() {
	close(p.submit)
	p.ended.Wait()
	p.ring.Close()
}
