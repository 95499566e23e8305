// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import "encoding/binary"

// The snappy framing format, as far as golang/snappy's Reader accepts it.
const (
	frameHeaderBytes = 4
	frameCompressed  = 0x00
	framePlain       = 0x01
	frameReservedMax = 0x7f // 0x02-0x7f must not be skipped
	frameIdentifier  = 0xff
	frameRawMax      = 64 << 10 // inflated bytes in one frame
	frameBodyMax     = 76490 + crcBytes
	identifierBody   = "sNaPpY"
)

// framesEnd walks the snappy frames of the JSON metadata and returns where they end, which is
// where the data length is. Their CRCs and contents are left to Decode.
//
// The length that the file gives either counts itself or, from old writers, does not. A frame with
// contents is longer than the difference, so the first of the two ends that is met is the right one.
func framesEnd(file []byte) (int, *Error) {
	if len(file) < wordBytes {
		return 0, refuse(Truncated, 0, "no metadata length")
	}
	want := uint64(binary.BigEndian.Uint32(file))
	if len(file) < wordBytes+frameHeaderBytes {
		return 0, refuse(Truncated, wordBytes, "no metadata")
	}
	if file[wordBytes] != frameIdentifier {
		return 0, refuse(MetaFrame, wordBytes, "the metadata is not a snappy stream")
	}
	pos, inflated := wordBytes, 0
	for {
		size, raw, reason := readFrame(file[pos:])
		if reason != None {
			return 0, refuse(reason, pos, "bad snappy frame")
		}
		pos += size
		inflated += raw
		if inflated > metaBytesMax {
			return 0, refuse(MetaTooBig, pos, "the metadata inflates to too much")
		}
		if uint64(pos) == want || uint64(pos) == want+wordBytes {
			break
		}
		if uint64(pos) > want {
			return 0, refuse(MetaLength, pos, "the metadata frames end elsewhere")
		}
	}
	if beyond(file[pos:], metaBytesMax-inflated) {
		return 0, refuse(MetaTooBig, pos, "the metadata goes on beyond its length")
	}
	return pos, nil
}

// beyond reports whether frames that inflate to more than left bytes follow the metadata. Decode
// learns where the metadata ends only from the JSON, so when that is not closed it goes on to take
// the data length and all that follows for frames, and inflates as much as there is. In a sound
// chunk the data length is no frame header, or few frames seem to follow by chance.
func beyond(b []byte, left int) bool {
	for {
		size, raw, reason := readFrame(b)
		if reason != None {
			return false
		}
		if raw > left {
			return true
		}
		left -= raw
		b = b[size:]
	}
}

// readFrame returns the length of the frame at the start of b and that of its contents.
func readFrame(b []byte) (size, raw int, reason Reason) {
	if len(b) < frameHeaderBytes {
		return 0, 0, Truncated
	}
	body := int(b[1]) | int(b[2])<<8 | int(b[3])<<16
	if body > frameBodyMax {
		return 0, 0, MetaFrame
	}
	size = frameHeaderBytes + body
	if size > len(b) {
		return 0, 0, Truncated
	}
	switch kind := b[0]; {
	case kind == frameCompressed:
		if body < crcBytes {
			return 0, 0, MetaFrame
		}
		n, width := binary.Uvarint(b[frameHeaderBytes+crcBytes : size])
		if width <= 0 || n > frameRawMax {
			return 0, 0, MetaFrame
		}
		return size, int(n), None
	case kind == framePlain:
		if body < crcBytes || body-crcBytes > frameRawMax {
			return 0, 0, MetaFrame
		}
		return size, body - crcBytes, None
	case kind == frameIdentifier:
		if string(b[frameHeaderBytes:size]) != identifierBody {
			return 0, 0, MetaFrame
		}
		return size, 0, None
	case kind <= frameReservedMax:
		return 0, 0, MetaFrame
	default:
		return size, 0, None // padding and what may be skipped
	}
}
