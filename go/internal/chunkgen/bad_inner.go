// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/grafana/loki/v3/pkg/compression"
)

// butcher collects defects whose outer checksum is right: what a buggy or hostile writer leaves, or
// an operator who renamed a broken file to make the checksum fit.
type butcher struct {
	good []sample
	all  []defect
	err  error
}

// add damages a copy of a good file.
func (k *butcher) add(base, name, why string, edit func(p *Parts) error) {
	k.bytes(base, name, why, func(p *Parts) ([]byte, error) {
		err := edit(p)
		return p.Join(), err
	})
}

// bytes is add for damage that Parts can't express.
func (k *butcher) bytes(base, name, why string, edit func(p *Parts) ([]byte, error)) {
	name = "inner-" + name
	from := find(k.good, base)
	p, err := Split(from.bytes)
	if err == nil {
		var b []byte
		b, err = edit(p)
		k.all = append(k.all, defect{sample: derive(from, name, b), why: why})
	}
	if err != nil {
		k.err = errors.Join(k.err, fmt.Errorf("%s: %w", name, err))
	}
}

// verdict overrides what follows from stock's behaviour for the defect added last.
func (k *butcher) verdict(must string) { k.all[len(k.all)-1].must = must }

// do wraps an edit that can't fail.
func do(edit func(p *Parts)) func(p *Parts) error {
	return func(p *Parts) error {
		edit(p)
		return nil
	}
}

// meta wraps an edit of the block metas.
func meta(edit func(metas []BlockMeta)) func(p *Parts) error {
	return func(p *Parts) error { return p.EditMetas(edit) }
}

func badInner(good []sample) ([]defect, error) {
	k := &butcher{good: good}
	k.envelope()
	k.frames()
	k.metadata()
	k.header()
	k.footer()
	k.metas()
	k.offsets()
	k.lengths()
	k.blocks()
	k.symbols()
	k.payload()
	return k.all, k.err
}

// envelope: metaLen, dataLen, and too few bytes to have them.
func (k *butcher) envelope() {
	const base = "v4-snappy"
	metaLen := func(name, why string, v func(old uint32) uint32) {
		k.add(base, "metalen-"+name, why, do(func(p *Parts) { p.MetaLen = v(p.MetaLen) }))
	}
	metaLen("plus-1", "metaLen is one too large", func(n uint32) uint32 { return n + 1 })
	metaLen("minus-1", "metaLen is one too small", func(n uint32) uint32 { return n - 1 })
	metaLen("zero", "metaLen is 0", func(uint32) uint32 { return 0 })
	metaLen("huge", "metaLen is 2^32-1", func(uint32) uint32 { return math.MaxUint32 })
	metaLen("sign", "metaLen is 2^31", func(uint32) uint32 { return 1 << 31 })

	dataLen := func(name, why string, v func(old uint32) uint32) {
		k.add(base, "datalen-"+name, why, do(func(p *Parts) { p.DataLen = v(p.DataLen) }))
	}
	dataLen("plus-1", "dataLen is one too large", func(n uint32) uint32 { return n + 1 })
	dataLen("minus-1", "dataLen is one too small", func(n uint32) uint32 { return n - 1 })
	dataLen("zero", "dataLen is 0", func(uint32) uint32 { return 0 })
	dataLen("huge", "dataLen is 2^32-1", func(uint32) uint32 { return math.MaxUint32 })
	k.add(base, "trailing-byte", "one byte after the end, outer checksum right", do(func(p *Parts) { p.Tail = []byte{0} }))
	k.bytes(base, "cut-in-envelope", "cut inside the JSON, outer checksum right", func(p *Parts) ([]byte, error) { return p.Join()[:40], nil })
	k.bytes(base, "cut-before-datalen", "cut right after the JSON", func(p *Parts) ([]byte, error) { return p.Join()[:p.MetaLen], nil })
	k.bytes(base, "cut-in-datalen", "cut inside dataLen", func(p *Parts) ([]byte, error) { return p.Join()[:p.MetaLen+2], nil })
	for _, n := range []int{0, 3, 4} {
		k.bytes(base, fmt.Sprintf("cut-to-%d", n), "only the first bytes, outer checksum right", func(p *Parts) ([]byte, error) { return p.Join()[:n], nil })
	}
}

