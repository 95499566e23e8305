// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

// Built says which of the twins this is.
const Built = "pure Go"

const (
	maxFileBytesDefault = 64 << 20             // CR_FILE_BYTES_DEFAULT
	maxFileBytesMax     = 1 << 30              // CR_FILE_BYTES_MAX
	pathBytesMax        = 4096                 // CR_PATH_BYTES_MAX
	openFilesCap        = 2048                 // CR_OPEN_FILES_CAP
	goroutinesMin       = 8                    // CR_THREADS_WORKERS: a cold disk wants more than there are CPUs
	retriesMax          = 1000                 // CR_RETRIES_MAX
	starvedWait         = 2 * time.Second      // CR_STARVED_WAIT_MS
	starvedNap          = 5 * time.Millisecond // CR_STARVED_NAP_MS
	staleTries          = 3                    // STALE_TRIES in c/src/batch.c
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Reader reads files of one directory. Safe for concurrent use until Close.
type Reader struct {
	dir       int
	workers   int
	maxBytes  int64
	openFiles chan struct{} // a token per descriptor that all batches together may hold
	noOpenat2 atomic.Bool
	pread     func(fd int, p []byte, off int64) (int, error) // pread(2); tests have another
}

// Open opens dir. Only plain system calls are available without cgo: see Fallback.
func Open(dir string, o Options) (*Reader, error) {
	switch o.Backend {
	case "", "auto", "uring", "threads":
	default:
		return nil, fmt.Errorf("unknown back-end %q: want auto, uring or threads", o.Backend)
	}
	if o.MaxFileBytes < 0 || o.MaxFileBytes > maxFileBytesMax || o.Workers < 0 || o.MaxOpenFiles < 0 {
		return nil, fmt.Errorf("open chunk directory %s: %w", dir, syscall.EINVAL)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open chunk directory %s: %w", dir, err)
	}
	r := &Reader{dir: fd, workers: o.Workers, maxBytes: int64(o.MaxFileBytes), pread: unix.Pread}
	if r.workers == 0 {
		r.workers = max(goroutinesMin, runtime.GOMAXPROCS(0))
	}
	if r.maxBytes == 0 {
		r.maxBytes = maxFileBytesDefault
	}
	open := o.MaxOpenFiles
	if open == 0 {
		open = openFilesCap
		var lim unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil && lim.Cur/4 < openFilesCap {
			open = max(1, int(lim.Cur/4))
		}
	}
	r.openFiles = make(chan struct{}, open)
	return r, nil
}

// Close gives the directory back. No Read may be running or start.
func (r *Reader) Close() { _ = unix.Close(r.dir) }

// Backend names what runs.
func (r *Reader) Backend() string { return "threads" }

// Fallback says why io_uring does not run.
func (r *Reader) Fallback() (syscall.Errno, string) { return syscall.ENOSYS, "build without cgo" }

// Workers is the number of goroutines a batch uses.
func (r *Reader) Workers() int { return r.workers }

// Read has the meaning of its twin in cgo.go, except for what Batch says.
func (r *Reader) Read(b Batch) (Times, error) {
	begin, files := time.Now(), b.Files
	if len(files) > BatchMax {
		return Times{}, fmt.Errorf("read of %d files: %w", len(files), syscall.EINVAL)
	}
	var next, starved atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
			r.readFresh(&files[i], b.Check, b.Alloc, b.Cancel, &starved)
		}
	}
	var wg sync.WaitGroup
	for range min(r.workers, len(files)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return Times{Read: time.Since(begin), Fallback: syscall.ENOSYS}, nil // the steps are not apart here
}

// readFresh reads a file whose handle may have turned stale, which is when NFS wants the path walked again.
func (r *Reader) readFresh(f *File, check Check, alloc func(size int) []byte, cancel *uint32, starved *atomic.Int64) {
	var buf []byte
	once := func(size int) []byte { // a file that grew in between finds no room
		if buf == nil {
			buf = alloc(size)
		}
		if len(buf) < size {
			return nil
		}
		return buf[:size]
	}
	for tries := 0; ; tries++ {
		r.readFile(f, check, once, cancel, starved)
		if f.Status != IO || f.Errno != syscall.ESTALE || tries == staleTries ||
			cancel != nil && atomic.LoadUint32(cancel) != 0 {
			return
		}
	}
}

func (r *Reader) readFile(f *File, check Check, alloc func(size int) []byte, cancel *uint32, starved *atomic.Int64) {
	*f = File{Path: f.Path, CRC: f.CRC}
	if cancel != nil && atomic.LoadUint32(cancel) != 0 {
		f.Status = Canceled
		return
	}
	r.openFiles <- struct{}{}
	defer func() { <-r.openFiles }()
	if !pathOK(f.Path) {
		f.Status = BadPath
		return
	}
	fd, err := r.openPatiently(f.Path, cancel, starved)
	if err != nil && (err == unix.EMFILE || err == unix.ENFILE) && cancel != nil && atomic.LoadUint32(cancel) != 0 {
		f.Status = Canceled
		return
	}
	if err != nil {
		f.Status, f.Errno = openStatus(err)
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.fail(err)
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Status = NotRegular
		return
	}
	if st.Size < 0 || st.Size > r.maxBytes {
		f.Status = TooBig
		return
	}
	if st.Size > 0 {
		if f.Buf = alloc(int(st.Size)); len(f.Buf) < int(st.Size) {
			f.Buf, f.Status = nil, NoBuffer
			return
		}
		if err := r.readFull(fd, f.Buf); err != nil {
			f.Buf = nil
			f.fail(err)
			return
		}
	}
	f.judge(check)
}

