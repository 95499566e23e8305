// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && linux

package core

import (
	"bytes"
	"io"

	"github.com/grafana/loki/v3/pkg/compression"
)

// Decompressor decompresses blocks with Loki's own readers.
type Decompressor struct{}

// NewDecompressor never fails.
func NewDecompressor() (*Decompressor, error) { return &Decompressor{}, nil }

// Close does nothing.
func (d *Decompressor) Close() {}

// Decompress has the meaning of its twin in cgo.go.
func (d *Decompressor) Decompress(codec uint8, src, dst []byte) (n uint64, status BlockStatus) {
	if !compression.Codec(codec).IsSupported() {
		return 0, BlockCodec
	}
	pool := compression.GetPool(compression.Codec(codec))
	r, err := pool.GetReader(bytes.NewBuffer(src))
	if err != nil {
		return 0, BlockBad
	}
	defer pool.PutReader(r)
	var more [1]byte
	for empty := 0; ; {
		into := dst[n:]
		if len(into) == 0 {
			into = more[:]
		}
		got, err := r.Read(into)
		switch {
		case err != nil && err != io.EOF:
			return 0, BlockBad
		case got > 0 && n == uint64(len(dst)):
			return 0, BlockRoom
		case err == io.EOF:
			return n + uint64(got), BlockOK
		case got == 0:
			if empty++; empty > retriesMax {
				return 0, BlockBad
			}
		}
		n += uint64(got)
	}
}
