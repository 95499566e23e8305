// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/core"
	"github.com/chunkring/chunkring/go/internal/tracing"
)

// GetChunks reads, verifies and decodes chunks with one call into C, whatever their number.
//
// Good chunks come back in the order of the request even when err != nil. err is then a *BatchError
// with one entry for each failed chunk, and errors.Is finds fs.ErrNotExist, chunk.ErrInvalidChecksum,
// the system's errno, ErrMalformed, ... or the context's error in it. Each chunk owns its bytes: one
// allocation, writable, never reused. A chunk whose blocks are damaged under a right outer checksum
// comes back without those blocks, as from Loki's client; that is logged and counted.
//
// For a query that WithWanted marked, a Loki that lokifork patched may get chunks of which only the two ends were
// read.
//
// When ctx ends, nothing new is started: no file is opened, and of a large one no further MiB is read. What
// is under way is waited for, since the kernel still writes into the buffers. (A cancel, but not a deadline,
// that comes while the file of a single chunk is being opened is heard when it is open.)
func (c *Client) GetChunks(ctx context.Context, chunks []chunk.Chunk) ([]chunk.Chunk, error) {
	return c.getChunks(ctx, chunks, core.NewBuffer, wantedOf(ctx))
}

// getChunks may read chunks by their ends if w is not nil.
func (c *Client) getChunks(ctx context.Context, chunks []chunk.Chunk, alloc func(int) []byte, w *wanted) ([]chunk.Chunk, error) {
	if !c.enter() {
		return nil, ErrStopped
	}
	defer c.leave()
	begin := time.Now()
	ctx, span := tracing.Start(ctx, "chunkring.GetChunks")
	c.metrics.inFlight.Add(float64(len(chunks)))
	defer c.metrics.inFlight.Sub(float64(len(chunks)))

	errs := make([]error, len(chunks))
	out := make([]chunk.Chunk, len(chunks))
	if w != nil && !c.mayReadEnds() {
		w = nil
	}
	var got batchCounts
	for first := 0; first < len(chunks); first += core.BatchMax { // once, but for absurd requests
		end := min(first+core.BatchMax, len(chunks))
		got.add(c.getBatch(ctx, chunks[first:end], out[first:end], errs[first:end], alloc, w))
	}
	good, err := c.result(chunks, out, errs)
	c.metrics.read.bytes.Add(float64(got.bytes))
	c.metrics.read.seconds.Observe(time.Since(begin).Seconds())
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("requested", len(chunks)), attribute.Int("fetched", len(good)),
			attribute.Int("bytes", got.bytes), attribute.String("backend", c.Backend()))
		if got.partly > 0 {
			span.SetAttributes(attribute.Int("partly_read", got.partly), attribute.Int64("bytes_not_read", got.left))
		}
	}
	tracing.End(span, err)
	return good, err
}

// batchCounts is what was read.
type batchCounts struct {
	bytes  int
	partly int   // files of which the ends were read,
	left   int64 // and the bytes of them that were not
}

func (b *batchCounts) add(more batchCounts) {
	b.bytes += more.bytes
	b.partly += more.partly
	b.left += more.left
}

// getBatch reads and decodes one batch into out, errs telling which of out are not good.
func (c *Client) getBatch(ctx context.Context, chunks, out []chunk.Chunk, errs []error, alloc func(int) []byte, w *wanted) (got batchCounts) {
	d := &decoding{c: c, ctx: ctx, files: c.filesFor(chunks), chunks: chunks, out: out, errs: errs}
	b := core.Batch{Files: d.files, Check: core.CheckChunk, Alloc: alloc}
	if !decodesVerified { // Decode will check it, better while it is in the caches
		b.Check, b.Done, b.DoneBytesMin = core.CheckNone, d.one, decodeHotBytes
	}
	if w != nil {
		c.readEnds(&b, w)
	}
	stop := listen(ctx, &b)
	defer stop()
	times, err := c.reader.Read(b)
	if b.KeepOpen { // at once: whatever becomes of the chunks, the files are closed some time
		d.kept = make([]*keptFile, len(d.files))
		for i := range d.files {
			d.kept[i] = c.kept.keep(d.files[i].FD)
		}
		c.kept.kept(len(d.files))
	}
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return got
	}
	c.noteFallback(times.Fallback)
	for i := range d.files {
		f := &d.files[i]
		got.bytes += len(f.Buf)
		if f.HeadBytes > 0 {
			got.partly++
			got.left += f.Size - int64(len(f.Buf))
		}
	}
	begin := time.Now()
	d.decodeLeft()
	if core.Built == "cgo" { // its twin can't tell these apart
		c.metrics.open.Observe(times.Open.Seconds())
		c.metrics.alloc.Observe(times.Alloc.Seconds())
	}
	c.metrics.readFiles.Observe(times.Read.Seconds())
	c.metrics.decode.Observe(time.Since(begin).Seconds())
	if w != nil {
		got.add(c.getWhole(ctx, d, alloc))
	}
	return got
}

