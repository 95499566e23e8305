// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package core_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/internal/core"
)

const goodChunks = "../../../testdata/good"

// place is where a block is in its file.
type place struct {
	off   int64
	bytes int
}

// placesOf reads the footer and the block metas of a sound chunk.
func placesOf(file []byte) (codec uint8, places []place) {
	data := int64(strings.Index(string(file), "\x01\x2e\xe5\x6a"))
	version, codec := file[data+4], file[data+5]
	if version == 1 {
		codec = 1
	}
	metas := file[data+int64(binary.BigEndian.Uint64(file[len(file)-8:])):]
	next := func() uint64 {
		x, n := binary.Uvarint(metas)
		metas = metas[n:]
		return x
	}
	for blocks := next(); blocks > 0; blocks-- {
		next() // entries
		next() // times
		next()
		off := data + int64(next())
		if version >= 3 {
			next() // bytes, uncompressed
		}
		places = append(places, place{off, int(next())})
	}
	return codec, places
}

// readEnds reads all of testdata/good.
func readEnds(t *testing.T, r *core.Reader, b core.Batch) (files []core.File, contents [][]byte) {
	t.Helper()
	names, err := filepath.Glob(goodChunks + "/*.chunk")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		files = append(files, core.File{Path: filepath.Base(name), CRC: crcOf(content)})
		contents = append(contents, content)
	}
	b.Files, b.Check = files, core.CheckChunk
	b.Alloc = func(size int) []byte {
		buf := core.NewBuffer(size)
		require.Len(t, buf, size)
		return buf
	}
	_, err = r.Read(b)
	require.NoError(t, err)
	return files, contents
}

// TestEnds: what is read of files in parts is what is in the files.
func TestEnds(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		r := open(t, goodChunks, core.Options{Backend: backend})
		for _, seal := range []core.Seal{core.SealOff, core.SealResident, core.SealAlways} {
			files, contents := readEnds(t, r, core.Batch{EndsBytesMin: 1, Seal: seal, Ahead: core.AheadAll, ThroughNs: 1 << 62})
			partly := 0
			for i, f := range files {
				want := contents[i]
				require.Equal(t, core.OK, f.Status, f.Path)
				require.EqualValues(t, len(want), f.Size, f.Path)
				if f.HeadBytes == 0 {
					require.Equal(t, want, f.Buf, f.Path)
					require.True(t, f.BlocksOK && !f.Sealed, f.Path)
					continue
				}
				partly++
				tail := len(f.Buf) - f.HeadBytes
				require.Equal(t, want[:f.HeadBytes], f.Buf[:f.HeadBytes], f.Path)
				require.Equal(t, want[len(want)-tail:], f.Buf[f.HeadBytes:], f.Path)
				require.False(t, f.BlocksOK, f.Path)
				if seal != core.SealResident { // which depends on the page cache
					require.Equal(t, seal == core.SealAlways, f.Sealed, f.Path)
				}
				if f.Sealed {
					require.Equal(t, f.CRC, f.GotCRC, f.Path)
				}
			}
			require.GreaterOrEqual(t, partly, 50)
		}
		files, _ := readEnds(t, r, core.Batch{EndsBytesMin: 1 << 20})
		for _, f := range files {
			require.True(t, f.Status == core.OK && f.HeadBytes == 0 && f.BlocksOK, f.Path)
		}
	})
}

// TestSealOfKnownFile: a seal that the caller knows is not paid again.
func TestSealOfKnownFile(t *testing.T) {
	r := open(t, goodChunks, core.Options{})
	for _, known := range []bool{false, true} {
		files := []core.File{{Path: "v4-gzip.chunk", CRC: 1, SealKnown: known}} // a seal would be broken
		_, err := r.Read(core.Batch{Files: files, Check: core.CheckChunk, Alloc: core.NewBuffer, EndsBytesMin: 1, Seal: core.SealAlways})
		require.NoError(t, err)
		require.Equal(t, known, files[0].HeadBytes > 0)
		require.Equal(t, known, files[0].Status == core.OK)
		require.False(t, files[0].Sealed)
	}
}

