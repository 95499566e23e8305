// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/internal/blockread"
	"github.com/chunkring/chunkring/go/internal/chunkcheck"
	"github.com/chunkring/chunkring/go/internal/promreg"
)

type metrics struct {
	read, put, delete operation
	partial           partialReads

	open, alloc, readFiles, decode prometheus.Observer // the stages of a read

	inFlight      prometheus.Gauge
	corrupt       *prometheus.CounterVec // by kind
	blocksDropped prometheus.Counter
	panics        prometheus.Counter
	linesDropped  prometheus.Counter
	notSynced     prometheus.Counter
	backend       *backendInfo
}

// operation is what is counted of one kind of call, with the labels looked up once for all calls.
type operation struct {
	batches prometheus.Counter
	chunks  map[string]prometheus.Counter // by result
	bytes   prometheus.Counter
	seconds prometheus.Observer // of whole calls
}

// The stages of a batch, as chunkring_stage_duration_seconds names them; wall time.
const (
	stageOpen   = "open"   // open and size all files
	stageAlloc  = "alloc"  // make the buffers
	stageRead   = "read"   // read, checksum and close; in an unmodified Loki, decode large chunks too
	stageDecode = "decode" // check and decode the others
	stageGet    = "get"    // all of GetChunks
	stagePut    = "put"    // one PutChunks
	stageDelete = "delete" // one DeleteChunk
)

// What became of a chunk, as chunkring_chunks_total names it.
const (
	resultOK        = "ok"
	resultNotFound  = "not_found"
	resultChecksum  = "checksum"
	resultMalformed = "malformed"
	resultCanceled  = "canceled"
	resultError     = "error"
)

var results = []string{resultOK, resultNotFound, resultChecksum, resultMalformed, resultCanceled, resultError}

// partialReads is what is counted of chunks of which only the ends are read.
type partialReads struct {
	chunks       prometheus.Counter
	bytesLeft    prometheus.Counter
	blocks       prometheus.Counter
	blockBytes   prometheus.Counter
	blockSeconds prometheus.Observer
	leftOut      map[string]prometheus.Counter // by reason
}

// newMetrics registers with reg, which may be nil. Several stores of one process share the metrics. copies: of a store
// of copies, whose cache has metrics of its own for chunks that it gives, lacks, or finds damaged; a miss must not
// look like a lost chunk.
//
// Every series is there from the start: one that begins with the first damaged chunk, at 1, never
// increases as Prometheus sees it, and no alert tells of that chunk.
func newMetrics(reg prometheus.Registerer, copies bool) (*metrics, error) {
	m := &metrics{}
	var errs []error
	chunksReg := reg
	if copies {
		chunksReg = nil
	}
	m.newBatchMetrics(chunksReg, &errs)
	m.partial.register(reg, &errs)
	m.inFlight = promreg.Register(chunksReg, &errs, prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "chunkring", Name: "in_flight_chunks",
		Help: "Chunks that are being read now.",
	}))
	m.corrupt = promreg.Register(chunksReg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "corrupt_chunks_total",
		Help: "Chunks that were found damaged when they were read, by kind: checksum, empty, shrinking, panic, wrong_metadata (of another chunk), undecodable, or what is malformed under a right checksum (metas_range, block_overlap, ...).",
	}, []string{"kind"}))
	for _, kind := range corruptions() {
		m.corrupt.WithLabelValues(kind)
	}
	m.linesDropped = promreg.Register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "log_lines_dropped_total",
		Help: "Log lines about failed chunks that were left out because there were too many.",
	}))
	m.notSynced = promreg.Register(chunksReg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "dir_fsync_unsupported_total",
		Help: "Folders of stored chunks that could not be made durable, because their file system can't.",
	}))
	m.blocksDropped = promreg.Register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "blocks_dropped_total",
		Help: "Damaged blocks that were left out of chunks whose outer checksum was right.",
	}))
	m.panics = promreg.Register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "decode_panics_total",
		Help: "Panics while decoding chunks that had passed every check.",
	}))
	m.backend = promreg.Register(reg, &errs, newBackendInfo())
	promreg.Register(reg, &errs, blockread.Collector) // the process's: it is there once, whoever asks
	return m, errors.Join(errs...)
}

