// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/golang/snappy"

	"github.com/grafana/loki/v3/pkg/compression"
)

// A chunk from the two ends of its file: the metadata is at its start, the structured metadata behind that, the
// block metas and the footer at its end. Nobody looks at the blocks between them, so only a chunk whose parts
// follow each other without a hole is taken, as all writers of Loki's make them: there every number is said twice.

// ErrWhole says that only the whole file can tell: it is damaged, or no writer of Loki's made it.
var ErrWhole = errors.New("the two ends of the file do not tell all about its blocks")

// MoreError says how much of a file's ends is needed.
type MoreError struct{ HeadBytes, TailBytes int64 }

func (e *MoreError) Error() string { return "more of the file's ends is needed" }

// Outline is what the ends of a chunk file say of it. Offsets count from the start of the file.
type Outline struct {
	Codec     compression.Codec
	Blocks    int
	BlocksOff int64 // where the first block begins
	MetasOff  int64 // where the last block's CRC ends

	version byte
	dataOff int64
	symbols []byte
	metas   []byte // behind the number of blocks
}

// BlockPlace is one block of an Outline.
type BlockPlace struct {
	Off              int64 // of the block in the file; its CRC follows it
	Bytes            int
	MinTime, MaxTime int64 // of its entries, in ns
}

// ReadOutline reads the first len(head) and the last len(tail) bytes of a file. The error is ErrWhole or a
// *MoreError; for the latter it never asks more than a few times, nor for more than the file has.
func ReadOutline(head, tail []byte, fileBytes int64) (*Outline, error) {
	o := &Outline{}
	if err := o.readHead(head, fileBytes); err != nil {
		return nil, err
	}
	if err := o.readTail(head, tail, fileBytes); err != nil {
		return nil, err
	}
	return o, nil
}

// CheckSymbols inflates the symbols, of which ReadOutline looks at the checksum only. The error is ErrWhole. They
// are in front of the blocks, and must still be where ReadOutline had them.
func (o *Outline) CheckSymbols() error {
	if o.version < 4 {
		return nil
	}
	count, width := binary.Uvarint(o.symbols)
	if width <= 0 || count > symbolsMax || checkSymbolStream(o.Codec, o.symbols[width:], int(count)) != "" {
		return ErrWhole
	}
	return nil
}

const identifierBytes = frameHeaderBytes + len(identifierBody)

// readHead takes the metadata if it is one frame, as all of Loki's is below 64 KiB, and the header.
func (o *Outline) readHead(head []byte, fileBytes int64) error {
	const before = wordBytes + identifierBytes
	if need := int64(before + frameHeaderBytes); int64(len(head)) < need {
		return more(need, 0, fileBytes)
	}
	body := int64(head[before+1]) | int64(head[before+2])<<8 | int64(head[before+3])<<16
	end := int64(before+frameHeaderBytes) + body
	header := end + wordBytes
	if need := header + 5; int64(len(head)) < need {
		return more(need, 0, fileBytes)
	}
	if version := head[header+4]; version > 1 && int64(len(head)) == header+5 { // the codec follows
		return more(header+6, 0, fileBytes)
	}
	said := int64(binary.BigEndian.Uint32(head))
	if end != said && end != said+wordBytes || !frameSound(head[wordBytes:end]) ||
		int64(binary.BigEndian.Uint32(head[end:])) != fileBytes-header {
		return ErrWhole
	}
	var c parts
	c.data = head[header:]
	if c.readHeader() != nil {
		return ErrWhole
	}
	o.dataOff, o.version, o.Codec, o.BlocksOff = header, c.version, c.codec, header+int64(c.firstBlock)
	return nil
}

// frameSound reports whether b is an identifier and one frame with a right CRC.
func frameSound(b []byte) bool {
	if size, raw, reason := readFrame(b); reason != None || raw != 0 || size != identifierBytes || b[0] != frameIdentifier {
		return false
	}
	b = b[identifierBytes:]
	size, _, reason := readFrame(b)
	if reason != None || size != len(b) || b[0] > framePlain {
		return false
	}
	raw := b[frameHeaderBytes+crcBytes:]
	if b[0] == frameCompressed {
		var err error
		if raw, err = snappy.Decode(nil, raw); err != nil {
			return false
		}
	}
	sum := crc32.Checksum(raw, castagnoli)
	return (sum>>15|sum<<17)+0xa282ead8 == binary.LittleEndian.Uint32(b[frameHeaderBytes:])
}

