// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk/client"

	"github.com/chunkring/chunkring/go/chunkring"
)

// BenchmarkHits is what the cache adds to a read of the same files by chunkring alone.
func BenchmarkHits(b *testing.B) {
	for _, size := range []int{8 << 10, 235 << 10} {
		chunks := someChunks(b, 100, size)
		c := warm(b, configOf(b.TempDir()), originOf(b, chunks), chunks)
		alone, err := chunkring.New(chunkring.Config{Directory: c.cfg.Directory}, schema, nil, nil)
		require.NoError(b, err)
		for name, reader := range map[string]client.Client{"cache": c, "alone": alone} {
			b.Run(fmt.Sprintf("%s/%dKB", name, size>>10), func(b *testing.B) {
				for b.Loop() {
					got, err := reader.GetChunks(context.Background(), refsOf(chunks))
					if err != nil || len(got) != len(chunks) {
						b.Fatal(err)
					}
				}
			})
		}
		alone.Stop()
	}
}
