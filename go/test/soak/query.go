// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/logql/log"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
)

// Readers that mark their calls as queries do. In a Loki that lokifork patched they get large chunks without their
// blocks, and each block is read from its file while others delete, replace and damage the file. A block either
// arrives whole, or not at all and for a reason.

// wholeBytes is the size of a chunk up to which chunkring reads it whole.
const wholeBytes = 128 << 10

var (
	firstTime, lastTime = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)

	entrySeed = maphash.MakeSeed()
)

// entries stands for the entries of one block: how many, and a hash of all that a query sees of them.
type entries struct {
	n   int
	sum uint64
}

// blocksOf gives the blocks of a chunk.
func blocksOf(c *chunk.Chunk) ([]chunkenc.Block, error) {
	facade, ok := c.Data.(*chunkenc.Facade)
	if !ok {
		return nil, fmt.Errorf("chunk data is a %T", c.Data)
	}
	return facade.LokiChunk().Blocks(firstTime, lastTime), nil
}

// entriesOf reads one block as a query does.
func entriesOf(ctx context.Context, b chunkenc.Block) (entries, error) {
	var e entries
	var h maphash.Hash
	h.SetSeed(entrySeed)
	text := func(s string) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(s)))) // a maphash takes everything
		_, _ = h.WriteString(s)
	}
	it := b.Iterator(ctx, log.NewNoopPipeline().ForStream(labels.EmptyLabels()))
	for it.Next() {
		at := it.At()
		_, _ = h.Write(binary.AppendVarint(nil, at.Timestamp.UnixNano()))
		text(at.Line)
		for _, l := range at.StructuredMetadata {
			text(l.Name)
			text(l.Value)
		}
		e.n++
	}
	e.sum = h.Sum64()
	return e, errors.Join(it.Err(), it.Close())
}

// allEntries reads the blocks of a whole chunk.
func allEntries(c *chunk.Chunk) ([]entries, error) {
	blocks, err := blocksOf(c)
	if err != nil {
		return nil, err
	}
	all := make([]entries, len(blocks))
	for i, b := range blocks {
		if all[i], err = entriesOf(context.Background(), b); err != nil {
			return nil, err
		}
		if all[i].n != b.Entries() {
			return nil, fmt.Errorf("block %d has %d entries, not %d", i, all[i].n, b.Entries())
		}
	}
	return all, nil
}

// found is a chunk that a query got.
type found struct {
	*slot
	chunk  chunk.Chunk
	before uint64 // the slot, before the query asked
}

func (l *load) queryReader(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		from := l.slots
		if r.IntN(2) == 0 {
			from = l.large
		}
		picked, refs, before := batch(r, from)
		seat := l.seats[r.IntN(len(l.seats))]
		call, cancel := patience(ctx, r)
		call = chunkring.WithWanted(call, chunkring.Wanted{From: firstTime, Through: lastTime, Backward: r.IntN(2) == 0, All: r.IntN(2) == 0})
		begin := time.Now()
		out, err := seat.client.Load().GetChunks(call, refs)
		l.times["query"].add(time.Since(begin))
		var got []found
		l.check("query", picked, before, out, err, func(op string, s *slot, c *chunk.Chunk, before uint64, now state, sure bool) string {
			if sure && now == absent { // damaged ones may have blocks that are not
				l.fail("%s %s: read, but it is %v", op, s.key, now)
			}
			got = append(got, found{s, *c, before})
			return "good"
		})
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond) // as a query that is busy with other chunks
		l.readBlocks(call, r, seat.cfg.StrictBlocks, got)
		cancel()
	}
}

// readBlocks reads some blocks of each chunk, in any order, and sometimes all bytes of it.
func (l *load) readBlocks(ctx context.Context, r *rand.Rand, strict bool, got []found) {
	failed := false
	for _, i := range r.Perm(len(got)) {
		f := &got[i]
		blocks, err := blocksOf(&f.chunk)
		if err != nil || len(blocks) != len(f.blocks) {
			l.fail("query %s: %d blocks, not %d: %v", f.key, len(blocks), len(f.blocks), err)
			continue
		}
		for _, n := range r.Perm(len(blocks))[:1+r.IntN(len(blocks))] {
			how, err := l.readBlock(ctx, strict, f, n, blocks[n])
			l.outcome("block", how, 1)
			failed = failed || err != nil && !gaveUp(err)
		}
		if r.IntN(8) == 0 {
			l.encodeFound(f)
		}
	}
	// What a merge of iterators loses, the query hears in this way.
	if err := chunkring.BlockError(ctx); (err != nil) != failed {
		l.fail("query: an iterator failed: %v; the query's error is %v", failed, err)
	}
}

// readBlock compares one block, and says how it went. Its error is the iterator's.
func (l *load) readBlock(ctx context.Context, strict bool, f *found, n int, b chunkenc.Block) (how string, err error) {
	e, err := entriesOf(ctx, b)
	now, sure := settled(f.before, f.now.Load())
	if e == f.blocks[n] && err == nil {
		l.blocks.Add(1)
		return "good", nil
	}
	at := fmt.Sprintf("block %d of %s", n, f.key)
	switch {
	case e.n > 0:
		l.fail("%s: WRONG ENTRIES: %d, wanted %d, %v", at, e.n, f.blocks[n].n, err)
		return "WRONG", err
	case len(f.want) <= wholeBytes:
		l.fail("%s, which was read whole, did not arrive: %v", at, err)
		return "WRONG", err
	case gaveUp(err) && ctx.Err() != nil:
		return "cancelled", err
	case errors.Is(err, chunkring.ErrStopped):
		return "client was stopped", err
	case errors.Is(err, syscall.EMFILE):
		l.noDescriptor.Add(1)
		return "no descriptor", err
	case strict != (err != nil):
		l.fail("%s did not arrive; strict_blocks is %v: %v", at, strict, err)
		return "WRONG", err
	case sure && now == present, sure && err != nil && !now.expected(err):
		l.fail("%s, which is %v, did not arrive: %v", at, now, err)
		return "WRONG", err
	case err != nil && !absent.expected(err) && !damaged.expected(err):
		l.fail("%s, which changes: %v", at, err)
		return "WRONG", err
	}
	return "left out", err
}

// encodeFound takes the bytes of a chunk that a query got: the whole file's, checked, or none.
func (l *load) encodeFound(f *found) {
	b, err := f.chunk.Encoded()
	now, sure := settled(f.before, f.now.Load())
	switch {
	case err == nil && string(b) != string(f.want):
		l.fail("query %s: WRONG BYTES (%d, wanted %d)", f.key, len(b), len(f.want))
	case err == nil:
		l.chunks.Add(1)
		l.bytes.Add(int64(len(b)))
		l.outcome("query's bytes", "good", 1)
	case errors.Is(err, chunkring.ErrStopped):
		l.outcome("query's bytes", "client was stopped", 1)
	case errors.Is(err, syscall.EMFILE):
		l.noDescriptor.Add(1)
		l.outcome("query's bytes", "no descriptor", 1)
	case sure && !now.expected(err), !absent.expected(err) && !damaged.expected(err):
		l.fail("query %s, which is %v: no bytes: %v", f.key, now, err)
	default:
		l.outcome("query's bytes", "left out", 1)
	}
}
