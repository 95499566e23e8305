// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
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

// forceEnds has chunks of every size read by their ends, for one test.
func forceEnds(t *testing.T) {
	t.Helper()
	if !blockPathPatched() {
		t.Skip("built with an unmodified Loki, which reads whole chunks only: see make test-loki-src")
	}
	chunkring.SetEndsAlways(true)
	t.Cleanup(func() { chunkring.SetEndsAlways(false) })
}

// marked is the context of a query that wants everything.
func marked(ctx context.Context) context.Context {
	return chunkring.WithWanted(ctx, chunkring.Wanted{From: time.Unix(0, 0), Through: time.Unix(1<<33, 0), All: true})
}

// partialClient is a client whose metrics and log lines the test sees.
func partialClient(t *testing.T, cfg chunkring.Config) (*chunkring.Client, *prometheus.Registry, *logLines) {
	t.Helper()
	reg, lines := prometheus.NewRegistry(), &logLines{}
	c, err := chunkring.New(cfg, v13, log.Logger(lines), reg)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c, reg, lines
}

// counted is the value of a counter, with the label value if there is one.
func counted(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if len(m.Label) == 0 || m.Label[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	require.Fail(t, "no such counter", "%s %s", name, label)
	return 0
}

// bigChunk makes a chunk of several blocks; its lines can hardly be compressed.
func bigChunk(t *testing.T, codec compression.Codec, format byte, lines, blockBytes int) chunk.Chunk {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, uint64(codec)))
	c, err := chunkgen.Build(chunkgen.Stream{Tenant: "fake", Labels: labels.FromStrings("app", "big", "codec", codec.String())},
		chunkgen.Encoding{Format: format, Codec: codec, BlockBytes: blockBytes},
		func(yield func(logproto.Entry) bool) {
			for i := range lines {
				e := logproto.Entry{
					Timestamp:          time.Unix(1_700_000_000+int64(i), 0),
					Line:               fmt.Sprintf("line %d %x%x", i, rnd.Uint64(), rnd.Uint64()),
					StructuredMetadata: []logproto.LabelAdapter{{Name: "trace", Value: fmt.Sprint(i % 7)}},
				}
				if !yield(e) {
					return
				}
			}
		})
	require.NoError(t, err)
	return c
}

// bigStore puts one chunk into a store.
func bigStore(t *testing.T, codec compression.Codec) (dir, path string, ref chunk.Chunk, whole []byte) {
	t.Helper()
	return bigStoreOf(t, codec, 4)
}

func bigStoreOf(t *testing.T, codec compression.Codec, format byte) (dir, path string, ref chunk.Chunk, whole []byte) {
	t.Helper()
	c := bigChunk(t, codec, format, 2000, 8<<10)
	whole, err := c.Encoded()
	require.NoError(t, err)
	dir = t.TempDir()
	return dir, place(t, dir, v13, c, whole), chunk.Chunk{ChunkRef: c.ChunkRef}, whole
}

// partOf reads a chunk's lines as a query does. Errors of single blocks are what the iterator makes of them.
func partOf(ctx context.Context, t *testing.T, c chunk.Chunk, from, through time.Time, direction logproto.Direction) []string {
	t.Helper()
	pipeline := lokilog.NewNoopPipeline().ForStream(labels.EmptyLabels())
	it, err := c.Data.(*chunkenc.Facade).LokiChunk().Iterator(ctx, from, through, direction, pipeline)
	require.NoError(t, err)
	var lines []string
	for it.Next() {
		e := it.At()
		lines = append(lines, fmt.Sprint(e.Timestamp.UnixNano(), e.Line, e.StructuredMetadata))
	}
	require.NoError(t, it.Close())
	return lines
}

func allLines(ctx context.Context, t *testing.T, c chunk.Chunk) []string {
	return partOf(ctx, t, c, time.Unix(0, 0), time.Unix(1<<33, 0), logproto.FORWARD)
}

