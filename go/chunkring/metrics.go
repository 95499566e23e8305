// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"io/fs"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

type metrics struct {
	chunks        *prometheus.CounterVec // by operation and result
	blocksDropped prometheus.Counter
	panics        prometheus.Counter
	backend       *prometheus.GaugeVec
}

// newMetrics registers with reg, which may be nil. Several clients of one process (named stores, the
// compactor's own) share the metrics.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{}
	var errs []error
	m.chunks = register(reg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "chunks_total",
		Help: "Chunks by operation (read, put, delete) and result (ok, not_found, checksum, malformed, canceled, error).",
	}, []string{"operation", "result"}))
	m.blocksDropped = register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "blocks_dropped_total",
		Help: "Damaged blocks that were left out of chunks whose outer checksum was right.",
	}))
	m.panics = register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "decode_panics_total",
		Help: "Panics while decoding chunks that had passed every check.",
	}))
	m.backend = register(reg, &errs, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "chunkring", Name: "backend_info",
		Help: "1 for the back-end in use; fallback_reason says why it is not io_uring.",
	}, []string{"backend", "fallback_reason"}))
	return m, errors.Join(errs...)
}

// register returns the collector that is registered: c, or the one that was there before.
func register[C prometheus.Collector](reg prometheus.Registerer, errs *[]error, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if already := (prometheus.AlreadyRegisteredError{}); errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old
		}
	}
	if err != nil {
		*errs = append(*errs, err)
	}
	return c
}

func (m *metrics) count(operation string, ok int, failed []*ChunkError) {
	m.chunks.WithLabelValues(operation, "ok").Add(float64(ok))
	for _, f := range failed {
		m.chunks.WithLabelValues(operation, resultOf(f.Err)).Inc()
	}
}

func resultOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "not_found"
	case errors.Is(err, chunk.ErrInvalidChecksum):
		return "checksum"
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrPanic):
		return "malformed"
	case ctxError(err):
		return "canceled"
	}
	return "error"
}