// frames: the snappy framing stream of the JSON.
func (k *butcher) frames() {
	const base = "v4-snappy"
	frames := func(name, why string, edit func(frames []byte, p *Parts) []byte) {
		k.add(base, "frame-"+name, why, do(func(p *Parts) { p.SetFrames(edit(p.Frames, p)) }))
	}
	first := len(streamID) // where the frame with the JSON begins
	setLen := func(b []byte, n int) []byte {
		b[first+1], b[first+2], b[first+3] = byte(n), byte(n>>8), byte(n>>16)
		return b
	}
	frameLen := func(b []byte) int { return len(b) - first - frameBytes }
	frames("len-plus-1", "the frame's length is one too large", func(b []byte, _ *Parts) []byte { return setLen(b, frameLen(b)+1) })
	frames("len-minus-1", "the frame's length is one too small", func(b []byte, _ *Parts) []byte { return setLen(b, frameLen(b)-1) })
	frames("len-zero", "the frame's length is 0: no room for its checksum", func(b []byte, _ *Parts) []byte { return setLen(b, 0) })
	frames("len-3", "the frame's length is 3: no room for its checksum", func(b []byte, _ *Parts) []byte { return setLen(b, 3) })
	frames("len-max", "the frame's length is 2^24-1, beyond the file", func(b []byte, _ *Parts) []byte { return setLen(b, 1<<24-1) })
	frames("len-to-end", "the frame swallows the rest of the file", func(b []byte, p *Parts) []byte {
		return setLen(b, frameLen(b)+lenBytes+int(p.DataLen))
	})
	frames("reserved-type", "a frame of type 0x02, which readers must not skip", func(b []byte, _ *Parts) []byte {
		b[first] = 2
		return b
	})
	frames("skippable-type", "the JSON lies in a frame of a type that readers skip", func(b []byte, _ *Parts) []byte {
		b[first] = 0x80
		return b
	})
	frames("no-stream-id", "the stream identifier is missing", func(b []byte, _ *Parts) []byte { return b[first:] })
	frames("wrong-stream-id", "the stream identifier is sNaPpy", func(b []byte, _ *Parts) []byte {
		b[first-1] = 'y'
		return b
	})
	frames("crc", "the frame's checksum is wrong", func(b []byte, _ *Parts) []byte {
		b[first+frameBytes] ^= 1
		return b
	})
	if b := find(k.good, base).bytes[lenBytes+first]; b != 0 {
		k.err = errors.Join(k.err, fmt.Errorf("%s: its JSON was not compressed (frame type %d), give it longer labels", base, b))
	}
	frames("snappy-garbage", "the frame's data is not snappy", func(b []byte, _ *Parts) []byte {
		copy(b[first+frameBytes+crcBytes+3:], "\xff\xff\xff\xff\xff\xff")
		return b
	})
	frames("inflated-huge", "the frame claims to inflate to 4 GiB", func(b []byte, _ *Parts) []byte {
		body := slices.Concat(b[first+frameBytes:first+frameBytes+crcBytes], []byte("\xff\xff\xff\xff\x0f"), b[first+frameBytes+crcBytes+2:])
		return slices.Concat(streamID, frame(0, body))
	})
	frames("none", "no frames at all", func([]byte, *Parts) []byte { return nil })
	frames("only-stream-id", "a stream identifier and no data", func([]byte, *Parts) []byte { return streamID })
	frames("trailing-skippable", "a frame of padding after the JSON", func(b []byte, _ *Parts) []byte {
		return append(bytes.Clone(b), frame(0xfe, []byte("padding"))...)
	})
	frames("trailing-data", "a frame of spaces after the JSON", func(b []byte, _ *Parts) []byte {
		return append(bytes.Clone(b), storedFrame([]byte("   \n"))...)
	})
}

