// SPDX-License-Identifier: Apache-2.0

// Package diskcache puts a folder of chunk files in front of Loki's chunk client of an object store.
//
//	client.go  Client, a client.Client in front of a client.Client: the folder, then the origin
//	flight.go  a chunk that several queries miss at once is fetched from the origin once
//	cache.go   what the clients of one folder share; how they find each other
//	folder.go  the folder: whose it is (marker), one process at a time (lock), room on its file system
//	writer.go  the one goroutine that fills and empties the folder, and its queue
//	walk.go    what was there at start
//	shortage.go  says when the file system has no room for copies
//	index.go   which files there are, and which of them goes next (core.Evict)
//	keys.go    names of files
//
// The folder is a chunk store as Loki's own filesystem store would write it: same names, same bytes. A name
// holds the CRC32C of all bytes, so damaged bytes can't pass for right ones, nothing needs to be synced, and
// a restart is warm at once. Reads are chunkring's: one call into C for all chunks of a call.
//
// What holds: no call fails or waits because of the folder (but DeleteChunk, which waits for a write that is
// under way). The folder's files take at most Config.MaxBytes, the one that is being written included; what is
// deleted while a query reads it takes its room until it is closed.
package diskcache
