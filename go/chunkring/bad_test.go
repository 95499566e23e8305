// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// sentinels are Loki's own errors of Decode that a caller may look for.
var sentinels = []error{
	chunk.ErrInvalidChecksum, chunk.ErrWrongMetadata, chunk.ErrMetadataLength, chunk.ErrDataLength,
}

// otherError are files of testdata/bad that we refuse for another reason than stock, which reads the
// JSON before it looks at the length.
var otherError = []string{"inner-metalen-plus-1", "inner-metalen-huge", "inner-metalen-sign"}

// between is a store with good neighbours for one bad chunk.
type between struct {
	dir         string
	schema      config.SchemaConfig
	left, right chunk.Chunk
	want        map[logproto.ChunkRef]view
}

func newBetween(t testing.TB, schema config.SchemaConfig) *between {
	t.Helper()
	n := &between{dir: t.TempDir(), schema: schema}
	for i, side := range []*chunk.Chunk{&n.left, &n.right} {
		s := forTenant(t, sampleNamed(t, []string{"v4-snappy", "v3-gzip"}[i]), fmt.Sprintf("neighbour-%d", i))
		place(t, n.dir, schema, s.ref, s.bytes)
		*side = s.ref
	}
	answer, err := stock(t, n.dir, schema).GetChunks(context.Background(), []chunk.Chunk{n.left, n.right})
	require.NoError(t, err)
	n.want = byKey(t, answer)
	return n
}

// read asks for bad between its neighbours, alone, and in the middle of many, and requires the
// neighbours intact and the same outcome each time. The chunk is nil when err is not.
func (n *between) read(t testing.TB, c *chunkring.Client, bad chunk.Chunk) (got *chunk.Chunk, err error) {
	t.Helper()
	batches := [][]chunk.Chunk{{n.left, bad, n.right}, {bad}}
	many := slices.Repeat([]chunk.Chunk{n.left, n.right}, 12)
	many[11] = bad
	if bad.Checksum%4 == 0 { // of hundreds of files, some will do
		batches = append(batches, many)
	}
	for _, batch := range batches {
		out, batchErr := c.GetChunks(context.Background(), batch)
		var good []chunk.Chunk
		for i := range out {
			if out[i].ChunkRef == bad.ChunkRef {
				got = &out[i]
				continue
			}
			good = append(good, out[i])
		}
		require.Len(t, good, len(batch)-1)
		for i := range good {
			w := n.want[good[i].ChunkRef]
			w.Entries = nil
			require.Empty(t, difference(w, bytesOf(t, good[i])))
		}
		if batchErr == nil {
			require.Len(t, out, len(batch))
			continue
		}
		require.Len(t, out, len(batch)-1)
		var be *chunkring.BatchError
		require.ErrorAs(t, batchErr, &be)
		require.Equal(t, len(batch), be.Requested)
		require.Len(t, be.Failed, 1)
		require.Equal(t, n.schema.ExternalKey(bad.ChunkRef), be.Failed[0].Key)
		require.Equal(t, filePath(n.dir, n.schema, bad), be.Failed[0].Path)
		if err != nil {
			require.Equal(t, err.Error(), be.Failed[0].Err.Error(), "the same whatever the batch")
		}
		err = be.Failed[0].Err
		for _, part := range []string{fmt.Sprintf("%q", be.Failed[0].Key), be.Failed[0].Path, fmt.Sprintf("1 of %d", len(batch))} {
			require.Contains(t, batchErr.Error(), part)
		}
		require.NotErrorIs(t, err, chunkring.ErrPanic)
	}
	if err != nil {
		require.Nil(t, got)
	}
	return got, err
}

// TestBadFiles puts every file of testdata/bad under its key's name. Where stock succeeds so must
// we, with the same result; where it doesn't, there must be a typed error.
func TestBadFiles(t *testing.T) {
	x, err := chunkgen.LoadBad(badDir)
	require.NoError(t, err)
	require.NotEmpty(t, x.Files)
	for _, version := range []string{"v13", "v11"} {
		n := newBetween(t, chunkgen.Schema(version))
		eachBackend(t, func(t *testing.T, backend string) {
			noLeaks(t)
			c := ring(t, n.dir, backend, n.schema)
			for i, f := range x.Files {
				if version == "v11" && i%8 != 0 { // what is inside is the same wherever the file lies
					continue
				}
				t.Run(f.Name(), func(t *testing.T) {
					b, err := os.ReadFile(x.Path(f))
					require.NoError(t, err)
					name := place(t, n.dir, n.schema, f.Chunk(), b)
					got, err := n.read(t, c, f.Chunk())
					if version == "v13" { // it is the same whatever the name
						judgeBad(t, f, b, got, err)
					}
					require.NoError(t, os.Remove(name))
				})
			}
		})
	}
}

