// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

const goodChunks = "../../../testdata/good"

// goodFiles returns testdata/good by name.
func goodFiles(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(goodChunks + "/*.chunk")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	files := map[string][]byte{}
	for _, name := range names {
		files[filepath.Base(name)], err = os.ReadFile(name)
		require.NoError(t, err)
	}
	return files
}

// readEnds reads files, with the CRCs of contents, and returns what became of them.
func readEnds(t *testing.T, r *core.Reader, contents map[string][]byte, b core.Batch) map[string]core.File {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		b.Files = append(b.Files, core.File{Path: name, CRC: crc32.Checksum(contents[name], castagnoli)})
	}
	b.Check, b.Alloc = core.CheckChunk, core.NewBuffer
	_, err := r.Read(b)
	require.NoError(t, err)
	out := map[string]core.File{}
	for _, f := range b.Files {
		out[f.Path] = f
	}
	return out
}

// checkEnds is what go/chunkring checks of ends.
func checkEnds(f core.File) (*chunkcheck.Outline, error) {
	o, err := chunkcheck.ReadOutline(f.Buf[:f.HeadBytes], f.Buf[f.HeadBytes:], f.Size)
	if err == nil {
		err = o.CheckSymbols()
	}
	return o, err
}

// blocksOf are the blocks of a file that was read by its ends.
func blocksOf(t *testing.T, f core.File) (codec uint8, blocks []chunkcheck.BlockPlace) {
	t.Helper()
	o, err := checkEnds(f)
	require.NoError(t, err, f.Path)
	o.EachBlock(func(b chunkcheck.BlockPlace) bool {
		blocks = append(blocks, b)
		return true
	})
	return uint8(o.Codec), blocks
}

// TestEndsOfGoodChunks: what ends and blocks say together is what the whole file says.
func TestEndsOfGoodChunks(t *testing.T) {
	files := goodFiles(t)
	eachBackendOf(t, goodChunks, func(t *testing.T, r *core.Reader) {
		d, err := core.NewDecompressor()
		require.NoError(t, err)
		defer d.Close()
		for _, seal := range []core.Seal{core.SealOff, core.SealResident, core.SealAlways} {
			partly := 0
			for name, f := range readEnds(t, r, files, core.Batch{EndsBytesMin: 1, Seal: seal, Ahead: core.AheadAll}) {
				require.Equal(t, core.OK, f.Status, name)
				require.EqualValues(t, len(files[name]), f.Size, name)
				if f.HeadBytes == 0 {
					require.Equal(t, files[name], f.Buf, name)
					require.False(t, f.Sealed)
					continue
				}
				partly++
				if seal != core.SealResident { // which depends on the page cache
					require.Equal(t, seal == core.SealAlways, f.Sealed, name)
				}
				checkBlocks(t, r, d, files[name], f)
			}
			require.GreaterOrEqual(t, partly, 50)
		}
	})
}

// eachBackendOf runs test on each back-end that there is, over a directory.
func eachBackendOf(t *testing.T, dir string, test func(t *testing.T, r *core.Reader)) {
	t.Helper()
	eachBackend(t, func(t *testing.T, backend string) {
		test(t, open(t, dir, core.Options{Backend: backend}))
	})
}

// checkBlocks compares what is read of a file in parts with the file.
func checkBlocks(t *testing.T, r *core.Reader, d *core.Decompressor, whole []byte, f core.File) {
	t.Helper()
	tail := whole[f.HeadBytes+len(whole)-len(f.Buf):]
	require.Equal(t, whole[:f.HeadBytes], f.Buf[:f.HeadBytes], f.Path)
	require.Equal(t, tail, f.Buf[f.HeadBytes:], f.Path)
	if _, err := checkEnds(f); errors.Is(err, chunkcheck.ErrWhole) {
		// C takes a little more, which go/chunkring then has read whole: JSON in several frames, bytes behind the metas.
		require.Regexp(t, "frames|metas-tail", f.Path)
		return
	}
	codec, blocks := blocksOf(t, f)
	for i, place := range blocks {
		block := whole[place.Off:][:place.Bytes]
		b := core.BlockRead{Path: f.Path, Codec: codec, Off: place.Off, Bytes: place.Bytes, Dst: make([]byte, place.Bytes)}
		if i+1 < len(blocks) {
			b.NextOff, b.NextBytes = blocks[i+1].Off, blocks[i+1].Bytes
		}
		r.ReadRaw(&b)
		require.Equal(t, core.BlockReadOK, b.Status, f.Path)
		require.Equal(t, block, b.Dst[:b.N], f.Path)
		require.Equal(t, crc32.Checksum(block, castagnoli), b.GotCRC)

		want := block
		if codec != uint8(compression.None) {
			want = make([]byte, 1<<20)
			n, status := d.Decompress(codec, block, want)
			require.Equal(t, core.BlockOK, status, f.Path)
			want = want[:n]
		}
		b.Dst = make([]byte, 1<<20)
		r.ReadBlock(d, &b)
		require.Equal(t, core.BlockReadOK, b.Status, f.Path)
		require.Equal(t, want, b.Dst[:b.N], f.Path)

		b.Dst = make([]byte, len(want)-1)
		r.ReadBlock(d, &b)
		require.Equal(t, core.BlockReadRoom, b.Status, f.Path)
	}
}

