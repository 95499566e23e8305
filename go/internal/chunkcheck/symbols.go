// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/grafana/loki/v3/pkg/compression"
)

const (
	scratchBytes = 4 << 10 // what Loki's own buffered readers ask the decompressors for at a time

	// emptyReadsMax bounds reads in a row that bring neither bytes nor an error. Decode would spin.
	emptyReadsMax = 100
)

// checkSymbols checks the structured metadata: uvarint count, then, compressed, count times
// (uvarint length, bytes).
//
// Decode makes room for count symbols, and for the length of each one, before it reads them. The
// lengths are inside the compressed stream, where six bytes are enough to ask for 2^40, so no bound
// on the compressed size makes a section safe unread: with count > 0 it is inflated, unless it is
// stored plainly.
func (c *parts) checkSymbols() *Error {
	if c.version < 4 {
		return nil
	}
	off := c.symbols.off
	b := c.data[off : off+c.symbols.bytes]
	// Decode would find a wrong CRC too. It is taken here because it is much cheaper than the
	// inflating that it saves, and keeps accidental damage away from the decompressors.
	if !c.crcRight(c.symbols) {
		return c.refuse(SymbolsCRC, off, "the checksum of the structured metadata is wrong")
	}
	count, width := binary.Uvarint(b)
	if width <= 0 {
		count, width = 0, 0 // Decode goes on with no symbols and nothing consumed
	}
	if count > symbolsMax {
		return c.refuse(SymbolsFormat, off, fmt.Sprintf("%d symbols", count))
	}
	b = b[width:]
	if detail := checkSymbolStream(c.codec, b, int(count)); detail != "" {
		return c.refuse(SymbolsFormat, off+width, detail)
	}
	return nil
}

var zstdSymbols = ZstdLimits{Frames: zstdFramesMax, Window: zstdWindowMax, Raw: symbolsBytesMax}

// checkSymbolStream returns what is wrong with the compressed symbols, or "".
func checkSymbolStream(codec compression.Codec, b []byte, count int) string {
	// Before count: opening a zstd stream of up to 128 KiB inflates all of it.
	if codec == compression.Zstd {
		if detail := ZstdBound(b, zstdSymbols); detail != "" {
			return detail
		}
	}
	if count == 0 {
		return ""
	}
	switch codec {
	case compression.None:
		s := symbolScanner{buf: b, end: len(b), err: io.EOF}
		return s.scan(count)
	case compression.LZ4_64k, compression.LZ4_256k, compression.LZ4_1M, compression.LZ4_4M:
		if detail := lz4Check(b); detail != "" {
			return detail
		}
	}
	return inflateSymbols(codec, b, count)
}

// scanState is what one inflating scan needs and is worth keeping.
type scanState struct {
	scanner symbolScanner
	src     bytes.Buffer
	scratch [scratchBytes]byte
	gzip    *gzip.Reader
	flate   io.ReadCloser
}

var scanStates = sync.Pool{New: func() any { return new(scanState) }}

// inflateSymbols scans the symbols. Where it finds nothing wrong, Decode either reads the same bytes or stops
// with an error. A panic in the decompressor (Decode would have panicked as well) becomes a refusal; the
// reader is then not put back.
func inflateSymbols(codec compression.Codec, b []byte, count int) (detail string) {
	state := scanStates.Get().(*scanState)
	defer func() {
		if r := recover(); r != nil {
			detail = fmt.Sprintf("the decompressor panicked: %v", r)
			return // state may still be in the reader's hands
		}
		state.scanner = symbolScanner{}
		state.src = bytes.Buffer{} // pooled readers keep a pointer to it: let go of the file
		scanStates.Put(state)
	}()
	// Decompressors choose by this type: klauspost's have a fast path for it, as in Decode.
	src := &state.src
	if codec == compression.Zstd {
		// A zstd reader that streams reads ahead on a goroutine, also after it was put back, so
		// it can't be given a buffer that is used again.
		src = new(bytes.Buffer)
	}
	*src = *bytes.NewBuffer(b)
	reader, pool, err := state.open(codec, src)
	if err != nil {
		return "the structured metadata does not open: " + err.Error()
	}
	state.scanner = symbolScanner{src: reader, buf: state.scratch[:]}
	detail = state.scanner.scan(count)
	if codec == compression.Zstd {
		StopReadAhead(reader)
	}
	if pool != nil {
		pool.PutReader(reader) // Decode puts it back after errors as well
	}
	return detail
}

