// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	blocksTenant = "blocks"
	largeChunk   = 1 << 20 // bytes at which a chunk is cut: a stream's hours fit
	largeBlock   = 32 << 10
)

// blocks has Lokis read chunks that are large enough to be read in part: stock, ours, and two of ours with
// strict_blocks: in one the querier reads the store, in the other the ingester does. Over good chunks all answers are
// stock's. When one block of one chunk is damaged, stock's answers lack the chunk, ours lack the block, and a strict
// Loki gives only answers that lack nothing.
func (t *test) blocks(ctx context.Context) error {
	store := filepath.Join(t.Root, "store-blocks")
	lines, err := t.writeLarge(ctx, store)
	if err != nil {
		return fmt.Errorf("blocks, written: %w", err)
	}
	strict, ingester := t.oursLoki, t.oursLoki
	if !t.self {
		// A damaged block stays damaged: with Loki's five retries each query would take 12 s to fail.
		strict.Name, strict.Args = "strict", append(slices.Clone(strict.Args), "-local.chunkring.strict-blocks=true", "-querier.max-retries-per-request=1")
		ingester.Name, ingester.Args = "strict ingester", append(slices.Clone(strict.Args), "-ingester.query-store-max-look-back-period=-1ns")
	}
	procs, err := t.launchAll(ctx, "blocks", lokiproc.Config{Store: store}, t.stockLoki, t.oursLoki, strict, ingester)
	if err != nil {
		return err
	}
	n := t.compared
	// A querier that leaves the store to the ingesters finds no detected labels: it is asked what chunks answer.
	if err := t.sameAll(ctx, procs[:3], blocksTenant, queries()); err != nil {
		return fmt.Errorf("blocks: %w", err)
	}
	if err := t.sameAll(ctx, []*lokiproc.Proc{procs[0], procs[3]}, blocksTenant, fromChunks()); err != nil {
		return fmt.Errorf("blocks: %w", err)
	}
	for _, p := range procs {
		m, err := p.Metrics(ctx)
		if err != nil {
			return err
		}
		if partly := m.Sum("chunkring_chunks_partly_read_total"); (partly > 0) != p.Patched {
			return fmt.Errorf("%s read %v chunks in part", p.Label, partly)
		}
	}
	t.say("blocks: %d answers equal to stock's, from chunks that were read in part", t.compared-n)
	if !t.self {
		if err := t.damagedBlock(ctx, store, lines, procs); err != nil {
			return fmt.Errorf("blocks, one damaged: %w", err)
		}
	}
	for _, p := range procs {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// writeLarge has ours write chunks that are not compressed, and returns how many lines there are.
func (t *test) writeLarge(ctx context.Context, store string) (lines int, err error) {
	c, err := makeCorpus(2*t.lines, 3, t.loghub)
	if err != nil {
		return 0, err
	}
	p, err := t.Start(ctx, t.oursLoki, "blocks write", lokiproc.Config{Store: store, Codec: "none", ChunkBytes: largeChunk, BlockBytes: largeBlock})
	if err != nil {
		return 0, err
	}
	if err := lokiproc.Push(ctx, p, blocksTenant, c.pushBatches(3000, 0, 1)); err != nil {
		return 0, err
	}
	if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
		return 0, err
	}
	return c.lines, p.Stop()
}

// damagedBlock flips a bit in the middle of the largest chunk, and asks stock, ours and the strict ones again.
func (t *test) damagedBlock(ctx context.Context, store string, lines int, procs []*lokiproc.Proc) error {
	stock, ours, strict := procs[0], procs[1], procs[2:]
	asked := fromChunks()
	var good [][]byte
	for _, q := range asked {
		a, err := lokiproc.Ask(ctx, stock, blocksTenant, q)
		if err != nil {
			return err
		}
		good = append(good, a.Text)
	}
	file, err := largest(store)
	if err != nil {
		return err
	}
	stock.Excuses = []string{"invalid chunk checksum"}
	for _, p := range procs[1:] {
		p.Excuses = []string{file}
	}
	if err := flipBit(file); err != nil {
		return err
	}

	counts := make([]int, 2)
	for i, p := range []*lokiproc.Proc{stock, ours} {
		a, err := lokiproc.Ask(ctx, p, blocksTenant, countAll())
		if err != nil {
			return err
		}
		if counts[i], err = lokiproc.VectorValue(a.Text); err != nil {
			return err
		}
	}
	if counts[0] >= counts[1] || counts[1] >= lines {
		return fmt.Errorf("of %d lines stock counts %d and ours %d: the chunk's other blocks are missing, or the damaged one is not", lines, counts[0], counts[1])
	}
	m, err := ours.Metrics(ctx)
	if err != nil {
		return err
	}
	const unreadable = "chunkring_blocks_unreadable_total"
	if all, checksum := m.Sum(unreadable), m.Sum(unreadable, `reason="checksum"`); checksum == 0 || all != checksum {
		return fmt.Errorf("%s counts %v blocks that it can't read, %v of them for their checksum", ours.Label, all, checksum)
	}
	logged, err := ours.Logged(ctx, "reading a block failed", file, "left_out=true")
	if err != nil {
		return err
	}
	if !logged {
		return fmt.Errorf("%s logged nothing of the block that it left out", ours.Label)
	}

	failed := make([][]string, len(strict))
	for i, p := range strict {
		if failed[i], err = askStrict(ctx, p, asked, good, file); err != nil {
			return err
		}
		if n := len(failed[i]); n == 0 || n == len(asked) {
			return fmt.Errorf("%s failed %d of %d queries", p.Label, n, len(asked))
		}
	}
	if !slices.Equal(failed[0], failed[1]) {
		return fmt.Errorf("%s failed %q, and %s failed %q", strict[0].Label, failed[0], strict[1].Label, failed[1])
	}
	t.say("blocks: one damaged of %d lines in all: stock counts %d, ours %d; strict_blocks failed %d queries, and %d answers lack nothing",
		lines, counts[0], counts[1], len(failed[0]), len(asked)-len(failed[0]))
	return nil
}

// askStrict asks a Loki that has strict_blocks, and returns the names of the queries that fail because of the damaged
// file. Each other answer must lack nothing.
func askStrict(ctx context.Context, p *lokiproc.Proc, asked []lokiproc.Query, good [][]byte, file string) (failed []string, err error) {
	for i, q := range asked {
		a, err := lokiproc.Ask(ctx, p, blocksTenant, q)
		var refused *lokiproc.HTTPError
		switch {
		case errors.As(err, &refused) && refused.Code == 500 && bytes.Contains(refused.Body, []byte(file)):
			failed = append(failed, q.Name)
		case err != nil:
			return nil, err
		case !bytes.Equal(good[i], a.Text):
			return nil, fmt.Errorf("query %q (%s): %s answers without the damaged block %s", q.Name, q.Params.Get("query"), p.Label, lokiproc.Difference(good[i], a.Text))
		}
	}
	return failed, nil
}

// largest is the largest chunk of a store.
func largest(store string) (file string, err error) {
	files, _, err := lokiproc.ChunkFiles(store, blocksTenant)
	most := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		if info.Size() > most {
			file, most = f, info.Size()
		}
	}
	return file, err
}
