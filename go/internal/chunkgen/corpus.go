// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The corpus is what lies in testdata: good/ holds chunk files that a reader must accept, bad/ one
// file per defect, each named after what it shows, in a folder for each part of a file. All are small, all are made again byte for byte
// by `go run ./testdata/make`.
const (
	corpusSuffix = ".chunk"
	corpusSchema = "v13"
)

// What a check of a chunk file's structure and checksums must say of one in bad/. What the blocks
// hold once they are decompressed is not its business; the outer-... files go with their key.
const (
	MustReject = "reject" // stock would serve wrong data, panic, hang or take all memory
	MustAccept = "accept" // stock decodes it, if only in part; so readers relied on it
	MustEither = "either" // stock's Decode says no, so whoever says it first is right
)

// What stock Loki does with a chunk file.
const (
	StockSucceeds  = "succeeds"
	StockError     = "error"
	StockPanic     = "panic"
	StockHangOrOOM = "hang_or_oom" // never decode these outside a limited child process
)

// Bad is a file in testdata/bad. Its Ref says which chunk to ask for; Blocks and Entries are those
// of the chunk before it was damaged.
type Bad struct {
	Ref
	OuterCRCOK  bool    `json:"outer_crc_ok"` // the file's CRC32C is the key's
	Description string  `json:"description"`
	Must        string  `json:"must"`
	Stock       Outcome `json:"stock"`
}

// Name is the defect's, and its file's without the suffix.
func (f Bad) Name() string { return strings.TrimSuffix(path.Base(f.Ref.Path), corpusSuffix) }

// BadIndex lists testdata/bad.
type BadIndex struct {
	Files []Bad `json:"files"`

	dir string
}

// Path is the full path of f's file.
func (x *BadIndex) Path(f Bad) string { return filepath.Join(x.dir, f.Ref.Path) }

// LoadBad reads the index of testdata/bad, which is dir.
func LoadBad(dir string) (*BadIndex, error) {
	x := &BadIndex{dir: dir}
	if err := loadJSON(filepath.Join(dir, IndexName), x); err != nil {
		return nil, err
	}
	return x, nil
}

// sample is a chunk file with its Ref, on the way into the corpus.
type sample struct {
	ref   Ref
	bytes []byte
}

// seedOf makes each file's log depend on its name alone, so that adding one changes no other.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// derive is the sample that surgery made of base: asked for by base's key, but for the checksum.
func derive(base sample, name string, b []byte) sample {
	ref := base.ref
	ref.Path, ref.Size, ref.Checksum = name+corpusSuffix, len(b), Hex(CRC(b))
	return sample{ref, b}
}

// MakeCorpus writes dir/good and dir/bad and their indexes, replacing the chunk files in them.
// stock tells what Loki does with a file; it is called from several goroutines.
func MakeCorpus(ctx context.Context, dir string, stock func(ctx context.Context, path string, ref Ref) (Outcome, error)) error {
	good, err := goodSamples()
	if err != nil {
		return fmt.Errorf("good: %w", err)
	}
	defects, err := badSamples()
	if err != nil {
		return fmt.Errorf("bad: %w", err)
	}
	goodDir, badDir := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	x := &Index{Generator: generation, Complete: true, Options: Options{Schema: corpusSchema}}
	for _, s := range good {
		x.Refs = append(x.Refs, s.ref)
	}
	if err := writeSamples(goodDir, good); err != nil {
		return err
	}
	if err := x.Save(goodDir); err != nil {
		return err
	}

	samples := make([]sample, len(defects))
	for i, d := range defects {
		samples[i] = d.sample
	}
	if err := writeSamples(badDir, samples); err != nil {
		return err
	}
	files := make([]Bad, len(defects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, d := range defects {
		g.Go(func() error {
			out, err := stock(ctx, filepath.Join(badDir, d.ref.Path), d.ref)
			files[i] = Bad{
				Ref:         d.ref,
				OuterCRCOK:  uint32(d.ref.Checksum) == CRC(d.bytes),
				Description: d.why,
				Stock:       out,
			}
			files[i].Must = must(files[i], d.must)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return saveJSON(filepath.Join(badDir, IndexName), BadIndex{}, "files", files)
}

// must applies the rule (accept what stock accepts, reject what would hurt it) unless the defect
// brings a verdict of its own.
func must(f Bad, override string) string {
	switch {
	case override != "":
		return override
	case !f.OuterCRCOK, f.Stock.Decode == StockPanic, f.Stock.Decode == StockHangOrOOM:
		return MustReject
	case f.Stock.Decode == StockSucceeds:
		return MustAccept
	}
	return MustEither
}

// writeSamples makes the chunk files of dir exactly these.
func writeSamples(dir string, samples []sample) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != corpusSuffix {
			return err
		}
		return os.Remove(name)
	})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range samples {
		if seen[s.ref.Path] {
			return fmt.Errorf("chunkgen: two files are called %s", s.ref.Path)
		}
		seen[s.ref.Path] = true
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, s.ref.Path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, s.ref.Path), s.bytes, 0o644); err != nil {
			return err
		}
	}
	return nil
}
