// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/internal/blockread"
	"github.com/chunkring/chunkring/go/internal/promreg"
)

// This file is what a Loki patched by cmd/lokifork calls; New does not need it.

// LokiProcessConfig is the block storage_config.chunkring of a patched Loki: what holds for the whole
// process, whatever stores and caches its chunks come from.
type LokiProcessConfig struct {
	BlockPath        string `yaml:"block_path"`         // as Config.BlockPath
	BlockBufferBytes int    `yaml:"block_buffer_bytes"` // as Config.BlockBufferBytes

	// ChunkCache names the cache that Loki puts chunks into, for the line at start.
	ChunkCache string `yaml:"-"`
}

// RegisterFlagsWithPrefix registers prefix+"chunkring.block-path" and so on, and sets the defaults.
func (cfg *LokiProcessConfig) RegisterFlagsWithPrefix(prefix string, f *flag.FlagSet) {
	registerBlockFlags(prefix+"chunkring.", f, &cfg.BlockPath, &cfg.BlockBufferBytes)
}

// Validate says what is wrong with the configuration, if anything.
func (cfg *LokiProcessConfig) Validate() error {
	if err := validateBlockPath(cfg.BlockPath); err != nil {
		return err
	}
	if cfg.BlockBufferBytes < 0 {
		return fmt.Errorf("chunkring: block_buffer_bytes is %d: must be between 0 (default) and %d", cfg.BlockBufferBytes, math.MaxInt)
	}
	return nil
}

// lokiProcess is what SetBlockPath set.
var lokiProcess struct {
	mu   sync.Mutex
	set  bool
	want blockread.Want
}

// SetBlockPath sets the process's block path, from now on and until it is set again, logs what is in use
// if that changed, and registers its metrics.
func SetBlockPath(cfg LokiProcessConfig, logger log.Logger, reg prometheus.Registerer) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	var errs []error
	if promreg.Register(reg, &errs, blockread.Collector); len(errs) > 0 {
		return fmt.Errorf("chunkring: register metrics: %w", errors.Join(errs...))
	}
	want := blockWant(cfg.BlockPath, cfg.BlockBufferBytes)
	lokiProcess.mu.Lock()
	defer lokiProcess.mu.Unlock()
	if lokiProcess.set && want == lokiProcess.want {
		return nil
	}
	blockread.Enable(want)
	blockread.Disable(lokiProcess.want)
	lokiProcess.set, lokiProcess.want = true, want
	inUse, heldBytes := blockread.InUse()
	level.Info(logger).Log("msg", "block path of all chunks, whatever store they come from", "component", "chunkring",
		"block_path", inUse, "block_buffer_bytes", heldBytes, "chunk_cache", cmp.Or(cfg.ChunkCache, "none"))
	if inUse < want.Level {
		level.Warn(logger).Log("msg", "the block path is not the configured one: this version of Loki lacks a part of chunkring (loki -version lists them)",
			"component", "chunkring", "configured", want.Level, "block_path", inUse)
	}
	return nil
}

// LokiConfig is the block storage_config.filesystem.chunkring of a patched Loki. The directory is that
// of the filesystem store, and the block path that of the process, so they have neither a flag nor a meaning
// here.
type LokiConfig struct {
	Enabled bool `yaml:"enabled"`

	// PartialReads has queries read only the ends of a chunk at first, and a block when they come to it.
	PartialReads bool `yaml:"partial_reads"`
	Config       `yaml:",inline"`
}

// RegisterFlagsWithPrefix registers prefix+"chunkring.enabled" and so on, and sets the defaults.
func (cfg *LokiConfig) RegisterFlagsWithPrefix(prefix string, f *flag.FlagSet) {
	f.BoolVar(&cfg.Enabled, prefix+"chunkring.enabled", true,
		"Read and write the chunks of filesystem stores with chunkring. false means Loki's own client; either reads what the other wrote.")
	f.BoolVar(&cfg.PartialReads, prefix+"chunkring.partial-reads", true,
		"Queries read only the two ends of a chunk above 128 KiB at first, and each block when they come to it. false means that every chunk is read whole.")
	var all flag.FlagSet
	cfg.Config.RegisterFlagsWithPrefix(prefix, &all)
	all.VisitAll(func(own *flag.Flag) {
		switch strings.TrimPrefix(own.Name, prefix+"chunkring.") {
		case "directory", "block-path", "block-buffer-bytes":
		default:
			f.Var(own.Value, own.Name, own.Usage)
		}
	})
	cfg.BlockPath = ""
}

