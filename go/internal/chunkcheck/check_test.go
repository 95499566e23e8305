// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

func TestReasonsAreThoseOfTheHeader(t *testing.T) {
	header, err := os.ReadFile("../../../c/include/chunkring.h")
	require.NoError(t, err)
	found := regexp.MustCompile(`CR_REASON_(\w+)\s*=\s*(\d+)`).FindAllStringSubmatch(string(header), -1)
	require.Len(t, found, int(reasonCount))
	for _, f := range found {
		n, err := strconv.Atoi(f[2])
		require.NoError(t, err)
		require.Equal(t, strings.ToLower(f[1]), Reason(n).String())
	}
	require.Equal(t, "unknown", reasonCount.String())
	limit := regexp.MustCompile(`CR_META_BYTES_MAX \((\d+)u << 20\)`).FindStringSubmatch(string(header))
	require.NotNil(t, limit)
	require.Equal(t, strconv.Itoa(metaBytesMax>>20), limit[1])
}

func TestErrorsAreStocks(t *testing.T) {
	for reason, want := range map[Reason]error{
		MetaLength: chunk.ErrMetadataLength,
		DataLength: chunk.ErrDataLength,
		MetasCRC:   chunkenc.ErrInvalidChecksum,
		SymbolsCRC: chunkenc.ErrInvalidChecksum,
	} {
		err := error(&Error{Reason: reason, Off: 12, Detail: "why"})
		require.ErrorIs(t, err, want)
		require.Equal(t, "chunk refused: "+reason.String()+" at byte 12: why", err.Error())
	}
	require.NoError(t, errors.Unwrap(&Error{Reason: Magic}))
}

func TestSoundChunks(t *testing.T) {
	specs := append(smallSpecs(),
		spec{version: 4, codec: compression.Snappy, entries: 1, lineBytes: 0},
		spec{version: 4, codec: compression.GZIP, entries: 3, lineBytes: 10, labels: 300}, // JSON of several frames
		spec{version: 3, codec: compression.GZIP, entries: 3, lineBytes: 10, labels: 66},
	)
	for _, codec := range allCodecs {
		specs = append(specs, spec{version: 4, codec: codec, entries: 20_000, lineBytes: 60, symbols: 20_000})
	}
	for _, s := range specs {
		t.Run(s.String(), func(t *testing.T) {
			file := s.encode(t)
			require.NoError(t, decode(file))
			blocks, err := Check(file)
			require.NoError(t, err)
			loki, err := chunkenc.NewByteChunk(memChunk(file), 0, 0)
			require.NoError(t, err)
			require.Equal(t, loki.BlockCount(), blocks)
			require.NoError(t, Structure(file))
			require.NoError(t, Symbols(file))
		})
	}
}

// TestOldMetadataLength: writers before Loki did not count the length word itself.
func TestOldMetadataLength(t *testing.T) {
	file := spec{version: 3, codec: compression.Snappy, entries: 3, lineBytes: 10}.encode(t)
	binary.BigEndian.PutUint32(file, binary.BigEndian.Uint32(file)-4)
	require.NoError(t, decode(file))
	require.NoError(t, checked(file))
}

func TestStructureDoesNotAllocate(t *testing.T) {
	for _, s := range smallSpecs() {
		file := s.encode(t)
		require.Zero(t, testing.AllocsPerRun(50, func() { _ = Structure(file) }), s.String())
	}
}

// damaged is a file that somebody bent on purpose, its outer CRC fixed up.
type damaged struct {
	name   string
	file   []byte
	want   Reason
	detail string // part of it, where one reason has several causes
	sound  bool   // Decode succeeds: a deliberate refusal, or None is wanted
	deadly bool   // Decode must not see it
}

func (d damaged) test(t *testing.T) {
	err := checked(d.file)
	reason, detail := reasonOf(t, err)
	require.Equal(t, d.want.String(), reason.String(), "%v", err)
	require.Contains(t, detail, d.detail)
	if d.deadly {
		return
	}
	stock := decode(d.file)
	if d.want == None {
		require.False(t, unsafeErr(stock), "%v", stock)
	}
	if d.sound {
		require.NoError(t, stock)
	} else {
		require.Error(t, stock)
	}
	for _, is := range []error{chunk.ErrMetadataLength, chunk.ErrDataLength, chunkenc.ErrInvalidChecksum} {
		if errors.Is(err, is) {
			require.ErrorIs(t, stock, is)
		}
	}
}

