// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/compression"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

var codecs = []compression.Codec{compression.None, compression.GZIP, compression.LZ4_64k, compression.Snappy,
	compression.LZ4_256k, compression.LZ4_1M, compression.LZ4_4M, compression.Flate, compression.Zstd}

// entries are size bytes or more of a block as Loki writes it, by what the lines are like. Read only.
func entries(kind string, size int) []byte {
	key := fmt.Sprint(kind, size)
	if b, ok := made.Load(key); ok {
		return b.([]byte)
	}
	b := newEntries(kind, size)
	made.Store(key, b)
	return b
}

var made sync.Map

func newEntries(kind string, size int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(len(kind))))
	var b []byte
	for ts := int64(1_700_000_000_000_000_000); len(b) < size; ts += r.Int64N(1e9) {
		var line string
		switch kind {
		case "logs":
			line = fmt.Sprintf(`level=%s ts=2026-01-02T15:04:05.%09dZ caller=%s.go:%d msg="request completed" status=%d path=/api/v1/%x duration=%dms`,
				[]string{"info", "warn", "error", "debug"}[r.IntN(4)], r.IntN(1e9), []string{"flush", "ring", "http"}[r.IntN(3)],
				r.IntN(400), 200+r.IntN(5)*100, r.Uint32(), r.IntN(5000))
		case "same":
			line = "GET /healthz 200"
		case "zeros":
			line = string(make([]byte, 1000))
		case "noise":
			noise := make([]byte, 200)
			for i := range noise {
				noise[i] = byte(r.Uint32())
			}
			line = string(noise)
		}
		b = binary.AppendVarint(b, ts)
		b = binary.AppendUvarint(b, uint64(len(line)))
		b = append(b, line...)
	}
	return b
}

var kinds = []string{"logs", "same", "zeros", "noise"}

// compressed is a block as Loki compresses it.
func compressed(t testing.TB, codec compression.Codec, raw []byte) []byte {
	var b bytes.Buffer
	pool := compression.GetWriterPool(codec)
	w := pool.GetWriter(&b)
	_, err := w.Write(raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	pool.PutWriter(w)
	return b.Bytes()
}

// outcome is all that an iterator sees of a block.
type outcome struct {
	raw []byte
	err string
}

// read reads a block to its end or error. opened is what GetReader returned.
func read(pool compression.ReaderPool, block []byte) (got outcome, opened io.Reader) {
	r, err := pool.GetReader(bytes.NewBuffer(block))
	if err != nil {
		return outcome{err: "open: " + err.Error()}, nil
	}
	defer pool.PutReader(r)
	got.raw, err = io.ReadAll(r)
	if err != nil {
		got.err = err.Error()
	}
	return got, r
}

// testPool is a pool of one codec with buffers of its own.
func testPool(codec compression.Codec) *pool {
	s := newState()
	s.buffers.heldMax.Store(heldBytesUsual) // however little memory this machine has
	s.level.Store(int32(InPlace))
	for _, p := range s.pools {
		if p.codec == codec {
			p.stock = unused{p.stock}
			return p
		}
	}
	panic("no such codec")
}

// unused is Loki's own pool without readers that were used before: what such a reader makes of some
// malformed blocks, or what error it has for them, depends on the blocks before.
type unused struct{ compression.ReaderPool }

func (u unused) GetReader(src io.Reader) (io.Reader, error) {
	switch u.ReaderPool.(type) {
	case *compression.LZ4Pool:
		return new(compression.LZ4Pool).GetReader(src)
	case *compression.FlatePool:
		return new(compression.FlatePool).GetReader(src)
	case *compression.GzipPool:
		return new(compression.GzipPool).GetReader(src)
	case *compression.ZstdPool:
		return new(compression.ZstdPool).GetReader(src)
	}
	return u.ReaderPool.GetReader(src)
}

// requireSame compares what this package and Loki's own reader make of a block, and reports whether it
// was decompressed here.
func requireSame(t testing.TB, p *pool, block []byte, what ...any) (own bool) {
	t.Helper()
	if p.codec == compression.Zstd && (chunkcheck.ZstdBound(block, zstdWhole) != "" ||
		len(block) >= zstdWholeBelow && chunkcheck.ZstdBound(block, zstdStream) != "") {
		// Loki's reader might take all memory, or hundreds of megabytes.
		if r, err := p.GetReader(bytes.NewBuffer(block)); err == nil {
			_, _ = io.CopyN(io.Discard, r, rawBytesMax)
			p.PutReader(r)
		}
		return false
	}
	want, _ := read(p.stock, block)
	got, opened := read(p, block)
	_, own = opened.(*reader)
	if own && want.err != "" && (p.codec == compression.GZIP || p.codec == compression.Flate) {
		// libdeflate takes undefined codes, which no compressor writes: see TestUndefinedCodes.
		require.True(t, bytes.HasPrefix(got.raw, want.raw), what...)
		return own
	}
	if got.err != want.err || !bytes.Equal(got.raw, want.raw) {
		require.Equal(t, want.err, got.err, what...)
		require.Equal(t, len(want.raw), len(got.raw), what...)
		require.Fail(t, "other bytes", what...)
	}
	return own
}
