// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// A part is chunks of one kind.
type part struct {
	count, size int
	codec       string
}

// What a Loki on local disks has: many small chunks of idle streams, some full ones.
var (
	fullCorpus  = []part{{400, 4_000, "snappy"}, {150, 60_000, "gzip"}, {60, 235_000, "zstd"}, {50, 900_000, "snappy"}, {16, 1_650_000, "none"}}
	shortCorpus = []part{{60, 4_000, "snappy"}, {20, 60_000, "gzip"}, {4, 300_000, "snappy"}}
)

// item is one chunk: its name, and the bytes that belong under it.
type item struct {
	ref  chunk.Chunk // as Loki's index gives it
	want []byte      // a part of a mapped file: it costs page cache and no heap

	blocks []entries // what Loki's own reader gives of them
}

// makeCorpus makes the chunks and maps them. Bytes are compared with this mapping, which nothing under
// test ever sees.
func makeCorpus(dir string, parts []part) (items []item, schema config.SchemaConfig, about string, err error) {
	file, err := os.Create(filepath.Join(dir, "corpus"))
	if err != nil {
		return nil, schema, "", err
	}
	defer file.Close()
	size := 0
	var sizes []int
	for i, p := range parts {
		made := filepath.Join(dir, fmt.Sprintf("made-%d", i))
		x, err := chunkgen.Write(context.Background(), made, chunkgen.Options{
			Count: p.count, Size: p.size, Codec: p.codec, Seed: uint64(i), Tenants: 3, Streams: 5}, nil)
		if err != nil {
			return nil, schema, "", err
		}
		schema = x.Schema()
		for _, r := range x.Refs {
			b, err := os.ReadFile(x.Path(r))
			if err != nil {
				return nil, schema, "", err
			}
			if _, err := file.Write(b); err != nil {
				return nil, schema, "", err
			}
			items, sizes = append(items, item{ref: r.Chunk()}), append(sizes, len(b))
			size += len(b)
		}
		if err := os.RemoveAll(made); err != nil {
			return nil, schema, "", err
		}
		about += fmt.Sprintf("%d of %d KB (%s), ", p.count, p.size/1000, p.codec)
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, schema, "", err
	}
	at := 0
	for i := range items {
		it := &items[i]
		it.want = mapped[at : at+sizes[i] : at+sizes[i]]
		at += sizes[i]
		whole := it.ref
		if err := whole.Decode(chunk.NewDecodeContext(), it.want); err != nil {
			return nil, schema, "", err
		}
		if it.blocks, err = allEntries(&whole); err != nil {
			return nil, schema, "", err
		}
	}
	return items, schema, about + fmt.Sprintf("together %d MB", size/1e6), nil
}
