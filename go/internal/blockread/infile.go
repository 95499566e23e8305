// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"io"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/core"
)

// FileBlock is a block that is still in its file.
type FileBlock interface {
	// Decompress reads the block and decompresses it into dst, or copies it there if it is not compressed. The
	// status is what Decompressor.Decompress would give, or BlockPending if the block can't be read.
	Decompress(d *core.Decompressor, dst []byte) (n uint64, status core.BlockStatus)
	// Raw returns the block as it is in the file, for Loki's own reader, in memory that nobody uses again. With
	// doubt it is not what its codec writes, though its checksum is right.
	Raw(doubt bool) ([]byte, error)
}

// Open is GetReader for a block in its file, of so many bytes there, that is said to decompress to rawBytes, 0 if
// nobody says. It returns nil, and no error, if the block can't be read. Close takes the reader back.
func Open(codec compression.Codec, fileBytes, rawBytes int, b FileBlock) (io.Reader, error) {
	p := process.poolOf(codec)
	size := guess(fileBytes, rawBytes)
	if codec == compression.None {
		size = fileBytes
	}
	r, why := p.fill(size, b.Decompress)
	if r != nil {
		return p.opened(r), nil
	}
	if why == unread {
		return nil, nil
	}
	p.fallbacks[why].Add(1)
	raw, err := b.Raw(why == damaged || why == unsure)
	if err != nil {
		return nil, err
	}
	if p.codec == compression.Zstd && chunkcheck.ZstdBound(raw, zstdWhole) != "" {
		why = tooLarge // C has read the file, and nobody has looked what the block asks for
	}
	return p.openStock(bytes.NewBuffer(raw), why)
}

// OpenBytes is Open for a block that is in memory, without its checksum.
func OpenBytes(codec compression.Codec, block []byte, rawBytes int) (io.Reader, error) {
	return process.poolOf(codec).GetReaderSize(bytes.NewBuffer(block), rawBytes)
}

// Close is PutReader for what Open returned.
func Close(codec compression.Codec, r io.Reader) { process.poolOf(codec).PutReader(r) }

func (s *state) poolOf(codec compression.Codec) *pool {
	for _, p := range s.pools {
		if p.codec == codec {
			return p
		}
	}
	panic("no pool of codec " + codec.String()) // a chunk with an unknown codec has no blocks to read
}
