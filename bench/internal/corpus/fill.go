// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/grafana/loki/pkg/push"
	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/loglines"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	// Tenant is whose the logs are.
	Tenant = "bench"
	// TinyMax is how many tiny chunks a store may have: one in a round and nanosecond.
	TinyMax = 1000000

	tinyRound    = 30 * time.Minute // each stream leaves a chunk in every one, and none crosses a split
	flushTimeout = 20 * time.Minute
)

// Tiny is what a store of tiny chunks is like. Its streams all write Length long in every half hour, and a
// chunk is flushed after that.
type Tiny struct {
	Chunks int
	Lines  int // in a chunk; 46 make about 3.5 KB
	Length time.Duration
}

// WriteArgs: chunks of Loki's default size, which are full, not cut every hour (sync-period); nothing that
// only costs time while the store is made.
var WriteArgs = []string{
	"-ingester.chunks-block-size=262144", "-ingester.chunk-target-size=1572864", "-ingester.wal-enabled=false",
	"-ingester.chunks-retain-period=0s", "-ingester.sync-period=0s", "-ingester.concurrent-flushes=64", "-ingester.flush-check-period=1h",
}

// send pushes batches while the next ones are made.
func send(ctx context.Context, p *lokiproc.Proc, produce func(ctx context.Context, out chan<- []push.Stream) error) error {
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan []push.Stream, 2)
	g.Go(func() error {
		defer close(batches)
		return produce(ctx, batches)
	})
	g.Go(func() error {
		for batch := range batches {
			if err := lokiproc.PushStreams(ctx, p, Tenant, batch); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// hand gives a batch away, unless nobody takes it any more.
func hand(ctx context.Context, out chan<- []push.Stream, batch []push.Stream) error {
	if batch == nil {
		return nil
	}
	select {
	case out <- batch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// FillFull pushes about so many bytes of lines, and those of files of real lines, and flushes them in full chunks.
func FillFull(ctx context.Context, p *lokiproc.Proc, name string, bytes int, logs []string) (Written, error) {
	sources, err := busySources(logs)
	if err != nil {
		return Written{}, err
	}
	return fill(ctx, p, name, sources, whole, bytes)
}

// FillWide pushes about so many bytes of lines of 200 streams over 24 hours, and flushes them: with 3 MB for each
// stream, a chunk for each that covers all of the time.
func FillWide(ctx context.Context, p *lokiproc.Proc, name string, bytes int) (Written, error) {
	return fill(ctx, p, name, wideSources(), day, bytes)
}

func fill(ctx context.Context, p *lokiproc.Proc, name string, sources []source, span lokiproc.Span, bytes int) (Written, error) {
	var u *pusher
	step := cli.Progress("making store " + name + " (MB)")
	err := send(ctx, p, func(ctx context.Context, out chan<- []push.Stream) error {
		err := eachLine(sources, span, bytes, func(lines int) { u = newPusher(lines) },
			func(src source, ts time.Time, line string, meta map[string]string) error {
				u.add(src.labels, ts, line, meta)
				step(u.Bytes>>20, bytes>>20)
				return hand(ctx, out, u.batch(false))
			})
		if err != nil {
			return err
		}
		return hand(ctx, out, u.batch(true))
	})
	if err != nil {
		return Written{}, err
	}
	step(1, 1)
	return u.Written, lokiproc.Flush(ctx, p, flushTimeout)
}

// FillTiny: many streams write a few lines each; a flush makes a chunk of every stream's; and again.
func FillTiny(ctx context.Context, p *lokiproc.Proc, name string, t Tiny) (Written, error) {
	rounds := int(End.Sub(Start) / tinyRound)
	perRound := (t.Chunks + rounds - 1) / rounds
	u := newPusher(t.Chunks * t.Lines)
	m := &loglines.Maker{Rand: rand.New(rand.NewPCG(seed, 3))}
	step := cli.Progress("making store " + name + " (chunks)")
	for round := range rounds {
		n := min(perRound, t.Chunks-round*perRound)
		if n <= 0 {
			break
		}
		begin := Start.Add(time.Duration(round) * tinyRound)
		err := send(ctx, p, func(ctx context.Context, out chan<- []push.Stream) error {
			for i := range n {
				t.chunk(u, m, begin, i, n)
				if err := hand(ctx, out, u.batch(i == n-1)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return Written{}, err
		}
		if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
			return Written{}, err
		}
		step(round*perRound+n, t.Chunks)
	}
	return u.Written, nil
}

// chunk adds what the i-th of n streams writes in a round: its lines are spread over Length, its start
// is the i-th in what is left of the round. Nanoseconds are the number of the stream, so that no two
// streams ever write at the same time.
func (t Tiny) chunk(u *pusher, m *loglines.Maker, round time.Time, i, n int) {
	const grain = 100 * time.Microsecond // holds as many streams as it has nanoseconds
	begin := round.Add(time.Duration(i) * (tinyRound - t.Length) / time.Duration(n)).Truncate(grain)
	apart := (t.Length / time.Duration(t.Lines)).Truncate(grain)
	labels := fmt.Sprintf(`{app="job-%d", env="prod", instance="job-%d-%05d"}`, i%20, i%20, i)
	for line := range t.Lines {
		ts := begin.Add(time.Duration(line)*apart + time.Duration(i)).UTC()
		text, meta := m.Logfmt(ts)
		u.add(labels, ts, text, meta)
	}
}
