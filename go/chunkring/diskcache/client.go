// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/lifetime"
	"github.com/chunkring/chunkring/go/internal/tracing"
)

// Client is Loki's chunk client of an object store, the origin, behind a folder of copies. All its methods may
// be called at the same time.
type Client struct {
	*cache       // which others may share
	origin       client.Client
	local        *chunkring.Client // of the folder
	writeThrough bool

	life lifetime.Lifetime // until Stop
}

var _ client.Client = (*Client)(nil)

// New opens the cache of an object store. The directory is made if it is missing; it must be empty or the
// cache of the same store, and no other process may use it: else the error says what to do. logger and reg may
// be nil. Clients of one process with equal cfg and id share everything but the origin.
//
// The client owns origin: Stop stops it. When New fails, origin is still the caller's.
func New(cfg Config, origin client.Client, schema config.SchemaConfig, id Identity, logger log.Logger, reg prometheus.Registerer) (*Client, error) {
	if cfg.Directory == "" {
		return nil, errors.New("disk_cache: directory is empty: set it to the folder that is to have the copies")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = log.NewNopLogger()
	}
	through, err := cfg.writeThrough()
	if err != nil {
		return nil, err
	}
	shared, err := acquire(cfg, id, schema, logger, reg)
	if err != nil {
		return nil, fmt.Errorf("disk_cache: %w", err)
	}
	local, err := chunkring.New(chunkring.Config{Directory: shared.cfg.Directory, Copies: true, BlockPath: chunkring.BlockPathOff,
		WholeReads: !cfg.PartialReads, StrictBlocks: cfg.StrictBlocks}, schema, logger, reg)
	if err != nil {
		release(shared)
		return nil, fmt.Errorf("disk_cache: %w", err)
	}
	c := &Client{cache: shared, origin: origin, local: local, writeThrough: through}
	local.SetOrigin(c.whole)
	return c, nil
}

// whole returns the bytes of a chunk whose copy was read by its ends and went, or was found damaged, before a query
// came to one of its blocks.
func (c *Client) whole(ctx context.Context, chk chunk.Chunk) ([]byte, error) {
	got, err := c.GetChunks(chunkring.WithoutWanted(ctx), []chunk.Chunk{chk})
	if err == nil && len(got) != 1 {
		err = fmt.Errorf("chunk %v: %w", chk.ChunkRef, fs.ErrNotExist)
	}
	if err == nil {
		return got[0].Encoded()
	}
	return nil, fmt.Errorf("the copy is gone, and the object store does not give the chunk: %w", err)
}

func (c *Client) enter() bool { return c.life.Enter() }
func (c *Client) leave()      { c.life.Leave() }

// Stop waits for the calls that run, stops the origin and, if no other client shares the folder, waits until
// what is queued is written and leaves the folder to others. Calls that begin meanwhile, and later ones, fail
// with chunkring.ErrStopped. Stopping twice is fine.
func (c *Client) Stop() {
	c.life.End(func() {
		c.origin.Stop()
		c.local.Stop()
		release(c.cache)
	})
}

// GetChunks returns chunks out of the folder and, what is not there, from the origin. Good chunks come back in
// the order of the request even when err != nil. err is the origin's, or the context's; when several chunks
// failed, it is one for which IsChunkNotFoundErr is true only if it is for all of them.
func (c *Client) GetChunks(ctx context.Context, chunks []chunk.Chunk) ([]chunk.Chunk, error) {
	if !c.enter() {
		return nil, chunkring.ErrStopped
	}
	defer c.leave()
	ctx, span := tracing.Start(ctx, "chunkring.disk_cache.GetChunks")
	good, hits, err := c.getChunks(ctx, chunks)
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("requested", len(chunks)), attribute.Int("hits", hits), attribute.Int("fetched", len(good)))
	}
	tracing.End(span, err)
	return good, err
}

func (c *Client) getChunks(ctx context.Context, chunks []chunk.Chunk) (good []chunk.Chunk, hits int, err error) {
	out := make([]chunk.Chunk, len(chunks))
	all := make([]int, len(chunks))
	for i := range all {
		all[i] = i
	}
	missing := c.fromFolder(ctx, chunks, all, out)
	err = ctx.Err()
	if err == nil && len(missing) > 0 {
		err = c.fromOrigin(ctx, chunks, missing, out)
	}
	good = out[:0]
	for i := range out {
		if out[i].Data != nil {
			good = append(good, out[i])
		}
	}
	c.metrics.chunks[resultFailed].Add(float64(len(chunks) - len(good)))
	clear(out[len(good):])
	return good, len(chunks) - len(missing), err
}