// metadata: the JSON.
func (k *butcher) metadata() {
	const base = "v4-snappy"
	set := func(name, why, json string) {
		k.add(base, "json-"+name, why, func(p *Parts) error { return p.SetJSON([]byte(json)) })
	}
	replace := func(name, why, old, new string) {
		k.bytes(base, "json-"+name, why, func(p *Parts) ([]byte, error) { return p.editJSON(old, new) })
	}
	set("garbage", "not JSON", "this is not JSON")
	set("empty", "no JSON: zero bytes", "")
	set("null", "JSON, but null", "null\n")
	set("no-fields", "JSON without any field", "{}\n")
	set("array", "JSON, but an array", "[]\n")
	set("nested", "JSON nested 20000 deep", `{"metric":`+strings.Repeat("[", 20000))
	k.add(base, "json-truncated", "JSON that ends too early", func(p *Parts) error {
		json, err := p.JSON()
		if err != nil {
			return err
		}
		return p.SetJSON(json[:len(json)-5])
	})
	k.add(base, "json-trailing", "something after the JSON, in the same frame", func(p *Parts) error {
		json, err := p.JSON()
		if err != nil {
			return err
		}
		return p.SetJSON(append(json, "more"...))
	})
	replace("tenant", "another tenant's chunk", `"userID":"fake"`, `"userID":"mallory"`)
	replace("tenant-number", "the tenant is a number", `"userID":"fake"`, `"userID":1`)
	replace("tenant-case", "field names in other case, which Go accepts", `"userID"`, `"USERID"`)
	replace("fingerprint", "another stream's fingerprint", `"fingerprint":`, `"fingerprint":1`)
	replace("fingerprint-negative", "the fingerprint is negative", `"fingerprint":`, `"fingerprint":-`)
	replace("from", "another from", `"from":17`, `"from":18`)
	replace("through", "another through", `"through":17`, `"through":18`)
	replace("through-missing", "no through", `"through"`, `"thru"`)
	replace("encoding-unknown", "encoding 200 is not known", `"encoding":129`, `"encoding":200`)
	replace("encoding-old", "encoding 3 was Cortex's", `"encoding":129`, `"encoding":3`)
	replace("encoding-missing", "no encoding: stock makes a dummy chunk of it, which its queries then panic on", `"encoding"`, `"enc"`)
	k.verdict(MustEither) // not a matter of structure, but nothing that anybody relied on
	replace("encoding-huge", "encoding 1129 doesn't fit in a byte", `"encoding":129`, `"encoding":1129`)
	replace("metric-array", "labels are an array", `"metric":{`, `"metric":[],"x":{`)
	replace("twice", "a field twice; the last one counts", `"encoding":129`, `"encoding":3,"encoding":129`)
}

// header: magic, version, codec, and data too short to have one.
func (k *butcher) header() {
	k.add("v4-snappy", "magic", "wrong magic number", do(func(p *Parts) { p.Header[0] ^= 0xff }))
	for _, version := range []byte{0, 5, 255} {
		k.add("v4-snappy", fmt.Sprintf("version-%d", version), "no such version", do(func(p *Parts) { p.Header[4] = version }))
	}
	for _, pair := range [][2]string{{"v4-snappy", "3"}, {"v3-snappy", "4"}, {"v3-snappy", "1"}, {"v3-snappy", "2"}} {
		name := fmt.Sprintf("version-%s-of-%s", pair[1], pair[0][:2])
		k.add(pair[0], name, "the version byte of another layout", do(func(p *Parts) { p.Header[4] = pair[1][0] - '0' }))
	}
	for _, base := range []string{"v2-snappy", "v3-snappy", "v4-snappy"} {
		for _, codec := range []byte{2, 10, 255} {
			k.add(base, fmt.Sprintf("codec-%d-%s", codec, base[:2]), "no such codec", do(func(p *Parts) { p.Header[5] = codec }))
			k.verdict(MustReject) // where stock's Decode takes it, the query panics
		}
		k.add(base, "codec-other-"+base[:2], "the codec byte says zstd, the blocks are snappy", do(func(p *Parts) { p.Header[5] = byte(compression.Zstd) }))
	}
	for _, base := range []string{"v1-gzip", "v3-snappy", "v4-snappy"} {
		for _, n := range []int{0, 4, 5, 6, 7, 8, 11, 12, 15, 17, 20, 31, 32, 37, 38} {
			if base != "v4-snappy" && n > 17 {
				continue
			}
			k.bytes(base, fmt.Sprintf("data-%d-bytes-%s", n, base[:2]), "data of that length, dataLen right", func(p *Parts) ([]byte, error) {
				p.DataLen = uint32(n)
				return p.Join()[:int(p.MetaLen)+lenBytes+n], nil
			})
		}
	}
}

