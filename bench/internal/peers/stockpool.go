// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"bytes"
	"context"
	"sync"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/util"
)

// stockPool is UNSAFE: it reads as Loki's client does, with its pool of 150 goroutines and its file
// client, but into buffers that go back to a sync.Pool as soon as a chunk is decoded. The decoded chunk
// still refers to them, so the next chunk overwrites it. The published experiment measured this; a test
// here shows the damage.
type stockPool struct {
	quiet
	store   Store
	objects *local.FSObjectClient
	buffers sync.Pool // of *bytes.Buffer
}

// stockParallel is how many goroutines Loki's client starts for a batch.
const stockParallel = 150

func newStockPool(s Store) (Peer, error) {
	objects, err := local.NewFSObjectClient(local.FSConfig{Directory: s.Dir})
	if err != nil {
		return nil, err
	}
	return &stockPool{store: s, objects: objects, buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}, nil
}

func (*stockPool) Info() Info { return Info{Name: StockPool, Unsafe: true} }

func (p *stockPool) Get(ctx context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	chunks, err := util.GetParallelChunks(ctx, stockParallel, refs,
		func(ctx context.Context, dc *chunk.DecodeContext, c chunk.Chunk) (chunk.Chunk, error) {
			return c, p.one(ctx, dc, &c, look)
		})
	return chunks, noRelease, err
}

func (p *stockPool) one(ctx context.Context, dc *chunk.DecodeContext, c *chunk.Chunk, look Look) error {
	file, size, err := p.objects.GetObject(ctx, client.FSEncoder(p.store.Schema, *c))
	if err != nil {
		return err
	}
	defer file.Close()
	buf := p.buffers.Get().(*bytes.Buffer)
	defer p.buffers.Put(buf) // under the chunk
	buf.Reset()
	buf.Grow(int(size) + bytes.MinRead)
	if _, err := buf.ReadFrom(file); err != nil {
		return err
	}
	if err := c.Decode(dc, buf.Bytes()); err != nil {
		return err
	}
	if look != nil {
		look(c)
	}
	return nil
}
