// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/grafana/loki/v3/pkg/util/flagext"
)

// WriteThroughAuto is true where one process writes and reads chunks: see Config.SingleProcess.
const WriteThroughAuto = "auto"

const (
	filesMax = 1 << 28 // CR_EVICT_ITEMS_MAX of chunkring.h

	maxBytesDefault = 50 << 30
	maxFilesDefault = 2_000_000
)

// Config is the block disk_cache of a patched Loki.
type Config struct {
	Directory    string           `yaml:"directory"`
	MaxBytes     flagext.ByteSize `yaml:"max_bytes"`
	MaxFiles     int              `yaml:"max_files"`
	MinFreeBytes flagext.ByteSize `yaml:"min_free_bytes"`
	MaxAge       model.Duration   `yaml:"max_age"`
	WriteThrough string           `yaml:"write_through"`
	PartialReads bool             `yaml:"partial_reads"` // as of a filesystem store, of the copies
	StrictBlocks bool             `yaml:"strict_blocks"` // as chunkring.Config has it: neither a copy nor the origin gives a block

	// SingleProcess says that this process is the one that writes the chunks that it reads (target=all).
	SingleProcess bool `yaml:"-"`
}

// RegisterFlagsWithPrefix registers prefix+"disk-cache.directory" and so on, and sets the defaults.
func (cfg *Config) RegisterFlagsWithPrefix(prefix string, f *flag.FlagSet) {
	prefix += "disk-cache."
	cfg.MaxBytes, cfg.WriteThrough = maxBytesDefault, WriteThroughAuto
	f.StringVar(&cfg.Directory, prefix+"directory", "",
		"Folder on a local disk for copies of the chunks of an object store, of this process and this store alone. Empty: no cache.")
	f.Var(&cfg.MaxBytes, prefix+"max-bytes", "Disk space that the copies may take.")
	f.IntVar(&cfg.MaxFiles, prefix+"max-files", maxFilesDefault,
		"Copies that there may be. Each takes 70 bytes of memory and an inode.")
	f.Var(&cfg.MinFreeBytes, prefix+"min-free-bytes",
		"Space that stays free on the file system, whatever else is on it. 0 means 5 %, at least 1 GiB.")
	f.Var(&cfg.MaxAge, prefix+"max-age",
		"Chunks whose last line is older are not kept. 0 means that age does not matter.")
	f.StringVar(&cfg.WriteThrough, prefix+"write-through", cfg.WriteThrough,
		"Whether chunks are copied when they are stored, too: true, false, or auto (with target=all only).")
	f.BoolVar(&cfg.PartialReads, prefix+"partial-reads", true,
		"Queries read only the two ends of a copy above 128 KiB at first, and each block when they come to it. false means that every copy is read whole.")
	f.BoolVar(&cfg.StrictBlocks, prefix+"strict-blocks", false,
		"A query fails if neither the copy nor the object store gives a block. Otherwise the block is left out, as Loki leaves out chunks that it can't read.")
}

// Validate says what is wrong with the configuration, if anything. An empty directory is no cache.
func (cfg *Config) Validate() error {
	switch {
	case cfg.Directory == "":
		return nil
	case cfg.MaxBytes == 0:
		return errors.New("disk_cache: max_bytes is 0: set it to the disk space that the copies may take")
	case cfg.MaxFiles < 1 || cfg.MaxFiles > filesMax:
		return fmt.Errorf("disk_cache: max_files is %d: must be between 1 and %d", cfg.MaxFiles, filesMax)
	case cfg.MaxAge < 0:
		return fmt.Errorf("disk_cache: max_age is %s: must not be negative", time.Duration(cfg.MaxAge))
	}
	_, err := cfg.writeThrough()
	return err
}

func (cfg *Config) writeThrough() (bool, error) {
	if cfg.WriteThrough == "" || cfg.WriteThrough == WriteThroughAuto {
		return cfg.SingleProcess, nil
	}
	on, err := strconv.ParseBool(cfg.WriteThrough)
	if err != nil {
		return false, fmt.Errorf("disk_cache: write_through is %q: must be true, false or auto", cfg.WriteThrough)
	}
	return on, nil
}
