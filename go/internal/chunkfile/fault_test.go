// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var putSteps = []step{
	stepOpenFolder, stepMakeFolder, stepSyncParent, stepCreate, stepWrite, stepSync, stepClose,
	stepRename, stepSyncFolder,
}

// Every step of Put fails once, with each errno that matters, for a new and for an existing name.
func TestPutFailsAtEveryStep(t *testing.T) {
	for _, s := range putSteps {
		for _, errno := range []error{unix.EIO, unix.ENOSPC, unix.EROFS, unix.EACCES, unix.EDQUOT} {
			for _, exists := range []bool{false, true} {
				if exists && (s == stepMakeFolder || s == stepSyncParent) {
					continue // no folder to make
				}
				if errno == unix.EACCES && (s == stepSyncParent || s == stepSyncFolder) {
					continue // not a failure: TestFsyncFails
				}
				failStep(t, s, errno, exists)
			}
		}
	}
}

func failStep(t *testing.T, s step, errno error, exists bool) {
	t.Helper()
	dir := fastDir(t)
	d := mustOpen(t, dir)
	file := filepath.Join(dir, "t/f/c")
	before, after := content(1, 5000), content(2, 2*writeBytesMax)
	if exists {
		require.NoError(t, d.Put(ctx, "t/f/c", before))
	}
	count := map[step]int{}
	d.fault = func(at step) error {
		count[at]++
		if at != s || at == stepWrite && count[at] != 2 { // the disk fills after the first MiB
			return nil
		}
		return errno
	}
	err := d.Put(ctx, "t/f/c", after)
	require.ErrorIs(t, err, errno)
	var pathErr *fs.PathError
	require.ErrorAs(t, err, &pathErr)
	require.Equal(t, "put chunk: "+string(s), pathErr.Op)
	require.Equal(t, file, pathErr.Path)
	require.Equal(t, s == stepSyncFolder, errors.Is(err, ErrNotDurable), "%s: what is stored", s)
	require.LessOrEqual(t, count[stepSync], 1, "a failed fsync is not tried again")
	require.LessOrEqual(t, count[stepSyncFolder], 1)
	require.Empty(t, temporaries(t, dir))
	switch {
	case s == stepSyncFolder:
		requireFile(t, file, after)
	case exists:
		requireFile(t, file, before)
	default:
		require.NoDirExists(t, filepath.Join(dir, "t"), "%s: folders made for nothing go too", s)
	}
	d.fault = nil
	require.NoError(t, d.Put(ctx, "t/f/c", after))
	requireFile(t, file, after)
	require.NoError(t, d.Close())
}

// What is synced, and when. No file system at hand loses a folder whose own fsync succeeded, so
// TestPowerLoss cannot show the parents' sync; the order of calls can.
func TestSyncOrder(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	record := func(d *Dir) *[]string {
		log := &[]string{}
		d.fault = func(s step) error {
			if s == stepRename || s == stepMakeFolder {
				*log = append(*log, string(s))
			}
			return nil
		}
		d.sys.fsync = func(fd int) error {
			name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if IsTemporary(filepath.Base(name)) {
				name = filepath.Dir(name) + "/TEMP"
			}
			*log = append(*log, "sync "+strings.TrimPrefix(name, base))
			return errors.Join(err, unix.Fsync(fd))
		}
		return log
	}
	d := mustOpen(t, base+"/store")
	log := record(d)
	require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
	require.Equal(t, []string{
		"make folder", "sync /store", "make folder", "sync /store/t",
		"sync /store/t/f/TEMP", "rename", "sync /store/t/f",
	}, *log)
	*log = nil
	require.NoError(t, d.Put(ctx, "t/f/c", content(2, 10)))
	require.Equal(t, []string{"sync /store/t/f/TEMP", "rename", "sync /store/t/f"}, *log)
	*log = nil
	require.NoError(t, d.Put(ctx, "t/g/c", content(2, 10)))
	require.Equal(t, []string{ // t was there: its entry is durable already
		"make folder", "make folder", "sync /store/t", "sync /store/t/g/TEMP", "rename", "sync /store/t/g",
	}, *log)
	*log = nil
	require.NoError(t, d.Put(ctx, "flat", nil))
	require.Equal(t, []string{"sync /store/TEMP", "rename", "sync /store"}, *log)

	*log = nil
	require.NoError(t, d.makeRoot(base+"/store/x/y/z"))
	require.Equal(t, []string{"sync /store/x/y", "sync /store/x", "sync /store"}, *log)
}

