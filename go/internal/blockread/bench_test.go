// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
)

// BenchmarkBlock reads whole blocks of the usual size: by Loki's reader and by this package's in
// one large read, and as an iterator that asks for the block and gets it.
func BenchmarkBlock(b *testing.B) {
	raw := entries("logs", 256<<10)
	into := make([]byte, len(raw))
	for _, codec := range codecs {
		block := compressed(b, codec, raw)
		p := testPool(codec)
		bench := func(name string, read func()) {
			b.Run("codec="+codec.String()+"/reader="+name, func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					read()
				}
			})
		}
		through := func(p compression.ReaderPool) func() {
			return func() {
				r, err := p.GetReader(bytes.NewBuffer(block))
				require.NoError(b, err)
				_, err = io.ReadFull(r, into)
				require.NoError(b, err)
				p.PutReader(r)
			}
		}
		bench("stock", through(compression.GetPool(codec)))
		bench("chunkring", through(p))
		bench("flat", func() {
			r, err := p.GetReaderSize(bytes.NewBuffer(block), len(raw)-len(raw)/10)
			require.NoError(b, err)
			require.Len(b, r.(*reader).Flat(), len(raw))
			p.PutReader(r)
		})
	}
}
