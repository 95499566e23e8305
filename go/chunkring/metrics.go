// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/chunkcheck"
)

type metrics struct {
	batches       *prometheus.CounterVec   // by operation
	chunks        *prometheus.CounterVec   // by operation and result
	bytes         *prometheus.CounterVec   // by operation
	seconds       *prometheus.HistogramVec // by stage
	inFlight      prometheus.Gauge
	corrupt       *prometheus.CounterVec // by kind
	blocksDropped prometheus.Counter
	panics        prometheus.Counter
	linesDropped  prometheus.Counter
	backend       *prometheus.GaugeVec
}

// The stages of a batch, as chunkring_stage_duration_seconds names them. Decoding happens on the
// threads that read, so its time is a sum over threads and part of stageRead's.
const (
	stageOpen   = "open"   // open and size all files
	stageAlloc  = "alloc"  // make the buffers
	stageRead   = "read"   // read, checksum and decode
	stageDecode = "decode" // Loki's decoder alone, summed over threads
	stageGet    = "get"    // all of GetChunks
	stagePut    = "put"    // one PutChunks
)

// newMetrics registers with reg, which may be nil. Several clients of one process (named stores, the
// compactor's own) share the metrics.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{}
	var errs []error
	m.batches = register(reg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "batches_total",
		Help: "Calls by operation (read, put, delete).",
	}, []string{"operation"}))
	m.bytes = register(reg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "bytes_total",
		Help: "Bytes of chunks that were read or put, by operation.",
	}, []string{"operation"}))
	m.seconds = register(reg, &errs, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "chunkring", Name: "stage_duration_seconds",
		Help:                            "Seconds a batch spent in a stage: open, alloc, read (with decode, which is also given alone, summed over threads), get (all of GetChunks), put.",
		Buckets:                         prometheus.ExponentialBuckets(0.0001, 4, 9), // 0.1 ms to 6.5 s, for who scrapes no native ones
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"stage"}))
	m.inFlight = register(reg, &errs, prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "chunkring", Name: "in_flight_chunks",
		Help: "Chunks that are being read now.",
	}))
	m.corrupt = register(reg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "corrupt_chunks_total",
		Help: "Chunks that were found damaged when they were read, by kind: checksum, empty, shrinking, panic, or what is malformed under a right checksum (metas_range, block_overlap, ...).",
	}, []string{"kind"}))
	m.linesDropped = register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "log_lines_dropped_total",
		Help: "Log lines about failed chunks that were left out because there were too many.",
	}))
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
	m.batches.WithLabelValues(operation).Inc()
	m.chunks.WithLabelValues(operation, "ok").Add(float64(ok))
	for _, f := range failed {
		m.chunks.WithLabelValues(operation, resultOf(f.Err)).Inc()
		if kind := corruption(f.Err); kind != "" && operation == "read" {
			m.corrupt.WithLabelValues(kind).Inc()
		}
	}
}

// corruption names the kind of damage behind err, "" for none.
func corruption(err error) string {
	var ce *chunkcheck.Error
	switch {
	case errors.Is(err, ErrPanic):
		return "panic"
	case errors.Is(err, errEmpty):
		return "empty"
	case errors.Is(err, errShrinking):
		return "shrinking"
	case errors.Is(err, ErrMalformed) && errors.As(err, &ce):
		return ce.Reason.String()
	case errors.Is(err, chunk.ErrInvalidChecksum):
		return "checksum"
	}
	return ""
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
