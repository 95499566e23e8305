// SPDX-License-Identifier: Apache-2.0

package core

import "strconv"

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
