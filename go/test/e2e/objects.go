// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	objectsTenant = "objects"
	objectsBucket = "objects"
	otherBucket   = "another"
	objectsLoad   = 40 * time.Second
	queueTimeout  = time.Minute
)

// scalable is a simple scalable Loki over a bucket, each process with a disk cache of its own.
type scalable struct {
	write, backend *lokiproc.Proc
	readers        []*lokiproc.Proc
	gossip         []int // ports that all join
	compactor      int   // HTTP port of the backend
}

// objects runs a simple scalable Loki with chunkring's disk cache over an S3 bucket. Its answers are compared
// with those of a stock Loki over the same bucket: with the cache cold, warm, after a reader or the S3 server
// was killed under load, and while somebody damages the cache's files. Then folders that must be refused, and
// another bucket's content under the same name.
func (t *test) objects(ctx context.Context) error {
	gw, err := t.startGateway(ctx, objectsBucket, otherBucket)
	if err != nil {
		return fmt.Errorf("S3 server: %w", err)
	}
	defer gw.Kill()
	s, err := t.startScalable(ctx, gw)
	if err != nil {
		return fmt.Errorf("objects, written: %w", err)
	}
	expected, err := t.expectedOf(ctx, gw.Address)
	if err != nil {
		return fmt.Errorf("objects, stock: %w", err)
	}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"cold", func(ctx context.Context) error { return t.coldAndWarm(ctx, s, expected) }},
		{"kills under load", func(ctx context.Context) error { return t.killsUnderLoad(ctx, s, gw, expected) }},
		{"damaged files", func(ctx context.Context) error { return t.damagedFiles(ctx, s, expected) }},
		{"folders that are refused", func(ctx context.Context) error { return t.refusedFolders(ctx, s, gw) }},
		{"a bucket filled anew", func(ctx context.Context) error { return t.filledAnew(ctx, s, gw) }},
	} {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("objects, %s: %w", step.name, err)
		}
	}
	return nil
}

// launchScalable starts a process of the scalable Loki. cache is the name of its folder.
func (t *test) launchScalable(gw *lokiproc.Service, s *scalable, target, name, bucket, cache string) (*lokiproc.Proc, error) {
	ports, err := lokiproc.FreePorts(4)
	if err != nil {
		return nil, err
	}
	if s.gossip == nil {
		s.gossip, s.compactor = ports[2:3], ports[3] // all join the first one; the backend is another
	}
	if target == "backend" {
		ports[0] = s.compactor
	}
	cfg := lokiproc.Config{HTTP: ports[0], GRPC: ports[1], S3: gw.Address, Bucket: bucket, Ring: "memberlist", RingPort: ports[2],
		RingJoin: s.gossip, Name: name, Compactor: s.compactor}
	if !t.self {
		cfg.DiskCache = t.cacheDir(cache)
	}
	if target == "read" {
		cfg.Frontend = cfg.GRPC // its own queriers work for it; a query-scheduler would need 10 s to get ready
	}
	b := t.oursLoki
	b.Backend = ""
	return t.Launch(b, "objects "+name, cfg, "-target="+target)
}

func (t *test) cacheDir(name string) string { return filepath.Join(t.Root, "caches", name) }

