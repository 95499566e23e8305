// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/uring"
)

// Switches are the parts of a reader that an ablation changes one by one. The zero value has the shape
// of Loki's client: 150 goroutines, each with plain system calls, a fresh zeroed buffer a file, and a
// decoder that checksums every byte twice.
type Switches struct {
	Buffers    string // "zeroed" (make), "fresh" (not zeroed, exact), "recycled" (released, used again)
	Goroutines int    // most at a time; 0: one a CPU
	URing      bool   // reads go through an io_uring of each goroutine, some files at a time
	Lean       bool   // the patched Loki's DecodeVerified, which checksums nothing, instead of Decode
	CRCPasses  int    // with Lean: checksums (Go's) over the whole file before it
}

// StockShape is where an ablation starts.
var StockShape = Switches{Buffers: "zeroed", Goroutines: stockParallel}

const (
	ablationPrefix = "ablation:"
	ablationGroup  = 16 // files that go through a ring at a time, where a goroutine has as many
)

// Name is what Open makes the reader of.
func (s Switches) Name() string {
	return fmt.Sprintf("%sbuffers=%s,goroutines=%d,uring=%t,lean=%t,crc=%d", ablationPrefix, s.Buffers, s.Goroutines, s.URing, s.Lean, s.CRCPasses)
}

func parseSwitches(name string) (Switches, error) {
	var s Switches
	fields := map[string]string{}
	for _, f := range strings.Split(strings.TrimPrefix(name, ablationPrefix), ",") {
		key, value, _ := strings.Cut(f, "=")
		fields[key] = value
	}
	var errs [4]error
	s.Buffers = fields["buffers"]
	s.Goroutines, errs[0] = strconv.Atoi(fields["goroutines"])
	s.URing, errs[1] = strconv.ParseBool(fields["uring"])
	s.Lean, errs[2] = strconv.ParseBool(fields["lean"])
	s.CRCPasses, errs[3] = strconv.Atoi(fields["crc"])
	if err := errors.Join(errs[:]...); err != nil {
		return s, fmt.Errorf("peer %q: %w", name, err)
	}
	if s.Name() != name || s.Goroutines < 0 || s.CRCPasses < 0 || s.CRCPasses > 2 || s.CRCPasses > 0 && !s.Lean {
		return s, fmt.Errorf("peer %q has switches that nobody knows", name)
	}
	return s, nil
}

type ablation struct {
	quiet
	name  string
	sw    Switches
	store Store
	alloc func(n int) []byte

	mu    sync.Mutex
	rings []*uring.Ring // free
	free  [][]byte      // released buffers, last in first out
}

// verifiedDecoder is what a patched Loki's *chunk.Chunk can do.
type verifiedDecoder interface {
	DecodeVerified(dc *chunk.DecodeContext, input []byte, blocksVerified bool) error
}

// Patched reports whether this program is built with a Loki that lokifork patched.
func Patched() bool {
	_, ok := any(&chunk.Chunk{}).(verifiedDecoder)
	return ok
}

func newAblation(name string, s Store) (Peer, error) {
	sw, err := parseSwitches(name)
	if err != nil {
		return nil, err
	}
	if sw.Lean && !Patched() {
		return nil, fmt.Errorf("peer %q needs a Loki patched by lokifork", name)
	}
	a := &ablation{name: name, sw: sw, store: s}
	switch sw.Buffers {
	case "zeroed":
		a.alloc = func(n int) []byte { return make([]byte, n+bytes.MinRead)[:n] }
	case "fresh":
		a.alloc = notZeroed
	case "recycled":
		a.alloc = a.recycled
	default:
		return nil, fmt.Errorf("peer %q: unknown buffers", name)
	}
	return a, nil
}

func (a *ablation) Info() Info {
	return Info{Name: a.name, Releases: a.sw.Buffers == "recycled"}
}

