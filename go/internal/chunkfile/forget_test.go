// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// work is one writer's view: what it did to a name, and so what may be there.
type work struct {
	d      *Dir
	r      *recorder
	holds  map[string][]uint64 // 0: nothing
	number uint64
}

func (w *work) now(rel string) []uint64 {
	if h := w.holds[rel]; h != nil {
		return h
	}
	return []uint64{0}
}

func (w *work) set(rel string, generations ...uint64) {
	w.holds[rel] = generations
	w.r.want(rel, generations...)
}

// put stores the next generation; then exactly this one may be there, or exactly what was before when
// the error says that nothing was renamed.
func (w *work) put(rel string, size int) error {
	w.number++
	before := w.now(rel)
	w.set(rel, append(slices.Clone(before), w.number)...)
	err := w.d.Put(ctx, rel, content(w.number, size))
	var pe *fs.PathError
	switch {
	case err == nil:
		w.set(rel, w.number)
	case errors.As(err, &pe) && pe.Op == verbPut+": "+string(stepSyncFolder):
		// either
	default:
		w.set(rel, before...)
	}
	return err
}

// remove deletes; the old content may come back with the next power loss.
func (w *work) remove(rel string) error {
	w.set(rel, append([]uint64{0}, w.now(rel)...)...)
	return w.d.Delete(rel)
}

func newWork(t testing.TB) *work {
	d := mustOpen(t, fastDir(t))
	return &work{d: d, r: record(d), holds: map[string][]uint64{}}
}

var workloads = map[string]func(w *work) error{
	"new, again and again": func(w *work) error {
		return errors.Join(w.put("t/f/c", 3000), w.put("t/f/c", 100), w.put("t/f/c", 5000))
	},
	"several names and folders": func(w *work) error {
		return errors.Join(w.put("t/f/c", 3000), w.put("t/f/d", 3000), w.put("t/g/c", 100), w.put("u/f/c", 100))
	},
	"flat": func(w *work) error { return errors.Join(w.put("c", 100), w.put("c", 3000), w.put("d", 1000)) },
	"more than one write": func(w *work) error {
		return errors.Join(w.put("t/f/c", writeBytesMax+5000), w.put("t/f/c", 2*writeBytesMax+1))
	},
	"put, delete, put": func(w *work) error {
		return errors.Join(w.put("t/f/c", 3000), w.remove("t/f/c"), w.put("t/f/c", 100), w.put("t/f/d", 100),
			w.remove("t/f/c"), w.put("t/f/c", 3000))
	},
	"delete all": func(w *work) error {
		return errors.Join(w.put("t/f/c", 3000), w.put("t/g/c", 3000), w.remove("t/f/c"), w.remove("t/g/c"), w.put("t/g/c", 100))
	},
}

// At every moment of these workloads, whatever the disk forgets of what was not synced: a name holds the
// whole old or the whole new content or nothing, and what Put acknowledged is there.
func TestForgetfulDisk(t *testing.T) {
	for name, do := range workloads {
		t.Run(name, func(t *testing.T) {
			w := newWork(t)
			require.NoError(t, do(w))
			require.NoError(t, w.r.check())
			t.Logf("%d events", len(w.r.events))
		})
	}
}

// The same when a step fails once on the way, each of them, and when the process is told so by fsync.
func TestForgetfulDiskAndFailures(t *testing.T) {
	for name, do := range workloads {
		for _, s := range append(slices.Clone(putSteps), stepUnlink, stepRemoveFolder) {
			for nth := 1; nth <= 3; nth++ {
				w := newWork(t)
				left := nth
				w.d.fault = func(at step) error {
					if at == s {
						if left--; left == 0 {
							return unix.EIO
						}
					}
					return nil
				}
				_ = do(w) // some of it fails; what did is in the record
				require.NoError(t, w.r.check(), "%s: %s fails the %d. time", name, s, nth)
			}
		}
		for nth := 1; nth <= 8; nth++ { // the call itself
			w := newWork(t)
			fail(w.d, nth)
			w.d.sys = w.r.system(w.d.sys)
			_ = do(w)
			require.NoError(t, w.r.check(), "%s: fsync %d fails", name, nth)
		}
	}
}

