// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/grafana/loki/pkg/push"
	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/go/test/loglines"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	liveTenant     = "live"
	shippers       = 2
	shipperStreams = 4
	batchLines     = 10
	lineStep       = 40 * time.Millisecond // between two lines of a stream; a shipper sends batches as fast as they come
	takenTimeout   = time.Minute           // a batch is repeated
	pushTimeout    = 2 * time.Second       // one request; a distributor that stops may leave it unanswered (seen of 3.5.7)
	pushPause      = 100 * time.Millisecond
	askers         = 3
	pageLines      = 2000
)

// clients are those of a Loki in use: shippers that push lines, and askers. An asker knows which lines were taken, so it
// knows what must be in the answer.
type clients struct {
	start     time.Time // of the first lines
	toWriters balancer
	toReaders balancer
	shippers  [shippers]shipper
	history   []expectation // of tenants that nobody writes to any more
	// mixed: not all processes have the same version of Loki. Loki 3.6 and newer tell the lines of a metric query apart in
	// another way than 3.5 does, so together they count a line twice that is in a writer and in the store. Two unpatched
	// Lokis do.
	mixed atomic.Bool

	answered, repeated atomic.Int64
}

// shipper counts what it got a 204 for.
type shipper struct {
	lines atomic.Int64 // of each of its streams
}

// balancer hands requests to processes in turn, as a load balancer does. A process that takes no connections, or is not
// ready, is passed over.
type balancer struct {
	procs  []*lokiproc.Proc
	passed atomic.Int64

	mu   sync.Mutex
	turn int
	out  *lokiproc.Proc         // gets nothing
	busy map[*lokiproc.Proc]int // requests that it has
}

func (b *balancer) send(do func(p *lokiproc.Proc) error) error {
	for tried := 1; ; tried++ {
		p := b.begin()
		err := do(p)
		b.end(p)
		if !passOver(err) {
			return err
		}
		if tried == len(b.procs) {
			return fmt.Errorf("no process took it: %w", err)
		}
		b.passed.Add(1)
	}
}

func (b *balancer) begin() *lokiproc.Proc {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		b.turn++
		if p := b.procs[b.turn%len(b.procs)]; p != b.out {
			if b.busy == nil {
				b.busy = map[*lokiproc.Proc]int{}
			}
			b.busy[p]++
			return p
		}
	}
}

func (b *balancer) end(p *lokiproc.Proc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy[p]--
}

// drain hands nothing more to a process, and waits for the end of what it has. undrain ends that.
func (b *balancer) drain(ctx context.Context, p *lokiproc.Proc) error {
	b.mu.Lock()
	b.out = p
	b.mu.Unlock()
	return p.Poll(ctx, time.Minute, "end its requests", func() (bool, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.busy[p] == 0, nil
	})
}

func (b *balancer) undrain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out = nil
}

func passOver(err error) bool {
	var answer *lokiproc.HTTPError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &answer) && answer.Code == http.StatusServiceUnavailable
}

// work pushes and asks until stop is closed. An answer that is wrong or refused ends it.
func (c *clients) work(ctx context.Context, g *errgroup.Group, stop <-chan struct{}) {
	for n := range c.shippers {
		g.Go(func() error { return c.ship(ctx, n, stop) })
	}
	for n := range askers {
		r := rand.New(rand.NewPCG(uint64(n), 2))
		g.Go(func() error {
			for !closed(stop) {
				if err := c.askSomething(ctx, r); err != nil {
					return err
				}
				c.answered.Add(1)
			}
			return nil
		})
	}
}

