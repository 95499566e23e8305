// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"sync/atomic"

	"github.com/chunkring/chunkring/go/internal/core"
)

// verifier checks the chunks that Loki decodes: those of object stores and caches. (Those that chunkring's client
// reads were checked while they were read.)
type verifier struct {
	sound, left atomic.Uint64
}

// use returns what Loki is to ask, nil for nothing: where there is no cgo, too.
func (v *verifier) use(on bool) func(file []byte, crc uint32) bool {
	verify := core.Verifier()
	if !on || verify == nil {
		return nil
	}
	return func(file []byte, crc uint32) bool {
		if !verify(file, crc) {
			v.left.Add(1)
			return false
		}
		v.sound.Add(1)
		return true
	}
}
