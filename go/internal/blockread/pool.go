// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/core"
)

// pool is Loki's compression.SizedReaderPool of one codec.
type pool struct {
	codec         compression.Codec
	stock         compression.ReaderPool
	buffers       *buffers
	decompressors *decompressors
	level         *atomic.Int32 // a Level: how the readers from now on are iterated

	blocks, bytes atomic.Uint64 // decompressed here
	fallbacks     [reasons]atomic.Uint64

	iterated, left atomic.Uint64 // blocks iterated in place, and of them those that are not well-formed
	lines, dropped atomic.Uint64 // of the former; those that no pipeline saw
}

// reason tells why a block was left to Loki's own reader.
type reason int

const (
	damaged  reason = iota
	unsure          // nothing that Loki writes
	tooLarge        // beyond rawBytesMax
	noMemory        // beyond the bound of buffers in use, or of the system's
	reasons

	unread = reasons // nothing is left to Loki's reader: see FileBlock
)

var reasonNames = [reasons]string{"damaged", "unsure", "too_large", "memory"}

// GetReader implements Loki's compression.ReaderPool.
func (p *pool) GetReader(src io.Reader) (io.Reader, error) { return p.GetReaderSize(src, 0) }

// GetReaderSize decompresses the block that src holds, if it is a *bytes.Buffer, as all of chunks are.
// Whatever else and whatever fails is for Loki's own reader, to the error it has to say about it.
func (p *pool) GetReaderSize(src io.Reader, uncompressedSize int) (io.Reader, error) {
	block, ok := src.(*bytes.Buffer)
	if !ok {
		return p.stock.GetReader(src)
	}
	r, why := p.decompress(block.Bytes(), uncompressedSize)
	if r != nil {
		return p.opened(r), nil
	}
	p.fallbacks[why].Add(1)
	return p.openStock(block, why)
}

func (p *pool) opened(r *reader) *reader {
	p.blocks.Add(1)
	p.bytes.Add(uint64(len(r.flat)))
	r.pool, r.level = p, Level(p.level.Load())
	return r
}

// openStock opens a block with Loki's own reader.
func (p *pool) openStock(block *bytes.Buffer, why reason) (io.Reader, error) {
	if p.codec == compression.Zstd {
		return p.stockZstd(block, why)
	}
	return p.stock.GetReader(block)
}

// zstdWholeBelow is the size below which Loki's zstd reader decompresses a *bytes.Buffer as a whole
// (WithDecodeBuffersBelow in klauspost/compress v1.18.7, the default).
const zstdWholeBelow = 128 << 10

var (
	// As a whole: what comes out is in memory at once, and room is made for as much as the frames announce
	// before they are looked at, up to 64 GiB for a block of 20 bytes. The window costs nothing.
	zstdWhole = chunkcheck.ZstdLimits{Frames: 64, Window: math.MaxUint64, Raw: rawBytesMax}
	// As a stream: a history of the window's size, 8 MiB in what Loki writes. The reader would go to 512.
	zstdStream = chunkcheck.ZstdLimits{Frames: math.MaxInt, Window: 32 << 20, Raw: math.MaxUint64}
)

// stockZstd has Loki's own reader decompress a block in bounded memory. What is over zstdWhole was tooLarge.
func (p *pool) stockZstd(block *bytes.Buffer, why reason) (io.Reader, error) {
	if block.Len() < zstdWholeBelow && why != tooLarge {
		return p.stock.GetReader(block)
	}
	if wrong := chunkcheck.ZstdBound(block.Bytes(), zstdStream); wrong != "" {
		return nil, fmt.Errorf("block of %d bytes refused: %s", block.Len(), wrong)
	}
	return p.stock.GetReader(streamed{block})
}

// streamed hides that there is a *bytes.Buffer.
type streamed struct{ io.Reader }

// PutReader implements Loki's compression.ReaderPool. It takes what GetReader of this pool returned, and
// what Loki's own pool did. Of this pool's it may be called again, at any time: it does nothing then.
func (p *pool) PutReader(r io.Reader) {
	own, ok := r.(*reader)
	if !ok {
		if p.codec == compression.Zstd {
			chunkcheck.StopReadAhead(r) // the chunk's bytes may be used again after this
		}
		p.stock.PutReader(r)
		return
	}
	buf := own.buf
	own.flat, own.off, own.buf = nil, 0, nil
	if buf != nil {
		p.buffers.put(buf)
	}
}

func (p *pool) decompress(block []byte, uncompressedSize int) (*reader, reason) {
	if p.codec == compression.None {
		return &reader{flat: block}, 0
	}
	if len(block) > rawBytesMax {
		return nil, tooLarge
	}
	if p.codec == compression.Zstd && chunkcheck.ZstdBound(block, zstdWhole) != "" {
		return nil, tooLarge
	}
	return p.fill(guess(len(block), uncompressedSize), func(d *core.Decompressor, dst []byte) (uint64, core.BlockStatus) {
		return d.Decompress(uint8(p.codec), block, dst)
	})
}

// fill makes a reader of what decompress puts into a buffer, of so many bytes or more if that is too little.
func (p *pool) fill(size int, decompress func(d *core.Decompressor, dst []byte) (uint64, core.BlockStatus)) (*reader, reason) {
	d := p.decompressors.get()
	if d == nil {
		return nil, noMemory
	}
	defer p.decompressors.put(d)
	for {
		buf := p.buffers.get(size)
		if buf == nil {
			return nil, noMemory
		}
		n, status := decompress(d, buf.bytes)
		if status == core.BlockOK {
			return &reader{flat: buf.bytes[:n:n], buf: buf}, 0
		}
		room := len(buf.bytes)
		p.buffers.put(buf)
		switch {
		case status == core.BlockPending:
			return nil, unread
		case status == core.BlockUnsure:
			return nil, unsure
		case status == core.BlockNoMemory:
			return nil, noMemory
		case status != core.BlockRoom:
			return nil, damaged
		case room == rawBytesMax || n > rawBytesMax:
			return nil, tooLarge
		case n > uint64(room):
			size = int(n)
		default:
			size = min(2*room, rawBytesMax)
		}
	}
}

// guess is the room to try first. What Loki records as a block's uncompressed size is that of its lines
// (and structured metadata): the block has a time and a length with each, 10 to 13 bytes. Where nothing
// is recorded, text is compressed to more than an eighth.
func guess(compressed, recorded int) int {
	size := 8 * compressed
	if recorded > 0 && recorded < rawBytesMax {
		size = recorded + recorded/4 + 512
	}
	return min(size, rawBytesMax)
}

// decompressorsMax bounds the decompressors that wait for reuse; each holds some 200 KiB.
const decompressorsMax = 64

// decompressors are those that nobody uses now, the last used first.
type decompressors struct {
	mu     sync.Mutex
	free   []*core.Decompressor
	unused bool // nobody wants them now: what comes back is not kept
}

// get returns nil where memory is short.
func (d *decompressors) get() *core.Decompressor {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.free); n > 0 {
		last := d.free[n-1]
		d.free = d.free[:n-1]
		return last
	}
	made, err := core.NewDecompressor()
	if err != nil {
		return nil
	}
	return made
}

func (d *decompressors) put(used *core.Decompressor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unused || len(d.free) == decompressorsMax {
		used.Close()
		return
	}
	d.free = append(d.free, used)
}

// use begins and ends the time in which decompressors are kept. At its end those that nobody has are freed,
// and the others when they come back.
func (d *decompressors) use(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unused = !on
	if !on {
		for _, free := range d.free {
			free.Close()
		}
		d.free = nil
	}
}
