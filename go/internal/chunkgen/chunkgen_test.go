// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"
)

const (
	goodDir = "../../../testdata/good"
	badDir  = "../../../testdata/bad"
)

// stockClient is Loki's own client for a store.
func stockClient(t *testing.T, x *Index) client.Client {
	t.Helper()
	fs, err := local.NewFSObjectClient(local.FSConfig{Directory: x.Dir()})
	require.NoError(t, err)
	c := client.NewClient(fs, client.FSEncoder, x.Schema())
	t.Cleanup(c.Stop)
	return c
}

func TestStoreReadBackByStockClient(t *testing.T) {
	for _, opts := range []Options{
		{Count: 6, Size: 40_000, Streams: 4},
		{Count: 6, Size: 40_000, Streams: 2, Tenants: 3, Codec: "gzip", Schema: "v11"},
		{Count: 4, Size: 3500, Codec: "zstd", Schema: "v12"},
		{Count: 2, Size: 700_000, Codec: "none", Format: 2},
		{Count: 2, Size: 20_000, Codec: "gzip", Format: 1},
		{Count: 8, Size: 1000},
	} {
		t.Run(fmt.Sprintf("%+v", opts), func(t *testing.T) {
			x, err := Write(t.Context(), t.TempDir(), opts, nil)
			require.NoError(t, err)
			require.Len(t, x.Refs, opts.Count)

			got, err := stockClient(t, x).GetChunks(t.Context(), x.Chunks())
			require.NoError(t, err)
			require.Len(t, got, opts.Count)
			byKey := map[string]Ref{}
			for _, r := range x.Refs {
				byKey[r.Key()] = r
				require.Equal(t, opts.Schema == "v11", !strings.Contains(r.Path, "/"), "flat up to v11: %s", r.Path)
				require.InDelta(t, opts.Size, r.Size, max(float64(opts.Size)*0.03, 64))
			}
			require.Len(t, byKey, opts.Count, "every chunk has a key of its own")
			for _, c := range got {
				r := byKey[x.Schema().ExternalKey(c.ChunkRef)]
				if opts.Schema == "v11" {
					r = byKey[Schema("v13").ExternalKey(c.ChunkRef)]
				}
				n := 0
				require.NoError(t, Lines(c, func(e logproto.Entry) {
					n++
					require.NotEmpty(t, e.Line)
				}))
				require.Equal(t, r.Entries, n)
				require.NotZero(t, n)
			}
		})
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	read := func(opts Options, procs int) map[string]string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		x, err := Write(t.Context(), t.TempDir(), opts, nil)
		require.NoError(t, err)
		files := map[string]string{}
		for _, r := range x.Refs {
			b, err := os.ReadFile(x.Path(r))
			require.NoError(t, err)
			files[r.Path] = string(b)
		}
		return files
	}
	for _, codec := range allCodecs {
		opts := Options{Count: 8, Size: 30_000, Codec: codec.String(), Seed: 7}
		first := read(opts, 1)
		require.Equal(t, first, read(opts, 3), codec)
		opts.Seed = 8
		require.NotEqual(t, first, read(opts, 1), codec)
	}
}

func TestLinesFromFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.log")
	require.NoError(t, os.WriteFile(name, []byte("level=warn one\r\n\nERROR two\nthree"), 0o644))
	x, err := Write(t.Context(), t.TempDir(), Options{Count: 1, Size: 2000, Logs: []string{name}}, nil)
	require.NoError(t, err)
	chunks, err := stockClient(t, x).GetChunks(t.Context(), x.Chunks())
	require.NoError(t, err)
	level := map[string]string{}
	require.NoError(t, Lines(chunks[0], func(e logproto.Entry) {
		for _, l := range e.StructuredMetadata {
			if l.Name == "detected_level" {
				level[e.Line] = l.Value
			}
		}
	}))
	for line, want := range map[string]string{"level=warn one": "warn", "ERROR two": "error", "three": "unknown"} {
		require.Equal(t, want, level[line], line)
	}
}

func TestWriteLooksAtWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	opts := Options{Count: 5, Size: 2000}
	write := func(opts Options) (made int, err error) {
		_, err = Write(t.Context(), dir, opts, func(int, int) { made++ })
		return made, err
	}

	ctx, cancel := context.WithCancel(t.Context())
	_, err := Write(ctx, dir, opts, func(int, int) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	made, err := write(opts)
	require.NoError(t, err)
	require.Equal(t, 5, made, "an interrupted store is begun again")

	made, err = write(opts)
	require.NoError(t, err)
	require.Zero(t, made, "a complete store is left alone")

	x, err := LoadIndex(dir)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(x.Path(x.Refs[2]), 7))
	made, err = write(opts)
	require.NoError(t, err)
	require.Equal(t, 5, made, "a damaged store is repaired")

	_, err = write(Options{Count: 6, Size: 2000})
	require.ErrorIs(t, err, ErrOtherStore)
	require.NoError(t, os.Remove(filepath.Join(dir, IndexName)))
	_, err = write(opts)
	require.ErrorIs(t, err, ErrOtherStore, "files of unknown origin stay untouched")
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, opts := range []Options{
		{Count: -1}, {Size: 10}, {Codec: "lzma"}, {Format: 5}, {Format: 1, Codec: "zstd"}, {Schema: "v99"}, {Schema: "x"}, {Streams: -2},
	} {
		dir := filepath.Join(t.TempDir(), "store")
		_, err := Write(t.Context(), dir, opts, nil)
		require.Error(t, err, "%+v", opts)
		require.NoDirExists(t, dir, "nothing is touched")
	}
}