func closed(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// ship pushes batch after batch, each as soon as its lines are written and the one before was taken.
func (c *clients) ship(ctx context.Context, n int, stop <-chan struct{}) error {
	pace := time.NewTicker(batchLines * lineStep)
	defer pace.Stop()
	for s := &c.shippers[n]; ; {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
		if err := c.pushUntilTaken(ctx, c.batch(n, s.lines.Load())); err != nil {
			return err
		}
		s.lines.Add(batchLines)
	}
}

// pushUntilTaken repeats a batch as Promtail and Alloy do: after 429, 5xx, and when there is no answer. They drop a batch
// that gets another 4xx, so that is a line lost.
func (c *clients) pushUntilTaken(ctx context.Context, streams []push.Stream) error {
	ctx, cancel := context.WithTimeoutCause(ctx, takenTimeout, fmt.Errorf("a batch was not taken in %s", takenTimeout))
	defer cancel()
	for {
		err := c.toWriters.send(func(p *lokiproc.Proc) error {
			ctx, cancel := context.WithTimeout(ctx, pushTimeout)
			defer cancel()
			return lokiproc.PushStreams(ctx, p, liveTenant, streams)
		})
		var answer *lokiproc.HTTPError
		if err == nil || errors.As(err, &answer) && answer.Code < 500 && answer.Code != http.StatusTooManyRequests {
			return err
		}
		c.repeated.Add(1)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pushPause):
		}
	}
}

// instance names the i-th stream of a shipper.
func instance(shipper, i int) string { return fmt.Sprintf("%d-%d", shipper, i) }

func (c *clients) batch(shipper int, from int64) []push.Stream {
	var streams []push.Stream
	for i := range shipperStreams {
		s := push.Stream{Labels: fmt.Sprintf(`{app="live", instance="%s"}`, instance(shipper, i))}
		for n := from; n < from+batchLines; n++ {
			ts, line, meta := c.line(shipper, i, n)
			e := push.Entry{Timestamp: ts, Line: line}
			for name, value := range meta {
				e.StructuredMetadata = append(e.StructuredMetadata, push.LabelAdapter{Name: name, Value: value})
			}
			slices.SortFunc(e.StructuredMetadata, func(a, b push.LabelAdapter) int { return strings.Compare(a.Name, b.Name) })
			s.Entries = append(s.Entries, e)
		}
		streams = append(streams, s)
	}
	return streams
}

// line is the n-th of a stream, always the same.
func (c *clients) line(shipper, i int, n int64) (time.Time, string, map[string]string) {
	stream := shipper*shipperStreams + i
	ts := c.start.Add(time.Duration(n) * lineStep)
	m := loglines.Maker{Rand: rand.New(rand.NewPCG(uint64(stream), uint64(n)))}
	line, meta := m.Logfmt(ts)
	return ts, fmt.Sprintf("n=%d %s", n, line), meta
}

// askSomething sends one query, about lines that are in since before it: of old tenants, or of those that are pushed now.
func (c *clients) askSomething(ctx context.Context, r *rand.Rand) error {
	if r.IntN(3) == 0 {
		e := c.history[r.IntN(len(c.history))]
		return c.toReaders.send(func(p *lokiproc.Proc) error { return rightAnswer(ctx, p, e) })
	}
	n, i := r.IntN(shippers), r.IntN(shipperStreams)
	to := c.shippers[n].lines.Load()
	if to == 0 {
		return nil
	}
	switch r.IntN(3) {
	case 0: // the newest lines
		return c.toReaders.send(func(p *lokiproc.Proc) error { return c.hasLines(ctx, p, n, i, max(0, to-500), to) })
	case 1: // some older ones
		from := r.Int64N(to)
		return c.toReaders.send(func(p *lokiproc.Proc) error { return c.hasLines(ctx, p, n, i, from, min(from+500, to)) })
	}
	return c.toReaders.send(func(p *lokiproc.Proc) error { return c.counts(ctx, p, n, i, to) })
}

// rightAnswer asks about the history. Two versions of Loki put the streams of an answer in different orders; each
// stream's lines are in the order of time in both.
func rightAnswer(ctx context.Context, p *lokiproc.Proc, e expectation) error {
	a, err := lokiproc.Ask(ctx, p, e.tenant, e.Query)
	if err != nil {
		return err
	}
	got, err := sortStreams(a.Text)
	if err == nil && !bytes.Equal(e.want, got) {
		err = fmt.Errorf("%s: tenant %s: %w", p.Label, e.tenant, &wrongAnswer{e.Query, lokiproc.Difference(e.want, got)})
	}
	return err
}

