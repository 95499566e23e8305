// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
	"gopkg.in/yaml.v2"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

func TestMissThenHit(t *testing.T) {
	chunks := someChunks(t, 20, 3000)
	o := originOf(t, chunks)
	c := warm(t, configOf(t.TempDir()), o, chunks[:10])
	o.requireGets(t, chunks[:10], 1)
	get(t, c, chunks) // half of them are there
	settle(t, c)
	get(t, c, chunks)
	o.requireGets(t, chunks, 1)
	require.EqualValues(t, 10+20, value(c.metrics.chunks[resultHit]))
	require.EqualValues(t, 20, value(c.metrics.chunks[resultMiss]))
	require.EqualValues(t, 20, value(c.metrics.written))
	_, held := copies(t, c.cfg.Directory)
	require.EqualValues(t, held, value(c.metrics.bytes))
	require.EqualValues(t, 20, value(c.metrics.files))
	require.Zero(t, value(c.metrics.queueBytes))
	for _, dropped := range c.metrics.dropped {
		require.Zero(t, value(dropped))
	}
}

// A call's span says how many were in the folder; the span of the folder's client is below it.
func TestSpan(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	chunks := someChunks(t, 5, 3000)
	c := warm(t, configOf(t.TempDir()), originOf(t, chunks), chunks[:2])
	spans.Reset()
	get(t, c, chunks)
	var calls, below []tracetest.SpanStub
	for _, s := range spans.GetSpans() {
		if s.Name == "chunkring.disk_cache.GetChunks" {
			calls = append(calls, s)
		} else {
			below = append(below, s)
		}
	}
	require.Len(t, calls, 1)
	attributes := map[string]int64{}
	for _, a := range calls[0].Attributes {
		attributes[string(a.Key)] = a.Value.AsInt64()
	}
	require.Equal(t, map[string]int64{"requested": 5, "hits": 2, "fetched": 5}, attributes)
	require.NotEmpty(t, below)
	for _, s := range below {
		require.Equal(t, calls[0].SpanContext.SpanID(), s.Parent.SpanID(), s.Name)
	}
}

// The folder is a store that Loki's own client reads, in each layout of names.
func TestFolderIsAFilesystemStore(t *testing.T) {
	for _, version := range []string{"v11", "v13"} {
		schema := chunkgen.Schema(version)
		chunks, dir := someChunks(t, 5, 2000), t.TempDir()
		c, err := New(configOf(dir), originOf(t, chunks), schema, bucket, nil, nil)
		require.NoError(t, err)
		_, err = c.GetChunks(context.Background(), refsOf(chunks))
		require.NoError(t, err)
		settle(t, c) // a Stop before the first walk is over drops what waits
		c.Stop()
		fsClient, err := local.NewFSObjectClient(local.FSConfig{Directory: dir})
		require.NoError(t, err)
		stock := client.NewClient(fsClient, client.FSEncoder, schema)
		for i := range chunks {
			got, err := stock.GetChunks(context.Background(), refsOf(chunks[i:i+1]))
			require.NoError(t, err)
			requireChunks(t, chunks[i:i+1], got)
			ref, ok := refOf(schema, pathOf(schema, chunks[i].ChunkRef))
			require.True(t, ok)
			require.Equal(t, chunks[i].ChunkRef, ref)
		}
		stock.Stop()
	}
}

func TestNamesOfNoChunk(t *testing.T) {
	for _, path := range []string{"", "x", "a/b", "a/b/c", "tenant/ff/!!!!", "tenant/ff/MTox", "tenant/FF/MToxOjE=", markerName} {
		_, ok := refOf(schema, path)
		require.False(t, ok, path)
	}
}

