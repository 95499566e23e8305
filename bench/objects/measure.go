// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/cli"
)

// measure has all setups answer all queries over all buckets.
func (b *bench) measure(ctx context.Context, stores []store, setups []setup) error {
	b.objects.SetConditions(b.conditions)
	asked := false
	for i := range stores {
		for _, q := range corpus.Queries(stores[i].Bytes == 0) {
			if !q.Chunks || !b.queries.MatchString(q.Name) {
				continue
			}
			asked = true
			if err := b.measureQuery(ctx, &stores[i], q, setups); err != nil {
				return err
			}
		}
	}
	if !asked {
		return errors.New("-queries matches no query")
	}
	return nil
}

// measureQuery lets the setups take turns (A B C, B C A, ...), so that whatever else the machine does hits all
// alike. The first turn of all is stock's without a cache, whose answer is everybody's.
func (b *bench) measureQuery(ctx context.Context, s *store, q corpus.Query, setups []setup) error {
	all := make([]turnSamples, len(setups))
	for i := range all {
		all[i] = turnSamples{}
	}
	step := cli.Progress(s.name + ": " + q.Name)
	var want []byte
	for round := range b.rounds {
		for k := range setups {
			i := (k + round) % len(setups)
			t := &turn{bench: b, setup: &setups[i], store: s, query: q, want: want}
			samples, err := t.run(ctx)
			if err != nil {
				return fmt.Errorf("%s, %s, %s: %w\n  logs are in %s", s.name, q.Name, setups[i].name, err, b.runDir())
			}
			want = t.want
			for state, some := range samples {
				all[i][state] = append(all[i][state], some...)
			}
			step(round*len(setups)+k+1, b.rounds*len(setups))
		}
	}
	for _, state := range result.States {
		for i := range setups {
			b.Rows = append(b.Rows, result.NewObjectsRow(s.name, q.Name, state, setups[i].name, all[i][state], all[0][state]))
		}
	}
	return nil
}
