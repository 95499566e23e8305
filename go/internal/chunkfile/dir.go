// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/lifetime"
)

const (
	folderMode = 0o777 // before umask, as Loki's util.EnsureDirectory
	fileMode   = 0o644 // before umask, as Loki's FSObjectClient

	cacheFolderMode = 0o700 // of OpenCache: copies are their owner's business
	cacheFileMode   = 0o600

	nameBytesMax = 255  // NAME_MAX; checked before writing, a rename would tell only after it
	pathBytesMax = 4095 // PATH_MAX without its NUL
	depthMax     = 32   // components; Loki's keys have at most 3. Bounds the sweep's open folders

	folderLocks = 64
)

// Dir writes and deletes files below one directory. All methods may be called at once from many
// goroutines, and other processes may use the directory too. The zero value is not usable.
type Dir struct {
	path string
	root int // O_PATH fd: containment starts here, whatever later happens to the names above

	// Until Close, which waits for the operations that run: a closed fd's number is soon another file.
	life lifetime.Lifetime

	// Folders, hashed by path. Shared: opening the folder and creating a temporary file in it, from
	// where on it cannot be removed. Exclusive: making it and syncing its parent, or removing it.
	// So nobody in this process acknowledges a file in a folder that is not durable yet. A folder
	// that vanishes before it is opened, or by another process, costs Put a restart, which it bounds.
	// Never hold two: different folders may share a lock.
	locks [folderLocks]sync.RWMutex
	seed  maphash.Seed

	// NotSynced, if not nil, is called each time a folder could not be made durable because its file system
	// can't, with the reason. Set it before the first operation; it may be called at once from many
	// goroutines.
	NotSynced func(folder string, reason error)

	cache bool // of OpenCache

	noOpenat2 atomic.Bool // seccomp or a kernel before 5.6 refused it once; then we walk by hand

	// Tests only, set before the first operation: fault is called before each step and may fail it,
	// sys are the system calls, so that they can be seen, or do less than asked.
	fault func(step) error
	sys   system
}

// system is every call that changes something on the disk, but for makeRoot's.
type system struct {
	mkdirat  func(dirfd int, path string, mode uint32) error
	openat   func(dirfd int, path string, flags int, mode uint32) (fd int, err error) // only to create
	write    func(fd int, p []byte) (n int, err error)
	fsync    func(fd int) error
	renameat func(olddirfd int, oldpath string, newdirfd int, newpath string) error
	unlinkat func(dirfd int, path string, flags int) error
}

var linux = system{unix.Mkdirat, unix.Openat, unix.Write, unix.Fsync, unix.Renameat, unix.Unlinkat}

// Open opens the store directory, and makes it with its parents if it is missing, as the stock
// client does. It writes nothing else, so a read-only directory can be opened; Put and Delete
// then fail with EROFS or EACCES. The caller closes the Dir.
func Open(dir string) (*Dir, error) { return open(dir, false) }

// OpenCache is Open for copies of what is safe elsewhere: nothing is synced, and folders and files are the
// owner's alone. A crash of the process still leaves each name whole, old or new; a power loss may leave
// any bytes under a name that was put shortly before, so whoever reads must check them.
func OpenCache(dir string) (*Dir, error) { return open(dir, true) }

func open(dir string, cache bool) (*Dir, error) {
	dir = filepath.Clean(dir)
	d := &Dir{path: dir, root: -1, seed: maphash.MakeSeed(), sys: linux, cache: cache}
	openRoot := func() (err error) {
		// The store directory itself may be a symbolic link: the operator chose it.
		d.root, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	}
	err := ignoreEINTR(openRoot)
	if err == unix.ENOENT {
		if err = d.makeRoot(dir); err != nil {
			return nil, fmt.Errorf("make store directory: %w", err)
		}
		err = ignoreEINTR(openRoot)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open store directory", Path: dir, Err: err}
	}
	return d, nil
}

