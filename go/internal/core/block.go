// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strconv"
	"syscall"
)

// BlockStatus says what became of one block. The values are those of enum cr_decompress_status in
// chunkring.h.
type BlockStatus uint32

const (
	BlockPending  BlockStatus = 0 // never returned
	BlockOK       BlockStatus = 1
	BlockBad      BlockStatus = 2
	BlockRoom     BlockStatus = 3
	BlockUnsure   BlockStatus = 4
	BlockCodec    BlockStatus = 5
	BlockNoMemory BlockStatus = 6
)

var blockStatusNames = [...]string{"pending", "ok", "bad", "room", "unsure", "codec", "no_memory"}

// String is the name that cr_decompress_status_name gives.
func (s BlockStatus) String() string {
	if int(s) < len(blockStatusNames) {
		return blockStatusNames[s]
	}
	return "status " + strconv.Itoa(int(s))
}

// BlockBytesMax bounds the compressed bytes of a block that ReadBlock reads. Files with larger blocks are read
// whole.
const BlockBytesMax = 1 << 20

// BlockReadStatus says what became of a block that was read from its file. The values are those of enum
// cr_block_status in chunkring.h.
type BlockReadStatus uint32

const (
	BlockReadPending  BlockReadStatus = 0 // never returned
	BlockReadOK       BlockReadStatus = 1
	BlockReadNotFound BlockReadStatus = 2
	BlockReadShort    BlockReadStatus = 3 // the file ends before the block does
	BlockReadBadCRC   BlockReadStatus = 4
	BlockReadIO       BlockReadStatus = 5
	BlockReadRoom     BlockReadStatus = 6 // BlockRead.N is how many bytes the block says it takes, or 0
	BlockReadBad      BlockReadStatus = 7 // its CRC is right, and it is not what its codec writes
	BlockReadUnsure   BlockReadStatus = 8 // only Loki's own reader can tell: see ReadRaw
	BlockReadNoMemory BlockReadStatus = 9
	BlockReadRefused  BlockReadStatus = 10 // the path, or it is no regular file
)

var blockReadStatusNames = [...]string{"pending", "ok", "not_found", "short", "bad_crc", "io", "room", "bad", "unsure", "no_memory", "refused"}

// String is the name that cr_block_status_name gives.
func (s BlockReadStatus) String() string {
	if int(s) < len(blockReadStatusNames) {
		return blockReadStatusNames[s]
	}
	return "status " + strconv.Itoa(int(s))
}

// BlockRead is one block to read from its file. Each is read on its own: the file is opened, unless it is open, the
// block is read and checked, the file is closed again.
type BlockRead struct {
	Path  string // in: relative to the directory
	Codec uint8  // in
	Off   int64  // in: where the block begins in the file; its CRC32C follows it
	Bytes int    // in: at most BlockBytesMax

	// in: the block that will be wanted next, which the kernel is asked to fetch; 0 for none.
	NextOff   int64
	NextBytes int

	// in: a descriptor of the file, from File.FD, which stays open and which nobody else uses meanwhile; 0 for none.
	FD int

	Dst []byte // in: room for the decompressed bytes; undefined afterwards unless Status is BlockReadOK

	N      int // out: bytes in Dst
	Status BlockReadStatus
	Errno  syscall.Errno // out: behind BlockReadIO
	Op     Op            // out: behind BlockReadIO
	GotCRC uint32        // out: with BlockReadOK and BlockReadBadCRC
}
