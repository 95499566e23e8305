// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"sync/atomic"
	"time"
)

// Wanted says what a query wants of the chunks that it gets.
type Wanted struct {
	From, Through time.Time
	Backward      bool // it begins with the last entries
	All           bool // it will look at every entry between From and Through, not only at the first ones
}

type wantedKey struct{}

// wanted is a Wanted in a context, and what became of its blocks.
type wanted struct {
	Wanted
	failed atomic.Pointer[error]
}

// WithWanted marks a query. In a Loki that lokifork patched, GetChunks may read only the two ends of a chunk for
// it; each block is read when an iterator comes to it. Who asks for chunks without this gets whole ones.
//
// A block that can't be read then is left out, as Loki leaves out a chunk that it can't read: that is logged and
// counted. With Config.StrictBlocks, or if the client was stopped, BlockError tells it.
func WithWanted(ctx context.Context, w Wanted) context.Context {
	return context.WithValue(ctx, wantedKey{}, &wanted{Wanted: w})
}

// WithoutWanted takes back what WithWanted said: GetChunks gets whole chunks.
func WithoutWanted(ctx context.Context) context.Context {
	return context.WithValue(ctx, wantedKey{}, (*wanted)(nil))
}

// BlockError is why a query that WithWanted marked should fail: the first block that it must not do without.
func BlockError(ctx context.Context) error {
	if w := wantedOf(ctx); w != nil {
		if err := w.failed.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// WantedOf is what WithWanted marked a context with.
func WantedOf(ctx context.Context) (Wanted, bool) {
	if w := wantedOf(ctx); w != nil {
		return w.Wanted, true
	}
	return Wanted{}, false
}

func wantedOf(ctx context.Context) *wanted {
	w, _ := ctx.Value(wantedKey{}).(*wanted)
	return w
}

// fail keeps the first error.
func (w *wanted) fail(err error) {
	if w != nil {
		w.failed.CompareAndSwap(nil, &err)
	}
}

// wants reports whether the query looks at a block with these times, by the rule of Loki's MemChunk.Blocks.
func (w *wanted) wants(b blockAt) bool {
	return w != nil && b.MaxTime >= w.From.UnixNano() && b.MinTime <= w.Through.UnixNano()
}
