// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/util/flagext"

	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// The tests of this package, by what they are about:
//
//	client_test.go  hits, misses, damage, puts, deletes, stops
//	flight_test.go  many calls and one chunk
//	folder_test.go  whose folder it is, other processes, kills, modes
//	writer_test.go  room, age, disks that fail
//	scan_test.go    scans beside a hot set
//	model_test.go   random calls, and what holds after each
//	soak_test.go    everything at the same time, for seconds or hours

var (
	schema = chunkgen.Schema("v13")
	bucket = Identity{Kind: "s3", Endpoint: "s3.example.com", Bucket: "loki", Prefix: "chunks/"}
)

const day = 24 * time.Hour

// someChunks makes n chunks of one tenant with about so many bytes each.
func someChunks(t testing.TB, n, size int) []chunk.Chunk {
	t.Helper()
	var chunks []chunk.Chunk
	random := rand.New(rand.NewPCG(7, uint64(size)))
	for i := range n {
		line := make([]byte, size)
		for k := range line {
			line[k] = "0123456789abcdef"[random.IntN(16)]
		}
		at := time.Date(2025, 3, 1, i, 0, 0, 0, time.UTC)
		stream := chunkgen.Stream{Tenant: "tenant", Labels: labels.FromStrings("app", fmt.Sprintf("app-%d", i%7))}
		c, err := chunkgen.Build(stream, chunkgen.Encoding{Format: chunkenc.ChunkFormatV4, Codec: compression.None, BlockBytes: 256 << 10},
			slices.Values([]logproto.Entry{{Timestamp: at, Line: string(line)}}))
		require.NoError(t, err)
		chunks = append(chunks, c)
	}
	return chunks
}

func refsOf(chunks []chunk.Chunk) []chunk.Chunk {
	refs := make([]chunk.Chunk, len(chunks))
	for i := range chunks {
		refs[i] = chunk.Chunk{ChunkRef: chunks[i].ChunkRef}
	}
	return refs
}

func encoded(t testing.TB, c chunk.Chunk) []byte {
	t.Helper()
	data, err := c.Encoded()
	require.NoError(t, err)
	return data
}

// requireChunks compares an answer, in order, byte by byte, and that it can be read.
func requireChunks(t testing.TB, want, got []chunk.Chunk) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].ChunkRef, got[i].ChunkRef)
		require.True(t, bytes.Equal(encoded(t, want[i]), encoded(t, got[i])), "bytes of chunk %d", i)
		lines := 0
		require.NoError(t, chunkgen.Lines(got[i], func(logproto.Entry) { lines++ }))
		require.Equal(t, 1, lines)
	}
}

var errNotFound = errors.New("no such object")

// origin is an object store that counts, and waits or fails when it is told to.
type origin struct {
	mu      sync.Mutex
	objects map[logproto.ChunkRef][]byte
	gets    map[logproto.ChunkRef]int
	stopped int
	before  func(ctx context.Context, ref logproto.ChunkRef) error // of each get; or nil
}

func originOf(t testing.TB, chunks []chunk.Chunk) *origin {
	t.Helper()
	o := &origin{objects: map[logproto.ChunkRef][]byte{}, gets: map[logproto.ChunkRef]int{}}
	for i := range chunks {
		o.objects[chunks[i].ChunkRef] = encoded(t, chunks[i])
	}
	return o
}

func (o *origin) Stop() { o.stopped++ }

func (o *origin) PutChunks(_ context.Context, chunks []chunk.Chunk) error {
	for i := range chunks {
		data, err := chunks[i].Encoded()
		if err != nil {
			return err
		}
		o.mu.Lock()
		o.objects[chunks[i].ChunkRef] = data
		o.mu.Unlock()
	}
	return nil
}

// GetChunks returns what it can, in no order, and the last error: as Loki's own client.
func (o *origin) GetChunks(ctx context.Context, chunks []chunk.Chunk) (got []chunk.Chunk, last error) {
	for _, i := range rand.Perm(len(chunks)) {
		c := chunks[i]
		o.mu.Lock()
		o.gets[c.ChunkRef]++
		data, before := o.objects[c.ChunkRef], o.before
		o.mu.Unlock()
		err := ctx.Err()
		if err == nil && before != nil {
			err = before(ctx, c.ChunkRef)
		}
		if err == nil && data == nil {
			err = errNotFound
		}
		if err == nil {
			err = c.Decode(chunk.NewDecodeContext(), bytes.Clone(data))
		}
		if err != nil {
			last = err
			continue
		}
		got = append(got, c)
	}
	return got, last
}

