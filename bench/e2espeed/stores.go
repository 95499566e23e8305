// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/grafana/loki/pkg/push"
	"golang.org/x/sync/errgroup"

	"github.com/chunkring/chunkring/go/cli"
	"github.com/chunkring/chunkring/go/test/loglines"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	tenant        = "bench"
	tinyCodec     = "snappy"
	tinyLines     = 46               // in a chunk: about 3.5 KB
	tinyRound     = 30 * time.Minute // each stream leaves a chunk in every one, and none crosses a split
	tinyMax       = 1000000          // one in a round and nanosecond
	flushTimeout  = 20 * time.Minute
	manifestName  = "manifest.json"
	manifestKnows = 5 // changes when the same flags make other stores
)

// writeArgs: chunks of Loki's default size, which are full, not cut every hour (sync-period); nothing that
// only costs time while the store is made.
var writeArgs = []string{
	"-ingester.chunks-block-size=262144", "-ingester.chunk-target-size=1572864", "-ingester.wal-enabled=false",
	"-ingester.chunks-retain-period=0s", "-ingester.sync-period=0s", "-ingester.concurrent-flushes=64", "-ingester.flush-check-period=1h",
}

// store is one directory of chunks and index.
type store struct {
	name  string
	dir   string
	codec string
	manifest
}

// Two kinds of tiny chunks. A job writes for two minutes every half hour: some 300 chunks overlap at any
// time. A pod that says little writes all the time until its chunk is flushed as idle: all overlap with
// all, and Loki's batches grow to hold them.
const (
	jobMinutes = 2
	podMinutes = 29
)

// manifest is written when a store is complete.
type manifest struct {
	Version    int
	Codec      string
	Tiny       int      // chunks; 0: a store of full chunks
	Minutes    int      // that a tiny chunk covers
	WantBytes  int      `json:",omitempty"`
	Logs       []string `json:",omitempty"`
	Written    written
	Chunks     int
	ChunkBytes int64
	MadeBy     string // loki -version
	MadeIn     string // time
}

// sameAs: made from the same flags.
func (m manifest) sameAs(o manifest) bool {
	return m.Version == o.Version && m.Codec == o.Codec && m.Tiny == o.Tiny && m.Minutes == o.Minutes && m.WantBytes == o.WantBytes && slices.Equal(m.Logs, o.Logs)
}

// makeStores returns all stores, and makes those that are missing or were made from other flags.
func (b *bench) makeStores(ctx context.Context) ([]store, error) {
	var stores []store
	add := func(name string, m manifest) {
		m.Version = manifestKnows
		stores = append(stores, store{name: name, dir: filepath.Join(b.dir, name), codec: m.Codec, manifest: m})
	}
	for _, codec := range b.codecs {
		lokiName := codec
		if codec == "lz4" {
			lokiName = "lz4-64k" // "lz4" is the one of 4 MB blocks, which are larger than Loki's
		}
		add("full-"+codec, manifest{Codec: lokiName, WantBytes: b.bytes, Logs: b.logs})
	}
	if b.tiny > 0 {
		add("tiny", manifest{Codec: tinyCodec, Tiny: b.tiny, Minutes: jobMinutes})
	}
	if b.tinyOverlap > 0 {
		add("tiny-overlap", manifest{Codec: tinyCodec, Tiny: b.tinyOverlap, Minutes: podMinutes})
	}
	for i := range stores {
		s := &stores[i]
		found, err := readManifest(s.dir)
		if err != nil {
			return nil, err
		}
		if found.sameAs(s.manifest) {
			s.manifest = found
			continue
		}
		if err := b.makeStore(ctx, s); err != nil {
			return nil, fmt.Errorf("make store %s: %w", s.name, err)
		}
	}
	return stores, nil
}

