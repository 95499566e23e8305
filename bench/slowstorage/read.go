// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/go/chunkgen"
)

// ballastBytes is what Loki's embedded chunk cache holds by default: the garbage collector paces itself by
// it, and would run all the time without.
const ballastBytes = 100 << 20

// read is one reader until in ends.
func read(ctx context.Context, arg []byte, in io.Reader, out io.Writer) error {
	cfg, err := decode[readConfig](arg)
	if err != nil {
		return err
	}
	x, err := chunkgen.LoadIndex(cfg.Index)
	if err != nil {
		return err
	}
	if cfg.Files < 1 || cfg.Files > len(x.Refs) {
		return fmt.Errorf("%d files: the store has %d", cfg.Files, len(x.Refs))
	}
	// Open fails where another back-end runs than the named one.
	peer, err := peers.Open(cfg.Peer, peers.Store{Dir: cfg.Dir, Schema: x.Schema()})
	if err != nil {
		return errors.Join(err, json.NewEncoder(out).Encode(reply{Err: err.Error()}))
	}
	defer peer.Stop()
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	var w work = &batch{peer: peer, refs: x.Chunks()[:cfg.Files]}
	if cfg.Span > 0 {
		w = newQuery(peer, x.Refs[:cfg.Files], cfg.Span, cfg.Partly)
	}
	return answer(in, out, reply{Backend: peer.Info().Backend}, func(req request) (rep reply, err error) {
		switch req.Do {
		case doDigest:
			rep.Digest, err = w.digest(ctx)
		case doGet:
			begin := time.Now()
			err = w.do(ctx)
			rep.Wall = time.Since(begin)
		default:
			err = fmt.Errorf("unknown request %q", req.Do)
		}
		return rep, err
	})
}

// work is what a reader does over and over.
type work interface {
	digest(ctx context.Context) (string, error) // of what it gets
	do(ctx context.Context) error               // is timed
}

// batch is one GetChunks.
type batch struct {
	peer peers.Peer
	refs []chunk.Chunk
}

func (b *batch) digest(ctx context.Context) (string, error) {
	return peers.Digest(ctx, b.peer, b.refs, 1)
}

func (b *batch) do(ctx context.Context) error {
	chunks, release, err := b.peer.Get(ctx, b.refs, nil)
	defer release()
	if err == nil && len(chunks) != len(b.refs) {
		err = fmt.Errorf("%d of %d chunks were returned", len(chunks), len(b.refs))
	}
	return err
}
