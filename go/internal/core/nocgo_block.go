// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"bytes"
	"io"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

// Decompressor decompresses blocks with Loki's own readers.
type Decompressor struct{}

// NewDecompressor never fails.
func NewDecompressor() (*Decompressor, error) { return &Decompressor{}, nil }

// Close does nothing.
func (d *Decompressor) Close() {}

// zstdBlock bounds the memory that Loki's zstd reader takes at once, which makes room for as much as a frame
// announces.
var zstdBlock = chunkcheck.ZstdLimits{Frames: 64, Window: math.MaxUint64, Raw: 16 << 20}

// Decompress has the meaning of its twin in cgo.go.
func (d *Decompressor) Decompress(codec uint8, src, dst []byte) (n uint64, status BlockStatus) {
	// Codec.IsSupported is as new as Loki 3.7.
	if _, err := compression.ParseCodec(compression.Codec(codec).String()); err != nil {
		return 0, BlockCodec
	}
	if codec == uint8(compression.Zstd) && chunkcheck.ZstdBound(src, zstdBlock) != "" {
		return 0, BlockUnsure
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

// ReadBlock has the meaning of its twin in cgo.go.
func (r *Reader) ReadBlock(d *Decompressor, b *BlockRead) {
	r.readBlock(b, func(block []byte) { b.expand(d, block) })
}

// ReadRaw has the meaning of its twin in cgo.go.
func (r *Reader) ReadRaw(b *BlockRead) { r.readBlock(b, b.copy) }

// readBlock opens the file as a batch of one does, and may block.
func (r *Reader) readBlock(b *BlockRead, use func(block []byte)) {
	b.N, b.Status, b.Errno, b.Op, b.GotCRC = 0, BlockReadBad, 0, OpNone, 0
	if b.Bytes <= 0 || b.Bytes > BlockBytesMax {
		return
	}
	run := &batch{Reader: r, begin: time.Now()} // nobody stops it
	if b.FD > 0 {
		endsFile{fd: b.FD, read: r.pread}.block(b, use)
		if b.Status != BlockReadIO || b.Errno != unix.ESTALE {
			return
		}
	}
	r.openFiles.take(run)
	defer r.openFiles.giveBack()
	for range staleTries + 1 {
		file := File{Path: b.Path}
		f := reading{File: &file, batch: run, fd: -1}
		if f.open(true) {
			f.block(b, use)
			f.close()
		} else {
			b.notOpened(&file)
		}
		if b.Status != BlockReadIO || b.Errno != unix.ESTALE {
			return
		}
	}
}

// block reads a block of an open file.
func (f *reading) block(b *BlockRead, use func(block []byte)) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		b.failed(OpStat, err)
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		b.Status = BlockReadRefused
		return
	}
	endsFile{fd: f.fd, read: f.batch.pread}.block(b, use)
}

// notOpened sets the status of a block whose file could not be opened.
func (b *BlockRead) notOpened(f *File) {
	switch f.Status {
	case NotFound:
		b.Status = BlockReadNotFound
	case IO:
		b.Status, b.Op, b.Errno = BlockReadIO, f.Op, f.Errno
	default: // Refused, BadPath, NotRegular
		b.Status = BlockReadRefused
	}
}