func judgeBad(t *testing.T, f chunkgen.Bad, b []byte, got *chunk.Chunk, err error) {
	t.Helper()
	if !f.OuterCRCOK {
		require.ErrorIs(t, err, chunk.ErrInvalidChecksum)
		require.NotErrorIs(t, err, chunkring.ErrMalformed)
		return
	}
	switch f.Stock.Decode {
	case chunkgen.StockPanic, chunkgen.StockHangOrOOM:
		require.ErrorIs(t, err, chunkring.ErrMalformed)
		return
	case chunkgen.StockError:
		require.Error(t, err)
		// A caller that looks for Loki's error finds it. (By stock's words: decoding again, in this
		// process, would take gigabytes for some.)
		for _, s := range sentinels {
			if s == chunk.ErrInvalidChecksum {
				continue // another error's words too, and this one can't be
			}
			if strings.Contains(f.Stock.Detail, s.Error()) && !slices.Contains(otherError, f.Name()) {
				require.ErrorIs(t, err, s)
			}
		}
		return
	}
	if f.Must == chunkgen.MustReject || (f.Must == chunkgen.MustEither && err != nil) {
		require.ErrorIs(t, err, chunkring.ErrMalformed)
		return
	}
	require.NoError(t, err)
	want := f.Chunk()
	require.NoError(t, want.Decode(chunk.NewDecodeContext(), bytes.Clone(b)))
	const halfGB = "inner-entry-line-2to29" // what reading its line takes
	if f.Stock.Iterate != chunkgen.StockSucceeds || f.Name() == halfGB {
		require.Empty(t, difference(bytesOf(t, want), bytesOf(t, *got)))
		return
	}
	require.Empty(t, difference(viewOf(t, want), viewOf(t, *got)))
	require.Len(t, viewOf(t, *got).Entries, f.Stock.Entries)
}

// hostile are things that are not chunk files, and how reading one must fail.
var hostile = []struct {
	name string
	make func(t testing.TB, path string) // path's folder exists
	is   error
	not  error
}{
	{"missing", func(testing.TB, string) {}, fs.ErrNotExist, nil},
	{"folder missing", func(t testing.TB, path string) { require.NoError(t, os.Remove(filepath.Dir(path))) }, fs.ErrNotExist, nil},
	{"folder is a file", func(t testing.TB, path string) {
		require.NoError(t, os.Remove(filepath.Dir(path)))
		require.NoError(t, os.WriteFile(filepath.Dir(path), nil, 0o644))
	}, syscall.ENOTDIR, fs.ErrNotExist},
	{"empty", func(t testing.TB, path string) { require.NoError(t, os.WriteFile(path, nil, 0o644)) }, chunk.ErrInvalidChecksum, fs.ErrNotExist},
	{"directory", func(t testing.TB, path string) { require.NoError(t, os.Mkdir(path, 0o755)) }, chunkring.ErrNotRegular, fs.ErrNotExist},
	{"symlink into the store", func(t testing.TB, path string) {
		require.NoError(t, os.WriteFile(path+"-target", goodBytes(t), 0o644))
		require.NoError(t, os.Symlink(filepath.Base(path)+"-target", path))
	}, chunkring.ErrRefused, fs.ErrNotExist},
	{"symlink out of the store", func(t testing.TB, path string) {
		outside := filepath.Join(t.TempDir(), "outside")
		require.NoError(t, os.WriteFile(outside, goodBytes(t), 0o644))
		require.NoError(t, os.Symlink(outside, path))
	}, chunkring.ErrRefused, fs.ErrNotExist},
	{"symlink to nowhere", func(t testing.TB, path string) { require.NoError(t, os.Symlink("nowhere", path)) }, chunkring.ErrRefused, fs.ErrNotExist},
	{"symlink to itself", func(t testing.TB, path string) { require.NoError(t, os.Symlink(filepath.Base(path), path)) }, chunkring.ErrRefused, fs.ErrNotExist},
	{"folder is a symlink", func(t testing.TB, path string) {
		outside := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(outside, filepath.Base(path)), goodBytes(t), 0o644))
		require.NoError(t, os.Remove(filepath.Dir(path)))
		require.NoError(t, os.Symlink(outside, filepath.Dir(path)))
	}, chunkring.ErrRefused, fs.ErrNotExist},
	{"magic link", func(t testing.TB, path string) {
		require.NoError(t, os.Symlink("/proc/self/exe", path))
	}, chunkring.ErrRefused, fs.ErrNotExist},
	{"fifo", func(t testing.TB, path string) { require.NoError(t, unix.Mkfifo(path, 0o644)) }, chunkring.ErrNotRegular, fs.ErrNotExist},
	{"socket", func(t testing.TB, path string) {
		require.NoError(t, unix.Mknod(path, unix.S_IFSOCK|0o644, 0))
	}, chunkring.ErrNotRegular, fs.ErrNotExist},
	{"device null", func(t testing.TB, path string) { mknod(t, path, 1, 3) }, chunkring.ErrNotRegular, fs.ErrNotExist},
	{"device zero", func(t testing.TB, path string) { mknod(t, path, 1, 5) }, chunkring.ErrNotRegular, fs.ErrNotExist},
	{"device without driver", func(t testing.TB, path string) { mknod(t, path, 4000, 1) }, chunkring.ErrNotRegular, fs.ErrNotExist},
	{"sparse, 8 GiB", func(t testing.TB, path string) {
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.NoError(t, os.Truncate(path, 8<<30))
	}, chunkring.ErrTooBig, fs.ErrNotExist},
	{"one byte too big", func(t testing.TB, path string) {
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.NoError(t, os.Truncate(path, 64<<20+1))
	}, chunkring.ErrTooBig, fs.ErrNotExist},
}