// fail takes the recorder out, which the caller puts above it again, and makes the n-th fsync fail.
func fail(d *Dir, n int) {
	d.sys = linux
	d.sys.fsync = func(fd int) error {
		if n--; n == 0 {
			return unix.EIO
		}
		return unix.Fsync(fd)
	}
}

// Many writers at once, in the same folders, with deletes that remove these.
func TestForgetfulDiskConcurrently(t *testing.T) {
	d := mustOpen(t, fastDir(t))
	r := record(d)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			w := &work{d: d, r: r, holds: map[string][]uint64{}, number: uint64(i) * 1000}
			rel := fmt.Sprintf("t/f%d/c%d", i%2, i)
			for n := range 4 {
				if err := w.put(rel, 100+n); err != nil {
					t.Error(err)
				}
				if n%2 == 1 {
					if err := w.remove(rel); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, r.check())
	t.Logf("%d events", len(r.events))
}

// The model has teeth: each way to write files that is known to lose them, among them the stock
// client's, is found out. The writer is Put with a system that does less, or in another order.
func TestForgetfulDiskFindsOut(t *testing.T) {
	isTemp := func(fd int) bool { return IsTemporary(filepath.Base(nameOf(fd))) }
	for name, c := range map[string]struct {
		spoil func(root string, real system) system // real: with the record
		finds string
	}{
		"no fsync of the file": {func(_ string, sys system) system {
			fsync := sys.fsync
			sys.fsync = func(fd int) error {
				if isTemp(fd) {
					return nil
				}
				return fsync(fd)
			}
			return sys
		}, "torn"},
		"no fsync of the folder": {func(root string, sys system) system {
			fsync := sys.fsync
			sys.fsync = func(fd int) error {
				if !isTemp(fd) && nameOf(fd) == root+"/t/f" {
					return nil
				}
				return fsync(fd)
			}
			return sys
		}, "holds generation"},
		"no fsync of the parent": {func(root string, sys system) system {
			fsync := sys.fsync
			sys.fsync = func(fd int) error {
				if nameOf(fd) == root+"/t" {
					return nil
				}
				return fsync(fd)
			}
			return sys
		}, "holds generation 0"},
		"no fsync of the store directory": {func(root string, sys system) system {
			fsync := sys.fsync
			sys.fsync = func(fd int) error {
				if nameOf(fd) == root {
					return nil
				}
				return fsync(fd)
			}
			return sys
		}, "holds generation 0"},
		"rename before fsync": {func(_ string, sys system) system {
			fsync, renameat, late := sys.fsync, sys.renameat, -1
			sys.fsync = func(fd int) (err error) {
				if isTemp(fd) {
					late, err = unix.Dup(fd)
					return err
				}
				return fsync(fd)
			}
			sys.renameat = func(oldfd int, old string, newfd int, next string) error {
				defer unix.Close(late)
				return errors.Join(renameat(oldfd, old, newfd, next), fsync(late))
			}
			return sys
		}, "torn"},
		"a failed fsync is tried again": {func(_ string, sys system) system {
			fsync := sys.fsync
			sys.fsync = func(fd int) error {
				if err := fsync(fd); err != nil {
					return fsync(fd)
				}
				return nil
			}
			return sys
		}, "torn"},
		"in place, as the stock client": {func(_ string, sys system) system {
			openat := sys.openat
			sys.openat = func(dirfd int, _ string, flags int, mode uint32) (int, error) {
				_ = sys.unlinkat(dirfd, "c", 0) // stands in for O_TRUNC
				return openat(dirfd, "c", flags, mode)
			}
			sys.renameat = func(int, string, int, string) error { return nil }
			return sys
		}, "torn"},
		"past the record": {func(_ string, sys system) system {
			sys.unlinkat = unix.Unlinkat
			return sys
		}, "not complete"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWork(t)
			if strings.Contains(name, "tried again") {
				fail(w.d, 3) // of the first file, after two parents
				w.d.sys = w.r.system(w.d.sys)
			}
			w.d.sys = c.spoil(w.d.Path(), w.d.sys)
			err := errors.Join(w.put("t/f/c", 3000), w.put("t/f/c", 5000), w.remove("t/f/c"))
			require.NoError(t, err)
			require.ErrorContains(t, w.r.check(), c.finds)
		})
	}
}
