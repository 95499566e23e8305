// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// Random calls against a bucket in memory, with damage, restarts and failing disks between them. After each:
// answers are the bucket's, the folder takes no more than it may, and the index knows what is there.
func TestModel(t *testing.T) {
	all := append(append(someChunks(t, 40, 1000), someChunks(t, 40, 9000)...), someChunks(t, 10, 50000)...)
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		o := originOf(t, all)
		cfg := configOf(t.TempDir())
		cfg.MaxBytes = bytesSize(150 << 10)
		cfg.MaxFiles = 25
		c := openClient(t, cfg, o)
		var failure error
		faulty(c, &failure)
		now := time.Now()
		later := func() time.Time { return now }
		setNow(c, later)
		written := 0.
		stale := false // the index may know of files that were deleted behind its back
		for range 400 {
			some := make([]chunk.Chunk, random.IntN(12))
			for i := range some {
				some[i] = all[random.IntN(len(all))]
			}
			one := all[random.IntN(len(all))]
			switch random.IntN(12) {
			case 0:
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_, err := c.GetChunks(ctx, refsOf(some))
				require.ErrorIs(t, err, context.Canceled)
			case 1:
				require.NoError(t, c.PutChunks(t.Context(), some))
			case 2:
				if err := c.DeleteChunk(t.Context(), "tenant", schema.ExternalKey(one.ChunkRef)); err != nil {
					require.ErrorIs(t, err, errNotFound)
				}
			case 3:
				if cut(c.fileOf(one), int64(random.IntN(500))) == nil {
					stale = true
				}
			case 4:
				if os.Remove(c.fileOf(one)) == nil {
					stale = true
				}
			case 5:
				failure = []error{nil, syscall.ENOSPC, syscall.EISDIR}[random.IntN(3)]
			case 6:
				if random.IntN(5) == 0 {
					written += value(c.metrics.written)
					c.Stop()
					c = openClient(t, cfg, o)
					faulty(c, &failure)
					setNow(c, later)
					stale = false
				}
			default:
				o.checkAnswer(t, c, some)
			}
			settle(t, c)
			now = now.Add(pauseMost)
			files, held := copies(t, cfg.Directory)
			require.LessOrEqual(t, held, uint64(cfg.MaxBytes))
			require.LessOrEqual(t, len(files), cfg.MaxFiles)
			known, bytes := c.index.held()
			require.GreaterOrEqual(t, bytes, held, "the index knows all that is there")
			if !stale {
				require.EqualValues(t, len(files), known)
				require.Equal(t, held, bytes)
			}
		}
		require.Greater(t, written+value(c.metrics.written), 100., "the trace tests something")
		c.Stop()
	}
}

// cut leaves n bytes of a file, and waits for the disk: until then btrfs counts what was cut off as well.
func cut(name string, n int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(n), f.Sync(), f.Close())
}

// checkAnswer compares an answer with what the bucket has. A copy of what the bucket has lost is an answer, too.
func (o *origin) checkAnswer(t *testing.T, c *Client, asked []chunk.Chunk) {
	t.Helper()
	got, err := c.GetChunks(t.Context(), refsOf(asked))
	if err != nil {
		require.ErrorIs(t, err, errNotFound)
	}
	n := 0
	for _, want := range asked {
		if n < len(got) && got[n].ChunkRef == want.ChunkRef {
			requireChunks(t, []chunk.Chunk{want}, got[n:n+1])
			n++
			continue
		}
		o.mu.Lock()
		require.Nil(t, o.objects[want.ChunkRef], "a chunk is missing")
		o.mu.Unlock()
	}
	require.Len(t, got, n)
}