func (f *File) judge(check Check) {
	f.Status = OK
	if check&CheckChunk != 0 {
		if err := chunkcheck.Structure(f.Buf); err != nil {
			f.Status = BadFormat
			var ce *chunkcheck.Error
			if errors.As(err, &ce) {
				f.Reason = uint32(ce.Reason)
			}
		}
	}
	if check != CheckNone {
		if f.GotCRC = crc32.Checksum(f.Buf, castagnoli); f.GotCRC != f.CRC {
			f.Status, f.Reason = BadCRC, 0
		}
	}
}

func (f *File) fail(err error) {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		f.Status = Short
		return
	}
	f.Status, f.Errno = IO, syscall.EIO
	errors.As(err, &f.Errno)
}

func (r *Reader) readFull(fd int, buf []byte) error {
	for got, tries := 0, 0; got < len(buf); {
		n, err := r.pread(fd, buf[got:], int64(got))
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			if tries++; tries > retriesMax {
				return err
			}
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			got += n
			tries = 0
		}
	}
	return nil
}

// openStatus has an errno only with IO and Refused, as chunkring.h says.
func openStatus(err error) (Status, syscall.Errno) {
	errno := syscall.EIO
	errors.As(err, &errno)
	switch errno {
	case syscall.ENOENT:
		return NotFound, 0
	case syscall.ELOOP, syscall.EXDEV:
		return Refused, errno
	case syscall.ENXIO:
		return NotRegular, 0
	case syscall.ENAMETOOLONG:
		return BadPath, 0
	}
	return IO, errno
}

// pathOK is the rule of cr_path_ok in c/src/path.c.
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

const openFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY

func (r *Reader) open(path string) (int, error) {
	how := unix.OpenHow{
		Flags:   openFlags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range retriesMax {
		var fd int
		var err error
		if r.noOpenat2.Load() {
			fd, err = openByComponent(r.dir, path)
		} else if fd, err = unix.Openat2(r.dir, path, &how); err == unix.ENOSYS || err == unix.EPERM {
			r.noOpenat2.Store(true)
			continue
		}
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// openPatiently waits for the rest of the process to give back descriptors: up to starvedWait from
// the moment the batch, which keeps that moment in starved, first found none.
func (r *Reader) openPatiently(path string, cancel *uint32, starved *atomic.Int64) (int, error) {
	for {
		fd, err := r.open(path)
		if err != unix.EMFILE && err != unix.ENFILE {
			return fd, err
		}
		now := time.Now().UnixNano()
		starved.CompareAndSwap(0, now)
		if now-starved.Load() > int64(starvedWait) || cancel != nil && atomic.LoadUint32(cancel) != 0 {
			return fd, err
		}
		time.Sleep(starvedNap)
	}
}

// openByComponent is for kernels and sandboxes without openat2: see c/src/path.c.
func openByComponent(dir int, path string) (int, error) {
	at := dir
	for {
		part, rest, more := strings.Cut(path, "/")
		flags := openFlags | unix.O_NOFOLLOW
		if more {
			flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := unix.Openat(at, part, flags, 0)
		if err == unix.ENOTDIR && more {
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

// CRC32C is hash/crc32's, for the tests that both twins run.
func CRC32C(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }

// CRC32CKernel names the kernel in use.
func CRC32CKernel() string { return "hash/crc32" }

// BlockDecoder decompresses blocks with Loki's own readers.
type BlockDecoder struct{}

// NewBlockDecoder never fails.
func NewBlockDecoder() (*BlockDecoder, error) { return &BlockDecoder{}, nil }

// Close does nothing.
func (d *BlockDecoder) Close() {}

// Decode has the meaning of its twin in cgo.go.
func (d *BlockDecoder) Decode(codec uint8, src, dst []byte) (n uint64, status BlockStatus) {
	if !compression.Codec(codec).IsSupported() {
		return 0, BlockCodec
	}
	pool := compression.GetPool(compression.Codec(codec))
	r, err := pool.GetReader(bytes.NewBuffer(src))
	if err != nil {
		return 0, BlockBad
	}
	defer pool.PutReader(r)
	var more [1]byte
	for empty := 0; ; {
		into := dst[n:]
		if len(into) == 0 {
			into = more[:]
		}
		got, err := r.Read(into)
		switch {
		case err != nil && err != io.EOF:
			return 0, BlockBad
		case got > 0 && n == uint64(len(dst)):
			return 0, BlockRoom
		case err == io.EOF:
			return n + uint64(got), BlockOK
		case got == 0:
			if empty++; empty > retriesMax {
				return 0, BlockBad
			}
		}
		n += uint64(got)
	}
}
