// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// BenchmarkPeers is one point of every peer for benchstat; bench/experiment is the whole comparison, with
// a process of its own for each peer. CHUNKRING_BENCH_DIR names a directory that keeps the stores.
func BenchmarkPeers(b *testing.B) {
	dir := os.Getenv("CHUNKRING_BENCH_DIR")
	if dir == "" {
		dir = testDir
	}
	for _, o := range []chunkgen.Options{{Count: 1000, Size: 4_000}, {Count: 100, Size: 235_000}, {Count: 100, Size: 900_000}} {
		for _, name := range append(Readers, Floors...) {
			b.Run(fmt.Sprintf("peer=%s/files=%d/size=%d", name, o.Count, o.Size), func(b *testing.B) {
				x, err := chunkgen.Write(context.Background(), filepath.Join(dir, fmt.Sprintf("%dx%d", o.Count, o.Size)), o, nil)
				require.NoError(b, err)
				p := open(b, name, x)
				refs := x.Chunks()
				get := func() {
					_, release, err := p.Get(context.Background(), refs, nil)
					if err != nil {
						b.Fatal(err)
					}
					release()
				}
				get()
				b.SetBytes(x.Bytes())
				b.ReportAllocs()
				for b.Loop() {
					get()
				}
				p.Settle()
			})
		}
	}
}
