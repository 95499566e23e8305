// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	stdflate "compress/flate"
	stdgzip "compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
)

// format is a block in a form that its codec allows, or nearly.
type format struct {
	name  string
	block []byte
	own   bool // decompressed here; else left to Loki's own reader, which may take or refuse it
}

func allFormats(t testing.TB) map[compression.Codec][]format {
	lz4 := lz4Formats(t)
	return map[compression.Codec][]format{
		compression.GZIP:    gzipFormats(t),
		compression.Flate:   flateFormats(t),
		compression.Zstd:    zstdFormats(t),
		compression.Snappy:  snappyFormats(t),
		compression.LZ4_64k: lz4,
		compression.LZ4_4M:  lz4,
	}
}

// written is what w writes into b, which new gets.
func written(t testing.TB, raw []byte, new func(b *bytes.Buffer) (io.WriteCloser, error)) []byte {
	var b bytes.Buffer
	w, err := new(&b)
	require.NoError(t, err)
	_, err = w.Write(raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// gzipHeader is a header with the given flags and what they say follows, but for the checksum.
func gzipHeader(flags byte, fields string) []byte {
	return append([]byte{0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 5, 6}, fields...)
}

// gzipOf is a member of a header, a deflate stream and what that inflates to.
func gzipOf(header, deflated, raw []byte) []byte {
	b := append(bytes.Clone(header), deflated...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(raw))
	return binary.LittleEndian.AppendUint32(b, uint32(len(raw)))
}

func gzipFormats(t testing.TB) []format {
	raw := entries("logs", 30_000)
	plain := compressed(t, compression.GZIP, raw)
	deflated := plain[10 : len(plain)-8]
	with := func(flags byte, fields string) []byte { return gzipOf(gzipHeader(flags, fields), deflated, raw) }
	summed := gzipHeader(2|4|8|16, "\x03\x00abcname\x00comment\x00")
	summed = binary.LittleEndian.AppendUint16(summed, uint16(crc32.ChecksumIEEE(summed)))
	empty := compressed(t, compression.GZIP, nil)
	formats := []format{
		{"plain", plain, true},
		{"nothing at all", nil, false},
		{"three members", bytes.Join([][]byte{plain, empty, plain}, nil), true},
		{"a name in the last member", bytes.Join([][]byte{plain, empty, with(8, "name\x00")}, nil), false},
		{"large, then empty", append(compressed(t, compression.GZIP, entries("logs", 500_000)), empty...), true},
		{"cut header of a second member", append(bytes.Clone(plain), plain[:9]...), false},
		{"zeros behind", append(bytes.Clone(plain), 0, 0, 0, 0), false},
		{"name, comment, extra, latin-1", with(4|8|16, "\x02\x00\x00\x01n\xe4me\x00c\xf6mment\x00"), false},
		{"text", with(1, ""), false},
		{"reserved flag", with(0x20, ""), false},
		{"header checksum", gzipOf(summed, deflated, raw), false},
		{"wrong header checksum", with(2, "\x00\x00"), false},
		{"extra of 64 KiB", with(4, "\xff\xff"+strings.Repeat("x", 65535)), false},
		{"cut extra", with(4, "\xff\xff")[:100], false},
		{"longest name", with(8, strings.Repeat("n", 511)+"\x00"), false},
		{"longer name", with(8, strings.Repeat("n", 512)+"\x00"), false},
		{"name without end", gzipHeader(8, "name"), false},
		{"wrong size", gzipOf(gzipHeader(0, ""), deflated, raw[:len(raw)-1]), false},
		{"wrong checksum", append(plain[:len(plain)-8:len(plain)-8], append([]byte{1, 2, 3, 4}, plain[len(plain)-4:]...)...), false},
		{"huge size", append(plain[:len(plain)-4:len(plain)-4], 0xff, 0xff, 0xff, 0xff), false},
	}
	for level := gzip.StatelessCompression; level <= gzip.BestCompression; level++ {
		formats = append(formats, format{fmt.Sprint("level ", level), written(t, raw, func(b *bytes.Buffer) (io.WriteCloser, error) {
			return gzip.NewWriterLevel(b, level)
		}), true})
	}
	for level := stdgzip.HuffmanOnly; level <= stdgzip.BestCompression; level++ {
		formats = append(formats, format{fmt.Sprint("Go's own, level ", level), written(t, raw, func(b *bytes.Buffer) (io.WriteCloser, error) {
			return stdgzip.NewWriterLevel(b, level)
		}), true})
	}
	for _, c := range crafted() {
		formats = append(formats, format{"crafted: " + c.name, gzipOf(gzipHeader(0, ""), c.stream, c.raw), c.taken != byNone})
	}
	return formats
}

func flateFormats(t testing.TB) []format {
	raw := entries("logs", 30_000)
	plain := compressed(t, compression.Flate, raw)
	formats := []format{
		{"plain", plain, true},
		{"nothing at all", nil, false},
		{"anything behind", append(bytes.Clone(plain), "anything"...), true},
		{"flushed", written(t, raw, func(b *bytes.Buffer) (io.WriteCloser, error) {
			w, err := flate.NewWriter(b, 6)
			for _, piece := range [][]byte{raw[:1], raw[:10_000], nil} {
				_, _ = w.Write(piece)
				_ = w.Flush()
			}
			return w, err
		}), true},
	}
	for level := stdflate.HuffmanOnly; level <= stdflate.BestCompression; level++ {
		for _, kind := range kinds {
			formats = append(formats, format{fmt.Sprintf("Go's own, level %d, %s", level, kind),
				written(t, entries(kind, 100_000), func(b *bytes.Buffer) (io.WriteCloser, error) {
					return stdflate.NewWriter(b, level)
				}), true})
		}
	}
	for _, c := range crafted() {
		formats = append(formats, format{"crafted: " + c.name, c.stream, c.taken != byNone})
	}
	return formats
}

func zstdFormats(t testing.TB) []format {
	raw := entries("logs", 300_000)
	stream := func(raw []byte, options ...zstd.EOption) []byte {
		return written(t, raw, func(b *bytes.Buffer) (io.WriteCloser, error) { return zstd.NewWriter(b, options...) })
	}
	all := func(raw []byte, options ...zstd.EOption) []byte {
		w, err := zstd.NewWriter(nil, options...)
		require.NoError(t, err)
		return w.EncodeAll(raw, nil)
	}
	plain, whole := stream(raw), all(raw)
	skippable := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	withID := append([]byte{0x28, 0xb5, 0x2f, 0xfd, plain[4] | 1, plain[5], 7}, plain[6:]...)
	legacy := append([]byte{0x27}, plain[1:]...)
	wide := bytes.Clone(plain)
	wide[5] = 21 << 3 // a window of 2 GiB
	formats := []format{
		{"plain", plain, true},
		{"nothing at all", nil, true},
		{"with its size", whole, true},
		{"wrong size", append([]byte{whole[0], whole[1], whole[2], whole[3], whole[4], whole[5] ^ 1, whole[6] ^ 1}, whole[7:]...), false},
		{"single segment", all(raw, zstd.WithSingleSegment(true)), true},
		{"small, single segment", all(raw[:300], zstd.WithSingleSegment(true)), true},
		{"no checksum", stream(raw, zstd.WithEncoderCRC(false)), false},
		{"empty, with frame", all(nil, zstd.WithZeroFrames(true)), true},
		{"three frames", bytes.Join([][]byte{plain, all(nil, zstd.WithZeroFrames(true)), whole}, nil), true},
		{"skippable frames", bytes.Join([][]byte{skippable, plain, skippable, skippable}, nil), true},
		{"only a skippable frame", skippable, true},
		{"cut skippable frame", append(bytes.Clone(plain), skippable[:10]...), false},
		{"padded", stream(raw, zstd.WithEncoderPadding(1000)), true},
		{"one byte behind", append(bytes.Clone(plain), 0), false},
		{"size 5, but one empty block", []byte("\x28\xb5\x2f\xfd\x24\x05\x01\x00\x00\x99\xe9\xd8\x51"), false},
		{"size 0, one empty block", []byte("\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51"), true},
		{"compressed block of no bytes", []byte("\x28\xb5\x2f\xfd\x00\x00\x05\x00\x00"), false},
		{"dictionary", withID, false},
		{"an ancient version", legacy, false},
		{"larger than its window", stream(raw, zstd.WithWindowSize(1<<10)), false},
		{"window of 2 GiB", wide, false},
	}
	for level := zstd.SpeedFastest; level <= zstd.SpeedBestCompression; level++ {
		for _, kind := range kinds {
			formats = append(formats,
				format{fmt.Sprintf("%s, %s", level, kind), stream(entries(kind, 300_000), zstd.WithEncoderLevel(level)), true},
				format{fmt.Sprintf("%s, %s, no checksum", level, kind), stream(entries(kind, 3_000), zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false)), false})
		}
	}
	return formats
}

func snappyFormats(t testing.TB) []format {
	raw := entries("logs", 150_000)
	plain := compressed(t, compression.Snappy, raw)
	const id = "\xff\x06\x00\x00sNaPpY"
	stored := compressed(t, compression.Snappy, entries("noise", 1_000))
	unbuffered := written(t, raw, func(b *bytes.Buffer) (io.WriteCloser, error) {
		//lint:ignore SA1019 the other one gathers what it is given: these are short frames
		w := snappy.NewWriter(b)
		for _, piece := range [][]byte{raw[:1], raw[:100]} {
			if _, err := w.Write(piece); err != nil {
				return nil, err
			}
		}
		return w, nil
	})
	join := func(parts ...string) []byte { return []byte(strings.Join(parts, "")) }
	return []format{
		{"plain", plain, true},
		{"nothing at all", nil, true},
		{"only the name", []byte(id), true},
		{"no name", plain[10:], false},
		{"name again", join(string(plain), id, string(plain[10:])), true},
		{"stored", stored, true},
		{"short frames", unbuffered, true},
		{"padding", join(id, "\xfe\x05\x00\x00.....", string(plain[10:]), "\xfe\x00\x00\x00"), true},
		{"skippable", join(id, "\x80\x03\x00\x00abc", string(plain[10:])), true},
		{"not skippable", join(id, "\x02\x03\x00\x00abc", string(plain[10:])), false},
		{"skippable of 64 KiB and more", join(id, "\x80\xff\x2b\x01", strings.Repeat("x", 0x12bff), string(plain[10:])), false},
		{"empty frame", join(id, "\x00\x05\x00\x00\xd8\xea\x82\xa2\x00", string(plain[10:])), true},
		{"wrong checksum", append(append(bytes.Clone(plain[:14]), plain[14]^1), plain[15:]...), false},
		{"wrong name", join("\xff\x06\x00\x00sNaPpy", string(plain[10:])), false},
		{"cut frame header", join(string(plain), "\x00\x05"), false},
	}
}

func lz4Formats(t testing.TB) []format {
	raw := entries("logs", 300_000)
	write := func(raw []byte, options ...lz4.Option) []byte {
		return written(t, raw, func(b *bytes.Buffer) (io.WriteCloser, error) {
			w := lz4.NewWriter(b)
			return w, w.Apply(options...)
		})
	}
	small := lz4.BlockSizeOption(lz4.Block64Kb)
	plain := compressed(t, compression.LZ4_64k, raw)
	skippable := append([]byte{0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	summed := write(raw, small, lz4.ChecksumOption(true), lz4.BlockChecksumOption(true))
	wrongSum, wrongBlock := bytes.Clone(summed), bytes.Clone(summed)
	wrongSum[len(wrongSum)-1] ^= 1
	wrongBlock[len(wrongBlock)-9] ^= 1 // the last block's checksum, before the end mark
	formats := []format{
		{"plain", plain, true},
		{"nothing at all", nil, true},
		{"checksums", summed, true},
		{"wrong checksum", wrongSum, false},
		{"wrong checksum of a block", wrongBlock, false},
		{"content checksum alone", write(raw, small, lz4.ChecksumOption(true)), true},
		{"with its size", write(raw, small, lz4.SizeOption(uint64(len(raw)))), true},
		{"high compression", write(raw, lz4.CompressionLevelOption(lz4.Level9)), true},
		{"legacy", write(raw, lz4.LegacyOption(true)), false},
		{"two frames", append(bytes.Clone(plain), summed...), true},
		{"skippable frames", bytes.Join([][]byte{skippable, plain, skippable}, nil), true},
		{"cut skippable frame", append(bytes.Clone(plain), skippable[:9]...), false},
		{"no end mark", plain[:len(plain)-4], false},
		{"a third of an end mark", plain[:len(plain)-1], false},
		{"one byte behind", append(bytes.Clone(plain), 0), false},
		{"garbage behind", append(bytes.Clone(plain), "garbage"...), false},
	}
	// Bit 5 of the flags: blocks don't refer to each other.
	for _, c := range []struct {
		name  string
		flags byte
		block string // behind "abcdefgh" as it is
		own   bool
	}{
		{"own words", 0x60, "\x40wxyz\x04\x00\x50.....", true},
		{"linked", 0x40, "\x40wxyz\x0c\x00\x50.....", true},
		{"linked, too far", 0x40, "\x40wxyz\x0d\x00\x50.....", false},
		{"reaches into another block", 0x60, "\x40wxyz\x05\x00\x50.....", false},
		{"distance 0", 0x60, "\x40wxyz\x00\x00\x50.....", false},
		{"ends with a match", 0x60, "\x40wxyz\x04\x00", false},
		{"ends with half a match", 0x60, "\x41wxyz", false},
		{"ends in a distance", 0x60, "\x40wxyz\x04", false},
		{"ends in a length", 0x60, "\xf0", false},
		{"one byte again and again", 0x60, "\x1fw\x01\x00\xff\xff\x00\x50.....", true},
		{"longer than the input", 0x60, "\xf0\xffwxyz", false},
		{"empty", 0x60, "\x00", true},
		{"larger than a block may be", 0x60, "\x1fw\x01\x00" + strings.Repeat("\xff", 258) + "\x00\x50.....", false},
	} {
		formats = append(formats, format{c.name, lz4Frame(t, c.flags, c.block), c.own})
	}
	return formats
}

// lz4Frame has "abcdefgh" stored and then a compressed block. The header's checksum is the one that
// Loki's reader takes.
func lz4Frame(t testing.TB, flags byte, block string) []byte {
	for sum := range 256 {
		b := []byte{0x04, 0x22, 0x4d, 0x18, flags, 0x40, byte(sum)}
		if ok, err := lz4.ValidFrameHeader(b); err != nil || !ok {
			continue
		}
		b = append(b, "\x08\x00\x00\x80abcdefgh"...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(block)))
		return append(append(b, block...), 0, 0, 0, 0)
	}
	require.Fail(t, "no checksum is right")
	return nil
}
