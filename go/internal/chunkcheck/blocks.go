// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import "math"

// Blocks returns how many blocks the metas of a checked file announce, 0 for what is no chunk. Loki
// drops those whose CRC is wrong; the difference is how many.
func Blocks(file []byte) int {
	var c parts
	if c.locate(file) != nil {
		return 0
	}
	cur := cursor{b: c.data[c.metas.off : c.metas.off+c.metas.bytes]}
	return int(min(cur.uvarint(), math.MaxInt32))
}
