// SPDX-License-Identifier: Apache-2.0

package chunkcheck

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/grafana/loki/v3/pkg/compression"
)

// TestConcurrentChecks shares the pools between goroutines, refusals among them; the large zstd
// sections are read by goroutines of the decompressor's own. Run it with -race.
func TestConcurrentChecks(t *testing.T) {
	var good, bad [][]byte
	for _, codec := range allCodecs {
		for _, n := range []int{10, 500, 20_000} {
			if n > 500 && codec != compression.Zstd {
				continue
			}
			file := spec{version: 4, codec: codec, entries: n, lineBytes: 5, symbols: n}.encode(t)
			good = append(good, file)
			data := bytes.Clone(memChunk(file))
			off, size, _ := symbolsOf(data)
			data[off]++ // one symbol more than there are
			putCRC(data, off, size)
			bad = append(bad, withData(file, data))
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 30 {
				for i := range good {
					assert.NoError(t, checked(good[i]))
					assert.Error(t, checked(bad[i]))
				}
			}
		})
	}
	wg.Wait()
}
