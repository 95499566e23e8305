// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// testStores are made once for all tests: small chunks, and a few of several blocks.
var testStores = sync.OnceValues(func() ([]*chunkgen.Index, error) {
	var all []*chunkgen.Index
	for _, o := range []chunkgen.Options{{Count: 200, Size: 2_000}, {Count: 12, Size: 300_000}} {
		x, err := chunkgen.Write(context.Background(), filepath.Join(testDir, fmt.Sprint(o.Size)), o, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
})

var testDir string

func TestMain(m *testing.M) {
	var err error
	if testDir, err = os.MkdirTemp("", "chunkring-peers-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(testDir)
	os.Exit(code)
}

func stores(t testing.TB) []*chunkgen.Index {
	t.Helper()
	all, err := testStores()
	require.NoError(t, err)
	return all
}

// open skips, with the reason, where io_uring is refused or this Loki lacks what a peer needs.
func open(t testing.TB, name string, x *chunkgen.Index) Peer {
	t.Helper()
	p, err := Open(name, Store{Dir: x.Dir(), Schema: x.Schema()})
	if errors.Is(err, ErrBackend) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	return p
}

// ablations are switches of every kind.
func ablations() []string {
	names := []string{StockShape.Name()}
	for _, s := range []Switches{
		{Buffers: "fresh", Goroutines: 150}, {Buffers: "recycled"}, {Buffers: "zeroed", URing: true}, {Buffers: "fresh", URing: true, Goroutines: 150},
	} {
		names = append(names, s.Name())
	}
	if Patched() {
		for passes := range 3 {
			names = append(names, Switches{Buffers: "recycled", Lean: true, CRCPasses: passes}.Name())
		}
	}
	return names
}

func TestPeersReturnWhatStockReturns(t *testing.T) {
	for _, x := range stores(t) {
		want, err := Digest(context.Background(), open(t, Stock, x), x.Chunks(), 1)
		require.NoError(t, err)
		for _, name := range append(Readers[1:], ablations()...) {
			t.Run(fmt.Sprintf("%s/%dx%d", name, len(x.Refs), x.Options.Size), func(t *testing.T) {
				p := open(t, name, x)
				require.Equal(t, name, p.Info().Name)
				for range 3 { // with buffers that were used before, too
					got, err := Digest(context.Background(), p, x.Chunks(), 1)
					require.NoError(t, err)
					require.Equal(t, want, got)
				}
				p.Settle()
			})
		}
	}
}

func TestPeersServeManyCallers(t *testing.T) {
	x := stores(t)[0]
	want, err := Digest(context.Background(), open(t, Stock, x), x.Chunks(), 10)
	require.NoError(t, err)
	for _, name := range Readers {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, x)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 3 {
						got, err := Digest(context.Background(), p, x.Chunks(), 10)
						if err != nil || got != want {
							t.Errorf("digest %s, want %s: %v", got, want, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestDigestSeesWhatDiffers(t *testing.T) {
	x := stores(t)[0]
	p := open(t, Stock, x)
	refs := x.Chunks()
	whole, err := Digest(context.Background(), p, refs, 1)
	require.NoError(t, err)
	fewer, err := Digest(context.Background(), p, refs[1:], 1)
	require.NoError(t, err)
	require.NotEqual(t, whole, fewer)
	_, err = Digest(context.Background(), dropping{p}, refs, 1)
	require.ErrorContains(t, err, "missing")
	_, err = Digest(context.Background(), doubling{p}, refs, 1)
	require.ErrorContains(t, err, "twice")
	tampered, err := Digest(context.Background(), relabelling{p}, refs, 1)
	require.NoError(t, err)
	require.NotEqual(t, whole, tampered)
}

type dropping struct{ Peer }

func (d dropping) Get(ctx context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	return d.Peer.Get(ctx, refs[1:], look)
}

type doubling struct{ Peer }

func (d doubling) Get(ctx context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	return d.Peer.Get(ctx, append(refs[:len(refs):len(refs)], refs[0]), look)
}

type relabelling struct{ Peer }

func (r relabelling) Get(ctx context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	return r.Peer.Get(ctx, refs, func(c *chunk.Chunk) {
		other := *c
		other.Encoding++
		look(&other)
	})
}

// A missing file is an error of every peer, and the next batch is whole again.
func TestPeersReportWhatTheyCannotRead(t *testing.T) {
	x := stores(t)[0]
	missing := x.Chunks()
	missing[7].Checksum++
	for _, name := range append(append(Readers, ablations()...), FloorHot) {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, x)
			_, release, err := p.Get(context.Background(), missing, nil)
			release()
			require.Error(t, err)
			_, release, err = p.Get(context.Background(), x.Chunks(), nil)
			release()
			require.NoError(t, err)
		})
	}
}

// keepOne keeps a chunk while the peer reads others, and tells how often its bytes were then still those
// that its checksum is of.
func keepOne(t *testing.T, p Peer, refs []chunk.Chunk, rounds int) (intact int) {
	// One CPU and no collection: a sync.Pool then hands out what was put in last. (With -race it
	// drops some of it on purpose; hence the rounds.)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range rounds {
		kept, _, err := p.Get(context.Background(), refs[:1], nil)
		require.NoError(t, err)
		bytes, err := kept[0].Encoded()
		require.NoError(t, err)
		_, _, err = p.Get(context.Background(), refs[1:3], nil)
		require.NoError(t, err)
		if crc32.Checksum(bytes, castagnoli) == kept[0].Checksum {
			intact++
		}
	}
	return intact
}

// Why nobody may do this: Loki keeps chunks (in its cache, in a query that still reads), and the bytes of a
// chunk that it keeps become another chunk's.
func TestPooledBuffersCorruptChunksThatAreKept(t *testing.T) {
	const rounds = 40
	x := stores(t)[1]
	for _, name := range []string{StockPool, Published} {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, x)
			require.True(t, p.Info().Unsafe)
			require.Less(t, keepOne(t, p, x.Chunks(), rounds), rounds, "some kept chunk was overwritten")
		})
	}
	for _, name := range []string{Stock, GoDirect, Threads, URing} {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, x)
			require.False(t, p.Info().Unsafe)
			require.Equal(t, rounds, keepOne(t, p, x.Chunks(), rounds), "every kept chunk is whole")
		})
	}
}

