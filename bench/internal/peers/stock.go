// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/local"
)

// stock is Loki's own client over its own file client.
type stock struct {
	quiet
	client client.Client
}

func newStock(s Store) (Peer, error) {
	store, err := local.NewFSObjectClient(local.FSConfig{Directory: s.Dir})
	if err != nil {
		return nil, err
	}
	return &stock{client: client.NewClient(store, client.FSEncoder, s.Schema)}, nil
}

func (*stock) Info() Info { return Info{Name: Stock} }

func (s *stock) Get(ctx context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	chunks, err := s.client.GetChunks(ctx, refs)
	lookAll(chunks, look)
	return chunks, noRelease, err
}

func (s *stock) Stop() { s.client.Stop() }
