// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/core"
)

// On NFS and its like an open is a round trip, which a query would wait for at each block, one after the other. There a
// file of which the ends were read stays open until its last block was read, or until others need its place.
const (
	keptMax   = 512              // descriptors of a store: four parts of a query with two batches of 50 chunks each
	keptShare = 4                // ... and at most one of so many that the store may have
	keptIdle  = 10 * time.Second // a file that was deleted meanwhile takes room in the storage
)

// remoteMagics are the file systems that ask a server for an open, by statfs(2)'s f_type. FUSE may or may not.
var remoteMagics = map[uint32]bool{
	unix.NFS_SUPER_MAGIC: true, unix.FUSE_SUPER_MAGIC: true, unix.SMB_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true,
	unix.CIFS_SUPER_MAGIC: true, unix.CEPH_SUPER_MAGIC: true, unix.V9FS_MAGIC: true, unix.AFS_SUPER_MAGIC: true,
	0x0BD00BD0: true, // Lustre
	0x47504653: true, // GPFS
}

// opensAskServer reports whether a directory lies on such a file system. Where nobody can tell it does not.
func opensAskServer(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && remoteMagics[uint32(st.Type)]
}

// keptFiles are the open files of a store. Methods of a nil one keep nothing.
type keptFiles struct {
	max int

	mu       sync.Mutex
	unused   list.List // of *keptFile, the one that was used first at the front
	promised int       // files of batches that are being read, and may stay open
	expiring bool      // expire is to come
	closed   bool
}

// keptFile is the file of one chunk. Who has taken its descriptor gives it back.
type keptFile struct {
	files *keptFiles
	fd    int // 0: taken, or closed
	used  time.Time
	at    *list.Element // in unused, if fd is not 0
}

// newKeptFiles returns nil where an open costs next to nothing, and how many descriptors are left for all else.
func newKeptFiles(dir string, maxOpenFiles int) (k *keptFiles, left int) {
	if !keepOpenAlways && !opensAskServer(dir) {
		return nil, maxOpenFiles
	}
	if maxOpenFiles == 0 {
		maxOpenFiles = core.OpenFilesDefault()
	}
	if most := min(maxOpenFiles/keptShare, keptMax); most > 0 {
		return &keptFiles{max: most}, maxOpenFiles - most
	}
	return nil, maxOpenFiles
}

// keepOpenAlways is for tests.
var keepOpenAlways bool

// keep has a descriptor from now on, which is 0 for none.
func (k *keptFiles) keep(fd int) *keptFile {
	if k == nil || fd == 0 {
		return nil
	}
	f := &keptFile{files: k}
	f.giveBack(fd, true)
	return f
}

// take returns the descriptor, or 0 if there is none any more.
func (f *keptFile) take() (fd int) {
	if f == nil {
		return 0
	}
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if fd = f.fd; fd != 0 {
		f.files.unused.Remove(f.at)
		f.fd = 0
	}
	return fd
}

// giveBack ends a take. Without more to read the file is closed.
func (f *keptFile) giveBack(fd int, more bool) {
	if fd == 0 {
		return
	}
	f.files.put(f, fd, more).close()
}

// unlinked are descriptors that nobody finds any more. They are closed without the lock: a close may be a round trip,
// too, and all queries of the store need the lock.
type unlinked []int

func (u unlinked) close() {
	for _, fd := range u {
		_ = unix.Close(fd) // nothing was written
	}
}

func (k *keptFiles) put(f *keptFile, fd int, more bool) (u unlinked) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !more || k.closed || f.fd != 0 {
		return unlinked{fd}
	}
	f.fd, f.used, f.at = fd, time.Now(), k.unused.PushBack(f)
	if k.unused.Len() > k.max {
		u = unlinked{k.unlinkFirst()}
	}
	if !k.expiring {
		k.expiring = true
		time.AfterFunc(keptIdle, k.expire)
	}
	return u
}

// unlinkFirst has mu.
func (k *keptFiles) unlinkFirst() (fd int) {
	f := k.unused.Remove(k.unused.Front()).(*keptFile)
	fd, f.fd = f.fd, 0
	return fd
}

// expire closes what nobody has used for long, and comes again while there is something.
func (k *keptFiles) expire() { k.unlinkIdle().close() }

func (k *keptFiles) unlinkIdle() (u unlinked) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.unused.Len() > 0 {
		left := keptIdle - time.Since(k.unused.Front().Value.(*keptFile).used)
		if left > 0 {
			time.AfterFunc(left, k.expire)
			return u
		}
		u = append(u, k.unlinkFirst())
	}
	k.expiring = false
	return u
}

// close closes all. Nobody takes one any more.
func (k *keptFiles) close() {
	if k != nil {
		k.unlinkAll().close()
	}
}

func (k *keptFiles) unlinkAll() (u unlinked) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for k.unused.Len() > 0 {
		u = append(u, k.unlinkFirst())
	}
	return u
}

// promise reports whether the files of a batch may stay open: no more than max are on their way to keep, either.
func (k *keptFiles) promise(files int) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.promised+files > k.max {
		return false
	}
	k.promised += files
	return true
}

// kept ends a promise.
func (k *keptFiles) kept(files int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.promised -= files
}
