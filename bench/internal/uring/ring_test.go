// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newRing(t *testing.T, entries uint32, sqpoll time.Duration) *Ring {
	r, err := New(entries, sqpoll)
	if err != nil {
		t.Skip("io_uring is refused here: ", err)
	}
	t.Cleanup(r.Close)
	return r
}

func testFile(t *testing.T, size int) (*os.File, []byte) {
	data := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(data)
	name := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f, data
}

func TestReadsWhatIsThere(t *testing.T) {
	for name, idle := range map[string]time.Duration{"entered": 0, "polled": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			const pieces, piece = 8, 10_000
			r := newRing(t, pieces, idle)
			f, want := testFile(t, pieces*piece)
			got := make([]byte, len(want))
			for round := range 3 { // the queues wrap round
				clear(got)
				for i := range pieces {
					require.True(t, r.PushRead(int(f.Fd()), got[i*piece:(i+1)*piece], int64(i*piece), uint64(i)))
				}
				if idle == 0 {
					require.False(t, r.PushNop(99), "the queue is full")
				}
				require.NoError(t, r.Submit(1))
				var seen [pieces]bool
				for range pieces {
					require.NoError(t, r.Wait())
					tag, res, ok := r.Take()
					require.True(t, ok)
					require.EqualValues(t, piece, res)
					require.False(t, seen[tag], "round %d: completion %d came twice", round, tag)
					seen[tag] = true
				}
				_, _, ok := r.Take()
				require.False(t, ok)
				require.True(t, bytes.Equal(want, got))
			}
		})
	}
}

func TestErrorIsInTheCompletion(t *testing.T) {
	r := newRing(t, 2, 0)
	buf := make([]byte, 10)
	require.True(t, r.PushRead(1<<20, buf, 0, 7))
	require.NoError(t, r.Submit(1))
	require.NoError(t, r.Wait()) // a signal may have ended the wait in Submit
	tag, res, ok := r.Take()
	require.True(t, ok)
	require.EqualValues(t, 7, tag)
	require.Less(t, res, int32(0))
	runtime.KeepAlive(buf)
}

func TestPollingThreadFallsAsleepAndWakes(t *testing.T) {
	r := newRing(t, 4, time.Millisecond)
	for range 2 {
		require.Eventually(t, r.Asleep, 10*time.Second, time.Millisecond)
		require.True(t, r.PushNop(1))
		require.NoError(t, r.Submit(1))
		require.NoError(t, r.Wait())
		_, _, ok := r.Take()
		require.True(t, ok)
	}
}

func TestRefusesSizes(t *testing.T) {
	for _, n := range []uint32{0, entriesMax + 1} {
		_, err := New(n, 0)
		require.Error(t, err)
	}
}
