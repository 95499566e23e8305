// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// Spans go to the provider that the process has set, as Loki's own do, so this process is a child.
func TestSpans(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	spans := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample()))))
	m := newMixed(t)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, m.dir, backend, v13)
		query, parent := otel.Tracer("test").Start(context.Background(), "query")
		// span is the only one that do makes, which must say what it is given.
		span := func(name string, want map[string]any, do func(ctx context.Context) error) {
			t.Helper()
			spans.Reset()
			err := do(query)
			got := spans.GetSpans()
			require.Len(t, got, 1)
			s := got[0]
			require.Equal(t, name, s.Name)
			require.Equal(t, parent.SpanContext().SpanID(), s.Parent.SpanID())
			require.Equal(t, parent.SpanContext().TraceID(), s.SpanContext.TraceID())
			require.True(t, s.EndTime.After(s.StartTime))
			attributes := map[string]any{}
			for _, a := range s.Attributes {
				attributes[string(a.Key)] = a.Value.AsInterface()
			}
			require.Equal(t, want, attributes)
			if err == nil {
				require.Equal(t, codes.Unset, s.Status.Code)
				require.Empty(t, s.Events)
				return
			}
			require.Equal(t, codes.Error, s.Status.Code)
			require.Equal(t, err.Error(), s.Status.Description)
			require.Len(t, s.Events, 1)
			require.Equal(t, "exception", s.Events[0].Name)
			require.Contains(t, fmt.Sprint(s.Events[0].Attributes), err.Error())
		}

		goodBytes := int64(size(t, m.dir, m.good))
		span("chunkring.GetChunks", map[string]any{"requested": int64(2), "fetched": int64(2), "bytes": 2 * goodBytes, "backend": backend},
			func(ctx context.Context) error {
				_, err := c.GetChunks(ctx, []chunk.Chunk{m.good, m.good})
				require.NoError(t, err)
				return err
			})
		span("chunkring.GetChunks", map[string]any{"requested": int64(3), "fetched": int64(1), "bytes": goodBytes + int64(size(t, m.dir, m.damaged)), "backend": backend},
			func(ctx context.Context) error {
				b, err := c.GetChunksPooled(ctx, []chunk.Chunk{m.good, m.missing, m.damaged})
				require.ErrorIs(t, err, chunk.ErrInvalidChecksum)
				b.Release()
				return err
			})
		span("chunkring.GetChunks", map[string]any{"requested": int64(1), "fetched": int64(0), "bytes": int64(0), "backend": backend},
			func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				_, err := c.GetChunks(ctx, []chunk.Chunk{m.good})
				require.ErrorIs(t, err, context.Canceled)
				return err
			})

		stored := must(c.GetChunks(context.Background(), []chunk.Chunk{m.good}))[0]
		outside := stored
		outside.UserID = ".."
		span("chunkring.PutChunks", map[string]any{"requested": int64(1), "stored": int64(1), "bytes": goodBytes},
			func(ctx context.Context) error {
				err := c.PutChunks(ctx, []chunk.Chunk{stored})
				require.NoError(t, err)
				return err
			})
		span("chunkring.PutChunks", map[string]any{"requested": int64(3), "stored": int64(2), "bytes": 2 * goodBytes},
			func(ctx context.Context) error {
				err := c.PutChunks(ctx, []chunk.Chunk{stored, outside, stored})
				require.Error(t, err)
				return err
			})

		key := v13.ExternalKey(m.good.ChunkRef)
		span("chunkring.DeleteChunk", map[string]any{"tenant": "good", "key": key}, func(ctx context.Context) error {
			err := c.DeleteChunk(ctx, "good", key)
			require.NoError(t, err)
			return err
		})
		span("chunkring.DeleteChunk", map[string]any{"tenant": "good", "key": key}, func(ctx context.Context) error {
			err := c.DeleteChunk(ctx, "good", key)
			require.True(t, c.IsChunkNotFoundErr(err))
			return err
		})
		span("chunkring.DeleteChunk", map[string]any{"tenant": "good", "key": "garbage"}, func(ctx context.Context) error {
			return c.DeleteChunk(ctx, "good", "garbage")
		})
		parent.End()

		// Who asks without a span starts a trace, and who is not sampled none.
		spans.Reset()
		require.NoError(t, c.PutChunks(context.Background(), []chunk.Chunk{stored})) // there again for the next back-end
		require.Len(t, spans.GetSpans(), 1)
		require.False(t, spans.GetSpans()[0].Parent.IsValid())
		unsampled, none := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("test").Start(context.Background(), "query")
		defer none.End()
		spans.Reset()
		_, err := c.GetChunks(unsampled, []chunk.Chunk{m.good, m.missing})
		require.Error(t, err)
		require.NoError(t, c.PutChunks(unsampled, []chunk.Chunk{stored}))
		require.Error(t, c.DeleteChunk(unsampled, "good", "garbage"))
		require.Empty(t, spans.GetSpans())
	})
}
