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

type (
	wantedKey      struct{}
	blockErrorsKey struct{}
)

// wanted is a Wanted in a context, and what became of its blocks.
type wanted struct {
	Wanted
	failed firstError
	whole  *firstError // of all calls of the query; nil without WithBlockErrors
}

// firstError keeps the first error that it is given.
type firstError struct{ err atomic.Pointer[error] }

func (f *firstError) set(err error) { f.err.CompareAndSwap(nil, &err) }

func (f *firstError) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// WithWanted marks a query. In a Loki that lokifork patched, GetChunks may read only the two ends of a chunk for
// it; each block is read when an iterator comes to it. Who asks for chunks without this gets whole ones.
//
// A block that can't be read then is left out, as Loki leaves out a chunk that it can't read: that is logged and
// counted. With Config.StrictBlocks, or if the client was stopped, BlockError tells it.
func WithWanted(ctx context.Context, w Wanted) context.Context {
	whole, _ := ctx.Value(blockErrorsKey{}).(*firstError)
	return context.WithValue(ctx, wantedKey{}, &wanted{Wanted: w, whole: whole})
}

// WithBlockErrors marks the context of a whole query, in which WithWanted may mark several calls. BlockError of it
// tells of the blocks of all of them. Iterators lose errors when they are merged; this does not.
func WithBlockErrors(ctx context.Context) context.Context {
	return context.WithValue(ctx, blockErrorsKey{}, &firstError{})
}

// WithoutWanted takes back what WithWanted said: GetChunks gets whole chunks.
func WithoutWanted(ctx context.Context) context.Context {
	return context.WithValue(ctx, wantedKey{}, (*wanted)(nil))
}

// BlockError is why a query that WithWanted or WithBlockErrors marked should fail: the first block that it must not
// do without.
func BlockError(ctx context.Context) error {
	if w := wantedOf(ctx); w != nil {
		return w.failed.get()
	}
	if whole, ok := ctx.Value(blockErrorsKey{}).(*firstError); ok {
		return whole.get()
	}
	return nil
}

// FailBlocks tells the query that WithBlockErrors marked of a block that somebody else could not read for it, such as
// an ingester. BlockError of its context is err, unless another error came first. It does nothing without a mark.
func FailBlocks(ctx context.Context, err error) {
	if whole, ok := ctx.Value(blockErrorsKey{}).(*firstError); ok {
		whole.set(err)
	}
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
	if w == nil {
		return
	}
	w.failed.set(err)
	if w.whole != nil {
		w.whole.set(err)
	}
}

// wants reports whether the query looks at a block with these times, by the rule of Loki's MemChunk.Blocks.
func (w *wanted) wants(b blockAt) bool {
	return w != nil && b.MaxTime >= w.From.UnixNano() && b.MinTime <= w.Through.UnixNano()
}
