// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Collector is what this package counts, for any number of registries: the state is the process's.
var Collector prometheus.Collector = collector{process}

type collector struct{ s *state }

var (
	levelDesc = prometheus.NewDesc("chunkring_block_path_info",
		"1, with the level of the block path that is in use: off (Loki's own readers), decompress (chunkring decompresses blocks), in_place (and entries are cut from them), filter (and lines that a pipeline would drop are dropped before it sees them).", []string{"level"}, nil)
	verifiedDesc = prometheus.NewDesc("chunkring_chunks_verified_total",
		"Chunks that chunkring's client did not read (of object stores, of caches, and of ingesters that flush them) and that were checked in one pass, by result: sound, left (to Loki's own checks, because something is wrong).", []string{"result"}, nil)
	blocksDesc = prometheus.NewDesc("chunkring_blocks_decompressed_total",
		"Blocks that chunkring decompressed.", []string{"codec"}, nil)
	bytesDesc = prometheus.NewDesc("chunkring_block_bytes_decompressed_total",
		"Bytes of decompressed blocks.", []string{"codec"}, nil)
	fallbacksDesc = prometheus.NewDesc("chunkring_block_fallbacks_total",
		"Blocks that were left to Loki's own readers, by reason: damaged, unsure (a form that Loki does not write), too_large (16 MiB), memory (as much as chunkring_block_buffer_limit_bytes allows is in use).", []string{"codec", "reason"}, nil)
	iteratedDesc = prometheus.NewDesc("chunkring_blocks_iterated_total",
		"Blocks that were iterated in place.", []string{"codec"}, nil)
	leftDesc = prometheus.NewDesc("chunkring_blocks_left_total",
		"Blocks that were iterated in place up to an entry that is not well-formed, and left to Loki's own iterator there.", []string{"codec"}, nil)
	linesDesc = prometheus.NewDesc("chunkring_block_lines_total",
		"Lines that were iterated in place.", []string{"codec"}, nil)
	droppedDesc = prometheus.NewDesc("chunkring_block_lines_dropped_total",
		"Lines that were iterated in place and dropped before a pipeline saw them, because they lack a text that it requires.", []string{"codec"}, nil)
	buffersDesc = prometheus.NewDesc("chunkring_block_buffer_bytes",
		"Buffers for decompressed blocks, by state: in_use, kept (for reuse).", []string{"state"}, nil)
	bufferLimitDesc = prometheus.NewDesc("chunkring_block_buffer_limit_bytes",
		"Bound of the buffers for decompressed blocks that are in use.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- levelDesc
	out <- verifiedDesc
	out <- blocksDesc
	out <- bytesDesc
	out <- fallbacksDesc
	out <- iteratedDesc
	out <- leftDesc
	out <- linesDesc
	out <- droppedDesc
	out <- buffersDesc
	out <- bufferLimitDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(levelDesc, 1, c.s.inUse().String())
	counter(verifiedDesc, c.s.verifier.sound.Load(), "sound")
	counter(verifiedDesc, c.s.verifier.left.Load(), "left")
	for _, p := range c.s.pools {
		codec := p.codec.String()
		counter(blocksDesc, p.blocks.Load(), codec)
		counter(bytesDesc, p.bytes.Load(), codec)
		for i := range p.fallbacks {
			counter(fallbacksDesc, p.fallbacks[i].Load(), codec, reasonNames[i])
		}
		counter(iteratedDesc, p.iterated.Load(), codec)
		counter(leftDesc, p.left.Load(), codec)
		counter(linesDesc, p.lines.Load(), codec)
		counter(droppedDesc, p.dropped.Load(), codec)
	}
	gauge(buffersDesc, float64(c.s.buffers.held.Load()), "in_use")
	gauge(buffersDesc, float64(c.s.buffers.keptBytes()), "kept")
	gauge(bufferLimitDesc, float64(c.s.buffers.heldMax.Load()))
}
