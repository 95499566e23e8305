// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The twin of the C core for builds without cgo, by plain system calls:
//
//	nocgo.go         Reader; one Read: the goroutines of a batch, and what bounds them
//	nocgo_file.go    the life of one file
//	nocgo_ends.go    the two ends of a file, and one block
//	nocgo_path.go    which paths are taken, and opening one
//	nocgo_block.go   Decompressor; reading one block
//	nocgo_limits.go  every bound

// Built says which of the twins this is.
const Built = "pure Go"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Reader reads files of one directory. Safe for concurrent use until Close.
type Reader struct {
	dir       int
	maxBytes  int64
	openFiles tokens // a descriptor each, for all batches together
	blocking  tokens // a goroutine each that may block, for all batches together

	noOpenat2    atomic.Bool   // refused once: component-wise from then on
	noCachedOpen atomic.Bool   // kernels before 5.12
	slowStreak   atomic.Uint32 // opens in a row that should not have blocked and took long
	slowOpens    atomic.Uint32 // so many opens are not tried: they would block

	// System calls; tests have others.
	openat2     func(dir int, path string, how *unix.OpenHow) (int, error)
	pread       func(fd int, p []byte, off int64) (int, error)
	preadCached func(fd int, p []byte, off int64) (int, error) // fails where pread would block, or nobody can tell
}

// Open opens dir. Only plain system calls are available without cgo: see Fallback.
func Open(dir string, o Options) (*Reader, error) {
	switch o.Backend {
	case "", "auto", "uring", "threads":
	default:
		return nil, fmt.Errorf("unknown back-end %q: want auto, uring or threads", o.Backend)
	}
	if o.MaxFileBytes < 0 || o.MaxFileBytes > maxFileBytesMax || o.Workers < 0 || o.Workers > workersMax ||
		o.RingEntries < 0 || o.RingEntries > ringEntriesMax || o.RingEntries&(o.RingEntries-1) != 0 || o.MaxOpenFiles < 0 {
		return nil, fmt.Errorf("open chunk directory %s: %w", dir, syscall.EINVAL)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open chunk directory %s: %w", dir, err)
	}
	workers := o.Workers
	if workers == 0 {
		workers = int(max(1, min(workersDefault, threadLimit()/threadsShare)))
	}
	openFiles := o.MaxOpenFiles
	if openFiles == 0 {
		openFiles = OpenFilesDefault()
	}
	r := &Reader{
		dir: fd, maxBytes: int64(o.MaxFileBytes),
		openFiles: make(tokens, openFiles), blocking: make(tokens, workers),
		openat2: unix.Openat2, pread: unix.Pread, preadCached: preadCached,
	}
	if r.maxBytes == 0 {
		r.maxBytes = maxFileBytesDefault
	}
	return r, nil
}

// Close gives the directory back. No Read may be running or start.
func (r *Reader) Close() { _ = unix.Close(r.dir) }

// Backend names what runs.
func (r *Reader) Backend() string { return "threads" }

// Fallback says why io_uring does not run.
func (r *Reader) Fallback() (syscall.Errno, string) { return syscall.ENOSYS, "build without cgo" }

// Workers is the most goroutines that may block at a time.
func (r *Reader) Workers() int { return cap(r.blocking) }

// batch is one Read under way.
type batch struct {
	*Reader
	Batch
	begin   time.Time
	next    atomic.Int64 // the first file that nobody has tried
	helpers atomic.Int64
	starved atomic.Int64 // when it first found no descriptor
	running sync.WaitGroup
}

// Read has the meaning of its twin in cgo.go, except for what Batch says. The goroutine that calls reads what
// is in the page cache and makes no call that can block; others do the rest.
func (r *Reader) Read(b Batch) (Times, error) {
	begin := time.Now()
	if len(b.Files) > BatchMax {
		return Times{}, fmt.Errorf("read of %d files: %w", len(b.Files), syscall.EINVAL)
	}
	if len(b.Files) > 0 {
		run := &batch{Reader: r, Batch: b, begin: begin}
		run.tryFiles()
		run.running.Wait()
	}
	return Times{Read: time.Since(begin), Fallback: syscall.ENOSYS}, nil // the steps are not apart here
}