// footer: offsets and lengths of the sections.
func (k *butcher) footer() {
	cut := func(base string, n int) {
		k.bytes(base, fmt.Sprintf("footer-cut-%d-%s", n, base[:2]), "the last bytes are missing, dataLen right", func(p *Parts) ([]byte, error) {
			p.DataLen -= uint32(n)
			b := p.Join()
			return b[:len(b)-n], nil
		})
	}
	for _, n := range []int{1, 8, 16, 32} {
		cut("v4-snappy", n)
	}
	for _, n := range []int{1, 4, 8, 12} {
		cut("v3-snappy", n)
	}
	type lie struct {
		name, why string
		value     func(old uint64, p *Parts) uint64
	}
	fixed := func(v uint64) func(uint64, *Parts) uint64 { return func(uint64, *Parts) uint64 { return v } }
	lies := []lie{
		{"plus-1", "one too large", func(v uint64, _ *Parts) uint64 { return v + 1 }},
		{"minus-1", "one too small", func(v uint64, _ *Parts) uint64 { return v - 1 }},
		{"zero", "0", fixed(0)},
		{"at-end", "the length of the data", func(_ uint64, p *Parts) uint64 { return uint64(p.DataLen) }},
		{"near-end", "2 less than the length of the data", func(_ uint64, p *Parts) uint64 { return uint64(p.DataLen) - 2 }},
		{"beyond", "1000 beyond the data", func(_ uint64, p *Parts) uint64 { return uint64(p.DataLen) + 1000 }},
		{"2to40", "2^40", fixed(1 << 40)},
		{"max-int64", "2^63-1", fixed(math.MaxInt64)},
		{"min-int64", "2^63: negative when signed", fixed(1 << 63)},
		{"max", "2^64-1: -1 when signed", fixed(math.MaxUint64)},
		{"minus-8", "2^64-8: wraps round when a length is added", fixed(math.MaxUint64 - 7)},
	}
	for _, l := range lies {
		k.add("v3-snappy", "metasoff-"+l.name+"-v3", "the offset of the metas is "+l.why, do(func(p *Parts) {
			p.Footer[FooterMetasOff3] = l.value(p.Footer[FooterMetasOff3], p)
		}))
		for i, field := range []string{"symbolslen", "symbolsoff", "metaslen", "metasoff"} {
			k.add("v4-snappy", field+"-"+l.name+"-v4", field+" is "+l.why, do(func(p *Parts) {
				p.Footer[i] = l.value(p.Footer[i], p)
			}))
		}
	}
	for i, field := range []string{"symbols", "metas"} {
		at := 2 * i
		k.add("v4-snappy", field+"-wrap-v4", field+" offset and length wrap round to the right end", do(func(p *Parts) {
			end := p.Footer[at] + p.Footer[at+1]
			p.Footer[at+1] = math.MaxUint64 - 15
			p.Footer[at] = end + 16
		}))
	}
	k.add("v4-snappy", "metas-into-footer", "the metas' length reaches into the footer", do(func(p *Parts) { p.Footer[FooterMetasLen] += 12 }))
	k.add("v4-snappy", "metas-to-end", "the metas end at the end of the file: no room for their checksum", do(func(p *Parts) {
		p.Footer[FooterMetasLen] = uint64(p.DataLen) - p.Footer[FooterMetasOff]
	}))
	k.add("v4-snappy", "sections-swapped", "the footer's symbols and metas are swapped", do(func(p *Parts) {
		f := p.Footer
		f[0], f[1], f[2], f[3] = f[2], f[3], f[0], f[1]
	}))
}

// metas: the section that lists the blocks; its checksum is right unless the name says otherwise.
func (k *butcher) metas() {
	k.add("v4-snappy", "metas-crc", "the metas' checksum is wrong", do(func(p *Parts) { p.MetasCRC ^= 1 }))
	k.add("v3-snappy", "metas-crc-v3", "the metas' checksum is wrong", do(func(p *Parts) { p.MetasCRC ^= 1 }))
	k.add("v4-snappy", "metas-empty", "metas of no bytes", do(func(p *Parts) { p.SetMetas(nil) }))

	num := func(name, why string, v func(n int) uint64) {
		for _, base := range []string{"v4-snappy", "v3-snappy"} {
			k.add(base, "num-"+name+"-"+base[:2], why, func(p *Parts) error {
				metas, err := p.BlockMetas()
				p.SetMetas(EncodeMetas(p.Version(), v(len(metas)), metas))
				return err
			})
		}
	}
	num("2to60", "2^60 blocks", func(int) uint64 { return 1 << 60 })
	num("2to33", "2^33 blocks", func(int) uint64 { return 1 << 33 })
	num("2to24", "2^24 blocks: 1 GiB of memory in stock", func(int) uint64 { return 1 << 24 })
	num("negative", "2^63 blocks: negative when signed", func(int) uint64 { return 1 << 63 })
	num("minus-1", "-1 blocks when signed", func(int) uint64 { return math.MaxUint64 })
	num("zero", "0 blocks, though there are some", func(int) uint64 { return 0 })
	num("one-less", "one block less than there are", func(n int) uint64 { return uint64(n) - 1 })
	for _, more := range []int{1, 2, 3, 20, 100} {
		num(fmt.Sprintf("plus-%d", more), fmt.Sprintf("%d blocks more than there are", more), func(n int) uint64 { return uint64(n + more) })
	}
	// Past the last meta every number reads as 0, and stock looks for blocks of no bytes, 4 bytes
	// further each time: to four zero bytes in the footer (an error) or off the file's end (a panic).
	for tail := 1; tail <= 3; tail++ {
		for _, base := range []string{"v4-snappy", "v3-snappy"} {
			k.add(base, fmt.Sprintf("num-plus-100-tail-%d-%s", tail, base[:2]), "100 blocks more than there are, and the metas end in bytes of no use", func(p *Parts) error {
				metas, err := p.BlockMetas()
				b := EncodeMetas(p.Version(), uint64(len(metas)+100), metas)
				p.SetMetas(append(b, bytes.Repeat([]byte{0xff}, tail)...))
				return err
			})
		}
	}
	// The number is read, then everything after it fails to parse.
	k.add("v4-snappy", "num-alone", "three blocks are promised, none is described", do(func(p *Parts) { p.SetMetas([]byte{3}) }))
	k.verdict(MustEither) // stock finds no lines in it; a check may bound the number by the metas' length

	varint := func(name, why string, at int, v []byte) {
		k.add("v4-snappy", "varint-"+name, why, do(func(p *Parts) {
			p.SetMetas(slices.Concat(p.Metas[:at], v, p.Metas[at+1:]))
		}))
	}
	long := bytes.Repeat([]byte{0xff}, 11)
	varint("num-overlong", "the number of blocks is a varint of 12 bytes", 0, append(bytes.Clone(long), 1))
	varint("num-overflow", "the number of blocks is a varint beyond 64 bits", 0, append(bytes.Clone(long[:9]), 2))
	varint("entries-overlong", "the first block's number of entries is a varint of 12 bytes", 1, append(bytes.Clone(long), 1))
	varint("entries-overflow", "the first block's number of entries is a varint beyond 64 bits", 1, append(bytes.Clone(long[:9]), 2))
	k.add("v4-snappy", "varint-cut", "the metas end inside the last number", do(func(p *Parts) {
		p.SetMetas(append(bytes.Clone(p.Metas[:len(p.Metas)-1]), 0x80))
	}))
	k.add("v4-snappy", "metas-cut-last", "the metas end before the last number", do(func(p *Parts) { p.SetMetas(p.Metas[:len(p.Metas)-2]) }))
	k.add("v4-snappy", "metas-cut-half", "the metas end in the middle", do(func(p *Parts) { p.SetMetas(p.Metas[:len(p.Metas)/2]) }))
	k.add("v4-snappy", "metas-tail", "bytes after the last block's meta", do(func(p *Parts) { p.SetMetas(append(bytes.Clone(p.Metas), "more"...)) }))
}