func (o *Outline) readTail(head, tail []byte, fileBytes int64) error {
	footer := int64(footerBytesV4)
	if o.version < 4 {
		footer = footerBytesV1 - crcBytes
	}
	if int64(len(tail)) < footer {
		return more(0, footer, fileBytes)
	}
	dataBytes := fileBytes - o.dataOff
	metasEnd := dataBytes - footer // with its CRC
	word := func(fromEnd int) int64 {
		if v := binary.BigEndian.Uint64(tail[len(tail)-fromEnd:]); v <= math.MaxInt64/4 {
			return int64(v)
		}
		return math.MaxInt64 / 4 // outside of any file
	}
	metasOff := word(8)
	if o.version >= 4 && metasOff+word(16)+crcBytes != metasEnd {
		return ErrWhole
	}
	blocksOff := o.BlocksOff - o.dataOff
	if o.version >= 4 {
		symbolsBytes, symbolsOff := word(32), word(24)
		if symbolsOff != blocksOff {
			return ErrWhole
		}
		blocksOff += symbolsBytes + crcBytes
	}
	if blocksOff > metasOff || metasOff > metasEnd-crcBytes {
		return ErrWhole
	}
	headNeed, tailNeed := o.dataOff+blocksOff, dataBytes-metasOff
	if int64(len(head)) < headNeed || int64(len(tail)) < tailNeed {
		return more(headNeed, tailNeed, fileBytes)
	}
	if o.version >= 4 {
		var ok bool
		if o.symbols, ok = sound(head[o.BlocksOff:headNeed]); !ok {
			return ErrWhole
		}
	}
	metas, ok := sound(tail[int64(len(tail))-tailNeed : int64(len(tail))-footer])
	if !ok {
		return ErrWhole
	}
	o.BlocksOff, o.MetasOff = headNeed, o.dataOff+metasOff
	return o.readMetas(metas)
}

// sound returns a section without the CRC behind it, and whether that is right.
func sound(section []byte) ([]byte, bool) {
	body := section[:len(section)-crcBytes]
	return body, crc32.Checksum(body, castagnoli) == binary.BigEndian.Uint32(section[len(body):])
}

// readMetas reports whether the blocks fill exactly what is between the ends.
func (o *Outline) readMetas(metas []byte) error {
	cur := cursor{b: metas}
	num := cur.uvarint()
	if num == 0 || num > blocksMax || num > uint64(len(metas)) {
		return ErrWhole
	}
	o.Blocks, o.metas = int(num), cur.b
	at := o.BlocksOff
	rest := o.EachBlock(func(b BlockPlace) bool {
		if b.Off != at || b.Bytes <= 0 || int64(b.Bytes) > o.MetasOff-at-crcBytes {
			return false
		}
		at += int64(b.Bytes) + crcBytes
		return true
	})
	if at != o.MetasOff || rest != 0 {
		return ErrWhole
	}
	return nil
}

// EachBlock calls f for the blocks, in their order in the file, until it returns false. It returns how many bytes
// of the metas are left, -1 if they don't tell.
func (o *Outline) EachBlock(f func(BlockPlace) bool) (rest int) {
	cur := cursor{b: o.metas}
	for range o.Blocks {
		cur.uvarint() // entries
		minTime, maxTime := zigzag(cur.uvarint()), zigzag(cur.uvarint())
		off := cur.uvarint()
		if o.version >= 3 {
			cur.uvarint() // inflated size
		}
		size := cur.uvarint()
		if cur.failed || off > math.MaxInt64/4 || size > math.MaxInt32 {
			return -1
		}
		if !f(BlockPlace{Off: o.dataOff + int64(off), Bytes: int(size), MinTime: minTime, MaxTime: maxTime}) {
			return -1
		}
	}
	return len(cur.b)
}

func zigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// more never asks for what the file does not have.
func more(head, tail, fileBytes int64) error {
	if head > fileBytes || tail > fileBytes {
		return ErrWhole
	}
	return &MoreError{head, tail}
}
