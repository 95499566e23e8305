// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCorpusIsTheSameEveryTime(t *testing.T) {
	one, err := makeCorpus(2000, 1, "")
	require.NoError(t, err)
	two, err := makeCorpus(2000, 1, "")
	require.NoError(t, err)
	require.Equal(t, one, two)
	require.Equal(t, 2000, one.lines)
	require.Less(t, one.remaining(), one.lines)

	stamps := map[int64]bool{}
	pushed := 0
	for _, s := range one.streams {
		for _, e := range s.entries {
			require.False(t, stamps[e.ts], "every time stamp is used once")
			stamps[e.ts] = true
		}
	}
	for _, share := range [][2]float64{{0, 0.3}, {0.3, 1}} {
		for _, body := range one.pushBatches(300, share[0], share[1]) {
			for ts := range stamps {
				if strings.Contains(string(body), `["`+timeText(ts)) {
					pushed++
				}
			}
		}
	}
	require.Equal(t, one.lines, pushed, "every line is pushed once")
}

func TestQueriesAreManyAndDifferent(t *testing.T) {
	seen := map[string]bool{}
	for _, q := range queries() {
		require.False(t, seen[q.Name], q.Name)
		seen[q.Name] = true
	}
	require.GreaterOrEqual(t, len(seen), 30)
}