// sortStreams sorts the outermost list of an answer.
func sortStreams(text []byte) ([]byte, error) {
	var doc struct {
		Status string `json:"status"`
		Data   struct {
			ResultType string            `json:"resultType"`
			Result     []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // nothing is left out of the comparison
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	slices.SortFunc(doc.Data.Result, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	return json.Marshal(doc)
}

// counts wants all lines of a stream before the one numbered to, each once, in the count.
func (c *clients) counts(ctx context.Context, p *lokiproc.Proc, shipper, i int, to int64) error {
	times := int64(1)
	if c.mixed.Load() {
		times = 2
	}
	last, _, _ := c.line(shipper, i, to-1)
	q := lokiproc.Instant("count of a stream", last, fmt.Sprintf(`sum(count_over_time({app="live", instance="%s"}[1h]))`, instance(shipper, i)))
	a, err := lokiproc.Ask(ctx, p, liveTenant, q)
	if err != nil {
		return err
	}
	n, err := lokiproc.VectorValue(a.Text)
	if err == nil && (int64(n) < to || int64(n) > times*to) {
		err = fmt.Errorf("%s: stream %s: %d lines were taken, %d are counted", p.Label, instance(shipper, i), to, n)
	}
	return err
}

// hasLines wants lines from one number to before another, each once.
func (c *clients) hasLines(ctx context.Context, p *lokiproc.Proc, shipper, i int, from, to int64) error {
	first, _, _ := c.line(shipper, i, from)
	end, _, _ := c.line(shipper, i, to)
	q := lokiproc.Logs("lines of a stream", lokiproc.Span{From: first, To: end}, forward, pageLines*2,
		fmt.Sprintf(`{app="live", instance="%s"}`, instance(shipper, i)))
	a, err := lokiproc.Ask(ctx, p, liveTenant, q)
	if err != nil {
		return err
	}
	got, err := answerLines(a.Text)
	if err != nil {
		return err
	}
	want := make([]string, 0, to-from)
	for n := from; n < to; n++ {
		ts, line, _ := c.line(shipper, i, n)
		want = append(want, timeText(ts.UnixNano())+" "+line)
	}
	if slices.Equal(want, got) {
		return nil
	}
	return fmt.Errorf("%s: stream %s: lines %d to %d were taken, the answer has %d lines%s", p.Label, instance(shipper, i),
		from, to-1, len(got), lineDifference(want, got))
}

func lineDifference(want, got []string) string {
	for i, line := range want {
		if i == len(got) || line != got[i] {
			return fmt.Sprintf(", and at %q:\n    got %q", line, got[i:min(i+1, len(got))])
		}
	}
	return fmt.Sprintf(", too many:\n    got %q", got[len(want)])
}

// answerLines are time and text of each line of an answer, in the order of time.
func answerLines(text []byte) ([]string, error) {
	var doc struct {
		Data struct {
			Result []struct{ Values [][2]string }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	var all [][2]string
	for _, s := range doc.Data.Result {
		all = append(all, s.Values...)
	}
	slices.SortStableFunc(all, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) }) // of as many digits
	lines := make([]string, len(all))
	for i, v := range all {
		lines[i] = v[0] + " " + v[1]
	}
	return lines, nil
}

// taken are the numbers of lines of each shipper's streams for which it got a 204.
func (c *clients) taken() (n [shippers]int64) {
	for i := range c.shippers {
		n[i] = c.shippers[i].lines.Load()
	}
	return n
}

// allThere wants all lines that were taken out of a process, each once, and the whole history. It returns how many
// answers it compared.
func (c *clients) allThere(ctx context.Context, p *lokiproc.Proc) (int, error) {
	var compared atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askers)
	ask := func(do func() error) {
		g.Go(func() error {
			compared.Add(1)
			return do()
		})
	}
	for shipper, to := range c.taken() {
		for i := range shipperStreams {
			ask(func() error { return c.counts(ctx, p, shipper, i, to) })
			for from := int64(0); from < to; from += pageLines {
				ask(func() error { return c.hasLines(ctx, p, shipper, i, from, min(from+pageLines, to)) })
			}
		}
	}
	for _, e := range c.history {
		ask(func() error { return rightAnswer(ctx, p, e) })
	}
	err := g.Wait()
	return int(compared.Load()), err
}