// startScalable starts all processes, and fills the bucket. In the end no line is in a process's memory only.
func (t *test) startScalable(ctx context.Context, gw *lokiproc.Service) (*scalable, error) {
	if err := os.MkdirAll(t.cacheDir(""), 0o777); err != nil {
		return nil, err
	}
	s := &scalable{}
	var err error
	if s.write, err = t.launchScalable(gw, s, "write", "write", objectsBucket, "write"); err != nil {
		return nil, err
	}
	if err := s.write.WaitReady(ctx); err != nil {
		return nil, err
	}
	if err := lokiproc.Push(ctx, s.write, objectsTenant, t.corpus.pushBatches(3000, 0, 1)); err != nil {
		return nil, err
	}
	if err := lokiproc.Flush(ctx, s.write, flushTimeout); err != nil {
		return nil, err
	}
	// Its index is uploaded when it stops. With its log it would have all in memory again.
	if err := s.write.Stop(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(s.write.Dir, "wal")); err != nil {
		return nil, err
	}
	if err := s.write.Run(); err != nil {
		return nil, err
	}
	if s.backend, err = t.launchScalable(gw, s, "backend", "backend", objectsBucket, "backend"); err != nil {
		return nil, err
	}
	for _, name := range []string{"read-1", "read-2"} {
		p, err := t.launchScalable(gw, s, "read", name, objectsBucket, name)
		if err != nil {
			return nil, err
		}
		s.readers = append(s.readers, p)
	}
	if err := ready(ctx, slices.Concat([]*lokiproc.Proc{s.write, s.backend}, s.readers)); err != nil {
		return nil, err
	}
	for _, p := range s.readers {
		if err := t.ring(ctx, p, 1); err != nil {
			return nil, err
		}
	}
	files, size, err := lokiproc.ChunkFiles(filepath.Join(t.s3Dir(), objectsBucket), objectsTenant)
	t.say("objects: write, backend and two read processes over %d chunks, %.2f MB", len(files), float64(size)/1e6)
	return s, err
}

// expectedOf asks a stock single binary over the bucket. What is answered from the index is left out: it is no
// matter of a chunk client's, and an ingester adds the part that it uploaded to the whole.
func (t *test) expectedOf(ctx context.Context, address string) ([]expectation, error) {
	p, err := t.Start(ctx, t.stockLoki, "objects oracle", lokiproc.Config{S3: address, Bucket: objectsBucket})
	if err != nil {
		return nil, err
	}
	if err := t.servesAll(ctx, p, objectsTenant); err != nil {
		return nil, err
	}
	var all []expectation
	for _, q := range fromChunks() {
		a, err := lokiproc.Ask(ctx, p, objectsTenant, q)
		if err != nil {
			return nil, err
		}
		all = append(all, expectation{q, objectsTenant, a.Text})
	}
	return all, p.Stop()
}

// allRight has a process answer everything, and returns what its cache did meanwhile.
func (t *test) allRight(ctx context.Context, p *lokiproc.Proc, expected []expectation) (cacheUse, error) {
	before, err := useOf(ctx, p)
	if err != nil {
		return cacheUse{}, err
	}
	for _, e := range expected {
		if err := t.right(ctx, p, e); err != nil {
			return cacheUse{}, fmt.Errorf("%s: %w", p.Label, err)
		}
	}
	if err := t.written(ctx, p); err != nil {
		return cacheUse{}, err
	}
	after, err := useOf(ctx, p)
	return after.minus(before), err
}

// written waits until all that was missed is in the folder.
func (t *test) written(ctx context.Context, p *lokiproc.Proc) error {
	return p.Poll(ctx, queueTimeout, "write its copies", func() (bool, error) {
		m, err := p.Metrics(ctx)
		return m.Sum("chunkring_disk_cache_queue_bytes") == 0, err
	})
}

// coldAndWarm: each reader answers all twice, the second time out of its folder.
func (t *test) coldAndWarm(ctx context.Context, s *scalable, expected []expectation) error {
	for _, p := range s.readers {
		cold, err := t.allRight(ctx, p, expected)
		if err != nil {
			return err
		}
		warm, err := t.allRight(ctx, p, expected)
		if err != nil {
			return err
		}
		t.say("objects: %s gave %d right answers; cold: %s; warm: %s", p.Name, 2*len(expected), cold, warm)
		switch {
		case t.self:
		case cold.misses == 0:
			return fmt.Errorf("%s: no chunk was fetched from the bucket: nothing was cold", p.Label)
		case !warm.isWarm():
			return fmt.Errorf("%s: the second time it still missed %v chunks, and found %v", p.Label, warm.misses, warm.hits)
		}
	}
	return nil
}