func TestRestartIsWarm(t *testing.T) {
	chunks, dir := someChunks(t, 30, 3000), t.TempDir()
	o := originOf(t, chunks)
	warm(t, configOf(dir), o, chunks).Stop()
	c, err := New(configOf(dir), o, schema, bucket, nil, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	get(t, c, chunks) // whether or not the walk is over
	o.requireGets(t, chunks, 1)
	settle(t, c)
	files, bytes := c.index.held()
	_, held := copies(t, dir)
	require.EqualValues(t, 30, files)
	require.Equal(t, held, bytes)
}

// A copy that is damaged, or something else of its name, is a miss: counted, deleted, fetched again, replaced.
func TestDamagedCopies(t *testing.T) {
	chunks := someChunks(t, 3, 5000)
	other := encoded(t, chunks[1])
	for name, damage := range map[string]func(file string) error{
		"bit flip": func(file string) error {
			data, err := os.ReadFile(file)
			data[len(data)/2] ^= 1
			return joined(err, os.WriteFile(file, data, 0o600))
		},
		"truncated":     func(file string) error { return os.Truncate(file, 100) },
		"empty":         func(file string) error { return os.Truncate(file, 0) },
		"longer":        func(file string) error { return os.Truncate(file, 1<<20) },
		"another chunk": func(file string) error { return os.WriteFile(file, other, 0o600) },
		"symlink": func(file string) error {
			return joined(os.Rename(file, file+".moved"), os.Symlink(file+".moved", file))
		},
		"fifo": func(file string) error { return joined(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := originOf(t, chunks)
			c := warm(t, configOf(t.TempDir()), o, chunks)
			require.NoError(t, damage(c.fileOf(chunks[0])))
			get(t, c, chunks)
			require.EqualValues(t, 1, value(c.metrics.damaged))
			o.requireGets(t, chunks[:1], 2)
			o.requireGets(t, chunks[1:], 1)
			settle(t, c)
			get(t, c, chunks) // it was replaced
			o.requireGets(t, chunks[:1], 2)
			info, err := os.Lstat(c.fileOf(chunks[0]))
			require.NoError(t, err)
			require.True(t, info.Mode().IsRegular())
			files, _ := c.index.held()
			require.EqualValues(t, 3, files)
		})
	}
}

// What can't be deleted or replaced is a miss each time.
func TestFoldersInPlaceOfCopies(t *testing.T) {
	chunks := someChunks(t, 2, 2000)
	o := originOf(t, chunks)
	c := warm(t, configOf(t.TempDir()), o, chunks)
	require.NoError(t, os.Remove(c.fileOf(chunks[0])))
	require.NoError(t, os.MkdirAll(filepath.Join(c.fileOf(chunks[0]), "in", "it"), 0o700))
	for n := range 3 {
		get(t, c, chunks)
		settle(t, c)
		o.requireGets(t, chunks[:1], 2+n)
	}
	require.EqualValues(t, 3, value(c.metrics.dropped[dropError]))
	require.Zero(t, value(c.metrics.pauses))
	require.DirExists(t, c.fileOf(chunks[0]))

	// A link in place of a folder leads nowhere.
	outside := t.TempDir()
	folder := filepath.Dir(c.fileOf(chunks[1]))
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.Symlink(outside, folder))
	get(t, c, chunks[1:])
	settle(t, c)
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A copy that somebody else deleted is a miss, and written again.
func TestLostCopies(t *testing.T) {
	chunks := someChunks(t, 3, 2000)
	o := originOf(t, chunks)
	c := warm(t, configOf(t.TempDir()), o, chunks)
	require.NoError(t, os.RemoveAll(filepath.Join(c.cfg.Directory, "tenant")))
	get(t, c, chunks)
	settle(t, c)
	get(t, c, chunks)
	o.requireGets(t, chunks, 2)
	require.Zero(t, value(c.metrics.damaged))
	files, _ := c.index.held()
	require.EqualValues(t, 3, files)
}

// putByHand writes a copy past the cache.
func putByHand(t *testing.T, c *Client, one chunk.Chunk) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(c.fileOf(one)), 0o700))
	require.NoError(t, os.WriteFile(c.fileOf(one), encoded(t, one), 0o600))
}

