// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/test/lokiproc"
	"github.com/chunkring/chunkring/go/test/objectstore"
)

// The names are those that Loki itself would look for, and the bytes exist once.
func TestAFilesystemStoreOfABucketsObjects(t *testing.T) {
	schema := config.SchemaConfig{Configs: []config.PeriodConfig{{Schema: "v13"}}}
	c := chunk.Chunk{ChunkRef: logproto.ChunkRef{UserID: corpus.Tenant, Fingerprint: 0x1a2b, From: 0x190, Through: 0x191, Checksum: 0xdead}}
	key := schema.ExternalKey(c.ChunkRef)
	bucket, dir := filepath.Join(t.TempDir(), "bucket"), filepath.Join(t.TempDir(), "store")
	for _, name := range []string{key, "index/index_20157/1-2.tsdb.gz"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(bucket, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(bucket, name), []byte(name), 0o666))
	}
	require.NoError(t, linkStore(bucket, dir))
	for object, file := range map[string]string{key: client.FSEncoder(schema, c), "index/index_20157/1-2.tsdb.gz": "index/index_20157/1-2.tsdb.gz"} {
		a, err := os.Stat(filepath.Join(bucket, object))
		require.NoError(t, err)
		b, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		require.True(t, os.SameFile(a, b))
	}
}

func TestOnlyGETsOfThisBucketsChunksCount(t *testing.T) {
	gets, distinct, mb := chunkGETs(objectstore.Counts{Objects: map[string]objectstore.Count{
		"large/bench/1/a": {GETs: 2, Bytes: 3e6}, "large/bench/1/b": {GETs: 1, Bytes: 1e6},
		"large/index/i": {GETs: 9, Bytes: 9e6}, "small/bench/1/a": {GETs: 9, Bytes: 9e6},
	}}, "large")
	require.Equal(t, 3, gets)
	require.Equal(t, 2, distinct)
	require.InDelta(t, 4, mb, 1e-9)
}

func TestAProcessThatEndsHasSpentNothingMore(t *testing.T) {
	before := map[int]time.Duration{1: 5 * time.Millisecond, 2: time.Hour}
	require.InDelta(t, 2+3, spent(before, map[int]time.Duration{1: 7 * time.Millisecond, 3: 3 * time.Millisecond}), 1e-9)
}

// A cache that was not used, or not empty, voids the run.
func TestVoidRuns(t *testing.T) {
	all := corpus.Query{Check: func(lokiproc.Answer, corpus.Written) error { return nil }}
	limited := corpus.Query{}
	for _, c := range []struct {
		name           string
		setup          setup
		query          corpus.Query
		cold, distinct int
		warm           []int
		void           string
	}{
		{"no cache", setup{}, all, 184, 100, []int{184, 184}, ""},
		{"no cache, and yet fewer GETs", setup{}, all, 184, 100, []int{99, 90}, "only 99 of 100"},
		{"not empty", setup{warm: keepsAll}, all, 99, 99, []int{0}, "was not empty"},
		{"no GET at all", setup{}, limited, 0, 0, []int{0}, "was not empty"},
		{"half", setup{warm: keepsHalf}, all, 184, 100, []int{92}, ""},
		{"less than half", setup{warm: keepsHalf}, all, 184, 100, []int{0, 93}, "still 93"},
		{"less than half of what a limit lets through", setup{warm: keepsHalf}, limited, 26, 26, []int{26}, ""},
		{"all", setup{warm: keepsAll}, all, 184, 100, []int{9}, ""},
		{"not all", setup{warm: keepsAll}, all, 184, 100, []int{10}, "still 10"},
		{"not all of a query with a limit", setup{warm: keepsAll}, limited, 26, 26, []int{26}, "still 26"},
		{"files", setup{files: true, warm: keepsAll}, all, 0, 0, []int{0}, ""},
		{"files that are not", setup{files: true, warm: keepsAll}, all, 1, 1, []int{0}, "made 1 GETs"},
	} {
		turn := &turn{setup: &c.setup, store: &store{made: made{Chunks: 100}}, query: c.query}
		samples := turnSamples{result.StateCold: {{GETs: c.cold, Distinct: c.distinct}}}
		for _, n := range c.warm {
			samples[result.StateWarm] = append(samples[result.StateWarm], result.ObjectsSample{GETs: n})
		}
		err := turn.checkUse(context.Background(), samples)
		if c.void == "" {
			require.NoError(t, err, c.name)
		} else {
			require.ErrorContains(t, err, c.void, c.name)
		}
	}
}

func TestOtherAnswersAreRefused(t *testing.T) {
	turn := &turn{}
	require.NoError(t, turn.check(lokiproc.Answer{Text: []byte("one")}))
	require.NoError(t, turn.check(lokiproc.Answer{Text: []byte("one")}))
	require.ErrorContains(t, turn.check(lokiproc.Answer{Text: []byte("two")}), "differs")
}

func TestBucketsOfOtherFlagsAreNotUsed(t *testing.T) {
	want := made{Version: madeVersion, Tiny: corpus.Tiny{Chunks: 100, Lines: smallLines, Length: smallLength}}
	none, err := readMade(filepath.Join(t.TempDir(), "none.json"))
	require.NoError(t, err)
	require.False(t, none.sameAs(want))
	same := want
	same.Chunks, same.ChunkBytes = 100, 5
	require.True(t, same.sameAs(want))
	for _, other := range []made{{Version: madeVersion, Bytes: 5}, {Version: madeVersion + 1, Tiny: want.Tiny}, {Version: madeVersion, Tiny: corpus.Tiny{Chunks: 101, Lines: smallLines, Length: smallLength}}} {
		require.False(t, other.sameAs(want))
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	good := []string{"-stock", self, "-loki", self}
	o, err := parse(append(good, "-stream", "50", "-quick"))
	require.NoError(t, err)
	require.Equal(t, int(50e6), o.conditions.StreamBytesPerSec)
	require.Equal(t, 1, o.rounds)
	for _, bad := range [][]string{
		{"-setups", "("}, {"-bytes", "10"}, {"-chunks", "1"}, {"-rounds", "0"}, {"-warm", "0"}, {"-memcached-mb", "1"}, {"-first-byte", "-1s"},
		{"-unavailable", "2"}, {"-truncated", "-0.1"}, {"-loki", "/nonexistent/loki"}, {"more"},
	} {
		_, err := parse(append(good, bad...))
		require.Error(t, err, bad)
	}
}
