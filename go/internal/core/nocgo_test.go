// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

// content of file "f" in a directory of its own, and a Reader of it.
func oneFile(t *testing.T, o Options) (r *Reader, files []File) {
	t.Helper()
	dir, content := t.TempDir(), []byte("what is there")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "f"), content, 0o644))
	r, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r, []File{{Path: "a/f", CRC: crc32.Checksum(content, castagnoli)}}
}

func readAll(t *testing.T, r *Reader, files []File, cancel *uint32) {
	t.Helper()
	times, err := r.Read(Batch{Files: files, Check: CheckCRC, Cancel: cancel, Alloc: NewBuffer})
	require.NoError(t, err)
	require.Equal(t, syscall.ENOSYS, times.Fallback)
}

// A sandbox refuses openat2 for good; a file system may not like how it is called for one file.
func TestOpensWithoutOpenat2(t *testing.T) {
	for errno, latched := range map[syscall.Errno]bool{
		unix.ENOSYS: true, unix.EPERM: true, unix.EINVAL: false, unix.E2BIG: false, unix.EOPNOTSUPP: false,
	} {
		r, files := oneFile(t, Options{})
		r.noCachedOpen.Store(true) // RESOLVE_CACHED is another matter
		calls := 0
		r.openat2 = func(int, string, *unix.OpenHow) (int, error) {
			calls++
			return -1, errno
		}
		const reads = 3
		for range reads {
			readAll(t, r, files, nil)
			require.Equal(t, OK, files[0].Status, "%v", errno)
		}
		want := reads
		if latched {
			want = 1
		}
		require.Equal(t, want, calls, "%v", errno)
	}
}

// RESOLVE_CACHED is refused by kernels before 5.12, and then not asked for again; openat2 without it is.
func TestOpensWithoutResolveCached(t *testing.T) {
	r, files := oneFile(t, Options{})
	cached, plain := 0, 0
	r.openat2 = func(dir int, path string, how *unix.OpenHow) (int, error) {
		if how.Resolve&resolveCached != 0 {
			cached++
			return -1, unix.EINVAL
		}
		plain++
		return unix.Openat2(dir, path, how)
	}
	for range 3 {
		readAll(t, r, files, nil)
		require.Equal(t, OK, files[0].Status)
	}
	require.Equal(t, 1, cached)
	require.Equal(t, 3, plain)
}

// After naps in which a stop is heard, the open waits in the kernel: without O_NONBLOCK, by the descriptor of a
// file that is known to be a regular one. (The time is a bubble's.)
func TestLeaseThatIsKept(t *testing.T) {
	r, files := oneFile(t, Options{})
	require.NoError(t, unix.Mkfifo(filepath.Join(fdPath(r.dir), "fifo"), 0o644))
	synctest.Test(t, func(t *testing.T) {
		again := 0
		r.openat2 = func(dir int, path string, how *unix.OpenHow) (int, error) {
			if how.Flags&unix.O_NONBLOCK != 0 {
				again++
				return -1, unix.EAGAIN
			}
			require.EqualValues(t, unix.O_PATH|unix.O_CLOEXEC, how.Flags)
			return unix.Openat2(dir, path, how)
		}
		r.pread = func(fd int, p []byte, off int64) (int, error) {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			require.NoError(t, err)
			require.Zero(t, flags&unix.O_NONBLOCK)
			return unix.Pread(fd, p, off)
		}
		begin := time.Now()
		readAll(t, r, files, nil)
		require.Equal(t, OK, files[0].Status, "%v", files[0].Errno)
		require.Equal(t, leaseWait, time.Since(begin))
		require.Equal(t, int(leaseWait/leaseNap)+2, again, "the caller's, and one before and after each nap")

		fifo := []File{{Path: "fifo"}}
		readAll(t, r, fifo, nil)
		require.Equal(t, IO, fifo[0].Status, "an open without O_NONBLOCK would wait for a writer")
		require.Equal(t, syscall.EAGAIN, fifo[0].Errno)
		require.Equal(t, OpOpen, fifo[0].Op)
	})
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// Without a descriptor for a file the batch waits for the rest of the process to give some back.
func TestNoDescriptorLeft(t *testing.T) {
	for name, c := range map[string]struct {
		refusals int
		cancel   bool
		status   Status
		took     time.Duration
	}{
		"soon":   {3, false, OK, 2 * starvedNap},
		"never":  {1 << 30, false, IO, starvedWait + starvedNap},
		"cancel": {1 << 30, true, Canceled, starvedNap},
	} {
		t.Run(name, func(t *testing.T) {
			r, files := oneFile(t, Options{})
			synctest.Test(t, func(t *testing.T) {
				cancel, calls := new(uint32), 0
				r.openat2 = func(dir int, path string, how *unix.OpenHow) (int, error) {
					if calls++; calls <= c.refusals {
						if c.cancel && calls == 2 {
							atomic.StoreUint32(cancel, 1)
						}
						return -1, unix.EMFILE
					}
					return unix.Openat2(dir, path, how)
				}
				begin := time.Now()
				readAll(t, r, files, cancel)
				require.Equal(t, c.status, files[0].Status)
				require.Equal(t, c.took, time.Since(begin))
				if c.status == IO {
					require.Equal(t, syscall.EMFILE, files[0].Errno)
					require.Equal(t, OpOpen, files[0].Op)
				} else {
					require.Zero(t, files[0].Errno)
				}
			})
		})
	}
}

// The caller reads what is in the page cache and makes no call that blocks; what would block is read by others.
func TestTheCallerDoesNotBlock(t *testing.T) {
	for name, c := range map[string]struct {
		openErr, readErr error
		blocking         int // calls of pread
	}{
		"cached":            {nil, nil, 0},
		"bytes not cached":  {nil, unix.EAGAIN, 1},
		"nobody can tell":   {nil, unix.EOPNOTSUPP, 1},
		"an error":          {nil, unix.EIO, 1}, // for pread(2) to say
		"a signal":          {unix.EINTR, nil, 1},
		"path not cached":   {unix.EAGAIN, nil, 1},
		"no descriptor now": {unix.EMFILE, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, files := oneFile(t, Options{})
			var preads atomic.Int32
			r.pread = func(fd int, p []byte, off int64) (int, error) {
				preads.Add(1)
				return unix.Pread(fd, p, off)
			}
			r.preadCached = func(fd int, p []byte, off int64) (int, error) {
				if c.readErr != nil {
					return -1, c.readErr
				}
				return unix.Pread(fd, p, off)
			}
			first := true
			r.openat2 = func(dir int, path string, how *unix.OpenHow) (int, error) {
				if first && c.openErr != nil {
					first = false
					return -1, c.openErr
				}
				how.Resolve &^= resolveCached // a file that was just written is, but that is not the point
				return unix.Openat2(dir, path, how)
			}
			readAll(t, r, files, nil)
			require.Equal(t, OK, files[0].Status)
			require.EqualValues(t, c.blocking, preads.Load())
		})
	}
}

