// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"math/bits"
	"sync"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/core"
)

const pooledBytesDefault = 256 << 20

// Batch is chunks in reused buffers. They are valid until Release: nothing of a chunk, no line, label
// or iterator, may be used after it, and none may go where Loki keeps chunks (its chunk cache).
type Batch struct {
	Chunks []chunk.Chunk

	mu      sync.Mutex
	pool    *pool
	buffers [][]byte
}

// GetChunksPooled is GetChunks into buffers that Release gives back for reuse: for callers that know
// when they are done with a whole batch. The batch is never nil, and must be released also when err
// is not; a batch that is forgotten is collected as garbage, only without reuse.
func (c *Client) GetChunksPooled(ctx context.Context, chunks []chunk.Chunk) (*Batch, error) {
	b := &Batch{pool: c.pool}
	var err error
	b.Chunks, err = c.getChunks(ctx, chunks, b.alloc, nil)
	return b, err
}

func (b *Batch) alloc(size int) []byte {
	buf := b.pool.get(size)
	b.mu.Lock() // the pure-Go reader allocates on several goroutines
	b.buffers = append(b.buffers, buf)
	b.mu.Unlock()
	return buf[:size:size]
}

// Release gives the buffers back. Releasing twice is fine: the second does nothing.
func (b *Batch) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Chunks = nil
	for _, buf := range b.buffers {
		b.pool.put(buf)
	}
	b.buffers = nil
}

// pool keeps released buffers in size classes, four per power of two, last in first out: what was
// touched last is still in the CPU's caches. (sync.Pool would hand out buffers of any size, and drop
// them with every garbage collection.)
type pool struct {
	mu          sync.Mutex
	free        map[int][][]byte // by capacity
	retained    int
	retainedMax int
}

func newPool(retainedMax int) *pool {
	if retainedMax == 0 {
		retainedMax = pooledBytesDefault
	}
	return &pool{free: map[int][][]byte{}, retainedMax: retainedMax}
}

// classBytes rounds up to the next of 4, 5, 6, 7 times a power of two, at least 4 KiB.
func classBytes(size int) int {
	const smallest = 4096
	if size <= smallest {
		return smallest
	}
	quarter := 1 << (bits.Len(uint(size-1)) - 3)
	return (size + quarter - 1) &^ (quarter - 1)
}

func (p *pool) get(size int) []byte {
	class := classBytes(size)
	if buf := p.take(class); buf != nil {
		return buf
	}
	return core.NewBuffer(class)
}

func (p *pool) take(class int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.free[class]
	if len(list) == 0 {
		return nil
	}
	buf := list[len(list)-1]
	list[len(list)-1] = nil
	p.free[class] = list[:len(list)-1]
	p.retained -= class
	return buf
}

func (p *pool) put(buf []byte) {
	if poisonReleased {
		for i := range buf {
			buf[i] = poison
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retained+len(buf) > p.retainedMax {
		return // to the garbage collector
	}
	p.free[len(buf)] = append(p.free[len(buf)], buf)
	p.retained += len(buf)
}

// poison fills released buffers in debug builds (-tags chunkring_debug, and with -race), so that
// what is used after Release is plainly wrong instead of perhaps right.
const poison = 0xDB
