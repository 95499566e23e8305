// SPDX-License-Identifier: Apache-2.0

// Package chunkring is Grafana Loki's chunk client over local chunk files, on top of libchunkring.a
// (io_uring, or plain threads where io_uring is refused).
//
// It reads and writes the same files, under the same names, as Loki's own client over
// local.FSObjectClient with client.FSEncoder; either reads what the other wrote. A GetChunks goes
//
//	getchunks.go  GetChunks -> keys.go -> core.Reader.Read (ONE cgo call) -> decode.go -> *BatchError
//
// and the bytes of every chunk it returns are an allocation of their own, owned by the garbage
// collector, writable and never reused: Loki keeps them in its chunk cache and writes into them.
// Callers that can say when they are done with a batch get reused buffers from GetChunksPooled.
//
// Clients of one process that agree in everything but the schema share what store.go opens.
package chunkring
