// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
)

// Small enough that every file has several blocks.
const (
	goodBlockBytes = 600
	goodTextBytes  = 2500
)

var allCodecs = []compression.Codec{
	compression.None, compression.GZIP, compression.LZ4_64k, compression.LZ4_256k, compression.LZ4_1M,
	compression.LZ4_4M, compression.Snappy, compression.Flate, compression.Zstd,
}

// recipe is a good file made by Loki alone.
type recipe struct {
	name    string
	enc     Encoding
	labels  labels.Labels                  // default: the name
	entries iter.Seq[logproto.Entry]       // default: made-up lines
	edit    func(e *logproto.Entry, i int) // changes the default entries
}

// build makes the file.
func (g recipe) build() (sample, error) {
	if g.labels.IsEmpty() {
		g.labels = labels.FromStrings("app", "chunkring", "file", g.name)
	}
	if g.entries == nil {
		seed := seedOf(g.name)
		kind := kinds[seed%uint64(len(kinds))].new()
		g.entries = entries(rand.New(rand.NewPCG(seed, 0)), kind, storeBegin, goodTextBytes)
	}
	n := 0
	edited := func(yield func(logproto.Entry) bool) {
		for e := range g.entries {
			if g.edit != nil {
				g.edit(&e, n)
			}
			n++
			if !yield(e) {
				return
			}
		}
	}
	c, err := Build(Stream{Tenant: "fake", Labels: g.labels}, g.enc, edited)
	if err != nil {
		return sample{}, err
	}
	ref, b, err := Describe(c, corpusSchema)
	ref.Path = g.name + corpusSuffix
	return sample{ref, b}, err
}

// goodSamples makes all files of testdata/good.
func goodSamples() ([]sample, error) {
	var samples []sample
	recipes := slices.Concat(everyEncoding(), oddLines(), oddData())
	for _, g := range recipes {
		s, err := g.build()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		samples = append(samples, s)
	}
	odd, err := oddLayouts(samples)
	return append(samples, odd...), err
}

func find(samples []sample, name string) sample {
	i := slices.IndexFunc(samples, func(s sample) bool { return s.ref.Path == name+corpusSuffix })
	return samples[i] // the names are constants of this package
}

// everyEncoding is each format with each codec that Loki can write in it.
func everyEncoding() []recipe {
	var all []recipe
	for format := chunkenc.ChunkFormatV1; format <= chunkenc.ChunkFormatV4; format++ {
		for _, codec := range allCodecs {
			if format == chunkenc.ChunkFormatV1 && codec != compression.GZIP {
				continue
			}
			all = append(all, recipe{
				name: fmt.Sprintf("v%d-%s", format, codec),
				enc:  Encoding{Format: format, Codec: codec, BlockBytes: goodBlockBytes},
			})
		}
	}
	return all
}

func v4(codec compression.Codec, block int) Encoding {
	return Encoding{Format: chunkenc.ChunkFormatV4, Codec: codec, BlockBytes: block}
}

// at makes entries a second apart.
func at(lines ...string) iter.Seq[logproto.Entry] {
	return func(yield func(logproto.Entry) bool) {
		for i, l := range lines {
			e := logproto.Entry{Timestamp: storeBegin.Add(time.Duration(i) * time.Second), Line: l}
			if !yield(e) {
				return
			}
		}
	}
}

