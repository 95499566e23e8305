// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/blockread"
	"github.com/chunkring/chunkring/go/internal/chunkfile"
	"github.com/chunkring/chunkring/go/internal/core"
)

// store is all that a client needs but for the names of its chunks: the threads, rings and
// descriptors of one directory. Clients of a process that agree in everything else share one, whatever
// their schema: see stores.
type store struct {
	key       storeKey
	startOnce func() error // once, whoever comes first
	users     int          // stores.mu; clients that have not stopped

	logger   log.Logger
	metrics  *metrics
	reader   *core.Reader
	kept     *keptFiles // nil where an open costs next to nothing
	dir      *chunkfile.Dir
	pool     *pool
	sealed   *sealedFiles
	backend  atomic.Pointer[backendLabels]
	failures *failureLog

	sayNotSynced  sync.Once
	background    context.Context // ends when close begins
	endBackground context.CancelFunc
	sweepBegun    sync.Once
	sweep         sync.WaitGroup
}

// storeKey is what clients must agree in to share a store: then none can tell that there are others.
type storeKey struct {
	cfg    Config
	dir    identity
	logger log.Logger
	reg    prometheus.Registerer
}

// identity tells the directory that has a name now from the one that had it when a store was opened,
// which keeps it open, so that its number is not used again.
type identity struct{ dev, ino uint64 }

// stores are the open ones that may be shared, and this package's only process-wide state. Loki opens
// a client for each schema period, and its compactor does the same once more, mostly of one directory:
// each with threads, rings and a look through all folders of its own would be waste.
var stores = registry{byKey: map[storeKey]*store{}}

type registry struct {
	mu    sync.Mutex // never held while a store is opened or closed
	byKey map[storeKey]*store
}

// openStore returns the store of a directory, which is made if it is missing. Each use of it ends with
// one release.
func openStore(cfg Config, logger log.Logger, reg prometheus.Registerer) (*store, error) {
	cfg.Directory = filepath.Clean(cfg.Directory) // as errors name it
	if cfg.Backend == "" {
		cfg.Backend = BackendAuto
	}
	if cfg.BlockPath == "" {
		cfg.BlockPath = defaultBlockPath()
	}
	if cfg.Seal == "" {
		cfg.Seal = SealResident
	}
	if cfg.MaxChunkBytes == 0 {
		cfg.MaxChunkBytes = chunkBytesDefault
	}
	dir, err := identify(cfg.Directory)
	if err != nil { // most likely it is missing
		made, err := chunkfile.Open(cfg.Directory)
		if err != nil {
			return nil, err
		}
		_ = made.Close() // nothing was written
		if dir, err = identify(cfg.Directory); err != nil {
			return nil, err
		}
	}
	return stores.acquire(storeKey{cfg, dir, logger, reg})
}

func identify(dir string) (identity, error) {
	var st unix.Stat_t
	for {
		switch err := unix.Stat(dir, &st); err {
		case nil:
			return identity{uint64(st.Dev), st.Ino}, nil
		case unix.EINTR:
		default:
			return identity{}, &fs.PathError{Op: "stat store directory", Path: dir, Err: err}
		}
	}
}

func (r *registry) acquire(key storeKey) (*store, error) {
	s := &store{key: key, users: 1}
	s.startOnce = sync.OnceValue(s.start)
	if !s.shareable() {
		return s, s.startOnce()
	}
	r.mu.Lock()
	if old := r.byKey[key]; old != nil {
		s = old
		s.users++
	} else {
		r.byKey[key] = s
	}
	r.mu.Unlock()
	err := s.startOnce()
	if err != nil { // and nobody has it; the next one tries anew
		r.forget(s)
		return nil, err
	}
	return s, nil
}

// shareable is false for a logger or registerer that can't be compared, such as a log.LoggerFunc.
func (s *store) shareable() bool { return reflect.ValueOf(s.key).Comparable() }

// forget takes s out of the register if it is there.
func (r *registry) forget(s *store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey[s.key] == s {
		delete(r.byKey, s.key)
	}
}

// release ends one use. After the last one all threads, rings and descriptors are given back.
func (r *registry) release(s *store) {
	r.mu.Lock()
	s.users--
	last := s.users == 0
	if last && s.shareable() {
		delete(r.byKey, s.key)
	}
	r.mu.Unlock()
	if last {
		s.close()
	}
}

// start opens everything, or nothing.
func (s *store) start() error {
	s.logger = s.key.logger
	if s.logger == nil {
		s.logger = log.NewNopLogger()
	}
	s.logger = log.With(s.logger, "component", "chunkring")
	s.pool = newPool(s.key.cfg.PooledBytes)
	s.sealed = newSealedFiles()
	err := s.openDirectory()
	if err == nil {
		if s.metrics, err = newMetrics(s.key.reg, s.key.cfg.Copies); err != nil {
			err = fmt.Errorf("register metrics: %w", err)
		}
	}
	if err != nil {
		_ = s.closeDirectory() // nothing was written
		return err
	}
	s.failures = newFailureLog(s.logger, s.metrics.linesDropped)
	s.dir.NotSynced = s.notSynced
	blockread.Enable(s.blockWant())
	labels := s.backendInUse()
	s.backend.Store(&labels)
	s.metrics.backend.add(labels, 1)
	s.background, s.endBackground = context.WithCancel(context.Background())
	s.announce()
	return nil
}

func (s *store) openDirectory() (err error) {
	cfg := &s.key.cfg
	if s.dir, err = chunkfile.Open(cfg.Directory); err != nil {
		return err
	}
	kept, openFiles := newKeptFiles(cfg.Directory, cfg.MaxOpenFiles)
	s.kept = kept
	s.reader, err = core.Open(cfg.Directory, core.Options{
		Backend:      cfg.Backend,
		Workers:      cfg.Workers,
		RingEntries:  cfg.RingEntries,
		MaxFileBytes: cfg.MaxChunkBytes,
		MaxOpenFiles: openFiles,
	})
	if err != nil {
		return err
	}
	if dir, err := identify(cfg.Directory); err != nil || dir != s.key.dir {
		return errors.Join(fmt.Errorf("%s was replaced while it was opened", cfg.Directory), err)
	}
	return nil
}

func (s *store) closeDirectory() error {
	s.kept.close()
	if s.reader != nil {
		s.reader.Close()
	}
	if s.dir == nil {
		return nil
	}
	return s.dir.Close()
}

// close waits for the sweep. No client uses s any more.
func (s *store) close() {
	s.endBackground()
	s.sweep.Wait()
	s.failures.sayLeftOut()
	s.metrics.backend.add(*s.backend.Load(), -1)
	blockread.Disable(s.blockWant())
	if err := s.closeDirectory(); err != nil {
		level.Warn(s.logger).Log("msg", "closing the chunk directory failed", "err", err)
	}
}

// notSynced warns once: all folders of a store are of one file system as a rule, and each put would say it.
func (s *store) notSynced(folder string, reason error) {
	s.metrics.notSynced.Inc()
	s.sayNotSynced.Do(func() {
		level.Warn(s.logger).Log("msg", "folders can't be synced on this file system: chunks are stored, but the last ones before a power cut may be lost",
			"folder", s.pathOf(folder), "file_system", fileSystem(s.key.cfg.Directory), "reason", reason)
	})
}

func (s *store) blockWant() blockread.Want {
	return blockWant(s.key.cfg.BlockPath, s.key.cfg.BlockBufferBytes)
}

// pathOf is the path of a chunk's file as errors and the log name it.
func (s *store) pathOf(rel string) string { return filepath.Join(s.key.cfg.Directory, rel) }
