// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import "encoding/binary"

// The LZ4 frame format, as far as pierrec/lz4's Reader takes it.
const (
	lz4Magic       = 0x184D2204
	lz4LegacyMagic = 0x184C2102
	lz4SkipMagic   = 0x184D2A00 // the Reader looks at the upper 24 bits only
	lz4Plain       = 1 << 31    // of a block's length: it is not compressed
	lz4MatchMin    = 4
)

// lz4Check returns why an LZ4 stream must not be given to pierrec's Reader, or "". Two things:
//
// A legacy frame: the Reader calls itself once per repeated legacy magic, so 64 MiB of them are
// more stack than Go allows, which can't be recovered. Loki never writes such frames.
//
// A match that reaches before its frame: the Reader keeps the last 64 KiB of frames with dependent
// blocks through Reset and then resolves such a match in whatever stream it read before. The same
// section could hold one thing for us and another for Decode. A fresh Reader refuses it.
//
// The walk stops where the Reader stops with an error.
func lz4Check(b []byte) string {
	for {
		if len(b) < 4 {
			return ""
		}
		magic := binary.LittleEndian.Uint32(b)
		switch {
		case magic == lz4LegacyMagic:
			return "a legacy LZ4 frame"
		case magic&^0xff == lz4SkipMagic:
			if len(b) < 8 {
				return ""
			}
			skip := uint64(binary.LittleEndian.Uint32(b[4:]))
			b = b[8:]
			if skip > uint64(len(b)) {
				return ""
			}
			b = b[skip:]
			continue
		case magic != lz4Magic:
			return ""
		}
		var ok bool
		var detail string
		if b, detail, ok = lz4Frame(b[4:]); !ok {
			return detail
		}
	}
}

// lz4Frame walks one frame behind its magic number and returns what follows it. False: the walk
// ends here, with detail where that is a reason to refuse.
func lz4Frame(b []byte) (rest []byte, detail string, ok bool) {
	if len(b) < 3 {
		return nil, "", false
	}
	flags, blockCode := b[0], b[1]>>4&7
	header := 3
	if flags&(1<<3) != 0 {
		header += 8
	}
	if len(b) < header || blockCode < 4 {
		return nil, "", false
	}
	b = b[header:]
	var blockMax = uint64(1) << (8 + 2*blockCode) // 64 KiB, 256 KiB, 1 MiB, 4 MiB
	independent := flags&(1<<5) != 0
	trailer := uint64(flags>>4&1) * 4 // block checksum
	history := uint64(0)
	for {
		if len(b) < 4 {
			return nil, "", false
		}
		word := binary.LittleEndian.Uint32(b)
		b = b[4:]
		if word == 0 {
			break
		}
		size := uint64(word &^ lz4Plain)
		if size > blockMax || size+trailer > uint64(len(b)) {
			return nil, "", false
		}
		raw := size
		if word&lz4Plain == 0 {
			if raw, ok = lz4Block(b[:size], history, blockMax); !ok {
				return nil, "an LZ4 match reaches before its frame", false
			}
		}
		if !independent {
			history += raw
		}
		b = b[size+trailer:]
	}
	if flags&(1<<2) != 0 { // content checksum
		if len(b) < 4 {
			return nil, "", false
		}
		b = b[4:]
	}
	return b, "", true
}

// lz4Block returns what a compressed block inflates to. False: a match reaches further back than
// history bytes before the block. The walk ends where the block is malformed or inflates to more
// than most, since the Reader then fails.
func lz4Block(b []byte, history, most uint64) (raw uint64, ok bool) {
	for len(b) > 0 {
		token := b[0]
		b = b[1:]
		literals, n := lz4Length(uint64(token>>4), b)
		b = b[n:]
		raw += literals
		if raw > most || literals >= uint64(len(b)) {
			return raw, true // the last sequence has literals only
		}
		b = b[literals:]
		if len(b) < 2 {
			return raw, true
		}
		offset := uint64(binary.LittleEndian.Uint16(b))
		if offset > raw+history {
			return raw, false
		}
		match, n := lz4Length(uint64(token&15), b[2:])
		b = b[2+n:]
		if raw += match + lz4MatchMin; raw > most {
			return raw, true
		}
	}
	return raw, true
}

// lz4Length completes a four-bit length that may go on in b and says how many bytes of b it took.
func lz4Length(nibble uint64, b []byte) (length uint64, n int) {
	if nibble < 15 {
		return nibble, 0
	}
	length = nibble
	for n < len(b) {
		x := b[n]
		n++
		length += uint64(x)
		if x < 255 {
			break
		}
	}
	return length, n
}
