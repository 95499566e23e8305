// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// periods makes a schema configuration whose periods begin at the given times.
func periods(t testing.TB, of map[int64]string) config.SchemaConfig {
	t.Helper()
	var all config.SchemaConfig
	for from, version := range of {
		p := chunkgen.Schema(version).Configs[0]
		p.From = config.DayTime{Time: model.Time(from)}
		all.Configs = append(all.Configs, p)
	}
	slices.SortFunc(all.Configs, func(a, b config.PeriodConfig) int { return int(a.From.Time - b.From.Time) })
	return all
}

// Every format, codec and layout of testdata/good, in flat and nested stores, read by both.
func TestSameAsStock(t *testing.T) {
	from := int64(goodSamples()[0].ref.From)
	schemas := map[string]config.SchemaConfig{
		"v9":                                     chunkgen.Schema("v9"),
		"v11":                                    chunkgen.Schema("v11"),
		"v12":                                    chunkgen.Schema("v12"),
		"v13":                                    chunkgen.Schema("v13"),
		"v11 then v13 from the chunks' begin on": periods(t, map[int64]string{0: "v11", from: "v13"}),
		"v13 ends before the chunks":             periods(t, map[int64]string{0: "v13", from: "v11", from + 1: "v12"}),
		"chunks before the first period":         periods(t, map[int64]string{from + 1: "v13"}),
	}
	for name, schema := range schemas {
		t.Run(name, func(t *testing.T) {
			make := lightStore
			if name == "v13" { // what is inside is the same wherever the file lies
				make = goodStore
			}
			dir, chunks := make(t, schema)
			answer, err := stock(t, dir, schema).GetChunks(context.Background(), chunks)
			require.NoError(t, err)
			want := byKey(t, answer)
			require.Equal(t, len(chunks), len(want))
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				c := ring(t, dir, backend, schema)
				requested := slices.Clone(chunks)
				rand.Shuffle(len(requested), func(i, j int) { requested[i], requested[j] = requested[j], requested[i] })
				requested = append(requested, requested[:9]...) // and some twice
				got, err := c.GetChunks(context.Background(), requested)
				require.NoError(t, err)
				requireAnswer(t, want, requested, got)
				b, err := c.GetChunksPooled(context.Background(), requested)
				require.NoError(t, err)
				requireAnswer(t, want, requested, b.Chunks)
				b.Release()
			})
		})
	}
}

// Chunks of one store on both sides of a period's begin.
func TestSameAsStockAcrossPeriods(t *testing.T) {
	base := sampleNamed(t, "v4-snappy")
	schema := periods(t, map[int64]string{int64(base.ref.From) - 2: "v11", int64(base.ref.From): "v12", int64(base.ref.From) + 2: "v10", int64(base.ref.From) + 3: "v13"})
	dir := t.TempDir()
	var chunks []chunk.Chunk
	for shift := int64(-4); shift <= 4; shift++ {
		p, err := chunkgen.Split(base.bytes)
		require.NoError(t, err)
		json, err := p.JSON()
		require.NoError(t, err)
		oldFrom := fmt.Appendf(nil, `"from":%s`, model.Time(base.ref.From).String())
		newFrom := fmt.Appendf(nil, `"from":%s`, model.Time(int64(base.ref.From)+shift).String())
		require.Contains(t, string(json), string(oldFrom))
		require.NoError(t, p.SetJSON([]byte(replaceOnce(string(json), string(oldFrom), string(newFrom)))))
		b := p.Join()
		ref := base.ref
		ref.From, ref.Checksum = base.ref.From+model.Time(shift), chunkgen.CRC(b)
		place(t, dir, schema, ref, b)
		chunks = append(chunks, ref)
	}
	answer, err := stock(t, dir, schema).GetChunks(context.Background(), chunks)
	require.NoError(t, err)
	eachBackend(t, func(t *testing.T, backend string) {
		got, err := ring(t, dir, backend, schema).GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		requireAnswer(t, byKey(t, answer), chunks, got)
	})
}

func replaceOnce(s, old, new string) string {
	for i := 0; i+len(old) <= len(s); i++ {
		if s[i:i+len(old)] == old {
			return s[:i] + new + s[i+len(old):]
		}
	}
	return s
}

// bigBatch is the store of the tests with many chunks: 5000 of about 1 KB.
const bigBatch = 5000

func TestBatchSizes(t *testing.T) {
	dir, chunks := smallStore(t, v13, bigBatch)
	answer, err := stock(t, dir, v13).GetChunks(context.Background(), chunks)
	require.NoError(t, err)
	want := byKey(t, answer)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		for _, n := range []int{1, 2, 3, 8, 9, 16, 17, 32, 33, 65, 500, 1024, 1025, bigBatch} {
			begin := rand.IntN(bigBatch - n + 1)
			requested := chunks[begin : begin+n]
			got, err := c.GetChunks(context.Background(), requested)
			require.NoError(t, err, "batch of %d", n)
			requireAnswer(t, want, requested, got)
		}
	})
}