// Stale handles, as NFS has them when another client replaced a folder. Names are looked up again; bytes
// that may not have arrived are an error. Where handles stay stale, so is the end.
func TestStaleHandles(t *testing.T) {
	for _, s := range append(slices.Clone(putSteps), stepUnlink, stepRemoveFolder) {
		d := mustOpen(t, fastDir(t))
		left, calls := 1, map[step]int{}
		d.fault = func(at step) error {
			calls[at]++
			if at == s && left > 0 {
				left--
				return unix.ESTALE
			}
			return nil
		}
		err := d.Put(ctx, "t/f/c", content(1, 100))
		if slices.Contains([]step{stepSyncParent, stepWrite, stepSync, stepClose, stepSyncFolder}, s) {
			require.ErrorIs(t, err, unix.ESTALE, s)
			require.LessOrEqual(t, calls[stepSync], 1, "a failed fsync is not tried again")
			require.LessOrEqual(t, calls[stepSyncParent], 2, "one of each parent")
			require.LessOrEqual(t, calls[stepSyncFolder], 1)
			require.NoError(t, d.Put(ctx, "t/f/c", content(1, 100)))
		} else {
			require.NoError(t, err, s)
		}
		requireFile(t, d.Path()+"/t/f/c", content(1, 100))
		require.NoError(t, d.Delete("t/f/c"), s)
		require.NoFileExists(t, d.Path()+"/t/f/c")
		require.Empty(t, temporaries(t, d.Path()))

		left, calls = 1000, map[step]int{}
		err = d.Put(ctx, "t/f/c", content(1, 100))
		if slices.Contains(putSteps, s) {
			require.ErrorIs(t, err, unix.ESTALE, s)
		}
		require.LessOrEqual(t, calls[s], putAttemptsMax)
		left = 0
		require.NoError(t, d.Put(ctx, "t/f/c", content(1, 100)))
		left, calls = 1000, map[step]int{}
		err = d.Delete("t/f/c")
		if s == stepOpenFolder || s == stepUnlink {
			require.ErrorIs(t, err, unix.ESTALE, s)
			require.Equal(t, staleAttemptsMax, calls[s])
			require.FileExists(t, d.Path()+"/t/f/c")
		} else {
			require.NoError(t, err)
		}
	}
}

// fsync itself fails, or there is none. A folder that can't be synced on this file system is accepted and
// reported, a file is not.
func TestFsyncFails(t *testing.T) {
	for errno, unsupported := range map[error]bool{
		unix.EIO: false, unix.ENOSPC: false, unix.EDQUOT: false, unix.ESTALE: false, unix.EROFS: false, unix.ENOLCK: false,
		unix.EBADF: true, unix.EINVAL: true, unix.EOPNOTSUPP: true, unix.ENOSYS: true,
		unix.EACCES: true, unix.EPERM: true,
	} {
		for _, folder := range []bool{false, true} {
			d := mustOpen(t, fastDir(t))
			require.NoError(t, d.Put(ctx, "t/f/c", content(1, 100)))
			var notSynced []string
			d.NotSynced = func(folder string, reason error) {
				require.Equal(t, errno, reason)
				notSynced = append(notSynced, folder)
			}
			failed := 0
			d.sys.fsync = func(fd int) error {
				var st unix.Stat_t
				if unix.Fstat(fd, &st) == nil && (st.Mode&unix.S_IFMT == unix.S_IFDIR) == folder {
					failed++
					return errno
				}
				return unix.Fsync(fd)
			}
			for rel, folders := range map[string][]string{"t/f/c": {"t/f"}, "u/f/c": {"", "u", "u/f"}} {
				failed, notSynced = 0, nil
				err := d.Put(ctx, rel, content(2, 100))
				if folder && unsupported {
					require.NoError(t, err, "%v", errno)
					require.Equal(t, folders, notSynced)
					requireFile(t, d.Path()+"/"+rel, content(2, 100))
					continue
				}
				require.ErrorIs(t, err, errno)
				require.Equal(t, folder && rel == "t/f/c", errors.Is(err, ErrNotDurable))
				require.Equal(t, 1, failed, "tried again")
				require.Empty(t, notSynced)
			}
			want := content(1, 100)
			if folder {
				want = content(2, 100)
			}
			if !folder || !unsupported {
				require.NoDirExists(t, d.Path()+"/u")
			}
			requireFile(t, d.Path()+"/t/f/c", want)
			require.Empty(t, temporaries(t, d.Path()))
		}
	}
}

