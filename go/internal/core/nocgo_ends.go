// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

// The two ends of a file, and a single block of it, from its descriptor.

const (
	endsBytes    = 4 << 10  // of each end, to begin with
	endsBytesMax = 64 << 10 // of both: larger symbols and metas are read with the whole file
	endsShare    = 4        // and so are those above this part of the file
	endsTries    = 6        // what ReadOutline may ask for more

	// blockMeanMin: below it the calls for single blocks cost more than what they don't read. It does not hold for
	// who wants the ends of files that are no larger.
	blockMeanMin = 16 << 10

	aheadBytes = 128 << 10 // the kernel cuts a request at the device's read-ahead size
)

var pageBytes = int64(os.Getpagesize())

// endsFile is an open file.
type endsFile struct {
	fd   int
	size int64

	read   func(fd int, p []byte, off int64) (int, error) // fails where the caller must not wait
	cached func(fd int, p []byte, off int64) (int, error) // fails where it would
}

// takesEnds reports whether the ends of a file are to be tried.
func (b *Batch) takesEnds(size int64) bool {
	return b.EndsBytesMin > 0 && size > int64(b.EndsBytesMin) && b.Check == CheckChunk
}

// readFull reads all of p, or fails.
func (e endsFile) readFull(read func(fd int, p []byte, off int64) (int, error), p []byte, off int64) error {
	for retries := 0; len(p) > 0; { // bounded: by p and by retriesMax
		n, err := read(e.fd, p, off)
		switch {
		case err == unix.EINTR && retries < retriesMax:
			retries++
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			p, off, retries = p[n:], off+int64(n), 0
		}
	}
	return nil
}

// endsScratch holds *[]byte: a head, and a tail behind it.
var endsScratch = sync.Pool{New: func() any {
	b := make([]byte, endsBytesMax)
	return &b
}}

// ends fills f from the ends of its file, and announces the blocks that b wants. chunkcheck.ErrWhole: only the
// whole file tells; other errors are those of e.read.
func (e endsFile) ends(b *Batch, f *File) error {
	scratch := endsScratch.Get().(*[]byte)
	defer endsScratch.Put(scratch)
	most := min(endsBytesMax, max(e.size/endsShare, 2*endsBytes))
	headBytes, tailBytes := min(endsBytes, e.size), min(endsBytes, e.size)
	for range endsTries {
		if headBytes+tailBytes > most {
			return chunkcheck.ErrWhole
		}
		head, tail := (*scratch)[:headBytes], (*scratch)[headBytes:headBytes+tailBytes]
		if err := e.readFull(e.read, head, 0); err != nil {
			return err
		}
		if err := e.readFull(e.read, tail, e.size-tailBytes); err != nil {
			return err
		}
		outline, err := chunkcheck.ReadOutline(head, tail, e.size)
		if more := (*chunkcheck.MoreError)(nil); errors.As(err, &more) {
			headBytes, tailBytes = max(headBytes, more.HeadBytes), max(tailBytes, more.TailBytes)
			continue
		}
		if err != nil {
			return err
		}
		return e.take(b, f, outline, head[:outline.BlocksOff], tail[tailBytes-(e.size-outline.MetasOff):])
	}
	return chunkcheck.ErrWhole
}

// take is ends for ends that are there.
func (e endsFile) take(b *Batch, f *File, o *chunkcheck.Outline, head, tail []byte) error {
	if !worthIt(b, o) {
		return chunkcheck.ErrWhole
	}
	how := b.Seal
	if f.SealKnown {
		how = SealOff
	}
	crc, sealed, err := e.seal(how, o, head, tail)
	if err != nil {
		return err
	}
	if sealed && crc != f.CRC {
		return chunkcheck.ErrWhole
	}
	buf := b.Alloc(len(head) + len(tail))
	if len(buf) < len(head)+len(tail) {
		return chunkcheck.ErrWhole
	}
	buf = buf[:len(head)+len(tail)]
	copy(buf[copy(buf, head):], tail)
	f.Buf, f.Size, f.HeadBytes, f.Sealed, f.Status = buf, e.size, len(head), sealed, OK
	if sealed {
		f.GotCRC = crc
	}
	for _, block := range wantedBlocks(b, o) {
		willNeed(e.fd, block.Off, block.Bytes)
	}
	return nil
}

// worthIt reports whether all blocks may be read one by one, and whether that pays.
func worthIt(b *Batch, o *chunkcheck.Outline) bool {
	if b.EndsBytesMin >= blockMeanMin && (o.MetasOff-o.BlocksOff)/int64(o.Blocks) < blockMeanMin {
		return false
	}
	small := true
	o.EachBlock(func(block chunkcheck.BlockPlace) bool {
		small = block.Bytes <= BlockBytesMax
		return small
	})
	return small
}

