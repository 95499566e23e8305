// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/prometheus/common/model"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// IndexName is the file that lists a store's chunks. It lies in the store's directory itself, where
// a real Loki keeps files of its own (loki_cluster_seed.json), so that readers of a store meet one.
const IndexName = "index.json"

// Hex is a number that JSON shows as a hexadecimal string, as it appears in Loki's keys: a
// fingerprint has 64 bits, more than a JSON number keeps.
type Hex uint64

// MarshalText writes h without prefix or leading zeros, as Loki's keys do.
func (h Hex) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(h), 16), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hex) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	*h = Hex(n)
	return err
}

// Ref is what an index knows of one chunk, and where its file is. From and Through are
// milliseconds since 1970. Field order is the order in the file.
type Ref struct {
	Path        string `json:"path"` // relative to the index's directory, with slashes
	Tenant      string `json:"tenant"`
	Fingerprint Hex    `json:"fingerprint"`
	From        int64  `json:"from"`
	Through     int64  `json:"through"`
	Checksum    Hex    `json:"checksum"` // CRC32C of the whole file
	Size        int    `json:"size"`     // bytes of the file
	Codec       string `json:"codec"`
	Format      int    `json:"format"`
	Schema      string `json:"schema"`
	Blocks      int    `json:"blocks"`
	Entries     int    `json:"entries"`
}

// Chunk is what Loki's index delivers: only the ChunkRef is set.
func (r Ref) Chunk() chunk.Chunk {
	return chunk.Chunk{ChunkRef: logproto.ChunkRef{
		UserID:      r.Tenant,
		Fingerprint: uint64(r.Fingerprint),
		From:        model.Time(r.From),
		Through:     model.Time(r.Through),
		Checksum:    uint32(r.Checksum),
	}}
}

// Key is the external key, the way schema v12 and later write it: also the argument of
// chunk.ParseExternalKey.
func (r Ref) Key() string {
	return Schema("v13").ExternalKey(r.Chunk().ChunkRef)
}

// Index lists the chunks of one store.
type Index struct {
	Generator int     `json:"generator"` // generation, which made it
	Complete  bool    `json:"complete"`  // false: Write was interrupted
	LogsSum   string  `json:"logs_sum,omitempty"`
	Options   Options `json:"options"`
	Refs      []Ref   `json:"chunks"`

	dir string
}

// Dir is the directory the index lies in and its paths are relative to.
func (x *Index) Dir() string { return x.dir }

// Path is the full path of r's file.
func (x *Index) Path(r Ref) string { return filepath.Join(x.dir, filepath.FromSlash(r.Path)) }

// Chunks returns a fresh slice of all chunks as Loki's index would deliver them.
func (x *Index) Chunks() []chunk.Chunk {
	chunks := make([]chunk.Chunk, len(x.Refs))
	for i, r := range x.Refs {
		chunks[i] = r.Chunk()
	}
	return chunks
}

// Bytes is the size of all files together.
func (x *Index) Bytes() int64 {
	var n int64
	for _, r := range x.Refs {
		n += int64(r.Size)
	}
	return n
}

// Schema is the configuration to give a client that reads this store.
func (x *Index) Schema() config.SchemaConfig { return Schema(x.Options.Schema) }

// Schema makes a configuration with one period of the given version ("v13"), which begins before
// any chunk made here.
func Schema(version string) config.SchemaConfig {
	period := config.PeriodConfig{
		From:       config.DayTime{Time: 0},
		IndexType:  "tsdb",
		ObjectType: "filesystem",
		Schema:     version,
	}
	// VersionAsInt memorises its answer; without this the first clients to use the configuration
	// from several goroutines would race for it.
	_, _ = period.VersionAsInt()
	return config.SchemaConfig{Configs: []config.PeriodConfig{period}}
}

// LoadIndex reads the index of the store (or of testdata/good) in dir.
func LoadIndex(dir string) (*Index, error) {
	x := &Index{dir: dir}
	if err := loadJSON(filepath.Join(dir, IndexName), x); err != nil {
		return nil, err
	}
	return x, nil
}

// Save writes x as dir's index, whole or not at all, with one line a chunk: small enough to grep,
// and C tests can scan it.
func (x *Index) Save(dir string) error {
	head := *x
	head.Refs = nil
	if err := saveJSON(filepath.Join(dir, IndexName), head, "chunks", x.Refs); err != nil {
		return err
	}
	x.dir = dir
	return nil
}

// stale says why the files of x are not all there, or nil. It looks at sizes only.
func (x *Index) stale() error {
	if !x.Complete {
		return errors.New("its writer was interrupted")
	}
	for _, r := range x.Refs {
		fi, err := os.Stat(x.Path(r))
		if err != nil {
			return err
		}
		if fi.Size() != int64(r.Size) {
			return fmt.Errorf("%s has %d bytes, not %d", x.Path(r), fi.Size(), r.Size)
		}
	}
	return nil
}

func loadJSON(name string, into any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s is not an index of chunkgen's: %w", name, err)
	}
	return nil
}

// saveJSON writes the object head with the list under key appended, one line an element, by way of
// a temporary file. head must marshal key as its last field, empty.
func saveJSON[T any](name string, head any, key string, list []T) error {
	b, err := json.Marshal(head)
	if err != nil {
		return err
	}
	tail := fmt.Appendf(nil, "%q:null}", key)
	if !bytes.HasSuffix(b, tail) {
		return fmt.Errorf("chunkgen: %q is not the last field of %T", key, head)
	}
	out := bytes.NewBuffer(bytes.TrimSuffix(b, tail))
	fmt.Fprintf(out, "%q:[", key)
	for i, e := range list {
		if i > 0 {
			out.WriteByte(',')
		}
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		out.WriteByte('\n')
		out.Write(line)
	}
	out.WriteString("\n]}\n")

	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
