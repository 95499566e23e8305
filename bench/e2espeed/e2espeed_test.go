// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

func TestStoresOfOtherFlagsAreNotUsed(t *testing.T) {
	dir := t.TempDir()
	found, err := readManifest(dir)
	require.NoError(t, err)
	want := manifest{Version: manifestKnows, Codec: "gzip", WantBytes: 5, Logs: []string{"a"}}
	require.False(t, found.sameAs(want), "no manifest, no store")
	require.NoError(t, os.WriteFile(filepath.Join(dir, manifestName),
		[]byte(fmt.Sprintf(`{"Version":%d,"Codec":"gzip","WantBytes":5,"Logs":["a"],"Chunks":9}`, manifestKnows)), 0o666))
	found, err = readManifest(dir)
	require.NoError(t, err)
	require.True(t, found.sameAs(want))
	require.Equal(t, 9, found.Chunks)
	for _, other := range []manifest{
		{Version: manifestKnows - 1, Codec: "gzip", WantBytes: 5, Logs: []string{"a"}},
		{Version: manifestKnows, Codec: "zstd", WantBytes: 5, Logs: []string{"a"}},
		{Version: manifestKnows, Codec: "gzip", WantBytes: 6, Logs: []string{"a"}},
		{Version: manifestKnows, Codec: "gzip", WantBytes: 5},
		{Version: manifestKnows, Codec: "gzip", Tiny: 5, Minutes: 2},
	} {
		require.False(t, found.sameAs(other))
	}
}

func TestRatiosAreThoseOfPairs(t *testing.T) {
	side := func(name string, wall ...float64) *contender {
		c := &contender{Proc: &lokiproc.Proc{Build: lokiproc.Build{Name: name}}}
		for _, w := range wall {
			c.samples = append(c.samples, result.E2ESample{WallMs: w, CPUMs: 2 * w})
		}
		return c
	}
	var r result.E2E
	addRow(&r, side("stock", 10, 30, 60), side("ours", 10, 10, 30), result.E2ERow{Store: "s"})
	require.Len(t, r.Rows, 1)
	require.Equal(t, "ours", r.Rows[0].Contender)
	require.Equal(t, 3, r.Rows[0].Pairs)
	require.Equal(t, result.Spread{P50: 2, P10: 1, P90: 3}, r.Rows[0].WallRatio)
	require.Equal(t, result.Spread{P50: 30, P10: 10, P90: 60}, r.Rows[0].Stock.WallMs)
	require.Equal(t, result.Spread{P50: 20, P10: 20, P90: 60}, r.Rows[0].Other.CPUMs)
}

func TestWrongFlagsAreRefused(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	good := []string{"-stock", self, "-loki", self}
	_, err = parse(good)
	require.NoError(t, err)
	for _, bad := range [][]string{
		{"-states", "hot"}, {"-backend", "auto"}, {"-bytes", "10"}, {"-tiny", "-1"}, {"-tiny", "100000000"},
		{"-drop", "all"}, {"-shapes", "("}, {"-pairs", "0"}, {"-loki", "/nonexistent/loki"}, {"more"},
	} {
		_, err := parse(append(good, bad...))
		require.Error(t, err, bad)
	}
}
