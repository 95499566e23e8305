// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
)

// BenchmarkMisses is what a first run costs: chunks that nobody has come from an origin without latency, and copies
// of them are written. Its CPU time is the process's, the writer's included; "origin" is the same without a cache.
func BenchmarkMisses(b *testing.B) {
	const batch, calls = 50, 40 // 50 is what Loki asks for at once
	for _, size := range []int{8 << 10, 235 << 10} {
		for _, cached := range []bool{false, true} {
			b.Run(fmt.Sprintf("cache=%v/%dKB", cached, size>>10), func(b *testing.B) {
				chunks := someChunks(b, calls*batch, size)
				o := originOf(b, chunks)
				total := time.Duration(0)
				for b.Loop() {
					b.StopTimer()
					var asked client.Client = o
					if cached {
						cfg := configOf(b.TempDir())
						cfg.MaxFiles = 1 << 20
						c := openClient(b, cfg, o)
						defer func() { require.EqualValues(b, len(chunks), value(c.metrics.written)) }()
						asked = c
					}
					b.StartTimer()
					before := cpuTime(b)
					for i := 0; i < len(chunks); i += batch {
						got, err := asked.GetChunks(context.Background(), refsOf(chunks[i:i+batch]))
						if err != nil || len(got) != batch {
							b.Fatal(err)
						}
					}
					if cached {
						asked.(*Client).Stop() // when all is written
					}
					total += cpuTime(b) - before
				}
				b.ReportMetric(float64(total.Microseconds())/float64(b.N*len(chunks)), "cpu-us/chunk")
			})
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