// The store directory's parents are synced by the same rules.
func TestFsyncOfRootFails(t *testing.T) {
	for errno, fails := range map[error]bool{unix.EIO: true, unix.EBADF: false} {
		d := mustOpen(t, fastDir(t))
		d.sys.fsync = func(int) error { return errno }
		reported := 0
		d.NotSynced = func(string, error) { reported++ }
		err := d.makeRoot(d.Path() + "/a/b")
		require.Equal(t, fails, errors.Is(err, errno), "%v", err)
		require.Equal(t, map[bool]int{true: 0, false: 2}[fails], reported)
	}
}

// EBADF of a number that is not open is no file system's answer.
func TestSyncOfClosedFolder(t *testing.T) {
	d := mustOpen(t, fastDir(t))
	d.NotSynced = func(folder string, reason error) { t.Errorf("%s: %v", folder, reason) }
	fd, err := d.openFolderToSync("")
	require.NoError(t, err)
	require.NoError(t, d.syncFolder(stepSyncFolder, fd, ""))
	require.NoError(t, unix.Close(fd))
	require.ErrorIs(t, d.syncFolder(stepSyncFolder, 1<<20, ""), unix.EBADF)
}

// A context that ends before the rename leaves everything as it was; after it, it has no say.
func TestPutCancelledAtEveryStep(t *testing.T) {
	for i, s := range putSteps {
		dir := fastDir(t)
		d := mustOpen(t, dir)
		cctx, cancel := context.WithCancel(ctx)
		synced := 0
		d.fault = func(at step) error {
			if at == s {
				cancel()
			}
			if at == stepSync {
				synced++
			}
			return nil
		}
		err := d.Put(cctx, "t/f/c", content(1, 2000))
		if i >= slices.Index(putSteps, stepRename) {
			require.NoError(t, err, s)
			requireFile(t, dir+"/t/f/c", content(1, 2000))
		} else {
			require.ErrorIs(t, err, context.Canceled, s)
			require.NoDirExists(t, dir+"/t", s)
		}
		if i < slices.Index(putSteps, stepSync) {
			require.Zero(t, synced, "%s: no time for what is thrown away", s)
		}
		require.ErrorIs(t, d.Put(cctx, "x", nil), context.Canceled)
		require.NoFileExists(t, dir+"/x")
		require.Empty(t, temporaries(t, dir))
	}
}

func TestShortAndInterruptedWrites(t *testing.T) {
	d := mustOpen(t, fastDir(t))
	calls := 0
	d.sys.write = func(fd int, p []byte) (int, error) {
		if calls++; calls%2 == 1 {
			return -1, unix.EINTR
		}
		return unix.Write(fd, p[:(len(p)+1)/2])
	}
	require.NoError(t, d.Put(ctx, "a", content(1, 100000)))
	requireFile(t, d.Path()+"/a", content(1, 100000))

	d.sys.write = func(int, []byte) (int, error) { return 0, nil }
	require.ErrorIs(t, d.Put(ctx, "a", content(2, 100)), io.ErrShortWrite)
	requireFile(t, d.Path()+"/a", content(1, 100000))
	require.Empty(t, temporaries(t, d.Path()))
}