// readManifest returns an empty one if the store is not complete.
func readManifest(dir string) (manifest, error) {
	var m manifest
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

func (b *bench) makeStore(ctx context.Context, s *store) error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	begin := time.Now()
	p, err := b.Start(ctx, lokiproc.Build{Name: "stock", Bin: b.stock, Args: writeArgs}, "make "+s.name, lokiproc.Config{Store: s.dir, Codec: s.codec})
	if err != nil {
		return err
	}
	if s.Tiny > 0 {
		s.Written, err = fillTiny(ctx, p, s)
	} else {
		s.Written, err = b.fillFull(ctx, p, s)
	}
	if err != nil {
		return err
	}
	if err := p.Stop(); err != nil {
		return err
	}
	files, size, err := lokiproc.ChunkFiles(s.dir, tenant)
	if err != nil {
		return err
	}
	s.Chunks, s.ChunkBytes = len(files), size
	if s.Tiny > 0 && s.Chunks != s.Tiny {
		return fmt.Errorf("%d chunks instead of %d", s.Chunks, s.Tiny)
	}
	s.MadeIn = time.Since(begin).Round(time.Second).String()
	if s.MadeBy, err = version(ctx, b.stock); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %d lines, %.1f MB, in %d chunks of %.1f KB; made in %s\n", s.name, s.Written.Lines,
		float64(s.Written.Bytes)/1e6, s.Chunks, float64(size)/1e3/float64(s.Chunks), s.MadeIn)
	data, err := json.MarshalIndent(s.manifest, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, manifestName), append(data, '\n'), 0o666)
}

// send pushes batches while the next ones are made.
func send(ctx context.Context, p *lokiproc.Proc, produce func(ctx context.Context, out chan<- []push.Stream) error) error {
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan []push.Stream, 2)
	g.Go(func() error {
		defer close(batches)
		return produce(ctx, batches)
	})
	g.Go(func() error {
		for batch := range batches {
			if err := lokiproc.PushStreams(ctx, p, tenant, batch); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// hand gives a batch away, unless nobody takes it any more.
func hand(ctx context.Context, out chan<- []push.Stream, batch []push.Stream) error {
	if batch == nil {
		return nil
	}
	select {
	case out <- batch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bench) fillFull(ctx context.Context, p *lokiproc.Proc, s *store) (written, error) {
	sources, err := busySources(b.logs)
	if err != nil {
		return written{}, err
	}
	var u *pusher
	step := cli.Progress("making store " + s.name + " (MB)")
	err = send(ctx, p, func(ctx context.Context, out chan<- []push.Stream) error {
		err := eachBusy(sources, b.bytes, func(lines int) { u = newPusher(lines) },
			func(src source, ts time.Time, line string, meta map[string]string) error {
				u.add(src.labels, ts, line, meta)
				step(u.Bytes>>20, b.bytes>>20)
				return hand(ctx, out, u.batch(false))
			})
		if err != nil {
			return err
		}
		return hand(ctx, out, u.batch(true))
	})
	if err != nil {
		return written{}, err
	}
	step(1, 1)
	return u.written, lokiproc.Flush(ctx, p, flushTimeout)
}

// fillTiny: many streams write a few lines each; a flush makes a chunk of every stream's; and again.
func fillTiny(ctx context.Context, p *lokiproc.Proc, s *store) (written, error) {
	rounds := int(dataEnd.Sub(dataStart) / tinyRound)
	perRound := (s.Tiny + rounds - 1) / rounds
	u := newPusher(s.Tiny * tinyLines)
	m := &loglines.Maker{Rand: rand.New(rand.NewPCG(seed, 3))}
	step := cli.Progress("making store " + s.name + " (chunks)")
	for round := range rounds {
		n := min(perRound, s.Tiny-round*perRound)
		if n <= 0 {
			break
		}
		begin := dataStart.Add(time.Duration(round) * tinyRound)
		err := send(ctx, p, func(ctx context.Context, out chan<- []push.Stream) error {
			for i := range n {
				tinyChunk(u, m, begin, time.Duration(s.Minutes)*time.Minute, i, n)
				if err := hand(ctx, out, u.batch(i == n-1)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return written{}, err
		}
		if err := lokiproc.Flush(ctx, p, flushTimeout); err != nil {
			return written{}, err
		}
		step(round*perRound+n, s.Tiny)
	}
	return u.written, nil
}

// tinyChunk adds what the i-th of n streams writes in a round: its lines are spread over length, its start
// is the i-th in what is left of the round. Nanoseconds are the number of the stream, so that no two
// streams ever write at the same time.
func tinyChunk(u *pusher, m *loglines.Maker, round time.Time, length time.Duration, i, n int) {
	const grain = 100 * time.Microsecond // holds as many streams as it has nanoseconds
	begin := round.Add(time.Duration(i) * (tinyRound - length) / time.Duration(n)).Truncate(grain)
	apart := (length / tinyLines).Truncate(grain)
	labels := fmt.Sprintf(`{app="job-%d", env="prod", instance="job-%d-%05d"}`, i%20, i%20, i)
	for line := range tinyLines {
		ts := begin.Add(time.Duration(line)*apart + time.Duration(i)).UTC()
		text, meta := m.Logfmt(ts)
		u.add(labels, ts, text, meta)
	}
}
