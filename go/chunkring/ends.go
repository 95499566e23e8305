// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/blockread"
	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/core"
)

// Chunks that are read by their ends; their blocks are fileblocks.go's.

// endsBytesMin is the size up to which one read is cheaper than several.
const endsBytesMin = 128 << 10

// endsAlways is not empty in builds that run tests with chunks of every size read by their ends. Set with
//
//	go test -ldflags '-X github.com/chunkring/chunkring/go/chunkring.endsAlways=yes'
var endsAlways string

// endsDecoder is what a Loki patched by lokifork offers.
type endsDecoder interface {
	DecodeEnds(ends []byte, headBytes int, fileBytes int64, source blockSource) error
}

// decodesEnds tells which Loki this is built with.
var decodesEnds = func() bool {
	_, ok := any(&chunk.Chunk{}).(endsDecoder)
	return ok
}()

// mayReadEnds reports whether a query's chunks may be read by their ends: blocks that are not there are
// blockread's to read, so not where it is off.
func (c *Client) mayReadEnds() bool {
	level, _ := blockread.InUse()
	return decodesEnds && !c.key.cfg.WholeReads && level > blockread.Off
}

// readEnds has a batch read files by their ends.
func (c *Client) readEnds(b *core.Batch, w *wanted) {
	b.EndsBytesMin = endsBytesMin
	if endsAlways != "" {
		b.EndsBytesMin = 1
	}
	b.FromNs, b.ThroughNs, b.Backward = w.From.UnixNano(), w.Through.UnixNano(), w.Backward
	if b.Ahead = 1; w.All {
		b.Ahead = core.AheadAll
	}
	b.KeepOpen = c.kept.promise(len(b.Files))
	switch c.key.cfg.Seal {
	case SealOff:
		b.Seal = core.SealOff
	case SealAlways:
		b.Seal = core.SealAlways
	default:
		b.Seal = core.SealResident
	}
	if b.Seal == core.SealOff {
		return
	}
	for i := range b.Files {
		b.Files[i].SealKnown = c.sealed.has(b.Files[i].Path)
	}
}

// decodeEnds fills chk from a file's ends. It reports false if the whole file has to be read for it.
//
// The ends are checked here once more, as decode checks a whole file: C's check is another parser's in another
// language, and by these numbers Go slices, and knows where blocks are.
func (c *Client) decodeEnds(f *core.File, kept *keptFile, chk *chunk.Chunk) bool {
	o, err := chunkcheck.ReadOutline(f.Buf[:f.HeadBytes], f.Buf[f.HeadBytes:], f.Size)
	if err != nil {
		return false
	}
	leaveBlocksOut(f, o)
	sum := c.sealed.sum(f.Buf)
	known := c.sealed.is(f.Path, sum)
	if !known && o.CheckSymbols() != nil { // inflating them takes longer than all else here
		return false
	}
	switch {
	case f.Sealed:
		c.sealed.add(f.Path, sum)
	case f.SealKnown && !known: // these are not the ends that were sealed
		c.sealed.forget(f.Path)
		return false
	}
	source := &fileBlocks{c: c, ref: chk.ChunkRef, path: f.Path, kept: kept}
	if any(chk).(endsDecoder).DecodeEnds(f.Buf, f.HeadBytes, f.Size, source) != nil {
		return false
	}
	m := &c.metrics.partial
	m.chunks.Inc()
	m.bytesLeft.Add(float64(f.Size - int64(len(f.Buf))))
	return true
}

// leaveBlocksOut makes the ends what DecodeEnds takes: up to the first block, and from the block metas on. C reads them
// in whole pages.
func leaveBlocksOut(f *core.File, o *chunkcheck.Outline) {
	tail := f.Buf[len(f.Buf)-int(f.Size-o.MetasOff):]
	n := copy(f.Buf[o.BlocksOff:], tail) // never over a byte that is still to be copied: the tail only moves down
	f.HeadBytes, f.Buf = int(o.BlocksOff), f.Buf[:int(o.BlocksOff)+n]
}

// sealedFiles remembers files whose seal was right, with a hash of their ends, so that the seal and the look at the
// symbols are paid once. A file that it forgets is sealed again.
type sealedFiles struct {
	seed  maphash.Seed
	slots [1 << 16]atomic.Uint64 // the upper half of the path's hash, and the ends' sum
}

func newSealedFiles() *sealedFiles { return &sealedFiles{seed: maphash.MakeSeed()} }

func (s *sealedFiles) slot(path string) (slot *atomic.Uint64, tag uint64) {
	hash := maphash.String(s.seed, path)
	return &s.slots[hash%uint64(len(s.slots))], hash >> 32 << 32
}

// sum tells a file's ends from others. A CRC would not: each section of a chunk has its own behind it, so the CRC of all
// depends on what is in a section only in part.
func (s *sealedFiles) sum(ends []byte) uint32 { return uint32(maphash.Bytes(s.seed, ends)) }

func (s *sealedFiles) add(path string, sum uint32) {
	slot, tag := s.slot(path)
	slot.Store(tag | uint64(sum))
}

func (s *sealedFiles) forget(path string) {
	slot, _ := s.slot(path)
	slot.Store(0)
}

func (s *sealedFiles) has(path string) bool {
	slot, tag := s.slot(path)
	got := slot.Load()
	return got != 0 && got>>32<<32 == tag
}

func (s *sealedFiles) is(path string, sum uint32) bool {
	slot, tag := s.slot(path)
	return slot.Load() == tag|uint64(sum)
}
