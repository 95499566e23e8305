// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"sync"
	"sync/atomic"

	"github.com/grafana/loki/v3/pkg/compression"
)

// hooked is what a codec offers in a Loki that lokifork patched.
type hooked interface {
	SetReaderPool(p compression.ReaderPool)
}

// process is this package's state. It is the process's, because Loki's pools are: an iterator does not
// know which store its chunk came from.
var process = newState()

type state struct {
	buffers           buffers
	decoders          decoders
	inPlace, pushDown atomic.Bool
	pools             []*pool // one a codec

	mu      sync.Mutex
	users   users
	enabled bool
}

// Parts is what somebody wants of this package. The later ones do nothing without those before.
type Parts struct {
	Decode   bool // blocks are decompressed here
	InPlace  bool // and iterators cut their entries from them instead of reading
	PushDown bool // and drop lines that a pipeline would drop, without asking it

	// HeldBytes bounds the decompressed blocks that readers have at a time, in the whole process: the
	// largest of those that want Decode counts. 0 is the default.
	HeldBytes int64
}

// users counts who wants what.
type users struct {
	decode, inPlace, pushDown int
	heldBytes                 map[int64]int // by what they want
}

func newState() *state {
	s := &state{users: users{heldBytes: map[int64]int{}}}
	s.boundHeld()
	for i := range 256 {
		if c := compression.Codec(i); c.IsSupported() {
			s.pools = append(s.pools, &pool{codec: c, stock: compression.GetPool(c), buffers: &s.buffers,
				decoders: &s.decoders, inPlace: &s.inPlace, pushDown: &s.pushDown})
		}
	}
	return s
}

// Enable makes Loki's iterators read blocks through this package, in the whole process and until as
// many Disable as Enable were called: a part is on while anybody wants it. An unmodified Loki can't; then
// nothing happens.
func Enable(p Parts) { process.change(p, 1) }

// Disable ends one Enable with the same parts. After the last one Loki's own readers are back, and no
// memory is kept; the readers that iterators have now remain valid until they are put back.
func Disable(p Parts) { process.change(p, -1) }

func (s *state) change(p Parts, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Decode {
		s.users.decode += by
		if s.users.heldBytes[p.HeldBytes] += by; s.users.heldBytes[p.HeldBytes] == 0 {
			delete(s.users.heldBytes, p.HeldBytes)
		}
		s.boundHeld()
	}
	if p.Decode && p.InPlace {
		s.users.inPlace += by
	}
	if p.Decode && p.InPlace && p.PushDown {
		s.users.pushDown += by
	}
	s.inPlace.Store(s.users.inPlace > 0)
	s.pushDown.Store(s.users.pushDown > 0)
	if on := s.users.decode > 0; on != s.enabled {
		s.replacePools(on)
	}
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

// replacePools puts this package's pools in the place of Loki's, or takes them out.
func (s *state) replacePools(on bool) {
	s.enabled = false
	for _, p := range s.pools {
		codec, ok := any(p.codec).(hooked)
		switch {
		case ok && on:
			codec.SetReaderPool(p)
			s.enabled = true
		case ok:
			codec.SetReaderPool(nil)
		}
	}
	s.buffers.use(on)
	s.decoders.use(on)
}
