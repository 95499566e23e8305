// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/core"
)

// A context that ends with a cause of its own between reading and decoding is still a context's error.
func TestContextEndsBeforeDecoding(t *testing.T) {
	why := errors.New("the query was dropped")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	d := decoding{c: &Client{store: &store{}}, ctx: ctx, files: []core.File{{Status: core.OK}, {Status: core.Canceled}},
		chunks: make([]chunk.Chunk, 2), out: make([]chunk.Chunk, 2), errs: make([]error, 2)}
	for i := range d.files {
		d.one(i)
		require.ErrorIs(t, d.errs[i], context.Canceled)
		require.ErrorIs(t, d.errs[i], why)
		require.Equal(t, "canceled", resultOf(d.errs[i]))
	}
}