// chunkOf builds a chunk of about so many bytes of random letters.
func chunkOf(t *testing.T, codec compression.Codec, version byte, bytes, blockBytes int) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(codec)))
	c, err := chunkgen.Build(
		chunkgen.Stream{Tenant: "fake", Labels: labels.FromStrings("app", "ends")},
		chunkgen.Encoding{Format: version, Codec: codec, BlockBytes: blockBytes},
		func(yield func(logproto.Entry) bool) {
			at := time.Unix(1700000000, 0)
			for n := 0; n < bytes; {
				line := make([]byte, 200)
				for i := range line {
					line[i] = 'a' + byte(rnd.IntN(26))
				}
				n += len(line)
				at = at.Add(time.Millisecond)
				if !yield(logproto.Entry{Timestamp: at, Line: string(line)}) {
					return
				}
			}
		})
	require.NoError(t, err)
	file, err := c.Encoded()
	require.NoError(t, err)
	return file
}

// TestWhichFilesAreReadByTheirEnds: those that are large enough, in blocks that are.
func TestWhichFilesAreReadByTheirEnds(t *testing.T) {
	contents := map[string][]byte{
		"usual":        chunkOf(t, compression.None, 4, 600<<10, 64<<10),
		"small":        chunkOf(t, compression.None, 4, 100<<10, 64<<10),
		"small_blocks": chunkOf(t, compression.None, 4, 600<<10, 8<<10),
		"large_block":  chunkOf(t, compression.None, 4, 3<<20, 2<<20),
		"no_chunk":     make([]byte, 600<<10),
	}
	dir := writeFiles(t, contents)
	eachBackendOf(t, dir, func(t *testing.T, r *core.Reader) {
		for name, f := range readEnds(t, r, contents, core.Batch{EndsBytesMin: 128 << 10}) {
			require.Equal(t, name == "usual", f.HeadBytes > 0, name)
			if name == "no_chunk" {
				require.Equal(t, core.BadFormat, f.Status)
			} else {
				require.Equal(t, core.OK, f.Status, name)
			}
		}
		for name, f := range readEnds(t, r, contents, core.Batch{}) {
			require.Zero(t, f.HeadBytes, name)
		}
	})
}

