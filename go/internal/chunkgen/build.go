// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"fmt"
	"iter"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/util"
)

// BlockBytes is Loki's default for the uncompressed size of a block (ingester.chunks-block-size).
const BlockBytes = 256 << 10

// Stream is whose log lines a chunk holds.
type Stream struct {
	Tenant string
	Labels labels.Labels // without __name__, which Build adds as Loki's ingester does
}

// Encoding is how a chunk is written: MemChunk's version byte, its codec and the uncompressed bytes
// after which Loki cuts a block.
type Encoding struct {
	Format     byte
	Codec      compression.Codec
	BlockBytes int
}

// check refuses what Loki's reader could not read back, before its writer panics or lies.
func (e Encoding) check() error {
	_, unknown := compression.ParseCodec(e.Codec.String()) // Codec.IsSupported is as new as Loki 3.7
	switch {
	case e.Format < chunkenc.ChunkFormatV1 || e.Format > chunkenc.ChunkFormatV4:
		return fmt.Errorf("chunk format %d: Loki knows 1 to 4", e.Format)
	case unknown != nil:
		return fmt.Errorf("codec %d: Loki knows %s", e.Codec, compression.SupportedCodecs())
	case e.Format == chunkenc.ChunkFormatV1 && e.Codec != compression.GZIP:
		// Version 1 has no codec byte. Loki's writer would take any codec, its reader assumes gzip.
		return fmt.Errorf("chunk format 1 is always gzip, not %s", e.Codec)
	case e.BlockBytes < 1:
		return fmt.Errorf("block size %d: must be at least 1", e.BlockBytes)
	}
	return nil
}

// Build makes one chunk from entries with Loki's own encoder, by the steps the ingester takes when
// it flushes: append, close, round the bounds to milliseconds, encode. The result carries its
// encoded bytes (Encoded returns them without work) and, in its ChunkRef, the checksum of them.
// Entries must be in time order for formats 1 and 2; before format 4 their structured metadata is
// dropped, by Loki.
func Build(s Stream, e Encoding, entries iter.Seq[logproto.Entry]) (chunk.Chunk, error) {
	if err := e.check(); err != nil {
		return chunk.Chunk{}, err
	}
	// Target size 0 asks for no limit here: how much goes in is the caller's decision.
	mc := chunkenc.NewMemChunk(e.Format, e.Codec, chunkenc.ChunkHeadFormatFor(e.Format), e.BlockBytes, 0)
	for entry := range entries {
		if _, err := mc.Append(&entry); err != nil {
			return chunk.Chunk{}, fmt.Errorf("append an entry at %s: %w", entry.Timestamp, err)
		}
	}
	if err := mc.Close(); err != nil {
		return chunk.Chunk{}, fmt.Errorf("cut the last block: %w", err)
	}

	from, through := util.RoundToMilliseconds(mc.Bounds())
	hash, _ := s.Labels.HashWithoutLabels(nil)
	metric := labels.NewBuilder(s.Labels).Set(model.MetricNameLabel, "logs").Labels()
	facade := chunkenc.NewFacade(mc, e.BlockBytes, 0)
	c := chunk.NewChunk(s.Tenant, model.Fingerprint(hash), metric, facade, from, through)
	if err := c.Encode(); err != nil {
		return chunk.Chunk{}, fmt.Errorf("encode: %w", err)
	}
	return c, nil
}
