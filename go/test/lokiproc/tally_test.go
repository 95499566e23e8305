// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCheckBlocks: a Loki without chunkring's iterator decompresses, and no other Loki may stop there.
func TestCheckBlocks(t *testing.T) {
	const (
		iterator   = `chunkring_parts_info{part="iterator"}`
		filter     = `chunkring_block_path_info{level="filter"}`
		decompress = `chunkring_block_path_info{level="decompress"}`
		iterated   = `chunkring_blocks_iterated_total{codec="gzip"}`
		dropped    = `chunkring_block_lines_dropped_total{codec="gzip"}`
	)
	loki := Build{Name: "ours", Patched: true}
	for what, tc := range map[string]struct {
		metrics Metrics
		err     string
	}{
		"all parts":                      {Metrics{iterator: 1, filter: 1, iterated: 9, dropped: 5}, ""},
		"before parts had a metric":      {Metrics{filter: 1, iterated: 9, dropped: 5}, ""},
		"no iterator":                    {Metrics{iterator: 0, decompress: 1}, ""},
		"no iterator, and says filter":   {Metrics{iterator: 0, filter: 1}, "not in use"},
		"no iterator, and iterates":      {Metrics{iterator: 0, decompress: 1, iterated: 9}, "iterated 9 blocks"},
		"an iterator that is not used":   {Metrics{iterator: 1, decompress: 1}, "not in use"},
		"an iterator that drops nothing": {Metrics{iterator: 1, filter: 1, iterated: 9}, "dropped 0 lines"},
	} {
		err := CheckBlocks(loki, tc.metrics, true)
		if tc.err == "" {
			require.NoError(t, err, what)
		} else {
			require.ErrorContains(t, err, tc.err, what)
		}
	}
}
