// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"github.com/go-kit/log/level"

	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/blockread"
	"github.com/chunkring/chunkring/go/internal/core"
)

// blockAt and blockSource are chunk.BlockAt and chunk.BlockSource of a Loki that lokifork patched.
type (
	blockAt = struct {
		Off              int64
		Bytes, RawBytes  int
		MinTime, MaxTime int64
	}
	blockSource = interface {
		OpenBlock(ctx context.Context, codec compression.Codec, blocks []blockAt, i int) (io.Reader, error)
		CloseBlock(codec compression.Codec, r io.Reader)
		Whole() ([]byte, error)
	}
)

// fileBlocks reads the blocks of one chunk, of which GetChunks read the ends. It needs no descriptor, and has one only
// where opening the file again takes long: the name of the file contains the checksum of its bytes, so whatever has
// the name later has the same bytes, or the blocks' own checksums tell.
type fileBlocks struct {
	c    *Client
	ref  logproto.ChunkRef
	path string
	kept *keptFile // may be nil

	mu      sync.Mutex
	fetched []byte // the whole chunk, once a block had to come from the origin
}

const checksumBytes = 4 // of the CRC32C behind a block

var _ blockSource = (*fileBlocks)(nil)

// OpenBlock reads, checks and decompresses a block, with one call into C. Without an error and without a reader
// the block is left out.
func (s *fileBlocks) OpenBlock(ctx context.Context, codec compression.Codec, blocks []blockAt, i int) (io.Reader, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	w := wantedOf(ctx)
	if !s.c.enter() {
		w.fail(ErrStopped)
		return nil, ErrStopped
	}
	defer s.c.leave()
	begin := time.Now()
	b := fileBlock{fileBlocks: s, codec: codec, at: blocks[i]}
	next, more := nextBlock(w, blocks, i)
	if more {
		b.next = next
	}
	r, err := b.open(more)
	if s.c.origin != nil && (err != nil || b.err != nil) {
		r, err = b.fromOrigin(ctx)
	}
	m := &s.c.metrics.partial
	m.blockSeconds.Observe(time.Since(begin).Seconds())
	m.blockBytes.Add(float64(b.bytesRead))
	if err == nil {
		err = b.err
	}
	if err == nil {
		m.blocks.Inc()
		return r, nil
	}
	if ctxErr := ended(ctx); ctxErr != nil {
		return nil, ctxErr
	}
	if errors.Is(err, ErrStopped) { // of a client behind this one
		w.fail(ErrStopped)
		return nil, ErrStopped
	}
	return nil, s.leftOut(w, b.at, err)
}

// open has the file's descriptor meanwhile, if it is still open.
func (b *fileBlock) open(more bool) (io.Reader, error) {
	b.fd = b.kept.take()
	defer func() { // also when a decompressor panics
		b.kept.giveBack(b.fd, more)
		b.fd = 0
	}()
	return blockread.Open(b.codec, b.at.Bytes, b.at.RawBytes, b)
}

// CloseBlock takes back what OpenBlock returned.
func (s *fileBlocks) CloseBlock(codec compression.Codec, r io.Reader) { blockread.Close(codec, r) }

// Whole reads the file, whose bytes are the caller's.
func (s *fileBlocks) Whole() ([]byte, error) {
	if !s.c.enter() {
		return nil, ErrStopped
	}
	defer s.c.leave()
	return s.whole()
}

// whole is Whole within a call that has entered.
func (s *fileBlocks) whole() ([]byte, error) {
	files := []core.File{{Path: s.path, CRC: s.ref.Checksum}}
	if _, err := s.c.reader.Read(core.Batch{Files: files, Check: core.CheckChunk, Alloc: core.NewBuffer}); err != nil {
		return nil, err
	}
	if err := fileError(context.Background(), &files[0], s.c.pathOf(s.path)); err != nil {
		return nil, err
	}
	return files[0].Buf, nil
}

