// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import "encoding/binary"

// The zstd format (RFC 8878), as far as the bounds of what a stream inflates to need it.
const (
	zstdMagic         = 0xFD2FB528
	zstdSkipMagic     = 0x184D2A50 // and the 15 after it
	zstdBlockMax      = 128 << 10
	zstdBlockRaw      = 0
	zstdBlockRLE      = 1
	zstdBlockPacked   = 2
	zstdBlockHdrBytes = 3
)

// ZstdLimits are what a zstd stream may announce.
type ZstdLimits struct {
	Frames int
	Window uint64 // bytes; of a frame in a single segment, its contents
	Raw    uint64 // bytes that come out, of all frames
}

// ZstdBound returns what is wrong with a zstd stream by its headers alone, or "": an announcement over a
// limit, or blocks that may inflate to more. klauspost's decoder allocates a frame's content size (up to
// 64 GiB) before it reads the frame, and inflates a small stream in full when it is opened, where every
// four bytes may be a block of 128 KiB; a large one it streams, through a history of the window's size.
//
// It steps like that decoder and stops where the decoder would stop with an error: what follows is
// out of reach then, and Decode may well succeed with what came before.
func ZstdBound(b []byte, limits ZstdLimits) string {
	total := uint64(0)
	for frames := 1; ; frames++ {
		frame, ok := readZstdFrame(b)
		if !ok {
			return ""
		}
		if frames > limits.Frames {
			return "too many zstd frames"
		}
		if frame.sized {
			if frame.contents > limits.Raw || total > limits.Raw-frame.contents {
				return "zstd frames inflate to too much"
			}
			total += frame.contents
		}
		if frame.window > limits.Window {
			return "a zstd window over the limit"
		}
		b = frame.blocks
		for last := false; !last; {
			var raw uint64
			b, raw, last, ok = readZstdBlock(b, frame.blockMax)
			if !ok {
				return ""
			}
			if !frame.sized {
				total += raw
			}
			if total > limits.Raw {
				return "zstd blocks inflate to too much"
			}
		}
		if frame.checksum {
			if len(b) < 4 {
				return ""
			}
			b = b[4:]
		}
	}
}

type zstdFrame struct {
	window   uint64 // as the header says, or contents
	contents uint64 // if sized
	sized    bool
	checksum bool
	blockMax uint64
	blocks   []byte
}

// readZstdFrame reads the next frame header and passes over skippable frames before it. False:
// there is none that the decoder would take.
func readZstdFrame(b []byte) (zstdFrame, bool) {
	var f zstdFrame
	for {
		if len(b) < 5 {
			return f, false
		}
		magic := binary.LittleEndian.Uint32(b)
		if magic&^0xf != zstdSkipMagic {
			if magic != zstdMagic {
				return f, false
			}
			break
		}
		if len(b) < 8 {
			return f, false
		}
		skip := uint64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		if skip > uint64(len(b)) {
			return f, false
		}
		b = b[skip:]
	}
	flags := b[4]
	b = b[5:]
	single := flags&(1<<5) != 0
	f.checksum = flags&(1<<2) != 0
	if flags&(1<<3) != 0 {
		return f, false
	}
	if !single {
		if len(b) < 1 {
			return f, false
		}
		base := uint64(1) << (10 + b[0]>>3)
		f.window = base + base/8*uint64(b[0]&7)
		b = b[1:]
	}
	dictBytes := [4]int{0, 1, 2, 4}[flags&3]
	sizeBytes := [4]int{0, 2, 4, 8}[flags>>6]
	if sizeBytes == 0 && single {
		sizeBytes = 1
	}
	if len(b) < dictBytes+sizeBytes {
		return f, false
	}
	if littleEndian(b[:dictBytes]) != 0 {
		return f, false // Loki has no dictionaries
	}
	f.sized = sizeBytes > 0
	f.contents = littleEndian(b[dictBytes : dictBytes+sizeBytes])
	if sizeBytes == 2 {
		f.contents += 256
	}
	if single {
		f.window = max(f.contents, 1<<10)
	}
	f.blockMax = min(f.window, zstdBlockMax)
	f.blocks = b[dictBytes+sizeBytes:]
	return f, true
}

func littleEndian(b []byte) uint64 {
	v := uint64(0)
	for i, x := range b {
		v |= uint64(x) << (8 * i)
	}
	return v
}

// readZstdBlock returns what follows the block at the start of b and the most it inflates to.
func readZstdBlock(b []byte, blockMax uint64) (rest []byte, raw uint64, last, ok bool) {
	if len(b) < zstdBlockHdrBytes {
		return nil, 0, false, false
	}
	header := littleEndian(b[:zstdBlockHdrBytes])
	b = b[zstdBlockHdrBytes:]
	size := header >> 3
	if size > blockMax {
		return nil, 0, false, false
	}
	raw = size
	switch header >> 1 & 3 {
	case zstdBlockRaw:
	case zstdBlockRLE:
		size = 1
	case zstdBlockPacked:
		raw = blockMax
	default:
		return nil, 0, false, false
	}
	if size > uint64(len(b)) {
		return nil, 0, false, false
	}
	return b[size:], raw, header&1 != 0, true
}