// oddLines are chunks with unusual labels, metadata and lines.
func oddLines() []recipe {
	many := []string{"app", "chunkring"}
	for i := range 120 {
		many = append(many, fmt.Sprintf("label_%03d", i), fmt.Sprintf("value of label %d", i))
	}
	short := make([]string, 150)
	for i := range short {
		short[i] = fmt.Sprintf("line %d", i)
	}
	return []recipe{
		{name: "v4-no-metadata", enc: v4(compression.Zstd, goodBlockBytes),
			edit: func(e *logproto.Entry, _ int) { e.StructuredMetadata = nil }},
		{name: "v4-empty-metadata-value", enc: v4(compression.Snappy, goodBlockBytes),
			edit: func(e *logproto.Entry, _ int) {
				e.StructuredMetadata = []logproto.LabelAdapter{{Name: "detected_level", Value: ""}}
			}},
		{name: "v4-many-symbols", enc: v4(compression.Snappy, goodBlockBytes),
			edit: func(e *logproto.Entry, i int) {
				for k := range 12 {
					e.StructuredMetadata = append(e.StructuredMetadata, logproto.LabelAdapter{
						Name: fmt.Sprintf("z_%02d", k), Value: fmt.Sprintf("%d-%d", i, k)})
				}
			}},
		{name: "v4-many-labels", enc: v4(compression.Snappy, goodBlockBytes), labels: labels.FromStrings(many...)},
		{name: "v4-unicode", enc: v4(compression.GZIP, 64),
			labels:  labels.FromStrings("app", "größe", "città", "東京", "emoji", "🪵🔥"),
			entries: at("Grüße aus Köln", "日本語のログ", "🪵🔥 "+strings.Repeat("ü", 100), "\x00\x01 control bytes \x7f"),
			edit: func(e *logproto.Entry, _ int) {
				e.StructuredMetadata = []logproto.LabelAdapter{{Name: "città", Value: "Москва"}}
			}},
		{name: "v4-one-entry", enc: v4(compression.Snappy, goodBlockBytes), entries: at("the only line")},
		{name: "v3-one-entry", enc: Encoding{chunkenc.ChunkFormatV3, compression.GZIP, goodBlockBytes}, entries: at("the only line")},
		{name: "v4-empty-lines", enc: v4(compression.LZ4_64k, 40),
			entries: at("first", "", "third", "", "", "a longer line to cut the block here ........", "", "last", "")},
		// More than 127 blocks: the number of them takes two bytes.
		{name: "v4-many-blocks", enc: v4(compression.None, 1), entries: at(short...)},
	}
}

// oddData are blocks that take rare paths of the decompressors: several frames in one, and data
// that does not compress and so is stored.
func oddData() []recipe {
	var all []recipe
	for _, codec := range allCodecs[1:] {
		// 70 KB is more than a frame of snappy (64 KiB); for the others, whose output is tiny
		// whatever the length, more than an lz4 block of 256 KiB.
		repeat := 30000
		if codec == compression.Snappy {
			repeat = 7000
		}
		all = append(all, recipe{
			name:    fmt.Sprintf("v4-long-line-%s", codec),
			enc:     v4(codec, goodBlockBytes),
			entries: at("short", strings.Repeat("0123456789", repeat), "short again"),
		})
	}
	for _, codec := range allCodecs[1:] {
		name := fmt.Sprintf("v4-incompressible-%s", codec)
		r := rand.New(rand.NewPCG(seedOf(name), 0))
		noise := make([]string, 6)
		for i := range noise {
			for len(noise[i]) < 200 {
				noise[i] += string(binary.BigEndian.AppendUint64(nil, r.Uint64()))
			}
		}
		all = append(all, recipe{name: name, enc: v4(codec, 400), entries: at(noise...)})
	}
	return all
}