// leftOut says that a block can't be read, and returns the error that its iterator has: with StrictBlocks only.
func (s *fileBlocks) leftOut(w *wanted, at blockAt, err error) error {
	s.c.metrics.partial.leftOut[leftOutReason(err)].Inc()
	key, path := s.c.keys.externalKey(&s.ref), s.c.pathOf(s.path)
	s.c.failures.line(level.Error, "msg", "reading a block failed", "key", key, "path", path, "offset", at.Off, "bytes", at.Bytes,
		"left_out", !s.c.key.cfg.StrictBlocks, "err", err)
	if !s.c.key.cfg.StrictBlocks {
		return nil
	}
	err = &ChunkError{Key: key, Path: path, Err: fmt.Errorf("block of %d bytes at %d: %w", at.Bytes, at.Off, err)}
	w.fail(err)
	return err
}

// nextBlock is the block that the query will want after blocks[i].
func nextBlock(w *wanted, blocks []blockAt, i int) (blockAt, bool) {
	if w == nil || !w.All {
		return blockAt{}, false
	}
	i++
	if w.Backward {
		i -= 2
	}
	if i < 0 || i >= len(blocks) || !w.wants(blocks[i]) {
		return blockAt{}, false
	}
	return blocks[i], true
}

// Why a block was left out, as chunkring_blocks_unreadable_total names it.
const (
	leftOutNotFound = "not_found"
	leftOutShort    = "short"
	leftOutChecksum = "checksum"
	leftOutRefused  = "refused" // a symbolic link, or no regular file, where the file was
	leftOutDecode   = "decode"  // Loki's own reader refuses it, and its checksum is right
	leftOutIO       = "io"
)

var leftOutReasons = []string{leftOutNotFound, leftOutShort, leftOutChecksum, leftOutRefused, leftOutDecode, leftOutIO}

func leftOutReason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return leftOutNotFound
	case errors.Is(err, errShrinking):
		return leftOutShort
	case errors.Is(err, chunk.ErrInvalidChecksum):
		return leftOutChecksum
	case errors.Is(err, ErrRefused):
		return leftOutRefused
	case errors.As(err, &errno):
		return leftOutIO
	}
	return leftOutDecode
}

// fileBlock is one block on its way: blockread.FileBlock.
type fileBlock struct {
	*fileBlocks
	codec     compression.Codec
	at, next  blockAt // next: its Bytes are 0 if there is none
	fd        int     // of the file, 0 if it is not open
	bytesRead int
	err       error // why it can't be read
}

// blockTries: a file that is gone or too short is looked at twice. Who replaces one may not do so at once.
const blockTries = 2

// Decompress implements blockread.FileBlock.
func (b *fileBlock) Decompress(d *core.Decompressor, dst []byte) (n uint64, status core.BlockStatus) {
	read := b.read(dst, func(r *core.BlockRead) { b.c.reader.ReadBlock(d, r) })
	switch read.Status {
	case core.BlockReadOK:
		if b.codec == compression.None && !b.inTime(dst[:read.N]) {
			return 0, core.BlockUnsure
		}
		return uint64(read.N), core.BlockOK
	case core.BlockReadRoom:
		return uint64(read.N), core.BlockRoom
	case core.BlockReadBad:
		return 0, core.BlockBad
	case core.BlockReadUnsure:
		return 0, core.BlockUnsure
	case core.BlockReadNoMemory:
		return 0, core.BlockNoMemory
	}
	b.err = b.readError(&read)
	return 0, core.BlockPending
}

