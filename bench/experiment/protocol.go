// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// Each reader runs in a process of its own, so that heap, garbage collection, page faults and peak memory
// are its own; the driver has them read in turns. They talk in JSON objects, one request, one reply.

type childConfig struct {
	Dir     string // of the store
	Peer    string
	Files   int // of a batch
	Callers int
}

type request struct {
	Do         string // one of the constants below
	Ops, Warm  int    // a caller's GetChunks that count, and that come first and don't
	LinesEvery int
	Limit      time.Duration
}

const (
	doDigest = "digest" // of what the reader returns for each caller's batch
	doSettle = "settle" // fill the cache of chunks, warm up
	doVisit  = "visit"  // read, and measure
	doCalls  = "calls"  // read, and count system calls
	doStages = "stages" // chunkring's own stage times so far
	doEnd    = "end"    // peak memory
)

type reply struct {
	Err     string
	Fell    bool   // Err says that another back-end runs than the named one
	Backend string // of the first reply
	Digest  string
	Op      time.Duration // of doSettle: about what one GetChunks takes
	Visit   visit
	Calls   float64 // a chunk
	Stages  map[string]float64
	PeakMB  float64
}

// visit is what some GetChunks in a row cost.
type visit struct {
	Walls    []time.Duration // each GetChunks
	Chunks   int             // all of them together
	CPU      time.Duration
	Bytes    uint64 // allocated by Go
	Allocs   uint64
	Faults   int64
	Switches int64
	DiskMB   float64 // read from the disk
}
