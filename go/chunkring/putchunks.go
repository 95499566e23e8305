// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// putsInFlight bounds the files that one PutChunks writes at a time. Loki puts one chunk a call; in a
// larger batch a few fsyncs under way share the journal's commits.
const putsInFlight = 16

// PutChunks stores each chunk under its name, atomically and durably: a temporary file in the same
// folder, fsync, rename, fsync of the folder. After a crash at any moment the name holds the whole
// old file, the whole new one or nothing. nil means that all of them survive a power loss; else a
// *BatchError says which may not (putting those again is always right).
func (c *Client) PutChunks(ctx context.Context, chunks []chunk.Chunk) error {
	if !c.enter() {
		return ErrStopped
	}
	defer c.leave()
	begin := time.Now()
	defer func() { c.metrics.seconds.WithLabelValues(stagePut).Observe(time.Since(begin).Seconds()) }()
	errs := make([]error, len(chunks))
	slots := make(chan struct{}, putsInFlight)
	var wg sync.WaitGroup
	for i := range chunks {
		if i == len(chunks)-1 { // the last, and usually only, one needs no goroutine
			errs[i] = c.putChunk(ctx, &chunks[i])
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = c.putChunk(ctx, &chunks[i])
		})
	}
	wg.Wait()
	var failed []*ChunkError
	for i, err := range errs {
		if err != nil {
			failed = append(failed, c.chunkError(&chunks[i], err))
		}
	}
	c.metrics.count("put", len(chunks)-len(failed), failed)
	if failed == nil {
		return nil
	}
	err := &BatchError{Requested: len(chunks), Failed: failed}
	c.logFailure("storing chunks failed", err)
	return err
}

func (c *Client) putChunk(ctx context.Context, chk *chunk.Chunk) error {
	data, err := chk.Encoded() // sets the checksum, which the name has
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := c.dir.Put(ctx, c.keys.path(&chk.ChunkRef), data); err != nil {
		return err
	}
	c.metrics.bytes.WithLabelValues("put").Add(float64(len(data)))
	return nil
}

// DeleteChunk removes the chunk's file and the folders that this leaves empty. A chunk that is not
// there is an error for which IsChunkNotFoundErr is true. A PutChunks at the same time into the same
// folder never fails because of it.
func (c *Client) DeleteChunk(_ context.Context, userID, chunkID string) error {
	if !c.enter() {
		return ErrStopped
	}
	defer c.leave()
	ref, err := chunk.ParseExternalKey(userID, chunkID)
	if err != nil {
		return fmt.Errorf("delete chunk %q of tenant %q: %w", chunkID, userID, err)
	}
	if err := c.dir.Delete(c.keys.path(&ref.ChunkRef)); err != nil {
		failed := c.chunkError(&ref, err)
		c.metrics.count("delete", 0, []*ChunkError{failed})
		return failed
	}
	c.metrics.count("delete", 1, nil)
	return nil
}