func TestDamagedEnvelopes(t *testing.T) {
	good := spec{version: 4, codec: compression.Snappy, entries: 5, lineBytes: 20}.encode(t)
	at := dataOff(good)
	bend := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	set := func(off int, v ...byte) []byte {
		return bend(func(b []byte) []byte { copy(b[off:], v); return b })
	}
	// A frame that may be skipped, as long as wanted.
	skippable := func(n int) []byte { return append([]byte{0xfe, byte(n), byte(n >> 8), 0}, make([]byte, n)...) }
	insert := func(b []byte, off int, x []byte) []byte {
		out := append(append(bytes.Clone(b[:off]), x...), b[off:]...)
		binary.BigEndian.PutUint32(out, binary.BigEndian.Uint32(out)+uint32(len(x)))
		return out
	}
	big := append([]byte{1, 4, 0, 1}, make([]byte, frameRawMax+crcBytes)...)
	for _, d := range []damaged{
		{name: "empty", file: nil, want: Truncated},
		{name: "length only", file: good[:4], want: Truncated},
		{name: "identifier only", file: good[:14], want: Truncated},
		{name: "no data length", file: good[:at-4], want: Truncated},
		{name: "half a data length", file: good[:at-2], want: Truncated},
		{name: "no data", file: good[:at], want: DataLength},
		{name: "a byte more", file: append(bytes.Clone(good), 0), want: DataLength},
		{name: "data length one more", file: set(at-1, good[at-1]+1), want: DataLength},
		{name: "metadata length one less", file: set(3, good[3]-1), want: MetaLength},
		{name: "metadata length 0", file: set(0, 0, 0, 0, 0), want: MetaLength},
		{name: "metadata length of all", file: set(0, 255, 255, 255, 255), want: MetaFrame},
		{name: "no identifier", file: set(4, 0xfe), want: MetaFrame},
		{name: "identifier misspelt", file: set(8, 'S'), want: MetaFrame},
		{name: "frame kind 2", file: set(14, 2), want: MetaFrame},
		{name: "frame length 3", file: set(15, 3, 0, 0), want: MetaFrame},
		{name: "frame too long", file: set(15, 0xff, 0xff, 0xff), want: MetaFrame},
		{name: "frame crc", file: set(18, good[18]+1), want: None},
		{name: "padding before", file: insert(good, 14, skippable(100)), want: None, sound: true},
		{name: "padding after", file: insert(good, at-4, skippable(100)), want: MetaLength, detail: ""},
		{name: "identifier twice", file: insert(good, 14, good[4:14]), want: None, sound: true},
		{name: "empty padding before", file: insert(good, 14, skippable(0)), want: None, sound: true},
		{name: "too much", file: insert(good, 14, bytes.Repeat(big, 65)), want: MetaTooBig},
	} {
		if d.name == "padding after" {
			// Decode stops reading frames when the JSON is complete, and then finds another length.
			d.want, d.sound = None, false
		}
		t.Run(d.name, d.test)
	}
}

// TestMetadataGoesOn: with the JSON left open, Decode takes the data length and the MemChunk for
// further frames. Here they are: 16 MiB and a bit, so that the data length begins with 01.
func TestMetadataGoesOn(t *testing.T) {
	good := spec{version: 3, codec: compression.None, entries: 5, lineBytes: 20}.encode(t)
	plain := append([]byte{1, 4, 0, 1}, make([]byte, frameRawMax+crcBytes)...) // 64 KiB of JSON
	data := memChunk(good)
	want := 1<<24 | 4<<16 | 0<<8 | 1 // reads as a frame of 65540 bytes
	long := append(bytes.Clone(data[:6]), make([]byte, frameRawMax+crcBytes-6)...)
	for len(long)+len(plain)+len(data)+12 < want {
		long = append(long, plain...)
	}
	long = append(long, make([]byte, want-len(long)-len(data)+6)...)
	long = append(long, data[6:]...)
	require.Len(t, long, want)
	file := withData(good, long)
	reason, _ := reasonOf(t, Structure(file))
	require.Equal(t, MetaTooBig, reason)
}

