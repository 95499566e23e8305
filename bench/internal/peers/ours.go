// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
)

// ours is chunkring: threads or io_uring, with garbage-collected buffers or with released ones.
type ours struct {
	quiet
	info   Info
	client *chunkring.Client
	reg    *prometheus.Registry
}

func newOurs(name string, s Store) (Peer, error) {
	backend, released := strings.CutSuffix(name, "-released")
	reg := prometheus.NewRegistry()
	c, err := chunkring.New(chunkring.Config{Directory: s.Dir, Backend: backend}, s.Schema, nil, reg)
	if err != nil {
		return nil, err
	}
	if c.Backend() != backend {
		c.Stop()
		return nil, fmt.Errorf("%s: %w: %s", name, ErrBackend, c.Backend())
	}
	return &ours{info: Info{Name: name, Backend: c.Backend(), Releases: released}, client: c, reg: reg}, nil
}

func (o *ours) Info() Info { return o.info }

func (o *ours) Get(ctx context.Context, refs []chunk.Chunk, look Look) ([]chunk.Chunk, func(), error) {
	if !o.info.Releases {
		chunks, err := o.client.GetChunks(ctx, refs)
		lookAll(chunks, look)
		return chunks, noRelease, err
	}
	batch, err := o.client.GetChunksPooled(ctx, refs)
	lookAll(batch.Chunks, look)
	return batch.Chunks, batch.Release, err
}

func (o *ours) Stop() { o.client.Stop() }

// Stages is how many seconds chunkring's own metrics have counted for each stage so far: open, alloc,
// read and get as wall time, decode summed over threads.
func (o *ours) Stages() (map[string]float64, error) {
	families, err := o.reg.Gather()
	if err != nil {
		return nil, err
	}
	seconds := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "chunkring_stage_duration_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				seconds[l.GetValue()] += m.GetHistogram().GetSampleSum()
			}
		}
	}
	return seconds, nil
}

// PartlyRead is how many chunks were read by their ends so far.
func (o *ours) PartlyRead() (float64, error) {
	families, err := o.reg.Gather()
	if err != nil {
		return 0, err
	}
	for _, f := range families {
		if f.GetName() == "chunkring_chunks_partly_read_total" {
			return f.GetMetric()[0].GetCounter().GetValue(), nil
		}
	}
	return 0, errors.New("chunkring does not count chunks that are read by their ends")
}