// fromOrigin opens the block from the whole chunk, where the file is only a copy that came from elsewhere.
func (b *fileBlock) fromOrigin(ctx context.Context) (io.Reader, error) {
	whole, err := b.wholeFromOrigin(ctx)
	if err != nil {
		return nil, err
	}
	end := b.at.Off + int64(b.at.Bytes)
	if end+checksumBytes > int64(len(whole)) {
		return nil, fmt.Errorf("%w: %w", chunk.ErrInvalidChecksum, errShrinking) // not the chunk whose ends were read
	}
	block := bytes.Clone(whole[b.at.Off:end]) // the reader keeps it, and must not keep the whole
	if got, want := crc32.Checksum(block, castagnoli), binary.BigEndian.Uint32(whole[end:]); got != want {
		return nil, fmt.Errorf("%w: CRC32C of the block is %08x, not %08x", chunk.ErrInvalidChecksum, got, want)
	}
	b.err = nil
	return blockread.OpenBytes(b.codec, block, b.at.RawBytes)
}

// wholeFromOrigin fetches the chunk once, however many of its blocks are asked for.
func (s *fileBlocks) wholeFromOrigin(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched == nil {
		whole, err := s.c.origin(ctx, chunk.Chunk{ChunkRef: s.ref})
		if err != nil {
			return nil, err
		}
		s.fetched = whole
	}
	return s.fetched, nil
}

// Raw implements blockread.FileBlock. Where there is doubt, the checksum of the whole file has the last word: a
// chunk says its codec in one byte, and only that checksum covers it.
func (b *fileBlock) Raw(doubt bool) ([]byte, error) {
	if doubt {
		whole, err := b.whole()
		if err != nil {
			return nil, err
		}
		if end := b.at.Off + int64(b.at.Bytes); end > int64(len(whole)) {
			return nil, fmt.Errorf("%w: %w", chunk.ErrInvalidChecksum, errShrinking)
		}
		b.bytesRead += len(whole)
		return bytes.Clone(whole[b.at.Off:][:b.at.Bytes]), nil
	}
	raw := core.NewBuffer(b.at.Bytes)
	read := b.read(raw, b.c.reader.ReadRaw)
	if read.Status != core.BlockReadOK {
		return nil, b.readError(&read)
	}
	return raw, nil
}

func (b *fileBlock) read(dst []byte, how func(*core.BlockRead)) core.BlockRead {
	for try := 1; ; try++ {
		r := core.BlockRead{Path: b.path, Codec: uint8(b.codec), Off: b.at.Off, Bytes: b.at.Bytes,
			NextOff: b.next.Off, NextBytes: b.next.Bytes, Dst: dst}
		if try == 1 {
			r.FD = b.fd
		}
		how(&r)
		again := r.Status == core.BlockReadNotFound || r.Status == core.BlockReadShort
		if r.FD != 0 { // what has the path now may be whole, and the server may have forgotten who has the file open
			again = again || r.Status == core.BlockReadIO || r.Status == core.BlockReadBadCRC
		}
		if !again || try == blockTries {
			b.bytesRead += b.at.Bytes
			return r
		}
	}
}

// inTime reports whether a block that is not compressed begins with a time that it may have. A block that is
// compressed does not, if the chunk's codec was damaged so that it seems not to be.
func (b *fileBlock) inTime(block []byte) bool {
	at, width := binary.Varint(block)
	return width > 0 && at >= b.at.MinTime && at <= b.at.MaxTime
}

// readError turns what became of a block into a cause.
func (b *fileBlock) readError(r *core.BlockRead) error {
	path := b.c.pathOf(b.path)
	switch r.Status {
	case core.BlockReadNotFound:
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	case core.BlockReadShort:
		return fmt.Errorf("%w: %w", chunk.ErrInvalidChecksum, errShrinking)
	case core.BlockReadBadCRC:
		return fmt.Errorf("%w: CRC32C of the block is %08x, and the file has another one behind it", chunk.ErrInvalidChecksum, r.GotCRC)
	case core.BlockReadIO:
		return &fs.PathError{Op: r.Op.String(), Path: path, Err: r.Errno}
	case core.BlockReadRefused:
		return &fs.PathError{Op: "open", Path: path, Err: ErrRefused}
	}
	return fmt.Errorf("unexpected status %v", r.Status)
}
