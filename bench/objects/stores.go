// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/go/test/lokiproc"
	"github.com/chunkring/chunkring/go/test/objectstore"
)

const (
	codec       = "snappy"
	smallLines  = 105 // in a chunk: about 8 KB
	smallLength = 2 * time.Minute
	madeVersion = 1 // changes when the same flags make other buckets
)

// store is a bucket, and the same chunks in a filesystem store.
type store struct {
	name string
	dir  string // of the filesystem store
	made
}

// made is written when a bucket is complete.
type made struct {
	Version    int
	Bytes      int // of lines in full chunks; 0: a bucket of tiny ones
	Tiny       corpus.Tiny
	Written    corpus.Written
	Chunks     int
	ChunkBytes int64
}

func (m made) sameAs(o made) bool {
	return m.Version == o.Version && m.Bytes == o.Bytes && m.Tiny == o.Tiny
}

// makeStores returns the wanted buckets, and makes those that are missing or were made from other flags.
func (b *bench) makeStores(ctx context.Context) ([]store, error) {
	var some []store
	for _, s := range []store{
		{name: "large", made: made{Version: madeVersion, Bytes: b.bytes}},
		{name: "small", made: made{Version: madeVersion, Tiny: corpus.Tiny{Chunks: b.chunks, Lines: smallLines, Length: smallLength}}},
	} {
		if !b.stores.MatchString(s.name) {
			continue
		}
		s.dir = filepath.Join(b.dir, "filesystem-"+s.name)
		file := filepath.Join(b.dir, s.name+".json")
		found, err := readMade(file)
		if err != nil {
			return nil, err
		}
		if found.sameAs(s.made) {
			s.made = found
		} else if err := b.makeStore(ctx, &s, file); err != nil {
			return nil, fmt.Errorf("make bucket %s: %w", s.name, err)
		}
		some = append(some, s)
	}
	if len(some) == 0 {
		return nil, errors.New("-stores matches no bucket")
	}
	return some, nil
}

// readMade returns an empty one if the bucket is not complete.
func readMade(file string) (m made, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

// makeStore has an unpatched Loki fill a bucket, under perfect conditions.
func (b *bench) makeStore(ctx context.Context, s *store, file string) error {
	bucket := filepath.Join(b.bucketsDir(), s.name)
	if err := errors.Join(os.RemoveAll(file), os.RemoveAll(bucket), os.RemoveAll(s.dir), os.MkdirAll(bucket, 0o777)); err != nil {
		return err
	}
	b.objects.SetConditions(objectstore.Conditions{})
	f := &lokiproc.Fleet{Root: b.runDir()}
	defer f.KillAll()
	p, err := f.Start(ctx, lokiproc.Build{Name: "stock", Bin: b.stock, Args: corpus.WriteArgs}, "make "+s.name,
		lokiproc.Config{S3: b.address, Bucket: s.name, Codec: codec})
	if err != nil {
		return err
	}
	if s.Bytes > 0 {
		s.Written, err = corpus.FillFull(ctx, p, s.name, s.Bytes, nil)
	} else {
		s.Written, err = corpus.FillTiny(ctx, p, s.name, s.Tiny)
	}
	if err != nil {
		return err
	}
	if err := p.Stop(); err != nil { // uploads the index
		return err
	}
	files, size, err := lokiproc.ChunkFiles(bucket, corpus.Tenant)
	if err != nil {
		return err
	}
	s.Chunks, s.ChunkBytes = len(files), size
	if err := linkStore(bucket, s.dir); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %d lines, %.1f MB, in %d chunks of %.1f KB\n", s.name, s.Written.Lines,
		float64(s.Written.Bytes)/1e6, s.Chunks, float64(size)/1e3/float64(max(1, s.Chunks)))
	data, err := json.MarshalIndent(s.made, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o666)
}

// linkStore makes a filesystem store of a bucket's objects: the same files, whose names are those that Loki
// gives them there. The last part of a chunk's key has colons, and is in base64.
func linkStore(bucket, dir string) error {
	return filepath.WalkDir(bucket, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		key, err := filepath.Rel(bucket, path)
		if err != nil {
			return err
		}
		folder, name := filepath.Split(key)
		if strings.HasPrefix(key, corpus.Tenant+"/") {
			name = base64.StdEncoding.EncodeToString([]byte(name))
		}
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o777); err != nil {
			return err
		}
		return os.Link(path, filepath.Join(dir, folder, name))
	})
}
