// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/core"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

// What blocks, how much of it at a time, and what ends it. These tests run on both twins, too.

// hang is how long a test waits for what must come.
const hang = 60 * time.Second

// mountSlow makes a directory of n small files, and the same ones in a folder "slow" of it by FUSE.
func mountSlow(t *testing.T, n, size int, opts slowfs.Options) (dir string, hot, slow []core.File, fs *slowfs.FS) {
	t.Helper()
	if err := slowfs.Unavailable(); err != nil {
		t.Skip(err)
	}
	dir, hot = fill(t, n, size)
	below := t.TempDir()
	at := filepath.Join(dir, "slow")
	require.NoError(t, os.Mkdir(at, 0o755))
	for _, f := range hot {
		require.NoError(t, os.Link(filepath.Join(dir, f.Path), filepath.Join(below, f.Path)))
		slow = append(slow, core.File{Path: "slow/" + f.Path, CRC: f.CRC})
	}
	opts.DirectIO = true // no read-ahead: each READ is one that somebody waits for
	fs, err := slowfs.Mount(below, at, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fs.Close(), "a file was left open") })
	return dir, hot, slow, fs
}

func requireStatus(t *testing.T, want core.Status, files []core.File) {
	t.Helper()
	for _, f := range files {
		require.Equal(t, want, f.Status, "%s: %v", f.Path, f.Errno)
	}
}

func requireReceive(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(hang):
		t.Fatal("never came: " + what)
	}
}

// gate holds READs until it is opened, and says when want of them are under way.
type gate struct {
	want    int32
	waiting atomic.Int32
	full    chan struct{}
	opened  chan struct{}
}

func newGate(want int) *gate {
	return &gate{want: int32(want), full: make(chan struct{}), opened: make(chan struct{})}
}

func (g *gate) hold(op slowfs.Op, _ string) syscall.Errno {
	if op == slowfs.Read {
		if g.waiting.Add(1) == g.want {
			close(g.full)
		}
		<-g.opened
	}
	return 0
}

// startRead reads files on a goroutine of its own.
func startRead(t *testing.T, r *core.Reader, files []core.File, cancel *uint32) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		if err := read(r, files, core.CheckCRC, core.NewBuffer, cancel); err != nil {
			t.Error(err)
		}
	}()
	return done
}

// Workers bounds what waits for the storage in all batches together; what is in the page cache does not wait
// for it; and who stops waiting for a turn is let go of at once.
func TestWorkersBoundWhatBlocks(t *testing.T) {
	const workers = 3
	g := newGate(workers)
	dir, hot, slow, fs := mountSlow(t, 40, 1000, slowfs.Options{Fail: g.hold})
	requireNoWait(t, filepath.Join(dir, hot[0].Path))
	r := open(t, dir, core.Options{Backend: "threads", Workers: workers})

	one, other := slices.Clone(slow[:20]), slices.Clone(slow[20:])
	oneDone, otherDone := startRead(t, r, one, nil), startRead(t, r, other, nil)
	requireReceive(t, g.full, "as many READs as there are workers")

	again := slices.Clone(hot)
	requireReceive(t, startRead(t, r, again, nil), "the end of a batch in the page cache")
	requireStatus(t, core.OK, again)

	stopped, cancel := slices.Clone(slow), new(uint32)
	stoppedDone := startRead(t, r, stopped, cancel)
	atomic.StoreUint32(cancel, 1)
	requireReceive(t, stoppedDone, "the end of a stopped batch")
	requireStatus(t, core.Canceled, stopped)

	close(g.opened)
	requireReceive(t, oneDone, "the end of a batch")
	requireReceive(t, otherDone, "the end of a batch")
	requireStatus(t, core.OK, one)
	requireStatus(t, core.OK, other)
	require.Equal(t, workers, fs.Counts().Most)
}

// requireNoWait skips a test where nobody can tell whether a read would block.
func requireNoWait(t *testing.T, path string) {
	t.Helper()
	f := must(os.Open(path))
	defer f.Close()
	if _, err := unix.Preadv2(int(f.Fd()), [][]byte{make([]byte, 1)}, 0, unix.RWF_NOWAIT); err != nil {
		t.Skipf("%s: RWF_NOWAIT: %v", path, err)
	}
}

// Who stops waiting for a descriptor is let go of at once, too.
func TestStoppedWhileItWaitsForADescriptor(t *testing.T) {
	g := newGate(1)
	dir, hot, slow, _ := mountSlow(t, 3, 1000, slowfs.Options{Fail: g.hold})
	r := open(t, dir, core.Options{Backend: "threads", MaxOpenFiles: 1})
	first := slices.Clone(slow[:1])
	firstDone := startRead(t, r, first, nil)
	requireReceive(t, g.full, "a READ")

	waits, cancel := slices.Clone(hot), new(uint32)
	done := startRead(t, r, waits, cancel)
	atomic.StoreUint32(cancel, 1)
	requireReceive(t, done, "the end of a stopped batch")
	requireStatus(t, core.Canceled, waits)

	close(g.opened)
	requireReceive(t, firstDone, "the end of a batch")
	requireStatus(t, core.OK, first)
}

