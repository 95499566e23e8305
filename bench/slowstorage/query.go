// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql/log"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/chunkring"
)

// query reads the lines of a short range out of a batch, as one part of a query does in Loki: GetChunks, and then
// one goroutine comes to the blocks, one after the other and the last first.
type query struct {
	peer          peers.Peer
	refs          []chunk.Chunk
	from, through time.Time
	partly        bool
}

// newQuery takes the range from the middle of what all chunks cover.
func newQuery(peer peers.Peer, refs []chunkgen.Ref, span time.Duration, partly bool) *query {
	q := &query{peer: peer, partly: partly}
	from, through := refs[0].From, refs[0].Through
	for _, r := range refs {
		q.refs = append(q.refs, r.Chunk())
		from, through = max(from, r.From), min(through, r.Through)
	}
	q.from = time.UnixMilli(from + (through-from)/2)
	q.through = q.from.Add(span)
	return q
}

// partlyReader is a peer that can tell how many chunks it has read partly.
type partlyReader interface {
	PartlyRead() (float64, error)
}

var errWhole = errors.New("whole chunks were read, not parts: is this built with a patched Loki, as make bench-slow does?")

func (q *query) digest(ctx context.Context) (string, error) {
	sum := sha256.New()
	if err := q.read(ctx, sum); err != nil {
		return "", err
	}
	if !q.partly {
		return fmt.Sprintf("%x", sum.Sum(nil)), nil
	}
	r, ok := q.peer.(partlyReader)
	if !ok {
		return "", fmt.Errorf("%s: %w", q.peer.Info().Name, errWhole)
	}
	n, err := r.PartlyRead()
	if err == nil && int(n) != len(q.refs) {
		err = fmt.Errorf("%v of %d chunks: %w", n, len(q.refs), errWhole)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

func (q *query) do(ctx context.Context) error { return q.read(ctx, nil) }

func (q *query) read(ctx context.Context, to io.Writer) error {
	if q.partly {
		ctx = chunkring.WithWanted(ctx, chunkring.Wanted{From: q.from, Through: q.through, Backward: true, All: true})
	}
	chunks, release, err := q.peer.Get(ctx, q.refs, nil)
	defer release()
	if err != nil {
		return err
	}
	if len(chunks) != len(q.refs) {
		return fmt.Errorf("%d of %d chunks were returned", len(chunks), len(q.refs))
	}
	// Each is of a stream of its own.
	slices.SortFunc(chunks, func(a, b chunk.Chunk) int { return cmp.Compare(a.Fingerprint, b.Fingerprint) })
	for i := range chunks {
		n, err := q.lines(ctx, &chunks[i], to)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("chunk %v has no line in the range", chunks[i].ChunkRef)
		}
	}
	return chunkring.BlockError(ctx)
}

// lines reads those of one chunk.
func (q *query) lines(ctx context.Context, c *chunk.Chunk, to io.Writer) (n int, err error) {
	facade, ok := c.Data.(*chunkenc.Facade)
	if !ok {
		return 0, fmt.Errorf("chunk data is a %T", c.Data)
	}
	pipeline := log.NewNoopPipeline().ForStream(labels.EmptyLabels())
	it, err := facade.LokiChunk().Iterator(ctx, q.from, q.through, logproto.BACKWARD, pipeline)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.Next() {
		e := it.At()
		if to != nil {
			fmt.Fprintln(to, c.Fingerprint, e.Timestamp.UnixNano(), e.Line, e.StructuredMetadata)
		}
		n++
	}
	return n, it.Err()
}
