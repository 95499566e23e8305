// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"math/bits"
)

// bitWriter writes a deflate stream: numbers lowest bit first, codes highest bit first.
type bitWriter struct {
	b    []byte
	word uint64
	n    int
}

func (w *bitWriter) number(x, n int) *bitWriter {
	w.word |= uint64(x) << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.word))
		w.word >>= 8
	}
	return w
}

func (w *bitWriter) code(x, n int) *bitWriter {
	return w.number(int(bits.Reverse16(uint16(x))>>(16-n)), n)
}

func (w *bitWriter) bytes() []byte {
	if w.n > 0 {
		w.number(0, 8-w.n)
	}
	return w.b
}

// fixed begins the last block, one with the fixed codes.
func fixed() *bitWriter { return new(bitWriter).number(1, 1).number(1, 2) }

// literal, length and distance are symbols of the fixed codes.
func (w *bitWriter) literal(c byte) *bitWriter {
	if c < 144 {
		return w.code(0x30+int(c), 8)
	}
	return w.code(0x190+int(c)-144, 9)
}

func (w *bitWriter) length(symbol int) *bitWriter {
	if symbol < 280 {
		return w.code(symbol-256, 7)
	}
	return w.code(0xc0+symbol-280, 8)
}

func (w *bitWriter) distance(symbol int) *bitWriter { return w.code(symbol, 5) }

func (w *bitWriter) end() *bitWriter { return w.code(0, 7) }

// dynamic begins the last block, with the code lengths given. Each is written with a code for lengths in
// which 13 have 4 bits and 6 have 5.
func dynamic(lengths, distances []int) *bitWriter {
	w := new(bitWriter).number(1, 1).number(2, 2)
	w.number(len(lengths)-257, 5).number(len(distances)-1, 5).number(15, 4)
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		w.number(4+symbol/13, 3)
	}
	for _, n := range append(append([]int{}, lengths...), distances...) {
		if n < 13 {
			w.code(n, 4)
		} else {
			w.code(0x1a+n-13, 5)
		}
	}
	return w
}

// sparse is a list of n zeros but for the pairs of index and value.
func sparse(n int, pairs ...int) []int {
	list := make([]int, n)
	for i := 0; i < len(pairs); i += 2 {
		list[pairs[i]] = pairs[i+1]
	}
	return list
}

type stream struct {
	name   string
	stream []byte
	raw    []byte // or what a careless decoder would make of it
	taken  taken
}

type taken int

const (
	byNone taken = iota
	byBoth
	// hereOnly is for codes that are not defined, in streams that no compressor writes: libdeflate
	// gives them a meaning, Loki's reader an error.
	hereOnly
)