// A large file is read piece by piece: a stop is heard between two.
func TestStoppedWithinAFile(t *testing.T) {
	const size, piece, ahead = 12 << 20, 1 << 20, 4 << 20 // CR_READ_BYTES_MAX, CR_ADVISE_BYTES
	for name, op := range map[string]func(string, int64) int64{
		"read":     nil,
		"measured": func(string, int64) int64 { return 0 },
	} {
		t.Run(name, func(t *testing.T) {
			var cancel atomic.Pointer[uint32]
			dir, _, slow, fs := mountSlow(t, 1, size, slowfs.Options{Size: op, Fail: func(op slowfs.Op, _ string) syscall.Errno {
				if op == slowfs.Read {
					atomic.StoreUint32(cancel.Load(), 1)
				}
				return 0
			}})
			eachBackend(t, func(t *testing.T, backend string) {
				r := open(t, dir, core.Options{Backend: backend})
				cancel.Store(new(uint32))
				fs.Reset()
				files := slices.Clone(slow)
				require.NoError(t, read(r, files, core.CheckNone, core.NewBuffer, cancel.Load()))
				requireStatus(t, core.Canceled, files)
				require.Nil(t, files[0].Buf)
				counts := fs.Counts().Files["f0"]
				require.Positive(t, counts.Reads)
				require.Less(t, counts.Bytes, int64(2*piece+ahead), "it goes on after a piece, and what is fetched ahead of it")
			})
		})
	}
}

func TestOpSaysWhichCallFailed(t *testing.T) {
	for op, want := range map[slowfs.Op]core.Op{slowfs.Open: core.OpOpen, slowfs.Getattr: core.OpStat, slowfs.Read: core.OpRead} {
		t.Run(string(op), func(t *testing.T) {
			dir, _, slow, _ := mountSlow(t, 3, 1000, slowfs.Options{Fail: func(o slowfs.Op, path string) syscall.Errno {
				if o == op && path == "f1" {
					return syscall.EDQUOT
				}
				return 0
			}})
			eachBackend(t, func(t *testing.T, backend string) {
				r := open(t, dir, core.Options{Backend: backend})
				files := slices.Clone(slow)
				require.NoError(t, read(r, files, core.CheckCRC, core.NewBuffer, nil))
				require.Equal(t, []core.Status{core.OK, core.IO, core.OK}, []core.Status{files[0].Status, files[1].Status, files[2].Status})
				require.Equal(t, want, files[1].Op)
				require.Equal(t, syscall.EDQUOT, files[1].Errno)
				require.Equal(t, core.OpNone, files[0].Op)
			})
		})
	}
}

// A file server's lease: an open waits until it is given back, or the batch is stopped.
func TestLease(t *testing.T) {
	for name, stops := range map[string]bool{"given back": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				dir, files := fill(t, 3, 1000)
				path := filepath.Join(dir, files[1].Path)
				owner := must(os.OpenFile(path, os.O_RDWR, 0))
				defer owner.Close()
				if _, err := unix.FcntlInt(owner.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
					t.Skipf("F_SETLEASE: %v", err)
				}
				r := open(t, dir, core.Options{Backend: backend})
				cancel := new(uint32)
				done := startRead(t, r, files, cancel)
				require.Eventually(t, func() bool { // somebody wants the lease back
					return must(unix.FcntlInt(owner.Fd(), unix.F_GETLEASE, 0)) != unix.F_WRLCK
				}, hang, time.Millisecond)
				want := core.OK
				if stops {
					want = core.Canceled
					atomic.StoreUint32(cancel, 1)
					requireReceive(t, done, "the end of a stopped batch")
				}
				must(unix.FcntlInt(owner.Fd(), unix.F_SETLEASE, unix.F_UNLCK))
				requireReceive(t, done, "the end of the batch")
				require.Equal(t, want, files[1].Status, "errno %v", files[1].Errno)
				if !stops {
					requireStatus(t, core.OK, files)
				}
			})
		})
	}
}

// Opens that should not block and do, as FUSE's and NFS's: the caller leaves them to others, so that many are
// under way.
func TestSlowOpensAreUnderWayTogether(t *testing.T) {
	const together = 6
	var mu sync.Mutex
	most, now := 0, 0
	dir, _, slow, fs := mountSlow(t, 100, 100, slowfs.Options{
		CacheTime: time.Hour, // the kernel knows the path
		Fail: func(op slowfs.Op, path string) syscall.Errno {
			if op != slowfs.Open {
				return 0
			}
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			for range 100 { // long, or until there are enough: a bound, not a measure
				mu.Lock()
				enough := most >= together
				mu.Unlock()
				if enough {
					break
				}
				time.Sleep(time.Millisecond)
			}
			mu.Lock()
			now--
			mu.Unlock()
			return 0
		},
	})
	for _, f := range slow {
		_, err := os.Stat(filepath.Join(dir, f.Path))
		require.NoError(t, err)
	}
	eachBackend(t, func(t *testing.T, backend string) {
		mu.Lock()
		most = 0
		mu.Unlock()
		fs.Reset()
		r := open(t, dir, core.Options{Backend: backend})
		files := slices.Clone(slow)
		require.NoError(t, read(r, files, core.CheckCRC, core.NewBuffer, nil))
		requireStatus(t, core.OK, files)
		mu.Lock()
		defer mu.Unlock()
		require.GreaterOrEqual(t, most, together, "opens under way")
	})
}
