// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// Scans that are ten times as large as the cache pass beside a hot set: nine tenths of its hits stay. (FIFO and LRU
// keep none of them here: between two looks at a hot chunk as many others come as the cache has room for.)
func TestScansLeaveTheHotSet(t *testing.T) {
	const (
		room   = 100 // copies that fit
		hotSet = 60
		perHot = 2 // chunks of a scan for each look at a hot one
		rounds = 10
		warmUp = 3
	)
	chunks := someChunks(t, hotSet+rounds*hotSet*perHot, 1000) // a block of the file system each
	hot, scan := chunks[:hotSet], chunks[hotSet:]
	require.Greater(t, len(scan), 10*room)
	cfg := configOf(t.TempDir())
	cfg.MaxBytes = bytesSize(room * blockBytes)
	cfg.MaxFiles = 2 * room
	c := openClient(t, cfg, originOf(t, chunks))
	hits := 0
	look := func(one chunk.Chunk) (hit bool) {
		before := value(c.metrics.chunks[resultHit])
		get(t, c, []chunk.Chunk{one})
		settle(t, c) // so that what happens does not depend on how fast the writer is
		return value(c.metrics.chunks[resultHit]) > before
	}
	for round := range warmUp {
		for i := range hot {
			require.Equal(t, round > 0, look(hot[i]), "the hot set fits")
		}
	}
	for range rounds {
		for i := range hot {
			if look(hot[i]) {
				hits++
			}
			for range perHot {
				require.False(t, look(scan[0]))
				scan = scan[1:]
			}
		}
	}
	require.Empty(t, scan)
	files, _ := copies(t, cfg.Directory)
	require.LessOrEqual(t, len(files), room)
	t.Logf("%d of %d hits stay", hits, rounds*hotSet)
	require.GreaterOrEqual(t, hits, rounds*hotSet*9/10)
}
