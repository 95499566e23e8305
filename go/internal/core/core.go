// SPDX-License-Identifier: Apache-2.0

// Package core reads batches of files: with cgo through libchunkring.a in exactly one call into C a
// batch (cgo.go, the only file of this project that imports "C"), without cgo by a pure-Go twin of
// the same meaning (nocgo.go, which says what lies where). It has no policy: what a status means to Loki is
// go/chunkring's.
package core

import (
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// BatchMax is the most files of one Read (CR_BATCH_MAX).
const BatchMax = 65536

// Status says what became of one file. The values are those of enum cr_status in chunkring.h.
type Status uint32

const (
	Pending    Status = 0 // never returned
	OK         Status = 1
	NotFound   Status = 2
	BadPath    Status = 3
	Refused    Status = 4
	NotRegular Status = 5
	TooBig     Status = 6
	TooSmall   Status = 7
	NoBuffer   Status = 8
	Short      Status = 9
	BadCRC     Status = 10
	BadFormat  Status = 11
	Canceled   Status = 12
	TimedOut   Status = 13
	IO         Status = 14
)

var statusNames = [...]string{"pending", "ok", "not_found", "bad_path", "refused", "not_regular", "too_big",
	"too_small", "no_buffer", "short", "bad_crc", "bad_format", "canceled", "timed_out", "io"}

// String is the name that cr_status_name gives.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "status " + strconv.Itoa(int(s))
}

// Op is the operation of a file that failed. The values are those of enum cr_op in chunkring.h.
type Op uint32

const (
	OpNone Op = 0
	OpOpen Op = 1
	OpStat Op = 2
	OpRead Op = 3
)

var opNames = [...]string{"", "open", "stat", "read"}

// String is the name of the system call, as fs.PathError has it.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "op " + strconv.Itoa(int(o))
}

// Check says what Read does with the bytes besides reading them.
type Check uint32

const (
	CheckNone  Check = 0
	CheckCRC   Check = 1 // compare the file's CRC32C with File.CRC
	CheckChunk Check = 2 // CheckCRC, and the structure and every block's CRC in the same pass
)

// Seal says when Read checks a file's CRC32C though it read only its ends: joined from them and from the
// CRCs that are stored behind the blocks. A file whose seal is broken is read whole.
type Seal uint32

const (
	SealOff      Seal = 0
	SealResident Seal = 1 // if the stored CRCs are in the page cache
	SealAlways   Seal = 2
)

// AheadAll is an Ahead without a bound.
const AheadAll = 1<<31 - 1

// Options of Open; zero values mean the defaults documented at struct cr_options.
type Options struct {
	Backend      string // "auto" or "", "uring", "threads"
	Workers      int
	RingEntries  int
	MaxFileBytes int
	MaxOpenFiles int
}

// openFilesCap is CR_OPEN_FILES_CAP.
const openFilesCap = 2048

// OpenFilesDefault is what Options.MaxOpenFiles means where it is 0: it leaves most of the process's descriptors to
// the process.
func OpenFilesDefault() int {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil || lim.Cur/4 > openFilesCap {
		return openFilesCap
	}
	return max(1, int(lim.Cur/4))
}

// File is one file of a batch.
type File struct {
	Path string // in: relative to the directory
	CRC  uint32 // in: CRC32C expected of the whole file, with CheckCRC or CheckChunk

	// in: the caller has seen the file sealed, and can tell by its ends whether it still is: it is not sealed again.
	SealKnown bool

	Buf       []byte // out: the bytes when Status is OK, BadCRC or BadFormat; from alloc, len == file size
	Status    Status
	Errno     syscall.Errno // behind IO and Refused
	Op        Op            // behind IO
	GotCRC    uint32        // with CheckCRC or CheckChunk
	Reason    uint32        // enum cr_chunk_reason behind BadFormat
	BlocksBad uint32        // with CheckChunk: blocks with a wrong CRC of their own
	BlocksOK  bool          // with CheckChunk: every block's CRC is right at its recorded place

	// out: the file's size.
	Size int64
	// out: if it is not 0, Buf is the first HeadBytes of the file, followed by its last len(Buf)-HeadBytes bytes:
	// all but the blocks. Every part there (JSON, header, symbols, metas, footer) was checked, and the blocks fill
	// what is between. If it is 0, Buf is the whole file.
	HeadBytes int
	// out: HeadBytes is not 0, and the file's CRC32C, joined from the ends and from the stored CRCs of the
	// blocks, is CRC.
	Sealed bool
	// out: with Batch.KeepOpen and HeadBytes: a descriptor, which is the caller's to close; 0 for none.
	FD int
}

// Batch is one Read.
type Batch struct {
	Files  []File // at most BatchMax
	Check  Check
	Cancel *uint32 // may be nil: storing a non-zero value (atomically) stops new work

	// Timeout stops new work when it has passed; 0 means none. Rounded up to milliseconds.
	Timeout time.Duration

	// Alloc is called once a file that could be opened, and again for one that has grown since; on the
	// goroutine that called Read (the pure-Go twin: on several). It returns exactly size writable bytes, or
	// nil to fail the file. All within one callback from C, or one a wave in batches of more than about a
	// thousand files.
	Alloc func(size int) []byte

	// Done, if not nil, is called for each file of DoneBytesMin bytes or more that is OK, on the thread
	// that has just read it, while its bytes are in that CPU's caches: so by several goroutines at a
	// time. A thread of C's that enters Go stands in line for a processor behind every goroutine that
	// has work, and the batch waits for it: worth it only for what takes long anyway. (Called for small
	// files too, queries of a busy process took 1.25 times as long.) The pure-Go twin never calls it.
	Done         func(i int)
	DoneBytesMin int

	// EndsBytesMin: of files larger than this only the two ends are read, if these tell everything but the
	// blocks' bytes: see File.HeadBytes. Needs CheckChunk. 0: all files are read whole.
	EndsBytesMin int
	Seal         Seal
	// The kernel is asked to fetch the first Ahead blocks, the last ones if Backward, that have entries between
	// FromNs and ThroughNs, as it is when a file's ends are read. The bounds are meant as those of Loki's
	// MemChunk.Blocks.
	Ahead             int
	FromNs, ThroughNs int64
	Backward          bool
	// Files of which the ends were read stay open: see File.FD. MaxOpenFiles does not bound what the caller has.
	KeepOpen bool
}

// Times is where the wall time of one Read went; Read includes Done.
type Times struct {
	Open, Alloc, Read time.Duration

	// Fallback is Reader.Fallback's errno when the Read ended, without another call into C.
	Fallback syscall.Errno
}

// NewBuffer returns n bytes that were not zeroed, as one allocation owned by the garbage collector
// and with cap == n. Zeroing what is overwritten at once costs about as much as reading it from the
// page cache. make can't be told so; strings.Builder can, by its documented API.
func NewBuffer(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0) // StringData of an empty string would be unspecified
	// The string made here dies at once, so nobody can see that its bytes change.
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}
