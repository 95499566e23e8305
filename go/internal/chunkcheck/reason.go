// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"fmt"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// Reason says what is wrong with a chunk file. The numbers and names are those of enum
// cr_chunk_reason in chunkring.h, which owns them: append there first, never renumber.
type Reason uint32

const (
	None          Reason = 0
	Truncated     Reason = 1  // too short for the part that should be there
	MetaLength    Reason = 2  // the metadata frames don't end where their length says
	MetaFrame     Reason = 3  // a snappy frame of the metadata is malformed
	MetaFrameCRC  Reason = 4  // never reported here: Decode checks the frames' checksums
	MetaTooBig    Reason = 5  // the metadata inflates beyond metaBytesMax
	DataLength    Reason = 6  // the data length is not what is left of the file
	Magic         Reason = 7  // not a MemChunk
	Version       Reason = 8  // not 1-4
	Codec         Reason = 9  // a codec that Loki does not have
	MetasRange    Reason = 10 // the block metas lie outside the data
	MetasCRC      Reason = 11 // the block metas' checksum is wrong
	MetasFormat   Reason = 12 // more blocks than the metas have room for
	BlockRange    Reason = 13 // a block lies outside the data
	BlockOverlap  Reason = 14 // the blocks together are longer than the data
	SymbolsRange  Reason = 15 // the structured metadata lies outside the data
	SymbolsCRC    Reason = 16 // the structured metadata's checksum is wrong
	SymbolsFormat Reason = 17 // a symbol count or length that the section can't hold, or over a limit
	reasonCount   Reason = 18
)

var reasonNames = [reasonCount]string{
	None:          "none",
	Truncated:     "truncated",
	MetaLength:    "meta_length",
	MetaFrame:     "meta_frame",
	MetaFrameCRC:  "meta_frame_crc",
	MetaTooBig:    "meta_too_big",
	DataLength:    "data_length",
	Magic:         "magic",
	Version:       "version",
	Codec:         "codec",
	MetasRange:    "metas_range",
	MetasCRC:      "metas_crc",
	MetasFormat:   "metas_format",
	BlockRange:    "block_range",
	BlockOverlap:  "block_overlap",
	SymbolsRange:  "symbols_range",
	SymbolsCRC:    "symbols_crc",
	SymbolsFormat: "symbols_format",
}

// String returns the name that cr_chunk_reason_name gives: "metas_crc".
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasonNames[r]
}

// Error is what every function of this package returns when it refuses a file.
//
// errors.Is finds in it what Loki's own Decode would have returned, where Decode returns a named
// error: chunk.ErrMetadataLength, chunk.ErrDataLength, chunkenc.ErrInvalidChecksum.
type Error struct {
	Reason Reason
	Off    int64  // where in the file, in bytes from its start
	Detail string // for people
}

func (e *Error) Error() string {
	return fmt.Sprintf("chunk refused: %s at byte %d: %s", e.Reason, e.Off, e.Detail)
}

// Unwrap returns Loki's error for the reason, or nil where Loki has no name for it.
func (e *Error) Unwrap() error {
	switch e.Reason {
	case MetaLength:
		return chunk.ErrMetadataLength
	case DataLength:
		return chunk.ErrDataLength
	case MetasCRC, SymbolsCRC:
		return chunkenc.ErrInvalidChecksum
	default:
		return nil
	}
}

// refuse makes an Error. It is kept out of line so that the callers' good paths stay small.
//
//go:noinline
func refuse(reason Reason, off int, detail string) *Error {
	return &Error{Reason: reason, Off: int64(off), Detail: detail}
}
