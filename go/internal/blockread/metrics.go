// SPDX-License-Identifier: Apache-2.0

package blockread

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Collector is what this package counts, for any number of registries: the state is the process's.
var Collector prometheus.Collector = collector{process}

type collector struct{ s *state }

var (
	enabledDesc = prometheus.NewDesc("chunkring_block_decoder_enabled",
		"1 if blocks of a codec are decompressed by chunkring, 0 if by Loki's own readers.", []string{"codec"}, nil)
	blocksDesc = prometheus.NewDesc("chunkring_blocks_decoded_total",
		"Blocks that chunkring decompressed.", []string{"codec"}, nil)
	bytesDesc = prometheus.NewDesc("chunkring_block_bytes_decoded_total",
		"Bytes that they decompressed to.", []string{"codec"}, nil)
	fallbacksDesc = prometheus.NewDesc("chunkring_block_fallbacks_total",
		"Blocks that were left to Loki's own readers, by reason: damaged, unsure (a form that Loki does not write), too_large (16 MiB), memory (256 MiB of blocks are in use).", []string{"codec", "reason"}, nil)
	buffersDesc = prometheus.NewDesc("chunkring_block_buffer_bytes",
		"Buffers for decompressed blocks, by state: in_use, kept (for reuse).", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- enabledDesc
	out <- blocksDesc
	out <- bytesDesc
	out <- fallbacksDesc
	out <- buffersDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.s.mu.Lock()
	enabled := 0.0
	if c.s.enabled {
		enabled = 1
	}
	c.s.mu.Unlock()
	for _, p := range c.s.pools {
		codec := p.codec.String()
		out <- prometheus.MustNewConstMetric(enabledDesc, prometheus.GaugeValue, enabled, codec)
		out <- prometheus.MustNewConstMetric(blocksDesc, prometheus.CounterValue, float64(p.blocks.Load()), codec)
		out <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(p.bytes.Load()), codec)
		for i := range p.fallbacks {
			out <- prometheus.MustNewConstMetric(fallbacksDesc, prometheus.CounterValue,
				float64(p.fallbacks[i].Load()), codec, reasonNames[i])
		}
	}
	out <- prometheus.MustNewConstMetric(buffersDesc, prometheus.GaugeValue, float64(c.s.buffers.held.Load()), "in_use")
	out <- prometheus.MustNewConstMetric(buffersDesc, prometheus.GaugeValue, float64(c.s.buffers.keptBytes()), "kept")
}
