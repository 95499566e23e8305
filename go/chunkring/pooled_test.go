// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"

	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// pooledStore is testdata/good as a store.
func pooledStore(t testing.TB) (dir string, chunks []chunk.Chunk) {
	t.Helper()
	x, err := chunkgen.LoadIndex("../../testdata/good")
	require.NoError(t, err)
	dir = t.TempDir()
	schema := chunkgen.Schema("v13")
	for _, ref := range x.Refs {
		b, err := os.ReadFile(x.Path(ref))
		require.NoError(t, err)
		name := filepath.Join(dir, client.FSEncoder(schema, ref.Chunk()))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, b, 0o644))
		chunks = append(chunks, ref.Chunk())
	}
	return dir, chunks
}

func pooledClient(t testing.TB, dir string, pooledBytes int) *Client {
	t.Helper()
	c, err := New(Config{Directory: dir, PooledBytes: pooledBytes}, chunkgen.Schema("v13"), nil, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

func copies(t testing.TB, chunks []chunk.Chunk) [][]byte {
	t.Helper()
	var all [][]byte
	for i := range chunks {
		b, err := chunks[i].Encoded()
		require.NoError(t, err)
		require.Equal(t, len(b), cap(b))
		all = append(all, bytes.Clone(b))
	}
	return all
}

func (p *pool) buffersFree() (n, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.free {
		n += len(list)
		for _, b := range list {
			size += len(b)
		}
	}
	return n, size
}

func TestPooledSameAsPlain(t *testing.T) {
	dir, chunks := pooledStore(t)
	c := pooledClient(t, dir, 0)
	plain, err := c.GetChunks(context.Background(), chunks)
	require.NoError(t, err)
	want := copies(t, plain)
	for round := range 5 {
		b, err := c.GetChunksPooled(context.Background(), chunks)
		require.NoError(t, err)
		require.Equal(t, want, copies(t, b.Chunks), "round %d", round)
		b.Release()
	}
	require.Equal(t, want, copies(t, plain), "plain chunks never lie in the pool")
}

// Two batches that are out at the same time share nothing, and a released one's buffers come back.
func TestPooledBuffersAreReused(t *testing.T) {
	dir, chunks := pooledStore(t)
	c := pooledClient(t, dir, 0)
	starts := func(b *Batch) map[*byte]bool {
		all := map[*byte]bool{}
		for i := range b.Chunks {
			buf, err := b.Chunks[i].Encoded()
			require.NoError(t, err)
			all[unsafe.SliceData(buf)] = true
		}
		return all
	}
	first, err := c.GetChunksPooled(context.Background(), chunks)
	require.NoError(t, err)
	a := starts(first)
	second, err := c.GetChunksPooled(context.Background(), chunks)
	require.NoError(t, err)
	for p := range starts(second) {
		require.False(t, a[p], "a buffer is in two batches")
	}
	n, _ := c.pool.buffersFree()
	require.Zero(t, n)
	first.Release()
	require.Nil(t, first.Chunks)
	n, size := c.pool.buffersFree()
	require.Equal(t, len(chunks), n)
	require.Equal(t, c.pool.retained, size)
	third, err := c.GetChunksPooled(context.Background(), chunks)
	require.NoError(t, err)
	require.Equal(t, a, starts(third), "every buffer is used again")
	third.Release()
	second.Release()
}

func TestPooledPoison(t *testing.T) {
	if !poisonReleased {
		t.Skip("only with -race or -tags chunkring_debug")
	}
	dir, chunks := pooledStore(t)
	c := pooledClient(t, dir, 0)
	b, err := c.GetChunksPooled(context.Background(), chunks)
	require.NoError(t, err)
	var bufs [][]byte
	for i := range b.Chunks {
		buf, err := b.Chunks[i].Encoded()
		require.NoError(t, err)
		bufs = append(bufs, buf)
	}
	b.Release()
	for _, buf := range bufs {
		require.Equal(t, bytes.Repeat([]byte{poison}, len(buf)), buf)
	}
}

func TestPooledDoubleRelease(t *testing.T) {
	dir, chunks := pooledStore(t)
	c := pooledClient(t, dir, 0)
	b, err := c.GetChunksPooled(context.Background(), chunks)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(b.Release)
	}
	wg.Wait()
	b.Release()
	n, _ := c.pool.buffersFree()
	require.Equal(t, len(chunks), n, "each buffer is free once")
	seen := map[*byte]bool{}
	for _, list := range c.pool.free {
		for _, buf := range list {
			require.False(t, seen[unsafe.SliceData(buf)])
			seen[unsafe.SliceData(buf)] = true
		}
	}
	(&Batch{}).Release() // nothing to give back
}

func TestPooledRetainedIsCapped(t *testing.T) {
	dir, chunks := pooledStore(t)
	const limit = 100 << 10
	c := pooledClient(t, dir, limit)
	var batches []*Batch
	for range 5 {
		b, err := c.GetChunksPooled(context.Background(), chunks)
		require.NoError(t, err)
		batches = append(batches, b)
	}
	for _, b := range batches {
		b.Release()
		n, size := c.pool.buffersFree()
		require.Positive(t, n)
		require.LessOrEqual(t, size, limit)
		require.Equal(t, c.pool.retained, size)
	}
	b, err := c.GetChunksPooled(context.Background(), chunks)
	require.NoError(t, err)
	require.Equal(t, len(chunks), len(b.Chunks))
	b.Release()
}

// The buffers of chunks that failed go back too.
func TestPooledFailures(t *testing.T) {
	dir, chunks := pooledStore(t)
	c := pooledClient(t, dir, 0)
	bad := chunks[0]
	bad.Checksum ^= 1 // a file of another content than its name says
	good := filepath.Join(dir, client.FSEncoder(chunkgen.Schema("v13"), chunks[0]))
	require.NoError(t, os.Link(good, filepath.Join(dir, client.FSEncoder(chunkgen.Schema("v13"), bad))))
	missing := chunks[1]
	missing.UserID = "nobody"
	for range 3 {
		b, err := c.GetChunksPooled(context.Background(), []chunk.Chunk{chunks[0], bad, missing, chunks[2]})
		require.ErrorIs(t, err, chunk.ErrInvalidChecksum)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.Len(t, b.Chunks, 2)
		b.Release()
		n, _ := c.pool.buffersFree()
		require.Equal(t, 3, n)
	}
	c.Stop()
	b, err := c.GetChunksPooled(context.Background(), chunks)
	require.ErrorIs(t, err, ErrStopped)
	require.NotNil(t, b)
	b.Release()
}

func TestPooledConcurrently(t *testing.T) {
	dir, chunks := pooledStore(t)
	c := pooledClient(t, dir, 256<<10)
	plain, err := c.GetChunks(context.Background(), chunks)
	require.NoError(t, err)
	want := copies(t, plain)
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for round := range 5 {
				from := (caller*7 + round*3) % (len(chunks) / 2)
				b, err := c.GetChunksPooled(context.Background(), chunks[from:])
				if err != nil {
					t.Error(err)
					return
				}
				for i := range b.Chunks {
					got, err := b.Chunks[i].Encoded()
					if err != nil || !bytes.Equal(want[from+i], got) {
						t.Errorf("caller %d, round %d: chunk %d is wrong: %v", caller, round, i, err)
						return
					}
				}
				b.Release()
			}
		})
	}
	wg.Wait()
}

func TestPoolClasses(t *testing.T) {
	for size := 1; size < 1<<20; size += 1 + size/97 {
		class := classBytes(size)
		require.GreaterOrEqual(t, class, size)
		if size > 4096 {
			require.Less(t, class-size, size/4+1, "size %d", size)
		}
		require.Equal(t, class, classBytes(class), "a class is its own class")
	}
	require.Equal(t, 1<<30, classBytes(1<<30))
	for _, size := range []int{1, 4096, 4097, 5120, 5121, 1 << 20, 1<<20 + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p := newPool(1 << 30)
			b := p.get(size)
			require.Equal(t, len(b), cap(b))
			require.Equal(t, classBytes(size), len(b))
			p.put(b)
			require.Same(t, unsafe.SliceData(b), unsafe.SliceData(p.get(size)))
			require.Zero(t, p.retained)
		})
	}
}