func TestFloorsMoveTheFilesBytes(t *testing.T) {
	x := stores(t)[1]
	for _, name := range Floors {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, x)
			require.True(t, p.Info().Floor)
			for range 2 {
				chunks, _, err := p.Get(context.Background(), x.Chunks(), nil)
				require.NoError(t, err)
				require.Empty(t, chunks)
			}
			f := p.(*floor)
			first, err := os.ReadFile(x.Path(x.Refs[0]))
			require.NoError(t, err)
			switch name {
			case FloorRotating: // the second batch lies behind the first
				require.Equal(t, first, f.area[:len(first)])
				require.Equal(t, first, f.area[int(x.Bytes()):][:len(first)])
			case FloorHot:
				require.NotEmpty(t, f.hot)
				require.LessOrEqual(t, len(f.hot), runtime.GOMAXPROCS(0), "buffers are used again")
			}
		})
	}
}

func TestOpenRefusesNames(t *testing.T) {
	x := stores(t)[0]
	for _, name := range []string{"", "nobody", ablationPrefix, ablationPrefix + "buffers=zeroed", Switches{Buffers: "none"}.Name(),
		Switches{Buffers: "fresh", CRCPasses: 1}.Name(), Switches{Buffers: "fresh", Goroutines: -1}.Name()} {
		_, err := Open(name, Store{Dir: x.Dir(), Schema: x.Schema()})
		require.Error(t, err, name)
	}
}

func TestOursCountsStages(t *testing.T) {
	x := stores(t)[0]
	p := open(t, Threads, x).(*ours)
	_, _, err := p.Get(context.Background(), x.Chunks(), nil)
	require.NoError(t, err)
	seconds, err := p.Stages()
	require.NoError(t, err)
	require.Positive(t, seconds["read"])
	require.Positive(t, seconds["decode"])
	require.GreaterOrEqual(t, seconds["get"], seconds["open"]+seconds["alloc"]+seconds["read"])
}
