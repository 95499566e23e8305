// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/test/soakresult"
)

// Everything at once for a few seconds, with the race detector where the tests have it.
func TestSoakShort(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	s, err := soak(context.Background(), options{duration: 4 * time.Second, dir: dir, seed: 1, parts: shortCorpus}, "")
	require.NoError(t, err)
	require.Empty(t, s.Wrong)
	require.False(t, s.Failed(), "%v", s.Verdicts)
	require.Positive(t, s.Counts.Chunks)
	require.Positive(t, s.Counts.Outcomes["put: good"])
	require.NotEmpty(t, s.Samples)
	t.Logf("%d chunks, %d bytes compared; %v", s.Counts.Chunks, s.Counts.Bytes, s.Counts.Outcomes)
	require.NoError(t, soakresult.Save(out, s))
	again, err := soakresult.Load(out + "/soak.json")
	require.NoError(t, err)
	require.Equal(t, s.Counts, again.Counts)
	require.Equal(t, len(s.Samples), len(again.Samples))
}

// The soak finds what it is there to find: each kind of wrong answer, and what is left behind.
func TestSoakSeesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	items, schema, _, err := makeCorpus(dir, []part{{4, 4_000, "snappy"}})
	require.NoError(t, err)
	slots := makeSlots(dir+"/store", items, schema)
	a, b := slots[0], slots[1]
	a.end(present)
	good := func(s *slot) chunk.Chunk {
		c := s.ref
		require.NoError(t, c.Decode(chunk.NewDecodeContext(), append([]byte(nil), s.want...)))
		return c
	}
	failed := func(err error, slots ...*slot) error {
		be := &chunkring.BatchError{}
		for _, s := range slots {
			be.Failed = append(be.Failed, &chunkring.ChunkError{Key: s.key, Err: err})
		}
		return be
	}
	wrongBytes := good(a)
	raw, err := wrongBytes.Encoded()
	require.NoError(t, err)
	raw[len(raw)/2] ^= 1
	for name, c := range map[string]struct {
		out   []chunk.Chunk
		err   error
		wrong bool
	}{
		"right":                   {[]chunk.Chunk{good(a)}, failed(os.ErrNotExist, b), false},
		"cancelled":               {nil, failed(context.Canceled, a, b), false},
		"stopped":                 {nil, chunkring.ErrStopped, false},
		"wrong bytes":             {[]chunk.Chunk{wrongBytes}, failed(os.ErrNotExist, b), true},
		"one is missing":          {[]chunk.Chunk{good(a)}, nil, true},
		"present and not found":   {nil, failed(os.ErrNotExist, a, b), true},
		"absent and read":         {[]chunk.Chunk{good(a), good(b)}, nil, true},
		"absent and wrong reason": {[]chunk.Chunk{good(a)}, failed(chunk.ErrInvalidChecksum, b), true},
		"out of order":            {[]chunk.Chunk{good(b), good(a)}, nil, true},
		"another kind of error":   {nil, errors.New("?"), true},
	} {
		l := &load{slots: slots, counts: map[string]int64{}}
		l.check("get", []*slot{a, b}, []uint64{a.now.Load(), b.now.Load()}, c.out, c.err)
		require.Equal(t, c.wrong, l.wrongN > 0, "%s: %v", name, l.wrong)
	}

	// A chunk that was requested twice and arrived in between: the answers fit in one way only.
	c := slots[2]
	for _, x := range []struct {
		picked []*slot
		out    []chunk.Chunk
		failed []*slot
		want   []bool
	}{
		{[]*slot{a, b, a}, []chunk.Chunk{good(a)}, []*slot{a, b}, []bool{false, false, true}},
		{[]*slot{a, b, a}, []chunk.Chunk{good(a)}, []*slot{b, a}, []bool{true, false, false}},
		{[]*slot{a, b, c, a}, []chunk.Chunk{good(b), good(a)}, []*slot{a, c}, []bool{false, true, false, true}},
		{[]*slot{a, a}, []chunk.Chunk{good(a), good(a)}, nil, []bool{true, true}},
		{[]*slot{a, b, a}, []chunk.Chunk{good(a)}, []*slot{a, c}, nil},
		{[]*slot{a, b, a}, []chunk.Chunk{good(a), good(b)}, []*slot{b}, nil},
	} {
		var batch *chunkring.BatchError
		require.ErrorAs(t, failed(os.ErrNotExist, x.failed...), &batch)
		require.Equal(t, x.want, whichWereRead(x.picked, x.out, batch.Failed), "%v", x.want)
	}

	l := &load{slots: slots, counts: map[string]int64{}}
	l.again(kept{a, raw})
	require.EqualValues(t, 1, l.wrongN, "changed under a live chunk")
	b.change.Lock()
	l.wasPut([]*slot{b}, nil) // says that it is stored, and it is not; unlocks b
	require.EqualValues(t, 2, l.wrongN)
}

func TestVerdictOnGrowth(t *testing.T) {
	var flat, leak []soakresult.Sample
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		s := soakresult.Sample{AnonMB: 100 + 10*r.Float64(), FDs: 60 + r.IntN(9), Threads: 20, Goroutines: 15}
		flat = append(flat, s)
		s.FDs += i / 4
		leak = append(leak, s)
	}
	lines, grew := growth(flat)
	require.Zero(t, grew, "%v", lines)
	lines, grew = growth(leak)
	require.Equal(t, 1, grew, "%v", lines)
	require.Contains(t, lines[2], "GREW")
	_, grew = growth(leak[:10])
	require.Zero(t, grew)
}

func TestHistogram(t *testing.T) {
	h := &histogram{}
	for range 98 {
		h.add(100 * time.Microsecond)
	}
	h.add(50 * time.Millisecond)
	h.add(70 * time.Millisecond)
	l := h.take()
	require.EqualValues(t, 100, l.N)
	require.InEpsilon(t, 0.1, l.P50, 0.15)
	require.InEpsilon(t, 50, l.P99, 0.15)
	require.InDelta(t, 70, l.Max, 1e-9)
	require.Equal(t, soakresult.Latency{}, h.take(), "taken")
	for d := time.Duration(0); d < time.Hour; d += 1 + d/7 {
		require.LessOrEqual(t, d.Seconds()*1000, topOf(bucketOf(d))+1e-9, d)
	}
}
