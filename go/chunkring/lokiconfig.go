// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
	"github.com/grafana/loki/v3/pkg/storage/config"
)

// This file is what a Loki patched by cmd/lokifork calls; New does not need it.

// LokiConfig is the block storage_config.filesystem.chunkring of a patched Loki. The directory is that
// of the filesystem store, so it has neither a flag nor a meaning here.
type LokiConfig struct {
	Enabled bool `yaml:"enabled"`
	Config  `yaml:",inline"`
}

// RegisterFlagsWithPrefix registers prefix+"chunkring.enabled" and so on, and sets the defaults.
func (cfg *LokiConfig) RegisterFlagsWithPrefix(prefix string, f *flag.FlagSet) {
	f.BoolVar(&cfg.Enabled, prefix+"chunkring.enabled", true,
		"Read and write the chunks of filesystem stores with chunkring. false means Loki's own client; either reads what the other wrote.")
	var all flag.FlagSet
	cfg.Config.RegisterFlagsWithPrefix(prefix, &all)
	all.VisitAll(func(own *flag.Flag) {
		if own.Name != prefix+"chunkring.directory" {
			f.Var(own.Value, own.Name, own.Usage)
		}
	})
}

// Validate says what is wrong with the configuration, if anything.
func (cfg *LokiConfig) Validate() error {
	if cfg.Directory != "" {
		return errors.New("chunkring: directory can't be set here: chunks are where the filesystem store says")
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
func (cfg *LokiConfig) wanted() bool {
	return cfg.Enabled || lokiAlways != "" && cfg.Backend == ""
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
	own, err := New(cfg.Config, schema, logger, reg)
	if err != nil {
		return nil, fmt.Errorf("filesystem store (chunkring; -local.chunkring.enabled=false means Loki's own client): %w", err)
	}
	return own, nil
}