func writeFiles(t *testing.T, contents map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, b := range contents {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	return dir
}

// TestSeal: damage that the ends' own checksums don't cover breaks the seal, and reading the blocks finds it.
func TestSeal(t *testing.T) {
	sound := chunkOf(t, compression.GZIP, 4, 300<<10, 64<<10)
	o, err := chunkcheck.ReadOutline(sound[:4<<10], sound[len(sound)-4<<10:], int64(len(sound)))
	require.NoError(t, err)
	var first chunkcheck.BlockPlace
	o.EachBlock(func(b chunkcheck.BlockPlace) bool { first = b; return false })
	codecAt := binary.BigEndian.Uint32(sound) + 4 + 5 // behind the metadata and the length of the data
	for _, c := range []struct {
		what   string
		at     int64
		to     byte
		status core.BlockReadStatus
	}{
		{"codec", int64(codecAt), byte(compression.Snappy), core.BlockReadBad},
		{"stored CRC", first.Off + int64(first.Bytes), sound[first.Off+int64(first.Bytes)] ^ 1, core.BlockReadBadCRC},
		{"block", first.Off + 100, sound[first.Off+100] ^ 1, core.BlockReadBadCRC},
	} {
		t.Run(c.what, func(t *testing.T) {
			damaged := slices.Clone(sound)
			damaged[c.at] = c.to
			dir := writeFiles(t, map[string][]byte{"f": damaged})
			eachBackendOf(t, dir, func(t *testing.T, r *core.Reader) {
				d, err := core.NewDecompressor()
				require.NoError(t, err)
				defer d.Close()
				b := core.Batch{EndsBytesMin: 1, Seal: core.SealAlways}
				f := readEnds(t, r, map[string][]byte{"f": sound}, b)["f"]
				if c.what == "block" { // which the seal does not cover
					require.True(t, f.Sealed)
				} else {
					require.Equal(t, core.BadCRC, f.Status)
					require.Zero(t, f.HeadBytes)
					require.Equal(t, damaged, f.Buf)
				}
				b.Seal = core.SealOff
				f = readEnds(t, r, map[string][]byte{"f": sound}, b)["f"]
				if c.what == "codec" && f.HeadBytes == 0 { // C looks at what is compressed in the ends
					require.Equal(t, core.BadCRC, f.Status)
					return
				}
				require.Equal(t, core.OK, f.Status)
				require.NotZero(t, f.HeadBytes)
				require.False(t, f.Sealed)
				codec, blocks := blocksOf(t, f)
				read := core.BlockRead{Path: "f", Codec: codec, Off: blocks[0].Off, Bytes: blocks[0].Bytes, Dst: make([]byte, 1<<20)}
				r.ReadBlock(d, &read)
				require.Equal(t, c.status, read.Status)
			})
		})
	}
}

// TestSealKnown: a seal that the caller knows is not paid again.
func TestSealKnown(t *testing.T) {
	dir := writeFiles(t, map[string][]byte{"f": chunkOf(t, compression.GZIP, 4, 300<<10, 64<<10)})
	eachBackendOf(t, dir, func(t *testing.T, r *core.Reader) {
		files := []core.File{{Path: "f", CRC: 1, SealKnown: true}} // a seal would be broken
		_, err := r.Read(core.Batch{Files: files, Check: core.CheckChunk, Alloc: core.NewBuffer, EndsBytesMin: 1, Seal: core.SealAlways})
		require.NoError(t, err)
		require.Equal(t, core.OK, files[0].Status)
		require.NotZero(t, files[0].HeadBytes)
		require.False(t, files[0].Sealed)
	})
}

// TestBlocksOfAnOpenFile: a descriptor that the caller has is used, whatever has the path, and stays open.
func TestBlocksOfAnOpenFile(t *testing.T) {
	sound := chunkOf(t, compression.GZIP, 4, 300<<10, 64<<10)
	eachBackend(t, func(t *testing.T, backend string) {
		dir := writeFiles(t, map[string][]byte{"f": sound})
		r := open(t, dir, core.Options{Backend: backend})
		d, err := core.NewDecompressor()
		require.NoError(t, err)
		defer d.Close()
		contents := map[string][]byte{"f": sound}
		require.Zero(t, readEnds(t, r, contents, core.Batch{EndsBytesMin: 1})["f"].FD)
		require.Zero(t, readEnds(t, r, contents, core.Batch{EndsBytesMin: 1 << 30, KeepOpen: true})["f"].FD, "it is read whole")
		f := readEnds(t, r, contents, core.Batch{EndsBytesMin: 1, KeepOpen: true})["f"]
		require.Positive(t, f.FD)
		defer func() { require.NoError(t, syscall.Close(f.FD)) }()
		require.NoError(t, os.Remove(filepath.Join(dir, "f")))
		codec, blocks := blocksOf(t, f)
		for _, place := range blocks {
			b := core.BlockRead{Path: "f", Codec: codec, Off: place.Off, Bytes: place.Bytes, FD: f.FD, Dst: make([]byte, 1<<20)}
			r.ReadBlock(d, &b)
			require.Equal(t, core.BlockReadOK, b.Status)
			r.ReadRaw(&b)
			require.Equal(t, core.BlockReadOK, b.Status)
			require.Equal(t, sound[place.Off:][:place.Bytes], b.Dst[:b.N])
			b.FD = 0
			r.ReadBlock(d, &b)
			require.Equal(t, core.BlockReadNotFound, b.Status)
		}
	})
}

// TestBlocksThatCantBeRead: what became of the file between the two reads.
func TestBlocksThatCantBeRead(t *testing.T) {
	sound := chunkOf(t, compression.Snappy, 3, 300<<10, 64<<10)
	for _, c := range []struct {
		what   string
		do     func(path string) error
		status core.BlockReadStatus
		errno  syscall.Errno
	}{
		{"gone", os.Remove, core.BlockReadNotFound, 0},
		{"cut", func(path string) error { return os.Truncate(path, int64(len(sound)/2)) }, core.BlockReadShort, 0},
		{"empty", func(path string) error { return os.Truncate(path, 0) }, core.BlockReadShort, 0},
		{"replaced", func(path string) error { return os.WriteFile(path, make([]byte, len(sound)), 0o644) }, core.BlockReadBadCRC, 0},
		{"link", func(path string) error {
			return syscall.Symlink("elsewhere", path)
		}, core.BlockReadRefused, 0},
		{"folder", func(path string) error { return os.Mkdir(path, 0o755) }, core.BlockReadRefused, 0},
		{"fifo", func(path string) error { return syscall.Mkfifo(path, 0o644) }, core.BlockReadRefused, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				dir := writeFiles(t, map[string][]byte{"f": sound})
				r := open(t, dir, core.Options{Backend: backend})
				d, err := core.NewDecompressor()
				require.NoError(t, err)
				defer d.Close()
				f := readEnds(t, r, map[string][]byte{"f": sound}, core.Batch{EndsBytesMin: 1})["f"]
				codec, blocks := blocksOf(t, f)
				last := blocks[len(blocks)-1]
				path := filepath.Join(dir, "f")
				if c.status == core.BlockReadRefused {
					require.NoError(t, os.Remove(path))
				}
				require.NoError(t, c.do(path))
				for _, raw := range []bool{false, true} {
					b := core.BlockRead{Path: "f", Codec: codec, Off: last.Off, Bytes: last.Bytes, Dst: make([]byte, 1<<20)}
					if raw {
						r.ReadRaw(&b)
					} else {
						r.ReadBlock(d, &b)
					}
					require.Equal(t, c.status, b.Status, fmt.Sprint(raw))
				}
			})
		})
	}
}
