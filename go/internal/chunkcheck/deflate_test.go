// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
)

// TestEmptyHuffmanTree has streams whose trees are empty. Loki's decompressor goes on with the tables of
// what it read before, so whether it takes them, and as what, depends on other chunks.
func TestEmptyHuffmanTree(t *testing.T) {
	// Not the last block, dynamic trees, as few codes as can be, all of their lengths 0.
	stream := append([]byte{0x04}, make([]byte, 1200)...)
	envelope := plainEnvelope(t)
	// What a reader has read before: mostly one byte, whose code is then a few zero bits.
	var before [][]byte
	for _, usual := range []byte{0, 1, 3, 7, 'a'} {
		b := bytes.Repeat([]byte{usual, usual, usual, usual, 2, usual, 5, usual, usual, 11}, 400)
		for i := range b {
			if i%17 == 0 {
				b[i] = byte(i * i)
			}
		}
		before = append(before, b)
	}
	for _, codec := range []compression.Codec{compression.Flate, compression.GZIP} {
		section := stream
		if codec == compression.GZIP {
			section = append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, stream...)
		}
		file := withData(envelope, section4(codec, append(uvarints(1), section...), nil, metas(4, 0)))
		taken := 0
		for _, data := range before {
			for range 20 { // pools may forget
				prime(t, codec, data)
				if decode(file) == nil {
					taken++
				}
				prime(t, codec, data)
				reason, _ := reasonOf(t, checked(file))
				require.Equal(t, SymbolsFormat, reason)
			}
		}
		require.Positive(t, taken, "%s: Loki's decompressor refuses it by now: chunkcheck need not use another", codec)
	}
}

// prime has Loki's pooled reader read data, and then be the next one that is taken.
func prime(t *testing.T, codec compression.Codec, data []byte) {
	var packed bytes.Buffer
	var w io.WriteCloser
	var err error
	if codec == compression.Flate {
		w, err = flate.NewWriter(&packed, flate.HuffmanOnly)
	} else {
		w, err = gzip.NewWriterLevel(&packed, gzip.HuffmanOnly)
	}
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	pool := compression.GetPool(codec).(compression.ReaderPool)
	r, err := pool.GetReader(bytes.NewBuffer(packed.Bytes()))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	pool.PutReader(r)
}
