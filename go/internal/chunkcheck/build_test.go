// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

const (
	testUser = "fake"
	testFP   = model.Fingerprint(0x1234567890abcdef)
	testFrom = model.Time(1_700_000_000_000)
	testTo   = model.Time(1_700_000_100_000)
)

var allCodecs = []compression.Codec{
	compression.None, compression.GZIP, compression.LZ4_64k, compression.Snappy,
	compression.LZ4_256k, compression.LZ4_1M, compression.LZ4_4M, compression.Flate,
	compression.Zstd,
}

// spec says which chunk to have Loki make.
type spec struct {
	version   byte
	codec     compression.Codec
	entries   int
	lineBytes int
	symbols   int // structured metadata pairs that are new, one an entry at most
	blockSize int
	labels    int // more stream labels, of 1000 bytes, to make the JSON long
}

func (s spec) String() string {
	return fmt.Sprintf("v%d-%s-%dx%d-sm%d-l%d", s.version, s.codec, s.entries, s.lineBytes, s.symbols, s.labels)
}

// encode has Loki make the chunk file.
func (s spec) encode(tb testing.TB) []byte {
	tb.Helper()
	if s.blockSize == 0 {
		s.blockSize = 256 << 10
	}
	rnd := rand.New(rand.NewSource(1))
	mem := chunkenc.NewMemChunk(s.version, s.codec, chunkenc.ChunkHeadFormatFor(s.version), s.blockSize, 1<<30)
	for i := range s.entries {
		e := &logproto.Entry{Timestamp: testFrom.Time().Add(time.Duration(i) * time.Millisecond), Line: line(rnd, s.lineBytes)}
		if i < s.symbols {
			e.StructuredMetadata = []logproto.LabelAdapter{{Name: "trace_id", Value: fmt.Sprintf("%016x", rnd.Uint64())}}
		}
		_, err := mem.Append(e)
		require.NoError(tb, err)
	}
	require.NoError(tb, mem.Close())
	lbls := labels.NewBuilder(labels.FromStrings("app", "checkout", "cluster", "eu-west-1", "__name__", "logs"))
	for i := range s.labels {
		lbls.Set(fmt.Sprintf("more_%d", i), line(rnd, 1000))
	}
	c := chunk.NewChunk(testUser, testFP, lbls.Labels(), chunkenc.NewFacade(mem, 0, 0), testFrom, testTo)
	require.NoError(tb, c.Encode())
	b, err := c.Encoded()
	require.NoError(tb, err)
	return bytes.Clone(b)
}

func line(rnd *rand.Rand, n int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ=_-"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rnd.Intn(len(letters))]
	}
	return string(b)
}

// smallSpecs is one small chunk of every version and codec.
func smallSpecs() []spec {
	specs := []spec{{version: 1, codec: compression.GZIP, entries: 5, lineBytes: 20}}
	for _, codec := range allCodecs {
		specs = append(specs,
			spec{version: 2, codec: codec, entries: 5, lineBytes: 20},
			spec{version: 3, codec: codec, entries: 12, lineBytes: 20, blockSize: 60},
			spec{version: 4, codec: codec, entries: 5, lineBytes: 20},
			spec{version: 4, codec: codec, entries: 12, lineBytes: 20, symbols: 8, blockSize: 60},
		)
	}
	return specs
}

// dataOff returns where the MemChunk of a sound file begins.
func dataOff(file []byte) int { return int(binary.BigEndian.Uint32(file)) + 4 }

func memChunk(file []byte) []byte { return file[dataOff(file):] }

// withData returns the file with another MemChunk and the right data length.
func withData(file, data []byte) []byte {
	at := dataOff(file)
	out := append([]byte{}, file[:at]...)
	binary.BigEndian.PutUint32(out[at-4:], uint32(len(data)))
	return append(out, data...)
}

// u64At and its kin poke at a MemChunk's footer.
func u64At(b []byte, back int) uint64     { return binary.BigEndian.Uint64(b[len(b)-back:]) }
func setU64(b []byte, back int, v uint64) { binary.BigEndian.PutUint64(b[len(b)-back:], v) }
func crcOf(b []byte) uint32               { return crc32.Checksum(b, castagnoli) }
func putCRC(b []byte, off, size int) {
	binary.BigEndian.PutUint32(b[off+size:], crcOf(b[off:off+size]))
}
func within(b []byte, off, n int) bool {
	return off >= 0 && n >= 0 && off <= len(b) && n <= len(b)-off && len(b)-off-n >= crcBytes
}

