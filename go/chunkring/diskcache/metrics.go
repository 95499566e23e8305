// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chunkring/chunkring/go/internal/promreg"
)

// What became of a chunk that was asked for, as chunkring_disk_cache_chunks_total names it.
const (
	resultHit    = "hit"    // out of the folder
	resultMiss   = "miss"   // fetched from the origin by this call
	resultShared = "shared" // fetched by another call at the same time
	resultFailed = "failed" // not to be had, or the caller gave up
)

// Why a copy was not written, as chunkring_disk_cache_dropped_total names it.
const (
	dropQueueFull = "queue_full"
	dropPaused    = "paused"
	dropNoRoom    = "no_room"   // min_free_bytes
	dropTooLarge  = "too_large" // for max_bytes
	dropChecksum  = "checksum"  // the bytes are not what the name says
	dropError     = "error"
	dropStopped   = "stopped" // before the walk at start was over
)

// What failed, as chunkring_disk_cache_errors_total names it.
const (
	opRead   = "read"
	opWrite  = "write"
	opDelete = "delete"
	opWalk   = "walk"
)

// metrics may be those of several caches: gauges are added to, never set.
type metrics struct {
	chunks, dropped, errors map[string]prometheus.Counter
	hitBytes, missBytes     prometheus.Counter
	written, writtenBytes   prometheus.Counter
	evicted, evictedBytes   prometheus.Counter
	expired, damaged        prometheus.Counter
	pauses                  prometheus.Counter
	paused                  prometheus.Gauge
	files, bytes, maxBytes  prometheus.Gauge
	queueBytes              prometheus.Gauge
	origin                  prometheus.Observer
}

// newMetrics registers with reg, which may be nil. Every series is there from the start.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var errs []error
	counter := func(name, help string) prometheus.Counter {
		return promreg.Register(reg, &errs, prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "chunkring", Subsystem: "disk_cache", Name: name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return promreg.Register(reg, &errs, prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "chunkring", Subsystem: "disk_cache", Name: name, Help: help}))
	}
	vector := func(name, help, label string, values ...string) map[string]prometheus.Counter {
		vec := promreg.Register(reg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "chunkring", Subsystem: "disk_cache", Name: name, Help: help}, []string{label}))
		all := map[string]prometheus.Counter{}
		for _, v := range values {
			all[v] = vec.WithLabelValues(v)
		}
		return all
	}
	read := vector("read_bytes_total", "Bytes of chunks that were asked for, by where they came from (folder, origin).", "from", "folder", "origin")
	m := &metrics{
		chunks: vector("chunks_total", "Chunks that were asked for, by result: hit, miss (fetched from the origin), shared (fetched by another call at the same time), failed.",
			"result", resultHit, resultMiss, resultShared, resultFailed),
		dropped: vector("dropped_total", "Copies that were not written, by reason.", "reason",
			dropQueueFull, dropPaused, dropNoRoom, dropTooLarge, dropChecksum, dropError, dropStopped),
		errors:       vector("errors_total", "Failures of the folder, by operation (read, write, delete, walk). No query fails because of one.", "operation", opRead, opWrite, opDelete, opWalk),
		hitBytes:     read["folder"],
		missBytes:    read["origin"],
		written:      counter("written_chunks_total", "Copies that were written."),
		writtenBytes: counter("written_bytes_total", "Bytes of copies that were written."),
		evicted:      counter("evicted_chunks_total", "Copies that were deleted to make room."),
		evictedBytes: counter("evicted_bytes_total", "Disk space of copies that were deleted to make room."),
		expired:      counter("expired_chunks_total", "Copies that were deleted because of max_age."),
		damaged:      counter("damaged_chunks_total", "Copies that were found damaged, deleted, and fetched from the origin."),
		pauses:       counter("pauses_total", "How often writing paused after the disk had failed several times in a row."),
		paused:       gauge("paused", "Caches whose writing pauses now."),
		files:        gauge("files", "Copies that there are."),
		bytes:        gauge("bytes", "Disk space that the copies take."),
		maxBytes:     gauge("max_bytes", "Disk space that the copies may take."),
		queueBytes:   gauge("queue_bytes", "Bytes of chunks that wait to be written."),
		origin: promreg.Register(reg, &errs, prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "chunkring", Subsystem: "disk_cache", Name: "origin_duration_seconds",
			Help:                            "Seconds that one call fetched chunks from the origin.",
			Buckets:                         prometheus.ExponentialBuckets(0.001, 4, 9), // 1 ms to 65 s, for who scrapes no native ones
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		})),
	}
	return m, errors.Join(errs...)
}
