// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package core_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/internal/core"
)

// What the twin without cgo has not: its own words for what no caller asks for, and no allocation.

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
	const name = "v4-gzip.chunk"
	f := readEnds(t, r, map[string][]byte{name: goodFiles(t)[name]}, core.Batch{EndsBytesMin: 1})[name]
	codec, blocks := blocksOf(t, f)
	b := core.BlockRead{Path: name, Codec: codec, Off: blocks[0].Off, Bytes: blocks[0].Bytes, Dst: make([]byte, 1<<20)}
	require.Zero(t, testing.AllocsPerRun(100, func() { r.ReadBlock(d, &b) }))
	require.Equal(t, core.BlockReadOK, b.Status)
}
