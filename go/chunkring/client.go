// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/internal/chunkfile"
	"github.com/chunkring/chunkring/go/internal/core"
)

// A store whose disk fails has every batch fail: enough lines to see it, and a count of the rest in
// chunkring_log_lines_dropped_total. The error itself always reaches the caller.
const (
	logLinesPerSecond = 10
	logLinesBurst     = 100
)

// Client is Loki's chunk client over local files. All its methods may be called at the same time.
type Client struct {
	cfg     Config
	keys    keyer
	logger  log.Logger
	metrics *metrics
	reader  *core.Reader
	dir     *chunkfile.Dir
	pool    *pool
	backend string

	// Every call holds it shared; Stop takes it whole, so it waits for what runs.
	life    sync.RWMutex
	stopped bool

	failures *rate.Limiter // of log lines about failed chunks

	sweepDone context.CancelFunc // ends the background sweep
	sweep     sync.WaitGroup
}

var _ client.Client = (*Client)(nil)

// New opens the store, making its directory if it is missing. logger and reg may be nil. On a
// read-only directory the client reads; PutChunks and DeleteChunk then fail with the system's error.
// Where io_uring is refused it logs one warning with the reason and runs on threads: see Backend.
func New(cfg Config, schema config.SchemaConfig, logger log.Logger, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = log.NewNopLogger()
	}
	c := &Client{cfg: cfg, keys: newKeyer(schema), logger: log.With(logger, "component", "chunkring"),
		failures: rate.NewLimiter(logLinesPerSecond, logLinesBurst)}
	var err error
	if c.dir, err = chunkfile.Open(cfg.Directory); err != nil {
		return nil, fmt.Errorf("chunkring: %w", err)
	}
	c.reader, err = core.Open(cfg.Directory, core.Options{
		Backend:      cfg.Backend,
		Workers:      cfg.Workers,
		RingEntries:  cfg.RingEntries,
		SQPoll:       cfg.SQPoll,
		MaxFileBytes: cfg.MaxChunkBytes,
		MaxOpenFiles: cfg.MaxOpenFiles,
	})
	if err != nil {
		_ = c.dir.Close() // nothing was written
		return nil, fmt.Errorf("chunkring: %w", err)
	}
	c.pool = newPool(cfg.PooledBytes)
	c.backend = c.reader.Backend()
	if c.metrics, err = newMetrics(reg); err != nil {
		c.reader.Close()
		_ = c.dir.Close()
		return nil, fmt.Errorf("chunkring: register metrics: %w", err)
	}
	c.announce()
	c.startSweep()
	return c, nil
}

// startSweep removes, in the background, what killed processes left behind in mid-write.
func (c *Client) startSweep() {
	ctx, cancel := context.WithCancel(context.Background())
	c.sweepDone = cancel
	c.sweep.Go(func() {
		n, err := c.dir.CleanTemporaries(ctx, chunkfile.LeftoverAge)
		if n > 0 {
			level.Info(c.logger).Log("msg", "removed leftovers of interrupted writes", "files", n)
		}
		if err != nil && !ctxError(err) && !errors.Is(err, fs.ErrPermission) {
			level.Warn(c.logger).Log("msg", "looking for leftovers of interrupted writes failed", "err", err)
		}
	})
}

// Backend names what runs, not what was asked for: "uring" or "threads".
func (c *Client) Backend() string { return c.backend }

func (c *Client) enter() bool {
	c.life.RLock()
	if c.stopped {
		c.life.RUnlock()
		return false
	}
	return true
}

func (c *Client) leave() { c.life.RUnlock() }

// Stop waits for the calls that run, then gives back all threads, rings and descriptors. Calls after
// it fail with ErrStopped. Stopping twice is fine.
func (c *Client) Stop() {
	c.life.Lock()
	defer c.life.Unlock()
	if c.stopped {
		return
	}
	c.stopped = true
	c.sweepDone()
	c.sweep.Wait()
	c.reader.Close()
	if err := c.dir.Close(); err != nil {
		level.Warn(c.logger).Log("msg", "closing the chunk directory failed", "err", err)
	}
}

// IsChunkNotFoundErr reports whether err says of every chunk that failed that it does not exist.
func (c *Client) IsChunkNotFoundErr(err error) bool { return err != nil && isNotFound(err) }

// IsRetryableErr is false, as for Loki's own client over local files: what could be tried again
// here was.
func (c *Client) IsRetryableErr(error) bool { return false }

// logFailure writes one line a batch. Chunks that don't exist and callers that gave up are not the
// store's fault.
func (c *Client) logFailure(msg string, err *BatchError) {
	if !c.failures.Allow() {
		c.metrics.linesDropped.Inc()
		return
	}
	at := level.Error
	switch {
	case isNotFound(err):
		at = level.Warn
	case allCtx(err):
		at = level.Debug
	}
	at(c.logger).Log("msg", msg, "failed", len(err.Failed), "requested", err.Requested, "err", err)
}

func allCtx(err *BatchError) bool {
	for _, f := range err.Failed {
		if !ctxError(f.Err) {
			return false
		}
	}
	return true
}

func (c *Client) droppedBlocks(path string, chk *chunk.Chunk, n int) {
	c.metrics.blocksDropped.Add(float64(n))
	if !c.failures.Allow() {
		c.metrics.linesDropped.Inc()
		return
	}
	level.Warn(c.logger).Log("msg", "damaged blocks left out of a chunk", "blocks", n,
		"key", c.keys.externalKey(&chk.ChunkRef), "path", filepath.Join(c.cfg.Directory, path))
}