// offsets: where the metas say a block lies.
func (k *butcher) offsets() {
	for _, base := range []string{"v4-snappy", "v3-snappy"} {
		v := "-" + base[:2]
		offset := func(name, why string, at func(last int) int, to func(m BlockMeta, p *Parts) uint64) {
			k.add(base, "offset-"+name+v, why, func(p *Parts) error {
				return p.EditMetas(func(metas []BlockMeta) {
					i := at(len(metas) - 1)
					metas[i].Offset = to(metas[i], p)
				})
			})
		}
		first := func(int) int { return 0 }
		second := func(int) int { return 1 }
		last := func(last int) int { return last }
		offset("first-plus-1", "the first block's offset is one too large", first, func(m BlockMeta, _ *Parts) uint64 { return m.Offset + 1 })
		offset("second-minus-1", "the second block's offset is one too small", second, func(m BlockMeta, _ *Parts) uint64 { return m.Offset - 1 })
		offset("last-plus-1", "the last block's offset is one too large", last, func(m BlockMeta, _ *Parts) uint64 { return m.Offset + 1 })
		offset("zero", "a block's offset is 0", second, func(BlockMeta, *Parts) uint64 { return 0 })
		offset("beyond", "a block's offset lies beyond the file", second, func(_ BlockMeta, p *Parts) uint64 { return uint64(p.DataLen) + 1000 })
		offset("at-end", "a block's offset is the file's end", second, func(_ BlockMeta, p *Parts) uint64 { return uint64(p.DataLen) })
		// The edits below don't change how long the metas are, so DataLen is the same after them.
		for spare := range uint64(5) {
			offset(fmt.Sprintf("ends-%d-before-end", spare), fmt.Sprintf("a block ends %d bytes before the file's end, its checksum needs 4", spare), second,
				func(m BlockMeta, p *Parts) uint64 {
					return uint64(p.DataLen) - m.Len - spare + longer(m.Offset, uint64(p.DataLen))
				})
		}
		offset("2to40", "a block's offset is 2^40", second, func(BlockMeta, *Parts) uint64 { return 1 << 40 })
		offset("max-int64", "a block's offset is 2^63-1: its end overflows", second, func(BlockMeta, *Parts) uint64 { return math.MaxInt64 })
		offset("min-int64", "a block's offset is 2^63: negative when signed", second, func(BlockMeta, *Parts) uint64 { return 1 << 63 })
		offset("minus-1", "a block's offset is 2^64-1: -1 when signed", second, func(BlockMeta, *Parts) uint64 { return math.MaxUint64 })
	}
}

