// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"errors"
	"hash/crc32"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

// The life of one file: the twin of c/src/file.c and c/src/backend_threads.c. The size that fstat(2) gives is a
// hint: on some file systems it is 0, old or wrong. Where the file ends is what a read says.

// reading is a file of a batch. One goroutine at a time has it: first one that must not block, and if that is
// not enough one that may.
type reading struct {
	*File
	batch *batch

	// of this try
	fd      int // -1: none
	sized   bool
	size    int64
	got     int
	crc     uint32 // of the bytes got so far
	retries int
	grew    bool // it is longer than it was said to be, and deserves another try
	noEnds  bool // they don't tell what is in it

	// of all tries
	room    []byte // from Alloc
	tries   int    // before this one
	measure bool   // what fstat says of its size is not true: count its bytes
}

// run reads the file, and reports whether its status is final. With wait it is; without it run returns where
// the file would block, to be called again with wait.
func (f *reading) run(wait bool) bool {
	for { // bounded: again counts
		f.try(wait)
		if f.Status == Pending {
			return false
		}
		if f.batch.KeepOpen && f.Status == OK && f.HeadBytes > 0 && f.fd > 0 {
			f.FD, f.fd = f.fd, -1
		}
		f.close()
		if !f.again() {
			return true
		}
	}
}

// try leaves the status Pending where the file would block.
func (f *reading) try(wait bool) {
	if !f.openAndSize(wait) || f.stop() {
		return
	}
	if !f.noEnds && f.batch.takesEnds(f.size) {
		err := f.ends(wait)
		if err == nil || err != chunkcheck.ErrWhole && !wait { // the latter is for pread(2) to say
			return
		}
		f.noEnds = true // what is wrong, reading all of it says
	}
	if f.findRoom() && f.read(wait) {
		f.whole()
	}
}

func (f *reading) ends(wait bool) error {
	e := endsFile{fd: f.fd, size: f.size, read: f.batch.preadCached, cached: f.batch.preadCached}
	if wait {
		e.read = f.batch.pread
	}
	return e.ends(&f.batch.Batch, f.File)
}

// again prepares another try of a file that deserves it: NFS wants the path of a stale handle walked again, and
// what has grown is to be measured.
func (f *reading) again() bool {
	stale := f.Status == IO && f.Errno == syscall.ESTALE && f.tries < staleTries
	switch {
	case !stale && !f.grew:
		return false
	case !f.batch.stopped():
		*f = reading{File: f.File, batch: f.batch, fd: -1, room: f.room, tries: f.tries + 1, measure: f.measure || f.grew}
		f.forget()
		return true
	case f.grew: // it was not read whole, which is not what it failed of
		f.fail(f.batch.why(), OpNone, 0)
	}
	return false
}

func (f *reading) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}

// forget clears what an earlier use left.
func (f *File) forget() { *f = File{Path: f.Path, CRC: f.CRC, SealKnown: f.SealKnown} }

// fail ends a file whose bytes are nobody's.
func (f *File) fail(status Status, op Op, errno syscall.Errno) {
	f.forget()
	f.Status, f.Op, f.Errno = status, op, errno
}

// failIO ends a file that the system refused.
func (f *File) failIO(op Op, err error) {
	errno := syscall.EIO
	errors.As(err, &errno)
	f.fail(IO, op, errno)
}

// mayRetry is for EINTR and EAGAIN, which mean "again" for a file, but not for ever.
func (f *reading) mayRetry(err error) bool {
	if err != unix.EINTR && err != unix.EAGAIN {
		return false
	}
	f.retries++
	return f.retries <= retriesMax
}

// stop ends the file if the batch is stopped.
func (f *reading) stop() bool {
	if !f.batch.stopped() {
		return false
	}
	f.fail(f.batch.why(), OpNone, 0)
	return true
}

// ---- Open and size. Each step returns whether the next one may follow. ----

func (f *reading) openAndSize(wait bool) bool {
	if wait {
		return f.open(true) && f.findSize(true)
	}
	if !f.batch.opensAreQuick() {
		return false
	}
	begin := time.Now()
	defer func() { f.batch.noteOpen(time.Since(begin)) }()
	return f.open(false) && f.findSize(false)
}

func (f *reading) open(wait bool) bool {
	if f.fd >= 0 {
		return true
	}
	if !pathOK(f.Path) {
		f.fail(BadPath, OpNone, 0)
		return false
	}
	var err error
	if wait {
		f.fd, err = f.openPatiently()
	} else {
		f.fd, err = f.batch.openQuickly(f.Path)
	}
	switch {
	case err == nil:
		f.retries = 0
		return true
	case f.Status != Pending: // stopped
	case !wait && mayPass(err):
	default:
		f.openFailed(err)
	}
	f.fd = -1
	return false
}

// mayPass says whether waiting may help an open: for the storage, the owner of a lease, a signal, a descriptor.
func mayPass(err error) bool {
	return err == unix.EAGAIN || err == unix.EINTR || err == unix.EMFILE || err == unix.ENFILE
}

