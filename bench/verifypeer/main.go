// SPDX-License-Identifier: Apache-2.0

// Command verifypeer checks a chunk store with Loki's own packages and all CPUs: what `chunkctl
// verify` is measured against. Of every chunk it compares the name's key and CRC32C with the file,
// decodes the metadata and the structure and checks every block's CRC32C (chunk.Decode does all
// this); with -deep it reads every entry. Each worker reuses one buffer and one decode context, which
// Loki itself can't.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkgen"
	"github.com/chunkring/chunkring/go/cli"
)

type options struct {
	dir     string
	workers int
	deep    bool
}

func main() { cli.Main("verifypeer", parse, run) }

func parse(args []string) (options, error) {
	var o options
	f := cli.Flags("verifypeer", "DIR", "0 all chunks are sound; 1 some are not, or it failed; 2 wrong flags")
	f.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "files at a time")
	f.BoolVar(&o.deep, "deep", false, "read every entry")
	if err := cli.Parse(f, args, 1); err != nil {
		return o, err
	}
	if o.workers < 1 {
		return o, errors.New("-workers is at least 1")
	}
	o.dir = f.Arg(0)
	return o, nil
}

func run(ctx context.Context, o options) error {
	p := &peer{deep: o.deep, dir: o.dir, paths: make(chan string, 1024)}
	begin := time.Now()
	var wg sync.WaitGroup
	for range o.workers {
		wg.Go(p.work)
	}
	err := filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			p.paths <- path
		}
		return errors.Join(err, ctx.Err())
	})
	close(p.paths)
	wg.Wait()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	fmt.Printf("checked %d chunks, %.1f MB, %d entries in %.3f s (%.0f MB/s): %d bad, %d other files\n", p.files.Load(),
		float64(p.bytes.Load())/1e6, p.entries.Load(), took.Seconds(), float64(p.bytes.Load())/1e6/took.Seconds(),
		p.bad.Load(), p.other.Load())
	if n := p.bad.Load(); n > 0 {
		return fmt.Errorf("%d chunks are damaged", n)
	}
	return nil
}

type peer struct {
	deep                              bool
	dir                               string
	paths                             chan string
	files, bytes, entries, bad, other atomic.Int64
}

func (p *peer) work() {
	var buf bytes.Buffer
	dctx := chunk.NewDecodeContext()
	for path := range p.paths {
		rel, err := filepath.Rel(p.dir, path)
		if err != nil {
			panic(err) // WalkDir gives what lies below
		}
		c, ok := key(rel)
		if !ok {
			p.other.Add(1)
			continue
		}
		if err := p.check(c, path, &buf, dctx); err != nil {
			p.bad.Add(1)
			fmt.Printf("%s: %v\n", path, err)
		}
	}
}

func (p *peer) check(c chunk.Chunk, path string, buf *bytes.Buffer, dctx *chunk.DecodeContext) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if err := readInto(buf, path); err != nil {
		return err
	}
	p.files.Add(1)
	p.bytes.Add(int64(buf.Len()))
	announced := blocksAnnounced(buf.Bytes())
	if err := c.Decode(dctx, buf.Bytes()); err != nil {
		return err
	}
	// Decode drops blocks with a wrong CRC and says so in its log only.
	if facade, ok := c.Data.(*chunkenc.Facade); !ok {
		return errors.New("not a log chunk")
	} else if n := facade.LokiChunk().BlockCount(); announced >= 0 && n != announced {
		return fmt.Errorf("%d of %d blocks", n, announced)
	}
	if !p.deep {
		return nil
	}
	n := int64(0)
	err = chunkgen.Lines(c, func(logproto.Entry) { n++ })
	p.entries.Add(n)
	return err
}

func readInto(buf *bytes.Buffer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	buf.Reset()
	buf.Grow(int(fi.Size()) + bytes.MinRead)
	_, err = io.Copy(buf, f)
	return err
}

// blocksAnnounced is the number that a version 4 chunk's metas begin with, or -1.
func blocksAnnounced(b []byte) int {
	if len(b) < 40 {
		return -1
	}
	at := bytes.Index(b, []byte{0x01, 0x2e, 0xe5, 0x6a})
	if at < 0 || b[at+4] != 4 {
		return -1
	}
	off := 0
	for _, x := range b[len(b)-8:] {
		off = off<<8 | int(x)
	}
	if at+off >= len(b) || b[at+off] >= 0x80 {
		return -1
	}
	return int(b[at+off])
}

// key parses a file's path by Loki's own rules for both layouts.
func key(rel string) (chunk.Chunk, bool) {
	dir, name := filepath.Split(rel)
	tail, err := base64.StdEncoding.DecodeString(name)
	if err != nil {
		return chunk.Chunk{}, false
	}
	external := dir + string(tail)
	tenant, _, ok := strings.Cut(external, "/")
	if !ok {
		return chunk.Chunk{}, false
	}
	c, err := chunk.ParseExternalKey(tenant, external)
	return c, err == nil
}
