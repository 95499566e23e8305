// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// gate stops gets of the origin until it is opened, or their context ends.
type gate struct {
	came   chan logproto.ChunkRef // each get that has come to it
	opened chan struct{}
}

func newGate(o *origin) *gate {
	g := &gate{came: make(chan logproto.ChunkRef, 10000), opened: make(chan struct{})}
	o.hook(func(ctx context.Context, ref logproto.ChunkRef) error {
		g.came <- ref
		select {
		case <-g.opened:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return g
}

type answer struct {
	got []chunk.Chunk
	err error
}

func (c *Client) ask(ctx context.Context, chunks ...chunk.Chunk) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		got, err := c.GetChunks(ctx, refsOf(chunks))
		done <- answer{got, err}
	}()
	return done
}

// waiters waits until so many calls have missed the folder and either fetch or wait.
func (c *Client) waiters(t *testing.T, calls int) {
	t.Helper()
	comesTrue(t, func() bool { return c.flights.boarded.Load() >= int64(calls) })
}

func TestManyMissesOneGet(t *testing.T) {
	const calls = 3000
	chunks := someChunks(t, 1, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	g := newGate(o)
	answers := make(chan answer, calls)
	for range calls {
		go func() {
			got, err := c.GetChunks(context.Background(), refsOf(chunks))
			answers <- answer{got, err}
		}()
	}
	c.waiters(t, calls)
	close(g.opened)
	var data sync.Map
	for range calls {
		a := <-answers
		require.NoError(t, a.err)
		requireChunks(t, chunks, a.got)
		_, loaded := data.LoadOrStore(a.got[0].Data, true)
		require.False(t, loaded, "each call has a decoded chunk of its own")
	}
	o.requireGets(t, chunks, 1)
	require.EqualValues(t, calls-1, value(c.metrics.chunks[resultShared]))
	require.Empty(t, c.flights.open)
}

// Who fetches is cancelled: one of those that wait takes over.
func TestLeaderIsCancelled(t *testing.T) {
	chunks := someChunks(t, 2, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	g := newGate(o)
	ctx, cancel := context.WithCancel(context.Background())
	leader := c.ask(ctx, chunks...)
	<-g.came
	var waiting []<-chan answer
	for range 50 {
		waiting = append(waiting, c.ask(context.Background(), chunks...))
	}
	c.waiters(t, 51)
	cancel()
	require.ErrorIs(t, (<-leader).err, context.Canceled)
	<-g.came // of the new leader
	close(g.opened)
	for _, w := range waiting {
		a := <-w
		require.NoError(t, a.err)
		requireChunks(t, chunks, a.got)
	}
	o.requireGets(t, chunks[:1], 2)
	o.requireGets(t, chunks[1:], 2)
	require.Empty(t, c.flights.open)
}

// Who waits leaves when its context ends, and nobody else notices.
func TestWaiterLeaves(t *testing.T) {
	chunks := someChunks(t, 1, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	g := newGate(o)
	leader := c.ask(context.Background(), chunks...)
	<-g.came
	ctx, cancel := context.WithCancel(context.Background())
	waiter := c.ask(ctx, chunks...)
	c.waiters(t, 2)
	cancel()
	require.ErrorIs(t, (<-waiter).err, context.Canceled)
	close(g.opened)
	a := <-leader
	require.NoError(t, a.err)
	requireChunks(t, chunks, a.got)
	o.requireGets(t, chunks, 1)
}

// A call that fetches one chunk and waits for another keeps what it fetched when its context ends.
func TestCancelledWhileItWaits(t *testing.T) {
	chunks := someChunks(t, 2, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	g := newGate(o)
	leader := c.ask(context.Background(), chunks[0])
	<-g.came
	o.hook(nil)
	ctx, cancel := context.WithCancel(context.Background())
	both := c.ask(ctx, chunks...)
	comesTrue(t, func() bool { return value(c.metrics.chunks[resultMiss]) == 1 })
	cancel()
	a := <-both
	require.ErrorIs(t, a.err, context.Canceled)
	requireChunks(t, chunks[1:], a.got)
	close(g.opened)
	require.NoError(t, (<-leader).err)
}

// Copies are written also of chunks whose query was cancelled by its limit.
func TestCancelledFetchIsKept(t *testing.T) {
	chunks := someChunks(t, 20, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	o.hook(func(context.Context, logproto.ChunkRef) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	got, err := c.GetChunks(ctx, refsOf(chunks))
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, got, 10)
	settle(t, c)
	files, _ := copies(t, c.cfg.Directory)
	require.Len(t, files, 10)
}

// The error of a call that asked for one chunk is that chunk's, so all who wait get it.
func TestErrorOfOneChunkIsShared(t *testing.T) {
	chunks := someChunks(t, 1, 3000)
	o := originOf(t, nil)
	c := openClient(t, configOf(t.TempDir()), o)
	g := newGate(o)
	var all []<-chan answer
	for range 100 {
		all = append(all, c.ask(context.Background(), chunks...))
	}
	c.waiters(t, 100)
	close(g.opened)
	for _, one := range all {
		require.ErrorIs(t, (<-one).err, errNotFound)
	}
	o.requireGets(t, chunks, 1)
}

// The error of several chunks may be another chunk's: who waits for one of them must not take it for missing.
func TestErrorOfSeveralChunksIsNotShared(t *testing.T) {
	chunks := someChunks(t, 2, 3000)
	missing, slow := chunks[0], chunks[1]
	o := originOf(t, []chunk.Chunk{slow})
	c := openClient(t, configOf(t.TempDir()), o)
	failed := errors.New("timeout")
	came, opened := make(chan struct{}, 1), make(chan struct{})
	o.hook(func(_ context.Context, ref logproto.ChunkRef) error {
		if ref == slow.ChunkRef {
			came <- struct{}{}
			<-opened
			return failed
		}
		return nil
	})
	leader := c.ask(context.Background(), missing, slow)
	<-came
	waiter := c.ask(context.Background(), slow)
	c.waiters(t, 2)
	o.hook(nil)
	close(opened)
	require.Error(t, (<-leader).err)
	a := <-waiter
	require.NoError(t, a.err, "it asked by itself")
	requireChunks(t, []chunk.Chunk{slow}, a.got)
	o.requireGets(t, []chunk.Chunk{slow}, 2)
}

// "Not found" is the answer only if nothing else went wrong: Loki goes on after it.
func TestWorseErrorWins(t *testing.T) {
	o := originOf(t, nil)
	c := openClient(t, configOf(t.TempDir()), o)
	other := errors.New("other")
	require.Equal(t, other, c.worse(other, errNotFound))
	require.Equal(t, other, c.worse(errNotFound, other))
	require.Equal(t, errNotFound, c.worse(errNotFound, nil))
	require.Equal(t, errNotFound, c.worse(nil, errNotFound))
	require.NoError(t, c.worse(nil, nil))
}

// A panic of the origin leaves nobody waiting.
func TestOriginPanics(t *testing.T) {
	chunks := someChunks(t, 2, 3000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	came, opened := make(chan struct{}, 2), make(chan struct{})
	o.hook(func(context.Context, logproto.ChunkRef) error {
		came <- struct{}{}
		<-opened
		panic("origin")
	})
	panicked := make(chan any, 1)
	go func() {
		defer func() { panicked <- recover() }()
		_, _ = c.GetChunks(context.Background(), refsOf(chunks))
	}()
	<-came
	waiter := c.ask(context.Background(), chunks...)
	c.waiters(t, 2)
	o.hook(nil)
	close(opened)
	require.Equal(t, "origin", <-panicked)
	a := <-waiter
	require.NoError(t, a.err)
	requireChunks(t, chunks, a.got)
}

// Two calls that fetch what the other waits for don't wait for ever.
func TestCrossedCalls(t *testing.T) {
	chunks := someChunks(t, 40, 1000)
	for range 20 {
		o := originOf(t, chunks)
		c := openClient(t, configOf(t.TempDir()), o)
		forth, back := refsOf(chunks), refsOf(chunks)
		for i := range back {
			back[i] = chunk.Chunk{ChunkRef: chunks[len(chunks)-1-i].ChunkRef}
		}
		var all sync.WaitGroup
		for _, asked := range [][]chunk.Chunk{forth, back, forth[10:], back[10:]} {
			all.Go(func() {
				if got, err := c.GetChunks(context.Background(), asked); err != nil || len(got) != len(asked) {
					t.Errorf("%d chunks, %v", len(got), err)
				}
			})
		}
		all.Wait()
		o.requireGets(t, chunks, 1)
		c.Stop()
	}
}
