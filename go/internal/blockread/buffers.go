// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"io"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/chunkring/chunkring/go/internal/core"
)

const (
	// rawBytesMax is the largest block that is decompressed at once. Loki cuts blocks at 256 KiB, but
	// one line may be as large as its limits allow.
	rawBytesMax = 16 << 20

	// keptBytesMax bounds the buffers that wait for reuse. Four times as much gained no speed, and what is kept
	// counts twice in Go's heap.
	keptBytesMax = 16 << 20

	classBytesMin = 4 << 10
	classes       = 4*12 + 1 // four per power of two up to rawBytesMax
)

// poison fills released buffers in debug builds (-tags chunkring_debug, and with -race), so that what
// is used after PutReader is plainly wrong instead of perhaps right.
const poison = 0xDB

// reader reads one decompressed block. It is Loki's compression.FlatReader. Each is used once: what is put
// back and used again is its buffer, so that whoever still has a reader that was put back, or puts it
// back again, has an empty one, and never somebody else's block.
type reader struct {
	pool  *pool
	level Level // in use when the block was opened

	flat []byte // the block
	off  int
	buf  *buffer // what flat is in; of a block that was not compressed nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.off == len(r.flat) {
		return 0, io.EOF
	}
	n := copy(p, r.flat[r.off:])
	r.off += n
	return n, nil
}

// Flat is all of the block, until PutReader, for an iterator that works in place; nil if it is to read.
func (r *reader) Flat() []byte {
	if r.level < InPlace {
		return nil
	}
	return r.flat
}

// PushDown tells an iterator that works in place that it may filter lines itself.
func (r *reader) PushDown() bool { return r.level >= Filter }

// Iterated counts what an iterator did in place.
func (r *reader) Iterated(lines, dropped int64, left bool) {
	p := r.pool
	p.iterated.Add(1)
	if left {
		p.left.Add(1)
	}
	p.lines.Add(uint64(lines))
	p.dropped.Add(uint64(dropped))
}

// buffer is room for one decompressed block.
type buffer struct {
	bytes []byte
	class int
	held  *atomic.Int64 // len(bytes) while it is in use
}

// buffers are kept in size classes, last in first out: what was touched last is still in the CPU's caches.
// (sync.Pool would drop them with every garbage collection, and new memory costs more than decompressing
// into it.)
type buffers struct {
	held    atomic.Int64 // bytes of those in use
	heldMax atomic.Int64 // their bound

	mu     sync.Mutex
	free   [classes][]*buffer
	kept   int64
	unused bool // nobody wants them now: what comes back is not kept
}

// class is the index of the smallest class that holds size, and its bytes: 4, 5, 6, 7 times a power of
// two.
func class(size int) (index, bytes int) {
	if size <= classBytesMin {
		return 0, classBytesMin
	}
	log := bits.Len(uint(size-1)) - 3
	quarters := (size + 1<<log - 1) >> log // 5 to 8
	return 4*(log-10) + quarters - 4, quarters << log
}

// get returns a buffer of at least size bytes, at most rawBytesMax; nil if there would be too many.
func (b *buffers) get(size int) *buffer {
	index, bytes := class(size)
	if b.held.Add(int64(bytes)) > b.heldMax.Load() {
		b.held.Add(-int64(bytes))
		return nil
	}
	buf := b.take(index)
	if buf == nil {
		buf = &buffer{bytes: core.NewBuffer(bytes), class: index, held: new(atomic.Int64)}
		// An iterator that was never closed is garbage, and its buffer with it.
		runtime.AddCleanup(buf, func(held *atomic.Int64) { b.held.Add(-held.Load()) }, buf.held)
	}
	buf.held.Store(int64(bytes))
	return buf
}

func (b *buffers) take(index int) *buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.free[index]
	if len(list) == 0 {
		return nil
	}
	buf := list[len(list)-1]
	list[len(list)-1] = nil
	b.free[index] = list[:len(list)-1]
	b.kept -= int64(len(buf.bytes))
	return buf
}

// put takes back what get returned.
func (b *buffers) put(buf *buffer) {
	if poisonReleased {
		fill(buf.bytes, poison)
	}
	bytes := int64(len(buf.bytes))
	buf.held.Store(0)
	b.held.Add(-bytes)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unused || b.kept+bytes > keptBytesMax {
		return // to the garbage collector
	}
	b.free[buf.class] = append(b.free[buf.class], buf)
	b.kept += bytes
}

// fill writes b all over p, fast also with the race detector, which looks at each call of copy once.
func fill(p []byte, b byte) {
	p[0] = b
	for n := 1; n < len(p); n *= 2 {
		copy(p[n:], p[:n])
	}
}

// use begins and ends the time in which buffers are kept. At its end what is kept goes to the garbage
// collector, and what is in use follows when it comes back.
func (b *buffers) use(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unused = !on
	if !on {
		b.free = [classes][]*buffer{}
		b.kept = 0
	}
}

func (b *buffers) keptBytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept
}
