// SPDX-License-Identifier: Apache-2.0

// Package peers has the readers that the benchmark compares, one a file, all behind one interface:
//
//	stock.go       Loki's own client, as it is
//	stockpool.go   the same with buffers from a sync.Pool (unsafe)
//	published.go   the design of the published experiment: one io_uring and three kinds of goroutines (unsafe)
//	godirect.go    Go without io_uring, with chunkring's buffers and number of workers
//	ours.go        chunkring on threads and on io_uring, garbage-collected or released buffers
//	floors.go      what the machine itself needs to bring as many bytes to memory
//	ablation.go    a reader whose parts can be switched one by one
//
// files.go has what several of them share, digest.go what shows that they return the same.
package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/bench/internal/result"
)

// Look sees a chunk while its bytes are valid. Several goroutines may call it at a time.
type Look func(*chunk.Chunk)

// Peer is one way to read a batch. Get may be called by several goroutines at a time.
type Peer interface {
	Info() Info

	// Get reads and decodes the chunks, in any order. It calls look, if not nil, once for each chunk.
	// The chunks are valid until release, which is never nil; see also Info.
	Get(ctx context.Context, refs []chunk.Chunk, look Look) (chunks []chunk.Chunk, release func(), err error)

	// Settle waits until nothing of the peer runs on after Get.
	Settle()
	Stop()
}

// Info says what a peer is.
type Info struct {
	Name     string
	Backend  string // what runs, for peers that could fall back to something else
	Releases bool   // chunks are valid until release only
	Unsafe   bool   // chunks are invalid when Get returns: only look sees them whole
	Floor    bool   // there are no chunks: only bytes are moved
}

// Store is what a peer reads.
type Store struct {
	Dir    string
	Schema config.SchemaConfig
}

// The names of the peers, as results have them.
const (
	Stock           = result.Stock
	StockPool       = result.StockPool
	Published       = result.Published
	GoDirect        = result.GoDirect
	Threads         = result.Threads
	URing           = result.URing
	ThreadsReleased = result.ThreadsReleased
	URingReleased   = result.URingReleased
	FloorHot        = result.FloorHot
	FloorRotating   = result.FloorRotating
	FloorCopy       = result.FloorCopy
)

// Readers are the peers that return chunks, stock first.
var Readers = []string{Stock, StockPool, Published, GoDirect, Threads, URing, ThreadsReleased, URingReleased}

// Floors are the peers that only move bytes.
var Floors = []string{FloorHot, FloorRotating, FloorCopy}

// ErrBackend is returned where another back-end runs than the named one: its figures would be about
// something else.
var ErrBackend = errors.New("another back-end runs than the named one")

// Open makes a peer by name: one of Readers or Floors, or an ablation's.
func Open(name string, s Store) (Peer, error) {
	switch {
	case name == Stock:
		return newStock(s)
	case name == StockPool:
		return newStockPool(s)
	case name == Published:
		return newPublished(s)
	case name == GoDirect:
		return newGoDirect(s), nil
	case slices.Contains([]string{Threads, URing, ThreadsReleased, URingReleased}, name):
		return newOurs(name, s)
	case slices.Contains(Floors, name):
		return newFloor(name, s)
	case strings.HasPrefix(name, ablationPrefix):
		return newAblation(name, s)
	}
	return nil, fmt.Errorf("unknown peer %q", name)
}

// quiet is for peers that have nothing to settle or stop.
type quiet struct{}

func (quiet) Settle() {}
func (quiet) Stop()   {}

func noRelease() {}

// lookAll shows chunks that are still valid.
func lookAll(chunks []chunk.Chunk, look Look) {
	if look == nil {
		return
	}
	for i := range chunks {
		look(&chunks[i])
	}
}