// stopped says whether the batch is to begin nothing new.
func (b *batch) stopped() bool {
	return b.Cancel != nil && atomic.LoadUint32(b.Cancel) != 0 || b.Timeout > 0 && time.Since(b.begin) >= b.Timeout
}

// why is the status of what a stopped batch did not read.
func (b *batch) why() Status {
	if b.Cancel != nil && atomic.LoadUint32(b.Cancel) != 0 {
		return Canceled
	}
	return TimedOut
}

// tryFiles reads files as far as that does not block, and leaves the others to goroutines of their own.
func (b *batch) tryFiles() {
	files, bytes := 0, 0
	for i := b.next.Add(1) - 1; i < int64(len(b.Files)); i = b.next.Add(1) - 1 {
		f := reading{File: &b.Files[i], batch: b, fd: -1}
		f.forget()
		if !b.openFiles.take(b) {
			f.fail(b.why(), OpNone, 0)
			continue
		}
		if !f.stop() && !f.run(false) {
			b.finish(f) // which has the file from here on
			continue
		}
		b.openFiles.giveBack()
		files++
		bytes += len(f.Buf)
		if files >= helperFiles || bytes >= 2*sliceBytes { // as in c/src/wave.c: less is sooner done than helped with
			files, bytes = 0, 0
			b.help()
		}
	}
}

// help starts another goroutine that tries files, while there is a CPU for it.
func (b *batch) help() {
	if b.next.Load() >= int64(len(b.Files)) {
		return
	}
	if b.helpers.Add(1) < int64(runtime.GOMAXPROCS(0)) {
		b.running.Go(b.tryFiles)
	}
}

// finish has a goroutine that may block read a file to its end. It waits for its turn: the batches of a Reader
// take turns, and a batch has no more goroutines than may run.
func (b *batch) finish(f reading) {
	if !b.blocking.take(b) {
		f.close()
		f.fail(b.why(), OpNone, 0)
		b.openFiles.giveBack()
		return
	}
	b.running.Go(func() {
		f.run(true)
		b.blocking.giveBack()
		b.openFiles.giveBack()
	})
}

// awaitsDescriptors says whether the batch goes on waiting for the rest of the process to give back
// descriptors: up to starvedWait from the moment it first found none.
func (b *batch) awaitsDescriptors() bool {
	now := time.Now().UnixNano()
	b.starved.CompareAndSwap(0, now)
	return now-b.starved.Load() <= int64(starvedWait)
}

// tokens are what all batches of a Reader together may have of something. Whoever waits for a token of
// openFiles has none of blocking: so those that have one of each end, and give both back.
type tokens chan struct{}

// take waits in line for a token. The cancel word wakes nobody, so take looks at it now and then: false means
// that the batch was stopped meanwhile.
func (t tokens) take(b *batch) bool {
	select {
	case t <- struct{}{}:
		return true
	default:
	}
	look := time.NewTicker(starvedNap)
	defer look.Stop()
	for !b.stopped() {
		select {
		case t <- struct{}{}:
			return true
		case <-look.C:
		}
	}
	return false
}

func (t tokens) giveBack() { <-t }

// preadCached is pread(2) of what is in the page cache. It fails with EAGAIN where that is too little, and
// with other errors where nobody can tell: FUSE, NFS, overlayfs and tmpfs don't know RWF_NOWAIT (6.18), and some
// sandboxes don't know preadv2(2).
func preadCached(fd int, p []byte, off int64) (int, error) {
	return unix.Preadv2(fd, [][]byte{p}, off, unix.RWF_NOWAIT)
}

// CRC32C is hash/crc32's, for the tests that both twins run.
func CRC32C(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }

// CRC32CKernel names the kernel in use.
func CRC32CKernel() string { return "hash/crc32" }