// TestPartlyReadChunksAreTheSame: every good chunk, of every codec and format, read by its ends, is what it is
// when it is read whole, and its bytes are those of the file.
func TestPartlyReadChunksAreTheSame(t *testing.T) {
	forceEnds(t)
	dir, refs := lightStore(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		for _, seal := range []string{chunkring.SealOff, chunkring.SealResident, chunkring.SealAlways} {
			c, reg, _ := partialClient(t, chunkring.Config{Directory: dir, Backend: backend, Seal: seal})
			want, err := c.GetChunks(context.Background(), refs)
			require.NoError(t, err)
			require.Zero(t, counted(t, reg, "chunkring_chunks_partly_read_total", ""), "nobody marked it")
			for range 2 { // the second time with seals that are known
				got, err := c.GetChunks(marked(context.Background()), refs)
				require.NoError(t, err)
				requireAnswer(t, byKey(t, want), refs, got)
			}
			require.Greater(t, counted(t, reg, "chunkring_chunks_partly_read_total", ""), float64(len(refs)))
			require.NotZero(t, counted(t, reg, "chunkring_blocks_read_total", ""))
			require.NotZero(t, counted(t, reg, "chunkring_bytes_not_read_total", ""))
			require.NotZero(t, counted(t, reg, "chunkring_block_bytes_read_total", ""))
			for _, reason := range []string{"not_found", "short", "checksum", "refused", "decode", "io"} {
				require.Zero(t, counted(t, reg, "chunkring_blocks_unreadable_total", reason))
			}
		}
	})
}

// TestPartsOfPartlyReadChunks: random bounds, both directions.
func TestPartsOfPartlyReadChunks(t *testing.T) {
	forceEnds(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, codec := range []compression.Codec{compression.None, compression.GZIP, compression.Snappy, compression.Flate, compression.LZ4_64k, compression.Zstd} {
		dir, _, ref, _ := bigStore(t, codec)
		c, reg, _ := partialClient(t, chunkring.Config{Directory: dir})
		whole, err := c.GetChunks(context.Background(), []chunk.Chunk{ref})
		require.NoError(t, err)
		for range 10 {
			from := time.Unix(1_700_000_000+rnd.Int64N(2000), 0)
			through := from.Add(time.Duration(rnd.Int64N(2000)) * time.Second)
			direction := []logproto.Direction{logproto.FORWARD, logproto.BACKWARD}[rnd.IntN(2)]
			ctx := chunkring.WithWanted(context.Background(), chunkring.Wanted{From: from, Through: through,
				Backward: direction == logproto.BACKWARD, All: rnd.IntN(2) == 0})
			before := counted(t, reg, "chunkring_block_bytes_read_total", "")
			got, err := c.GetChunks(ctx, []chunk.Chunk{ref})
			require.NoError(t, err)
			want := partOf(context.Background(), t, whole[0], from, through, direction)
			require.Equal(t, want, partOf(ctx, t, got[0], from, through, direction), codec)
			blocks := len(whole[0].Data.(*chunkenc.Facade).LokiChunk().Blocks(from, through))
			require.LessOrEqual(t, counted(t, reg, "chunkring_block_bytes_read_total", "")-before, float64(blocks*16<<10),
				"no block is read that has nothing for the query")
		}
	}
}

// TestWhoGetsWholeChunks: whoever did not ask, or switched it off; and files that are not worth it.
func TestWhoGetsWholeChunks(t *testing.T) {
	forceEnds(t)
	dir, _, ref, whole := bigStore(t, compression.Snappy)
	for what, get := range map[string]func(c *chunkring.Client) error{
		"unmarked": func(c *chunkring.Client) error {
			_, err := c.GetChunks(context.Background(), []chunk.Chunk{ref})
			return err
		},
		"pooled": func(c *chunkring.Client) error {
			b, err := c.GetChunksPooled(marked(context.Background()), []chunk.Chunk{ref})
			b.Release()
			return err
		},
		"whole_reads": func(c *chunkring.Client) error {
			_, err := c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
			return err
		},
		"block_path": func(c *chunkring.Client) error {
			_, err := c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
			return err
		},
		"small": func(c *chunkring.Client) error {
			chunkring.SetEndsAlways(false)
			defer chunkring.SetEndsAlways(true)
			require.Less(t, len(whole), 128<<10)
			_, err := c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			cfg := chunkring.Config{Directory: dir, WholeReads: what == "whole_reads"}
			if what == "block_path" {
				cfg.BlockPath = chunkring.BlockPathOff
			}
			c, reg, _ := partialClient(t, cfg)
			require.NoError(t, get(c))
			require.EqualValues(t, len(whole), counted(t, reg, "chunkring_bytes_total", "read"))
			require.Zero(t, counted(t, reg, "chunkring_chunks_partly_read_total", ""))
		})
	}
}

