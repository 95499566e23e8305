// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	lokilog "github.com/grafana/loki/v3/pkg/logql/log"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// largeChunk has several blocks, and is large enough to be read by its ends.
func largeChunk(t testing.TB, lines int) chunk.Chunk {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	c, err := chunkgen.Build(chunkgen.Stream{Tenant: "tenant", Labels: labels.FromStrings("app", "large")},
		chunkgen.Encoding{Format: chunkenc.ChunkFormatV4, Codec: compression.Snappy, BlockBytes: 128 << 10},
		func(yield func(logproto.Entry) bool) {
			for i := range lines {
				e := logproto.Entry{Timestamp: time.Unix(1_700_000_000+int64(i), 0), Line: fmt.Sprintf("%x%x%x", random.Uint64(), random.Uint64(), random.Uint64())}
				if !yield(e) {
					return
				}
			}
		})
	require.NoError(t, err)
	return c
}

var wantsAll = chunkring.Wanted{From: time.Unix(0, 0), Through: time.Unix(1<<33, 0), All: true}

// blockPathOn switches on what reads blocks, for one test.
func blockPathOn(t *testing.T) {
	t.Helper()
	set := func(level string) {
		require.NoError(t, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockPath: level}, log.NewNopLogger(), prometheus.NewRegistry()))
	}
	set(chunkring.BlockPathFilter)
	t.Cleanup(func() { set(chunkring.BlockPathOff) })
}

// TestPartialReadOutlivesItsCopy: a query has read the ends of a copy, and the copy goes or is damaged before it comes
// to the blocks. Not a line is missing: the blocks come from the origin. (An unmodified Loki reads whole chunks: then
// there is nothing to go on to.)
func TestPartialReadOutlivesItsCopy(t *testing.T) {
	blockPathOn(t)
	_, patched := any(&chunk.Chunk{}).(interface {
		DecodeVerified(dc *chunk.DecodeContext, input []byte, blocksVerified bool) error
	})
	const lines = 20_000
	ctx := chunkring.WithWanted(context.Background(), wantsAll)
	for what, harm := range map[string]func(path string) error{
		"gone":     os.Remove,
		"cut":      func(path string) error { return os.Truncate(path, 5000) },
		"a folder": func(path string) error { _ = os.Remove(path); return os.Mkdir(path, 0o700) },
		"a flipped bit in each block": func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			size, err := f.Seek(0, io.SeekEnd)
			b := make([]byte, 1)
			for at := int64(20_000); err == nil && at < size-20_000; at += 20_000 {
				if _, err = f.ReadAt(b, at); err == nil {
					b[0] ^= 1
					_, err = f.WriteAt(b, at)
				}
			}
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			chunks := []chunk.Chunk{largeChunk(t, lines)}
			o := originOf(t, chunks)
			cfg := configOf(t.TempDir())
			cfg.PartialReads = true
			c := openClient(t, cfg, o)
			_, err := c.GetChunks(context.Background(), refsOf(chunks))
			require.NoError(t, err)
			settle(t, c)
			got, err := c.GetChunks(ctx, refsOf(chunks))
			require.NoError(t, err)
			require.Len(t, got, 1)
			o.requireGets(t, chunks, 1)
			require.NoError(t, harm(c.fileOf(chunks[0])))
			n := 0
			require.NoError(t, chunkgen.Lines(got[0], func(logproto.Entry) { n++ }))
			require.Equal(t, lines, n)
			if patched {
				require.Equal(t, 2, o.all(), "one more get, however many blocks")
			}
		})
	}
}

// TestBlockThatNobodyHas: neither a copy nor the origin gives a block. It is left out, and the log says so; with
// StrictBlocks the query fails.
func TestBlockThatNobodyHas(t *testing.T) {
	if _, patched := any(&chunk.Chunk{}).(interface {
		DecodeVerified(dc *chunk.DecodeContext, input []byte, blocksVerified bool) error
	}); !patched {
		t.Skip("built with an unmodified Loki, which reads whole chunks only: see make test-loki-src")
	}
	blockPathOn(t)
	for _, strict := range []bool{false, true} {
		chunks := []chunk.Chunk{largeChunk(t, 20_000)}
		o := originOf(t, chunks)
		cfg := configOf(t.TempDir())
		cfg.PartialReads, cfg.StrictBlocks = true, strict
		var said bytes.Buffer
		reg := prometheus.NewRegistry()
		c, err := New(cfg, o, schema, bucket, log.NewLogfmtLogger(log.NewSyncWriter(&said)), reg)
		require.NoError(t, err)
		_, err = c.GetChunks(context.Background(), refsOf(chunks))
		require.NoError(t, err)
		settle(t, c)
		ctx := chunkring.WithWanted(context.Background(), wantsAll)
		got, err := c.GetChunks(ctx, refsOf(chunks))
		require.NoError(t, err)
		require.NoError(t, os.Remove(c.fileOf(chunks[0])))
		o.hook(func(context.Context, logproto.ChunkRef) error { return errors.New("503 slow down") })
		n := 0
		require.NoError(t, linesOf(ctx, got[0], func() { n++ }))
		require.Zero(t, n)
		require.Equal(t, strict, chunkring.BlockError(ctx) != nil)
		c.Stop() // the writer may log, too
		require.Contains(t, said.String(), "reading a block failed")
		require.Contains(t, said.String(), "the object store does not give the chunk")
		require.Contains(t, said.String(), "503 slow down")
		require.EqualValues(t, 1, exported(t, reg)["chunkring_chunks_partly_read_total"])
		require.Positive(t, exported(t, reg)["chunkring_bytes_not_read_total"])
		require.Positive(t, exported(t, reg)["chunkring_blocks_unreadable_total"])
	}
}

// linesOf iterates all of a chunk as a query with this context does.
func linesOf(ctx context.Context, c chunk.Chunk, each func()) error {
	it, err := c.Data.(*chunkenc.Facade).LokiChunk().Iterator(ctx, time.Unix(0, 0), time.Unix(1<<33, 0), logproto.FORWARD,
		lokilog.NewNoopPipeline().ForStream(labels.EmptyLabels()))
	if err != nil {
		return err
	}
	for it.Next() {
		each()
	}
	_ = it.Err() // Loki's batch iterator asks BlockError instead
	return it.Close()
}
