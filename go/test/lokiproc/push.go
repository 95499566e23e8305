// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"
)

// Push sends bodies in JSON, one after the other.
func Push(ctx context.Context, p *Proc, tenant string, bodies [][]byte) error {
	for _, body := range bodies {
		if err := pushOne(ctx, p, tenant, "application/json", body); err != nil {
			return err
		}
	}
	return nil
}

// PushStreams sends what Promtail and Alloy send: protobuf in a snappy block.
func PushStreams(ctx context.Context, p *Proc, tenant string, streams []push.Stream) error {
	body, err := (&push.PushRequest{Streams: streams}).Marshal()
	if err != nil {
		return err
	}
	return pushOne(ctx, p, tenant, "application/x-protobuf", snappy.Encode(nil, body))
}

func pushOne(ctx context.Context, p *Proc, tenant, contentType string, body []byte) error {
	code, answer, err := send(ctx, http.MethodPost, p.URL("/loki/api/v1/push"), tenant, contentType, body)
	if err != nil {
		return fmt.Errorf("push to %s: %w", p.Label, err)
	}
	if code != http.StatusNoContent {
		return fmt.Errorf("push to %s: %w", p.Label, &HTTPError{code, bytes.TrimSpace(answer)})
	}
	return nil
}

// Flush writes all chunks to the store and waits for the end of it.
func Flush(ctx context.Context, p *Proc, limit time.Duration) error {
	code, body, err := Do(ctx, http.MethodPost, p.URL("/flush"), "", nil)
	if err != nil || code >= 300 {
		return fmt.Errorf("%s: /flush: HTTP %d: %s %w", p.Label, code, body, err)
	}
	return p.Poll(ctx, limit, "flush", func() (bool, error) {
		m, err := p.Metrics(ctx)
		if err != nil {
			return false, err
		}
		return m.Sum("loki_ingester_flush_queue_length") == 0 && m.Sum("loki_ingester_chunks_flushed_total") >= m.Sum("loki_ingester_chunks_created_total"), nil
	})
}