// TestReadBlock: each block alone is what it is in the whole file.
func TestReadBlock(t *testing.T) {
	r := open(t, goodChunks, core.Options{})
	d, err := core.NewDecompressor()
	require.NoError(t, err)
	defer d.Close()
	files, contents := readEnds(t, r, core.Batch{})
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	for i, f := range files {
		codec, places := placesOf(contents[i])
		require.NotEmpty(t, places, f.Path)
		for k, at := range places {
			b := core.BlockRead{Path: f.Path, Codec: codec, Off: at.off, Bytes: at.bytes, Dst: got}
			if k+1 < len(places) {
				b.NextOff, b.NextBytes = places[k+1].off, places[k+1].bytes
			}
			block := contents[i][at.off:][:at.bytes]
			r.ReadRaw(&b)
			require.Equal(t, core.BlockReadOK, b.Status, f.Path)
			require.Equal(t, block, got[:b.N], f.Path)
			require.Equal(t, crcOf(block), b.GotCRC, f.Path)

			n, status := d.Decompress(codec, block, want)
			require.Equal(t, core.BlockOK, status, f.Path)
			r.ReadBlock(d, &b)
			require.Equal(t, core.BlockReadOK, b.Status, f.Path)
			require.Equal(t, want[:n], got[:b.N], f.Path)

			b.Dst = make([]byte, n-1)
			r.ReadBlock(d, &b)
			require.Equal(t, core.BlockReadRoom, b.Status, f.Path)
			b.Dst = nil
			r.ReadBlock(d, &b)
			require.Equal(t, core.BlockReadRoom, b.Status, f.Path)
		}
	}
}

func TestReadBlockFails(t *testing.T) {
	r := open(t, goodChunks, core.Options{})
	d, err := core.NewDecompressor()
	require.NoError(t, err)
	defer d.Close()
	good := core.BlockRead{Path: "v4-gzip.chunk", Codec: 1, Bytes: 100, Dst: make([]byte, 1000)}
	for _, c := range []struct {
		what   string
		change func(b *core.BlockRead)
		status core.BlockReadStatus
	}{
		{"no block's place", func(*core.BlockRead) {}, core.BlockReadBadCRC},
		{"missing", func(b *core.BlockRead) { b.Path = "missing" }, core.BlockReadNotFound},
		{"behind the end", func(b *core.BlockRead) { b.Off = 1 << 40 }, core.BlockReadShort},
		{"negative place", func(b *core.BlockRead) { b.Off = -1 }, core.BlockReadIO},
		{"negative size", func(b *core.BlockRead) { b.Bytes = -1 }, core.BlockReadRefused},
		{"too large", func(b *core.BlockRead) { b.Bytes = core.BlockBytesMax + 1 }, core.BlockReadRefused},
		{"beyond 32 bits", func(b *core.BlockRead) { b.Bytes = 1<<32 + 100 }, core.BlockReadRefused},
		{"empty path", func(b *core.BlockRead) { b.Path = "" }, core.BlockReadRefused},
		{"NUL in the path", func(b *core.BlockRead) { b.Path = "v4-gzip.chunk\x00x" }, core.BlockReadRefused},
		{"another folder", func(b *core.BlockRead) { b.Path = "../good/v4-gzip.chunk" }, core.BlockReadRefused},
		{"long path", func(b *core.BlockRead) { b.Path = strings.Repeat("x/", 3000) + "x" }, core.BlockReadRefused},
		{"next before the file", func(b *core.BlockRead) { b.NextOff, b.NextBytes = -5, -5 }, core.BlockReadBadCRC},
	} {
		b := good
		c.change(&b)
		r.ReadBlock(d, &b)
		require.Equal(t, c.status, b.Status, c.what)
		require.Zero(t, b.N, c.what)
		require.Equal(t, b.Status == core.BlockReadIO, b.Errno == syscall.EINVAL && b.Op == core.OpRead, c.what)
		r.ReadRaw(&b)
		require.Equal(t, c.status, b.Status, c.what)
	}
}

func TestReadBlockDoesNotAllocate(t *testing.T) {
	r := open(t, goodChunks, core.Options{})
	d, err := core.NewDecompressor()
	require.NoError(t, err)
	defer d.Close()
	content, err := os.ReadFile(filepath.Join(goodChunks, "v4-gzip.chunk"))
	require.NoError(t, err)
	codec, places := placesOf(content)
	b := core.BlockRead{Path: "v4-gzip.chunk", Codec: codec, Off: places[0].off, Bytes: places[0].bytes, Dst: make([]byte, 1<<20)}
	require.Zero(t, testing.AllocsPerRun(100, func() { r.ReadBlock(d, &b) }))
	require.Equal(t, core.BlockReadOK, b.Status)
}