// fromFolder reads the copies that there are of chunks (indexes of all) into out and returns the others.
func (c *Client) fromFolder(ctx context.Context, all []chunk.Chunk, chunks []int, out []chunk.Chunk) (missing []int) {
	chunks, missing = c.index.missing(all, chunks)
	asked, places := make([]chunk.Chunk, 0, len(chunks)), make([]int, 0, len(chunks))
	for _, i := range chunks {
		if c.tooOld(all[i].ChunkRef) {
			missing = append(missing, i)
			continue
		}
		asked, places = append(asked, all[i]), append(places, i)
	}
	if len(asked) == 0 {
		return missing
	}
	hits, err := c.local.GetChunks(ctx, asked)
	if len(hits) > 0 {
		c.index.touch(hits)
	}
	c.metrics.chunks[resultHit].Add(float64(len(hits)))
	var failures []*chunkring.ChunkError
	if batch := (*chunkring.BatchError)(nil); errors.As(err, &batch) {
		failures = batch.Failed
	}
	// Hits and failures are both in the order of the request. Of two equal chunks one may have failed: which one
	// does not matter.
	bytes := 0
	for n, i := range places {
		if len(hits) > 0 && hits[0].ChunkRef == asked[n].ChunkRef {
			out[i], hits = hits[0], hits[1:]
			bytes += out[i].Data.Size()
			continue
		}
		missing = append(missing, i)
		if len(failures) > 0 {
			c.notHit(&asked[n], failures[0].Err)
			failures = failures[1:]
		}
	}
	c.metrics.hitBytes.Add(float64(bytes))
	return missing
}

// notHit takes why a copy could not be read. One that is damaged, or no file at all, is deleted: it can't
// become right, and the origin's takes its place.
func (c *Client) notHit(asked *chunk.Chunk, err error) {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case errors.As(err, &errno) && !errors.Is(err, chunkring.ErrRefused):
		c.failed(opRead, err)
	default:
		c.metrics.damaged.Inc()
		c.complaints.Do(func() {
			level.Warn(c.logger).Log("msg", "a damaged copy is deleted and fetched again", "path", pathOf(c.schema, asked.ChunkRef), "err", err)
		})
		// The index hears of it when the copy is written anew or evicted. Until then it reckons with too much.
		if err := c.folder.remove(pathOf(c.schema, asked.ChunkRef)); err != nil {
			c.failed(opDelete, err)
		}
	}
}

// worse is the one of two errors that a query must not go on after: not that chunks don't exist.
func (c *Client) worse(a, b error) error {
	if a == nil || b != nil && c.origin.IsChunkNotFoundErr(a) {
		return b
	}
	return a
}

// PutChunks stores chunks in the origin and, with write_through, has copies written. Its error is the origin's.
func (c *Client) PutChunks(ctx context.Context, chunks []chunk.Chunk) error {
	if !c.enter() {
		return chunkring.ErrStopped
	}
	defer c.leave()
	if err := c.origin.PutChunks(ctx, chunks); err != nil {
		return err
	}
	for i := range chunks {
		if !c.writeThrough {
			break
		}
		if data, err := chunks[i].Encoded(); err == nil { // what the origin stored: it is encoded once
			c.offer(chunks[i].ChunkRef, data)
		}
	}
	return nil
}

// DeleteChunk deletes a chunk from the origin, and its copy. Its error is the origin's; a copy that can't be
// deleted is counted.
func (c *Client) DeleteChunk(ctx context.Context, userID, chunkID string) error {
	if !c.enter() {
		return chunkring.ErrStopped
	}
	defer c.leave()
	err := c.origin.DeleteChunk(ctx, userID, chunkID)
	if deleted, parseErr := chunk.ParseExternalKey(userID, chunkID); parseErr == nil {
		c.metrics.queueBytes.Sub(float64(c.queue.forget(deleted.ChunkRef)))
		c.changes.Lock()
		c.remove(deleted.ChunkRef)
		c.changes.Unlock()
	}
	return err
}

// IsChunkNotFoundErr is the origin's.
func (c *Client) IsChunkNotFoundErr(err error) bool { return c.origin.IsChunkNotFoundErr(err) }

// IsRetryableErr is the origin's.
func (c *Client) IsRetryableErr(err error) bool { return c.origin.IsRetryableErr(err) }
