// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/tracing"
)

// putsInFlight bounds the files that one PutChunks writes at a time. Loki puts one chunk a call; in a
// larger batch a few fsyncs under way share the journal's commits.
const putsInFlight = 16

// PutChunks stores each chunk under its name, atomically and durably: a temporary file in the same
// folder, fsync, rename, fsync of the folder. After a crash at any moment the name holds the whole
// old file, the whole new one or nothing. nil means that all of them survive a power loss; else a
// *BatchError says which may not (putting those again is always right), and errors.Is finds ErrNotDurable
// for those that are in place all the same. Where the file system can't sync folders, nil means as durable
// as a rename is there; that is logged once and counted.
func (c *Client) PutChunks(ctx context.Context, chunks []chunk.Chunk) error {
	if !c.enter() {
		return ErrStopped
	}
	defer c.leave()
	c.sweepOnce()
	begin := time.Now()
	ctx, span := tracing.Start(ctx, "chunkring.PutChunks")
	stored, bytes, err := c.putChunks(ctx, chunks)
	c.metrics.put.bytes.Add(float64(bytes))
	c.metrics.put.seconds.Observe(time.Since(begin).Seconds())
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("requested", len(chunks)), attribute.Int("stored", stored), attribute.Int64("bytes", bytes))
	}
	tracing.End(span, err)
	return err
}

func (c *Client) putChunks(ctx context.Context, chunks []chunk.Chunk) (stored int, bytes int64, err error) {
	var sum atomic.Int64
	put := func(i int) error {
		n, err := c.putChunk(ctx, &chunks[i])
		sum.Add(int64(n))
		return err
	}
	errs := make([]error, len(chunks))
	slots := make(chan struct{}, putsInFlight)
	var wg sync.WaitGroup
	for i := range chunks {
		if i == len(chunks)-1 { // the last, and usually only, one needs no goroutine
			errs[i] = put(i)
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = put(i)
		})
	}
	wg.Wait()
	var failed []*ChunkError
	for i, err := range errs {
		if err != nil {
			failed = append(failed, c.chunkError(&chunks[i], err))
		}
	}
	stored = len(chunks) - len(failed)
	c.metrics.count(&c.metrics.put, stored, failed)
	if failed == nil {
		return stored, sum.Load(), nil
	}
	c.failures.chunks("storing", failed)
	return stored, sum.Load(), &BatchError{Requested: len(chunks), Failed: failed}
}

// putChunk returns how many bytes were stored.
func (c *Client) putChunk(ctx context.Context, chk *chunk.Chunk) (int, error) {
	data, err := chk.Encoded() // sets the checksum, which the name has
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	if most := c.key.cfg.MaxChunkBytes; len(data) > most { // GetChunks could never read it
		return 0, fmt.Errorf("%w: %d bytes, max_chunk_bytes is %d", ErrTooBig, len(data), most)
	}
	if err := c.dir.Put(ctx, c.keys.path(&chk.ChunkRef), data); err != nil {
		return 0, err
	}
	return len(data), nil
}

// DeleteChunk removes the chunk's file and the folders that this leaves empty. A chunk that is not
// there is an error for which IsChunkNotFoundErr is true. A PutChunks at the same time into the same
// folder never fails because of it.
func (c *Client) DeleteChunk(ctx context.Context, userID, chunkID string) error {
	if !c.enter() {
		return ErrStopped
	}
	defer c.leave()
	c.sweepOnce()
	begin := time.Now()
	_, span := tracing.Start(ctx, "chunkring.DeleteChunk")
	err := c.deleteChunk(userID, chunkID)
	c.metrics.delete.seconds.Observe(time.Since(begin).Seconds())
	if span.IsRecording() {
		span.SetAttributes(attribute.String("tenant", userID), attribute.String("key", chunkID))
	}
	tracing.End(span, err)
	return err
}

func (c *Client) deleteChunk(userID, chunkID string) error {
	ref, err := chunk.ParseExternalKey(userID, chunkID)
	if err != nil {
		err = fmt.Errorf("delete chunk %q of tenant %q: %w", chunkID, userID, err)
		c.deleteFailed(&ChunkError{Key: chunkID, Err: err})
		return err
	}
	if err := c.dir.Delete(c.keys.path(&ref.ChunkRef)); err != nil {
		failed := c.chunkError(&ref, err)
		c.deleteFailed(failed)
		return failed
	}
	c.metrics.count(&c.metrics.delete, 1, nil)
	return nil
}

func (c *Client) deleteFailed(err *ChunkError) {
	failed := []*ChunkError{err}
	c.metrics.count(&c.metrics.delete, 0, failed)
	c.failures.chunks("deleting", failed)
}