// openPatiently waits for what may pass. O_NONBLOCK says EAGAIN while another process gives back a lease (a
// file server's oplock or delegation) and while a file comes back from tape. Loki's own client waits in open(2),
// for at most /proc/sys/fs/lease-break-time (45 s), where no cancel is heard: so that comes last.
func (f *reading) openPatiently() (int, error) {
	for leased := time.Duration(0); !f.stop(); { // bounded: a retry, a nap, or the batch's end of patience
		fd, err := f.batch.openContained(f.Path, openFlags)
		if err == unix.EAGAIN && leased >= leaseWait {
			fd, err = f.batch.openPastLease(f.Path)
			if err == unix.EAGAIN {
				return -1, err
			}
		}
		switch {
		case err == unix.EINTR && f.mayRetry(err):
		case err == unix.EAGAIN:
			leased += leaseNap
			time.Sleep(leaseNap)
		case (err == unix.EMFILE || err == unix.ENFILE) && f.batch.awaitsDescriptors():
			time.Sleep(starvedNap)
		default:
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// openFailed has an errno only with IO and Refused, as chunkring.h says.
func (f *reading) openFailed(err error) {
	switch err {
	case unix.ENOENT:
		f.fail(NotFound, OpNone, 0)
	case unix.ELOOP:
		f.fail(Refused, OpNone, syscall.ELOOP) // RESOLVE_NO_SYMLINKS, O_NOFOLLOW
	case unix.ENXIO:
		f.fail(NotRegular, OpNone, 0) // a socket, or a device without its driver
	case unix.ENAMETOOLONG:
		f.fail(BadPath, OpNone, 0)
	default:
		f.failIO(OpOpen, err)
	}
}

func (f *reading) findSize(wait bool) bool {
	if f.sized {
		return true
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		f.failIO(OpStat, err)
		return false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.fail(NotRegular, OpNone, 0)
		return false
	}
	f.size = st.Size
	if st.Size == 0 || st.Size > 0 && f.measure {
		if !wait || !f.count() {
			return false
		}
	}
	if f.size < 0 || f.size > f.batch.maxBytes {
		f.fail(TooBig, OpNone, 0)
		return false
	}
	f.sized = true
	return true
}

// count finds the size by reading: for who says 0 though there is more, or less than there is. Bounded by the
// stop of the batch, and a file that is too big.
func (f *reading) count() bool {
	scratch := make([]byte, measureBytes)
	for f.size = 0; f.size <= f.batch.maxBytes; {
		if f.stop() {
			return false
		}
		n, err := f.batch.pread(f.fd, scratch, f.size)
		switch {
		case err != nil && f.mayRetry(err):
		case err != nil:
			f.failIO(OpRead, err)
			return false
		case n == 0:
			f.retries = 0
			return true
		default:
			f.size += int64(n)
		}
	}
	return true
}

// findRoom asks again for a file that has grown.
func (f *reading) findRoom() bool {
	size := int(f.size)
	if size == 0 || f.Buf != nil {
		return true
	}
	if f.stop() {
		return false
	}
	if len(f.room) < size {
		if room := f.batch.Alloc(size); len(room) > 0 {
			f.room = room
		}
	}
	switch {
	case len(f.room) == 0:
		f.fail(NoBuffer, OpNone, 0)
	case len(f.room) < size:
		f.fail(TooSmall, OpNone, 0)
	default:
		f.Buf = f.room[:size]
		return true
	}
	return false
}

// ---- Read and judge ----

// read returns true when all that the file was said to hold is read.
func (f *reading) read(wait bool) bool {
	for f.got < len(f.Buf) { // bounded: by the size and retriesMax
		if f.stop() {
			return false
		}
		n, err := f.readPiece(wait)
		switch {
		case err != nil && !wait:
			return false // for pread(2) to say
		case err != nil && f.mayRetry(err):
			continue
		case err != nil:
			f.failIO(OpRead, err)
			return false
		case n == 0:
			f.endedEarly()
			return false
		}
		if f.batch.Check != CheckNone { // piece by piece, while it is in the cache
			f.crc = crc32.Update(f.crc, castagnoli, f.Buf[f.got:f.got+n])
		}
		f.got += n
		f.retries = 0
	}
	return true
}

func (f *reading) readPiece(wait bool) (int, error) {
	rest := f.Buf[f.got:]
	if wait {
		return f.batch.pread(f.fd, rest[:min(len(rest), readBytesMax)], int64(f.got))
	}
	return f.batch.preadCached(f.fd, rest[:min(len(rest), sliceBytes)], int64(f.got))
}

// whole ends a file of which all is read that it was said to hold. One that says more is not judged by its
// first part: it is tried again, measured. Right bytes need no look.
func (f *reading) whole() {
	f.judge()
	if f.size > 0 && (f.batch.Check == CheckNone || f.Status != OK) && f.tries < grewTries {
		f.grew = f.moreBehind()
	}
}

// moreBehind says whether the file has a byte behind the size that it was said to have. One that can't tell is
// asked again, too.
func (f *reading) moreBehind() bool {
	var next [1]byte
	for range retriesMax {
		n, err := f.batch.preadCached(f.fd, next[:], f.size)
		if err == unix.EAGAIN {
			return true // it is there, but not in the page cache
		}
		if err != nil {
			n, err = f.batch.pread(f.fd, next[:], f.size)
		}
		if err != unix.EINTR && err != unix.EAGAIN {
			return err != nil || n > 0
		}
	}
	return true
}

// endedEarly ends a file that ended before the size that it was said to have. It may be all of the chunk: the
// checksum knows.
func (f *reading) endedEarly() {
	f.Buf = f.Buf[:f.got]
	f.judge()
	if f.Status != OK {
		f.fail(Short, OpNone, 0)
	}
}

// judge sets the status of a file whose bytes are all there.
func (f *reading) judge() {
	f.Status = OK
	f.Size = int64(len(f.Buf))
	if f.batch.Check&CheckChunk != 0 {
		if err := chunkcheck.Structure(f.Buf); err != nil {
			f.Status = BadFormat
			var ce *chunkcheck.Error
			if errors.As(err, &ce) {
				f.Reason = uint32(ce.Reason)
			}
		}
	}
	if f.batch.Check != CheckNone {
		f.GotCRC = f.crc
		if f.GotCRC != f.CRC { // it outranks the structure, as in Loki
			f.Status = BadCRC
		}
	}
}
