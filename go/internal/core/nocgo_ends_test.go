// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"hash/crc32"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

// TestWantedBlocks: which blocks the kernel is asked to fetch.
func TestWantedBlocks(t *testing.T) {
	file, err := os.ReadFile("../../../testdata/good/v4-snappy.chunk")
	require.NoError(t, err)
	o, err := chunkcheck.ReadOutline(file, file, int64(len(file)))
	require.NoError(t, err)
	var all []chunkcheck.BlockPlace
	o.EachBlock(func(b chunkcheck.BlockPlace) bool { all = append(all, b); return true })
	require.GreaterOrEqual(t, len(all), 3)
	from, through := all[1].MinTime, all[len(all)-1].MinTime
	for _, c := range []struct {
		b    Batch
		want []chunkcheck.BlockPlace
	}{
		{Batch{FromNs: from, ThroughNs: through}, nil},
		{Batch{FromNs: from, ThroughNs: through, Ahead: AheadAll}, all[1:]},
		{Batch{FromNs: from, ThroughNs: through, Ahead: 1}, all[1:2]},
		{Batch{FromNs: from, ThroughNs: through, Ahead: 1, Backward: true}, all[len(all)-1:]},
		{Batch{FromNs: from, ThroughNs: through - 1, Ahead: 1, Backward: true}, all[len(all)-2 : len(all)-1]},
		{Batch{FromNs: all[len(all)-1].MaxTime + 1, ThroughNs: 1 << 62, Ahead: 9}, []chunkcheck.BlockPlace{}},
	} {
		require.Equal(t, c.want, wantedBlocks(&c.b, o), "%+v", c.b)
	}
}

// TestEndsThatFail: an interrupted, a short and a failing read of the ends; of the first two nothing is seen, after
// the last the file is read whole, which says what is wrong.
func TestEndsThatFail(t *testing.T) {
	file, err := os.ReadFile("../../../testdata/good/v4-snappy.chunk")
	require.NoError(t, err)
	for _, c := range []struct {
		what  string
		pread func(n int, fd int, p []byte, off int64) (int, error)
		ends  bool
	}{
		{"interrupted", func(n, fd int, p []byte, off int64) (int, error) {
			if n%2 == 1 {
				return -1, unix.EINTR
			}
			return unix.Pread(fd, p, off)
		}, true},
		{"short", func(_, fd int, p []byte, off int64) (int, error) { return unix.Pread(fd, p[:min(len(p), 100)], off) }, true},
		{"fails once", func(n, fd int, p []byte, off int64) (int, error) {
			if n == 1 {
				return -1, unix.EIO
			}
			return unix.Pread(fd, p, off)
		}, false},
	} {
		r, err := Open("../../../testdata/good", Options{})
		require.NoError(t, err)
		n := 0
		r.preadCached = func(int, []byte, int64) (int, error) { return -1, unix.EOPNOTSUPP }
		r.pread = func(fd int, p []byte, off int64) (int, error) { n++; return c.pread(n, fd, p, off) }
		files := []File{{Path: "v4-snappy.chunk", CRC: crc32.Checksum(file, castagnoli)}}
		_, err = r.Read(Batch{Files: files, Check: CheckChunk, Alloc: NewBuffer, EndsBytesMin: 1, Seal: SealAlways})
		require.NoError(t, err)
		require.Equal(t, OK, files[0].Status, c.what)
		require.Equal(t, c.ends, files[0].HeadBytes > 0, c.what)
		require.Equal(t, c.ends, files[0].Sealed, c.what)
		r.Close()
	}
}
