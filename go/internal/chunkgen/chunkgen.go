// SPDX-License-Identifier: Apache-2.0

// Package chunkgen makes Loki chunk files for benchmarks, tests and fuzzers: whole stores (Write),
// single chunks (Build), and damaged ones (Split, Join and the rest of surgery.go). Every chunk is
// made by Loki's own encoder, so what a reader meets here is what a Loki would have written.
//
//	chunkgen.go  options, sizes, and the store
//	build.go     one chunk through Loki's encoder
//	lines.go     log lines: made-up applications, or given files
//	index.go     the list of a store's chunks that tests and benchmarks load
//	surgery.go   taking a chunk file apart and putting it together wrongly
//	corpus.go    testdata/good and testdata/bad: types, loading, making
//	good.go      what is in testdata/good
//	bad_outer.go what is in testdata/bad and is caught by the file's checksum
//	bad_inner.go what is in testdata/bad and has the right checksum
//	bad_part.go  the folders of testdata/bad
//	stock.go     what Loki itself does with a file, found out in a child process
package chunkgen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// generation changes when the same options make other bytes, so that old stores are not taken for
// new ones.
const generation = 1

// Chunks of one stream follow each other in time, one in each hour. Loki's default for the longest
// a chunk stays open is two hours.
const chunkSpan = time.Hour

// storeBegin is the start of every stream's first hour. It is fixed because the same seed must
// make the same bytes.
var storeBegin = time.Date(2024, 3, 12, 10, 0, 0, 0, time.UTC)

// Limits on what Write is asked for; beyond them it is a typing error.
const (
	countMax = 10_000_000
	sizeMin  = 800     // envelope, labels, a line or two
	sizeMax  = 1 << 30 // dataLen is an uint32, and Loki's own target is 1.5 MiB
)

// ErrOtherStore is wrapped in Write's error when dir already holds something else.
var ErrOtherStore = errors.New("the directory holds something else")

// Options say what Write makes. The zero value of each field but Logs means the default in
// brackets.
type Options struct {
	Count   int      `json:"count"`   // chunks [100]
	Size    int      `json:"size"`    // bytes of each file, hit within 3 %, or 64 bytes if that is more [900000]
	Codec   string   `json:"codec"`   // by Loki's name [snappy]
	Format  int      `json:"format"`  // 1 to 4 [what Loki writes under Schema: 3 or 4]
	Schema  string   `json:"schema"`  // v11 and before: flat file names; v12 and later: nested [v13]
	Seed    uint64   `json:"seed"`    // the same options and seed make the same bytes
	Tenants int      `json:"tenants"` // one is called "fake", as in a Loki without tenants [1]
	Streams int      `json:"streams"` // per tenant; chunks are dealt to them in turn [8]
	Block   int      `json:"block"`   // uncompressed bytes of a block [262144]
	Logs    []string `json:"logs"`    // files to take lines from instead of making them up
}

// withDefaults fills in the defaults and refuses what can't be made.
func (o Options) withDefaults() (Options, error) {
	setInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	setInt(&o.Count, 100)
	setInt(&o.Size, 900_000)
	setInt(&o.Tenants, 1)
	setInt(&o.Streams, 8)
	setInt(&o.Block, BlockBytes)
	if o.Codec == "" {
		o.Codec = compression.Snappy.String()
	}
	if o.Schema == "" {
		o.Schema = "v13"
	}
	period := config.PeriodConfig{Schema: o.Schema}
	if v, err := period.VersionAsInt(); err != nil || v < 9 || v > 13 {
		return o, fmt.Errorf("schema %q: choose v9 to v13", o.Schema)
	}
	if o.Format == 0 {
		format, _, err := period.ChunkFormat()
		if err != nil {
			return o, err
		}
		o.Format = int(format)
		if o.Format > int(chunkenc.ChunkFormatV4) {
			return o, fmt.Errorf("schema %s wants chunk format %d, which is not known here", o.Schema, o.Format)
		}
	}
	for _, c := range []struct {
		name           string
		value, min, at int
	}{
		{"count", o.Count, 1, countMax},
		{"size", o.Size, sizeMin, sizeMax},
		{"format", o.Format, 1, 4},
		{"tenants", o.Tenants, 1, countMax},
		{"streams", o.Streams, 1, countMax},
		{"block", o.Block, 1, sizeMax},
	} {
		if c.value < c.min || c.value > c.at {
			return o, fmt.Errorf("%s %d: choose %d to %d", c.name, c.value, c.min, c.at)
		}
	}
	e, err := o.encoding()
	if err != nil {
		return o, err
	}
	o.Codec = e.Codec.String() // "SNAPPY" and "snappy" are equal options
	return o, e.check()
}

func (o Options) encoding() (Encoding, error) {
	codec, err := compression.ParseCodec(o.Codec)
	return Encoding{Format: byte(o.Format), Codec: codec, BlockBytes: o.Block}, err
}

