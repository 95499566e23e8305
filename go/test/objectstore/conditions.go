// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Conditions are those under which answers travel. The zero value is perfect ones.
type Conditions struct {
	FirstByte         time.Duration // until the answer to any request begins
	StreamBytesPerSec int           // of one GET; 0: no bound
	TotalBytesPerSec  int           // of all GETs together; 0: no bound
	Unavailable       float64       // part of all GETs that get 503
	Truncated         float64       // part of all GETs whose connection is cut after half of the body
	Seed              uint64        // of the two
}

// weather is the conditions now.
type weather struct {
	mu   sync.Mutex
	now  Conditions
	dice *rand.Rand
	line *line
}

// SetConditions holds for requests from now on.
func (s *Server) SetConditions(c Conditions) {
	s.weather.mu.Lock()
	defer s.weather.mu.Unlock()
	s.weather.now, s.weather.dice = c, rand.New(rand.NewPCG(c.Seed, 0))
	s.weather.line = &line{bytesPerSec: c.TotalBytesPerSec}
}

// fate is what will happen to one request.
type fate struct {
	Conditions
	unavailable, truncated bool
	line                   *line
}

// next throws the dice: for the n-th GET always the same way.
func (w *weather) next(get bool) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := fate{Conditions: w.now, line: w.line}
	if get {
		f.unavailable = w.dice.Float64() < w.now.Unavailable
		f.truncated = w.dice.Float64() < w.now.Truncated
	}
	return f
}

func (f *fate) waitFirstByte(ctx context.Context) bool { return wait(ctx, f.FirstByte) }

// line is what all streams share.
type line struct {
	mu          sync.Mutex
	bytesPerSec int
	free        time.Time // when all that was accepted is through
}

// through accepts bytes, and says when they are through.
func (l *line) through(n int, now time.Time) time.Time {
	if l.bytesPerSec == 0 {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(transferTime(n, l.bytesPerSec))
	return l.free
}

func transferTime(bytes, bytesPerSec int) time.Duration {
	return time.Duration(float64(bytes) / float64(bytesPerSec) * float64(time.Second))
}

// pacedBody sends the body of an answer as slowly as the conditions say. It has no ReadFrom, so that all
// bytes pass Write, in pieces of io.Copy's size.
type pacedBody struct {
	http.ResponseWriter
	ctx   context.Context
	fate  fate
	begin time.Time
	sent  int
	whole int // bytes that were promised
	cut   bool
}

func (b *pacedBody) WriteHeader(status int) {
	b.whole, _ = strconv.Atoi(b.Header().Get("Content-Length")) // 0 of an answer without a body
	b.begin = time.Now()
	b.ResponseWriter.WriteHeader(status)
}

func (b *pacedBody) Write(piece []byte) (int, error) {
	if b.fate.truncated && b.sent+len(piece) > b.whole/2 {
		piece = piece[:b.whole/2-b.sent]
		b.cut = true
	}
	if err := b.pace(len(piece)); err != nil {
		return 0, err
	}
	n, err := b.ResponseWriter.Write(piece)
	b.sent += n
	if b.cut {
		_ = http.NewResponseController(b.ResponseWriter).Flush() // as much as may arrive
		panic(http.ErrAbortHandler)                              // and cut the connection
	}
	return n, err
}

// pace waits until a piece may be through.
func (b *pacedBody) pace(n int) error {
	now := time.Now()
	due := b.fate.line.through(n, now)
	if rate := b.fate.StreamBytesPerSec; rate > 0 {
		if own := b.begin.Add(transferTime(b.sent+n, rate)); own.After(due) {
			due = own
		}
	}
	if !wait(b.ctx, due.Sub(now)) {
		return context.Cause(b.ctx)
	}
	return nil
}

// wait reports whether the time passed before the context ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