// What vanishes under a Put (a sweep with a wrong age, another process's delete, an operator) costs
// another attempt and nothing else; if it keeps vanishing, the Put ends with an error.
func TestPutStartsOver(t *testing.T) {
	for _, s := range []step{stepCreate, stepSync, stepRename} {
		for _, what := range []string{"temporary", "folders"} {
			d := mustOpen(t, fastDir(t))
			attempts := 0
			take := func() {
				for _, file := range temporaries(t, d.Path()) {
					require.NoError(t, os.Remove(file))
				}
				if what == "folders" {
					require.NoError(t, os.RemoveAll(d.Path()+"/t"))
				}
			}
			d.fault = func(at step) error {
				if at == s {
					if attempts++; attempts <= 3 {
						take()
					}
				}
				return nil
			}
			require.NoError(t, d.Put(ctx, "t/f/c", content(1, 1000)), "%s at %s", what, s)
			requireFile(t, d.Path()+"/t/f/c", content(1, 1000))
			require.Empty(t, temporaries(t, d.Path()))

			attempts = -1000
			err := d.Put(ctx, "t/g/c", content(1, 1000))
			if s != stepCreate || what == "folders" {
				require.ErrorIs(t, err, unix.ENOENT)
				require.GreaterOrEqual(t, attempts, -1000+putAttemptsMax/2)
				require.LessOrEqual(t, attempts, -1000+putAttemptsMax)
			}
		}
	}
}

func TestOpenat2Refused(t *testing.T) {
	d := mustOpen(t, fastDir(t))
	d.noOpenat2.Store(true)
	require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
	require.NoError(t, d.Put(ctx, "t/f/c", content(2, 10)))
	requireFile(t, d.Path()+"/t/f/c", content(2, 10))
	require.NoError(t, d.Delete("t/f/c"))
	require.NoDirExists(t, d.Path()+"/t")
}

func TestDeleteFails(t *testing.T) {
	for _, s := range []step{stepOpenFolder, stepUnlink, stepRemoveFolder} {
		d := mustOpen(t, fastDir(t))
		require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
		for _, errno := range []error{unix.EIO, unix.EACCES, unix.EROFS} {
			d.fault = func(at step) error {
				if at == s {
					return errno
				}
				return nil
			}
			err := d.Delete("t/f/c")
			if s == stepRemoveFolder && errno != unix.EIO {
				continue // the first one deleted it
			}
			require.ErrorIs(t, err, errno)
			require.ErrorContains(t, err, "delete chunk: "+string(s))
		}
	}
	for _, benign := range []error{unix.ENOTEMPTY, unix.EEXIST, unix.ENOENT, unix.EBUSY} {
		d := mustOpen(t, fastDir(t))
		require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
		d.fault = func(at step) error {
			if at == stepRemoveFolder {
				return benign
			}
			return nil
		}
		require.NoError(t, d.Delete("t/f/c"), benign)
	}
}

// mount mounts a small tmpfs, or says why not.
func mount(t *testing.T, options string) (dir string, ok bool) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Logf("NOT RUN on a real file system: mount tmpfs: %v; TestPutFailsAtEveryStep injects the errno", err)
		return "", false
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir, true
}

// A full file system: no torn file, no temporary, the old content whole, and good again with room.
func TestDiskFull(t *testing.T) {
	dir, ok := mount(t, "size=64k")
	if !ok {
		t.Skip("mount is not permitted")
	}
	d := mustOpen(t, dir)
	old := content(1, 8000)
	require.NoError(t, d.Put(ctx, "t/f/old", old))
	for range 3 {
		err := d.Put(ctx, "t/f/old", content(2, 100000))
		require.ErrorIs(t, err, unix.ENOSPC)
		require.ErrorContains(t, err, string(stepWrite))
		require.ErrorIs(t, d.Put(ctx, "t/new/c", content(2, 100000)), unix.ENOSPC)
	}
	requireFile(t, dir+"/t/f/old", old)
	require.NoDirExists(t, dir+"/t/new")
	require.Empty(t, temporaries(t, dir))
	require.NoError(t, d.Put(ctx, "t/f/old", content(3, 20000)))
	requireFile(t, dir+"/t/f/old", content(3, 20000))
	require.NoError(t, d.Close())
}