// crafted are streams at the edge of what Loki's reader takes.
func crafted() []stream {
	far := func(distance int) []byte { // 30,000 zeros, then a match
		w := fixed().literal('x').literal(0)
		for range 116 {
			w.length(285).distance(0)
		}
		return w.length(257).distance(distance).number(0, 13).end().bytes()
	}
	zeros := append([]byte("x"), make([]byte, 1+116*258+3)...)
	same := bytes.Repeat([]byte("a"), 259)
	// 'a' is 0, the end 10, a length of 3 is 11.
	three := sparse(258, 'a', 1, 256, 2, 257, 2)
	code := func(w *bitWriter, codes ...int) []byte { // pairs of bits and how many
		for i := 0; i < len(codes); i += 2 {
			w.code(codes[i], codes[i+1])
		}
		return w.bytes()
	}
	return []stream{
		{"length 285", fixed().literal('a').length(285).distance(0).end().bytes(), same, byBoth},
		{"length 286", fixed().literal('a').length(286).distance(0).end().bytes(), same, hereOnly},
		{"length 287", fixed().literal('a').length(287).distance(0).end().bytes(), same, hereOnly},
		{"distance 29", far(29), zeros, byBoth},
		{"distance 30", far(30), zeros, hereOnly},
		{"distance 31", far(31), zeros, hereOnly},
		{"distance 0 back", fixed().length(257).distance(0).end().bytes(), nil, byNone},
		{"all distances", dynamicAll(30), nil, byBoth},
		{"too many lengths", code(dynamic(sparse(287, 'a', 1, 256, 1), sparse(1, 0, 1)), 0, 1, 1, 1), []byte("a"), hereOnly},
		{"too many distances", dynamicAll(31), nil, hereOnly},
		{"one distance", code(dynamic(three, sparse(1, 0, 1)), 0, 1, 3, 2, 0, 1, 2, 2), []byte("aaaa"), byBoth},
		{"one distance, its other bit", code(dynamic(three, sparse(1, 0, 1)), 0, 1, 3, 2, 1, 1, 2, 2), []byte("aaaa"), hereOnly},
		{"one distance of two bits", code(dynamic(three, sparse(1, 0, 2)), 0, 1, 3, 2, 0, 2, 2, 2), []byte("aaaa"), byNone},
		{"no distance", code(dynamic(three, sparse(1)), 0, 1, 0, 1, 2, 2), []byte("aa"), byBoth},
		{"only the end", code(dynamic(sparse(257, 256, 1), sparse(1)), 0, 1), nil, byBoth},
		{"only the end, its other bit", code(dynamic(sparse(257, 256, 1), sparse(1)), 1, 1), nil, hereOnly},
		{"no symbols", code(dynamic(sparse(257), sparse(1)), 0, 1), nil, byNone},
		{"no end", code(dynamic(sparse(257, 'a', 1, 'b', 1), sparse(1)), 0, 1, 1, 1), []byte("ab"), byNone},
		{"too few codes", code(dynamic(sparse(257, 'a', 2, 256, 2), sparse(1)), 0, 2, 1, 2), []byte("a"), byNone},
		{"too many codes", code(dynamic(sparse(257, 'a', 1, 'b', 1, 256, 1), sparse(1)), 0, 1, 1, 1), []byte("a"), byNone},
		{"long codes", dynamicLong(), []byte("abcdefghijklmno"), byBoth},
		{"repeats nothing", dynamicRepeat(0), nil, byNone},
		{"repeats too often", dynamicRepeat(6), nil, byNone},
		{"stored", []byte("\x01\x03\x00\xfc\xffabc"), []byte("abc"), byBoth},
		{"stored, nothing", []byte("\x01\x00\x00\xff\xff"), nil, byBoth},
		{"stored, wrong complement", []byte("\x01\x03\x00\xfc\xfeabc"), []byte("abc"), byNone},
		{"stored, cut", []byte("\x01\x04\x00\xfb\xffabc"), []byte("abc"), byNone},
		{"reserved kind", []byte("\x07"), nil, byNone},
		{"no last block", []byte("\x00\x03\x00\xfc\xffabc"), []byte("abc"), byNone},
	}
}

// dynamicAll announces n distances, of which only the first two have codes.
func dynamicAll(n int) []byte {
	return dynamic(sparse(257, 'a', 1, 256, 1), sparse(n, 0, 1, 1, 1)).code(1, 1).bytes()
}

// dynamicLong has codes of 1 to 15 bits, so that some need a second table.
func dynamicLong() []byte {
	lengths := sparse(257, 256, 15)
	for i := range 15 {
		lengths['a'+i] = i + 1
	}
	w := dynamic(lengths, sparse(1))
	for i := range 15 {
		w.code(1<<(i+1)-2, i+1)
	}
	return w.code(1<<15-1, 15).bytes()
}

// dynamicRepeat has lengths that begin with a repetition, or end with one that is too long.
func dynamicRepeat(at int) []byte {
	w := new(bitWriter).number(1, 1).number(2, 2).number(0, 5).number(0, 5).number(15, 4)
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		w.number(4+symbol/13, 3)
	}
	for range at {
		w.code(0x1a+5, 5).number(127, 7) // 138 zeros
	}
	return w.code(0x1a+3, 5).number(3, 2).bytes() // the last one six times
}
