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
	refs := x.Chunks()[:cfg.Files]
	return answer(in, out, reply{Backend: peer.Info().Backend}, func(req request) (rep reply, err error) {
		switch req.Do {
		case doDigest:
			rep.Digest, err = peers.Digest(ctx, peer, refs, 1)
		case doGet:
			begin := time.Now()
			chunks, release, err := peer.Get(ctx, refs, nil)
			rep.Wall = time.Since(begin)
			defer release()
			if err == nil && len(chunks) != len(refs) {
				err = fmt.Errorf("%d of %d chunks were returned", len(chunks), len(refs))
			}
			return rep, err
		default:
			err = fmt.Errorf("unknown request %q", req.Do)
		}
		return rep, err
	})
}