// stream says which stream chunk i belongs to, and how many chunks of it come before.
func (o Options) stream(i int) (s Stream, nth, turn int) {
	streams := o.Tenants * o.Streams
	nth, turn = i%streams, i/streams
	tenant := "fake"
	if o.Tenants > 1 {
		tenant = fmt.Sprintf("tenant-%d", nth%o.Tenants)
	}
	nth /= o.Tenants
	return Stream{Tenant: tenant, Labels: streamLabels(nth)}, nth, turn
}

// Write makes a store in dir and its index. Where dir holds a complete store made with equal
// options it only loads the index; where Write was interrupted it begins again. Anything else in
// dir is ErrOtherStore and stays untouched. progress may be nil; its calls don't overlap. Files are
// written plainly: nothing is synced, since a lost store is made again in seconds.
func Write(ctx context.Context, dir string, opts Options, progress func(done, total int)) (*Index, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &writer{dir: dir, opts: opts, schema: Schema(opts.Schema), progress: progress}
	x := &Index{Generator: generation, Options: opts}
	if len(opts.Logs) > 0 {
		all, lines, err := readLogs(opts.Logs)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(all)
		x.LogsSum, w.lines = hex.EncodeToString(sum[:]), lines
	}
	if old, err := existing(dir, x); old != nil || err != nil {
		return old, err
	}
	// The incomplete index marks the directory as ours while the files appear.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := x.Save(dir); err != nil {
		return nil, err
	}
	if x.Refs, err = w.run(ctx); err != nil {
		return nil, err
	}
	x.Complete = true
	return x, x.Save(dir)
}

// existing returns dir's index when nothing is left to do, nil when dir is free to be written.
func existing(dir string, want *Index) (*Index, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	const next = "; give an empty directory, or remove this one first"
	old, err := LoadIndex(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %s has files but no readable index (%w)%s", ErrOtherStore, dir, err, next)
	}
	// The same lines under another name are the same logs.
	a, b := old.Options, want.Options
	a.Logs, b.Logs = nil, nil
	if old.Generator != want.Generator || old.LogsSum != want.LogsSum || !reflect.DeepEqual(a, b) {
		return nil, fmt.Errorf("%w: %s was made with other options: %+v%s", ErrOtherStore, dir, old.Options, next)
	}
	if old.stale() != nil {
		return nil, nil // the same names with the same bytes come again
	}
	return old, nil
}

// writer makes the chunks of one store.
type writer struct {
	dir      string
	opts     Options
	enc      Encoding
	schema   config.SchemaConfig
	lines    [][]byte // of given files
	progress func(done, total int)

	text []int    // per kind: bytes of text that made a chunk of the right size
	made sync.Map // directories that exist
}

// run makes all chunks, as many at a time as there are CPUs.
func (w *writer) run(ctx context.Context) ([]Ref, error) {
	var err error
	if w.enc, err = w.opts.encoding(); err != nil {
		return nil, err
	}
	if err := w.calibrate(); err != nil {
		return nil, err
	}
	refs := make([]Ref, w.opts.Count)
	var (
		next atomic.Int64
		mu   sync.Mutex
		done int
	)
	g, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), len(refs)) {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(refs); i = int(next.Add(1)) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				ref, err := w.one(i)
				if err != nil {
					return fmt.Errorf("chunk %d: %w", i, err)
				}
				refs[i] = ref
				mu.Lock()
				done++
				if w.progress != nil {
					w.progress(done, len(refs))
				}
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return refs, nil
}

// one makes and writes chunk i.
func (w *writer) one(i int) (Ref, error) {
	s, nth, turn := w.opts.stream(i)
	kind := nth % len(w.text)
	c, _, err := w.fit(s, kind, i, storeBegin.Add(time.Duration(turn)*chunkSpan), w.text[kind])
	if err != nil {
		return Ref{}, err
	}
	ref, b, err := Describe(c, w.opts.Schema)
	if err != nil {
		return Ref{}, err
	}
	ref.Path = client.FSEncoder(w.schema, c)
	name := filepath.Join(w.dir, filepath.FromSlash(ref.Path))
	if dir := filepath.Dir(name); dir != w.dir {
		if _, ok := w.made.Load(dir); !ok {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return Ref{}, err
			}
			w.made.Store(dir, nil)
		}
	}
	return ref, os.WriteFile(name, b, 0o644)
}

// Describe returns the Ref of a chunk that Build made, but for its Path, and its bytes.
func Describe(c chunk.Chunk, schema string) (Ref, []byte, error) {
	b, err := c.Encoded()
	if err != nil {
		return Ref{}, nil, err
	}
	facade, ok := c.Data.(*chunkenc.Facade)
	if !ok {
		return Ref{}, nil, fmt.Errorf("chunk data is a %T", c.Data)
	}
	p, err := Split(b)
	if err != nil {
		return Ref{}, nil, err
	}
	return Ref{
		Tenant:      c.UserID,
		Fingerprint: Hex(c.Fingerprint),
		From:        int64(c.From),
		Through:     int64(c.Through),
		Checksum:    Hex(c.Checksum),
		Size:        len(b),
		Codec:       facade.LokiChunk().Encoding().String(),
		Format:      int(p.Version()),
		Schema:      schema,
		Blocks:      facade.LokiChunk().BlockCount(),
		Entries:     facade.LokiChunk().Size(),
	}, b, nil
}