func TestDamagedHeadersAndFooters(t *testing.T) {
	good3 := spec{version: 3, codec: compression.Snappy, entries: 12, lineBytes: 20, blockSize: 60}.encode(t)
	good4 := spec{version: 4, codec: compression.Snappy, entries: 12, lineBytes: 20, blockSize: 60, symbols: 3}.encode(t)
	good1 := spec{version: 1, codec: compression.GZIP, entries: 5, lineBytes: 20}.encode(t)
	bend := func(good []byte, f func(b []byte)) []byte {
		b := bytes.Clone(memChunk(good))
		f(b)
		return withData(good, b)
	}
	cut := func(good []byte, n int) []byte { return withData(good, memChunk(good)[:n]) }
	u64 := func(good []byte, back int, v uint64) []byte {
		return bend(good, func(b []byte) { setU64(b, back, v) })
	}
	n3, n4 := uint64(len(memChunk(good3))), uint64(len(memChunk(good4)))
	metas4, sizeMetas4 := u64At(good4, 8), u64At(good4, 16)
	for _, d := range []damaged{
		{name: "no header", file: cut(good3, 4), want: Truncated},
		{name: "no codec", file: cut(good3, 5), want: Truncated},
		{name: "no footer v3", file: cut(good3, 11), want: Truncated},
		{name: "no footer v4", file: cut(good4, 31), want: Truncated},
		{name: "no footer v1", file: cut(good1, 11), want: Truncated},
		{name: "magic", file: bend(good3, func(b []byte) { b[0] = 1 + b[0] }), want: Magic},
		{name: "version 0", file: bend(good3, func(b []byte) { b[4] = 0 }), want: Version},
		{name: "version 5", file: bend(good3, func(b []byte) { b[4] = 5 }), want: Version},
		{name: "codec 2 v3", file: bend(good3, func(b []byte) { b[5] = 2 }), want: Codec, sound: true},
		{name: "codec 10 v3", file: bend(good3, func(b []byte) { b[5] = 10 }), want: Codec, sound: true},
		{name: "codec 2 v4", file: bend(good4, func(b []byte) { b[5] = 2 }), want: Codec},
		{name: "metas end early v3", file: u64(good3, 8, n3-12), want: MetasCRC},
		{name: "metas offset out v3", file: u64(good3, 8, n3-11), want: MetasRange},
		{name: "metas offset huge v3", file: u64(good3, 8, math.MaxUint64), want: MetasRange},
		{name: "metas offset 0 v1", file: u64(good1, 8, 0), want: MetasCRC},
		{name: "metas offset out v4", file: u64(good4, 8, n4), want: MetasRange},
		{name: "metas offset huge v4", file: u64(good4, 8, math.MaxUint64), want: MetasRange},
		{name: "metas length out v4", file: u64(good4, 16, n4), want: MetasRange},
		{name: "metas length without crc v4", file: u64(good4, 16, n4-metas4-3), want: MetasRange},
		{name: "metas wrap v4", file: u64(good4, 16, -metas4), want: MetasRange},
		{name: "metas crc v4", file: bend(good4, func(b []byte) { b[metas4+sizeMetas4]++ }), want: MetasCRC},
		{name: "metas crc v1", file: bend(good1, func(b []byte) { b[len(b)-9]++ }), want: MetasCRC},
		{name: "symbols offset out", file: u64(good4, 24, n4), want: SymbolsRange},
		{name: "symbols length huge", file: u64(good4, 32, math.MaxUint64), want: SymbolsRange},
		{name: "symbols wrap", file: u64(good4, 32, math.MaxUint64-5), want: SymbolsRange},
		{name: "symbols crc", file: bend(good4, func(b []byte) { b[6+u64At(b, 32)]++ }), want: SymbolsCRC},
		{name: "symbols crc of metas", file: bend(good4, func(b []byte) { setU64(b, 24, u64At(b, 8)); setU64(b, 32, u64At(b, 16)+1) }), want: SymbolsCRC},
	} {
		t.Run(d.name, d.test)
	}
}

// block is what a test says of one block in the metas.
type block struct{ off, size uint64 }

func metas(version byte, num uint64, blocks ...block) []byte {
	b := uvarints(num)
	for _, x := range blocks {
		b = append(b, uvarints(1, 2, 4, x.off)...)
		if version >= 3 {
			b = append(b, uvarints(10)...)
		}
		b = append(b, uvarints(x.size)...)
	}
	return b
}

// withCRC is bytes and their CRC, as a block is stored.
func withCRC(b string) []byte { return binary.BigEndian.AppendUint32([]byte(b), crcOf([]byte(b))) }

