// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// keptLines is a logger, and each one is another.
type keptLines struct {
	mu    sync.Mutex
	lines []string
}

func (k *keptLines) Log(kv ...any) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lines = append(k.lines, fmt.Sprintln(kv...))
	return nil
}

func (k *keptLines) count(s string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, line := range k.lines {
		if strings.Contains(line, s) {
			n++
		}
	}
	return n
}

// descriptorsOf counts this process's open descriptors of something: of a directory itself there are
// two for each store.
func descriptorsOf(t testing.TB, what string) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && name == what {
			n++
		}
	}
	return n
}

const aRing = "anon_inode:[io_uring]"

func threadsNow(t testing.TB) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	return len(tasks)
}

// storesOpen requires how many stores of dir there are, by the register and by the system.
func storesOpen(t testing.TB, dir string, want int) {
	t.Helper()
	stores.mu.Lock()
	registered := 0
	for key := range stores.byKey {
		if key.cfg.Directory == dir {
			registered++
		}
	}
	stores.mu.Unlock()
	require.Equal(t, want, registered)
	// After a put the sweep for leftovers has the directory open, too, for a moment.
	require.Eventually(t, func() bool { return descriptorsOf(t, dir) == 2*want }, 10*time.Second, time.Millisecond,
		"descriptors of %d stores", want)
}

// twoLayouts is a store with the same chunk in the old flat layout and in the new one.
func twoLayouts(t testing.TB) (dir string, c chunk.Chunk) {
	t.Helper()
	dir = t.TempDir()
	x, err := chunkgen.LoadIndex("../../testdata/good")
	require.NoError(t, err)
	b, err := os.ReadFile(x.Path(x.Refs[0]))
	require.NoError(t, err)
	c = x.Refs[0].Chunk()
	require.NoError(t, c.Decode(chunk.NewDecodeContext(), b))
	for _, version := range []string{"v11", "v13"} {
		one := newShared(t, dir, version, nil, nil)
		require.NoError(t, one.PutChunks(context.Background(), []chunk.Chunk{c}))
		one.Stop()
	}
	return dir, chunk.Chunk{ChunkRef: c.ChunkRef}
}

func newShared(t testing.TB, dir, version string, logger log.Logger, reg prometheus.Registerer) *Client {
	t.Helper()
	c, err := New(Config{Directory: dir}, chunkgen.Schema(version), logger, reg)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

func reads(t testing.TB, c *Client, chk chunk.Chunk) {
	t.Helper()
	out, err := c.GetChunks(context.Background(), []chunk.Chunk{chk})
	require.NoError(t, err)
	require.Len(t, out, 1)
}

// Clients of several schemas share threads, rings and descriptors, and each works until it is
// stopped itself, whatever the order.
func TestSharedStore(t *testing.T) {
	dir, chk := twoLayouts(t)
	flat, nested := filepath.Join(dir, newKeyer(chunkgen.Schema("v11")).path(&chk.ChunkRef)), filepath.Join(dir, newKeyer(chunkgen.Schema("v13")).path(&chk.ChunkRef))
	require.NotEqual(t, flat, nested)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		logger, reg := &keptLines{}, prometheus.NewRegistry()
		before, ringsBefore := threadsNow(t), descriptorsOf(t, aRing)
		clients := []*Client{newShared(t, dir, "v11", logger, reg)}
		rings := descriptorsOf(t, aRing)
		require.Equal(t, clients[0].Backend() == BackendURing, rings > ringsBefore)
		clients = append(clients, newShared(t, dir, "v13", logger, reg), newShared(t, dir, "v13", logger, reg))
		storesOpen(t, dir, 1)
		require.Equal(t, rings, descriptorsOf(t, aRing))
		require.Less(t, threadsNow(t)-before, clients[0].reader.Workers()+8, "the Go runtime may have started some")
		require.Equal(t, 1, logger.count("chunk store open"))
		left := map[int]bool{0: true, 1: true, 2: true}
		for _, stop := range order {
			for i := range left {
				reads(t, clients[i], chk)
			}
			clients[stop].Stop()
			clients[stop].Stop() // counts once
			delete(left, stop)
			_, err := clients[stop].GetChunks(context.Background(), []chunk.Chunk{chk})
			require.ErrorIs(t, err, ErrStopped)
			storesOpen(t, dir, min(1, len(left)))
		}
		require.Equal(t, ringsBefore, descriptorsOf(t, aRing))
	}
	// They read what their schema names.
	old, recent := newShared(t, dir, "v11", nil, nil), newShared(t, dir, "v13", nil, nil)
	require.NoError(t, os.Remove(flat))
	reads(t, recent, chk)
	_, err := old.GetChunks(context.Background(), []chunk.Chunk{chk})
	require.True(t, old.IsChunkNotFoundErr(err))
	require.ErrorContains(t, err, flat)
}

