// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

// A read that is held up in its allocation shows in the gauge, and only so long.
func TestInFlight(t *testing.T) {
	dir, chunks := pooledStore(t)
	reg := prometheus.NewRegistry()
	c, err := New(Config{Directory: dir}, chunkgen.Schema("v13"), nil, reg)
	require.NoError(t, err)
	defer c.Stop()
	reaches := func(want int) {
		t.Helper()
		require.Eventually(t, func() bool { return testutil.ToFloat64(c.metrics.inFlight) == float64(want) }, 10*time.Second, time.Millisecond)
	}
	reaches(0)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan error, 3)
	c.pool.mu.Lock() // what GetChunksPooled allocates from
	unlock := sync.OnceFunc(c.pool.mu.Unlock)
	defer unlock()
	for _, n := range []int{1, len(chunks)} {
		go func() {
			b, err := c.GetChunksPooled(context.Background(), chunks[:n])
			b.Release()
			done <- err
		}()
	}
	reaches(1 + len(chunks))
	_, err = c.GetChunks(canceled, chunks)
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.GetChunks(context.Background(), []chunk.Chunk{{}})
	require.Error(t, err)
	reaches(1 + len(chunks))
	select {
	case err := <-done:
		t.Fatalf("a read without a buffer came back: %v", err)
	default:
	}
	unlock()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.Zero(t, testutil.ToFloat64(c.metrics.inFlight))
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP chunkring_in_flight_chunks Chunks that are being read now.
# TYPE chunkring_in_flight_chunks gauge
chunkring_in_flight_chunks 0
`), "chunkring_in_flight_chunks"))
}

// A panic in decoding is an error of that chunk, counted, and logged with path and stack as long as
// there are not too many.
func TestPanics(t *testing.T) {
	lines := &keptLines{}
	dir := t.TempDir()
	c, err := New(Config{Directory: dir}, chunkgen.Schema("v13"), lines, nil)
	require.NoError(t, err)
	defer c.Stop()
	const panics = 1000
	for range panics {
		d := &decoding{c: c, ctx: context.Background(), files: []core.File{{Path: "some/file", Status: core.OK}}, errs: make([]error, 1)}
		d.one(0) // there is no room for the chunk
		require.ErrorIs(t, d.errs[0], ErrPanic)
		require.ErrorContains(t, d.errs[0], "index out of range")
		require.Equal(t, kindPanic, corruption(d.errs[0]))
		require.Equal(t, resultMalformed, resultOf(d.errs[0]))
	}
	require.EqualValues(t, panics, testutil.ToFloat64(c.metrics.panics))
	logged := lines.count("decoding a chunk panicked")
	require.GreaterOrEqual(t, logged, logLinesBurst)
	require.Less(t, logged, panics/2)
	require.EqualValues(t, panics-logged, testutil.ToFloat64(c.metrics.linesDropped))
	require.Equal(t, logged, lines.count(filepath.Join(dir, "some/file")))
	require.Equal(t, logged, lines.count("decode.go"), "the stack")
}

// A file system that can't sync folders: puts succeed, it is said once a store, and each folder counts.
func TestFoldersNotSynced(t *testing.T) {
	dir, chk := twoLayouts(t)
	lines := &keptLines{}
	one, two := newShared(t, dir, "v13", lines, nil), newShared(t, dir, "v11", lines, nil)
	full, err := one.GetChunks(context.Background(), []chunk.Chunk{chk})
	require.NoError(t, err)
	require.NoError(t, one.PutChunks(context.Background(), full))
	require.Zero(t, lines.count("can't be synced"))
	for range 3 {
		one.dir.NotSynced("t/f", syscall.EBADF) // as chunkfile's TestFsyncFails has it called
		two.dir.NotSynced("t/g", syscall.EBADF)
	}
	require.Equal(t, 1, lines.count("can't be synced"))
	require.Equal(t, 1, lines.count(filepath.Join(dir, "t/f")))
	require.Equal(t, 1, lines.count("reason "+syscall.EBADF.Error()))
	require.EqualValues(t, 6, testutil.ToFloat64(one.metrics.notSynced))
}

// An error names the operation that failed: "read: too many open files" sends an operator the wrong way.
func TestErrorsNameTheOperation(t *testing.T) {
	for op, name := range map[core.Op]string{core.OpOpen: "open", core.OpStat: "stat", core.OpRead: "read"} {
		err := fileError(context.Background(), &core.File{Status: core.IO, Errno: syscall.EMFILE, Op: op}, "/a/b")
		require.ErrorIs(t, err, syscall.EMFILE)
		require.EqualError(t, err, name+" /a/b: "+syscall.EMFILE.Error())
	}
}

// What no file in testdata can be.
func TestKindsOfErrors(t *testing.T) {
	ctx := context.Background()
	short := fileError(ctx, &core.File{Status: core.Short}, "x")
	require.Equal(t, kindShrinking, corruption(short))
	require.Equal(t, resultChecksum, resultOf(short))
	for status := core.NotFound; status <= core.IO; status++ {
		err := fileError(ctx, &core.File{Status: status, Buf: []byte("x")}, "x")
		kind := corruption(err)
		switch status {
		case core.Short, core.BadCRC, core.BadFormat:
			require.Contains(t, corruptions(), kind, "%v", status)
		default:
			require.Empty(t, kind, "%v is no damage: %v", status, err)
		}
		require.Contains(t, results, resultOf(err))
	}
	for r := chunkcheck.Truncated; r.String() != "unknown"; r++ {
		require.Contains(t, corruptions(), r.String(), "a reason without a series")
		require.Equal(t, r.String(), corruption(fmt.Errorf("%w: %w", ErrMalformed, &chunkcheck.Error{Reason: r})))
	}
}