func TestDamagedMetas(t *testing.T) {
	envelope := spec{version: 3, codec: compression.None, entries: 1, lineBytes: 1}.encode(t)
	three := bytes.Join([][]byte{withCRC("0123456789"), withCRC("abcdefghij"), withCRC("ABCDEFGHIJ")}, nil)
	bad := bytes.Clone(three)
	bad[14+3]++ // second block
	const a, b, c = 6, 20, 34
	v3 := func(blocks []byte, metas []byte) []byte {
		return withData(envelope, section3(compression.None, blocks, metas))
	}
	total := uint64(len(section3(compression.None, three, metas(3, 1, block{a, 10}))))
	sticky := metas(3, 2, block{a, 10}) // the second block is not there
	huge := uint64(math.MaxInt64)
	for _, d := range []damaged{
		{name: "sound", file: v3(three, metas(3, 3, block{a, 10}, block{b, 10}, block{c, 10})), sound: true},
		{name: "none", file: v3(three, metas(3, 0)), sound: true},
		{name: "empty metas", file: v3(three, nil), sound: true},
		{name: "bad crc", file: v3(bad, metas(3, 3, block{a, 10}, block{b, 10}, block{c, 10})), sound: true},
		{name: "moved", file: v3(three, metas(3, 3, block{a, 10}, block{b + 1, 10}, block{c, 10})), sound: true},
		{name: "moved outside", file: v3(three, metas(3, 3, block{a, 10}, block{huge - 10, 10}, block{c, 10})), sound: true},
		{name: "moved sum wraps", file: v3(three, metas(3, 3, block{a, 10}, block{huge - 9, 10}, block{c, 10})), want: BlockRange},
		{name: "moved and bad", file: v3(bad, metas(3, 3, block{a, 10}, block{b + 1, 10}, block{c, 10})), sound: true},
		{name: "moved outside and bad", file: v3(bad, metas(3, 3, block{a, 10}, block{huge - 10, 10}, block{c, 10})), want: BlockRange},
		{name: "dropped, next where it was", file: v3(bad, metas(3, 3, block{a, 10}, block{b + 1, 10}, block{7, 10})), sound: true},
		{name: "in another order", file: v3(three, metas(3, 3, block{c, 10}, block{a, 10}, block{b, 10})), sound: true},
		{name: "the same twice", file: v3(three, metas(3, 3, block{a, 10}, block{a, 10}, block{a, 10})), sound: true},
		{name: "the same, too often", file: v3(three, metas(3, 8, []block{{a, 10}, {a, 10}, {a, 10}, {a, 10}, {a, 10}, {a, 10}, {a, 10}, {a, 10}}...)), want: BlockOverlap, sound: true, detail: ""},
		{name: "one too many", file: v3(three, append(uvarints(4), metas(3, 3, block{a, 10}, block{b, 10}, block{c, 10})[1:]...)), sound: true},
		{name: "too many", file: v3(three, append(uvarints(100), metas(3, 3, block{a, 10}, block{b, 10}, block{c, 10})[1:]...)), want: MetasFormat},
		{name: "far too many", file: v3(three, append(uvarints(1<<62), sticky[1:]...)), want: MetasFormat, deadly: true},
		{name: "negative count", file: v3(three, append(uvarints(1<<63), sticky[1:]...)), want: MetasFormat},
		{name: "to the end", file: v3(three, metas(3, 1, block{a, total - a - 4})), sound: true},
		{name: "crc cut", file: v3(three, metas(3, 1, block{a, total - a - 3})), want: BlockRange},
		{name: "beyond", file: v3(three, metas(3, 1, block{a, total - a + 1})), want: BlockRange},
		{name: "moved, longer than the rest", file: v3(three, metas(3, 1, block{a + 1, total - a})), want: BlockRange},
		{name: "moved, longer than all", file: v3(three, metas(3, 1, block{a + 1, total})), want: BlockOverlap},
		{name: "negative length", file: v3(three, metas(3, 1, block{a, 1 << 63})), want: BlockRange},
		{name: "negative offset", file: v3(three, metas(3, 1, block{1 << 63, 10})), want: BlockRange},
		{name: "wraps", file: v3(three, metas(3, 1, block{a, huge})), want: BlockRange},
		{name: "varint too long", file: v3(three, append(metas(3, 2, block{a, 10}), bytes.Repeat([]byte{0x80}, 12)...)), sound: true},
	} {
		if d.name == "too many" {
			// The 97 blocks that are not there are four bytes each in Decode's mind; that ends
			// before the data does, or panics.
			d.deadly = true
		}
		t.Run(d.name, d.test)
	}
	// Phantom blocks have no bytes: valid, and so an error, where the expected place holds zeros.
	zeros := append(withCRC("0123456789"), make([]byte, 40)...)
	damaged{file: v3(zeros, sticky), want: MetasFormat, detail: "early"}.test(t)
	early := append(metas(3, 2, block{a, 10}), uvarints(1, 2, 4, b)...) // the last two numbers are missing
	damaged{file: v3(zeros, early), want: MetasFormat, detail: "early"}.test(t)
	damaged{file: v3(three, early), sound: true}.test(t)
	many := make([]byte, 6*(blocksMax+1))
	damaged{file: v3(three, append(uvarints(blocksMax+1), many...)), want: MetasFormat, detail: "limit", deadly: true}.test(t)
}

