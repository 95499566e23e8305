// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/chunkgen"
)

func TestDemoPlanComparesEveryEntryInBothPrograms(t *testing.T) {
	p := demoPlan(2, true)
	require.Len(t, p, 4)
	for i, s := range p {
		require.Equal(t, 1, s.linesEvery(1<<30), "every entry, however many there are")
		suffix := map[bool]string{true: result.Unpatched, false: ""}[i < 2]
		require.Equal(t, peers.Stock+suffix, s.peers[0], "the ratios' base is of the same program")
		for _, name := range s.peers {
			require.Equal(t, suffix != "", strings.HasSuffix(name, result.Unpatched))
		}
	}
	require.Len(t, demoPlan(2, false), 2)
	require.Greater(t, (&spec{files: 100}).linesEvery(linesBytes), 1, "a benchmark compares some")
}

func TestDemoMeasuresAndPrints(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	x, err := chunkgen.Write(context.Background(), t.TempDir(), chunkgen.Options{Count: 10, Size: 4_000}, nil)
	require.NoError(t, err)
	d := &driver{exe: exe, unpatched: exe, begin: time.Now(), stores: map[int]*chunkgen.Index{4_000: x}}
	o := options{mode: "demo", out: t.TempDir()}
	both := plan{smallSpec(10, peers.Stock+result.Unpatched, peers.Threads+result.Unpatched), smallSpec(10, peers.Stock, peers.Threads)}
	r := &result.Run{Machine: result.Machine{Loki: "v1, patched"}}
	if err = d.demo(context.Background(), o, both, r); errors.Is(err, errNotWarm) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(o.out, "demo.json"))
	var out bytes.Buffer
	printDemo(&out, r)
	require.Equal(t, 1, strings.Count(out.String(), "With an unmodified Loki:"))
	require.Equal(t, 1, strings.Count(out.String(), "With a Loki v1, patched:"))
	require.Equal(t, 2, strings.Count(out.String(), "\n| threads           |    10 |      4 KB |"))
}

func TestAReaderThatDiffersEndsTheRun(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	var stores []*chunkgen.Index
	for seed := range uint64(2) {
		x, err := chunkgen.Write(context.Background(), t.TempDir(), chunkgen.Options{Count: 10, Size: 4_000, Seed: seed}, nil)
		require.NoError(t, err)
		stores = append(stores, x)
	}
	start := func(x *chunkgen.Index) *reader {
		r, err := startReader(context.Background(), exe, peers.Threads, childConfig{Dir: x.Dir(), Peer: peers.Threads, Files: 10, Callers: 1}, 1)
		require.NoError(t, err)
		t.Cleanup(r.stop)
		return r
	}
	s := smallSpec(10, peers.Threads, peers.Threads)
	require.NoError(t, compare(s, stores[0], []*reader{start(stores[0]), start(stores[0])}))
	require.ErrorIs(t, compare(s, stores[0], []*reader{start(stores[0]), start(stores[1])}), errDiffers)
}

func TestRefusedReadersAreLeftOut(t *testing.T) {
	t.Cleanup(func() { openPeer = peers.Open })
	openPeer = func(string, peers.Store) (peers.Peer, error) { return nil, peers.ErrBackend }
	x, err := chunkgen.Write(context.Background(), t.TempDir(), chunkgen.Options{Count: 1, Size: 4_000}, nil)
	require.NoError(t, err)
	p := demoPlan(1, true)
	d := &driver{stores: map[int]*chunkgen.Index{p[0].size: x}}
	require.NoError(t, d.leaveOutRefused(p))
	require.Equal(t, []string{peers.Stock, peers.Threads, peers.ThreadsReleased}, p[3].peers)
	require.False(t, slices.ContainsFunc(p[0].peers, func(name string) bool { return strings.HasPrefix(name, peers.URing) }))
}