func goodBytes(t testing.TB) []byte { return sampleNamed(t, "v4-one-entry").bytes }

func mknod(t testing.TB, path string, major, minor uint32) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(major, minor))); err != nil {
		t.Skipf("mknod of a device: %v", err)
	}
}

func TestHostileFiles(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			n := newBetween(t, v13)
			ref := sampleNamed(t, "v4-one-entry").ref
			path := filePath(n.dir, n.schema, ref)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			h.make(t, path)
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				c := ring(t, n.dir, backend, n.schema)
				_, err := n.read(t, c, ref)
				require.ErrorIs(t, err, h.is)
				if h.not != nil {
					require.NotErrorIs(t, err, h.not)
				}
				if h.is != chunk.ErrInvalidChecksum {
					var pe *fs.PathError
					require.ErrorAs(t, err, &pe)
					require.Equal(t, path, pe.Path)
				}
			})
		})
	}
}

// Tenant ids that would leave the store, or that no file system takes. A file that would be the
// right one lies wherever such a path would lead.
func TestHostileTenants(t *testing.T) {
	above := t.TempDir()
	for _, version := range []string{"v13", "v11"} {
		schema := chunkgen.Schema(version)
		n := newBetween(t, schema)
		n2 := *n
		n2.dir = filepath.Join(above, version, "store")
		require.NoError(t, os.MkdirAll(filepath.Dir(n2.dir), 0o755))
		require.NoError(t, os.CopyFS(n2.dir, os.DirFS(n.dir)))
		s := sampleNamed(t, "v4-one-entry")
		for _, tenant := range []string{"..", "../x", "../../x", "a/../b", ".", "./a", "a/./b", "", "/", "/a", "a/", "a//b", "a\x00b", "\x00", strings.Repeat("x", 256), strings.Repeat("y/", 3000)} {
			bad := forTenant(t, s, tenant)
			if path := filePath(n2.dir, schema, bad.ref); !strings.Contains(path, "\x00") && strings.HasPrefix(path, above) {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
					_ = os.WriteFile(path, bad.bytes, 0o644)
				}
			}
			eachBackend(t, func(t *testing.T, backend string) {
				noLeaks(t)
				c := ring(t, n2.dir, backend, schema)
				got, err := n2.read(t, c, bad.ref)
				if version == "v11" && err == nil {
					// Flat names hold the tenant in base64, so these are just names.
					require.Equal(t, tenant, got.UserID)
					return
				}
				require.ErrorIs(t, err, chunkring.ErrRefused, "tenant %.20q", tenant)
				require.NotErrorIs(t, err, fs.ErrNotExist)
			})
		}
	}
}

// Every length a write could have been cut at, and every single bit error of one sort or another.
func TestEveryCutAndFlip(t *testing.T) {
	s := sampleNamed(t, "v4-one-entry")
	n := newBetween(t, v13)
	name := place(t, n.dir, n.schema, s.ref, s.bytes)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, n.dir, backend, n.schema)
		batch := []chunk.Chunk{n.left, s.ref, n.right}
		damaged := func(b []byte, what string, at int) {
			require.NoError(t, os.WriteFile(name, b, 0o644))
			out, err := c.GetChunks(context.Background(), batch)
			if len(out) != 2 || !errors.Is(err, chunk.ErrInvalidChecksum) {
				t.Fatalf("%s at byte %d: %d chunks, %v", what, at, len(out), err)
			}
		}
		for cut := range len(s.bytes) {
			damaged(s.bytes[:cut], "cut", cut)
		}
		for at := range s.bytes {
			b := bytes.Clone(s.bytes)
			b[at] ^= 1 << (at % 8)
			damaged(b, "bit flipped", at)
		}
		require.NoError(t, os.WriteFile(name, s.bytes, 0o644))
		got, err := n.read(t, c, s.ref)
		require.NoError(t, err)
		require.NotNil(t, got)
	})
}