// open returns the decompressor that Decode uses, so that both accept the same, and the pool that wants it
// back; but for deflate.
//
// There a stream may use a Huffman tree that it says is empty. The standard library refuses it;
// klauspost's (v1.18.7, huffmanDecoder.init), which Loki uses, goes on with the tables of whichever
// stream that pooled reader read before. What Decode would then find, symbols of any length among
// it, nobody can know before.
func (s *scanState) open(codec compression.Codec, src *bytes.Buffer) (io.Reader, compression.ReaderPool, error) {
	switch codec {
	case compression.GZIP:
		if s.gzip == nil {
			s.gzip = new(gzip.Reader)
		}
		return s.gzip, nil, s.gzip.Reset(src)
	case compression.Flate:
		if s.flate == nil {
			s.flate = flate.NewReader(src)
			return s.flate, nil, nil
		}
		return s.flate, nil, s.flate.(flate.Resetter).Reset(src, nil)
	}
	// Not GetReaderPool, which may be decoders in C: a batch makes one call into C, whatever it holds.
	pool := compression.GetPool(codec).(compression.ReaderPool)
	reader, err := pool.GetReader(src)
	return reader, pool, err
}

// StopReadAhead ends the goroutines of a zstd reader that streams, so that it does not hold, or read, the
// file while it waits in the pool. The pool resets it again before the next use.
func StopReadAhead(reader io.Reader) {
	if r, ok := reader.(interface{ Reset(io.Reader) error }); ok {
		_ = r.Reset(nil)
	}
}

// symbolScanner steps over symbols without keeping them.
type symbolScanner struct {
	src      io.Reader
	buf      []byte
	pos, end int // what of buf is not consumed yet
	err      error
	total    int // bytes consumed
}

// scan returns what is wrong with the first count symbols, or "". What follows them is not looked
// at, as in Decode.
func (s *symbolScanner) scan(count int) string {
	for i := range count {
		size, width := binary.Uvarint(s.buf[s.pos:s.end])
		for width == 0 {
			if s.end-s.pos >= binary.MaxVarintLen64 {
				return s.bad(i, count, "its length does not end") // Decode would spin for ever
			}
			if !s.fill() {
				return s.bad(i, count, "its length is missing")
			}
			size, width = binary.Uvarint(s.buf[s.pos:s.end])
		}
		if width < 0 {
			return s.bad(i, count, "its length is no number")
		}
		if size > symbolsBytesMax || s.total+width+int(size) > symbolsBytesMax {
			return s.bad(i, count, fmt.Sprintf("too long: %d bytes", size))
		}
		s.total += width + int(size)
		s.pos += width
		for rest := int(size); ; {
			n := min(rest, s.end-s.pos)
			s.pos += n
			if rest -= n; rest == 0 {
				break
			}
			if !s.fill() {
				return s.bad(i, count, fmt.Sprintf("%d of its %d bytes are missing", rest, size))
			}
		}
	}
	return ""
}

func (s *symbolScanner) bad(i, count int, what string) string {
	if s.err != nil && s.err != io.EOF {
		what += ": " + s.err.Error()
	}
	return fmt.Sprintf("symbol %d of %d: %s", i, count, what)
}

// fill reads more behind what is left in buf and reports whether anything came. An error counts
// only when the bytes that came with it are used up: Decode takes those too.
func (s *symbolScanner) fill() bool {
	if s.err != nil {
		return false
	}
	s.end = copy(s.buf, s.buf[s.pos:s.end])
	s.pos = 0
	for range emptyReadsMax {
		n, err := s.src.Read(s.buf[s.end:])
		s.end += n
		s.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.err = io.ErrNoProgress
	return false
}
