// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/grafana/loki/v3/pkg/compression"
)

const (
	memChunkMagic = 0x012EE56A
	crcBytes      = 4
	footerBytesV1 = 8 + crcBytes // metas' CRC and offset: all that versions 1-3 must have at the end
	footerBytesV4 = 2 * 16       // two sections' length and offset
	wordBytes     = 4            // metadata length and data length
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check is Structure and then Symbols: nil means that Decode of file is safe. blocks is how many the metas
// announce. Decode drops those whose CRC is wrong; the difference is how many.
func Check(file []byte) (blocks int, err error) {
	var c parts
	if err := c.locate(file); err != nil {
		return 0, err
	}
	announced, wrong := c.checkBlocks()
	if wrong != nil {
		return 0, wrong
	}
	if err := c.checkSymbols(); err != nil {
		return 0, err
	}
	return announced, nil
}

// Structure checks the envelope, the footer, the block metas and the place of every block, without
// inflating anything and without allocating. The outer CRC, the snappy frames' and the blocks' are
// left to Decode. The error is an *Error.
func Structure(file []byte) error {
	var c parts
	if err := c.locate(file); err != nil {
		return err
	}
	if _, err := c.checkBlocks(); err != nil {
		return err
	}
	return nil
}

// Symbols checks the structured metadata (version 4): that every symbol it announces is there. It
// inflates the section when that can't be told otherwise. The error is an *Error.
func Symbols(file []byte) error {
	var c parts
	if err := c.locate(file); err != nil {
		return err
	}
	if err := c.checkSymbols(); err != nil {
		return err
	}
	return nil
}

// section is a part of the MemChunk that a CRC follows.
type section struct{ off, bytes int }

// parts is where things are in a chunk file. Offsets inside it count from the start of data.
type parts struct {
	data       []byte // the MemChunk
	dataOff    int    // its place in the file
	version    byte
	codec      compression.Codec
	metas      section
	symbols    section // version 4 only
	firstBlock int     // where Loki expects the first block
}

// refuse makes an Error whose place counts from the start of data.
func (c *parts) refuse(reason Reason, off int, detail string) *Error {
	return refuse(reason, c.dataOff+off, detail)
}

func (c *parts) locate(file []byte) *Error {
	dataLenOff, err := framesEnd(file)
	if err != nil {
		return err
	}
	if len(file)-dataLenOff < wordBytes {
		return refuse(Truncated, dataLenOff, "no data length")
	}
	c.dataOff = dataLenOff + wordBytes
	c.data = file[c.dataOff:]
	if uint64(binary.BigEndian.Uint32(file[dataLenOff:])) != uint64(len(c.data)) {
		return refuse(DataLength, dataLenOff, "the data length is not what is left of the file")
	}
	if err := c.readHeader(); err != nil {
		return err
	}
	return c.readFooter()
}

func (c *parts) readHeader() *Error {
	b := c.data
	if len(b) < 5 {
		return c.refuse(Truncated, 0, "no header")
	}
	if binary.BigEndian.Uint32(b) != memChunkMagic {
		return c.refuse(Magic, 0, "wrong magic number")
	}
	c.version = b[4]
	switch c.version {
	case 1:
		c.codec, c.firstBlock = compression.GZIP, 5
		return nil
	case 2, 3, 4:
		if len(b) < 6 {
			return c.refuse(Truncated, 5, "no codec")
		}
		c.codec, c.firstBlock = compression.Codec(b[5]), 6
		if !codecKnown(c.codec) {
			return c.refuse(Codec, 5, "a codec that Loki does not have")
		}
		return nil
	default:
		return c.refuse(Version, 4, "not version 1 to 4")
	}
}

// codecKnown lists what compression.GetPool has a pool for; it panics for all else.
func codecKnown(codec compression.Codec) bool {
	switch codec {
	case compression.None, compression.GZIP, compression.LZ4_64k, compression.Snappy,
		compression.LZ4_256k, compression.LZ4_1M, compression.LZ4_4M, compression.Flate,
		compression.Zstd:
		return true
	default:
		return false
	}
}

// readFooter finds the sections. Loki lets them lie anywhere in data, so their order is not checked.
func (c *parts) readFooter() *Error {
	b := c.data
	if c.version < 4 {
		if len(b) < footerBytesV1 {
			return c.refuse(Truncated, len(b), "no footer")
		}
		end := uint64(len(b) - footerBytesV1)
		off := binary.BigEndian.Uint64(b[len(b)-8:])
		if off > end {
			return c.refuse(MetasRange, len(b)-8, "the block metas lie outside the data")
		}
		c.metas = section{int(off), int(end - off)}
	} else {
		if len(b) < footerBytesV4 {
			return c.refuse(Truncated, len(b), "no footer")
		}
		var ok bool
		if c.metas, ok = readSection(b, len(b)-16); !ok {
			return c.refuse(MetasRange, len(b)-16, "the block metas lie outside the data")
		}
		if c.symbols, ok = readSection(b, len(b)-32); !ok {
			return c.refuse(SymbolsRange, len(b)-32, "the structured metadata lies outside the data")
		}
		c.firstBlock = c.symbols.off + c.symbols.bytes + crcBytes
	}
	// Decode would find a wrong CRC too, before it uses the metas. Taking it here costs a few
	// nanoseconds, and every later refusal is then about numbers that somebody meant.
	if !c.crcRight(c.metas) {
		return c.refuse(MetasCRC, c.metas.off, "the checksum of the block metas is wrong")
	}
	return nil
}

// readSection reads the length and the offset at b[at:] and reports whether that section and its
// CRC lie inside b.
func readSection(b []byte, at int) (section, bool) {
	size, off := binary.BigEndian.Uint64(b[at:]), binary.BigEndian.Uint64(b[at+8:])
	all := uint64(len(b))
	if off > all || size > all-off || all-off-size < crcBytes {
		return section{}, false
	}
	return section{int(off), int(size)}, true
}

// crcRight reports whether the section's CRC, which lies inside data, is right.
func (c *parts) crcRight(s section) bool {
	end := s.off + s.bytes
	return crc32.Checksum(c.data[s.off:end], castagnoli) == binary.BigEndian.Uint32(c.data[end:])
}

// checkBlocks follows Decode's loop over the block metas, and returns how many they announce.
//
// A block that lies where the block before it ended is taken (or, with a wrong CRC, dropped) by
// Decode, and the next one is expected after it either way. So the blocks of a sound chunk need no
// CRC here; only one recorded elsewhere does, since its CRC decides where Decode looks next, and one
// whose numbers are missing, since Decode fails if it happens to be valid.
func (c *parts) checkBlocks() (int, *Error) {
	cur := cursor{b: c.data[c.metas.off : c.metas.off+c.metas.bytes]}
	num := cur.uvarint()
	// Decode makes room for all of them before it looks, and drops those that the metas don't
	// describe. A few too many do no harm there, so none here: up to what keeps that room below
	// four times the data.
	if num > uint64(len(cur.b)) && num > uint64(len(c.data)/16) {
		return 0, c.refuse(MetasFormat, c.metas.off, "more blocks than the metas have bytes")
	}
	if num > blocksMax {
		return 0, c.refuse(MetasFormat, c.metas.off, "more blocks than the limit")
	}
	all := uint64(len(c.data))
	expected := uint64(c.firstBlock)
	summed := false
	for i := range num {
		off, size := cur.block(c.version)
		if off > math.MaxInt64 || size > math.MaxInt64 || off+size > math.MaxInt64 {
			return 0, c.refuseBlock(i, off, size)
		}
		if off == expected && !cur.failed {
			if off+size+crcBytes > all {
				return 0, c.refuseBlock(i, off, size)
			}
			expected = off + size + crcBytes
			continue
		}
		if !summed {
			if err := c.checkSum(); err != nil {
				return 0, err
			}
			summed = true
		}
		next, verdict := c.followMoved(off, size, expected)
		if verdict == blockFatal {
			return 0, c.refuseBlock(i, off, size)
		}
		if verdict == blockKept && cur.failed {
			return 0, c.refuse(MetasFormat, c.metas.off, "the metas end early") // an error in Decode
		}
		expected = next
	}
	return int(num), nil
}

func (c *parts) refuseBlock(i, off, size uint64) *Error {
	return c.refuse(BlockRange, c.metas.off,
		fmt.Sprintf("block %d: %d bytes at %d of %d", i, size, off, len(c.data)))
}

// checkSum refuses blocks that are together longer than the data. It runs before the first block
// CRC is taken and so bounds that work to twice the data. Blocks that all lie one after another
// need no sum.
func (c *parts) checkSum() *Error {
	cur := cursor{b: c.data[c.metas.off : c.metas.off+c.metas.bytes]}
	all, sum := uint64(len(c.data)), uint64(0)
	for i := range cur.uvarint() {
		off, size := cur.block(c.version)
		if size > all {
			return c.refuseBlock(i, off, size)
		}
		sum += size + crcBytes
		if sum > all {
			return c.refuse(BlockOverlap, c.metas.off, "the blocks together are longer than the data")
		}
	}
	return nil
}

type blockVerdict int

const (
	blockKept    blockVerdict = iota
	blockDropped              // Decode serves the chunk without it
	blockFatal                // Decode panics or returns an error
)

// followMoved decides what Decode does with a block that is recorded at off but expected
// elsewhere, and returns where the next block is expected. off+size does not overflow.
func (c *parts) followMoved(off, size, expected uint64) (next uint64, verdict blockVerdict) {
	first := c.tryBlock(off, size)
	switch first {
	case blockGood:
		return off + size + crcBytes, blockKept
	case blockCut:
		return 0, blockFatal
	}
	switch c.tryBlock(expected, size) {
	case blockGood:
		return expected + size + crcBytes, blockKept
	case blockCut:
		return 0, blockFatal
	}
	if first == blockOutside {
		return 0, blockFatal
	}
	return expected + size + crcBytes, blockDropped
}

type blockPlace int

const (
	blockGood    blockPlace = iota
	blockBadCRC             // inside the data, wrong CRC
	blockOutside            // ends after the data: an error in Decode
	blockCut                // ends inside the data but its CRC does not: Decode panics
)

func (c *parts) tryBlock(off, size uint64) blockPlace {
	all := uint64(len(c.data))
	if off > all || size > all-off {
		return blockOutside
	}
	if all-off-size < crcBytes {
		return blockCut
	}
	if !c.crcRight(section{int(off), int(size)}) {
		return blockBadCRC
	}
	return blockGood
}

// cursor reads varints like Decode does: after the first that is malformed all are zero, and
// nothing more is consumed.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 && !c.failed {
		v := uint64(c.b[0])
		c.b = c.b[1:]
		return v
	}
	return c.uvarintLong()
}

func (c *cursor) uvarintLong() uint64 {
	if c.failed {
		return 0
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.failed = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// block reads one block's metas and returns the two numbers that Decode acts on. Zigzag numbers
// are as long as plain ones, so the bounds are read as such.
func (c *cursor) block(version byte) (off, size uint64) {
	c.uvarint() // entries
	c.uvarint() // first timestamp
	c.uvarint() // last timestamp
	off = c.uvarint()
	if version >= 3 {
		c.uvarint() // inflated size
	}
	return off, c.uvarint()
}
