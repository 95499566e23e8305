// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

// largeSample is a chunk that takes many READs, of 128 KB at most.
var largeSample = sync.OnceValues(func() (s sample, err error) {
	dir, err := os.MkdirTemp("", "chunkring-large-")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	// Not compressed: it has few lines to compare.
	x, err := chunkgen.Write(context.Background(), dir, chunkgen.Options{Count: 1, Size: 1_200_000, Codec: "none"}, nil)
	if err != nil {
		return s, err
	}
	b, err := os.ReadFile(x.Path(x.Refs[0]))
	return sample{x.Refs[0].Path, x.Refs[0].Chunk(), b}, err
})

// mountStore mounts a store of n small chunks and a large one by FUSE, and returns where, with the chunks.
func mountStore(t *testing.T, n int, opts slowfs.Options) (at string, fs *slowfs.FS, chunks []chunk.Chunk) {
	t.Helper()
	if err := slowfs.Unavailable(); err != nil {
		t.Skip(err)
	}
	dir, chunks := smallStore(t, v13, n)
	large, err := largeSample()
	require.NoError(t, err)
	place(t, dir, v13, large.ref, large.bytes)
	chunks = append(chunks, large.ref)
	at = t.TempDir()
	fs, err = slowfs.Mount(dir, at, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, fs.Close(), "a client that stopped left a file or folder of the mount open")
	})
	return at, fs, chunks
}

// requireAsStock reads chunks in batches of one, some and all, and compares every one with stock's. The kernel
// knows nothing of the store each time.
func requireAsStock(t *testing.T, at string, fs *slowfs.FS, backend string, chunks []chunk.Chunk) {
	t.Helper()
	answer, err := stock(t, at, v13).GetChunks(context.Background(), chunks)
	require.NoError(t, err, "stock")
	want := byKey(t, answer)
	c := ring(t, at, backend, v13)
	for _, n := range []int{1, 5, len(chunks)} {
		require.NoError(t, fs.Forget())
		fs.Reset()
		got, err := c.GetChunks(context.Background(), chunks[:n])
		require.NoError(t, err)
		requireAnswer(t, want, chunks[:n], got)
		counts := fs.Counts()
		for i := range got {
			file := counts.Files[filePath("", v13, chunks[i])]
			require.Positive(t, file.Opens, "chunk %d was read from the mount", i)
			require.GreaterOrEqual(t, file.Bytes, int64(len(encoded(t, &got[i]))), "chunk %d was read from the mount", i)
		}
	}
}

func TestFUSEIsReadAsStockReadsIt(t *testing.T) {
	for name, opts := range map[string]slowfs.Options{
		"page cache":             {},
		"direct IO":              {DirectIO: true},
		"opens answer EAGAIN":    {OpensAgain: 3},
		"the same and direct IO": {OpensAgain: 3, DirectIO: true},
	} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				at, fs, chunks := mountStore(t, 40, opts)
				requireAsStock(t, at, fs, backend, chunks)
			})
		})
	}
}

// One file's requests fail: it is one entry of the error, with the system's errno, and the others are read.
func TestFUSEErrorsSpareTheNeighbours(t *testing.T) {
	for op, errno := range map[slowfs.Op]syscall.Errno{
		slowfs.Lookup: syscall.EIO, slowfs.Open: syscall.EACCES, slowfs.Read: syscall.EIO,
	} {
		t.Run(string(op), func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				var bad atomic.Value // what the kernel does between orders nothing for the race detector
				bad.Store("")
				at, _, chunks := mountStore(t, 20, slowfs.Options{Fail: func(o slowfs.Op, path string) syscall.Errno {
					if o == op && path == bad.Load() {
						return errno
					}
					return 0
				}})
				const victim = 7
				bad.Store(filePath("", v13, chunks[victim]))
				got, err := ring(t, at, backend, v13).GetChunks(context.Background(), chunks)
				require.ErrorIs(t, err, errno)
				var failed *chunkring.BatchError
				require.True(t, errors.As(err, &failed))
				require.Len(t, failed.Failed, 1)
				require.Len(t, got, len(chunks)-1)
				for i, c := range got {
					want := chunks[i]
					if i >= victim {
						want = chunks[i+1]
					}
					require.Equal(t, want.ChunkRef, c.ChunkRef)
				}
			})
		})
	}
}

