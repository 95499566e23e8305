// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/util"

	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

// BenchmarkReadAndChecksum compares what is left of a GetChunks without Loki's Decode: reading files
// into fresh garbage-collected buffers and checksumming them. Stock is Loki's own file client and
// its own pool of 150 goroutines around the buffer that its chunk client makes, and its two
// checksum passes. Run the names in turns with -count, and read it with benchstat.
func BenchmarkReadAndChecksum(b *testing.B) {
	const files = 100
	for _, size := range []int{4_000, 20_000, 235_000, 900_000, 1_650_000} {
		index := benchStore(b, files, size)
		chunks := index.Chunks()
		b.Run(fmt.Sprintf("size=%d/reader=stock", size), func(b *testing.B) {
			store, err := local.NewFSObjectClient(local.FSConfig{Directory: index.Dir()})
			require.NoError(b, err)
			b.SetBytes(index.Bytes())
			for b.Loop() {
				got, err := util.GetParallelChunks(context.Background(), 150, chunks,
					func(ctx context.Context, _ *chunk.DecodeContext, c chunk.Chunk) (chunk.Chunk, error) {
						return c, stockRead(ctx, store, client.FSEncoder(index.Schema(), c), c.Checksum)
					})
				require.NoError(b, err)
				require.Len(b, got, files)
			}
		})
		for _, backend := range []string{"uring", "threads"} {
			b.Run(fmt.Sprintf("size=%d/reader=%s", size, backend), func(b *testing.B) {
				r, err := core.Open(index.Dir(), core.Options{Backend: backend})
				require.NoError(b, err)
				defer r.Close()
				require.Equal(b, backend, r.Backend(), "figures of another back-end would be void")
				b.SetBytes(index.Bytes())
				for b.Loop() {
					list := make([]core.File, files)
					for i, ref := range index.Refs {
						list[i] = core.File{Path: ref.Path, CRC: uint32(ref.Checksum)}
					}
					_, err := r.Read(core.Batch{Files: list, Check: core.CheckCRC, Alloc: core.NewBuffer})
					require.NoError(b, err)
					for i := range list {
						if list[i].Status != core.OK {
							b.Fatal(list[i].Path, list[i].Status)
						}
					}
				}
			})
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func stockRead(ctx context.Context, store *local.FSObjectClient, key string, want uint32) error {
	r, size, err := store.GetObject(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()
	buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	for range 2 { // the file's, and then all blocks'
		if crc := crc32.Checksum(buf.Bytes(), castagnoli); crc != want {
			return fmt.Errorf("%s: crc %08x, want %08x", key, crc, want)
		}
	}
	return nil
}

// benchStore makes a store, or finds it in CHUNKRING_BENCH_DIR from the last time.
func benchStore(b *testing.B, files, size int) *chunkgen.Index {
	dir := os.Getenv("CHUNKRING_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	index, err := chunkgen.Write(context.Background(), filepath.Join(dir, fmt.Sprintf("%dx%d", files, size)),
		chunkgen.Options{Count: files, Size: size}, nil)
	require.NoError(b, err)
	return index
}
