// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// As tried_again in c/test/test_batch.c: a stale handle is opened anew, a few times.
func TestStaleHandlesAreOpenedAgain(t *testing.T) {
	dir, content := t.TempDir(), []byte("what is there in the end")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), content, 0o644))
	for _, c := range []struct {
		stale, reads int
		cancel       bool
		status       Status
	}{
		{0, 1, false, OK},
		{1, 2, false, OK},
		{staleTries, staleTries + 1, false, OK},
		{staleTries + 1, staleTries + 1, false, IO},
		{1, 1, true, IO},
	} {
		r, err := Open(dir, Options{})
		require.NoError(t, err)
		var cancel uint32
		reads, allocs := 0, 0
		fds := map[int]int{}
		r.preadCached = func(int, []byte, int64) (int, error) { return -1, unix.EOPNOTSUPP }
		r.pread = func(fd int, p []byte, off int64) (int, error) {
			reads++
			fds[fd]++
			if reads <= c.stale {
				if c.cancel {
					atomic.StoreUint32(&cancel, 1)
				}
				return -1, unix.ESTALE
			}
			return unix.Pread(fd, p, off)
		}
		files := []File{{Path: "f", CRC: crc32.Checksum(content, castagnoli)}}
		_, err = r.Read(Batch{Files: files, Check: CheckCRC, Cancel: &cancel, Alloc: func(n int) []byte {
			allocs++
			return make([]byte, n)
		}})
		require.NoError(t, err)
		require.Equal(t, c.status, files[0].Status, "%+v", c)
		require.Equal(t, c.reads, reads, "%+v", c)
		require.Equal(t, 1, allocs, "%+v", c)
		if c.status == OK {
			require.Equal(t, content, files[0].Buf)
		} else {
			require.Equal(t, syscall.ESTALE, files[0].Errno)
		}
		for fd := range fds {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			require.Error(t, err, "left open")
		}
		r.Close()
	}
}