// lengths: how long the metas say a block is.
func (k *butcher) lengths() {
	for _, base := range []string{"v4-snappy", "v3-snappy"} {
		v := "-" + base[:2]
		length := func(name, why string, to func(m BlockMeta, p *Parts) uint64) {
			k.add(base, "blocklen-"+name+v, why, func(p *Parts) error {
				return p.EditMetas(func(metas []BlockMeta) { metas[1].Len = to(metas[1], p) })
			})
		}
		length("plus-1", "a block's length is one too large", func(m BlockMeta, _ *Parts) uint64 { return m.Len + 1 })
		length("minus-1", "a block's length is one too small", func(m BlockMeta, _ *Parts) uint64 { return m.Len - 1 })
		length("zero", "a block's length is 0", func(BlockMeta, *Parts) uint64 { return 0 })
		length("to-end", "a block reaches to the file's end", func(m BlockMeta, p *Parts) uint64 {
			return uint64(p.DataLen) - m.Offset + longer(m.Len, uint64(p.DataLen)-m.Offset)
		})
		length("beyond", "a block reaches beyond the file", func(_ BlockMeta, p *Parts) uint64 { return uint64(p.DataLen) })
		length("2to40", "a block's length is 2^40", func(BlockMeta, *Parts) uint64 { return 1 << 40 })
		length("max-int64", "a block's length is 2^63-1: its end overflows", func(BlockMeta, *Parts) uint64 { return math.MaxInt64 })
		length("min-int64", "a block's length is 2^63: negative when signed", func(BlockMeta, *Parts) uint64 { return 1 << 63 })
		length("minus-1-signed", "a block's length is 2^64-1: -1 when signed", func(BlockMeta, *Parts) uint64 { return math.MaxUint64 })
		length("minus-8-signed", "a block's length is 2^64-8: the file's end moves backwards", func(BlockMeta, *Parts) uint64 { return math.MaxUint64 - 7 })
	}
}

// blocks: their order, their number and their own checksums.
func (k *butcher) blocks() {
	end := func(m BlockMeta) uint64 { return m.Offset + m.Len + crcBytes }
	for _, base := range []string{"v4-snappy", "v3-snappy"} {
		v := "-" + base[:2]
		k.add(base, "blocks-overlap"+v, "the second block is the first one again", meta(func(m []BlockMeta) { m[1] = m[0] }))
		k.add(base, "blocks-overlap-inside"+v, "the second block begins inside the first", meta(func(m []BlockMeta) { m[1].Offset = end(m[0]) - 20 }))
		k.add(base, "blocks-swapped"+v, "the metas of two blocks are swapped", meta(func(m []BlockMeta) { m[0], m[1] = m[1], m[0] }))
		k.add(base, "blocks-100"+v, "100 metas of one block: the work multiplies", func(p *Parts) error {
			metas, err := p.BlockMetas()
			p.SetMetas(EncodeMetas(p.Version(), 100, slices.Repeat(metas[:1], 100)))
			return err
		})
		k.verdict(MustReject) // a bound on the work is worth more than a file nobody writes

		for i, which := range []string{"first", "middle", "last"} {
			k.add(base, "block-crc-"+which+v, "a block's checksum is wrong: stock drops the block", do(func(p *Parts) { p.Blocks[i*(len(p.Blocks)-1)/2].CRC ^= 1 }))
		}
		k.add(base, "block-crc-all"+v, "every block's checksum is wrong", do(func(p *Parts) {
			for i := range p.Blocks {
				p.Blocks[i].CRC ^= 1
			}
		}))
		k.add(base, "block-flip"+v, "one bit flipped in a block", do(func(p *Parts) { p.Blocks[1].Bytes[9] ^= 1 }))
		k.add(base, "block-crc-then-offset"+v, "a bad block, and the next one's offset is one too large", func(p *Parts) error {
			p.Blocks[0].CRC ^= 1
			return p.EditMetas(func(m []BlockMeta) { m[1].Offset++ })
		})
		k.add(base, "block-empty"+v, "a block of no bytes, with the right checksum", func(p *Parts) error {
			p.Blocks[1] = Block{}
			return p.FixOffsets()
		})
		k.add(base, "blocks-none"+v, "no blocks at all, and everything says so", func(p *Parts) error {
			p.Blocks = nil
			p.SetMetas(EncodeMetas(p.Version(), 0, nil))
			return p.FixOffsets()
		})
		k.add(base, "times"+v, "a block's times are reversed", meta(func(m []BlockMeta) { m[1].MinT, m[1].MaxT = m[1].MaxT, m[1].MinT }))
		k.add(base, "entries-huge"+v, "a block claims 2^62 entries", meta(func(m []BlockMeta) { m[1].Entries = 1 << 62 }))
		k.add(base, "uncompressed-huge"+v, "a block claims to inflate to 2^62 bytes", meta(func(m []BlockMeta) { m[1].Uncompressed = 1 << 62 }))
	}
}

