// SPDX-License-Identifier: Apache-2.0

// Without C, Loki's own readers decompress here, too: used ones, of which see unused.
//go:build cgo && linux

package blockread

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"
)

// TestFormats: every detail that Loki's readers take is taken, and what they refuse is refused.
func TestFormats(t *testing.T) {
	for codec, formats := range allFormats(t) {
		for _, f := range formats {
			t.Run(fmt.Sprintf("%s/%s", codec, f.name), func(t *testing.T) {
				require.Equal(t, f.own, requireSame(t, testPool(codec), f.block))
			})
		}
	}
}

// TestUndefinedCodes: the exceptions: what they inflate to is what the stream's own checksum
// and size say, and Loki's reader hands out the same up to its error.
func TestUndefinedCodes(t *testing.T) {
	for _, c := range crafted() {
		for _, f := range []struct {
			codec compression.Codec
			block []byte
		}{{compression.Flate, c.stream}, {compression.GZIP, gzipOf(gzipHeader(0, ""), c.stream, c.raw)}} {
			if c.taken != hereOnly {
				continue
			}
			p := testPool(f.codec)
			stock, _ := read(p.stock, f.block)
			here, _ := read(p, f.block)
			require.NotEmpty(t, stock.err, c.name)
			require.Empty(t, here.err, c.name)
			require.True(t, bytes.Equal(c.raw, here.raw), c.name)
			require.True(t, bytes.HasPrefix(here.raw, stock.raw), c.name)
		}
	}
}

// readers are codecs with a reader of their own: LZ4's is one for all its block sizes.
var readers = []compression.Codec{compression.GZIP, compression.LZ4_64k, compression.Snappy, compression.Flate, compression.Zstd}

// TestEveryBit: small blocks with every bit flipped, cut at every byte, and with bytes after them.
func TestEveryBit(t *testing.T) {
	for _, codec := range readers {
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%s/%s", codec, kind), func(t *testing.T) {
				block := compressed(t, codec, entries(kind, 250))
				p := testPool(codec)
				step := 1
				if poisonReleased { // the race detector is on
					step = 11
				}
				for i := 0; i < 8*len(block); i += step {
					block[i/8] ^= 1 << (i % 8)
					requireSame(t, p, block, "bit", i)
					block[i/8] ^= 1 << (i % 8)
				}
				for n := range block {
					requireSame(t, p, block[:n], "cut at", n)
				}
				for _, tail := range []string{"\x00", "\x00\x00\x00\x00", "garbage", string(block), string(block[:len(block)/2])} {
					requireSame(t, p, append(block[:len(block):len(block)], tail...), "tail", len(tail))
				}
			})
		}
	}
}

// TestDamaged: random damage to blocks of usual size and of unusual forms. A failure names the seed of its
// case; CHUNKRING_DAMAGE_CASES asks for more of them.
func TestDamaged(t *testing.T) {
	cases := 1500
	if poisonReleased { // the race detector is on
		cases = 150
	}
	if n, err := strconv.Atoi(os.Getenv("CHUNKRING_DAMAGE_CASES")); err == nil {
		cases = n
	}
	all := allFormats(t)
	for _, codec := range readers {
		t.Run(codec.String(), func(t *testing.T) {
			t.Parallel()
			var blocks [][]byte
			for _, kind := range kinds {
				blocks = append(blocks, compressed(t, codec, entries(kind, 2_000)), compressed(t, codec, entries(kind, 60_000)))
			}
			for _, f := range all[codec] {
				blocks = append(blocks, f.block)
			}
			p := testPool(codec)
			own := 0
			for seed := range cases {
				r := rand.New(rand.NewPCG(uint64(seed), 0))
				if requireSame(t, p, damage(r, blocks), "seed", seed) {
					own++
				}
			}
			t.Logf("%d of %d damaged blocks are good blocks", own, cases)
		})
	}
}

// damage is one of the blocks with one to three things wrong.
func damage(r *rand.Rand, blocks [][]byte) []byte {
	b := bytes.Clone(blocks[r.IntN(len(blocks))])
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			break
		}
		at := r.IntN(len(b))
		if r.IntN(3) == 0 { // where the headers are
			at = r.IntN(min(len(b), 40))
		}
		switch r.IntN(7) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			b = b[:at]
		case 3: // a piece is missing
			b = append(b[:at], b[min(len(b), at+1+r.IntN(16)):]...)
		case 4: // a piece is there twice
			b = append(b[:at:at], b[max(0, at-1-r.IntN(16)):]...)
		case 5: // the rest of another one
			other := append(bytes.Clone(blocks[r.IntN(len(blocks))]), 0)
			b = append(b[:at:at], other[r.IntN(len(other)):]...)
		case 6:
			for i := at; i < min(len(b), at+8); i++ {
				b[i] = byte(r.Uint32())
			}
		}
	}
	return b
}

// FuzzSame looks for a block that this package and Loki's own reader see differently.
func FuzzSame(f *testing.F) {
	for i, codec := range readers {
		for _, kind := range kinds {
			f.Add(uint8(i), compressed(f, codec, entries(kind, 250)))
		}
		for _, format := range allFormats(f)[codec] {
			if len(format.block) < 4_000 {
				f.Add(uint8(i), format.block)
			}
		}
	}
	pools := map[compression.Codec]*pool{}
	for _, codec := range readers {
		pools[codec] = testPool(codec)
	}
	f.Fuzz(func(t *testing.T, codec uint8, block []byte) {
		requireSame(t, pools[readers[int(codec)%len(readers)]], block)
	})
}
