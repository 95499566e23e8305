// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
)

// What the fuzzer's bytes are used as.
const (
	fuzzFile     = iota // the whole file
	fuzzSection         // the structured metadata section as stored, in a version 4 chunk
	fuzzContents        // what that section holds, inflated: the count, then the symbols
	fuzzMetas           // the block metas of a version 3 chunk with three blocks
	fuzzMetas4          // the same of a version 4 chunk
	fuzzModes
)

// fuzzedFile makes the file and gives it the right CRCs, as long as it knows where they are.
func fuzzedFile(tb testing.TB, envelope []byte, mode, codecIndex byte, b []byte) []byte {
	codec := allCodecs[int(codecIndex)%len(allCodecs)]
	blocks := bytes.Join([][]byte{withCRC("0123456789"), withCRC("abcdefghij"), withCRC("ABCDEFGHIJ")}, nil)
	empty := symbolSection(tb, codec, 0, nil)
	switch mode % fuzzModes {
	case fuzzSection:
		return withData(envelope, section4(codec, b, nil, metas(4, 0)))
	case fuzzContents:
		count, width := binary.Uvarint(b)
		return withData(envelope, section4(codec, symbolSection(tb, codec, count, b[max(width, 0):]), nil, metas(4, 0)))
	case fuzzMetas:
		return withData(envelope, section3(codec, blocks, b))
	case fuzzMetas4:
		return withData(envelope, section4(codec, empty, blocks, b))
	}
	b = bytes.Clone(b)
	end, err := framesEnd(b)
	if err != nil || len(b) < end+4 {
		return b
	}
	if codecIndex&1 == 0 {
		binary.BigEndian.PutUint32(b[end:], uint32(len(b)-end-4))
	}
	if codecIndex&2 == 0 {
		fixCRCs(b[end+4:])
	}
	return b
}

// harmless reports whether Decode of a refused file returns soon and takes little memory, so that
// it can be asked for its opinion.
func harmless(reason Reason, detail string) bool {
	switch reason {
	case Truncated, MetaLength, MetaFrame, DataLength, Magic, Version, MetasRange, MetasCRC, SymbolsCRC, BlockRange:
		return true
	case SymbolsFormat: // lengths before the refused one were bounded
		if strings.Contains(detail, "flate: corrupt input") {
			return false // what Decode says depends on what it read before: TestEmptyHuffmanTree
		}
		return strings.Contains(detail, "missing") || strings.Contains(detail, "does not open")
	default:
		return false
	}
}

// compare is the property: what Check accepts Decode survives, and what Check refuses Decode does
// not take, but for the deliberate refusals, whose reasons are not harmless.
func compare(tb testing.TB, file []byte) {
	err := checked(file)
	if err == nil {
		if stock := decode(file); unsafeErr(stock) {
			tb.Fatalf("accepted, but %v\n%x", stock, file)
		}
		return
	}
	reason, detail := reasonOf(tb, err)
	if !harmless(reason, detail) {
		return
	}
	if decode(file) == nil && !dummyEncoding(file) {
		tb.Fatalf("Decode takes what was refused: %v\n%x", err, file)
	}
}

// dummyEncoding reports whether Decode took the file without a look at its data, as it does when
// the JSON names no encoding.
func dummyEncoding(file []byte) bool { return !bytes.Contains(file, []byte(`"encoding":129`)) }

func FuzzCheckAgainstStock(f *testing.F) {
	for i, s := range smallSpecs() {
		f.Add(byte(fuzzFile), byte(i&^3), s.encode(f))
	}
	two := append(append(uvarints(2, 3), "abc"...), append(uvarints(2), "de"...)...)
	for i, codec := range allCodecs {
		f.Add(byte(fuzzSection), byte(i), symbolSection(f, codec, 2, two[1:]))
		f.Add(byte(fuzzContents), byte(i), two)
		f.Add(byte(fuzzContents), byte(i), append(uvarints(1, 600), make([]byte, 600)...))
	}
	three := []block{{6, 10}, {20, 10}, {34, 10}}
	f.Add(byte(fuzzMetas), byte(0), metas(3, 3, three...))
	f.Add(byte(fuzzMetas), byte(0), metas(3, 3, block{6, 10}, block{21, 10}, block{1 << 40, 10}))
	f.Add(byte(fuzzMetas4), byte(0), metas(4, 3, block{12, 10}, block{21, 10}, block{1 << 40, 10}))
	envelope := plainEnvelope(f)
	f.Fuzz(func(t *testing.T, mode, codec byte, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		compare(t, fuzzedFile(t, envelope, mode, codec, b))
	})
}

