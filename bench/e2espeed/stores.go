// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	tinyCodec     = "snappy"
	wideCodec     = "snappy" // Loki's default
	tinyLines     = 46       // in a chunk: about 3.5 KB
	manifestName  = "manifest.json"
	manifestKnows = 5 // changes when the same flags make other stores
)

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

// manifest is corpus.Written when a store is complete.
type manifest struct {
	Version    int
	Codec      string
	Tiny       int      // chunks; 0: a store of full chunks
	Minutes    int      // that a tiny chunk covers
	Wide       bool     `json:",omitempty"` // of many streams
	WantBytes  int      `json:",omitempty"`
	Logs       []string `json:",omitempty"`
	Written    corpus.Written
	Chunks     int
	ChunkBytes int64
	MadeBy     string // loki -version
	MadeIn     string // time
}

// sameAs: made from the same flags.
func (m manifest) sameAs(o manifest) bool {
	return m.Version == o.Version && m.Codec == o.Codec && m.Tiny == o.Tiny && m.Minutes == o.Minutes && m.Wide == o.Wide &&
		m.WantBytes == o.WantBytes && slices.Equal(m.Logs, o.Logs)
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
	if b.wide > 0 {
		add("wide", manifest{Codec: wideCodec, Wide: true, WantBytes: b.wide})
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
	p, err := b.Start(ctx, lokiproc.Build{Name: "stock", Bin: b.stock, Args: corpus.WriteArgs}, "make "+s.name, lokiproc.Config{Store: s.dir, Codec: s.codec})
	if err != nil {
		return err
	}
	switch {
	case s.Tiny > 0:
		s.Written, err = corpus.FillTiny(ctx, p, s.name, corpus.Tiny{Chunks: s.Tiny, Lines: tinyLines, Length: time.Duration(s.Minutes) * time.Minute})
	case s.Wide:
		s.Written, err = corpus.FillWide(ctx, p, s.name, b.wide)
	default:
		s.Written, err = corpus.FillFull(ctx, p, s.name, b.bytes, b.logs)
	}
	if err != nil {
		return err
	}
	if err := p.Stop(); err != nil {
		return err
	}
	files, size, err := lokiproc.ChunkFiles(s.dir, corpus.Tenant)
	if err != nil {
		return err
	}
	s.Chunks, s.ChunkBytes = len(files), size
	if s.Tiny > 0 && s.Chunks != s.Tiny {
		return fmt.Errorf("%d chunks instead of %d", s.Chunks, s.Tiny)
	}
	s.MadeIn = time.Since(begin).Round(time.Second).String()
	if s.MadeBy, err = (lokiproc.Build{Bin: b.stock}).Version(ctx); err != nil {
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