// killsUnderLoad: both readers are asked while one is killed and started again, and the S3 server is. An
// unpatched Loki is spared the latter: when chunks can't be fetched in the middle of a query, some of its
// answers lack lines (3.7.6). With all chunks in the folders none is fetched.
func (t *test) killsUnderLoad(ctx context.Context, s *scalable, gw *lokiproc.Service, expected []expectation) error {
	victim := s.readers[0]
	for _, p := range append(slices.Clone(s.readers), s.write, s.backend) {
		p.Excuses = []string{"connection refused", "connection reset", "EOF"} // while there is no S3 server
	}
	answered, refused, err := t.underLoad(ctx, s.readers, expected, func(ctx context.Context, asked *atomic.Int64) error {
		return onSchedule(ctx, map[time.Duration]func() error{
			objectsLoad / 8: func() error {
				t.say("objects: killing %s after %d answers", victim.Label, asked.Load())
				victim.Kill()
				return victim.Run()
			},
			objectsLoad / 2: func() error {
				if t.self {
					return nil
				}
				t.say("objects: killing the S3 server after %d answers", asked.Load())
				gw.Kill()
				return nil
			},
			objectsLoad * 5 / 8: func() error {
				if t.self {
					return nil
				}
				t.say("objects: starting the S3 server after %d answers", asked.Load())
				return gw.Run(ctx)
			},
			objectsLoad: func() error { return victim.WaitReady(ctx) },
		})
	})
	if err != nil {
		return err
	}
	use, err := useOf(ctx, victim) // since it was started again
	if err != nil {
		return err
	}
	t.say("objects: %d answers under load, all right; %d requests failed and were sent again; %s since it was killed: %s", answered, refused, victim.Name, use)
	if !t.self && !use.isWarm() {
		return fmt.Errorf("%s: after the kill it missed %v chunks, and found %v in the folder", victim.Label, use.misses, use.hits)
	}
	return nil
}

// refusedFolders: a folder that another process has, or that is another bucket's, is refused.
func (t *test) refusedFolders(ctx context.Context, s *scalable, gw *lokiproc.Service) error {
	if t.self {
		return nil
	}
	third, err := t.launchScalable(gw, s, "read", "read-3", objectsBucket, "read-1")
	if err != nil {
		return err
	}
	if err := third.WaitRefused(ctx, "is in use by another process"); err != nil {
		return err
	}
	second := s.readers[1]
	if err := second.Stop(); err != nil {
		return err
	}
	stranger, err := t.launchScalable(gw, s, "read", "read-4", otherBucket, "read-2")
	if err != nil {
		return err
	}
	if err := stranger.WaitRefused(ctx, "has copies of another store's chunks"); err != nil {
		return err
	}
	if err := second.Run(); err != nil {
		return err
	}
	t.say("objects: a folder in use and a folder of another bucket were refused; %s has its own again", second.Name)
	return second.WaitReady(ctx)
}

// filledAnew: a bucket that was emptied and has other logs now. What is in the folders is of chunks that
// nothing asks for any more.
func (t *test) filledAnew(ctx context.Context, s *scalable, gw *lokiproc.Service) error {
	for _, p := range append(slices.Clone(s.readers), s.backend, s.write) {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	bucket := filepath.Join(t.s3Dir(), objectsBucket)
	entries, err := os.ReadDir(bucket)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(bucket, e.Name())); err != nil {
			return err
		}
	}
	first := t.corpus
	defer func() { t.corpus = first }()
	if t.corpus, err = makeCorpus(t.lines, 2, t.loghub); err != nil {
		return err
	}
	again, err := t.startScalable(ctx, gw) // over the same folders
	if err != nil {
		return err
	}
	expected, err := t.expectedOf(ctx, gw.Address)
	if err != nil {
		return err
	}
	if err := t.coldAndWarm(ctx, again, expected); err != nil {
		return err
	}
	for _, p := range append(slices.Clone(again.readers), again.backend, again.write) {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}
