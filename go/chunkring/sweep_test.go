// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkfile"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// Leftovers go when somebody writes, from the folders of chunks. Who only reads removes nothing.
func TestSweep(t *testing.T) {
	dir, chk := twoLayouts(t)
	leftover := func(folder string) string {
		name := filepath.Join(dir, folder, ".chunkring-1-1.tmp")
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, nil, 0o644))
		old := time.Now().Add(-2 * chunkfile.LeftoverAge)
		require.NoError(t, os.Chtimes(name, old, old))
		return name
	}
	index := leftover("index/index_20000")
	for name, write := range map[string]func(c *Client, full []chunk.Chunk) error{
		"put":    func(c *Client, full []chunk.Chunk) error { return c.PutChunks(context.Background(), full) },
		"delete": func(c *Client, _ []chunk.Chunk) error { return c.DeleteChunk(context.Background(), "no", "no/1/2:3:4") },
	} {
		c := newShared(t, dir, "v13", nil, nil)
		ours := []string{leftover(""), leftover("t"), leftover("t/8f00ab")}
		full, err := c.GetChunks(context.Background(), []chunk.Chunk{chk})
		require.NoError(t, err)
		c.sweep.Wait() // there is none
		c.Stop()
		for _, file := range ours {
			require.FileExists(t, file, "a reader")
		}
		c = newShared(t, dir, "v13", nil, nil)
		if err := write(c, full); !c.IsChunkNotFoundErr(err) {
			require.NoError(t, err)
		}
		for _, file := range ours {
			require.Eventually(t, func() bool { _, err := os.Lstat(file); return os.IsNotExist(err) },
				10*time.Second, time.Millisecond, "%s: %s", name, file)
		}
		c.Stop()
		require.FileExists(t, index)
	}
}

// A sweep of many folders takes its time, and ends when the store does.
func TestSweepPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		visit, begin := sweepVisits(ctx), time.Now()
		const seconds = 3
		for range sweepFoldersBurst {
			require.True(t, visit("t/1"))
		}
		require.Zero(t, time.Since(begin), "a small store is swept at once")
		for range seconds * sweepFoldersPerSecond {
			require.True(t, visit("t/1"))
			require.False(t, visit("index/index_1"), "costs nothing")
		}
		require.InDelta(t, seconds, time.Since(begin).Seconds(), 0.1)
		cancel()
		require.False(t, visit("t/1"))
	})
}

// Wherever a chunk may lie is looked at.
func TestMayHoldChunks(t *testing.T) {
	for folder, want := range map[string]bool{
		"tenant": true, "index": true, "t/0": true, "t/8f00ab": true, "t/ffffffffffffffff": true,
		"t/": false, "t/index_20000": false, "t/08": false, "t/8F": false, "t/10000000000000000": false, "t/8f/x": false,
	} {
		require.Equal(t, want, mayHoldChunks(folder), folder)
	}
	for _, version := range []string{"v11", "v12", "v13"} {
		for _, s := range goodRefs(t) {
			folder := filepath.Dir(newKeyer(chunkgen.Schema(version)).path(&s.ChunkRef))
			for ; folder != "."; folder = filepath.Dir(folder) {
				require.True(t, mayHoldChunks(folder), folder)
			}
		}
	}
}

func goodRefs(t *testing.T) (all []chunk.Chunk) {
	x, err := chunkgen.LoadIndex("../../testdata/good")
	require.NoError(t, err)
	for _, r := range x.Refs {
		all = append(all, r.Chunk())
	}
	return all
}