// oddLayouts are files that Loki's present writer doesn't make but its reader takes, so a check must
// take them too. Each is a made file after surgery.
func oddLayouts(samples []sample) ([]sample, error) {
	var odd []sample
	var failed error
	add := func(name, base string, edit func(p *Parts) ([]byte, error)) {
		from := find(samples, base)
		p, err := Split(from.bytes)
		if err == nil {
			var b []byte
			b, err = edit(p)
			odd = append(odd, derive(from, name, b))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	// Early Cortex did not count the length word itself.
	add("v3-legacy-metalen", "v3-gzip", func(p *Parts) ([]byte, error) {
		p.MetaLen -= lenBytes
		return p.Join(), nil
	})
	add("v4-legacy-metalen", "v4-snappy", func(p *Parts) ([]byte, error) {
		p.MetaLen -= lenBytes
		return p.Join(), nil
	})
	add("v4-encoding-128", "v4-gzip", func(p *Parts) ([]byte, error) {
		return p.editJSON(`"encoding":129`, `"encoding":128`)
	})
	// Later Lokis add fields; readers ignore what they don't know.
	add("v4-unknown-json-field", "v4-gzip", func(p *Parts) ([]byte, error) {
		return p.editJSON(`"encoding":129`, `"encoding":129,"ingestedAt":1710237600000,"x":{"y":[1,2]}`)
	})
	add("v4-json-spaces", "v4-gzip", func(p *Parts) ([]byte, error) {
		return p.editJSON(`,"encoding"`, ` , `+strings.Repeat(" ", 70000)+`"encoding" `)
	})
	frames := func(name string, make func(json []byte) ([]byte, error)) {
		add(name, "v4-snappy", func(p *Parts) ([]byte, error) {
			json, err := p.JSON()
			if err != nil {
				return nil, err
			}
			b, err := make(json)
			p.SetFrames(b)
			return p.Join(), err
		})
	}
	frames("v4-frame-stored", func(json []byte) ([]byte, error) {
		return slices.Concat(streamID, storedFrame(json)), nil
	})
	frames("v4-frames-three", func(json []byte) ([]byte, error) {
		return slices.Concat(streamID, storedFrame(json[:10]), storedFrame(json[10:30]), storedFrame(json[30:])), nil
	})
	frames("v4-frames-skippable", func(json []byte) ([]byte, error) {
		return slices.Concat(streamID, frame(0xfe, []byte("padding")), frame(0x80, nil), streamID, storedFrame(json)), nil
	})
	add("v4-gap-before-blocks", "v4-zstd", func(p *Parts) ([]byte, error) { return insertGap(p, 7) })
	add("v4-symbols-last", "v4-zstd", symbolsLast)
	// Go reads varints that are longer than they need to be.
	add("v4-padded-varints", "v4-none", func(p *Parts) ([]byte, error) {
		p.Metas = append([]byte{p.Metas[0] | 0x80, 0x80, 0x00}, p.Metas[1:]...)
		p.SetMetas(p.Metas)
		return p.Join(), nil
	})
	add("v3-metas-tail", "v3-snappy", func(p *Parts) ([]byte, error) {
		p.SetMetas(append(bytes.Clone(p.Metas), "more"...))
		return p.Join(), nil
	})
	return odd, failed
}

// editJSON replaces old, which must be there once, in the metadata.
func (p *Parts) editJSON(old, new string) ([]byte, error) {
	json, err := p.JSON()
	if err != nil {
		return nil, err
	}
	if bytes.Count(json, []byte(old)) != 1 {
		return nil, fmt.Errorf("%q is not once in %s", old, json)
	}
	err = p.SetJSON(bytes.Replace(json, []byte(old), []byte(new), 1))
	return p.Join(), err
}

// streamID is the frame every snappy stream begins with.
var streamID = []byte("\xff\x06\x00\x00sNaPpY")

// frame makes a snappy frame of any type and body.
func frame(kind byte, body []byte) []byte {
	n := len(body)
	return append([]byte{kind, byte(n), byte(n >> 8), byte(n >> 16)}, body...)
}

// storedFrame makes a frame of uncompressed data, with the masked checksum the format wants.
func storedFrame(data []byte) []byte {
	crc := CRC(data)
	masked := crc>>15 | crc<<17
	body := binary.LittleEndian.AppendUint32(nil, masked+0xa282ead8)
	return frame(1, append(body, data...))
}

// insertGap puts n bytes that belong to nothing before the first block, every offset being right.
func insertGap(p *Parts, n int) ([]byte, error) {
	before := len(p.Header) + len(p.Symbols) + crcBytes
	p.Footer[FooterMetasOff] += uint64(n)
	err := p.EditMetas(func(metas []BlockMeta) {
		for i := range metas {
			metas[i].Offset += uint64(n)
		}
	})
	p.DataLen += uint32(n)
	b := p.Join()
	cut := lenBytes + len(p.Frames) + lenBytes + before
	return slices.Concat(b[:cut], bytes.Repeat([]byte{0xAA}, n), b[cut:]), err
}

// symbolsLast moves the symbols of a version 4 chunk behind the blocks, every offset being right.
func symbolsLast(p *Parts) ([]byte, error) {
	moved := uint64(len(p.Symbols) + crcBytes)
	err := p.EditMetas(func(metas []BlockMeta) {
		for i := range metas {
			metas[i].Offset -= moved
		}
	})
	// SetMetas may have changed the length of the metas, not where they begin.
	p.Footer[FooterSymbolsOff] = p.Footer[FooterMetasOff] - moved
	// Written as a last block, the section lands between blocks and metas.
	p.Blocks = append(p.Blocks, Block{p.Symbols, p.SymbolsCRC})
	b := p.Join()
	cut := lenBytes + len(p.Frames) + lenBytes + len(p.Header)
	return slices.Concat(b[:cut], b[cut+int(moved):]), err
}