func TestDamagedSymbols(t *testing.T) {
	envelope := spec{version: 4, codec: compression.GZIP, entries: 1, lineBytes: 1}.encode(t)
	two := append(append(uvarints(3), "abc"...), append(uvarints(2), "de"...)...)
	endless := bytes.Repeat([]byte{0xff}, 10)
	for _, codec := range allCodecs {
		file := func(section []byte) []byte {
			return withData(envelope, section4(codec, section, nil, metas(4, 0)))
		}
		with := func(count uint64, contents []byte) []byte {
			return file(symbolSection(t, codec, count, contents))
		}
		long := append(uvarints(70_000), bytes.Repeat([]byte{'x'}, 70_000)...)
		for _, d := range []damaged{
			{name: "two", file: with(2, two), sound: true},
			{name: "one of two", file: with(1, two), sound: true},
			{name: "none of two", file: with(0, two), sound: true},
			{name: "three of two", file: with(3, two), want: SymbolsFormat, detail: "symbol 2 of 3: its length is missing"},
			{name: "empty ones", file: with(100, make([]byte, 100)), sound: true},
			{name: "too many empty ones", file: with(101, make([]byte, 100)), want: SymbolsFormat, detail: "symbol 100 of 101"},
			{name: "long", file: with(1, long), sound: true},
			{name: "long, cut", file: with(1, long[:len(long)-1]), want: SymbolsFormat, detail: "1 of its 70000 bytes are missing"},
			{name: "cut", file: with(2, two[:len(two)-1]), want: SymbolsFormat, detail: "1 of its 2 bytes are missing"},
			{name: "length cut", file: with(1, []byte{0x80}), want: SymbolsFormat, detail: "its length is missing"},
			{name: "length 2^40", file: with(1, uvarints(1<<40)), want: SymbolsFormat, detail: "too long", deadly: true},
			{name: "length 2^63", file: with(1, uvarints(1<<63)), want: SymbolsFormat, detail: "too long"},
			{name: "length endless", file: with(1, endless), want: SymbolsFormat, detail: "does not end", deadly: true},
			{name: "length overflows", file: with(1, append(endless[:9:9], 2)), want: SymbolsFormat, detail: "no number"},
			{name: "count over the limit", file: with(symbolsMax+1, two), want: SymbolsFormat, detail: "symbols"},
			{name: "count 2^40", file: with(1<<40, two), want: SymbolsFormat, deadly: true},
			{name: "count 2^63", file: with(1<<63, two), want: SymbolsFormat},
		} {
			t.Run(codec.String()+"/"+d.name, d.test)
		}
		t.Run(codec.String()+"/garbage", func(t *testing.T) {
			garbage := bytes.Repeat([]byte{0x15, 0x27, 0xa1}, 30)
			d := damaged{file: file(append(uvarints(3), garbage...)), want: SymbolsFormat}
			if codec == compression.None {
				d = damaged{file: file(append(uvarints(1), garbage...)), sound: true}
			}
			d.test(t)
		})
		t.Run(codec.String()+"/nothing", func(t *testing.T) {
			stock := decode(file(nil))
			require.False(t, unsafeErr(stock))
			require.NoError(t, checked(file(nil)))
		})
		t.Run(codec.String()+"/bomb", func(t *testing.T) {
			if testing.Short() {
				t.Skip("65 MiB")
			}
			bomb := append(uvarints(65<<20), make([]byte, 65<<20)...)
			damaged{file: with(1, bomb), want: SymbolsFormat, deadly: true}.test(t)
			// 65 Mi symbols of no bytes: within the limit as bytes for some, as symbols never.
			damaged{file: with(64<<20, bomb[5:]), want: SymbolsFormat, deadly: true}.test(t)
		})
	}
}

