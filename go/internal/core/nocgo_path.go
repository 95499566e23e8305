// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Containment and opening: the twin of c/src/path.c.

// openFlags are CR_OPEN_FLAGS of c/src/open_how.h.
const openFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY

// resolveFlags are CR_RESOLVE.
const resolveFlags = unix.RESOLVE_NO_SYMLINKS

// resolveCached is RESOLVE_CACHED of linux/openat2.h (5.12).
const resolveCached = 0x20

// pathOK is cr_path_ok.
func pathOK(path string) bool {
	if path == "" || len(path) >= pathBytesMax || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// openQuickly opens what can be opened without waiting for the storage. EAGAIN: it would wait.
func (r *Reader) openQuickly(path string) (int, error) {
	fd, err := r.openCached(path)
	if err == unix.EOPNOTSUPP { // nobody can tell whether it would: opensAreQuick bounds the harm
		return r.openContained(path, openFlags)
	}
	return fd, err
}

// opensAreQuick says whether opens are worth trying without blocking: not after two in a row that took long all
// the same. (One may have waited for a CPU.) FUSE and NFS ask their server though the path is cached.
func (r *Reader) opensAreQuick() bool {
	n := r.slowOpens.Load()
	if n > 0 { // a count that is lost to another goroutine is no matter
		r.slowOpens.Store(n - 1)
	}
	return n == 0
}

func (r *Reader) noteOpen(took time.Duration) {
	streak := r.slowStreak.Load()
	switch {
	case took <= slowOpen && streak == 0:
	case took <= slowOpen:
		r.slowStreak.Store(0)
	case streak+1 < slowStreak:
		r.slowStreak.Store(streak + 1)
	default: // the streak stays: one more, after these, and it begins anew
		r.slowOpens.Store(slowOpens)
	}
}

// openCached opens by what the kernel has cached of the path. EAGAIN: that does not do. EOPNOTSUPP: nobody can
// tell.
func (r *Reader) openCached(path string) (int, error) {
	if r.noCachedOpen.Load() || r.noOpenat2.Load() {
		return -1, unix.EOPNOTSUPP
	}
	fd, err := r.openat2(r.dir, path, &unix.OpenHow{Flags: openFlags, Resolve: resolveFlags | resolveCached})
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EPERM:
		r.noCachedOpen.Store(true)
		return -1, unix.EOPNOTSUPP // openContained finds out what it is about
	}
	return fd, err
}

// openContained opens a path below the directory that crosses no symbolic link.
func (r *Reader) openContained(path string, flags int) (int, error) {
	if r.noOpenat2.Load() {
		return openByComponent(r.dir, path, flags)
	}
	fd, err := r.openat2(r.dir, path, &unix.OpenHow{Flags: uint64(flags), Resolve: resolveFlags})
	switch err {
	case unix.ENOSYS, unix.EPERM: // a sandbox; EPERM is no answer that a plain O_RDONLY open of a file gives
		r.noOpenat2.Store(true)
		return openByComponent(r.dir, path, flags)
	case unix.EINVAL, unix.E2BIG, unix.EOPNOTSUPP: // "not this way", of this file
		return openByComponent(r.dir, path, flags)
	}
	return fd, err
}

// openPastLease waits in open(2) for another process to give back a lease: without O_NONBLOCK, of a file that is
// known to be a regular one. Opening the descriptor again opens the same file, whatever its name stands for by
// now.
func (r *Reader) openPastLease(path string) (int, error) {
	at, err := r.openContained(path, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if unix.Fstat(at, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, unix.EAGAIN
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", at), openFlags&^unix.O_NONBLOCK, 0)
	if err == unix.ENOENT { // no /proc here
		return -1, unix.EAGAIN
	}
	return fd, err
}

// openByComponent is for kernels and sandboxes without openat2, and file systems that don't like how it is
// called.
func openByComponent(dir int, path string, flags int) (int, error) {
	at := dir
	for {
		part, rest, more := strings.Cut(path, "/")
		how := flags | unix.O_NOFOLLOW
		if more {
			how = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := unix.Openat(at, part, how, 0)
		if err == unix.ENOTDIR && more { // a symbolic link, or a file?
			if _, lerr := unix.Readlinkat(at, part, make([]byte, 1)); lerr == nil {
				err = unix.ELOOP
			}
		}
		if at != dir {
			_ = unix.Close(at)
		}
		if err != nil || !more {
			return fd, err
		}
		at, path = fd, rest
	}
}