// The same with a name that goes with the damaged bytes: now it is the structure that counts. All
// in one batch, each a file of its own, beside stock's own decoder.
func TestEveryCutAndFlipWithRightChecksum(t *testing.T) {
	for _, base := range []string{"v4-one-entry", "v3-one-entry"} {
		s := sampleNamed(t, base)
		dir := t.TempDir()
		var chunks []chunk.Chunk
		var files [][]byte
		add := func(b []byte) {
			ref := s.ref
			ref.Checksum = chunkgen.CRC(b)
			place(t, dir, v13, ref, b)
			chunks, files = append(chunks, ref), append(files, b)
		}
		for cut := range len(s.bytes) {
			add(s.bytes[:cut])
		}
		for at := range s.bytes {
			for _, bit := range []byte{1, 0x80} {
				b := bytes.Clone(s.bytes)
				b[at] ^= bit
				add(b)
			}
		}
		eachBackend(t, func(t *testing.T, backend string) {
			noLeaks(t)
			c := ring(t, dir, backend, v13)
			out, err := c.GetChunks(context.Background(), chunks)
			var be *chunkring.BatchError
			require.ErrorAs(t, err, &be)
			require.Equal(t, len(chunks), len(be.Failed)+len(out))
			failed := map[string]error{}
			for _, f := range be.Failed {
				failed[f.Key] = f.Err
			}
			for i := range chunks {
				// One flipped bit leaves some inner checksum wrong wherever a number is that could
				// hang Decode, so it may run in this process.
				stockGot, outcome := chunkgen.DecodeStock(chunkgen.Ref{
					Tenant: s.ref.UserID, Fingerprint: chunkgen.Hex(s.ref.Fingerprint), From: int64(s.ref.From),
					Through: int64(s.ref.Through), Checksum: chunkgen.Hex(chunks[i].Checksum)}, bytes.Clone(files[i]))
				ours := failed[v13.ExternalKey(chunks[i].ChunkRef)]
				switch {
				case ours == nil:
					require.Equal(t, chunkgen.StockSucceeds, outcome.Decode, "%d", i)
					require.Equal(t, chunks[i].ChunkRef, out[0].ChunkRef, "order")
					require.Empty(t, difference(viewOf(t, stockGot), viewOf(t, out[0])))
					out = out[1:]
				case outcome.Decode == chunkgen.StockSucceeds:
					// The codec's byte, where stock's first query would panic, or an encoding of no
					// log chunk.
					require.ErrorIs(t, ours, chunkring.ErrMalformed)
					t.Logf("%s %d: stock succeeds, we say %v", base, i, ours)
				default:
					require.NotErrorIs(t, ours, chunkring.ErrPanic)
					require.NotErrorIs(t, ours, chunk.ErrInvalidChecksum)
				}
			}
			require.Empty(t, out)
		})
	}
}

// No bad file may cost more memory than four times its size, and a little.
func TestBadFilesCostLittle(t *testing.T) {
	x, err := chunkgen.LoadBad(badDir)
	require.NoError(t, err)
	n := newBetween(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, n.dir, backend, n.schema)
		_, err := c.GetChunks(context.Background(), []chunk.Chunk{n.left, n.right}) // the pools' first contents
		require.NoError(t, err)
		for _, f := range x.Files {
			b, err := os.ReadFile(x.Path(f))
			require.NoError(t, err)
			name := place(t, n.dir, n.schema, f.Chunk(), b)
			limit := 4*uint64(len(b)) + 1<<20
			cost := uint64(1 << 62)
			// A decoder that a pool has to make is no cost of the file; with -race, pools drop every
			// fourth.
			for range 20 {
				if cost <= limit {
					break
				}
				cost = min(cost, allocated(func() { _, _ = c.GetChunks(context.Background(), []chunk.Chunk{f.Chunk()}) }))
			}
			if cost > limit {
				t.Errorf("%s: %d bytes of memory for a file of %d", f.Name(), cost, len(b))
			}
			require.NoError(t, os.Remove(name))
		}
		// What is too big is refused before memory is asked for.
		ref := sampleNamed(t, "v4-one-entry").ref
		name := place(t, n.dir, n.schema, ref, nil)
		for _, size := range []int64{64<<20 + 1, 8 << 30, 1 << 40} {
			require.NoError(t, os.Truncate(name, size))
			require.Less(t, allocated(func() { _, _ = c.GetChunks(context.Background(), []chunk.Chunk{ref}) }), uint64(1<<20))
		}
		require.NoError(t, os.Remove(name))
	})
}

func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
