// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package chunkring_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// A crossing costs as much as reading a few KB, so it must not grow with the batch.
func TestOneCallAnyBatch(t *testing.T) {
	dir, chunks := goodStore(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, dir, backend, v13)
		calls := func(n int, do func(batch []chunk.Chunk)) int64 {
			batch := make([]chunk.Chunk, n)
			for i := range batch {
				batch[i] = chunks[i%len(chunks)]
			}
			before := runtime.NumCgoCall()
			do(batch)
			return runtime.NumCgoCall() - before
		}
		for _, n := range []int{1, 2, 50, 2000} {
			got := calls(n, func(batch []chunk.Chunk) {
				out, err := c.GetChunks(context.Background(), batch)
				require.NoError(t, err)
				require.Len(t, out, n)
			})
			require.EqualValues(t, 1, got, "GetChunks of %d", n)

			got = calls(n, func(batch []chunk.Chunk) {
				b, err := c.GetChunksPooled(context.Background(), batch)
				require.NoError(t, err)
				require.Len(t, b.Chunks, n)
				b.Release()
			})
			require.EqualValues(t, 1, got, "GetChunksPooled of %d", n)
		}
		require.EqualValues(t, 0, calls(0, func(batch []chunk.Chunk) {
			out, err := c.GetChunks(context.Background(), batch)
			require.NoError(t, err)
			require.Empty(t, out)
		}), "nothing to read")
		require.EqualValues(t, 1, calls(50, func(batch []chunk.Chunk) {
			for i := range batch {
				batch[i].UserID = fmt.Sprintf("nobody-%d", i)
			}
			_, err := c.GetChunks(context.Background(), batch)
			require.Error(t, err)
		}), "all of them failing")
	})
}
