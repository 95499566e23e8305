// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC is the checksum used everywhere in a chunk file, and of the whole file in its key.
func CRC(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

const (
	magic      = 0x012EE56A
	lenBytes   = 4 // metaLen, dataLen
	crcBytes   = 4
	frameBytes = 4 // type and 24-bit length of a snappy frame
)

// Parts is a chunk file taken apart. Join puts the parts back in this order just as they are, wrong
// or not; nothing is recomputed unless a method is called that says so. So a test damages one thing
// and calls the methods for whatever shall still be right.
type Parts struct {
	MetaLen    uint32
	Frames     []byte // the snappy framing stream of the JSON
	DataLen    uint32
	Header     []byte // magic, version, codec (from version 2 on)
	Symbols    []byte // version 4: number of labels, compressed labels
	SymbolsCRC uint32
	Blocks     []Block
	Metas      []byte // number of blocks, one BlockMeta each
	MetasCRC   uint32
	Footer     []uint64 // versions 1-3: FooterMetasOff3; version 4: the four of FooterSymbolsLen...
	Tail       []byte   // bytes after the end; Split leaves it empty
}

// Indexes into Parts.Footer.
const (
	FooterMetasOff3  = 0 // of versions 1 to 3
	FooterSymbolsLen = 0 // of version 4, and so are the next three
	FooterSymbolsOff = 1
	FooterMetasLen   = 2
	FooterMetasOff   = 3
)

// Block is a block's compressed bytes and the checksum stored behind them.
type Block struct {
	Bytes []byte
	CRC   uint32
}

// BlockMeta is what the metas section says of a block. Numbers are unsigned as in the file, so that
// tests can write what no Loki would.
type BlockMeta struct {
	Entries      uint64
	MinT, MaxT   int64 // nanoseconds
	Offset       uint64
	Uncompressed uint64 // from version 3 on
	Len          uint64
}

// Section is a range of a chunk file's bytes.
type Section struct {
	Name       string
	Start, End int
}

var errSplit = errors.New("chunkgen: not a chunk file as Loki lays it out")

// Version is MemChunk's version byte.
func (p *Parts) Version() byte { return p.Header[4] }

// Codec is the codec of the blocks and symbols.
func (p *Parts) Codec() compression.Codec {
	if len(p.Header) < 6 {
		return compression.GZIP
	}
	return compression.Codec(p.Header[5])
}

// Split takes a good chunk file apart. It trusts offsets only as far as they agree with the layout
// that Loki writes (header, symbols, blocks in order, metas, footer, nothing between), which is all
// that surgery needs; a file that some reader may accept but was laid out otherwise is an error.
// Checksums are kept, not checked. The parts don't share memory with b.
func Split(b []byte) (*Parts, error) {
	c := cutter{b: bytes.Clone(b)}
	p := &Parts{}
	p.MetaLen = c.u32()
	p.Frames = c.take(uint64(p.MetaLen) - lenBytes)
	p.DataLen = c.u32()
	if uint64(p.DataLen) != uint64(len(c.b)) {
		c.bad = true
	}
	if !c.bad {
		p.splitData(&c)
	}
	if c.bad {
		return nil, errSplit
	}
	return p, nil
}

// cutter cuts pieces off the front of b. Once a piece is larger than what is left it is bad, and
// every further piece is empty.
type cutter struct {
	b   []byte
	bad bool
}

func (c *cutter) take(n uint64) []byte {
	if c.bad = c.bad || n > uint64(len(c.b)); c.bad {
		return nil
	}
	part := c.b[:n:n]
	c.b = c.b[n:]
	return part
}

func (c *cutter) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// splitData takes MemChunk apart, which is all that is left in c.
func (p *Parts) splitData(c *cutter) {
	data := c.b
	n := len(data)
	header, footer := 6, 4
	switch {
	case n < 5 || binary.BigEndian.Uint32(data) != magic || data[4] < chunkenc.ChunkFormatV1 || data[4] > chunkenc.ChunkFormatV4:
		c.bad = true
		return
	case data[4] == chunkenc.ChunkFormatV1:
		header, footer = 5, 1
	case data[4] < chunkenc.ChunkFormatV4:
		footer = 1
	}
	metasEnd := n - 8*footer - crcBytes
	if metasEnd < header {
		c.bad = true
		return
	}
	for i := range footer {
		p.Footer = append(p.Footer, binary.BigEndian.Uint64(data[n-8*(footer-i):]))
	}
	p.Header = c.take(uint64(header))
	if footer == 4 {
		p.Symbols = c.take(p.Footer[FooterSymbolsLen])
		p.SymbolsCRC = c.u32()
	}
	metasOff := p.Footer[footer-1]
	if metasOff > uint64(metasEnd) {
		c.bad = true
		return
	}
	p.Metas = data[metasOff:metasEnd:metasEnd]
	metas, err := p.BlockMetas()
	for _, m := range metas {
		p.Blocks = append(p.Blocks, Block{c.take(m.Len), c.u32()})
	}
	// Else there are bytes that belong to nothing.
	inPlace := bytes.Equal(c.take(uint64(len(p.Metas))), p.Metas)
	p.MetasCRC = c.u32()
	c.bad = c.bad || err != nil || !inPlace
}

// Clone returns a copy that shares nothing with p.
func (p *Parts) Clone() *Parts {
	c := *p
	c.Frames, c.Header = bytes.Clone(p.Frames), bytes.Clone(p.Header)
	c.Symbols, c.Metas = bytes.Clone(p.Symbols), bytes.Clone(p.Metas)
	c.Footer = append([]uint64(nil), p.Footer...)
	c.Tail = bytes.Clone(p.Tail)
	c.Blocks = nil
	for _, b := range p.Blocks {
		c.Blocks = append(c.Blocks, Block{bytes.Clone(b.Bytes), b.CRC})
	}
	return &c
}

// Join writes the parts one after the other.
func (p *Parts) Join() []byte {
	b, _ := p.join()
	return b
}

// Sections says where each part lies in Join's result, in order and without gaps. Blocks are called
// "block 0" and so on, their checksums "block 0 crc".
func (p *Parts) Sections() []Section {
	_, s := p.join()
	return s
}

func (p *Parts) join() (b []byte, sections []Section) {
	at := 0
	end := func(name string) {
		if len(b) > at {
			sections = append(sections, Section{name, at, len(b)})
		}
		at = len(b)
	}
	u32 := func(name string, v uint32) {
		b = binary.BigEndian.AppendUint32(b, v)
		end(name)
	}
	u32("metaLen", p.MetaLen)
	b = append(b, p.Frames...)
	end("frames")
	u32("dataLen", p.DataLen)
	for i, name := range []string{"magic", "version", "codec"} {
		from := min([]int{0, 4, 5}[i], len(p.Header))
		to := min([]int{4, 5, 6}[i], len(p.Header))
		b = append(b, p.Header[from:to]...)
		end(name)
	}
	if len(p.Footer) == 4 {
		b = append(b, p.Symbols...)
		end("symbols")
		u32("symbols crc", p.SymbolsCRC)
	}
	for i, block := range p.Blocks {
		b = append(b, block.Bytes...)
		end(fmt.Sprintf("block %d", i))
		u32(fmt.Sprintf("block %d crc", i), block.CRC)
	}
	b = append(b, p.Metas...)
	end("metas")
	u32("metas crc", p.MetasCRC)
	for _, v := range p.Footer {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	end("footer")
	b = append(b, p.Tail...)
	end("tail")
	return b, sections
}

// FrameSections takes the snappy frames apart further: "stream id", and for each frame with data
// "frame header", "frame crc" and "json". Start and End count from the start of the file.
func (p *Parts) FrameSections() []Section {
	var sections []Section
	add := func(name string, start, n int) int {
		sections = append(sections, Section{name, start, start + n})
		return start + n
	}
	for at := 0; at+frameBytes <= len(p.Frames); {
		n := int(p.Frames[at+1]) | int(p.Frames[at+2])<<8 | int(p.Frames[at+3])<<16
		file := lenBytes + at
		at += frameBytes + n
		if p.Frames[file-lenBytes] > 1 {
			add("stream id", file, frameBytes+n)
			continue
		}
		file = add("frame header", file, frameBytes)
		file = add("frame crc", file, crcBytes)
		add("json", file, n-crcBytes)
	}
	return sections
}

// BlockMetas reads the metas section.
func (p *Parts) BlockMetas() ([]BlockMeta, error) {
	r := bytes.NewReader(p.Metas)
	// The first error stays; what is read after it doesn't matter.
	var failed error
	next := func() uint64 {
		v, err := binary.ReadUvarint(r)
		failed = errors.Join(failed, err)
		return v
	}
	nextSigned := func() int64 {
		v, err := binary.ReadVarint(r)
		failed = errors.Join(failed, err)
		return v
	}
	var metas []BlockMeta
	for n := next(); n > 0 && failed == nil; n-- { // ends with the section at the latest
		m := BlockMeta{Entries: next(), MinT: nextSigned(), MaxT: nextSigned(), Offset: next()}
		if p.Version() >= chunkenc.ChunkFormatV3 {
			m.Uncompressed = next()
		}
		m.Len = next()
		metas = append(metas, m)
	}
	return metas, failed
}

// EncodeMetas makes a metas section that claims num blocks, whatever the length of metas.
func EncodeMetas(version byte, num uint64, metas []BlockMeta) []byte {
	b := binary.AppendUvarint(nil, num)
	for _, m := range metas {
		b = binary.AppendUvarint(b, m.Entries)
		b = binary.AppendVarint(b, m.MinT)
		b = binary.AppendVarint(b, m.MaxT)
		b = binary.AppendUvarint(b, m.Offset)
		if version >= chunkenc.ChunkFormatV3 {
			b = binary.AppendUvarint(b, m.Uncompressed)
		}
		b = binary.AppendUvarint(b, m.Len)
	}
	return b
}

// SetMetas replaces the metas section and makes its checksum, its length and DataLen right.
func (p *Parts) SetMetas(metas []byte) {
	p.Metas, p.MetasCRC = metas, CRC(metas)
	p.FixLengths()
}

// EditMetas lets edit change the block metas and sets the result, with the right number of blocks.
func (p *Parts) EditMetas(edit func(metas []BlockMeta)) error {
	metas, err := p.BlockMetas()
	if err != nil {
		return err
	}
	edit(metas)
	p.SetMetas(EncodeMetas(p.Version(), uint64(len(metas)), metas))
	return nil
}

// SetSymbols replaces the symbols section of a version 4 chunk and makes its checksum, DataLen and
// all offsets right, the blocks' included.
func (p *Parts) SetSymbols(symbols []byte) error {
	p.Symbols, p.SymbolsCRC = symbols, CRC(symbols)
	p.Footer[FooterSymbolsLen] = uint64(len(symbols))
	return p.FixOffsets()
}

// EncodeSymbols makes a symbols section that claims num labels, compressed from raw, which holds
// for each label its length as uvarint and its bytes.
func EncodeSymbols(codec compression.Codec, num uint64, raw []byte) ([]byte, error) {
	body, err := Compress(codec, raw)
	return append(binary.AppendUvarint(nil, num), body...), err
}

// RawSymbols returns what EncodeSymbols was given.
func (p *Parts) RawSymbols() (num uint64, raw []byte, err error) {
	num, n := binary.Uvarint(p.Symbols)
	if n < 1 {
		return 0, nil, errSplit
	}
	raw, err = Decompress(p.Codec(), p.Symbols[n:])
	return num, raw, err
}

// FixBlockCRCs makes the stored checksum of every block right.
func (p *Parts) FixBlockCRCs() {
	for i := range p.Blocks {
		p.Blocks[i].CRC = CRC(p.Blocks[i].Bytes)
	}
}

// FixOffsets makes every offset and length in metas and footer agree with where Join puts the
// blocks, then the metas' checksum and DataLen. The number of blocks must be that of the metas.
func (p *Parts) FixOffsets() error {
	at := uint64(len(p.Header))
	if len(p.Footer) == 4 {
		p.Footer[FooterSymbolsOff] = at
		p.Footer[FooterSymbolsLen] = uint64(len(p.Symbols))
		at += uint64(len(p.Symbols)) + crcBytes
	}
	metas, err := p.BlockMetas()
	if err != nil || len(metas) != len(p.Blocks) {
		return fmt.Errorf("chunkgen: %d blocks and the metas of %d: %w", len(p.Blocks), len(metas), errors.Join(err, errSplit))
	}
	for i, b := range p.Blocks {
		metas[i].Offset, metas[i].Len = at, uint64(len(b.Bytes))
		at += uint64(len(b.Bytes)) + crcBytes
	}
	p.Footer[len(p.Footer)-1] = at
	p.SetMetas(EncodeMetas(p.Version(), uint64(len(metas)), metas))
	return nil
}

// FixLengths makes DataLen and the footer's length of the metas right.
func (p *Parts) FixLengths() {
	if len(p.Footer) == 4 {
		p.Footer[FooterMetasLen] = uint64(len(p.Metas))
	}
	n := len(p.Header) + len(p.Metas) + crcBytes + 8*len(p.Footer) + len(p.Tail)
	if len(p.Footer) == 4 {
		n += len(p.Symbols) + crcBytes
	}
	for _, b := range p.Blocks {
		n += len(b.Bytes) + crcBytes
	}
	p.DataLen = uint32(n)
}

// JSON returns the chunk's metadata.
func (p *Parts) JSON() ([]byte, error) { return Decompress(compression.Snappy, p.Frames) }

// SetJSON replaces the metadata by any bytes and makes MetaLen right.
func (p *Parts) SetJSON(b []byte) error {
	frames, err := Compress(compression.Snappy, b)
	if err != nil {
		return err
	}
	p.SetFrames(frames)
	return nil
}

// SetFrames replaces the metadata's frames by any bytes and makes MetaLen right.
func (p *Parts) SetFrames(frames []byte) {
	p.Frames, p.MetaLen = frames, uint32(len(frames)+lenBytes)
}

// Compress compresses the way Loki compresses a block.
func Compress(codec compression.Codec, raw []byte) ([]byte, error) {
	var out bytes.Buffer
	pool := compression.GetWriterPool(codec)
	w := pool.GetWriter(&out)
	defer pool.PutWriter(w)
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Decompress reads back what Compress made.
func Decompress(codec compression.Codec, b []byte) ([]byte, error) {
	pool := compression.GetReaderPool(codec)
	r, err := pool.GetReader(bytes.NewBuffer(b))
	if err != nil {
		return nil, err
	}
	defer pool.PutReader(r)
	return io.ReadAll(r)
}
