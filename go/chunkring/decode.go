// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/go-kit/log/level"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/core"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var decodeContexts = sync.Pool{New: func() any { return chunk.NewDecodeContext() }}

// verifiedDecoder is what a Loki patched by lokifork offers: Decode for bytes whose outer checksum
// was verified, and whose blocks were too if blocksVerified. An unmodified Loki lacks it; then Decode
// checks both itself and Read is not asked to.
type verifiedDecoder interface {
	DecodeVerified(dc *chunk.DecodeContext, input []byte, blocksVerified bool) error
}

// decodesVerified tells which Loki this is built with.
var decodesVerified = func() bool {
	_, ok := any(&chunk.Chunk{}).(verifiedDecoder)
	return ok
}()

// decoding is one batch on its way through Loki's decoder.
type decoding struct {
	c           *Client
	ctx         context.Context
	files       []core.File
	chunks, out []chunk.Chunk
	errs        []error     // errs[i] tells why out[i] is not good
	kept        []*keptFile // of files that are still open; nil if there are none
}

// A goroutine more pays when it saves about a tenth of a millisecond: this many chunks, or what Loki's
// own Decode checksums in that time.
const (
	decodeChunksEach = 64
	decodeBytesEach  = 1 << 20
)

// decodeHotBytes is the size from which a file is decoded by the thread that has read it, where Loki's
// Decode passes over all of it twice more: then from its caches, not from memory.
const decodeHotBytes = 64 << 10

// decodeLeft decodes what was not decoded while the batch was read. The caller takes part and waits for no
// goroutine that has not begun: in a busy process that may be long.
func (d *decoding) decodeLeft() {
	left := make([]int, 0, len(d.files))
	bytes := 0
	for i := range d.files {
		if d.out[i].Data == nil && d.errs[i] == nil {
			left = append(left, i)
			bytes += len(d.files[i].Buf)
		}
	}
	n := int64(len(left))
	helpers := int(n) / decodeChunksEach
	if !decodesVerified {
		helpers = max(helpers, bytes/decodeBytesEach)
	}
	helpers = min(helpers, int(n)-1, runtime.GOMAXPROCS(0)-1)
	if helpers <= 0 {
		for _, i := range left {
			d.one(i)
		}
		return
	}
	var next, done atomic.Int64
	over := make(chan struct{})
	work := func() {
		for at := next.Add(1) - 1; at < n; at = next.Add(1) - 1 {
			d.one(left[at])
			if done.Add(1) == n {
				close(over)
			}
		}
	}
	for range helpers {
		go work()
	}
	work()
	<-over
}

// one takes file i as the reader left it. It runs for several files at a time. Whatever slips through
// the checks and panics is an error of this chunk alone.
func (d *decoding) one(i int) {
	f := &d.files[i]
	defer func() {
		if p := recover(); p != nil {
			d.c.metrics.panics.Inc()
			d.errs[i] = fmt.Errorf("%w: %v", ErrPanic, p)
			d.c.failures.line(level.Error, "msg", "decoding a chunk panicked", "path", d.c.pathOf(f.Path), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if f.Status != core.OK {
		d.errs[i] = fileError(d.ctx, f, d.c.pathOf(f.Path))
		return
	}
	if d.errs[i] = ended(d.ctx); d.errs[i] != nil {
		return
	}
	if f.HeadBytes > 0 {
		chk := d.chunks[i]
		var kept *keptFile
		if d.kept != nil {
			kept = d.kept[i]
		}
		if d.c.decodeEnds(f, kept, &chk) {
			d.out[i] = chk
		}
		return // without a chunk and an error: see getWhole
	}
	dc := decodeContexts.Get().(*chunk.DecodeContext)
	d.out[i] = d.chunks[i]
	d.errs[i] = d.c.decode(dc, f, &d.out[i])
	decodeContexts.Put(dc)
}

// decode fills chk from the bytes of f.
func (c *Client) decode(dc *chunk.DecodeContext, f *core.File, chk *chunk.Chunk) error {
	announced, err := c.check(f)
	if err != nil {
		return err
	}
	if d, ok := any(chk).(verifiedDecoder); ok {
		err = d.DecodeVerified(dc, f.Buf, f.BlocksOK)
	} else {
		err = chk.Decode(dc, f.Buf)
	}
	if errors.Is(err, chunk.ErrInvalidChecksum) {
		return checksumError(crc32.Checksum(f.Buf, castagnoli), f.CRC, len(f.Buf)) // Loki's has no numbers
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDecode, err)
	}
	if facade, ok := chk.Data.(*chunkenc.Facade); ok {
		if dropped := announced - facade.LokiChunk().BlockCount(); dropped > 0 {
			c.droppedBlocks(f.Path, chk, dropped)
		}
	}
	return nil
}

// check is all that must hold before Loki's decoder, which trusts the numbers in a chunk, may see the bytes.
// It returns how many blocks they announce.
//
// C followed the same numbers when it took the blocks' checksums, and they are checked here all the same:
// the decoder is Go that slices, allocates and loops by them, and whether that is safe should not depend on
// another parser in another language that agrees in every detail. That is 3 to 6 % of the CPU time at 900 KB.
func (c *Client) check(f *core.File) (blocks int, err error) {
	blocks, err = chunkcheck.Check(f.Buf)
	if err == nil {
		return blocks, nil
	}
	// Damaged or made so? The outer checksum tells, and has the first say, as in Loki.
	if crc := crc32.Checksum(f.Buf, castagnoli); crc != f.CRC {
		return 0, checksumError(crc, f.CRC, len(f.Buf))
	}
	return 0, fmt.Errorf("%w: %w", ErrMalformed, err)
}

// malformation names what C found wrong; the Go check says the same with the place, so it is asked
// again for the message.
func malformation(f *core.File) error {
	if err := chunkcheck.Structure(f.Buf); err != nil {
		return err
	}
	return &chunkcheck.Error{Reason: chunkcheck.Reason(f.Reason), Detail: "found while it was read"}
}