// Batches of random sizes from many callers at once, with duplicates, plain and pooled.
func TestConcurrentCallers(t *testing.T) {
	dir, chunks := smallStore(t, v13, 200)
	answer, err := stock(t, dir, v13).GetChunks(context.Background(), chunks)
	require.NoError(t, err)
	want := byKey(t, answer)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		for _, callers := range []int{1, 2, 8, 32} {
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(caller), 1))
					for range 2 {
						requested := make([]chunk.Chunk, 1+r.IntN(60))
						for i := range requested {
							requested[i] = chunks[r.IntN(len(chunks))]
						}
						if r.IntN(3) == 0 {
							b, err := c.GetChunksPooled(context.Background(), requested)
							if checkAnswer(t, want, requested, b.Chunks, err) {
								b.Release()
							}
							continue
						}
						got, err := c.GetChunks(context.Background(), requested)
						checkAnswer(t, want, requested, got, err)
					}
				})
			}
			wg.Wait()
		}
	})
}

// checkAnswer is requireAnswer for goroutines that are not the test's.
func checkAnswer(t *testing.T, want map[logproto.ChunkRef]view, requested, got []chunk.Chunk, err error) bool {
	t.Helper()
	if err != nil || len(got) != len(requested) {
		t.Errorf("%d of %d chunks: %v", len(got), len(requested), err)
		return false
	}
	for i := range got {
		w := want[requested[i].ChunkRef]
		if d := difference(w, likeView(t, w, got[i])); d != "" {
			t.Errorf("chunk %d is not %v as stock read it: %s", i, requested[i].ChunkRef, d)
			return false
		}
	}
	return true
}

// What a batch returned stays what it is, whatever is read later and however often memory is
// collected.
func TestChunksStayValid(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, dir, backend, v13)
		first, err := c.GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		before := views(t, first)
		for range 10 {
			_, err := c.GetChunks(context.Background(), chunks)
			require.NoError(t, err)
			b, err := c.GetChunksPooled(context.Background(), chunks)
			require.NoError(t, err)
			b.Release()
			runtime.GC()
			_ = make([]byte, 1<<20)
		}
		for i := range first {
			require.True(t, equalView(before[i], viewOf(t, first[i])), "chunk %d changed", i)
		}
		c.Stop()
		for i := range first {
			require.True(t, equalView(before[i], viewOf(t, first[i])), "chunk %d changed with Stop", i)
		}
	})
}

// Loki writes into chunks' bytes (compactor) and keeps them by reference (chunk cache).
func TestBytesBelongToTheCaller(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	chunks = append(chunks, chunks[:20]...) // the same chunk twice in a batch is two buffers
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, dir, backend, v13)
		reference, err := c.GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		want := views(t, reference)

		first, err := c.GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		second, err := c.GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		requireOwnBuffers(t, slices.Concat(reference, first, second))
		for i := range first {
			b := encoded(t, &first[i])
			for k := range b {
				b[k] = 0xA5
			}
		}
		third, err := c.GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		for _, batch := range [][]chunk.Chunk{reference, second, third} {
			for i := range batch {
				require.True(t, equalView(want[i], viewOf(t, batch[i])), "chunk %d changed", i)
			}
		}
	})
}

// requireOwnBuffers: each chunk has an allocation of its own, exactly as long as its file.
func requireOwnBuffers(t *testing.T, chunks []chunk.Chunk) {
	t.Helper()
	type span struct{ from, to uintptr }
	spans := make([]span, len(chunks))
	for i := range chunks {
		b := encoded(t, &chunks[i])
		require.NotEmpty(t, b)
		require.Equal(t, len(b), cap(b), "chunk %d", i)
		spans[i] = span{address(b), address(b) + uintptr(cap(b))}
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.from < b.from {
			return -1
		}
		return 1
	})
	for i := 1; i < len(spans); i++ {
		require.LessOrEqual(t, spans[i-1].to, spans[i].from, "two chunks share bytes")
	}
	runtime.KeepAlive(chunks)
}

// Requests are not changed, whatever comes of them.
func TestRequestStaysUntouched(t *testing.T) {
	dir, chunks := goodStore(t, v13)
	chunks[3].UserID = "nobody"
	before := slices.Clone(chunks)
	eachBackend(t, func(t *testing.T, backend string) {
		_, err := ring(t, dir, backend, v13).GetChunks(context.Background(), chunks)
		require.Error(t, err)
		require.Equal(t, before, chunks)
	})
}

// A batch of thousands must not hold up a batch of one for as long as it takes itself.
func TestSmallBatchBesideBigOnes(t *testing.T) {
	dir, chunks := smallStore(t, v13, 1000)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, dir, backend, v13)
		stop := make(chan struct{})
		var big sync.WaitGroup
		for range 2 {
			big.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := c.GetChunks(context.Background(), chunks); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var worst time.Duration
		for i := range 30 {
			begin := time.Now()
			_, err := c.GetChunks(context.Background(), chunks[i:i+1])
			require.NoError(t, err)
			worst = max(worst, time.Since(begin))
		}
		close(stop)
		big.Wait()
		t.Logf("worst of 30 single reads beside two batches of 1000: %v", worst)
		require.Less(t, worst, 2*time.Second) // generous: shared machines, race detector
	})
}
