// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// Lines that were left out are counted in the log a second later, whether or not something fails again,
// and at Stop; as long as they are left out, once a second.
func TestLeftOutLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines, dropped := &keptLines{}, prometheus.NewCounter(prometheus.CounterOpts{Name: "dropped"})
		l := newFailureLog(lines, dropped)
		fail := func(n int) {
			for range n {
				l.chunks("reading", []*ChunkError{{Key: "k", Path: "p", Err: errors.New("broken")}})
			}
		}
		said := func(want ...string) {
			t.Helper()
			synctest.Wait()
			require.Equal(t, len(want), lines.count("left out"))
			for _, s := range want {
				require.Equal(t, 1, lines.count("left out "+s))
			}
		}
		fail(logLinesBurst)
		require.Equal(t, logLinesBurst, lines.count("reading a chunk failed"))
		said()
		fail(7)
		require.Equal(t, logLinesBurst, lines.count("reading a chunk failed"))
		said()
		time.Sleep(logLeftOutEvery)
		said("lines 7")
		require.EqualValues(t, 7, testutil.ToFloat64(dropped))

		time.Sleep(time.Minute) // nothing to say
		said("lines 7")
		fail(logLinesBurst)
		for range 10 { // a storm of 50 lines in a second
			time.Sleep(logLeftOutEvery / 10)
			fail(5)
		}
		time.Sleep(logLeftOutEvery)
		said("lines 7", "lines 40")

		fail(20)
		l.sayLeftOut() // Stop
		said("lines 7", "lines 40", "lines 10")
		time.Sleep(time.Minute)
		said("lines 7", "lines 40", "lines 10")
		require.EqualValues(t, 57, testutil.ToFloat64(dropped))
	})
}