func (m *metrics) newBatchMetrics(reg prometheus.Registerer, errs *[]error) {
	batches := promreg.Register(reg, errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "batches_total",
		Help: "Calls by operation (read, put, delete).",
	}, []string{"operation"}))
	chunks := promreg.Register(reg, errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "chunks_total",
		Help: "Chunks by operation (read, put, delete) and result (ok, not_found, checksum, malformed, canceled, error).",
	}, []string{"operation", "result"}))
	bytes := promreg.Register(reg, errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "bytes_total",
		Help: "Bytes of chunks that were read or put, by operation.",
	}, []string{"operation"}))
	seconds := promreg.Register(reg, errs, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "chunkring", Name: "stage_duration_seconds",
		Help:                            "Seconds a batch spent in a stage: open, alloc, read and decode are the steps of get (in an unmodified Loki large chunks are decoded within read); get, put and delete are whole calls.",
		Buckets:                         prometheus.ExponentialBuckets(0.0001, 4, 9), // 0.1 ms to 6.5 s, for who scrapes no native ones
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"stage"}))
	m.open, m.alloc = seconds.WithLabelValues(stageOpen), seconds.WithLabelValues(stageAlloc)
	m.readFiles, m.decode = seconds.WithLabelValues(stageRead), seconds.WithLabelValues(stageDecode)
	for _, o := range []struct {
		*operation
		name, stage string
	}{{&m.read, "read", stageGet}, {&m.put, "put", stagePut}, {&m.delete, "delete", stageDelete}} {
		o.batches = batches.WithLabelValues(o.name)
		o.seconds = seconds.WithLabelValues(o.stage)
		if o.operation != &m.delete { // which learns no size
			o.bytes = bytes.WithLabelValues(o.name)
		}
		o.chunks = map[string]prometheus.Counter{}
		for _, result := range results {
			o.chunks[result] = chunks.WithLabelValues(o.name, result)
		}
	}
}

func (m *partialReads) register(reg prometheus.Registerer, errs *[]error) {
	counter := func(name, help string) prometheus.Counter {
		return promreg.Register(reg, errs, prometheus.NewCounter(prometheus.CounterOpts{Namespace: "chunkring", Name: name, Help: help}))
	}
	m.chunks = counter("chunks_partly_read_total", "Chunks of filesystem stores and of the disk cache of which a query read only the two ends at first.")
	m.bytesLeft = counter("bytes_not_read_total", "Bytes of the blocks of partly read chunks: they were not read with the chunk.")
	m.blocks = counter("blocks_read_total", "Blocks of partly read chunks that were read when a query came to them.")
	m.blockBytes = counter("block_bytes_read_total", "Bytes of the blocks of partly read chunks that were read from files when a query came to them.")
	m.blockSeconds = promreg.Register(reg, errs, prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "chunkring", Name: "block_read_duration_seconds",
		Help:                            "Seconds that a query waited for one block to be read, checked and decompressed.",
		Buckets:                         prometheus.ExponentialBuckets(0.0001, 4, 8), // 0.1 ms to 1.6 s, for who scrapes no native ones
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}))
	leftOut := promreg.Register(reg, errs, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chunkring", Name: "blocks_unreadable_total",
		Help: "Blocks that could not be read when a query came to them, by reason: not_found, short, checksum, refused, decode, io; behind the disk cache those that the object store did not give either. The query is answered without them, or fails with strict_blocks.",
	}, []string{"reason"}))
	m.leftOut = map[string]prometheus.Counter{}
	for _, reason := range leftOutReasons {
		m.leftOut[reason] = leftOut.WithLabelValues(reason)
	}
}

// count counts one call of o.
func (m *metrics) count(o *operation, ok int, failed []*ChunkError) {
	o.batches.Inc()
	o.chunks[resultOK].Add(float64(ok))
	for _, f := range failed {
		o.chunks[resultOf(f.Err)].Inc()
		if kind := corruption(f.Err); kind != "" && o == &m.read {
			m.corrupt.WithLabelValues(kind).Inc()
		}
	}
}

// The kinds of damage that are not a chunkcheck.Reason.
const (
	kindChecksum      = "checksum"
	kindEmpty         = "empty"
	kindShrinking     = "shrinking"
	kindPanic         = "panic"
	kindWrongMetadata = "wrong_metadata" // a sound chunk, but not the one that its name says
	kindUndecodable   = "undecodable"    // Loki's decoder says no, under a right checksum
)

// corruptions are all that corruption may answer.
func corruptions() []string {
	kinds := []string{kindChecksum, kindEmpty, kindShrinking, kindPanic, kindWrongMetadata, kindUndecodable}
	for r := chunkcheck.Truncated; r <= chunkcheck.SymbolsFormat; r++ {
		kinds = append(kinds, r.String())
	}
	return kinds
}

// corruption names the kind of damage behind err, "" for none.
func corruption(err error) string {
	var ce *chunkcheck.Error
	switch {
	case errors.Is(err, ErrPanic):
		return kindPanic
	case errors.Is(err, errEmpty):
		return kindEmpty
	case errors.Is(err, errShrinking):
		return kindShrinking
	case errors.Is(err, ErrMalformed) && errors.As(err, &ce):
		return ce.Reason.String()
	case errors.Is(err, chunk.ErrInvalidChecksum):
		return kindChecksum
	case errors.Is(err, chunk.ErrWrongMetadata):
		return kindWrongMetadata
	case errors.Is(err, errDecode):
		return kindUndecodable
	}
	return ""
}

func resultOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return resultNotFound
	case errors.Is(err, chunk.ErrInvalidChecksum):
		return resultChecksum
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrPanic), errors.Is(err, errDecode):
		return resultMalformed
	case ctxError(err):
		return resultCanceled
	}
	return resultError
}