// getWhole reads those files of a batch whole whose ends were read and were not enough. There are none, as a rule.
func (c *Client) getWhole(ctx context.Context, d *decoding, alloc func(int) []byte) (got batchCounts) {
	var left []int
	var chunks []chunk.Chunk
	for i := range d.out {
		if d.out[i].Data == nil && d.errs[i] == nil {
			left, chunks = append(left, i), append(chunks, d.chunks[i])
		}
	}
	if left == nil {
		return got
	}
	out, errs := make([]chunk.Chunk, len(left)), make([]error, len(left))
	got = c.getBatch(ctx, chunks, out, errs, alloc, nil)
	for n, i := range left {
		d.out[i], d.errs[i] = out[n], errs[n]
	}
	return got
}

// readPiece is what C reads at a time, and then looks whether the batch is stopped (CR_READ_BYTES_MAX).
const readPiece = 1 << 20

// listen has the batch stop when ctx ends. The func that it returns ends the listening.
//
// context.AfterFunc costs a twentieth of a small chunk. A batch of one therefore hears of the deadline from C's
// clock, which costs nothing, and of a cancel only if its file is so large that there is something left to stop.
func listen(ctx context.Context, b *core.Batch) func() bool {
	none := func() bool { return true }
	if ctx.Done() == nil {
		return none
	}
	cancel := new(uint32) // an allocation of its own, since C gets to see it
	b.Cancel = cancel
	if ctx.Err() != nil {
		*cancel = 1
		return none
	}
	after := func() func() bool {
		return context.AfterFunc(ctx, func() { atomic.StoreUint32(cancel, 1) })
	}
	if len(b.Files) > 1 {
		return after()
	}
	if deadline, ok := ctx.Deadline(); ok {
		b.Timeout = max(time.Until(deadline), time.Nanosecond)
	}
	alloc, armed := b.Alloc, none
	b.Alloc = func(size int) []byte { // on this goroutine, before Read returns: core.Batch
		if size > readPiece {
			armed()
			armed = after()
		}
		return alloc(size)
	}
	return func() bool { return armed() }
}

// filesFor names the files. All names share one allocation.
func (c *Client) filesFor(chunks []chunk.Chunk) []core.File {
	const usualPathBytes = 96
	files := make([]core.File, len(chunks))
	names := make([]byte, 0, len(chunks)*usualPathBytes)
	ends := make([]int, len(chunks))
	for i := range chunks {
		names = c.keys.appendPath(names, &chunks[i].ChunkRef)
		ends[i] = len(names)
	}
	// names never changes again.
	all, start := unsafe.String(unsafe.SliceData(names), len(names)), 0
	for i := range files {
		files[i] = core.File{Path: all[start:ends[i]], CRC: chunks[i].Checksum}
		start = ends[i]
	}
	return files
}

// result keeps the good chunks, in order, and makes the batch's error of the rest.
func (c *Client) result(chunks, out []chunk.Chunk, errs []error) ([]chunk.Chunk, error) {
	var failed []*ChunkError
	good := out[:0]
	for i := range out {
		if errs[i] == nil {
			good = append(good, out[i])
			continue
		}
		failed = append(failed, c.chunkError(&chunks[i], errs[i]))
	}
	c.metrics.count(&c.metrics.read, len(good), failed)
	clear(out[len(good):]) // nothing of a failed chunk stays reachable
	if failed == nil {
		return good, nil
	}
	if !c.key.cfg.Copies {
		c.failures.chunks("reading", failed)
	}
	return good, &BatchError{Requested: len(chunks), Failed: failed}
}

func (c *Client) chunkError(chk *chunk.Chunk, cause error) *ChunkError {
	return &ChunkError{
		Key:  c.keys.externalKey(&chk.ChunkRef),
		Path: c.pathOf(c.keys.path(&chk.ChunkRef)),
		Err:  cause,
	}
}

// ctxError reports whether a failure is only that the caller gave up.
func ctxError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
