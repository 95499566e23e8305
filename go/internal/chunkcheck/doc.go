// SPDX-License-Identifier: Apache-2.0

// Package chunkcheck decides whether a chunk file may be given to Loki's chunk.Decode.
//
// Decode trusts the numbers in the file: with a right outer CRC it slices, allocates and loops by
// them, so a malformed chunk panics the querier, hangs it or takes all its memory. Check follows
// the same numbers first, in the same order, with bounds.
//
// The contract, for Loki v3.7.8:
//   - Where Check returns nil, Decode neither panics nor hangs, and allocates no more than the
//     limits below allow. It may still return an error (a wrong key, a wrong block CRC, ...).
//   - Where Decode would succeed, Check returns nil, but for these deliberate refusals:
//     an unknown codec (Decode of versions 1-3 succeeds and the first read panics);
//     blocks that lie at unexpected places and are together longer than the chunk;
//     more blocks announced than the metas have bytes (Decode drops the surplus);
//     a chunk whose JSON names no encoding (Decode returns a dummy and leaves the data alone)
//     but whose data is no sound MemChunk;
//     legacy LZ4 frames, and LZ4 matches that reach before their frame (see lz4Check);
//     deflate streams with an empty Huffman tree, where what Decode says depends on what it read before
//     (see scanState.open);
//     anything over a limit below.
//
// Nothing here is about block contents: Loki inflates blocks when they are read, not in Decode.
package chunkcheck

// Limits. Each is far above what Loki writes and far below what would hurt a querier.
const (
	// metaBytesMax bounds the inflated JSON (CR_META_BYTES_MAX of chunkring.h).
	metaBytesMax = 4 << 20

	// blocksMax bounds the blocks of a chunk: Decode makes room for all of them (64 bytes each) before
	// it reads the first, and logs three lines for each one that is not there.
	blocksMax = 1 << 18

	// symbolsBytesMax bounds the inflated structured metadata. Loki counts it, inflated, against
	// the chunk's target size (1.5 MiB by default).
	symbolsBytesMax = 64 << 20

	// symbolsMax bounds the number of symbols: Decode makes room for all of them before it reads
	// the first (16 bytes each, and a map of half as many: about 170 MB for this many). A symbol
	// takes at least one inflated byte, so without it 64 KiB of gzip could ask for 2.7 GB.
	symbolsMax = 4 << 20

	// zstdWindowMax bounds the window of a zstd frame, which klauspost's decoder allocates when it
	// streams (it would go to 512 MiB). Loki's encoder uses 8 MiB.
	zstdWindowMax = 32 << 20

	// zstdFramesMax bounds the frames of a zstd stream: klauspost's decoder copies all that it has
	// inflated whenever a frame with a content size begins. Loki's encoder writes one frame.
	zstdFramesMax = 64
)