// One large chunk is many reads: what is left of them when the context ends is not made.
func TestFUSEOneChunkObeysItsContext(t *testing.T) {
	const pieces = 3
	if err := slowfs.Unavailable(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	x, err := chunkgen.Write(context.Background(), dir, chunkgen.Options{Count: 1, Size: pieces << 20, Codec: "none"}, nil)
	require.NoError(t, err)
	for name, end := range map[string]func() (context.Context, context.CancelFunc, error){
		"cancel": func() (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithCancel(context.Background())
			return ctx, cancel, context.Canceled
		},
		"deadline": func() (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			return ctx, cancel, context.DeadlineExceeded
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				ctx, cancel, want := end()
				defer cancel()
				at := t.TempDir()
				fs, err := slowfs.Mount(dir, at, slowfs.Options{DirectIO: true, Fail: func(o slowfs.Op, _ string) syscall.Errno {
					if o == slowfs.Read { // the first waits for the end
						if want == context.Canceled {
							cancel()
						}
						<-ctx.Done()
						time.Sleep(10 * time.Millisecond) // for AfterFunc's goroutine
					}
					return 0
				}})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, fs.Close()) })
				got, err := ring(t, at, backend, v13).GetChunks(ctx, []chunk.Chunk{x.Refs[0].Chunk()})
				require.ErrorIs(t, err, want)
				require.Empty(t, got)
				require.Less(t, fs.Counts().Files[x.Refs[0].Path].Bytes, int64(pieces-1)<<20)
			})
		})
	}
}

// Some file systems tell sizes that are not true: 0 for what is made when it is read, an old one where another
// machine wrote. Stock reads until the end, whatever the size.
func TestFUSESizesThatLie(t *testing.T) {
	for name, lie := range map[string]func(int64) int64{
		"0":      func(int64) int64 { return 0 },
		"half":   func(n int64) int64 { return n / 2 },
		"double": func(n int64) int64 { return 2 * n },
	} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				at, fs, chunks := mountStore(t, 40, slowfs.Options{DirectIO: true, Size: func(_ string, n int64) int64 { return lie(n) }})
				requireAsStock(t, at, fs, backend, chunks)
			})
		})
	}
}

// A query opens each file once where an open asks a server, however many blocks it reads, and gets what it gets from
// whole chunks. Every file is closed when the client stops, also one whose blocks nobody has read.
func TestAQueryOpensAFileOnce(t *testing.T) {
	if err := slowfs.Unavailable(); err != nil {
		t.Skip(err)
	}
	forceEnds(t)
	dir, path, ref, _ := bigStore(t, compression.Snappy)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		at := t.TempDir()
		fs, err := slowfs.Mount(dir, at, slowfs.Options{CacheTime: time.Hour, KeepCache: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, fs.Close(), "a client that stopped left a file of the mount open") })
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		c, reg, _ := partialClient(t, chunkring.Config{Directory: at, Backend: backend})
		whole, err := c.GetChunks(context.Background(), []chunk.Chunk{ref})
		require.NoError(t, err)
		ctx := marked(context.Background())
		want := allLines(ctx, t, whole[0])
		for round := 1; round <= 2; round++ {
			require.NoError(t, fs.Forget())
			fs.Reset()
			got, err := c.GetChunks(ctx, []chunk.Chunk{ref})
			require.NoError(t, err)
			require.Equal(t, want, allLines(ctx, t, got[0]))
			require.Equal(t, 1, fs.Counts().Files[name].Opens)
			blocks := counted(t, reg, "chunkring_blocks_read_total", "")
			require.Greater(t, blocks, float64(2*round))
			// Its blocks were all read: it is closed, and opened again for who comes later.
			require.Equal(t, want, allLines(ctx, t, got[0]))
			require.Equal(t, 1+counted(t, reg, "chunkring_blocks_read_total", "")-blocks, float64(fs.Counts().Files[name].Opens))
		}
		_, err = c.GetChunks(ctx, []chunk.Chunk{ref})
		require.NoError(t, err)
	})
}