// What the cache does not have costs a miss no open, once the walk has seen all; before, the folder is asked.
func TestUnknownCopiesAreNotLookedFor(t *testing.T) {
	chunks := someChunks(t, 2, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	putByHand(t, c, chunks[0])
	get(t, c, chunks[:1])
	o.requireGets(t, chunks[:1], 1)

	c.index.mu.Lock()
	c.index.complete = false
	c.index.mu.Unlock()
	putByHand(t, c, chunks[1])
	get(t, c, chunks[1:])
	o.requireGets(t, chunks[1:], 0)
}

// What lay in a copy's place before the start is found damaged as later, and replaced.
func TestLinkInPlaceOfACopyAtStart(t *testing.T) {
	chunks, dir := someChunks(t, 2, 3000), t.TempDir()
	o := originOf(t, chunks)
	first := warm(t, configOf(dir), o, chunks)
	first.Stop()
	file := first.fileOf(chunks[0])
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Symlink(t.TempDir(), file))
	c := openClient(t, configOf(dir), o)
	get(t, c, chunks)
	settle(t, c)
	require.EqualValues(t, 1, value(c.metrics.damaged))
	info, err := os.Lstat(file)
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	o.requireGets(t, chunks[1:], 1)
}

// Of a folder that the walk could not see whole nothing is taken for missing: here, for a path too long for open(2).
func TestFolderThatIsNotSeenWhole(t *testing.T) {
	chunks, dir := someChunks(t, 1, 3000), t.TempDir()
	o := originOf(t, nil)
	warm(t, configOf(dir), originOf(t, chunks), chunks).Stop()
	const pathMax, nameMax = 4096, 255
	at, err := os.OpenRoot(dir)
	require.NoError(t, err)
	for range pathMax/nameMax + 1 {
		name := strings.Repeat("d", nameMax)
		require.NoError(t, at.Mkdir(name, 0o700))
		below, err := at.OpenRoot(name)
		require.NoError(t, err)
		require.NoError(t, at.Close())
		at = below
	}
	require.NoError(t, at.Close())
	c := openClient(t, configOf(dir), o)
	require.EqualValues(t, 1, value(c.metrics.errors[opWalk]))
	require.False(t, c.index.complete)
	get(t, c, chunks)
}

func TestOriginErrors(t *testing.T) {
	chunks := someChunks(t, 4, 2000)
	o := originOf(t, chunks[:3])
	c := openClient(t, configOf(t.TempDir()), o)
	got, err := c.GetChunks(context.Background(), refsOf(chunks))
	require.True(t, c.IsChunkNotFoundErr(err))
	requireChunks(t, chunks[:3], got) // in order
	require.EqualValues(t, 1, value(c.metrics.chunks[resultFailed]))
	require.True(t, c.IsRetryableErr(context.DeadlineExceeded))
	require.False(t, c.IsRetryableErr(err))
	settle(t, c)
	got, err = c.GetChunks(context.Background(), refsOf(chunks))
	require.True(t, c.IsChunkNotFoundErr(err))
	requireChunks(t, chunks[:3], got)
	o.requireGets(t, chunks[:3], 1)
	o.requireGets(t, chunks[3:], 2)
}

