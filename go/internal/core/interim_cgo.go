// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package core

import (
	"hash/crc32"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Until the C core reads ends and blocks, the twin's code does it for the build with cgo, too: one file after the
// other, on the caller's thread. This file, and what cgo.go has for it, goes when it does.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	retriesMax = 1000
	openFlags  = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
)

func (r *Reader) openInterim(dir string) (err error) {
	r.dir, err = filepath.Abs(dir)
	return err
}

func (r *Reader) closeInterim() {}

func preadCached(fd int, p []byte, off int64) (int, error) {
	return unix.Preadv2(fd, [][]byte{p}, off, unix.RWF_NOWAIT)
}

func (r *Reader) openOne(path string) (endsFile, error) {
	e := endsFile{fd: -1, read: unix.Pread, cached: preadCached}
	dir, err := unix.Open(r.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return e, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: openFlags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return e, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.ELOOP
	}
	if err != nil {
		_ = unix.Close(fd)
		return e, err
	}
	e.fd, e.size = fd, st.Size
	return e, nil
}

// Read reads files by their ends where it may, and the others by C.
func (r *Reader) Read(b Batch) (Times, error) {
	if b.EndsBytesMin <= 0 || b.Check != CheckChunk {
		return r.readAndSize(b)
	}
	left := make([]int, 0, len(b.Files))
	for i := range b.Files {
		f := &b.Files[i]
		*f = File{Path: f.Path, CRC: f.CRC, SealKnown: f.SealKnown}
		if b.Cancel != nil && atomic.LoadUint32(b.Cancel) != 0 || !r.readEnds(&b, f) {
			left = append(left, i)
		}
	}
	whole := b
	whole.Files = make([]File, len(left))
	for n, i := range left {
		whole.Files[n] = b.Files[i]
	}
	times, err := r.readAndSize(whole)
	for n, i := range left {
		b.Files[i] = whole.Files[n]
	}
	if len(left) == 0 {
		times.Fallback, _ = r.Fallback()
	}
	return times, err
}

func (r *Reader) readEnds(b *Batch, f *File) bool {
	e, err := r.openOne(f.Path)
	if err != nil {
		return false
	}
	defer unix.Close(e.fd)
	return b.takesEnds(e.size) && e.ends(b, f) == nil
}

func (r *Reader) readAndSize(b Batch) (Times, error) {
	times, err := r.readWhole(b)
	for i := range b.Files {
		b.Files[i].Size = int64(len(b.Files[i].Buf))
	}
	return times, err
}

// ReadBlock opens, reads, checks, decompresses and closes.
func (r *Reader) ReadBlock(d *Decompressor, b *BlockRead) {
	r.readBlock(b, func(block []byte) { b.expand(d, block) })
}

// ReadRaw is ReadBlock without decompressing.
func (r *Reader) ReadRaw(b *BlockRead) { r.readBlock(b, b.copy) }

func (r *Reader) readBlock(b *BlockRead, use func(block []byte)) {
	b.N, b.Status, b.Errno, b.Op, b.GotCRC = 0, BlockReadBad, 0, OpNone, 0
	if b.Bytes <= 0 || b.Bytes > BlockBytesMax {
		return
	}
	e, err := r.openOne(b.Path)
	switch err {
	case nil:
		defer unix.Close(e.fd)
		e.block(b, use)
	case syscall.ELOOP, syscall.EXDEV, syscall.ENXIO:
		b.Status = BlockReadRefused
	default:
		b.failed(OpOpen, err)
	}
}
