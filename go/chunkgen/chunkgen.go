// SPDX-License-Identifier: Apache-2.0

// Package chunkgen is the door to go/internal/chunkgen for this module's programs that lie outside
// go/ (cmd/genstore, testdata/make, bench), which the compiler keeps out of go/internal. It adds
// nothing and promises nothing: it is no part of chunkring's API. Code below go/ imports the
// internal package.
package chunkgen

import (
	"context"
	"io"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkgen"
)

// Options say what Write makes.
type Options = chunkgen.Options

// Index lists the chunks of one store.
type Index = chunkgen.Index

// Ref is one chunk of an Index.
type Ref = chunkgen.Ref

// ErrOtherStore is wrapped in Write's error when the directory already holds something else.
var ErrOtherStore = chunkgen.ErrOtherStore

// Write makes a store, or finds it already made.
func Write(ctx context.Context, dir string, opts Options, progress func(done, total int)) (*Index, error) {
	return chunkgen.Write(ctx, dir, opts, progress)
}

// LoadIndex reads the index of the store in dir.
func LoadIndex(dir string) (*Index, error) { return chunkgen.LoadIndex(dir) }

// Planted is a file that Damage damaged.
type Planted = chunkgen.Planted

// Damage damages the first n chunks of a store, each in another way, up to Defects of them.
func Damage(x *Index, n int) ([]Planted, error) { return chunkgen.Damage(x, n) }

// Defects is how many kinds of damage there are.
var Defects = chunkgen.Defects

// MakeCorpus writes dir/good and dir/bad. `exe arg...` must call StockChild; it is run once a file
// of bad, to find out what Loki itself does with it.
func MakeCorpus(ctx context.Context, dir, exe string, arg ...string) error {
	return chunkgen.MakeCorpus(ctx, dir, chunkgen.Stock(exe, arg...))
}

// StockChild is what a child started by MakeCorpus does.
func StockChild(in io.Reader, out io.Writer) error { return chunkgen.StockChild(in, out) }

// Lines reads all log lines of a decoded chunk the way a query does.
func Lines(c chunk.Chunk, each func(logproto.Entry)) error { return chunkgen.Lines(c, each) }