func TestNoInodesLeft(t *testing.T) {
	dir, ok := mount(t, "size=1m,nr_inodes=4") // root, t, f, one file
	if !ok {
		t.Skip("mount is not permitted")
	}
	d := mustOpen(t, dir)
	require.NoError(t, d.Put(ctx, "t/f/old", content(1, 100)))
	for _, rel := range []string{"t/f/old", "t/f/new", "t/g/new"} {
		require.ErrorIs(t, d.Put(ctx, rel, content(2, 100)), unix.ENOSPC)
	}
	requireFile(t, dir+"/t/f/old", content(1, 100))
	require.NoError(t, d.Close())
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir, ok := mount(t, "size=1m")
	if !ok {
		t.Skip("mount is not permitted")
	}
	require.NoError(t, os.MkdirAll(dir+"/t/f", 0o755))
	leftover(t, dir+"/t/f/c", 0)
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	d := mustOpen(t, dir)
	requireFile(t, dir+"/t/f/c", []byte("torn"))
	require.ErrorIs(t, d.Put(ctx, "t/f/c", nil), unix.EROFS)
	require.ErrorIs(t, d.Put(ctx, "new/f/c", nil), unix.EROFS)
	require.ErrorIs(t, d.Delete("t/f/c"), unix.EROFS)
	require.ErrorIs(t, d.CheckWritable(), unix.EROFS)
	removed, err := d.CleanTemporaries(ctx, 0, everywhere)
	require.NoError(t, err)
	require.Zero(t, removed)
	require.NoError(t, d.Close())
}

// Without write permission. Root has it always, so the test's thread becomes nobody for files.
func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
	for _, p := range []string{dir, dir + "/t", dir + "/t/f"} {
		require.NoError(t, os.Chmod(p, 0o555))
	}
	defer func() {
		for _, p := range []string{dir, dir + "/t", dir + "/t/f"} {
			_ = os.Chmod(p, 0o755)
		}
	}()
	got := make(chan []error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if os.Getuid() == 0 {
			_ = unix.Setfsuid(65534)
		}
		got <- []error{
			d.Put(ctx, "t/f/c", nil), d.Put(ctx, "t/f/d", nil), d.Put(ctx, "t/g/c", nil), d.Put(ctx, "c", nil),
			d.Delete("t/f/c"), d.CheckWritable(),
		}
	}()
	for i, err := range <-got {
		require.ErrorIs(t, err, unix.EACCES, i)
		require.True(t, errors.Is(err, fs.ErrPermission))
		require.True(t, strings.Contains(err.Error(), dir), err)
	}
	requireFile(t, dir+"/t/f/c", content(1, 10))
}

// Folders that may be written and searched but not read take puts, as from the stock client; they can't
// be synced.
func TestUnreadableFolders(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	var mu sync.Mutex
	notSynced := map[string]error{}
	d.NotSynced = func(folder string, reason error) {
		mu.Lock()
		defer mu.Unlock()
		notSynced[folder] = reason
	}
	require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
	require.Empty(t, notSynced)
	for _, p := range []string{dir, dir + "/t", dir + "/t/f"} {
		require.NoError(t, os.Chmod(p, 0o333))
		defer os.Chmod(p, 0o755)
	}
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if p != dir {
			require.NoError(t, os.Chmod(p, 0o755))
		}
	}
	got := make(chan []error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if os.Getuid() == 0 {
			_ = unix.Setfsuid(65534)
		}
		got <- []error{d.Put(ctx, "t/f/c", content(2, 10)), d.Put(ctx, "t/g/c", content(2, 10)), d.Put(ctx, "c", content(2, 10))}
	}()
	for i, err := range <-got {
		require.NoError(t, err, i)
	}
	for _, file := range []string{"/t/f/c", "/t/g/c", "/c"} {
		requireFile(t, dir+file, content(2, 10))
	}
	require.Equal(t, map[string]error{"": unix.EACCES, "t": unix.EACCES, "t/f": unix.EACCES}, notSynced, "t/g is nobody's own")
}
