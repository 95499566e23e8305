// SPDX-License-Identifier: Apache-2.0

// Package slowfs mounts a folder a second time, read-only, by FUSE, as storage that is slow or lies: each
// LOOKUP, GETATTR, OPEN and READ can take its time, fail, or tell a wrong size, and is counted. It stands
// for NFS, EFS and network block devices in benchmarks, and for hostile file systems in tests. It lies here,
// not in an internal folder, since benchmarks and the tests below go/ both use it; it is no part of
// chunkring's API.
//
//	slowfs.go   mounting, what can be asked for
//	tree.go     folders and files
//	counts.go   how often each request came, and how many were under way
package slowfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Op is a request of the kernel's.
type Op string

// The requests that can be slowed down and made to fail. All others are answered at once.
const (
	Lookup  Op = "lookup"  // of one name in a folder; a path of three parts takes three
	Getattr Op = "getattr" // sent by stat and fstat where the attributes of a lookup are too old
	Open    Op = "open"    // of a file
	Read    Op = "read"
)

// Options say how a mount behaves. The zero value is fast and honest. Functions are called by many
// goroutines at a time, with paths that are relative to the mounted folder.
type Options struct {
	// Latency is how long a request takes. It holds up no other request.
	Latency map[Op]time.Duration

	// CacheTime is how long the kernel may answer by itself what it knows of names and attributes. With 0
	// it asks each time. What files hold is forgotten when they are opened, unless KeepCache is set.
	CacheTime time.Duration

	// KeepCache has an OPEN leave what the kernel knows of the file's bytes, as NFS does for a file that has not
	// changed (FOPEN_KEEP_CACHE).
	KeepCache bool

	// DirectIO has READs bypass the page cache (FOPEN_DIRECT_IO). Only then can bytes behind the end that
	// Size claims be read.
	DirectIO bool

	// Size replaces the size of a file wherever the kernel is told it.
	Size func(path string, size int64) int64

	// Fail is asked after a request's latency; it is answered with any errno but 0.
	Fail func(op Op, path string) syscall.Errno

	// OpensAgain is how many OPENs of each file with O_NONBLOCK are answered with EAGAIN, before one succeeds.
	OpensAgain int
}

// FS is a mounted folder.
type FS struct {
	dir    string
	opts   Options
	counts counter
	root   *node
	server *fuse.Server
	sleep  func(time.Duration)
	open   sync.Map // *file to nothing
}

// maxBackground is how many reads ahead the kernel may have under way on a mount. With FUSE's usual 12 this,
// not the reader, would decide how many there are.
const maxBackground = 4096

// ErrUnavailable is wrapped by Mount's error where FUSE can't be had.
var ErrUnavailable = errors.New("FUSE can't be had here")

// Mount mounts dir at the empty folder at, until Close. dir must lie on one file system.
func Mount(dir, at string, opts Options) (*FS, error) {
	if err := findFUSE(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// A typo would else be an empty store.
	if fi, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
	}
	f := &FS{dir: dir, opts: opts, sleep: time.Sleep}
	f.root = &node{fs: f}
	f.counts.reset()
	how := fuse.MountOptions{
		Name: "slowfs", FsName: dir, DisableXAttrs: true,
		DisableSplice: true, // go-fuse would keep pipes that a test takes for its own leaks
		MaxBackground: maxBackground, CongestionThreshold: maxBackground,
	}
	if os.Geteuid() == 0 {
		// Root needs no fusermount3, and mount(2) says better why it fails.
		how.DirectMountStrict, how.DirectMountFlags = true, syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV
	} else {
		how.Options = []string{"ro"}
	}
	f.server, err = fs.Mount(at, f.root, &fs.Options{
		EntryTimeout: &opts.CacheTime,
		AttrTimeout:  &opts.CacheTime,
		MountOptions: how,
	})
	if err != nil {
		err = fmt.Errorf("mounting at %s: %w", at, err)
		if errors.Is(err, syscall.EPERM) {
			err = fmt.Errorf("%w: %w (root needs CAP_SYS_ADMIN for that, which containers lack)", ErrUnavailable, err)
		}
		return nil, err
	}
	return f, nil
}

// findFUSE says what is missing.
func findFUSE() error {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w (modprobe fuse; a container must be given the device)", err)
	}
	if err := device.Close(); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return fmt.Errorf("%w (package fuse3; root does without)", err)
	}
	return nil
}

// Unavailable says why nothing can be mounted here, or returns nil. It tries.
var Unavailable = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "chunkring-fuse-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	f, err := Mount(dir, dir, Options{})
	if err != nil {
		return err
	}
	return f.Close()
})

// Close unmounts. It fails with EBUSY while a file or folder of the mount is open or a working directory.
func (f *FS) Close() error {
	if err := f.server.Unmount(); err != nil {
		return err
	}
	// A RELEASE that was on its way may never have come.
	var errs []error
	f.open.Range(func(left, _ any) bool {
		errs = append(errs, left.(*file).close())
		return true
	})
	return errors.Join(errs...)
}

// Counts are the requests since Mount or the last Reset.
func (f *FS) Counts() Counts { return f.counts.get() }

// Reset begins to count anew. No request may be under way.
func (f *FS) Reset() { f.counts.reset() }

// Forget has the kernel forget all names that it knows, and what the files hold, as a reboot would. Files and
// folders that are open stay known, without their bytes.
func (f *FS) Forget() error {
	for name := range f.root.Children() {
		// With a folder goes all that is below it. ENOENT: the kernel had forgotten it already.
		if errno := f.root.NotifyEntry(name); errno != 0 && errno != syscall.ENOENT {
			return fmt.Errorf("forget %s: %w", name, errno)
		}
	}
	var errs []error
	f.open.Range(func(left, _ any) bool {
		n := left.(*file).node
		if errno := n.NotifyContent(0, 0); errno != 0 && errno != syscall.ENOENT {
			errs = append(errs, fmt.Errorf("forget the bytes of %s: %w", n.path, errno))
		}
		return true
	})
	return errors.Join(errs...)
}

// enter counts a request, waits for its latency, and says how to answer it: normally, if errno is 0. leave is
// called when the answer is ready.
func (f *FS) enter(op Op, path string) (leave func(), errno syscall.Errno) {
	leave = f.counts.begin(op, path)
	if d := f.opts.Latency[op]; d > 0 {
		f.sleep(d)
	}
	if f.opts.Fail != nil {
		errno = f.opts.Fail(op, path)
	}
	return leave, errno
}
