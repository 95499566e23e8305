// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"sync"

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
	buffers  buffers
	decoders decoders
	pools    []*pool // one a codec

	mu      sync.Mutex
	users   int
	enabled bool
}

func newState() *state {
	s := &state{}
	for i := range 256 {
		if c := compression.Codec(i); c.IsSupported() {
			s.pools = append(s.pools, &pool{codec: c, stock: compression.GetPool(c),
				buffers: &s.buffers, decoders: &s.decoders})
		}
	}
	return s
}

// Enable makes Loki's iterators read blocks through this package, in the whole process and until as
// many Disable as Enable were called: while anybody wants it. An unmodified Loki can't; then nothing
// happens.
func Enable() {
	s := process
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	if s.users > 1 {
		return
	}
	for _, p := range s.pools {
		if codec, ok := any(p.codec).(hooked); ok {
			codec.SetReaderPool(p)
			s.enabled = true
		}
	}
}

// Disable ends one Enable. After the last one Loki's own readers are back; those that iterators have
// now remain valid, and go back to where they came from.
func Disable() {
	s := process
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users > 0 {
		return
	}
	for _, p := range s.pools {
		if codec, ok := any(p.codec).(hooked); ok {
			codec.SetReaderPool(nil)
		}
	}
	s.enabled = false
	s.buffers.drop()
	s.decoders.drop()
}