// TestLimitsAreBearable decodes what lies just within the limits; decode minds the allocations.
func TestLimitsAreBearable(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 500 MB")
	}
	envelope := spec{version: 4, codec: compression.GZIP, entries: 1, lineBytes: 1}.encode(t)
	for _, codec := range []compression.Codec{compression.GZIP, compression.Zstd} {
		symbols := symbolSection(t, codec, symbolsMax, make([]byte, symbolsMax))
		file := withData(envelope, section4(codec, symbols, nil, metas(4, 0)))
		require.NoError(t, checked(file))
		before := allocated()
		require.NoError(t, decode(file))
		t.Logf("%s: %d symbols in %d bytes: Decode allocates %d MB", codec, symbolsMax, len(file), (allocated()-before)>>20)

		long := append(uvarints(60<<20), make([]byte, 60<<20)...)
		file = withData(envelope, section4(codec, symbolSection(t, codec, 1, long), nil, metas(4, 0)))
		require.NoError(t, checked(file))
		before = allocated()
		require.NoError(t, decode(file))
		t.Logf("%s: 60 MiB in %d bytes: Decode allocates %d MB", codec, len(file), (allocated()-before)>>20)
	}
}

func TestZstdHeaders(t *testing.T) {
	envelope := spec{version: 4, codec: compression.Zstd, entries: 1, lineBytes: 1}.encode(t)
	file := func(count uint64, stream []byte) []byte {
		return withData(envelope, section4(compression.Zstd, append(uvarints(count), stream...), nil, metas(4, 0)))
	}
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	join := func(bs ...[]byte) []byte { return bytes.Join(bs, nil) }
	rle := []byte{0x02, 0x00, 0x10, 0x00} // 128 KiB of zeros, not the last block
	lastRLE := []byte{0x03, 0x00, 0x10, 0x00}
	raw := []byte{2<<3 | 1, 0x00, 0x00, 1, 'x'} // 2 bytes, last
	window := func(log, mantissa int) []byte { return join(magic, []byte{0x00, byte((log-10)<<3 | mantissa)}) }
	sized := func(n uint64) []byte {
		return binary.LittleEndian.AppendUint64(join(magic, []byte{0xe0}), n) // single segment
	}
	tiny := join(magic, []byte{0x20, 2}, raw)
	for _, d := range []damaged{
		{name: "window 32 MiB", file: file(1, join(window(25, 0), raw)), sound: true},
		{name: "window 36 MiB", file: file(1, join(window(25, 1), raw)), want: SymbolsFormat, detail: "window", sound: true},
		{name: "window 1 TiB", file: file(1, join(window(40, 0), raw)), want: SymbolsFormat, detail: "window"},
		{name: "content 2", file: file(1, join(sized(2), raw)), sound: true},
		{name: "content 3 of 2", file: file(1, join(sized(3), raw))}, // Decode minds the error that comes with the bytes
		{name: "content 1 TiB", file: file(1, join(sized(1<<40), raw)), want: SymbolsFormat, detail: "inflate", deadly: true},
		{name: "content 2^63", file: file(0, join(sized(1<<63), raw)), want: SymbolsFormat, detail: "inflate", deadly: true},
		{name: "content 65 MiB, no symbols", file: file(0, join(sized(65<<20), raw)), want: SymbolsFormat, detail: "inflate", sound: true},
		{name: "bomb, no symbols", file: file(0, join(window(20, 0), bytes.Repeat(rle, 30_000), lastRLE)), want: SymbolsFormat, detail: "inflate", deadly: true},
		{name: "bomb for the stream reader", file: file(0, join(window(20, 0), bytes.Repeat(rle, 40_000), lastRLE)), want: SymbolsFormat, detail: "inflate", deadly: true},
		{name: "32 MiB", file: file(100, join(window(20, 0), bytes.Repeat(rle, 255), lastRLE)), sound: true},
		{name: "frames", file: file(64, bytes.Repeat(tiny, 64)), sound: true},
		{name: "too many frames", file: file(64, bytes.Repeat(tiny, 65)), want: SymbolsFormat, detail: "frames", sound: true},
		{name: "skippable before", file: file(1, join([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, tiny)), sound: true},
		{name: "garbage after", file: file(1, join(tiny, []byte("garbage")))},
		{name: "dictionary", file: file(1, join(magic, []byte{0x21, 7, 2}, raw)), want: SymbolsFormat},
		{name: "reserved bit", file: file(1, join(magic, []byte{0x28, 2}, raw)), want: SymbolsFormat},
	} {
		t.Run(d.name, d.test)
	}
}

func TestLZ4Frames(t *testing.T) {
	envelope := spec{version: 4, codec: compression.LZ4_64k, entries: 1, lineBytes: 1}.encode(t)
	file := func(count uint64, stream []byte) []byte {
		return withData(envelope, section4(compression.LZ4_64k, append(uvarints(count), stream...), nil, metas(4, 0)))
	}
	legacy := []byte{0x02, 0x21, 0x4c, 0x18}
	good := packed(t, compression.LZ4_64k, []byte{3, 'a', 'b', 'c'})
	frame := func(flags byte, blocks ...[]byte) []byte {
		b := []byte{0x04, 0x22, 0x4d, 0x18, flags, 0x40, lz4HeaderSum(flags)}
		for _, block := range blocks {
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(block))), block...)
		}
		return append(b, 0, 0, 0, 0)
	}
	const independent, dependent = 0x60, 0x40
	ten := append([]byte{0xa0}, "\x09abcdefghi"...) // ten literals
	match := []byte{0x00, 10, 0, 0x10, 'z'}         // four bytes from ten back, and a literal
	early := []byte{0x10, '\x04', 2, 0, 0x10, 'z'}  // from two back after one literal
	for _, d := range []damaged{
		{name: "good", file: file(1, good), sound: true},
		{name: "legacy", file: file(1, legacy), want: SymbolsFormat, detail: "legacy"},
		{name: "legacy for ever", file: file(1, bytes.Repeat(legacy, 1<<20)), want: SymbolsFormat, detail: "legacy", deadly: true},
		{name: "legacy after", file: file(1, append(bytes.Clone(good), legacy...)), want: SymbolsFormat, detail: "legacy", sound: true},
		{name: "skippable before", file: file(1, append([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2}, good...)), sound: true},
		{name: "independent", file: file(1, frame(independent, ten)), sound: true},
		{name: "dependent", file: file(2, frame(dependent, ten, match)), want: SymbolsFormat, detail: "symbol 1 of 2"},
		{name: "dependent, one", file: file(1, frame(dependent, ten, match)), sound: true},
		{name: "match before its frame", file: file(1, frame(independent, early)), want: SymbolsFormat, detail: "before its frame"},
		{name: "match before its dependent frame", file: file(1, frame(dependent, early)), want: SymbolsFormat, detail: "before its frame"},
	} {
		if strings.HasPrefix(d.name, "match before") {
			d.deadly = true // what Decode makes of it depends on what its reader read before
		}
		t.Run(d.name, d.test)
	}
}

// lz4HeaderSum is the second byte of xxh32 of the two descriptor bytes (seed 0).
func lz4HeaderSum(flags byte) byte {
	const p1, p3, p5 = uint32(2654435761), uint32(3266489917), uint32(374761393)
	const p2 = uint32(2246822519)
	h := p5 + 2
	for _, x := range []byte{flags, 0x40} {
		h += uint32(x) * p5
		h = (h<<11 | h>>21) * p1
	}
	h ^= h >> 15
	h *= p2
	h ^= h >> 13
	h *= p3
	h ^= h >> 16
	return byte(h >> 8)
}

// TestReaderAfterPanicIsNotReused: the scratch state must survive refusals of every kind.
func TestStateSurvivesRefusals(t *testing.T) {
	for _, s := range smallSpecs() {
		if s.version != 4 || s.symbols == 0 {
			continue
		}
		good := s.encode(t)
		off, size, _ := symbolsOf(memChunk(good))
		for i := range size {
			bent := bytes.Clone(memChunk(good))
			bent[off+i] ^= 0x55
			fixCRCs(bent)
			_ = Symbols(withData(good, bent))
			require.NoError(t, Symbols(good), "%s after %d", s, i)
		}
	}
}
