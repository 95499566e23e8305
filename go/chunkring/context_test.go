// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

func TestContextOver(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		canceled, cancel := context.WithCancel(context.Background())
		cancel()
		late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Hour))
		defer cancel()
		why := errors.New("the user closed the window")
		caused, cancelCause := context.WithCancelCause(context.Background())
		cancelCause(why)
		for _, e := range []struct {
			ctx  context.Context
			want []error
		}{
			{canceled, []error{context.Canceled}},
			{late, []error{context.DeadlineExceeded}},
			{caused, []error{context.Canceled}},
		} {
			for _, n := range []int{1, 2, len(chunks)} {
				out, err := c.GetChunks(e.ctx, chunks[:n])
				require.Empty(t, out)
				for _, want := range e.want {
					require.ErrorIs(t, err, want)
				}
				require.False(t, c.IsChunkNotFoundErr(err))
				var be *chunkring.BatchError
				require.ErrorAs(t, err, &be)
				require.Len(t, be.Failed, n)
				b, err := c.GetChunksPooled(e.ctx, chunks[:n])
				require.ErrorIs(t, err, e.want[0])
				b.Release()
			}
			require.ErrorIs(t, c.PutChunks(e.ctx, must(c.GetChunks(context.Background(), chunks[:1]))), e.want[0])
		}
	})
}

// coldStore makes n chunks of about a megabyte and drops them from the page cache.
func coldStore(t testing.TB, n int) (dir string, chunks []chunk.Chunk, cool func()) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 1<<16)
	c, err := chunkgen.Build(chunkgen.Stream{Tenant: "fake", Labels: labels.FromStrings("app", "cold")},
		chunkgen.Encoding{Format: 4, Codec: compression.None, BlockBytes: 1 << 18},
		func(yield func(logproto.Entry) bool) {
			for i := range 16 {
				for k := range noise {
					noise[k] = byte('a' + r.IntN(26))
				}
				if !yield(logproto.Entry{Timestamp: time.Unix(1_700_000_000+int64(i), 0), Line: string(noise)}) {
					return
				}
			}
		})
	require.NoError(t, err)
	base := sample{"cold", chunk.Chunk{ChunkRef: c.ChunkRef}, must(c.Encoded())}
	dir = t.TempDir()
	var names []string
	for i := range n {
		s := forTenant(t, base, fmt.Sprintf("t%d", i))
		names = append(names, place(t, dir, v13, s.ref, s.bytes))
		chunks = append(chunks, s.ref)
	}
	cool = func() {
		for _, name := range names {
			f, err := os.Open(name)
			require.NoError(t, err)
			require.NoError(t, unix.Fdatasync(int(f.Fd())))
			require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			f.Close()
		}
	}
	return dir, chunks, cool
}

// Cancelled at any moment, GetChunks returns soon, with each chunk either good or failed for the
// reason that it was cancelled; and no buffer changes any more.
func TestContextEndsDuring(t *testing.T) {
	dir, chunks, cool := coldStore(t, 60)
	want := map[logproto.ChunkRef]uint32{}
	for _, c := range chunks {
		want[c.ChunkRef] = c.Checksum
	}
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		cutShort := 0
		for round := range 8 {
			cool()
			var ctx context.Context
			var cancel context.CancelFunc
			after := time.Duration(round) * 2 * time.Millisecond
			ended := make(chan time.Time, 1)
			if round%2 == 0 {
				ctx, cancel = context.WithCancel(context.Background())
				time.AfterFunc(after, func() { ended <- time.Now(); cancel() })
			} else {
				ctx, cancel = context.WithTimeout(context.Background(), after)
				time.AfterFunc(after, func() { ended <- time.Now() })
			}
			out, err := c.GetChunks(ctx, chunks)
			back := time.Now()
			if err != nil {
				cutShort++
				var be *chunkring.BatchError
				require.ErrorAs(t, err, &be)
				require.Equal(t, len(chunks), len(out)+len(be.Failed))
				for _, f := range be.Failed {
					require.True(t, errors.Is(f.Err, context.Canceled) || errors.Is(f.Err, context.DeadlineExceeded), "%v", f)
				}
				require.ErrorIs(t, err, ctx.Err())
				require.Less(t, back.Sub(<-ended), time.Second) // 100 ms on a machine of one's own
			}
			for i := range out {
				b := bytes.Clone(encoded(t, &out[i]))
				require.Equal(t, want[out[i].ChunkRef], chunkgen.CRC(b))
			}
			cancel()
		}
		require.Positive(t, cutShort)
		t.Logf("%d of 8 batches were cut short", cutShort)
		out, err := c.GetChunks(context.Background(), chunks) // nothing is left of it
		require.NoError(t, err)
		require.Len(t, out, len(chunks))
	})
}

// A context that cannot end starts nothing that watches it.
func TestContextWithoutEnd(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	c := ring(t, dir, "", v13)
	type key struct{}
	ctx := context.WithValue(context.Background(), key{}, "x")
	out, err := c.GetChunks(ctx, chunks)
	require.NoError(t, err)
	require.Len(t, out, len(chunks))
}