// A file that deserves another try when the batch is stopped was not read whole: that is not what it failed of.
func TestStoppedBeforeAnotherTry(t *testing.T) {
	r, files := oneFile(t, Options{})
	files[0].CRC++
	cancel := new(uint32)
	r.preadCached = func(fd int, p []byte, off int64) (int, error) {
		if off == 0 {
			return unix.Pread(fd, p, off)
		}
		atomic.StoreUint32(cancel, 1)
		return 1, nil // a byte behind the size
	}
	readAll(t, r, files, cancel)
	require.Equal(t, Canceled, files[0].Status)
	require.Nil(t, files[0].Buf)
}

// A large batch in the page cache is worth another CPU; a small one is not.
func TestHelpers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for n, want := range map[int]int64{1: 0, helperFiles - 1: 0, 20 * helperFiles: 1} {
		r, files := oneFile(t, Options{})
		r.preadCached = unix.Pread
		b := &batch{Reader: r, Batch: Batch{Check: CheckCRC, Alloc: NewBuffer}}
		for range n {
			b.Files = append(b.Files, files[0])
		}
		b.tryFiles()
		b.running.Wait()
		for i := range b.Files {
			require.Equal(t, OK, b.Files[i].Status)
		}
		if want == 0 {
			require.Zero(t, b.helpers.Load(), "%d files", n)
		} else {
			require.GreaterOrEqual(t, b.helpers.Load(), want, "%d files", n)
		}
	}
}

func TestWorkers(t *testing.T) {
	r, _ := oneFile(t, Options{Workers: 3})
	require.Equal(t, 3, r.Workers())
	r, _ = oneFile(t, Options{})
	require.EqualValues(t, max(1, min(workersDefault, threadLimit()/threadsShare)), r.Workers())
}

func TestCgroupsLimit(t *testing.T) {
	mount := t.TempDir()
	for group, max := range map[string]string{
		"pod": "400\n", "pod/loki": "max\n", "pod/small": "90\n", "pids/old": "70\n", "pids": "80\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(mount, group), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(mount, group, "pids.max"), []byte(max), 0o644))
	}
	const none = math.MaxUint64
	for groups, want := range map[string]uint64{
		"":                               none,
		"nonsense\n":                     none,
		"0::/\n":                         none,
		"0::/elsewhere\n":                none,
		"0::/pod\n":                      400,
		"0::/pod/loki\n":                 400,
		"0::/pod/small\n":                90,
		"7:cpu,pids:/old\n0::/pod\n":     70,
		"7:pids:/elsewhere\n0::/pod\n":   80,
		"7:memory:/old\n0::/pod/small\n": 90,
	} {
		require.Equal(t, want, cgroupsLimit(groups, mount), "%q", groups)
	}
}