// What differs is not shared, and what only looks different is.
func TestSharedOnlyIfEqual(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	logger, reg := &keptLines{}, prometheus.NewRegistry()
	open := func(cfg Config, logger log.Logger, reg prometheus.Registerer) *Client {
		c, err := New(cfg, chunkgen.Schema("v13"), logger, reg)
		require.NoError(t, err)
		t.Cleanup(c.Stop)
		return c
	}
	first := open(Config{Directory: dir}, logger, reg)
	for name, c := range map[string]*Client{
		"the same":           open(Config{Directory: dir}, logger, reg),
		"a longer path":      open(Config{Directory: dir + "/./"}, logger, reg),
		"the default's name": open(Config{Directory: dir, Backend: BackendAuto}, logger, reg),
		"the default's path": open(Config{Directory: dir, BlockPath: BlockPathFilter}, logger, reg),
		"the default's size": open(Config{Directory: dir, MaxChunkBytes: 64 << 20}, logger, reg),
	} {
		require.Same(t, first.store, c.store, name)
	}
	seen := map[*store]string{first.store: "the first"}
	for name, c := range map[string]*Client{
		"another directory":       open(Config{Directory: t.TempDir()}, logger, reg),
		"a link to it":            open(Config{Directory: link}, logger, reg), // its errors say another path
		"back-end":                open(Config{Directory: dir, Backend: BackendThreads}, logger, reg),
		"workers":                 open(Config{Directory: dir, Workers: 3}, logger, reg),
		"largest chunk":           open(Config{Directory: dir, MaxChunkBytes: 1000}, logger, reg),
		"open files":              open(Config{Directory: dir, MaxOpenFiles: 100}, logger, reg),
		"pooled bytes":            open(Config{Directory: dir, PooledBytes: 1000}, logger, reg),
		"block path":              open(Config{Directory: dir, BlockPath: BlockPathInPlace}, logger, reg),
		"buffers of blocks":       open(Config{Directory: dir, BlockBufferBytes: 1 << 20}, logger, reg),
		"ring entries":            open(Config{Directory: dir, RingEntries: 64}, logger, reg),
		"logger":                  open(Config{Directory: dir}, &keptLines{}, reg),
		"no logger":               open(Config{Directory: dir}, nil, reg),
		"logger without equality": open(Config{Directory: dir}, log.LoggerFunc(logger.Log), reg),
		"and once more":           open(Config{Directory: dir}, log.LoggerFunc(logger.Log), reg),
		"registry":                open(Config{Directory: dir}, logger, prometheus.NewRegistry()),
		"no registry":             open(Config{Directory: dir}, logger, nil),
	} {
		require.NotContains(t, seen, c.store, "%s: shared with %s", name, seen[c.store])
		seen[c.store] = name
	}
}

