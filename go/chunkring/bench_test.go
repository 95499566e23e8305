// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// benchDirEnv names a directory for the stores, which are kept there for the next run. Without it
// they are made anew each time.
const benchDirEnv = "CHUNKRING_BENCH_DIR"

var benchSizes = []struct {
	name  string
	bytes int
}{{"4KB", 4_000}, {"20KB", 20_000}, {"235KB", 235_000}, {"900KB", 900_000}, {"1650KB", 1_650_000}}

var benchFiles = []int{1, 10, 100, 500}

// benchFilesMax bounds the stores to about 160 MB each.
func benchFilesMax(size int) int { return min(500, 165_000_000/size) }

// BenchmarkGetChunks reads warm stores with Loki's client and with each of ours. Compare with
//
//	go test ./go/chunkring -run '^$' -bench GetChunks -count 10 > new.txt
//	benchstat new.txt
func BenchmarkGetChunks(b *testing.B) {
	for _, name := range []string{"stock", "uring", "threads", "uring-pooled"} {
		b.Run(name, func(b *testing.B) {
			for _, files := range benchFiles {
				for _, size := range benchSizes {
					if files > benchFilesMax(size.bytes) {
						continue
					}
					b.Run(fmt.Sprintf("files=%d/size=%s", files, size.name), func(b *testing.B) {
						benchGetChunks(b, name, files, size.bytes)
					})
				}
			}
		})
	}
}

func benchGetChunks(b *testing.B, name string, files, size int) {
	x := benchStore(b, size)
	chunks := x.Chunks()[:files]
	read := benchClient(b, name, x.Dir())
	total := 0
	for _, r := range x.Refs[:files] {
		total += r.Size
	}
	read(b, chunks) // into the page cache
	b.SetBytes(int64(total))
	b.ReportAllocs()
	for b.Loop() {
		read(b, chunks)
	}
}

// BenchmarkOneSmallChunk is what a call costs that reads next to nothing, as Loki calls it: with
// metrics, and a context that can end.
func BenchmarkOneSmallChunk(b *testing.B) {
	x := benchStore(b, 4_000)
	chunks := x.Chunks()[:1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, backend := range []string{chunkring.BackendURing, chunkring.BackendThreads} {
		b.Run(backend, func(b *testing.B) {
			if why := uringRefusal(); backend == chunkring.BackendURing && why != "" {
				b.Skip(why)
			}
			c, err := chunkring.New(chunkring.Config{Directory: x.Dir(), Backend: backend}, v13, nil, prometheus.NewRegistry())
			require.NoError(b, err)
			defer c.Stop()
			b.ReportAllocs()
			for b.Loop() {
				if out, err := c.GetChunks(ctx, chunks); err != nil || len(out) != 1 {
					b.Fatalf("%d chunks: %v", len(out), err)
				}
			}
		})
	}
}

// benchStores are the stores of this run by size of file.
var benchStores = map[int]*chunkgen.Index{}

func benchStore(b *testing.B, size int) *chunkgen.Index {
	b.Helper()
	if x := benchStores[size]; x != nil {
		return x
	}
	dir := os.Getenv(benchDirEnv)
	if dir == "" {
		// Not b.TempDir, which goes with this one benchmark; TestMain removes it.
		benchTemp = append(benchTemp, must(os.MkdirTemp("", "chunkring-bench-")))
		dir = benchTemp[len(benchTemp)-1]
	}
	x, err := chunkgen.Write(context.Background(), filepath.Join(dir, fmt.Sprintf("store-%d", size)),
		chunkgen.Options{Count: benchFilesMax(size), Size: size}, nil)
	require.NoError(b, err)
	benchStores[size] = x
	return x
}

var benchTemp []string

func TestMain(m *testing.M) {
	syscall.Umask(0o022) // children that become nobody read what tests write
	code := m.Run()
	for _, dir := range benchTemp {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func benchClient(b *testing.B, name, dir string) func(b *testing.B, chunks []chunk.Chunk) {
	b.Helper()
	plain := func(c client.Client) func(b *testing.B, chunks []chunk.Chunk) {
		return func(b *testing.B, chunks []chunk.Chunk) {
			out, err := c.GetChunks(context.Background(), chunks)
			if err != nil || len(out) != len(chunks) {
				b.Fatalf("%d of %d chunks: %v", len(out), len(chunks), err)
			}
		}
	}
	ours := func(backend string) *chunkring.Client {
		if why := uringRefusal(); backend == chunkring.BackendURing && why != "" {
			b.Skip(why)
		}
		return ring(b, dir, backend, v13) // which asserts the back-end
	}
	switch name {
	case "stock":
		return plain(stock(b, dir, v13))
	case "uring-pooled":
		c := ours(chunkring.BackendURing)
		return func(b *testing.B, chunks []chunk.Chunk) {
			batch, err := c.GetChunksPooled(context.Background(), chunks)
			if err != nil || len(batch.Chunks) != len(chunks) {
				b.Fatalf("%d of %d chunks: %v", len(batch.Chunks), len(chunks), err)
			}
			batch.Release()
		}
	}
	return plain(ours(name))
}