// metasOf returns where the block metas of a MemChunk are.
func metasOf(b []byte) (off, size int, ok bool) {
	if len(b) < 6 {
		return 0, 0, false
	}
	if b[4] < 4 {
		if len(b) < 12 {
			return 0, 0, false
		}
		off = int(u64At(b, 8))
		size = len(b) - 12 - off
	} else {
		if len(b) < 32 {
			return 0, 0, false
		}
		off, size = int(u64At(b, 8)), int(u64At(b, 16))
	}
	return off, size, within(b, off, size)
}

func symbolsOf(b []byte) (off, size int, ok bool) {
	if len(b) < 32 || b[4] < 4 {
		return 0, 0, false
	}
	off, size = int(u64At(b, 24)), int(u64At(b, 32))
	return off, size, within(b, off, size)
}

// fixCRCs makes the section CRCs of a MemChunk right where it has such sections.
func fixCRCs(b []byte) {
	if off, size, ok := symbolsOf(b); ok {
		putCRC(b, off, size)
	}
	if off, size, ok := metasOf(b); ok {
		putCRC(b, off, size)
	}
}

// section4 builds a version 4 MemChunk around a structured metadata section, block bytes (with
// their CRCs) and block metas.
func section4(codec compression.Codec, symbols, blocks, metas []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, memChunkMagic)
	b = append(b, 4, byte(codec))
	symbolsOff := len(b)
	b = append(b, symbols...)
	b = binary.BigEndian.AppendUint32(b, crcOf(symbols))
	b = append(b, blocks...)
	metasOff := len(b)
	b = append(b, metas...)
	b = binary.BigEndian.AppendUint32(b, crcOf(metas))
	for _, v := range []int{len(symbols), symbolsOff, len(metas), metasOff} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// section3 is the same for version 3.
func section3(codec compression.Codec, blocks, metas []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, memChunkMagic)
	b = append(b, 3, byte(codec))
	b = append(b, blocks...)
	metasOff := len(b)
	b = append(b, metas...)
	b = binary.BigEndian.AppendUint32(b, crcOf(metas))
	return binary.BigEndian.AppendUint64(b, uint64(metasOff))
}

// packed compresses b as Loki does.
func packed(tb testing.TB, codec compression.Codec, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	pool := compression.GetWriterPool(codec)
	w := pool.GetWriter(&out)
	_, err := w.Write(b)
	require.NoError(tb, err)
	require.NoError(tb, w.Close())
	pool.PutWriter(w)
	return out.Bytes()
}

// symbolSection is uvarint count and the compressed contents.
func symbolSection(tb testing.TB, codec compression.Codec, count uint64, contents []byte) []byte {
	tb.Helper()
	return append(binary.AppendUvarint(nil, count), packed(tb, codec, contents)...)
}

func uvarints(vs ...uint64) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

var (
	errPanicked = errors.New("stock Decode panicked")
	errHung     = errors.New("stock Decode did not return")
	errAte      = errors.New("stock Decode allocated too much")
)

var decodeContexts = sync.Pool{New: func() any { return chunk.NewDecodeContext() }}

// decodeAllocMax allows for symbolsMax (170 MB) and symbolsBytesMax (inflated, doubling, copied).
const decodeAllocMax = 600 << 20

// decode runs Loki's Decode with the right outer CRC, under a recover and a watch.
func decode(file []byte) error {
	return decodeAs(logproto.ChunkRef{UserID: testUser, Fingerprint: uint64(testFP), From: testFrom, Through: testTo}, file)
}

// decodeAs is decode for another key.
func decodeAs(key logproto.ChunkRef, file []byte) error {
	key.Checksum = crcOf(file)
	c := chunk.Chunk{ChunkRef: key}
	done := make(chan error, 1)
	before := allocated()
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("%w: %v", errPanicked, r)
			}
		}()
		ctx := decodeContexts.Get().(*chunk.DecodeContext)
		err := c.Decode(ctx, file)
		decodeContexts.Put(ctx)
		done <- err
	}()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case err := <-done:
		if ate := allocated() - before; ate > decodeAllocMax {
			return fmt.Errorf("%w: %d", errAte, ate)
		}
		return err
	case <-timer.C:
		return errHung
	}
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// unsafeErr reports whether Decode did what Check must prevent.
func unsafeErr(err error) bool {
	return errors.Is(err, errPanicked) || errors.Is(err, errHung) || errors.Is(err, errAte)
}

// reasonOf returns the reason in err and its detail, None for nil.
func reasonOf(tb testing.TB, err error) (Reason, string) {
	tb.Helper()
	if err == nil {
		return None, ""
	}
	var e *Error
	require.ErrorAs(tb, err, &e)
	require.NotEqual(tb, None, e.Reason)
	return e.Reason, e.Detail
}

// checked is Check without the number of blocks.
func checked(file []byte) error {
	_, err := Check(file)
	return err
}
