// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"fmt"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/internal/lifetime"
)

// Client is Loki's chunk client over local files. All its methods may be called at the same time.
type Client struct {
	*store // which others may share
	keys   keyer
	origin func(ctx context.Context, chk chunk.Chunk) ([]byte, error) // see SetOrigin

	life lifetime.Lifetime // until Stop
}

var _ client.Client = (*Client)(nil)

// New opens the store, making its directory if it is missing. logger and reg may be nil. On a
// read-only directory the client reads; PutChunks and DeleteChunk then fail with the system's error.
// Where io_uring is refused it logs one warning with the reason and runs on threads: see Backend.
//
// Clients of one process with equal cfg, logger and reg, whatever their schema, share threads, rings,
// descriptors, pooled buffers and the lines that are logged at start. Each is stopped on its own.
func New(cfg Config, schema config.SchemaConfig, logger log.Logger, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s, err := openStore(cfg, logger, reg)
	if err != nil {
		return nil, fmt.Errorf("chunkring: %w", err)
	}
	return &Client{store: s, keys: newKeyer(schema)}, nil
}

// SetOrigin says that the files are copies, which may go at any time, and how to get all bytes of a chunk from where
// it really is: for the block of a query whose chunk was read by its ends (WithWanted) and whose file is gone or
// damaged since. whole must not ask this client for that chunk's blocks; ChunkRef is all that is set of chk. Call it
// before the client is used.
func (c *Client) SetOrigin(whole func(ctx context.Context, chk chunk.Chunk) ([]byte, error)) {
	c.origin = whole
}

// Backend names what runs, not what was asked for: "uring" or "threads". It changes at most once, from the
// first to the second: when the kernel or a sandbox refuses an io_uring that ran.
func (c *Client) Backend() string { return c.backend.Load().backend }

func (c *Client) enter() bool { return c.life.Enter() }
func (c *Client) leave()      { c.life.Leave() }

// Stop waits for the calls that run. Then, unless other clients share them, it gives back all threads,
// rings and descriptors. Calls that begin while it waits, and after it, fail at once with ErrStopped.
// Stopping twice is fine.
func (c *Client) Stop() { c.life.End(func() { stores.release(c.store) }) }

// IsChunkNotFoundErr reports whether err says of every chunk that failed that it does not exist.
func (c *Client) IsChunkNotFoundErr(err error) bool { return err != nil && isNotFound(err) }

// IsRetryableErr is false, as for Loki's own client over local files: what could be tried again
// here was.
func (c *Client) IsRetryableErr(error) bool { return false }

func (c *Client) droppedBlocks(path string, chk *chunk.Chunk, n int) {
	c.metrics.blocksDropped.Add(float64(n))
	c.failures.line(level.Warn, "msg", "damaged blocks left out of a chunk", "blocks", n,
		"key", c.keys.externalKey(&chk.ChunkRef), "path", c.pathOf(path))
}
