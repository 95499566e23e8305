// SPDX-License-Identifier: Apache-2.0

package slowfs

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is a folder or a file.
type node struct {
	fs.Inode
	fs   *FS
	path string // "" is the root
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.FileReader    = (*file)(nil)
	_ fs.FileReleaser  = (*file)(nil)
)

// below is where a path lies in the folder that is mounted.
func (f *FS) below(path string) string { return filepath.Join(f.dir, filepath.FromSlash(path)) }

// attributes are what the kernel is told of a path, size included.
func (f *FS) attributes(path string, out *fuse.Attr) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Lstat(f.below(path), &st); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&st)
	if f.opts.Size != nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		out.Size = uint64(f.opts.Size(path, st.Size))
	}
	return 0
}

// Lookup answers LOOKUP.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child := &node{fs: n.fs, path: path.Join(n.path, name)}
	leave, errno := n.fs.enter(Lookup, child.path)
	defer leave()
	if errno == 0 {
		errno = n.fs.attributes(child.path, &out.Attr)
	}
	if errno != 0 {
		return nil, errno
	}
	// The number of the file below makes a file that is looked up again the same one to the kernel.
	return n.NewInode(ctx, child, fs.StableAttr{Mode: out.Mode, Ino: out.Ino}), 0
}

// Getattr answers GETATTR.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	leave, errno := n.fs.enter(Getattr, n.path)
	defer leave()
	if errno != 0 {
		return errno
	}
	return n.fs.attributes(n.path, &out.Attr)
}

// Readdir answers READDIR. It keeps no folder open: a RELEASEDIR that is on its way when the mount ends never
// comes.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	names, err := os.ReadDir(n.fs.below(n.path))
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	var entries []fuse.DirEntry
	for _, name := range names {
		var a fuse.Attr
		switch errno := n.fs.attributes(path.Join(n.path, name.Name()), &a); errno {
		case 0:
			entries = append(entries, fuse.DirEntry{Name: name.Name(), Mode: a.Mode & syscall.S_IFMT, Ino: a.Ino})
		case syscall.ENOENT: // removed meanwhile
		default:
			return nil, errno
		}
	}
	return fs.NewListDirStream(entries), 0
}

// Open answers OPEN.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	leave, errno := n.fs.enter(Open, n.path)
	defer leave()
	if errno != 0 {
		return nil, 0, errno
	}
	if flags&syscall.O_NONBLOCK != 0 && n.fs.counts.refuse(n.path, n.fs.opts.OpensAgain) {
		return nil, 0, syscall.EAGAIN
	}
	fd, err := unix.Open(n.fs.below(n.path), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	var how uint32
	switch {
	case n.fs.opts.DirectIO:
		how = fuse.FOPEN_DIRECT_IO
	case n.fs.opts.KeepCache:
		how = fuse.FOPEN_KEEP_CACHE
	}
	f := &file{node: n, fd: fd}
	n.fs.open.Store(f, nil)
	return f, how, 0
}

// file is an open one.
type file struct {
	node *node
	fd   int
}

// Read answers READ.
func (f *file) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	leave, errno := f.node.fs.enter(Read, f.node.path)
	defer leave()
	if errno != 0 {
		return nil, errno
	}
	for {
		n, err := unix.Pread(f.fd, dest, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fs.ToErrno(err)
		}
		f.node.fs.counts.read(f.node.path, n)
		return fuse.ReadResultData(dest[:n]), 0
	}
}

// Release follows the last close.
func (f *file) Release(context.Context) syscall.Errno { return fs.ToErrno(f.close()) }

func (f *file) close() error {
	f.node.fs.open.Delete(f)
	return unix.Close(f.fd)
}
