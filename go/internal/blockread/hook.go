// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// hooked is what a codec offers in a Loki that lokifork patched.
type hooked interface {
	SetReaderPool(p compression.ReaderPool)
}

// iterating is what a codec offers in such a Loki if its iterators cut entries from whole blocks.
type iterating interface {
	IteratesInPlace()
}

// verifying is what a chunk offers in such a Loki.
type verifying interface {
	SetVerifier(verify func(file []byte, crc uint32) bool)
}

// process is this package's state. It is the process's, because Loki's pools are: an iterator does not
// know which store its chunk came from.
var process = newState()

type state struct {
	buffers       buffers
	decompressors decompressors
	verifier      verifier
	level         atomic.Int32 // a Level: the highest that anybody wants, also where Loki's pools can't be replaced
	pools         []*pool      // one a codec

	mu       sync.Mutex
	users    users
	replaced bool // Loki's pools, by this package's
}

// Level says how much of the way from a block to its entries is this package's. Each level includes
// those before it.
type Level int32

const (
	Off        Level = iota // Loki's own readers
	Decompress              // chunks' checksums are checked in one pass, and blocks are decompressed here
	InPlace                 // and iterators cut their entries from them instead of reading
	Filter                  // and drop lines that a pipeline would drop, without asking it
	levels
)

var levelNames = [levels]string{"off", "decompress", "in_place", "filter"}

// String is the level's name in configurations, metrics and log lines.
func (l Level) String() string { return levelNames[l] }

// ParseLevel is the level of a name.
func ParseLevel(name string) (Level, bool) {
	i := slices.Index(levelNames[:], name)
	return Level(max(i, 0)), i >= 0
}

// Highest is the highest level that this Loki knows: lokifork leaves its iterators alone where they are too
// different. An unmodified Loki uses none.
func Highest() Level {
	codec := any(compression.None)
	if _, ok := codec.(hooked); !ok {
		return Off
	}
	if _, ok := codec.(iterating); !ok {
		return Decompress
	}
	return Filter
}

// Want is what somebody wants of this package.
type Want struct {
	Level Level

	// HeldBytes bounds the decompressed blocks that readers have at a time, in the whole process: the
	// largest of those who want any level but Off counts. 0 is the default.
	HeldBytes int64
}

// users counts who wants what; those who want Off don't count.
type users struct {
	level     [levels]int
	heldBytes map[int64]int // by what they want
}

func newState() *state {
	s := &state{users: users{heldBytes: map[int64]int{}}}
	s.boundHeld()
	for i := range 256 {
		c := compression.Codec(i)
		if _, err := compression.ParseCodec(c.String()); err == nil { // Codec.IsSupported is as new as Loki 3.7
			s.pools = append(s.pools, &pool{codec: c, stock: compression.GetPool(c), buffers: &s.buffers,
				decompressors: &s.decompressors, level: &s.level})
		}
	}
	return s
}

// Enable makes Loki check chunks and its iterators read blocks through this package, in the whole process and until as
// many Disable as Enable were called, at the highest level that anybody wants. An unmodified Loki can't;
// then nothing happens.
func Enable(w Want) { process.change(w, 1) }

// Disable ends one Enable of the same. After the last one Loki's own readers are back, and no memory is
// kept; the readers that iterators have now remain valid until they are put back.
func Disable(w Want) { process.change(w, -1) }

// InUse is the level that is in use now, and the bound of the decompressed blocks that readers have.
func InUse() (l Level, heldBytes int64) { return process.inUse(), process.buffers.heldMax.Load() }

func (s *state) change(w Want, by int) {
	if w.Level == Off {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users.level[w.Level] += by
	if s.users.heldBytes[w.HeldBytes] += by; s.users.heldBytes[w.HeldBytes] == 0 {
		delete(s.users.heldBytes, w.HeldBytes)
	}
	s.boundHeld()
	highest := levels - 1
	for highest > Off && s.users.level[highest] == 0 {
		highest--
	}
	s.level.Store(int32(highest))
	if on := highest > Off; on != s.replaced {
		s.replacePools(on)
	}
}

func (s *state) inUse() Level {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.replaced {
		return Off
	}
	return min(Level(s.level.Load()), Highest())
}

// boundHeld sets the bound of buffers in use: what is beyond it already stays until it is put back.
func (s *state) boundHeld() {
	most := int64(0)
	for wanted := range s.users.heldBytes {
		if wanted == 0 {
			wanted = heldBytesDefault()
		}
		most = max(most, wanted)
	}
	if most == 0 { // nobody wants anything
		most = heldBytesDefault()
	}
	s.buffers.heldMax.Store(most)
}

// replacePools puts this package's pools in the place of Loki's, and its verifier before Loki's own checks, or
// takes them out.
func (s *state) replacePools(on bool) {
	s.replaced = false
	for _, p := range s.pools {
		codec, ok := any(p.codec).(hooked)
		switch {
		case ok && on:
			codec.SetReaderPool(p)
			s.replaced = true
		case ok:
			codec.SetReaderPool(nil)
		}
	}
	if c, ok := any(&chunk.Chunk{}).(verifying); ok {
		c.SetVerifier(s.verifier.use(on))
	}
	s.buffers.use(on)
	s.decompressors.use(on)
}