func plainEnvelope(tb testing.TB) []byte {
	return spec{version: 4, codec: compression.GZIP, entries: 1, lineBytes: 1}.encode(tb)
}

// TestEveryTruncation cuts small chunks at every byte, and their data too with the length right.
func TestEveryTruncation(t *testing.T) {
	for _, s := range smallSpecs() {
		good := s.encode(t)
		for n := 0; n < len(good); n += sample {
			compare(t, good[:n])
		}
		data := memChunk(good)
		for n := 0; n < len(data); n += sample {
			cut := bytes.Clone(data[:n])
			compare(t, withData(good, cut))
			fixCRCs(cut)
			compare(t, withData(good, cut))
		}
	}
}

// TestEveryBitFlip flips every bit of small chunks, with only the outer CRC right and with all of
// the CRCs right.
func TestEveryBitFlip(t *testing.T) {
	for _, s := range smallSpecs() {
		good := s.encode(t)
		at := dataOff(good)
		for bit := 0; bit < len(good)*8; bit += sample {
			bent := bytes.Clone(good)
			bent[bit/8] ^= 1 << (bit % 8)
			compare(t, bent)
			if bit/8 >= at {
				fixCRCs(bent[at:])
				compare(t, bent)
			}
		}
	}
}

// TestRandomDamage writes awkward bytes over a few places of small chunks, mostly where the numbers
// are, and makes the CRCs right again.
func TestRandomDamage(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	var files [][]byte
	for _, s := range smallSpecs() {
		files = append(files, s.encode(t))
	}
	rounds := 20_000
	if testing.Short() {
		rounds = 2000
	}
	for range rounds / sample {
		good := files[rnd.Intn(len(files))]
		data := bytes.Clone(memChunk(good))
		for range 1 + rnd.Intn(4) {
			off, size := 0, len(data)
			switch rnd.Intn(4) {
			case 0:
				if o, n, ok := symbolsOf(data); ok {
					off, size = o, n
				}
			case 1, 2:
				if o, n, ok := metasOf(data); ok {
					off, size = o, n
				}
			}
			if size == 0 {
				continue
			}
			at := off + rnd.Intn(size)
			switch rnd.Intn(4) {
			case 0:
				data[at] = byte(rnd.Intn(256))
			case 1:
				data[at] ^= 1 << rnd.Intn(8)
			case 2:
				copy(data[at:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}[rnd.Intn(9):])
			case 3:
				data[at] = byte(len(data) - rnd.Intn(64))
			}
		}
		fixCRCs(data)
		compare(t, withData(good, data))
	}
}

// TestFooterWords puts awkward numbers into every word of the footers, in pairs.
func TestFooterWords(t *testing.T) {
	for _, s := range []spec{
		{version: 3, codec: compression.Snappy, entries: 12, lineBytes: 20, blockSize: 60},
		{version: 4, codec: compression.Snappy, entries: 12, lineBytes: 20, blockSize: 60, symbols: 3},
	} {
		good := s.encode(t)
		n := uint64(len(memChunk(good)))
		awkward := []uint64{0, 1, 5, 6, n - 33, n - 32, n - 16, n - 12, n - 11, n - 5, n - 4, n - 3, n, n + 1,
			1<<31 - 1, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, -n, math.MaxUint64 - 3, math.MaxUint64}
		words := 1
		if s.version == 4 {
			words = 4
		}
		for i := range words {
			for j := i; j < words; j++ {
				for k := 0; k < len(awkward)*len(awkward); k += sample {
					data := bytes.Clone(memChunk(good))
					setU64(data, 8*(i+1), awkward[k/len(awkward)])
					setU64(data, 8*(j+1), awkward[k%len(awkward)])
					compare(t, withData(good, data))
					fixCRCs(data)
					compare(t, withData(good, data))
				}
			}
		}
	}
}

func TestFuzzedFileKeepsSoundOnes(t *testing.T) {
	for _, s := range smallSpecs() {
		good := s.encode(t)
		require.Equal(t, good, fuzzedFile(t, nil, fuzzFile, 0, good))
		require.False(t, dummyEncoding(good)) // or compare would let everything pass
	}
}