// seal joins the CRC32C of the file from the ends and from the CRCs behind the blocks, of which nothing else is
// read. The error is that of a read with SealAlways.
func (e endsFile) seal(how Seal, o *chunkcheck.Outline, head, tail []byte) (crc uint32, sealed bool, err error) {
	if how == SealOff {
		return 0, false, nil
	}
	read := e.read
	if how == SealResident {
		read = e.cached
	}
	crc = crc32.Checksum(head, castagnoli)
	o.EachBlock(func(block chunkcheck.BlockPlace) bool {
		var stored [4]byte
		if err = e.readFull(read, stored[:], block.Off+int64(block.Bytes)); err != nil {
			return false
		}
		own := uint32(stored[0])<<24 | uint32(stored[1])<<16 | uint32(stored[2])<<8 | uint32(stored[3])
		crc = crc32.Update(crcJoin(crc, own, int64(block.Bytes)), castagnoli, stored[:])
		return true
	})
	switch {
	case err != nil && how == SealResident:
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	return crc32.Update(crc, castagnoli, tail), true, nil
}

// wantedBlocks are those that the kernel is asked to fetch.
func wantedBlocks(b *Batch, o *chunkcheck.Outline) []chunkcheck.BlockPlace {
	if b.Ahead <= 0 {
		return nil
	}
	wanted := make([]chunkcheck.BlockPlace, 0, o.Blocks)
	o.EachBlock(func(block chunkcheck.BlockPlace) bool {
		if block.MaxTime >= b.FromNs && block.MinTime <= b.ThroughNs {
			wanted = append(wanted, block)
		}
		return true
	})
	over := max(0, len(wanted)-b.Ahead)
	if b.Backward {
		return wanted[over:]
	}
	return wanted[:len(wanted)-over]
}

// willNeed begins to fetch a block and its CRC. Where the kernel does not, reading it takes longer. A step that begins
// within a page has a page more than the kernel takes at once, and it would leave out the last.
func willNeed(fd int, off int64, bytes int) {
	end := off + int64(bytes) + 4
	for off -= off % pageBytes; off < end; off += aheadBytes {
		_ = unix.Fadvise(fd, off, min(aheadBytes, end-off), unix.FADV_WILLNEED)
	}
}

// crcJoin is the CRC32C of two pieces, the second of so many bytes, from those of the pieces.
func crcJoin(first, second uint32, bytes int64) uint32 {
	shift := uint32(crcOne)
	for n, power := bytes, 3; n > 0; n, power = n>>1, power+1 { // bits: bytes times 2^3
		if n&1 != 0 {
			shift = crcMul(crcPowers[power], shift)
		}
	}
	return crcMul(shift, first) ^ second
}

// Polynomials over GF(2) modulo that of CRC32C, the highest bit first: 1<<31 is 1, 1<<30 is x.
const (
	crcPoly = 0x82f63b78
	crcOne  = 1 << 31
)

// crcPowers are x^(2^i).
var crcPowers = func() (powers [64]uint32) {
	powers[0] = crcOne >> 1
	for i := range len(powers) - 1 {
		powers[i+1] = crcMul(powers[i], powers[i])
	}
	return powers
}()

func crcMul(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&crcOne != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crcPoly
		} else {
			b >>= 1
		}
	}
	return product
}

// block reads a block and has use take its bytes, whose CRC is right. Those that no block of the codec begins with
// are BlockReadBad.
func (e endsFile) block(b *BlockRead, use func(block []byte)) {
	scratch := blockScratch.Get().(*[]byte)
	defer blockScratch.Put(scratch)
	if b.NextBytes > 0 {
		willNeed(e.fd, b.NextOff, min(b.NextBytes, BlockBytesMax))
	}
	p := (*scratch)[:b.Bytes+4]
	if err := e.readFull(e.read, p, b.Off); err != nil {
		b.failed(OpRead, err)
		return
	}
	block, stored := p[:b.Bytes], p[b.Bytes:]
	b.GotCRC = crc32.Checksum(block, castagnoli)
	switch {
	case b.GotCRC != uint32(stored[0])<<24|uint32(stored[1])<<16|uint32(stored[2])<<8|uint32(stored[3]):
		b.Status = BlockReadBadCRC
	case !codecAgrees(b.Codec, block):
		b.Status = BlockReadBad
	default:
		use(block)
	}
}

// blockScratch holds *[]byte: the largest block and its CRC.
var blockScratch = sync.Pool{New: func() any {
	b := make([]byte, BlockBytesMax+4)
	return &b
}}

// failed sets the status of a block that could not be opened or read.
func (b *BlockRead) failed(op Op, err error) {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		b.Status = BlockReadShort
	case err == unix.ENOENT:
		b.Status = BlockReadNotFound
	default:
		b.Status, b.Op, b.Errno = BlockReadIO, op, unix.EIO
		errors.As(err, &b.Errno)
	}
}

// expand decompresses a block into Dst.
func (b *BlockRead) expand(d *Decompressor, block []byte) {
	if b.Codec == uint8(compression.None) {
		b.copy(block)
		return
	}
	n, status := d.Decompress(b.Codec, block, b.Dst)
	b.N = int(min(n, 1<<40)) // what a block says it takes may be anything
	switch status {
	case BlockOK:
		b.Status = BlockReadOK
	case BlockRoom:
		b.Status = BlockReadRoom
	case BlockUnsure:
		b.Status = BlockReadUnsure
	case BlockNoMemory:
		b.Status = BlockReadNoMemory
	default:
		b.Status = BlockReadBad
	}
}

// copy puts the block itself into Dst.
func (b *BlockRead) copy(block []byte) {
	b.N = len(block)
	if b.Status = BlockReadOK; len(b.Dst) < len(block) {
		b.Status = BlockReadRoom
		return
	}
	copy(b.Dst, block)
}

// codecAgrees reports whether a block begins as those of a codec of Loki's do. A chunk names its codec in one byte
// without a checksum. Blocks that are deflated or not compressed begin with anything.
func codecAgrees(codec uint8, block []byte) bool {
	begin := ""
	switch compression.Codec(codec) {
	case compression.GZIP:
		begin = "\x1f\x8b"
	case compression.LZ4_64k, compression.LZ4_256k, compression.LZ4_1M, compression.LZ4_4M:
		begin = "\x04\x22\x4d\x18"
	case compression.Snappy:
		begin = "\xff\x06\x00\x00"
	case compression.Zstd:
		begin = "\x28\xb5\x2f\xfd"
	}
	return len(block) >= len(begin) && string(block[:len(begin)]) == begin
}