// makeRoot makes dir and its missing parents durable: what is stored below would go with them.
func (d *Dir) makeRoot(dir string) error {
	var parents []string
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	if err := os.MkdirAll(dir, d.folderMode()); err != nil {
		return err
	}
	for _, p := range parents {
		fd, err := readOrPath(func(flags int) (int, error) {
			return unix.Open(p, flags|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		})
		if err == nil {
			err = d.syncFolder(stepSyncParent, fd, p)
			_ = unix.Close(fd) // read-only: nothing is lost
		}
		if err != nil {
			return &fs.PathError{Op: "sync", Path: p, Err: err}
		}
	}
	return nil
}

func (d *Dir) folderMode() fs.FileMode {
	if d.cache {
		return cacheFolderMode
	}
	return folderMode
}

func (d *Dir) fileMode() uint32 {
	if d.cache {
		return cacheFileMode
	}
	return fileMode
}

func (d *Dir) enter() bool { return d.life.Enter() }
func (d *Dir) leave()      { d.life.Leave() }

// Close waits for running operations and releases the directory. Calls that begin while it waits, and
// later ones, give fs.ErrClosed at once.
func (d *Dir) Close() (err error) {
	if !d.life.End(func() { err = unix.Close(d.root) }) {
		return fs.ErrClosed
	}
	return err
}

// Path returns the directory as Open was given it, cleaned.
func (d *Dir) Path() string { return d.path }

// CheckWritable creates and removes an empty temporary file in the store directory. It is for a
// start-up message that is more exact than the first failed flush. It does not find a full disk.
func (d *Dir) CheckWritable() error {
	if !d.enter() {
		return fs.ErrClosed
	}
	defer d.leave()
	tmp, name, err := d.createTemp(d.root)
	if err == nil {
		_ = unix.Close(tmp) // empty and about to go
		err = ignoreEINTR(func() error { return d.sys.unlinkat(d.root, name, 0) })
	}
	if err != nil {
		return &fs.PathError{Op: "write in store directory", Path: d.path, Err: err}
	}
	return nil
}

// splitPath checks that rel cannot leave the store and is no temporary name; folder is "" for
// a file in the root.
func splitPath(rel string) (folder, name string, err error) {
	if len(rel) > pathBytesMax || strings.Count(rel, "/") >= depthMax {
		return "", "", fmt.Errorf("%w: %w", ErrInvalidPath, unix.ENAMETOOLONG)
	}
	if strings.IndexByte(rel, 0) >= 0 {
		return "", "", ErrInvalidPath
	}
	for c := range strings.SplitSeq(rel, "/") {
		switch {
		case c == "" || c == "." || c == "..":
			return "", "", ErrInvalidPath
		case len(c) > nameBytesMax:
			return "", "", fmt.Errorf("%w: %w", ErrInvalidPath, unix.ENAMETOOLONG)
		}
	}
	folder, name = path.Split(rel)
	if IsTemporary(name) {
		return "", "", ErrInvalidPath
	}
	return strings.TrimSuffix(folder, "/"), name, nil
}

// parent returns the folder that holds folder, "" for the root.
func parent(folder string) string {
	return strings.TrimSuffix(folder[:strings.LastIndexByte(folder, '/')+1], "/")
}

func (d *Dir) lockOf(folder string) *sync.RWMutex {
	return &d.locks[maphash.String(d.seed, folder)%folderLocks]
}

// openFolder opens a folder below the root without following any symbolic link. The caller closes
// it. flags is O_RDONLY for a folder to list, O_PATH for one to unlink from; see openFolderToSync.
func (d *Dir) openFolder(folder string, flags int) (int, error) {
	if folder == "" {
		folder = "."
	}
	flags |= unix.O_DIRECTORY | unix.O_CLOEXEC
	if !d.noOpenat2.Load() {
		how := unix.OpenHow{
			Flags:   uint64(flags),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		}
		fd := -1
		err := ignoreEINTR(func() (err error) {
			fd, err = unix.Openat2(d.root, folder, &how)
			return err
		})
		if err != unix.ENOSYS && err != unix.EPERM {
			return fd, err
		}
		d.noOpenat2.Store(true) // once refused, always refused: do not ask for every chunk
	}
	return d.walkFolder(folder, flags)
}

// walkFolder is openFolder without openat2: one component at a time, none of them a link.
func (d *Dir) walkFolder(folder string, flags int) (int, error) {
	at := d.root
	components := strings.Split(folder, "/")
	for i, c := range components {
		f := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
		if i == len(components)-1 {
			f = flags
		}
		fd := -1
		err := ignoreEINTR(func() (err error) {
			fd, err = unix.Openat(at, c, f|unix.O_NOFOLLOW, 0)
			return err
		})
		if err == unix.ENOTDIR {
			// O_DIRECTORY hides that it was a link; say the same as openat2.
			var st unix.Stat_t
			if unix.Fstatat(at, c, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
				err = unix.ELOOP
			}
		}
		if at != d.root {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// makeFolders makes the missing folders of a path, from the top, each durable before the next.
// made tells that there is something new, even on error; again, that a name vanished meanwhile and
// starting over makes sense. A failed sync is not started over: it would then succeed for nothing.
func (d *Dir) makeFolders(verb, rel, folder string) (made, again bool, err error) {
	for end := 0; end < len(folder); end++ {
		next := strings.IndexByte(folder[end:], '/')
		if next < 0 {
			next = len(folder) - end
		}
		end += next
		one, again, err := d.makeFolder(verb, rel, folder[:end], end == len(folder))
		made = made || one
		if err != nil {
			return made, again, err
		}
	}
	return made, false, nil
}

func (d *Dir) makeFolder(verb, rel, folder string, missing bool) (made, again bool, err error) {
	lock := d.lockOf(folder)
	lock.Lock()
	defer lock.Unlock()
	above, err := d.openFolderToSync(parent(folder))
	if err != nil {
		return false, isGone(err), d.fail(verb, stepMakeFolder, rel, err)
	}
	defer unix.Close(above)
	name := path.Base(folder)
	err = d.do(stepMakeFolder, func() error { return d.sys.mkdirat(above, name, uint32(d.folderMode())) })
	made = err == nil
	if err == unix.EEXIST {
		if !missing {
			return false, false, nil
		}
		err = nil // missing a moment ago: another process made it and may not have synced it
	}
	if err != nil {
		return false, isGone(err), d.fail(verb, stepMakeFolder, rel, err)
	}
	if err = d.syncFolder(stepSyncParent, above, parent(folder)); err != nil {
		if made {
			// Nobody in this process saw it yet. Gone, it will be made and synced anew.
			_ = d.sys.unlinkat(above, name, unix.AT_REMOVEDIR)
		}
		return false, false, d.fail(verb, stepSyncParent, rel, err)
	}
	return made, false, nil
}