// TestBlocksThatBecomeUnreadable: what happens to a file between the two reads costs the blocks that it costs, is
// logged with key, path and reason, and counted. With StrictBlocks the query hears of it.
func TestBlocksThatBecomeUnreadable(t *testing.T) {
	forceEnds(t)
	for _, tc := range []struct {
		what, reason string
		do           func(t *testing.T, path string, whole []byte)
		lines        int // that are left; of some blocks
	}{
		{"deleted", "not_found", func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Remove(path)) }, 0},
		{"truncated", "short", func(t *testing.T, path string, whole []byte) {
			require.NoError(t, os.Truncate(path, int64(len(whole)/2)))
		}, 500},
		{"flipped bit", "checksum", func(t *testing.T, path string, whole []byte) {
			whole[len(whole)/2] ^= 1
			require.NoError(t, os.WriteFile(path, whole, 0o644))
		}, 1500},
		{"other bytes", "checksum", func(t *testing.T, path string, whole []byte) {
			require.NoError(t, os.WriteFile(path, make([]byte, len(whole)), 0o644))
		}, 0},
		{"link", "refused", func(t *testing.T, path string, _ []byte) {
			require.NoError(t, os.Rename(path, path+".moved"))
			require.NoError(t, os.Symlink(path+".moved", path))
		}, 0},
		{"folder", "refused", func(t *testing.T, path string, _ []byte) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o755))
		}, 0},
	} {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s strict=%v", tc.what, strict), func(t *testing.T) {
				dir, path, ref, whole := bigStore(t, compression.GZIP)
				c, reg, lines := partialClient(t, chunkring.Config{Directory: dir, StrictBlocks: strict})
				ctx := marked(context.Background())
				got, err := c.GetChunks(ctx, []chunk.Chunk{ref})
				require.NoError(t, err)
				all := allLines(ctx, t, got[0])
				require.Len(t, all, 2000)
				require.NoError(t, chunkring.BlockError(ctx))

				tc.do(t, path, whole)
				left := allLines(ctx, t, got[0])
				require.GreaterOrEqual(t, len(left), tc.lines)
				require.Less(t, len(left), 2000)
				require.Subset(t, all, left)
				require.NotZero(t, counted(t, reg, "chunkring_blocks_unreadable_total", tc.reason))
				said := lines.with("reading a block failed")
				require.NotEmpty(t, said)
				require.Contains(t, said[0], path)
				require.Contains(t, said[0], "key=fake/")
				if !strict {
					require.NoError(t, chunkring.BlockError(ctx))
					return
				}
				var ce *chunkring.ChunkError
				require.ErrorAs(t, chunkring.BlockError(ctx), &ce)
				require.Equal(t, path, ce.Path)
			})
		}
	}
}

