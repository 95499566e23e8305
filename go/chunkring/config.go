// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"errors"
	"flag"
	"fmt"
	"math"
)

// The values of Config.Backend.
const (
	BackendAuto    = "auto"    // io_uring, or threads where it can't be set up
	BackendURing   = "uring"   // the same; named by benchmarks, which then check Client.Backend
	BackendThreads = "threads" // plain system calls on a few threads
)

// The values of Config.Seal.
const (
	SealResident = "resident" // if that takes no read from the disk
	SealAlways   = "always"
	SealOff      = "off"
)

const (
	maxWorkers     = 144     // CR_WORKERS_MAX of chunkring.h
	maxRingEntries = 4096    // CR_RING_ENTRIES_MAX
	maxChunkBytes  = 1 << 30 // CR_FILE_BYTES_MAX

	chunkBytesDefault = 64 << 20 // CR_FILE_BYTES_DEFAULT
)

// Config configures a Client. Only Directory is required; zero values mean the defaults.
type Config struct {
	Directory string `yaml:"directory" doc:"hidden"`
	Backend   string `yaml:"backend"`

	// Workers is the most threads that wait for the storage at a time, those that the kernel starts for
	// io_uring included. As many run as the storage is worth: a handful for a local disk. Default 144, or
	// a quarter of what RLIMIT_NPROC and the control group's pids.max leave.
	Workers int `yaml:"workers"`

	// MaxChunkBytes is the size above which a chunk is an error: nothing is allocated for its file, and
	// it is not stored. Default 64 MiB, at most 1 GiB.
	MaxChunkBytes int `yaml:"max_chunk_bytes"`

	// MaxOpenFiles bounds the chunk files that all reads together have open. Default: a quarter of
	// RLIMIT_NOFILE, at most 2048.
	MaxOpenFiles int `yaml:"max_open_files"`

	// PooledBytes bounds what GetChunksPooled keeps for reuse. Default 256 MiB.
	PooledBytes int `yaml:"pooled_bytes"`

	// BlockPath says how much of reading chunks' blocks is done here, in a Loki that lokifork patched.
	// Loki's pools of readers are the process's, so it is, too, for chunks of every store: the most that any
	// client wants. Default: the highest that this Loki has.
	BlockPath string `yaml:"block_path,omitempty"`

	// BlockBufferBytes bounds the decompressed blocks that iterators have open at a time, in the whole
	// process: beyond it Loki's own readers take over. The largest of all clients' counts. Default 256
	// MiB, or an eighth of GOMEMLIMIT or of the cgroup's memory limit if that is less.
	BlockBufferBytes int `yaml:"block_buffer_bytes,omitempty"`

	// Copies says that the files are copies, which may go at any time: see Client.SetOrigin. That a chunk can't be read
	// is then neither logged nor counted: the error says it to the one who knows what it means. Blocks, the back-end and
	// what can't be right in a copy either are logged and counted as ever.
	Copies bool `yaml:"-"`

	// WholeReads has GetChunks read all chunks whole, also for a query that WithWanted marked.
	WholeReads bool `yaml:"-"`

	// Seal says when the CRC32C of a chunk is checked of which only the ends are read. It is joined from the ends
	// and from the CRCs of the blocks, which are read for it, 4 bytes each. Without it everything that is used is
	// checked as well, by checksums of its own; but for one byte, that of the codec, which the blocks contradict
	// if it is wrong. Default SealResident.
	Seal string `yaml:"seal"`

	// StrictBlocks has a query fail if a block can't be read. Without it such a block is left out, as Loki leaves
	// out chunks that it can't read.
	StrictBlocks bool `yaml:"strict_blocks"`

	// RingEntries (a power of two) exists for experiments.
	RingEntries int `yaml:"ring_entries"`
}

// RegisterFlagsWithPrefix registers prefix+"chunkring.directory" and so on.
func (cfg *Config) RegisterFlagsWithPrefix(prefix string, f *flag.FlagSet) {
	prefix += "chunkring."
	f.StringVar(&cfg.Directory, prefix+"directory", "", "Directory to store chunks in.")
	f.StringVar(&cfg.Backend, prefix+"backend", BackendAuto,
		"How chunk files are read: auto (io_uring, or threads where it is refused), uring or threads.")
	f.IntVar(&cfg.Workers, prefix+"workers", 0,
		"Most threads that wait for the storage at a time. 0 means 144, or a quarter of what the process may have.")
	f.IntVar(&cfg.MaxChunkBytes, prefix+"max-chunk-bytes", 0,
		"Chunks larger than this many bytes are an error, when they are read and when they are stored. 0 means 64 MiB.")
	f.IntVar(&cfg.MaxOpenFiles, prefix+"max-open-files", 0,
		"Chunk files that all reads together may have open. 0 means a quarter of the file descriptor limit, at most 2048.")
	f.IntVar(&cfg.PooledBytes, prefix+"pooled-bytes", 0,
		"Bytes of explicitly released buffers that are kept for reuse. 0 means 256 MiB.")
	registerBlockFlags(prefix, f, &cfg.BlockPath, &cfg.BlockBufferBytes)
	f.StringVar(&cfg.Seal, prefix+"seal", SealResident,
		"When the checksum of a chunk is checked of which only the ends are read: resident (if that takes no read from the disk), always or off. Everything that is used has checksums of its own.")
	f.BoolVar(&cfg.StrictBlocks, prefix+"strict-blocks", false,
		"A query fails if a block can't be read. Otherwise the block is left out, as Loki leaves out chunks that it can't read.")
	f.IntVar(&cfg.RingEntries, prefix+"ring-entries", 0,
		"Submission entries of each io_uring, a power of two. 0 means the default of 64.")
}

// Validate says what is wrong with the configuration, if anything.
func (cfg *Config) Validate() error {
	if cfg.Directory == "" {
		return errors.New("chunkring: directory is empty: set it to the folder that holds the chunks")
	}
	switch cfg.Backend {
	case "", BackendAuto, BackendURing, BackendThreads:
	default:
		return fmt.Errorf("chunkring: unknown backend %q: use auto, uring or threads", cfg.Backend)
	}
	switch cfg.Seal {
	case "", SealResident, SealAlways, SealOff:
	default:
		return fmt.Errorf("chunkring: unknown seal %q: use resident, always or off%s", cfg.Seal, quoted(cfg.Seal))
	}
	if err := validateBlockPath(cfg.BlockPath); err != nil {
		return err
	}
	if cfg.RingEntries&(cfg.RingEntries-1) != 0 {
		return fmt.Errorf("chunkring: ring_entries %d is not a power of two", cfg.RingEntries)
	}
	for _, f := range []struct {
		name     string
		val, max int
	}{
		{"workers", cfg.Workers, maxWorkers},
		{"max_chunk_bytes", cfg.MaxChunkBytes, maxChunkBytes},
		{"max_open_files", cfg.MaxOpenFiles, 1 << 20},
		{"pooled_bytes", cfg.PooledBytes, math.MaxInt},
		{"block_buffer_bytes", cfg.BlockBufferBytes, math.MaxInt},
		{"ring_entries", cfg.RingEntries, maxRingEntries},
	} {
		if f.val < 0 || f.val > f.max {
			return fmt.Errorf("chunkring: %s is %d: must be between 0 (default) and %d", f.name, f.val, f.max)
		}
	}
	return nil
}

// quoted is advice on a value that was off when somebody wrote it.
func quoted(value string) string {
	if value == "false" {
		return ` ("off" in quotes: Helm and other YAML 1.1 tools make false of a bare off)`
	}
	return ""
}