func (o *origin) DeleteChunk(_ context.Context, tenant, key string) error {
	c, err := chunk.ParseExternalKey(tenant, key)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.objects[c.ChunkRef] == nil {
		return errNotFound
	}
	delete(o.objects, c.ChunkRef)
	return nil
}

func (o *origin) IsChunkNotFoundErr(err error) bool { return errors.Is(err, errNotFound) }
func (o *origin) IsRetryableErr(err error) bool     { return errors.Is(err, context.DeadlineExceeded) }

func (o *origin) hook(before func(ctx context.Context, ref logproto.ChunkRef) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.before = before
}

// requireGets checks how often each chunk was fetched.
func (o *origin) requireGets(t testing.TB, chunks []chunk.Chunk, times int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range chunks {
		require.Equal(t, times, o.gets[chunks[i].ChunkRef], "GETs of chunk %d", i)
	}
}

func (o *origin) all() (gets int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.gets {
		gets += n
	}
	return gets
}

func configOf(dir string) Config {
	return Config{Directory: dir, MaxBytes: 1 << 30, MaxFiles: 1000, MinFreeBytes: 1}
}

// open makes a client whose folder is known, and stops it at the end.
func openClient(t testing.TB, cfg Config, o *origin) *Client {
	t.Helper()
	c, err := New(cfg, o, schema, bucket, nil, prometheus.NewRegistry())
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	settle(t, c)
	return c
}

// settle waits until the walk is over and everything queued is written or dropped.
func settle(t testing.TB, c *Client) {
	t.Helper()
	comesTrue(t, func() bool {
		c.index.mu.Lock()
		walked := c.index.walked
		c.index.mu.Unlock()
		c.queue.mu.Lock()
		defer c.queue.mu.Unlock()
		return walked && c.queue.bytes == 0 && len(c.queue.jobs) == 0
	})
	c.changes.Lock() // and counted
	defer c.changes.Unlock()
}

func comesTrue(t testing.TB, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("it did not come true:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// holdWriter has the writer wait until the func that it returns is called, or the test has failed.
func holdWriter(t testing.TB, c *Client) (goOn func()) {
	c.changes.Lock()
	goOn = sync.OnceFunc(c.changes.Unlock)
	t.Cleanup(goOn)
	return goOn
}

func get(t testing.TB, c *Client, chunks []chunk.Chunk) {
	t.Helper()
	got, err := c.GetChunks(context.Background(), refsOf(chunks))
	require.NoError(t, err)
	requireChunks(t, chunks, got)
}

// warm is a client whose folder has copies of the chunks.
func warm(t testing.TB, cfg Config, o *origin, chunks []chunk.Chunk) *Client {
	t.Helper()
	c := openClient(t, cfg, o)
	get(t, c, chunks)
	settle(t, c)
	for i := range chunks {
		require.FileExists(t, c.fileOf(chunks[i]))
	}
	return c
}

func (c *Client) fileOf(one chunk.Chunk) string {
	return filepath.Join(c.cfg.Directory, pathOf(schema, one.ChunkRef))
}

// copies are the files of a folder that are not the cache's own, and what they take.
func copies(t testing.TB, dir string) (files []string, bytes uint64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (e.IsDir() || e.Name() == markerName) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files = append(files, path)
		bytes += sizeOf(info)
		return err
	}))
	return files, bytes
}

func value(c prometheus.Collector) float64 { return testutil.ToFloat64(c) }

const childEnv = "DISKCACHE_TEST_CHILD"

// inChild runs the calling test in a process of its own, with arg, and returns it there; "" in the parent.
func inChild(t *testing.T, arg string) (child string, cmd *exec.Cmd) {
	t.Helper()
	if arg := os.Getenv(childEnv); arg != "" {
		return arg, nil
	}
	cmd = exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.timeout=50s")
	// Last in the list is what the parent looks for. A child that is killed leaves its temporary folders to its parent's.
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), childEnv+"="+arg)
	return "", cmd
}

func bytesSize(n int) flagext.ByteSize { return flagext.ByteSize(n) }
