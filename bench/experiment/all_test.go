// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/bench/internal/childproc"
	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/chunkgen"
)

func smallSpec(files int, names ...string) *spec {
	return &spec{groups: []string{"test"}, files: files, size: 4_000, callers: 1, cpus: 1, peers: names, cap: time.Millisecond, rounds: [2]int{1, 2}}
}

// A point that fails costs that point, and a second run has only that left to do.
func TestRunGoesOnAfterAFailedPoint(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	x, err := chunkgen.Write(context.Background(), t.TempDir(), chunkgen.Options{Count: 10, Size: 4_000}, nil)
	require.NoError(t, err)
	d := &driver{exe: exe, begin: time.Now(), stores: map[int]*chunkgen.Index{4_000: x}}
	o := options{mode: "full", out: t.TempDir()}
	bad := smallSpec(7, peers.Stock, "nobody")
	p := plan{smallSpec(5, peers.Stock, peers.Threads), bad, smallSpec(10, peers.Stock)}
	t.Setenv("PATH", "") // neither perf nor fio

	r := &result.Run{Mode: "full"}
	failed, err := d.measureAll(context.Background(), o, p, r)
	require.NoError(t, err)
	require.Equal(t, 1, failed)
	require.Len(t, r.Points, 2)
	require.Contains(t, strings.Join(r.Left, "\n"), "nobody")

	bad.peers[1] = peers.GoDirect
	o.resume = true
	again := &result.Run{Mode: "full"}
	failed, err = d.measureAll(context.Background(), o, p, again)
	require.NoError(t, err)
	require.Zero(t, failed)
	require.Len(t, again.Points, 3)
	require.Equal(t, r.Points, again.Points[:2], "taken over, not measured again")

	other := &result.Run{Mode: "full", Machine: result.Machine{Name: "another"}}
	_, err = d.measureAll(context.Background(), o, p, other)
	require.ErrorContains(t, err, "another machine")
}

// What makes all figures doubtful ends the run: an interrupt, another back-end.
func TestRunEndsWhereNoFigureCounts(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := &driver{begin: time.Now(), stores: map[int]*chunkgen.Index{4_000: {Refs: make([]chunkgen.Ref, 5)}}}
	_, err := d.measureAll(ctx, options{mode: "full", out: t.TempDir()}, plan{smallSpec(5, peers.Stock)}, &result.Run{})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "-resume")

	fell := &reader{name: "uring", process: childproc.Over("uring", nil, strings.NewReader(`{"Err": "uring: threads runs", "Fell": true}`))}
	_, err = fell.hello()
	require.ErrorIs(t, err, peers.ErrBackend)
}
