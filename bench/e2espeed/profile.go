// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// profiles writes a CPU profile of every contender with one query, asked over and over.
func (c *course) profiles(ctx context.Context, sh corpus.Query, cold bool) error {
	if c.bench.profileDir == "" {
		return nil
	}
	if err := os.MkdirAll(c.bench.profileDir, 0o777); err != nil {
		return err
	}
	for _, p := range c.contenders {
		data, answers, err := c.profile(ctx, p, sh, cold)
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(fmt.Sprintf("%s-%s-%s-%s.pprof", c.store.name, sh.Name, stateName(cold), p.Name), " ", "-")
		if err := os.WriteFile(filepath.Join(c.bench.profileDir, name), data, 0o666); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s: %d answers in %s\n", name, answers, c.bench.profileTime)
	}
	return nil
}

func (c *course) profile(ctx context.Context, p *contender, sh corpus.Query, cold bool) (data []byte, answers int, err error) {
	type reply struct {
		code int
		data []byte
		err  error
	}
	done := make(chan reply, 1)
	go func() {
		url := p.URL(fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(c.bench.profileTime/time.Second)))
		code, data, err := lokiproc.Get(ctx, url, "")
		done <- reply{code, data, err}
	}()
	for ; ; answers++ {
		select {
		case r := <-done:
			if r.err == nil && r.code != http.StatusOK {
				r.err = fmt.Errorf("%s: profile: HTTP %d: %s", p.Label, r.code, r.data)
			}
			return r.data, answers, r.err
		default:
		}
		if _, _, err := c.turn(ctx, p, sh, cold); err != nil {
			return nil, answers, err
		}
	}
}
