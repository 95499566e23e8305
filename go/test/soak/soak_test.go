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

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/iter"
	"github.com/grafana/loki/v3/pkg/logql/log"
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
	require.Positive(t, s.Counts.Blocks)
	_, patched := any(&chunk.Chunk{}).(interface {
		DecodeVerified(dc *chunk.DecodeContext, input []byte, blocksVerified bool) error
	})
	require.Equal(t, patched, s.Counts.PartlyRead > 0, "%d chunks were read by their ends", s.Counts.PartlyRead)
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
		l.check("get", []*slot{a, b}, []uint64{a.now.Load(), b.now.Load()}, c.out, c.err, l.good)
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

// lostBlock is a block that does not arrive; its iterator's error is err.
type lostBlock struct {
	chunkenc.Block
	err error
}

func (b lostBlock) Iterator(context.Context, log.StreamPipeline) iter.EntryIterator {
	return noEntries{iter.NoopEntryIterator, b.err}
}

type noEntries struct {
	iter.EntryIterator
	err error
}

func (n noEntries) Err() error { return n.err }

// It finds blocks that are wrong, and blocks that are missing without a reason.
func TestSoakSeesWrongBlocks(t *testing.T) {
	dir := t.TempDir()
	items, schema, _, err := makeCorpus(dir, []part{{1, 300_000, "snappy"}, {1, 4_000, "snappy"}})
	require.NoError(t, err)
	slots := makeSlots(dir+"/store", items, schema)
	large, small := slots[0], slots[1]
	require.Greater(t, len(large.blocks), 1)
	require.Greater(t, len(large.want), wholeBytes)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	type why struct{ err error }
	for name, c := range map[string]struct {
		slot   *slot
		before state // of the slot as the query begins; then it is the next
		after  state
		block  *why // nil: it arrives
		nth    int  // which block is taken for block 0
		strict bool
		ctx    context.Context
		how    string // "WRONG" if it must be reported
	}{
		"right":                               {large, present, present, nil, 0, false, t.Context(), "good"},
		"right, of a damaged chunk":           {large, damaged, damaged, nil, 0, false, t.Context(), "good"},
		"another block":                       {large, present, present, nil, 1, false, t.Context(), "WRONG"},
		"another block, of a damaged chunk":   {large, damaged, damaged, nil, 1, false, t.Context(), "WRONG"},
		"left out of a good chunk":            {large, present, present, &why{nil}, 0, false, t.Context(), "WRONG"},
		"left out of a good chunk, strict":    {large, present, present, &why{chunk.ErrInvalidChecksum}, 0, true, t.Context(), "WRONG"},
		"left out of a deleted chunk":         {large, present, absent, &why{nil}, 0, false, t.Context(), "left out"},
		"deleted, strict":                     {large, present, absent, &why{os.ErrNotExist}, 0, true, t.Context(), "left out"},
		"deleted, strict, and no error":       {large, present, absent, &why{nil}, 0, true, t.Context(), "WRONG"},
		"deleted, not strict, and an error":   {large, present, absent, &why{os.ErrNotExist}, 0, false, t.Context(), "WRONG"},
		"damaged, strict, another reason":     {large, damaged, damaged, &why{os.ErrNotExist}, 0, true, t.Context(), "WRONG"},
		"changes, strict, no such reason":     {large, present, absent, &why{errors.New("?")}, 0, true, t.Context(), "WRONG"},
		"cancelled":                           {large, present, present, &why{context.Canceled}, 0, false, ended, "cancelled"},
		"cancelled, and nobody did":           {large, present, present, &why{context.Canceled}, 0, false, t.Context(), "WRONG"},
		"stopped":                             {large, present, present, &why{chunkring.ErrStopped}, 0, false, t.Context(), "client was stopped"},
		"left out of a chunk read as a whole": {small, present, absent, &why{nil}, 0, false, t.Context(), "WRONG"},
	} {
		l := &load{slots: slots, counts: map[string]int64{}}
		whole, err := c.slot.whole()
		require.NoError(t, err)
		blocks, err := blocksOf(&whole)
		require.NoError(t, err)
		block := blocks[c.nth]
		if c.block != nil {
			block = lostBlock{block, c.block.err}
		}
		c.slot.end(c.before)
		f := &found{c.slot, whole, c.slot.now.Load()}
		if c.after != c.before {
			c.slot.end(c.after)
		}
		how, _ := l.readBlock(c.ctx, c.strict, f, 0, block)
		require.Equal(t, c.how, how, "%s: %v", name, l.wrong)
		require.Equal(t, c.how == "WRONG", l.wrongN > 0, "%s: %v", name, l.wrong)
	}

	// Bytes of a chunk that a query got.
	l := &load{slots: slots, counts: map[string]int64{}}
	whole, err := large.whole()
	require.NoError(t, err)
	l.encodeFound(&found{large, whole, large.now.Load()})
	require.Zero(t, l.wrongN, "%v", l.wrong)
	l.encodeFound(&found{small, whole, small.now.Load()})
	require.EqualValues(t, 1, l.wrongN)
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
