// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
)

var benchSink error

// benchSpec asks for a chunk of about kib KiB; symbols is the number of structured metadata strings.
func benchSpec(codec compression.Codec, kib, symbols int) spec {
	return spec{version: 4, codec: codec, entries: max(symbols, kib*1024/108), lineBytes: 100, symbols: symbols}
}

func BenchmarkStructure(b *testing.B) {
	for _, kib := range []int{4, 235, 1600} {
		for _, version := range []byte{3, 4} {
			s := benchSpec(compression.Snappy, kib, 0)
			s.version = version
			s.blockSize = 16 << 10 // more blocks than usual: 100 in the largest
			file := s.encode(b)
			b.Run(fmt.Sprintf("v%d/%dKiB", version, len(file)>>10), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					benchSink = Structure(file)
				}
				require.NoError(b, benchSink)
			})
		}
	}
}

// BenchmarkCheck has a structured metadata section of the given number of strings.
func BenchmarkCheck(b *testing.B) {
	for _, codec := range allCodecs {
		for _, size := range []struct{ kib, symbols int }{{4, 0}, {4, 10}, {4, 100}, {235, 1000}, {1600, 10_000}} {
			file := benchSpec(codec, size.kib, size.symbols).encode(b)
			_, section, _ := symbolsOf(memChunk(file))
			b.Run(fmt.Sprintf("%s/%dKiB/sm=%d,%dB", codec, len(file)>>10, size.symbols, section), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					benchSink = checked(file)
				}
				require.NoError(b, benchSink)
			})
		}
	}
}

// BenchmarkDecode is what Check stands in front of.
func BenchmarkDecode(b *testing.B) {
	for _, codec := range []compression.Codec{compression.Snappy, compression.GZIP, compression.Zstd} {
		for _, size := range []struct{ kib, symbols int }{{4, 0}, {4, 10}, {4, 100}, {235, 1000}, {1600, 10_000}} {
			file := benchSpec(codec, size.kib, size.symbols).encode(b)
			b.Run(fmt.Sprintf("%s/%dKiB/sm=%d", codec, len(file)>>10, size.symbols), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					benchSink = decode(file)
				}
				require.NoError(b, benchSink)
			})
		}
	}
}

// BenchmarkSymbolsText has a small section that compresses well, so that nothing is stored plainly.
func BenchmarkSymbolsText(b *testing.B) {
	envelope := plainEnvelope(b)
	for _, codec := range allCodecs {
		var contents []byte
		const count = 40
		for i := range count {
			symbol := fmt.Sprintf("checkout-service-%d.eu-west-1.example.internal", i*i*7919)
			contents = append(append(contents, byte(len(symbol))), symbol...)
		}
		section := symbolSection(b, codec, count, contents)
		file := withData(envelope, section4(codec, section, nil, metas(4, 0)))
		b.Run(fmt.Sprintf("%s/%dB", codec, len(section)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				benchSink = Symbols(file)
			}
			require.NoError(b, benchSink)
		})
	}
}
