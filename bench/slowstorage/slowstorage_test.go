// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/bench/internal/stats"
	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

// The tests' own program is the storage and the readers, too.
func TestMain(m *testing.M) {
	serveAsChild()
	os.Exit(m.Run())
}

func testDriver(t *testing.T, readers ...string) (*driver, *chunkgen.Index) {
	t.Helper()
	if err := slowfs.Unavailable(); err != nil {
		t.Skip(err)
	}
	x, err := chunkgen.Write(context.Background(), t.TempDir(), chunkgen.Options{Count: 20, Size: 4_000}, nil)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	return &driver{exe: exe, opts: options{readers: readers, cacheTime: time.Minute}}, x
}

func TestAPointIsMeasured(t *testing.T) {
	d, x := testDriver(t, peers.Stock, peers.Threads, peers.Stock)
	m, err := d.point(context.Background(), point{time.Millisecond, 4_000, 10, 0}, x)
	require.NoError(t, err)
	require.Equal(t, roundsMin, m.Rounds)
	require.Equal(t, "1 ms, 10 x 4 KB", m.title)
	require.Zero(t, m.Void)
	require.Len(t, m.Readers, 3)
	for i, r := range m.Readers {
		require.Equal(t, roundsMin, r.Wall.N)
		require.Equal(t, roundsMin, r.Ratio.N)
		require.Greater(t, r.Wall.P50, 3.0, "a LOOKUP, an OPEN and a READ in a row take 3 ms at least")
		require.Positive(t, r.UnderWay)
		require.GreaterOrEqual(t, r.Reads, 1.0)
		require.Positive(t, r.Tasks.Own)
		require.Equal(t, d.opts.readers[i], r.Name)
	}
	require.Equal(t, stats.Of([]float64{1, 1, 1, 1, 1}), m.Readers[0].Ratio, "of stock to itself")
	require.Equal(t, "threads", m.Readers[1].Backend)

	var out bytes.Buffer
	run := newRun(d.opts)
	run.Points = append(run.Points, *m)
	head(&out, run)
	columns(&out, contenders(d.opts.readers, point{}))
	line(&out, m)
	foot(&out, run)
	rows := strings.Split(out.String(), "\n")[5:8]
	for _, row := range rows {
		require.Equal(t, strings.Count(rows[0], "|"), strings.Count(row, "|"), row)
	}
	require.Contains(t, out.String(), "threads ran on: threads")
}

// Parts of chunks are read where the Loki can do so, and what is called that is never whole chunks.
func TestARangeIsMeasured(t *testing.T) {
	d, _ := testDriver(t, peers.Stock, peers.Threads)
	p := point{time.Millisecond, 400_000, 3, rangeSpan}
	_, opts := p.store()
	opts.Count, opts.Block = 3, 40_000
	x, err := chunkgen.Write(context.Background(), t.TempDir(), opts, nil)
	require.NoError(t, err)
	m, err := d.point(context.Background(), p, x)
	if !decodesEnds() {
		require.ErrorContains(t, err, errWhole.Error())
		return
	}
	require.NoError(t, err)
	require.Len(t, m.Readers, 3)
	for _, r := range m.Readers[:2] {
		require.Equal(t, 1.0, r.Opens, r.Name)
		require.Greater(t, r.KB, 390.0, r.Name)
	}
	parts := m.Readers[2]
	require.Equal(t, "threads, parts", parts.Name)
	require.Equal(t, "threads", parts.Backend)
	require.Less(t, parts.KB, 390.0)
	require.GreaterOrEqual(t, parts.Opens, 1.0)
}

// decodesEnds tells whether this program's Loki can hold chunks of which only parts were read.
func decodesEnds() bool {
	_, ok := reflect.TypeFor[*chunk.Chunk]().MethodByName("DecodeEnds")
	return ok
}