func (a *ablation) Get(_ context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	out := make([]chunk.Chunk, len(refs))
	copy(out, refs)
	buffers := make([][]byte, len(refs))
	workers := min(a.sw.Goroutines, len(refs))
	if a.sw.Goroutines == 0 {
		workers = min(workersNow(), len(refs))
	}
	group := 1
	if a.sw.URing {
		group = min(ablationGroup, (len(out)+workers-1)/workers)
	}
	err := each((len(out)+group-1)/group, workers, noState, func(_ struct{}, g int) error {
		first, end := g*group, min((g+1)*group, len(out))
		return a.some(out[first:end], buffers[first:end])
	})
	if err != nil {
		return nil, noRelease, err
	}
	lookAll(out, look)
	if a.sw.Buffers != "recycled" {
		return out, noRelease, nil
	}
	return out, func() { a.release(buffers) }, nil
}

// some reads and decodes a few files: one, or as many as go through a ring together.
func (a *ablation) some(chunks []chunk.Chunk, buffers [][]byte) error {
	var fds [ablationGroup]int
	opened := 0
	var err error
	for i := range chunks {
		var size int
		if fds[i], size, err = openSized(a.store.path(&chunks[i])); err != nil {
			break
		}
		opened++
		buffers[i] = a.alloc(size)
	}
	if err == nil {
		err = a.read(fds[:opened], buffers)
	}
	for _, fd := range fds[:opened] {
		_ = unix.Close(fd) // only read
	}
	for i := range chunks {
		if err == nil {
			err = a.decode(&chunks[i], buffers[i])
		}
	}
	return err
}

func (a *ablation) read(fds []int, buffers [][]byte) error {
	if !a.sw.URing {
		for i, fd := range fds {
			if err := readFull(fd, buffers[i]); err != nil {
				return err
			}
		}
		return nil
	}
	ring, err := a.takeRing()
	if err != nil {
		return err
	}
	for i, fd := range fds {
		if !ring.PushRead(fd, buffers[i], 0, uint64(i)) {
			return errors.New("the ring has less room than it was made with")
		}
	}
	if err := ring.Submit(uint32(len(fds))); err != nil {
		return err // and the ring is lost with what may be in flight
	}
	for range fds {
		if err := ring.Wait(); err != nil {
			return err
		}
		i, res, _ := ring.Take()
		if int(res) != len(buffers[i]) {
			err = fmt.Errorf("read of %d bytes gave %d", len(buffers[i]), res)
		}
	}
	runtime.KeepAlive(buffers)
	a.mu.Lock()
	a.rings = append(a.rings, ring)
	a.mu.Unlock()
	return err
}

func (a *ablation) takeRing() (*uring.Ring, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.rings); n > 0 {
		r := a.rings[n-1]
		a.rings = a.rings[:n-1]
		return r, nil
	}
	return uring.New(ablationGroup, 0)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (a *ablation) decode(c *chunk.Chunk, buf []byte) error {
	dc := decodeContexts.Get().(*chunk.DecodeContext)
	defer decodeContexts.Put(dc)
	d, ok := any(c).(verifiedDecoder)
	if !a.sw.Lean || !ok {
		return c.Decode(dc, buf)
	}
	for range a.sw.CRCPasses {
		if crc32.Checksum(buf, castagnoli) != c.Checksum {
			return chunk.ErrInvalidChecksum
		}
	}
	return d.DecodeVerified(dc, buf, true)
}

// recycled takes the buffer that was released last. All have room for the largest file so far, and a bit.
func (a *ablation) recycled(n int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.free) - 1; last >= 0 {
		b := a.free[last]
		a.free = a.free[:last]
		if cap(b) >= n {
			return b[:n]
		}
	}
	return notZeroed(n + n/16)[:n] // files of a store differ by a few percent
}

func (a *ablation) release(buffers [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, buffers...)
}

func (a *ablation) Stop() {
	for _, r := range a.rings {
		r.Close()
	}
}