// TestDamageThatOnlyTheSealCovers: the codec has one byte and no checksum. Whatever the seal is set to, no line is
// served that the chunk did not have. (From format 4 on the symbols contradict a wrong codec, before any block does.)
func TestDamageThatOnlyTheSealCovers(t *testing.T) {
	forceEnds(t)
	for _, codec := range []compression.Codec{compression.None, compression.GZIP, compression.Snappy, compression.Flate, compression.LZ4_64k, compression.Zstd} {
		for _, instead := range []compression.Codec{compression.None, compression.GZIP, compression.Snappy, compression.Flate, compression.LZ4_64k, compression.Zstd} {
			if codec == instead {
				continue
			}
			dir, path, ref, whole := bigStoreOf(t, codec, 3)
			at := strings.Index(string(whole), "\x01\x2e\xe5\x6a\x03") + 5
			require.Equal(t, byte(codec), whole[at])
			whole[at] = byte(instead)
			require.NoError(t, os.WriteFile(path, whole, 0o644))
			for _, seal := range []string{chunkring.SealOff, chunkring.SealAlways} {
				c, reg, _ := partialClient(t, chunkring.Config{Directory: dir, Seal: seal, StrictBlocks: true})
				ctx := marked(context.Background())
				got, err := c.GetChunks(ctx, []chunk.Chunk{ref})
				what := fmt.Sprintf("%s for %s, seal %s", instead, codec, seal)
				if seal == chunkring.SealAlways || err != nil { // C looks at the first block, if that is in the page cache
					require.ErrorIs(t, err, chunk.ErrInvalidChecksum, what)
					require.Empty(t, got, what)
					continue
				}
				require.NoError(t, err, what)
				require.Empty(t, allLines(ctx, t, got[0]), what)
				require.ErrorIs(t, chunkring.BlockError(ctx), chunk.ErrInvalidChecksum, what)
				require.NotZero(t, counted(t, reg, "chunkring_blocks_unreadable_total", "checksum"), what)
			}
		}
	}
}

// TestKnownSeals: a seal is not taken for right when the ends of the file have changed.
func TestKnownSeals(t *testing.T) {
	forceEnds(t)
	dir, path, ref, whole := bigStoreOf(t, compression.Snappy, 3)
	c, reg, _ := partialClient(t, chunkring.Config{Directory: dir, Seal: chunkring.SealAlways})
	for range 2 {
		_, err := c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, counted(t, reg, "chunkring_chunks_partly_read_total", ""))
	at := strings.Index(string(whole), "\x01\x2e\xe5\x6a\x03") + 5
	whole[at] = byte(compression.None)
	require.NoError(t, os.WriteFile(path, whole, 0o644))
	_, err := c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
	require.ErrorIs(t, err, chunk.ErrInvalidChecksum)
	require.EqualValues(t, 2, counted(t, reg, "chunkring_chunks_partly_read_total", ""))
}

// TestBlocksAfterTheEnd: after Stop and after a cancel, blocks are an error that the query hears of, whatever
// StrictBlocks says.
func TestBlocksAfterTheEnd(t *testing.T) {
	forceEnds(t)
	dir, _, ref, whole := bigStore(t, compression.Snappy)
	c, _, _ := partialClient(t, chunkring.Config{Directory: dir})
	ctx, cancel := context.WithCancelCause(marked(context.Background()))
	got, err := c.GetChunks(ctx, []chunk.Chunk{ref})
	require.NoError(t, err)
	again, err := c.GetChunks(ctx, []chunk.Chunk{ref})
	require.NoError(t, err)

	pipeline := lokilog.NewNoopPipeline().ForStream(labels.EmptyLabels())
	block := func(ctx context.Context, c chunk.Chunk) error {
		blocks := c.Data.(*chunkenc.Facade).LokiChunk().Blocks(time.Unix(0, 0), time.Unix(1<<33, 0))
		it := blocks[1].Iterator(ctx, pipeline)
		require.False(t, it.Next())
		return errors.Join(it.Err(), it.Close())
	}
	gaveUp := errors.New("the query was dropped")
	cancel(gaveUp)
	require.ErrorIs(t, block(ctx, got[0]), gaveUp)

	// Its bytes are to be had as long as the client runs.
	b, err := got[0].Encoded()
	require.NoError(t, err)
	require.Equal(t, whole, b)

	c.Stop()
	ctx = marked(context.Background())
	require.ErrorIs(t, block(ctx, again[0]), chunkring.ErrStopped)
	require.ErrorIs(t, chunkring.BlockError(ctx), chunkring.ErrStopped)
	_, err = again[0].Encoded()
	require.ErrorIs(t, err, chunkring.ErrStopped)
	require.Equal(t, ref.Checksum, again[0].Checksum)
	require.NoError(t, chunkring.BlockError(context.Background()))
}

