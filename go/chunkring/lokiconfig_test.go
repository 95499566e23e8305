// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"cmp"
	"flag"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkring"
)

// The block path of a patched Loki's process is on without any store of chunkring's, is set again, and a
// filesystem store has no part in it.
func TestSetBlockPath(t *testing.T) {
	reg, lines := prometheus.NewRegistry(), &logLines{}
	set := func(path string) {
		require.NoError(t, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockPath: path}, lines, reg))
	}
	t.Cleanup(func() { set(chunkring.BlockPathOff) })
	for n, path := range []string{"", chunkring.BlockPathDecompress, chunkring.BlockPathInPlace, chunkring.BlockPathOff, chunkring.BlockPathFilter} {
		set(path)
		set(path) // as a second store of the process does
		inUse := chunkring.BlockPathOff
		if blockPathPatched() {
			inUse = cmp.Or(path, chunkring.BlockPathFilter)
		}
		require.Equal(t, inUse, blockPathInUse(t, reg))
		said := lines.with("block path of all chunks")
		require.Len(t, said, n+1, "one line a change")
		require.Contains(t, said[n], "block_path="+inUse+" ")
	}
	require.ErrorContains(t, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockPath: "on"}, lines, reg), `unknown block_path "on"`)
	require.ErrorContains(t, chunkring.SetBlockPath(chunkring.LokiProcessConfig{BlockBufferBytes: -1}, lines, reg), "block_buffer_bytes is -1")
}

// What is the process's has no flag, and no value that GET /config would show, at a filesystem store.
func TestLokiConfigHasNoBlockPath(t *testing.T) {
	var cfg chunkring.LokiConfig
	f := flag.NewFlagSet("", flag.ContinueOnError)
	cfg.RegisterFlagsWithPrefix("local.", f)
	require.NotNil(t, f.Lookup("local.chunkring.backend"))
	require.Nil(t, f.Lookup("local.chunkring.block-path"))
	require.Nil(t, f.Lookup("local.chunkring.block-buffer-bytes"))
	require.Empty(t, cfg.BlockPath)
	require.NoError(t, cfg.Validate())

	var process chunkring.LokiProcessConfig
	process.RegisterFlagsWithPrefix("store.", f)
	require.Equal(t, chunkring.LokiProcessConfig{BlockPath: chunkring.BlockPathFilter}, process)
	require.NoError(t, f.Parse([]string{"-store.chunkring.block-path=in_place", "-store.chunkring.block-buffer-bytes=7"}))
	require.Equal(t, chunkring.LokiProcessConfig{BlockPath: "in_place", BlockBufferBytes: 7}, process)
}

// A filesystem store reads chunks partly unless it is told otherwise.
func TestLokiConfigPartialReads(t *testing.T) {
	for _, c := range []struct {
		args   []string
		partly bool
	}{
		{nil, true},
		{[]string{"-local.chunkring.partial-reads=false"}, false},
		{[]string{"-local.chunkring.enabled=false"}, false},
	} {
		var cfg chunkring.LokiConfig
		f := flag.NewFlagSet("", flag.ContinueOnError)
		cfg.RegisterFlagsWithPrefix("local.", f)
		require.NoError(t, f.Parse(append(c.args, "-local.chunkring.seal=always", "-local.chunkring.strict-blocks")))
		require.Equal(t, c.partly, cfg.ReadsPartly(), c.args)
		require.Equal(t, chunkring.SealAlways, cfg.Seal)
		require.True(t, cfg.StrictBlocks)
		require.NoError(t, cfg.Validate())
		cfg.Seal = "sometimes"
		require.ErrorContains(t, cfg.Validate(), `unknown seal "sometimes"`)
	}
	require.False(t, (&chunkring.LokiConfig{}).ReadsPartly(), "made as a Go value it is not enabled")
}