// A directory that took another's place is another one.
func TestSharedUnlessReplaced(t *testing.T) {
	dir, chk := twoLayouts(t)
	before := newShared(t, dir, "v13", nil, nil)
	require.NoError(t, os.Rename(dir, dir+"-away"))
	t.Cleanup(func() { _ = os.RemoveAll(dir + "-away") })
	after := newShared(t, dir, "v13", nil, nil) // makes it
	require.NotSame(t, before.store, after.store)
	reads(t, before, chk)
	_, err := after.GetChunks(context.Background(), []chunk.Chunk{chk})
	require.True(t, after.IsChunkNotFoundErr(err))
	before.Stop()
	again := newShared(t, dir, "v13", nil, nil)
	require.Same(t, after.store, again.store)
}

// Nobody gets what could not be opened, and it is tried anew.
func TestSharedOpenFails(t *testing.T) {
	dir, reg := filepath.Join(t.TempDir(), "chunks"), prometheus.NewRegistry()
	require.NoError(t, os.WriteFile(dir, nil, 0o644))
	logger := &keptLines{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := New(Config{Directory: dir}, chunkgen.Schema("v13"), logger, reg); !errors.Is(err, syscall.ENOTDIR) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	storesOpen(t, dir, 0)
	require.NoError(t, os.Remove(dir))
	newShared(t, dir, "v13", logger, reg)
	storesOpen(t, dir, 1)
}

// Clients come, work and go from many goroutines, on directories that are missing at first. Each
// reads well until it is stopped, and in the end nothing is left.
func TestSharedConcurrently(t *testing.T) {
	source, chk := twoLayouts(t)
	from := newShared(t, source, "v13", nil, nil)
	out, err := from.GetChunks(context.Background(), []chunk.Chunk{chk})
	require.NoError(t, err)
	from.Stop()
	full := out[0]
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b", "c")}
	logger, reg := &keptLines{}, prometheus.NewRegistry()
	threadsBefore := threadsNow(t)
	var wg sync.WaitGroup
	for i := range 8 {
		mine := full
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 30 {
				if !comeAndGo(t, dirs[r.IntN(2)], mine, 1+r.IntN(3), r, logger, reg) {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, dir := range dirs {
		storesOpen(t, dir, 0)
	}
	t.Logf("%d stores were opened for %d clients", logger.count("chunk store open"), 8*30*2)
	require.Eventually(t, func() bool { return threadsNow(t) < threadsBefore+16 }, 10*time.Second, time.Millisecond,
		"the Go runtime may have started some")
}

// comeAndGo opens n clients, uses them and stops them in some order.
func comeAndGo(t *testing.T, dir string, full chunk.Chunk, n int, r *rand.Rand, logger log.Logger, reg prometheus.Registerer) bool {
	var clients []*Client
	ok := true
	for i := range n {
		c, err := New(Config{Directory: dir}, chunkgen.Schema([]string{"v11", "v13"}[i%2]), logger, reg)
		if err != nil {
			t.Error(err)
			ok = false
			break
		}
		clients = append(clients, c)
	}
	r.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	for _, c := range clients {
		err := c.PutChunks(context.Background(), []chunk.Chunk{full})
		if err == nil {
			_, err = c.GetChunks(context.Background(), []chunk.Chunk{{ChunkRef: full.ChunkRef}, {ChunkRef: full.ChunkRef}})
		}
		if err != nil {
			t.Error(err)
			ok = false
		}
		c.Stop()
	}
	return ok
}

// One client's Stop waits for its own calls, and disturbs nobody else's.
func TestSharedStopWaitsForItsOwn(t *testing.T) {
	dir, chk := twoLayouts(t)
	slow, quick := newShared(t, dir, "v13", nil, nil), newShared(t, dir, "v13", nil, nil)
	require.Same(t, slow.store, quick.store)
	slow.pool.mu.Lock() // holds up what allocates from it
	unlock := sync.OnceFunc(slow.pool.mu.Unlock)
	defer unlock()
	done := make(chan error, 1)
	go func() {
		b, err := slow.GetChunksPooled(context.Background(), []chunk.Chunk{chk})
		b.Release()
		done <- err
	}()
	require.Eventually(t, func() bool { return testutil.ToFloat64(slow.metrics.inFlight) == 1 }, 10*time.Second, time.Millisecond)
	quick.Stop()
	stopped := make(chan struct{})
	go func() { slow.Stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Fatal("stopped with a call inside")
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	require.NoError(t, <-done)
	<-stopped
	storesOpen(t, dir, 0)
}

// What begins while Stop waits for a call fails at once, whatever its context; Stop waits on.
func TestCallsWhileStopWaits(t *testing.T) {
	dir, chk := twoLayouts(t)
	c := newShared(t, dir, "v13", nil, nil)
	full, err := c.GetChunks(context.Background(), []chunk.Chunk{chk})
	require.NoError(t, err)
	c.pool.mu.Lock() // holds up what allocates from it
	unlock := sync.OnceFunc(c.pool.mu.Unlock)
	defer unlock()
	inside := make(chan error, 1)
	go func() {
		b, err := c.GetChunksPooled(context.Background(), []chunk.Chunk{chk})
		b.Release()
		inside <- err
	}()
	require.Eventually(t, func() bool { return testutil.ToFloat64(c.metrics.inFlight) == 1 }, 10*time.Second, time.Millisecond)
	stopped := make(chan struct{})
	go func() { c.Stop(); close(stopped) }()
	require.Eventually(t, func() bool {
		free := c.life.Enter()
		if free {
			c.life.Leave()
		}
		return !free
	}, 10*time.Second, time.Millisecond, "Stop waits")

	for name, call := range map[string]func() error{
		"GetChunks": func() error {
			_, err := c.GetChunks(context.Background(), []chunk.Chunk{chk})
			return err
		},
		"GetChunksPooled": func() error {
			b, err := c.GetChunksPooled(context.Background(), []chunk.Chunk{chk})
			b.Release()
			return err
		},
		"PutChunks":   func() error { return c.PutChunks(context.Background(), full) },
		"DeleteChunk": func() error { return c.DeleteChunk(context.Background(), "nobody", "nobody/1/2:3:4") },
	} {
		done := make(chan error, 1)
		go func() { done <- call() }()
		select {
		case err := <-done:
			require.ErrorIs(t, err, ErrStopped, name)
		case <-time.After(10 * time.Second):
			t.Fatalf("%s waits behind Stop", name)
		}
	}
	select {
	case <-stopped:
		t.Fatal("stopped with a call inside")
	case err := <-inside:
		t.Fatalf("a read without a buffer came back: %v", err)
	default:
	}
	unlock()
	require.NoError(t, <-inside)
	<-stopped
	storesOpen(t, dir, 0)
}

// All clients of a store together keep to the bound of log lines, and are counted together.
func TestSharedMetricsAndLog(t *testing.T) {
	dir, chk := twoLayouts(t)
	logger, reg := &keptLines{}, prometheus.NewRegistry()
	missing := chunk.Chunk{ChunkRef: chk.ChunkRef}
	missing.UserID = "nobody"
	const clients, calls = 5, 150
	for range clients {
		c := newShared(t, dir, "v13", logger, reg)
		for range calls {
			_, err := c.GetChunks(context.Background(), []chunk.Chunk{missing, chk})
			require.Error(t, err)
		}
	}
	require.Less(t, logger.count("reading a chunk failed"), clients*logLinesBurst)
	families, err := reg.Gather()
	require.NoError(t, err)
	found := 0
	for _, f := range families {
		switch f.GetName() {
		case "chunkring_batches_total":
			require.EqualValues(t, clients*calls, f.Metric[2].GetCounter().GetValue(), "read, after delete and put")
			found++
		case "chunkring_backend_info":
			require.Len(t, f.Metric, 1)
			require.EqualValues(t, 1, f.Metric[0].GetGauge().GetValue())
			found++
		}
	}
	require.Equal(t, 2, found)
}
