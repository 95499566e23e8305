// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"golang.org/x/time/rate"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// cache is a folder with what fills and empties it. Loki opens a client for each schema period, mostly of one
// bucket: they share one.
type cache struct {
	cfg     Config
	id      Identity
	schema  config.SchemaConfig
	logger  log.Logger
	metrics *metrics
	users   int // caches.mu

	folder  *folder
	index   *index
	flights flights
	queue   queue
	now     func() time.Time // tests have another

	// Held while a file is written or deleted and the index is told, so that the two agree; by the writer, and
	// by DeleteChunk. No query takes it.
	changes  sync.Mutex
	put      func(rel string, data []byte) (uint64, error) // folder.put; tests have another
	shown    struct{ files, bytes uint64 }                 // in the metrics
	trouble  trouble
	shortage shortage

	complaints rate.Sometimes

	ctx  context.Context // ends when close begins
	end  context.CancelFunc
	done chan struct{} // closed when the writer has ended
}

// caches are the open ones, by directory, and this package's only process-wide state.
var caches = struct {
	mu   sync.Mutex
	open map[string]*cache
}{open: map[string]*cache{}}

// acquire returns the cache of cfg.Directory. Each use of it ends with one release.
func acquire(cfg Config, id Identity, schema config.SchemaConfig, logger log.Logger, reg prometheus.Registerer) (*cache, error) {
	path, err := filepath.Abs(cfg.Directory)
	if err != nil {
		return nil, err
	}
	cfg.Directory = path
	caches.mu.Lock()
	defer caches.mu.Unlock()
	if c := caches.open[path]; c != nil {
		if c.id != id {
			return nil, fmt.Errorf("%s is the cache of another store, %s: give %s a disk_cache.directory of its own", path, c.id, id)
		}
		if c.cfg != cfg {
			return nil, fmt.Errorf("%s is in use with another configuration: give all clients of one store the same disk_cache", path)
		}
		c.users++
		return c, nil
	}
	c, err := open(cfg, id, schema, logger, reg)
	if err != nil {
		return nil, err
	}
	c.users = 1
	caches.open[path] = c
	go c.write()
	return c, nil
}

// release ends one use. After the last one the writer has ended and the folder is another process's to take.
func release(c *cache) {
	caches.mu.Lock() // to the end: who opens the folder anew waits until it is unlocked
	defer caches.mu.Unlock()
	if c.users--; c.users == 0 {
		delete(caches.open, c.cfg.Directory)
		c.close()
	}
}

// open makes a cache whose writer has not begun.
func open(cfg Config, id Identity, schema config.SchemaConfig, logger log.Logger, reg prometheus.Registerer) (*cache, error) {
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	c := &cache{cfg: cfg, id: id, schema: schema, logger: log.With(logger, "component", "chunkring", "disk_cache", cfg.Directory),
		metrics: m, now: time.Now, done: make(chan struct{}), complaints: rate.Sometimes{First: 20, Interval: time.Second}}
	c.flights.open = map[logproto.ChunkRef]*flight{}
	c.queue.max, c.queue.wake, c.queue.data = queueBytesMax, make(chan struct{}, 1), map[logproto.ChunkRef][]byte{}
	if c.index, err = newIndex(cfg.MaxFiles); err != nil {
		return nil, err
	}
	if c.folder, err = openFolder(cfg.Directory, id); err != nil {
		c.index.close()
		return nil, err
	}
	c.put = c.folder.put
	c.ctx, c.end = context.WithCancel(context.Background())
	m.maxBytes.Add(float64(cfg.MaxBytes))
	return c, nil
}

// close waits for the writer. No client uses c any more.
func (c *cache) close() {
	c.end()
	<-c.done
	c.changes.Lock()
	defer c.changes.Unlock()
	c.trouble.end(c)
	c.show(0, 0)
	c.metrics.maxBytes.Sub(float64(c.cfg.MaxBytes))
	c.folder.close()
	c.index.close()
}

// tooOld reports whether max_age forbids to keep a chunk.
func (c *cache) tooOld(ref logproto.ChunkRef) bool {
	before, ok := c.oldest()
	return ok && ref.Through < before
}

// oldest is the time that a chunk's last line must have to be kept; ok is false if there is none.
func (c *cache) oldest() (t model.Time, ok bool) {
	if c.cfg.MaxAge == 0 {
		return 0, false
	}
	return model.TimeFromUnixNano(c.now().Add(-time.Duration(c.cfg.MaxAge)).UnixNano()), true
}

// show brings the gauges up to date. c.changes is held.
func (c *cache) show(files, bytes uint64) {
	c.metrics.files.Add(float64(files) - float64(c.shown.files))
	c.metrics.bytes.Add(float64(bytes) - float64(c.shown.bytes))
	c.shown.files, c.shown.bytes = files, bytes
}

func (c *cache) showHeld() { c.show(c.index.held()) }

// remove deletes a copy, if there is one. c.changes is held.
func (c *cache) remove(ref logproto.ChunkRef) {
	if err := c.folder.remove(pathOf(c.schema, ref)); err != nil {
		c.failed(opDelete, err)
		return // it still takes room
	}
	c.index.remove(ref)
	c.showHeld()
}

// failed counts and logs a failure of the folder.
func (c *cache) failed(op string, err error) {
	c.metrics.errors[op].Inc()
	c.complaints.Do(func() {
		level.Warn(c.logger).Log("msg", "the disk cache's folder failed; queries go on without it", "operation", op, "err", err)
	})
}
