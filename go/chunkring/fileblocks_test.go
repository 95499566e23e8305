// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// TestNextBlock: which block the kernel is asked to fetch while another is decompressed.
func TestNextBlock(t *testing.T) {
	blocks := []blockAt{{Off: 1, MinTime: 0, MaxTime: 9}, {Off: 2, MinTime: 10, MaxTime: 19}, {Off: 3, MinTime: 20, MaxTime: 29}}
	query := func(from, through int64, backward, all bool) *wanted {
		return &wanted{Wanted: Wanted{From: time.Unix(0, from), Through: time.Unix(0, through), Backward: backward, All: all}}
	}
	for i, c := range []struct {
		w    *wanted
		at   int
		next int64 // its Off; 0 for none
	}{
		{query(0, 29, false, true), 0, 2},
		{query(0, 29, false, true), 2, 0},
		{query(0, 29, true, true), 2, 2},
		{query(0, 29, true, true), 0, 0},
		{query(0, 9, false, true), 0, 0},
		{query(0, 10, false, true), 0, 2},
		{query(20, 29, true, true), 2, 0},
		{query(19, 29, true, true), 2, 2},
		{query(0, 29, false, false), 0, 0},
		{nil, 0, 0},
	} {
		next, ok := nextBlock(c.w, blocks, c.at)
		require.Equal(t, c.next, next.Off, i)
		require.Equal(t, c.next != 0, ok, i)
	}
}

// TestWanted: a mark is what was said, and keeps the first failure.
func TestWanted(t *testing.T) {
	w := Wanted{From: time.Unix(1, 0), Through: time.Unix(2, 0), Backward: true, All: true}
	ctx := WithWanted(context.Background(), w)
	got, ok := WantedOf(ctx)
	require.True(t, ok)
	require.Equal(t, w, got)
	_, ok = WantedOf(context.Background())
	require.False(t, ok)
	require.NoError(t, BlockError(ctx))
	first := errors.New("first")
	wantedOf(ctx).fail(first)
	wantedOf(ctx).fail(errors.New("second"))
	require.Equal(t, first, BlockError(ctx))
	wantedOf(context.Background()).fail(first)
	require.NoError(t, BlockError(context.Background()))
}

// TestBlockErrorsOfAQuery: a whole query hears of the first failure of its calls, each call of its own.
func TestBlockErrorsOfAQuery(t *testing.T) {
	query := WithBlockErrors(context.Background())
	one, two, three := WithWanted(query, Wanted{}), WithWanted(query, Wanted{}), WithWanted(query, Wanted{})
	require.NoError(t, BlockError(query))
	first, second := errors.New("first"), errors.New("second")
	wantedOf(two).fail(first)
	wantedOf(three).fail(second)
	require.Equal(t, first, BlockError(query))
	require.NoError(t, BlockError(one))
	require.Equal(t, first, BlockError(two))
	require.Equal(t, second, BlockError(three))
	require.NoError(t, BlockError(WithBlockErrors(query)), "another query")

	elsewhere := WithBlockErrors(context.Background())
	FailBlocks(elsewhere, first)
	FailBlocks(elsewhere, second)
	require.Equal(t, first, BlockError(elsewhere))
	FailBlocks(context.Background(), first)
}

// TestLeftOutReasons: each failure has its reason, and each reason its series.
func TestLeftOutReasons(t *testing.T) {
	for want, err := range map[string]error{
		leftOutNotFound: &fs.PathError{Err: syscall.ENOENT},
		leftOutShort:    fmt.Errorf("%w: %w", chunk.ErrInvalidChecksum, errShrinking),
		leftOutChecksum: fmt.Errorf("x: %w", chunk.ErrInvalidChecksum),
		leftOutRefused:  &fs.PathError{Err: ErrRefused},
		leftOutIO:       &fs.PathError{Err: syscall.EIO},
		leftOutDecode:   errors.New("invalid header"),
	} {
		require.Equal(t, want, leftOutReason(err))
		require.Contains(t, leftOutReasons, want)
	}
	require.Len(t, leftOutReasons, 6)
}

// TestSealedFiles: what is remembered of one file says nothing of another, or of other ends.
func TestSealedFiles(t *testing.T) {
	s := newSealedFiles()
	require.False(t, s.has("a"))
	s.add("a", 7)
	require.True(t, s.has("a"))
	require.True(t, s.is("a", 7))
	require.False(t, s.is("a", 8))
	require.False(t, s.is("b", 7))
	for i := range 1 << 17 { // more than there is room for
		s.add(fmt.Sprint(i), uint32(i))
	}
	wrong := 0
	for i := range 1 << 17 {
		if s.has(fmt.Sprint(i)) && !s.is(fmt.Sprint(i), uint32(i)) {
			wrong++
		}
	}
	require.LessOrEqual(t, wrong, 10, "48 bits of a hash tell files apart")
	s.forget("a")
	require.False(t, s.has("a"))
}
