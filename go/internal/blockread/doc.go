// SPDX-License-Identifier: Apache-2.0

// Package blockread gives Loki readers of blocks that were decompressed in one call into C.
//
// A Loki that lokifork patched asks its reader pools for a reader each time an iterator comes to a
// block, and passes the whole block; Enable puts pools of this package in their place. Such a reader
// has the block decompressed, in a buffer that is reused after PutReader. Where a chunk came from does not
// matter: a local file, an object store, a cache, or the ingester's memory.
//
//	hook.go     Enable and Disable, for the whole process
//	pool.go     the pools: decompress, or leave it to Loki's own reader
//	infile.go   the same for a block that is still in its file
//	verify.go   chunks of object stores and caches, all checksums in one pass
//	buffers.go  readers, and the buffers behind them, bounded twice
//	memory.go   how much memory the process may use
//	metrics.go  what was done, as Prometheus sees it
//
// A block that is damaged, or larger than it may be, goes to Loki's own reader, which hands out what
// is before the damage and then its own error: so a query can't tell who decompressed. The exception are
// deflate streams that no compressor writes: libdeflate gives undefined codes a meaning
// (TestUndefinedCodes), Loki's reader an error.
package blockread