func TestSameChunkTwiceInACall(t *testing.T) {
	chunks := someChunks(t, 2, 2000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	twice := []chunk.Chunk{chunks[0], chunks[1], chunks[0], chunks[0]}
	for range 2 {
		get(t, c, twice)
		settle(t, c)
	}
	o.requireGets(t, chunks, 1)
}

func TestNothingAsked(t *testing.T) {
	o := originOf(t, nil)
	c := openClient(t, configOf(t.TempDir()), o)
	got, err := c.GetChunks(context.Background(), nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestEndedContext(t *testing.T) {
	chunks := someChunks(t, 3, 2000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.GetChunks(ctx, refsOf(chunks))
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, o.all())
	require.Zero(t, value(c.metrics.damaged))
}

func TestPutChunks(t *testing.T) {
	for through, want := range map[string]int{"true": 3, "false": 0, "auto": 0} {
		chunks := someChunks(t, 3, 2000)
		o := originOf(t, nil)
		cfg := configOf(t.TempDir())
		cfg.WriteThrough = through
		c := openClient(t, cfg, o)
		require.NoError(t, c.PutChunks(context.Background(), chunks))
		settle(t, c)
		files, _ := copies(t, cfg.Directory)
		require.Len(t, files, want, through)
		get(t, c, chunks)
		require.Equal(t, 3-want, o.all())
	}
	cfg := Config{SingleProcess: true}
	on, err := cfg.writeThrough()
	require.NoError(t, err)
	require.True(t, on)
}

func TestDeleteChunk(t *testing.T) {
	chunks := someChunks(t, 3, 2000)
	o := originOf(t, chunks)
	c := warm(t, configOf(t.TempDir()), o, chunks)
	key := schema.ExternalKey(chunks[0].ChunkRef)
	require.NoError(t, c.DeleteChunk(context.Background(), "tenant", key))
	require.NoFileExists(t, c.fileOf(chunks[0]))
	got, err := c.GetChunks(context.Background(), refsOf(chunks))
	require.True(t, c.IsChunkNotFoundErr(err))
	requireChunks(t, chunks[1:], got)
	require.EqualValues(t, 2, value(c.metrics.files))
	require.ErrorIs(t, c.DeleteChunk(context.Background(), "tenant", key), errNotFound)
	require.Error(t, c.DeleteChunk(context.Background(), "tenant", "nonsense"))
}

// A chunk that is deleted while its copy waits to be written is not written.
func TestDeleteOfQueued(t *testing.T) {
	chunks := someChunks(t, 2, 2000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	goOn := holdWriter(t, c)
	get(t, c, chunks)
	comesTrue(t, func() bool { // and has one of the two
		c.queue.mu.Lock()
		defer c.queue.mu.Unlock()
		return len(c.queue.jobs) == 1
	})
	deleted := make(chan error, 2)
	for i := range chunks {
		go func() {
			deleted <- c.DeleteChunk(context.Background(), "tenant", schema.ExternalKey(chunks[i].ChunkRef))
		}()
	}
	comesTrue(t, func() bool {
		c.queue.mu.Lock()
		defer c.queue.mu.Unlock()
		return len(c.queue.jobs) == 0
	})
	goOn()
	require.NoError(t, <-deleted)
	require.NoError(t, <-deleted)
	settle(t, c)
	files, _ := copies(t, c.cfg.Directory)
	require.LessOrEqual(t, len(files), 1, "at most the one that was being written")
	require.Zero(t, value(c.metrics.queueBytes))
}

func TestStop(t *testing.T) {
	chunks, dir := someChunks(t, 50, 20000), t.TempDir()
	o := originOf(t, chunks)
	c, err := New(configOf(dir), o, schema, bucket, nil, nil)
	require.NoError(t, err)
	settle(t, c)
	get(t, c, chunks)
	c.Stop()
	c.Stop()
	require.Equal(t, 1, o.stopped)
	files, _ := copies(t, dir)
	require.Len(t, files, 50, "Stop waits for what is queued")
	_, err = c.GetChunks(context.Background(), refsOf(chunks))
	require.ErrorIs(t, err, chunkring.ErrStopped)
	require.ErrorIs(t, c.PutChunks(context.Background(), chunks), chunkring.ErrStopped)
	require.ErrorIs(t, c.DeleteChunk(context.Background(), "tenant", "x"), chunkring.ErrStopped)
	openClient(t, configOf(dir), o) // it was unlocked
}

// Clients of one store share the folder; each has its origin.
func TestSharedFolder(t *testing.T) {
	chunks, dir := someChunks(t, 4, 2000), t.TempDir()
	first, second := originOf(t, chunks), originOf(t, chunks)
	a, b := openClient(t, configOf(dir), first), openClient(t, configOf(dir), second)
	require.Same(t, a.cache, b.cache)
	get(t, a, chunks)
	settle(t, a)
	get(t, b, chunks)
	require.Zero(t, second.all())
	a.Stop()
	get(t, b, chunks)
	require.Zero(t, second.all())

	_, err := New(configOf(dir), first, schema, Identity{Kind: "gcs", Bucket: "other"}, nil, nil)
	require.ErrorContains(t, err, "another store")
	cfg := configOf(dir)
	cfg.MaxBytes++
	_, err = New(cfg, first, schema, bucket, nil, nil)
	require.ErrorContains(t, err, "another configuration")
}

func TestConfigOfYAMLAndFlags(t *testing.T) {
	var cfg Config
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	cfg.RegisterFlagsWithPrefix("store.chunkring.", flags)
	require.Equal(t, Config{MaxBytes: 50 << 30, MaxFiles: 2_000_000, WriteThrough: "auto", PartialReads: true}, cfg)
	require.NoError(t, flags.Parse([]string{"-store.chunkring.disk-cache.max-bytes=20GB", "-store.chunkring.disk-cache.write-through=false"}))
	require.Equal(t, Config{MaxBytes: 20 << 30, MaxFiles: 2_000_000, WriteThrough: "false", PartialReads: true}, cfg)
	require.NoError(t, yaml.UnmarshalStrict([]byte(`
directory: /cache
max_bytes: 30GB
max_files: 7
min_free_bytes: 2GB
max_age: 7d
write_through: true
`), &cfg))
	require.Equal(t, Config{Directory: "/cache", MaxBytes: 30 << 30, MaxFiles: 7, MinFreeBytes: 2 << 30, MaxAge: model.Duration(7 * day), WriteThrough: "true", PartialReads: true}, cfg)
	require.NoError(t, cfg.Validate())
}

func TestWrongConfig(t *testing.T) {
	good := configOf(t.TempDir())
	for _, wrong := range []func(cfg *Config){
		func(cfg *Config) { cfg.Directory = "" },
		func(cfg *Config) { cfg.MaxBytes = 0 },
		func(cfg *Config) { cfg.MaxFiles = 0 },
		func(cfg *Config) { cfg.MaxFiles = filesMax + 1 },
		func(cfg *Config) { cfg.MaxAge = -1 },
		func(cfg *Config) { cfg.WriteThrough = "sometimes" },
	} {
		cfg := good
		wrong(&cfg)
		_, err := New(cfg, originOf(t, nil), schema, bucket, nil, nil)
		require.ErrorContains(t, err, "disk_cache: ", fmt.Sprintf("%+v", cfg))
	}
	require.NoError(t, (&Config{}).Validate(), "no directory is no cache")
}

// All metrics are there from the start, and once for all caches of a registry.
func TestMetricsAreThereOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		c, err := New(configOf(t.TempDir()), originOf(t, nil), schema, bucket, nil, reg)
		require.NoError(t, err)
		defer c.Stop()
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "chunkring_disk_cache_") })
	require.Len(t, families, 17)
	for _, f := range families {
		if f.GetName() == "chunkring_disk_cache_max_bytes" {
			require.EqualValues(t, 2<<30, f.GetMetric()[0].GetGauge().GetValue())
		}
	}
}