// processKeys are those of storage_config.chunkring that somebody may look for in
// storage_config.filesystem.chunkring, with the names that they once had there.
var processKeys = []struct{ here, there string }{
	{"block_path", "block_path"},
	{"block_buffer_bytes", "block_buffer_bytes"},
	{"decode_blocks", "block_path"},
	{"flat_iteration", "block_path"},
	{"push_down_filters", "block_path"},
}

// UnmarshalYAML implements the interface of yaml.v2. A key that is the process's is an error that says where it is.
func (cfg *LokiConfig) UnmarshalYAML(unmarshal func(any) error) error {
	var keys map[string]any
	if err := unmarshal(&keys); err != nil {
		return err
	}
	for _, k := range processKeys {
		if _, ok := keys[k.here]; ok {
			return fmt.Errorf("storage_config.filesystem.chunkring: %s can't be set for one store: set storage_config.chunkring.%s, which holds for all stores", k.here, k.there)
		}
	}
	type plain LokiConfig
	return unmarshal((*plain)(cfg))
}

// Validate says what is wrong with the configuration, if anything.
func (cfg *LokiConfig) Validate() error {
	if cfg.Directory != "" {
		return errors.New("chunkring: directory can't be set here: chunkring uses the directory of the filesystem store")
	}
	own := cfg.Config
	own.Directory = "." // New gets the store's
	return own.Validate()
}

// lokiAlways is not empty in builds that run Loki's own tests with chunkring. Those make configurations
// as Go values, without the defaults of flags, so for them Enabled is false. Set with
//
//	go test -ldflags '-X github.com/chunkring/chunkring/go/chunkring.lokiAlways=yes'
var lokiAlways string

// wanted is Enabled, or tells that no flag was registered, since one sets Backend.
func (cfg *LokiConfig) wanted() bool { return cfg.Enabled || cfg.always() }

func (cfg *LokiConfig) always() bool { return lokiAlways != "" && cfg.Backend == "" }

// ReadsPartly reports whether the chunks of a filesystem store with this configuration may be read by their ends.
func (cfg *LokiConfig) ReadsPartly() bool {
	return cfg.wanted() && (cfg.PartialReads || cfg.always())
}

// filesystemStore is what a patched Loki's object clients offer that may be over a local folder.
type filesystemStore interface {
	ChunkringConfig() LokiConfig // its Directory is empty if they are not
}

// prefixedStore is what a patched Loki's client.PrefixedObjectClient offers.
type prefixedStore interface {
	ObjectPrefix() string
	GetDownstream() client.ObjectClient
}

// FromObjectClient opens the chunks that a patched Loki's object client keeps in a local folder, to be
// used in its place, with client.FSEncoder's file names. It returns nil, and no error, for all other
// object clients, and where chunkring is switched off.
func FromObjectClient(c client.ObjectClient, schema config.SchemaConfig, logger log.Logger, reg prometheus.Registerer) (client.Client, error) {
	prefix := ""
	if p, ok := c.(prefixedStore); ok {
		prefix, c = p.ObjectPrefix(), p.GetDownstream()
	}
	store, ok := c.(filesystemStore)
	if !ok {
		return nil, nil
	}
	cfg := store.ChunkringConfig()
	if cfg.Directory == "" || !cfg.wanted() {
		return nil, nil
	}
	cfg.Directory = filepath.Join(cfg.Directory, filepath.FromSlash(prefix))
	cfg.WholeReads = !cfg.ReadsPartly()
	cfg.BlockPath = BlockPathOff // wants nothing of its own: SetBlockPath did
	own, err := New(cfg.Config, schema, logger, reg)
	if err != nil {
		return nil, fmt.Errorf("filesystem store (chunkring; -local.chunkring.enabled=false means Loki's own client): %w", err)
	}
	return own, nil
}