// TestStopBesideBlocks: Stop waits for blocks that are being read, and none is read after it.
func TestStopBesideBlocks(t *testing.T) {
	forceEnds(t)
	dir, _, ref, _ := bigStore(t, compression.Zstd)
	for range 20 {
		c, _, _ := partialClient(t, chunkring.Config{Directory: dir})
		ctx := marked(context.Background())
		got, err := c.GetChunks(ctx, []chunk.Chunk{ref, ref, ref})
		require.NoError(t, err)
		begun, done := make(chan struct{}, len(got)), make(chan int, len(got))
		for i := range got {
			go func() {
				begun <- struct{}{}
				done <- len(allLines(ctx, t, got[i]))
			}()
		}
		<-begun
		c.Stop()
		stopped := false
		for range got {
			stopped = <-done < 2000 || stopped
		}
		if stopped {
			require.ErrorIs(t, chunkring.BlockError(ctx), chunkring.ErrStopped)
		}
	}
}

// TestEncodingAPartlyReadChunk: it is the file, or an error; never anything else.
func TestEncodingAPartlyReadChunk(t *testing.T) {
	forceEnds(t)
	dir, path, ref, whole := bigStore(t, compression.Snappy)
	c, _, _ := partialClient(t, chunkring.Config{Directory: dir})
	got, err := c.GetChunks(marked(context.Background()), []chunk.Chunk{ref, ref, ref})
	require.NoError(t, err)
	b, err := got[0].Encoded()
	require.NoError(t, err)
	require.Equal(t, whole, b)

	data := whole[len(whole)-got[1].Data.Size():]
	var out strings.Builder
	require.NoError(t, got[1].Data.Marshal(&out))
	require.Equal(t, string(data), out.String())

	require.NoError(t, os.Remove(path))
	_, err = got[2].Encoded()
	require.ErrorIs(t, err, syscall.ENOENT)
	out.Reset()
	require.Error(t, got[2].Data.Marshal(&out))
	require.Empty(t, out.String())
	require.Equal(t, ref.Checksum, got[2].Checksum)
	_, err = got[2].Data.(*chunkenc.Facade).Rewrite(nil)
	require.Error(t, err)
}

// TestKnownEndsAreOnlyThose: a file in the place of one whose seal and symbols are known is looked at anew.
func TestKnownEndsAreOnlyThose(t *testing.T) {
	forceEnds(t)
	dir, path, ref, _ := bigStore(t, compression.GZIP)
	other := bigChunk(t, compression.GZIP, 4, 2000, 16<<10) // of the same stream and time
	whole, err := other.Encoded()
	require.NoError(t, err)
	c, reg, _ := partialClient(t, chunkring.Config{Directory: dir, Seal: chunkring.SealAlways})
	for range 2 {
		_, err = c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, counted(t, reg, "chunkring_chunks_partly_read_total", ""))
	require.NoError(t, os.WriteFile(path, whole, 0o644))
	for range 2 {
		_, err = c.GetChunks(marked(context.Background()), []chunk.Chunk{ref})
		require.ErrorIs(t, err, chunk.ErrInvalidChecksum)
	}
	require.EqualValues(t, 2, counted(t, reg, "chunkring_chunks_partly_read_total", ""))
}