// Everything at once, for the race detector; no call fails and none has a wrong byte.
func TestEverythingAtOnce(t *testing.T) {
	chunks := someChunks(t, 60, 3000)
	o := originOf(t, chunks)
	cfg := configOf(t.TempDir())
	cfg.MaxBytes = bytesSize(40 * 4096)
	c := openClient(t, cfg, o)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for round := range 30 {
				first := (n*7 + round*3) % 40
				got, err := c.GetChunks(context.Background(), refsOf(chunks[first:first+20]))
				if err != nil || len(got) != 20 {
					t.Errorf("%d chunks, %v", len(got), err)
				}
				if round%5 == n%5 { // somebody damages, somebody deletes
					_ = os.Truncate(c.fileOf(chunks[first]), 10)
					_ = os.Remove(c.fileOf(chunks[first+1]))
				}
			}
		})
	}
	all.Wait()
	settle(t, c)
	get(t, c, chunks)
	settle(t, c)
	_, held := copies(t, cfg.Directory)
	require.LessOrEqual(t, held, uint64(cfg.MaxBytes))
	require.Positive(t, value(c.metrics.evicted))
}

// Nothing is left open or running after Stop.
func TestNoLeaks(t *testing.T) {
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	chunks := someChunks(t, 5, 2000)
	var before, goroutines int
	for n := range 5 {
		dir := t.TempDir()
		for range 2 {
			c, err := New(configOf(dir), originOf(t, chunks), schema, bucket, nil, nil)
			require.NoError(t, err)
			get(t, c, chunks)
			c.Stop()
		}
		require.Error(t, func() error {
			_, err := New(configOf(dir), originOf(t, nil), schema, Identity{}, nil, nil)
			return err
		}())
		if n == 0 { // what the runtime and C keep, they have now
			before, goroutines = fds(), runtime.NumGoroutine()
		}
	}
	comesTrue(t, func() bool { return fds() <= before && runtime.NumGoroutine() <= goroutines })
	require.Empty(t, caches.open)
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