// longer is how many bytes more the varint of v takes than that of old. The metas lie before the
// file's end, so a longer number in them moves it.
func longer(old, v uint64) uint64 {
	return uint64(len(binary.AppendUvarint(nil, v)) - len(binary.AppendUvarint(nil, old)))
}

// symbolsEmptyTree begins the names of files of which stock Decode says now this and now that.
const symbolsEmptyTree = "symbols-empty-tree"

// symbols: the structured metadata of version 4; the section's checksum is right unless the name
// says otherwise.
func (k *butcher) symbols() {
	k.add("v4-snappy", "symbols-crc", "the symbols' checksum is wrong", do(func(p *Parts) { p.SymbolsCRC ^= 1 }))
	k.add("v4-snappy", "symbols-empty", "a symbols section of no bytes", func(p *Parts) error { return p.SetSymbols(nil) })
	for _, base := range []string{"v4-snappy", "v4-none", "v4-zstd"} {
		set := func(name, why string, edit func(num uint64, raw []byte) (uint64, []byte)) {
			k.add(base, "symbols-"+name+base[2:], why, func(p *Parts) error {
				num, raw, err := p.RawSymbols()
				if err != nil {
					return err
				}
				num, raw = edit(num, raw)
				b, err := EncodeSymbols(p.Codec(), num, raw)
				if err != nil {
					return err
				}
				return p.SetSymbols(b)
			})
		}
		count := func(name, why string, v func(n uint64) uint64) {
			set("num-"+name, why, func(n uint64, raw []byte) (uint64, []byte) { return v(n), raw })
		}
		count("2to60", "2^60 symbols", func(uint64) uint64 { return 1 << 60 })
		count("2to33", "2^33 symbols", func(uint64) uint64 { return 1 << 33 })
		count("negative", "2^63 symbols: negative when signed", func(uint64) uint64 { return 1 << 63 })
		count("plus-1", "one symbol more than there are", func(n uint64) uint64 { return n + 1 })
		count("minus-1", "one symbol less than there are", func(n uint64) uint64 { return n - 1 })
		count("zero", "0 symbols, though there are some", func(uint64) uint64 { return 0 })
		count("2to20", "2^20 symbols, though there are few", func(uint64) uint64 { return 1 << 20 })

		length := func(name, why string, v []byte) {
			set("len-"+name, why, func(n uint64, raw []byte) (uint64, []byte) {
				// The last symbol's length, so that the ones before it are read.
				return n + 1, slices.Concat(raw, v, []byte("0123456789"))
			})
		}
		length("2to40", "a symbol of 2^40 bytes", binary.AppendUvarint(nil, 1<<40))
		length("2to20", "a symbol of 2^20 bytes, beyond the section", binary.AppendUvarint(nil, 1<<20))
		length("11", "a symbol one byte longer than the section", []byte{11})
		length("negative", "a symbol of 2^63 bytes: negative when signed", binary.AppendUvarint(nil, 1<<63))
		length("minus-1", "a symbol of 2^64-1 bytes: -1 when signed", binary.AppendUvarint(nil, math.MaxUint64))
		length("overflow", "a symbol's length is a varint beyond 64 bits", append(bytes.Repeat([]byte{0xff}, 9), 2))
		length("overlong", "a symbol's length is a varint of 12 bytes", append(bytes.Repeat([]byte{0xff}, 11), 1))
		set("len-cut", "the section ends inside a symbol's length", func(n uint64, raw []byte) (uint64, []byte) { return n + 1, append(raw, 0x80) })
		set("tail", "bytes after the last symbol", func(n uint64, raw []byte) (uint64, []byte) { return n, append(raw, "more"...) })

		k.add(base, "symbols-garbage"+base[2:], "what follows the number of symbols is not of the codec", func(p *Parts) error {
			return p.SetSymbols(append(bytes.Clone(p.Symbols[:1]), "\xde\xad\xbe\xef garbage"...))
		})
		k.add(base, "symbols-cut"+base[2:], "the compressed symbols end too early", func(p *Parts) error { return p.SetSymbols(p.Symbols[:len(p.Symbols)*2/3]) })
	}
	for _, base := range []string{"v4-flate", "v4-gzip"} {
		header := map[string]string{"v4-gzip": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"}[base]
		k.add(base, symbolsEmptyTree+base[2:], "deflate with Huffman trees that have no codes: klauspost's decompressor goes on with the tables of what it read before",
			func(p *Parts) error {
				return p.SetSymbols(slices.Concat([]byte{1}, []byte(header), []byte{0x04}, make([]byte, 1200)))
			})
	}
	k.add("v4-snappy", "symbols-name", "a metadata name without any ASCII letter: Loki writes it, but can't read it", func(p *Parts) error {
		num, raw, err := p.RawSymbols()
		if err != nil {
			return err
		}
		raw = bytes.Replace(raw, []byte("\x0edetected_level"), []byte("\x0aгород"), 1)
		b, err := EncodeSymbols(p.Codec(), num, raw)
		return errors.Join(err, p.SetSymbols(b))
	})
	k.add("v4-snappy", "symbols-num-overlong", "the number of symbols is a varint of 12 bytes", func(p *Parts) error {
		return p.SetSymbols(slices.Concat(bytes.Repeat([]byte{0xff}, 11), []byte{1}, p.Symbols[1:]))
	})
}

// payload: inside the compressed blocks, whose checksums are right. Decode doesn't look there; what
// reads the lines must cope.
func (k *butcher) payload() {
	for _, codec := range allCodecs {
		base := "v4-" + codec.String()
		k.add(base, "payload-garbage"+base[2:], "a block's data is not of the codec", func(p *Parts) error {
			copy(p.Blocks[1].Bytes[4:], "\xff\xfe\xfd\xfc\xfb\xfa\xf9")
			p.FixBlockCRCs()
			return nil
		})
		k.add(base, "payload-cut"+base[2:], "a block's compressed data ends too early", func(p *Parts) error {
			p.Blocks[1].Bytes = p.Blocks[1].Bytes[:len(p.Blocks[1].Bytes)/2]
			p.FixBlockCRCs()
			return p.FixOffsets()
		})
		k.add(base, "payload-tail"+base[2:], "bytes after a block's compressed data", func(p *Parts) error {
			p.Blocks[1].Bytes = append(p.Blocks[1].Bytes, "more"...)
			p.FixBlockCRCs()
			return p.FixOffsets()
		})
	}
	raw := func(name, why string, edit func(raw []byte) []byte) {
		k.add("v4-snappy", "entry-"+name, why, func(p *Parts) error {
			b, err := Decompress(p.Codec(), p.Blocks[1].Bytes)
			if err != nil {
				return err
			}
			p.Blocks[1].Bytes, err = Compress(p.Codec(), edit(b))
			p.FixBlockCRCs()
			return errors.Join(err, p.FixOffsets())
		})
	}
	head := func(tail ...[]byte) func([]byte) []byte {
		// An entry of the year 2024, then its line's length and the rest as given.
		ts := binary.AppendVarint(nil, storeBegin.UnixNano())
		return func(raw []byte) []byte { return slices.Concat(ts, slices.Concat(tail...), raw) }
	}
	uvarint := func(v uint64) []byte { return binary.AppendUvarint(nil, v) }
	raw("cut", "a block ends inside a line", func(b []byte) []byte { return b[:len(b)-50] })
	raw("line-2to40", "a line of 2^40 bytes", head(uvarint(1<<40)))
	raw("line-2to29", "a line of 2^29 bytes, below Loki's bound of 2^30", head(uvarint(1<<29)))
	raw("line-negative", "a line of 2^63 bytes: negative when signed", head(uvarint(1<<63)))
	raw("line-overlong", "a line's length is a varint of 12 bytes", head(bytes.Repeat([]byte{0xff}, 11), []byte{1}))
	raw("pairs-2to40", "2^40 pairs of metadata", head([]byte{1, 'x', 8}, uvarint(1<<40)))
	raw("pairs-negative", "2^63 pairs of metadata: negative when signed", head([]byte{1, 'x', 8}, uvarint(1<<63)))
	raw("section-len-wrong", "the metadata's length doesn't fit its pairs", head([]byte{1, 'x', 99, 1, 0, 1}))
	raw("symbol-beyond", "metadata refers to symbols that don't exist", head([]byte{1, 'x', 7, 1}, uvarint(1000000), uvarint(2000000)))
	raw("symbol-2to40", "metadata refers to symbol 2^40: cut to 32 bits", head([]byte{1, 'x', 13, 1}, uvarint(1<<40), uvarint(1<<40)))
	raw("time-negative", "an entry of the year 1677", func(b []byte) []byte {
		return slices.Concat(binary.AppendVarint(nil, math.MinInt64), []byte{1, 'x', 1, 0}, b)
	})
}