func TestGoodFilesDecode(t *testing.T) {
	x, err := LoadIndex(goodDir)
	require.NoError(t, err)
	require.NotEmpty(t, x.Refs)
	formats := map[string]bool{}
	for i, c := range x.Chunks() {
		r := x.Refs[i]
		t.Run(r.Path, func(t *testing.T) {
			b, err := os.ReadFile(x.Path(r))
			require.NoError(t, err)
			require.Len(t, b, r.Size)
			require.NoError(t, c.Decode(chunk.NewDecodeContext(), b))
			n, metadata := 0, 0
			require.NoError(t, Lines(c, func(e logproto.Entry) {
				n++
				metadata += len(e.StructuredMetadata)
			}))
			require.Equal(t, r.Entries, n)
			require.Positive(t, n)
			facade, ok := c.Data.(*chunkenc.Facade)
			require.True(t, ok)
			require.Equal(t, r.Blocks, facade.LokiChunk().BlockCount())
			if r.Path != fmt.Sprintf("v%d-%s.chunk", r.Format, r.Codec) {
				return // one of the odd ones
			}
			formats[r.Path] = true
			require.GreaterOrEqual(t, r.Blocks, 3)
			require.Equal(t, r.Format == 4, metadata > 0)

			p, err := Split(b)
			require.NoError(t, err)
			require.Equal(t, b, p.Join())
			require.NoError(t, p.FixOffsets())
			p.FixBlockCRCs()
			require.Equal(t, b, p.Join(), "a good file has nothing to fix")
		})
	}
	require.Len(t, formats, 1+3*len(allCodecs))
}

// The rows of bad/index.json were found out in a child process; here they are held against the Loki
// this test is built with, but for those that would take the process down.
func TestBadFilesAreWhatTheIndexSays(t *testing.T) {
	x, err := LoadBad(badDir)
	require.NoError(t, err)
	require.NotEmpty(t, x.Files)
	for _, f := range x.Files {
		b, err := os.ReadFile(x.Path(f))
		require.NoError(t, err)
		require.Len(t, b, f.Size)
		require.Equal(t, f.OuterCRCOK, uint32(f.Checksum) == CRC(b), f.Name())
		require.NotEmpty(t, f.Description)
		require.Contains(t, []string{MustAccept, MustReject, MustEither}, f.Must)
		if f.Stock.Decode == StockHangOrOOM {
			require.Equal(t, MustReject, f.Must, f.Name())
			continue
		}
		if f.Name() == "inner-num-2to24-v4" || f.Name() == "inner-num-2to24-v3" {
			continue // harmless, but 1 GiB
		}
		if strings.Contains(f.Name(), symbolsEmptyTree) {
			continue // it depends on what that pooled reader read before
		}
		_, got := DecodeStock(f.Ref, b)
		require.Equal(t, f.Stock.Decode, got.Decode, f.Name())
	}
}

// On other architectures the compressors may choose other, equally good, bytes.
func TestCorpusIsReproducible(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("testdata was made on amd64")
	}
	good, err := goodSamples()
	require.NoError(t, err)
	defects, err := badSamples()
	require.NoError(t, err)
	same := func(dir string, s sample) {
		b, err := os.ReadFile(filepath.Join(dir, s.ref.Path))
		require.NoError(t, err, "run `go run ./testdata/make` in the module's root")
		require.True(t, string(b) == string(s.bytes), "%s changed; run `go run ./testdata/make`", s.ref.Path)
	}
	x, err := LoadIndex(goodDir)
	require.NoError(t, err)
	require.Len(t, x.Refs, len(good))
	for i, s := range good {
		require.Equal(t, x.Refs[i], s.ref)
		same(goodDir, s)
	}
	bad, err := LoadBad(badDir)
	require.NoError(t, err)
	require.Len(t, bad.Files, len(defects))
	for i, d := range defects {
		require.Equal(t, bad.Files[i].Ref, d.ref)
		same(badDir, d.sample)
	}
}

// Split is handed every kind of wreck by fuzzers: it says no, it never panics.
func TestSplitSurvivesWrecks(t *testing.T) {
	bad, err := LoadBad(badDir)
	require.NoError(t, err)
	for _, f := range bad.Files {
		b, err := os.ReadFile(bad.Path(f))
		require.NoError(t, err)
		if p, err := Split(b); err == nil {
			require.Equal(t, b, p.Join(), f.Name())
		}
	}
}

func TestSectionsCoverTheFile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(goodDir, "v4-snappy.chunk"))
	require.NoError(t, err)
	p, err := Split(b)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(p, p.Clone()))
	at := 0
	for _, s := range fineSections(p) {
		require.Equal(t, at, s.Start, s.Name)
		require.Greater(t, s.End, s.Start, s.Name)
		at = s.End
	}
	require.Equal(t, len(b), at)
}
