// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/go-kit/log"
	"golang.org/x/sync/errgroup"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"

	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/chunkring"
)

// reader is one way to read a batch. get also returns what gives the chunks' buffers back.
type reader struct {
	name     string
	releases bool // or the chunks are kept for a while
	get      func(ctx context.Context, refs []chunk.Chunk) (chunks []chunk.Chunk, release func(), err error)
	stop     func()
	kept     cache
}

func (r reader) GetChunks(ctx context.Context, refs []chunk.Chunk) ([]chunk.Chunk, error) {
	chunks, _, err := r.get(ctx, refs) // never given back: the caller keeps them
	return chunks, err
}

func clientReader(name string, c client.Client) reader {
	return reader{name, false, func(ctx context.Context, refs []chunk.Chunk) ([]chunk.Chunk, func(), error) {
		chunks, err := c.GetChunks(ctx, refs)
		return chunks, func() {}, err
	}, c.Stop, cache{}}
}

func pooledReader(name string, c *chunkring.Client) reader {
	return reader{name, true, func(ctx context.Context, refs []chunk.Chunk) ([]chunk.Chunk, func(), error) {
		batch, err := c.GetChunksPooled(ctx, refs)
		return batch.Chunks, batch.Release, err
	}, func() {}, cache{}}
}

// patched reports whether this program is built with a Loki patched by lokifork.
func patched() bool {
	_, ok := any(&chunk.Chunk{}).(interface {
		DecodeVerified(dc *chunk.DecodeContext, input []byte, blocksVerified bool) error
	})
	return ok
}

// openReaders opens Loki's client first, which the others are compared with. A chunkring client that
// runs another back-end than the named one is an error: its figures would be about something else.
func openReaders(index *chunkgen.Index, backends []string) ([]reader, func(), error) {
	store, err := local.NewFSObjectClient(local.FSConfig{Directory: index.Dir()})
	if err != nil {
		return nil, nil, err
	}
	readers := []reader{clientReader("stock", client.NewClient(store, client.FSEncoder, index.Schema()))}
	closeAll := func() {
		for _, r := range readers {
			r.stop()
		}
	}
	for _, b := range backends {
		logger := log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr))
		c, err := chunkring.New(chunkring.Config{Directory: index.Dir(), Backend: b}, index.Schema(), warnOnly(logger), nil)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		readers = append(readers, clientReader(c.Backend(), c), pooledReader(c.Backend()+", released", c))
		if c.Backend() != b {
			fmt.Fprintf(os.Stderr, "mainjob: %s was asked for but %s runs here; its row says so\n", b, c.Backend())
		}
	}
	return readers, closeAll, nil
}

func warnOnly(next log.Logger) log.Logger {
	return log.LoggerFunc(func(kv ...any) error {
		for i := 0; i+1 < len(kv); i += 2 {
			if kv[i] == "level" && fmt.Sprint(kv[i+1]) != "info" && fmt.Sprint(kv[i+1]) != "debug" {
				return next.Log(kv...)
			}
		}
		return nil
	})
}

// compare reads the batch with both and compares bytes and every decoded entry.
func compare(ctx context.Context, index *chunkgen.Index, want, got reader, step func(done, total int)) error {
	const atOnce = 50 // Loki's max_chunk_batch_size; keeps memory small
	refs := index.Chunks()
	for first := 0; first < len(refs); first += atOnce {
		part := refs[first:min(first+atOnce, len(refs))]
		a, err := readByKey(ctx, want, part)
		if err != nil {
			return err
		}
		b, err := readByKey(ctx, got, part)
		if err != nil {
			return err
		}
		var group errgroup.Group
		group.SetLimit(runtime.GOMAXPROCS(0))
		for _, ref := range part {
			ca, cb := a[ref.ChunkRef], b[ref.ChunkRef]
			group.Go(func() error {
				if err := equal(&ca, &cb); err != nil {
					return fmt.Errorf("%s and %s differ on chunk %v: %w", want.name, got.name, ref.ChunkRef, err)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		step(first+len(part), len(refs))
	}
	return nil
}

func readByKey(ctx context.Context, r reader, refs []chunk.Chunk) (map[logproto.ChunkRef]chunk.Chunk, error) {
	chunks, err := r.GetChunks(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	if len(chunks) != len(refs) {
		return nil, fmt.Errorf("%s returned %d of %d chunks", r.name, len(chunks), len(refs))
	}
	m := make(map[logproto.ChunkRef]chunk.Chunk, len(chunks))
	for _, c := range chunks {
		m[c.ChunkRef] = c
	}
	return m, nil
}

func equal(a, b *chunk.Chunk) error {
	ea, err := a.Encoded()
	if err != nil {
		return err
	}
	eb, err := b.Encoded()
	if err != nil {
		return err
	}
	if !bytes.Equal(ea, eb) {
		return fmt.Errorf("bytes (%d and %d)", len(ea), len(eb))
	}
	if a.Metric.String() != b.Metric.String() || a.Encoding != b.Encoding {
		return fmt.Errorf("labels or encoding")
	}
	var entries []logproto.Entry
	if err := chunkgen.Lines(*a, func(e logproto.Entry) { entries = append(entries, e) }); err != nil {
		return err
	}
	i, same := 0, true
	if err := chunkgen.Lines(*b, func(e logproto.Entry) {
		same = same && i < len(entries) && entries[i].Equal(e)
		i++
	}); err != nil {
		return err
	}
	if !same || i != len(entries) {
		return fmt.Errorf("entries (%d and %d)", len(entries), i)
	}
	return nil
}
