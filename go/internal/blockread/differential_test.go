// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhole: what Loki writes is decompressed here, in all codecs, to the same bytes.
func TestWhole(t *testing.T) {
	for _, codec := range codecs {
		for _, kind := range kinds {
			for _, size := range []int{0, 1, 300, 5_000, 70_000, 262_144, 1_000_000} {
				t.Run(fmt.Sprintf("%s/%s/%d", codec, kind, size), func(t *testing.T) {
					raw := entries(kind, size)
					block := compressed(t, codec, raw)
					p := testPool(codec)
					require.True(t, requireSame(t, p, block))
					require.EqualValues(t, 1, p.blocks.Load())
					require.EqualValues(t, len(raw), p.bytes.Load())
					for _, hint := range []int{1, len(raw) / 2, len(raw), 3 * len(raw), rawBytesMax} {
						r, err := p.GetReaderSize(bytes.NewBuffer(block), hint)
						require.NoError(t, err)
						require.True(t, bytes.Equal(raw, r.(*reader).Flat()))
						p.PutReader(r)
					}
					require.Zero(t, p.buffers.held.Load())
				})
			}
		}
	}
}
