// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
)

// BenchmarkDecode is Loki's Chunk.Decode, as object clients and the chunk cache's fetcher call it, with the block
// path off and on. It says something in a patched Loki: go test -modfile build/patched.mod.
func BenchmarkDecode(b *testing.B) {
	for _, codec := range []compression.Codec{compression.GZIP, compression.Snappy} {
		for _, size := range []int{3 << 10, 230 << 10, 1300 << 10} {
			ref, file := filledChunk(b, codec, size)
			files := make([][]byte, 1+16<<20/len(file)) // more than the CPU's caches hold
			for i := range files {
				files[i] = bytes.Clone(file)
			}
			for _, path := range []string{chunkring.BlockPathOff, chunkring.BlockPathFilter} {
				b.Run(fmt.Sprintf("%s/%d/%s", codec, len(file), path), func(b *testing.B) {
					reg := prometheus.NewRegistry()
					require.NoError(b, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockPath: path}, &logLines{}, reg))
					dc := chunk.NewDecodeContext()
					b.SetBytes(int64(len(file)))
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						c := ref
						if err := c.Decode(dc, files[i%len(files)]); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
	require.NoError(b, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockPath: chunkring.BlockPathOff}, &logLines{}, nil))
}

// filledChunk makes a chunk of about that many bytes, and its file.
func filledChunk(b *testing.B, codec compression.Codec, size int) (ref chunk.Chunk, file []byte) {
	r := rand.New(rand.NewSource(1))
	var mem *chunkenc.MemChunk
	fill := func(lines int) {
		mem = chunkenc.NewMemChunk(chunkenc.ChunkFormatV4, codec, chunkenc.UnorderedWithStructuredMetadataHeadBlockFmt, 256<<10, 0)
		for i := range lines {
			_, err := mem.Append(&logproto.Entry{
				Timestamp:          time.Unix(1000, int64(i)*1e6),
				Line:               fmt.Sprintf("caller=http.go:%d level=info method=GET status=%d duration=%dus traceID=%016x%016x", r.Intn(99), 200+r.Intn(5), r.Intn(90000), r.Uint64(), r.Uint64()),
				StructuredMetadata: []logproto.LabelAdapter{{Name: "detected_level", Value: []string{"info", "warn"}[r.Intn(2)]}},
			})
			require.NoError(b, err)
		}
		require.NoError(b, mem.Close())
	}
	fill(1000)
	fill(1000 * size / mem.CompressedSize())
	from := model.TimeFromUnix(1000)
	c := chunk.NewChunk("fake", 7, labels.FromStrings("app", "foo", "cluster", "eu-west-1", "namespace", "default"), chunkenc.NewFacade(mem, 0, 0), from, from+1e6)
	require.NoError(b, c.Encode())
	file, err := c.Encoded()
	require.NoError(b, err)
	return chunk.Chunk{ChunkRef: c.ChunkRef}, file
}