// calibrate finds how much text each kind of log needs. The chunks it makes are thrown away: if the
// first real ones served, their text would have to be known before the others' could start.
func (w *writer) calibrate() error {
	n := len(kinds)
	if w.lines != nil {
		n = 1
	}
	w.text = make([]int, n)
	for kind := range w.text[:min(n, w.opts.Streams)] {
		s := Stream{Tenant: "fake", Labels: streamLabels(kind)}
		var err error
		if _, w.text[kind], err = w.fit(s, kind, -1-kind, storeBegin, 3*w.opts.Size); err != nil {
			return err
		}
	}
	return nil
}

// fit makes a chunk of the wanted size from about the given amount of text, correcting the amount
// until the size is right, and returns it with the amount that did it.
//
// Size grows almost linearly with text, so two tries give the slope for the third. More are needed
// only near the smallest size, where a word more or less changes the ratio.
func (w *writer) fit(s Stream, kind, i int, begin time.Time, text int) (chunk.Chunk, int, error) {
	const triesMax = 12
	var (
		want               = w.opts.Size
		lastText, lastSize = 0, min(450, want/2) // an empty chunk: envelope with the labels, header, footer
		best               chunk.Chunk
		bestText, bestOff  = 0, want
	)
	for range triesMax {
		c, err := Build(s, w.enc, w.entries(kind, i, begin, text))
		if err != nil {
			return c, 0, err
		}
		b, err := c.Encoded()
		if err != nil {
			return c, 0, err
		}
		size := len(b)
		if off := max(size-want, want-size); off < bestOff {
			best, bestText, bestOff = c, text, off
		}
		if bestOff <= want*25/1000 {
			break
		}
		grown := float64(want) / float64(size)
		if slope := float64(size-lastSize) / float64(text-lastText); text != lastText && slope > 0.01 {
			grown = (float64(text) + float64(want-size)/slope) / float64(text)
		}
		lastText, lastSize = text, size
		text = max(1, int(float64(text)*min(max(grown, 0.2), 5)))
	}
	if bestOff > max(want*3/100, 64) {
		return best, 0, fmt.Errorf("a %s chunk of %d bytes can't be made from these lines (nearest: off by %d bytes); choose a larger size",
			w.enc.Codec, want, bestOff)
	}
	return best, bestText, nil
}

// entries makes the log of chunk i.
func (w *writer) entries(kind, i int, begin time.Time, text int) iter.Seq[logproto.Entry] {
	return func(yield func(logproto.Entry) bool) {
		r := rand.New(rand.NewPCG(w.opts.Seed, uint64(i)))
		for e := range entries(r, w.source(kind), begin, text) {
			if !yield(e) {
				return
			}
		}
	}
}

// entries takes text bytes of lines from src and spreads them over most of the chunk's hour. The
// last line is cut to make the amount exact.
func entries(r *rand.Rand, src source, begin time.Time, text int) iter.Seq[logproto.Entry] {
	return func(yield func(logproto.Entry) bool) {
		var (
			at    = begin.UnixNano() + r.Int64N(int64(chunkSpan/32))
			span  = float64(chunkSpan) * 15 / 16
			pod   = logproto.LabelAdapter{Name: "pod_uid", Value: string(appendHex(nil, r, 8))}
			total int
			last  int64
		)
		for total < text {
			l := src.next(r)
			l.text = l.text[:min(len(l.text), text-total)]
			ts := at + int64(span*float64(total)/float64(text))
			// Formats 1 and 2 refuse to go back in time, and equal lines of one nanosecond are dropped.
			ts = max(ts, last+1)
			total, last = total+len(l.text), ts
			e := logproto.Entry{
				Timestamp: time.Unix(0, ts),
				Line:      strings.ToValidUTF8(string(l.text), "?"),
				// In order of names, as everywhere in Loki, which drops it before format 4.
				StructuredMetadata: []logproto.LabelAdapter{{Name: "detected_level", Value: l.level}, pod},
			}
			if l.trace != "" {
				trace := logproto.LabelAdapter{Name: "trace_id", Value: l.trace}
				e.StructuredMetadata = append(e.StructuredMetadata, trace)
			}
			if !yield(e) {
				return
			}
		}
	}
}

func (w *writer) source(kind int) source {
	if w.lines != nil {
		return &fileLog{lines: w.lines, at: -1}
	}
	return kinds[kind].new()
}

// Check says what is wrong with o, before anything is touched.
func (o Options) Check() error {
	_, err := o.withDefaults()
	return err
}
