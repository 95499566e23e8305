// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"flag"
	"fmt"

	"github.com/chunkring/chunkring/go/internal/blockread"
)

// The values of Config.BlockPath. Each includes what those before it do.
const (
	BlockPathOff        = "off"        // Loki's own readers and iterator
	BlockPathDecompress = "decompress" // a block is decompressed with one call into C
	BlockPathInPlace    = "in_place"   // and its entries are cut from it, instead of being read and copied
	BlockPathFilter     = "filter"     // and searched for the bytes that decide a query's first line filters, which see no line without them
)

// registerBlockFlags registers the flags of the block path, whose defaults are the same wherever it is configured.
func registerBlockFlags(prefix string, f *flag.FlagSet, path *string, bufferBytes *int) {
	f.StringVar(path, prefix+"block-path", defaultBlockPath(),
		"How much of reading chunks' blocks chunkring does, whatever store they came from: off, decompress (in C), in_place (and cut log lines from the blocks instead of reading and copying them) or filter (and search a block for the text of a query's first line filters, so that most lines need no look of theirs).")
	f.IntVar(bufferBytes, prefix+"block-buffer-bytes", 0,
		"Bytes of decompressed blocks that all queries of the process may have open; beyond it Loki's own readers take over. 0 means 256 MiB, or an eighth of GOMEMLIMIT or the cgroup's memory limit if that is less.")
}

// defaultBlockPath is the highest level that a patched Loki has. In an unmodified one it has no effect.
func defaultBlockPath() string {
	if highest := blockread.Highest(); highest > blockread.Off {
		return highest.String()
	}
	return BlockPathFilter
}

func validateBlockPath(path string) error {
	if _, ok := blockLevel(path); !ok {
		return fmt.Errorf("chunkring: unknown block_path %q: use off, decompress, in_place or filter%s", path, quoted(path))
	}
	return nil
}

// blockLevel is what blockread calls a Config.BlockPath.
func blockLevel(path string) (blockread.Level, bool) {
	if path == "" {
		path = defaultBlockPath()
	}
	return blockread.ParseLevel(path)
}

// blockWant is what a valid configuration wants of blockread.
func blockWant(path string, bufferBytes int) blockread.Want {
	level, _ := blockLevel(path)
	return blockread.Want{Level: level, HeldBytes: int64(bufferBytes)}
}
