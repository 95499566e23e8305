// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// BenchmarkBusy reads as a Loki that has queries to run: each query fetches batches of 50 chunks, one
// batch ahead, and works on each for a while. What a read takes alone says little here: a thread
// that has to wait for a processor inside a read holds up its query.
func BenchmarkBusy(b *testing.B) {
	for _, size := range []int{4_000, 900_000} {
		for _, work := range []time.Duration{0, 500 * time.Microsecond, 10 * time.Millisecond} {
			for _, queries := range []int{1, 8} {
				for _, name := range []string{"stock", "uring", "threads"} {
					b.Run(fmt.Sprintf("size=%d/work=%v/queries=%d/%s", size, work, queries, name), func(b *testing.B) {
						benchBusy(b, name, size, queries, work)
					})
				}
			}
		}
	}
}

func benchBusy(b *testing.B, name string, size, queries int, work time.Duration) {
	const batch = 50 // Loki's max_chunk_batch_size
	x := benchStore(b, size)
	chunks := x.Chunks()
	read := benchClient(b, name, x.Dir())
	read(b, chunks) // into the page cache
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range queries {
		fetched := make(chan []chunk.Chunk)
		go func() {
			defer close(fetched)
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				first := int(i) * batch % (len(chunks) - batch)
				read(b, chunks[first:first+batch])
				fetched <- chunks[first : first+batch]
			}
		}()
		wg.Go(func() {
			for range fetched {
				spin(work)
			}
		})
	}
	wg.Wait()
}

// spin works for about d on a processor of its own, so for longer on a shared one.
func spin(d time.Duration) {
	x := uint64(88172645463325252)
	for range int(d.Nanoseconds()) * 2 / 3 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	spun.Store(x)
}

var spun atomic.Uint64 // else the compiler would leave spin's work out