// What is not measured must not look measured, and leaves no mount behind.
func TestAReaderThatFailsEndsThePoint(t *testing.T) {
	d, x := testDriver(t, peers.Stock, "nobody")
	_, err := d.point(context.Background(), point{time.Millisecond, 4_000, 10, 0}, x)
	require.ErrorContains(t, err, "unknown peer")

	d.opts.readers = []string{peers.Stock, peers.Threads}
	require.NoError(t, os.Truncate(x.Path(x.Refs[3]), 100))
	_, err = d.point(context.Background(), point{time.Millisecond, 4_000, 10, 0}, x)
	require.ErrorContains(t, err, "stock")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = d.point(ctx, point{time.Millisecond, 4_000, 2, 0}, x)
	require.ErrorIs(t, err, context.Canceled)

	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), x.Dir())
}

func TestASampleFromACacheIsVoid(t *testing.T) {
	files := []chunkgen.Ref{{Path: "a", Size: 100}, {Path: "b", Size: 100}}
	whole := slowfs.FileCounts{Lookups: 1, Opens: 1, Reads: 1, Bytes: 100}
	require.NoError(t, isVoid(files, slowfs.Counts{Files: map[string]slowfs.FileCounts{"a": whole, "b": whole}}, false))
	for why, change := range map[string]func(*slowfs.FileCounts){
		"b was not looked up":      func(c *slowfs.FileCounts) { c.Lookups = 0 },
		"b was not opened":         func(c *slowfs.FileCounts) { c.Opens = 0 },
		"99 of the 100 bytes of b": func(c *slowfs.FileCounts) { c.Bytes-- },
	} {
		b := whole
		change(&b)
		require.ErrorContains(t, isVoid(files, slowfs.Counts{Files: map[string]slowfs.FileCounts{"a": whole, "b": b}}, false), why)
	}
	part := slowfs.FileCounts{Lookups: 1, Opens: 2, Reads: 3, Bytes: 40}
	require.NoError(t, isVoid(files, slowfs.Counts{Files: map[string]slowfs.FileCounts{"a": part, "b": part}}, true))
	require.ErrorContains(t, isVoid(files, slowfs.Counts{Files: map[string]slowfs.FileCounts{"a": part, "b": whole}}, true), "a part of them")
}

// A sample is taken from the storage even where the kernel would know it all.
func TestEverySampleIsCold(t *testing.T) {
	d, x := testDriver(t, peers.Stock)
	at := t.TempDir()
	storage, err := d.start(context.Background(), roleServe, "the storage", serveConfig{Dir: x.Dir(), At: at, CacheTime: time.Hour}, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, storage.Stop()) }()
	child, err := d.start(context.Background(), roleRead, peers.Stock, readConfig{Index: x.Dir(), Dir: at, Peer: peers.Stock, Files: 5}, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, child.Stop()) }()
	r := &reader{process: child}
	require.NoError(t, r.Freeze())
	s := &session{storage: storage, files: x.Refs[:5]}
	for range 3 {
		_, _, err := s.sample(r)
		require.NoError(t, err)
	}
	require.Zero(t, s.void)
	s.files = x.Refs[:6] // one that is not read
	_, _, err = s.sample(r)
	require.ErrorContains(t, err, "again and again")
	require.Equal(t, 1+repeatsMax, s.void)
}

func TestThreadsAreCounted(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { require.NoError(t, cmd.Process.Kill()) }()
	stop := watchTasks(cmd.Process.Pid)
	seen, err := stop()
	require.NoError(t, err)
	require.Equal(t, tasks{Own: 1}, seen)
	_, err = countTasks(-1)
	require.Error(t, err)
}

func TestFlags(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "100 x"})
	require.NoError(t, err)
	require.Equal(t, []point{{10 * time.Millisecond, 4_000, 100, 0}, {10 * time.Millisecond, 200_000, 100, 0}}, choose(o))
	o, err = parse(nil)
	require.NoError(t, err)
	require.Len(t, choose(o), 45)
	for _, p := range choose(o) {
		require.LessOrEqual(t, p.files, filesMax)
	}
	require.Equal(t, "20 ms, 100 x 1.2 MB", choose(o)[35].title())
	require.Equal(t, "0.2 ms, 1 x 1.2 MB, 2 minutes of it", choose(o)[36].title())
	for _, args := range [][]string{{"-only", "("}, {"x"}, {"-readers", "threads"}, {"-readers", "stock,nobody"}, {"-cap", "-1s"}} {
		_, err := parse(args)
		require.Error(t, err, args)
	}
}
