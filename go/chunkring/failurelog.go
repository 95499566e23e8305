// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// A store whose disk fails has every chunk fail: enough lines to see it, and the number of the others,
// in the log and in chunkring_log_lines_dropped_total. The error itself always reaches the caller.
const (
	logLinesPerSecond = 10
	logLinesBurst     = 100
	logLeftOutEvery   = time.Second // at most one line in that time says how many were left out
)

// failureLog writes the lines about chunks that failed: one a chunk, within the bounds above.
type failureLog struct {
	logger  log.Logger
	limiter *rate.Limiter
	dropped prometheus.Counter

	mu      sync.Mutex
	leftOut int // lines, since the log last said how many; a timer runs while it is not 0
}

func newFailureLog(logger log.Logger, dropped prometheus.Counter) *failureLog {
	return &failureLog{logger: logger, limiter: rate.NewLimiter(logLinesPerSecond, logLinesBurst), dropped: dropped}
}

// chunks logs each chunk that failed in one call, doing being "reading". A chunk that does not exist is
// a warning: the store is sound, and the index may be ahead of a delete. A caller that gave up is not
// the store's fault, and which chunks it gave up says nothing: one line for all, which counts for no
// bound, since it must not push out a line about damage and whoever logs at debug wants it.
func (l *failureLog) chunks(doing string, failed []*ChunkError) {
	gaveUp, why := 0, error(nil)
	for _, f := range failed {
		if ctxError(f.Err) {
			gaveUp, why = gaveUp+1, f.Err
			continue
		}
		at := level.Error
		if errors.Is(f.Err, fs.ErrNotExist) {
			at = level.Warn
		}
		l.line(at, "msg", doing+" a chunk failed", "key", f.Key, "path", f.Path, "err", f.Err)
	}
	if gaveUp > 0 {
		level.Debug(l.logger).Log("msg", "the caller gave up "+doing+" chunks", "chunks", gaveUp, "err", why)
	}
}

// line logs one line, or counts it as left out.
func (l *failureLog) line(at func(log.Logger) log.Logger, keyvals ...any) {
	if l.limiter.Allow() {
		at(l.logger).Log(keyvals...)
		return
	}
	l.dropped.Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leftOut++; l.leftOut == 1 {
		time.AfterFunc(logLeftOutEvery, l.sayLeftOut)
	}
}

// sayLeftOut is called by the timer, and at Stop. It logs under the lock, so that a timer that was late
// logs nothing after Stop.
func (l *failureLog) sayLeftOut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leftOut > 0 {
		level.Warn(l.logger).Log("msg", "lines about failed chunks were left out", "lines", l.leftOut)
		l.leftOut = 0
	}
}
