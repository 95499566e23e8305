// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnswersAreComparedWithoutStatisticsOnly(t *testing.T) {
	parse := func(body string, unordered bool) answer {
		a, err := parseAnswer([]byte(body), unordered)
		require.NoError(t, err)
		return a
	}
	one := parse(`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"1","b":"2"},"values":[["1","x"]]}],
		"stats":{"querier":{"store":{"totalChunksDownloaded":7}}}}}`, false)
	two := parse(`{"data":{"result":[{"values":[["1","x"]],"stream":{"b":"2","a":"1"}}],"resultType":"streams"},"status":"success"}`, false)
	require.Equal(t, one.text, two.text)
	require.Equal(t, 1, one.items)
	require.Equal(t, 7, one.downloaded)

	numbers := [2]string{`{"data":{"result":[[1,"0.10"]]}}`, `{"data":{"result":[[1,"0.1"]]}}`}
	require.NotEqual(t, parse(numbers[0], false).text, parse(numbers[1], false).text)
	lists := [2]string{`{"data":["b","a"]}`, `{"data":["a","b"]}`}
	require.NotEqual(t, parse(lists[0], false).text, parse(lists[1], false).text)
	require.Equal(t, parse(lists[0], true).text, parse(lists[1], true).text)
	require.Zero(t, parse(`{"status":"success","data":{"result":[]}}`, false).items)
}

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
		require.False(t, seen[q.name], q.name)
		seen[q.name] = true
	}
	require.GreaterOrEqual(t, len(seen), 30)
}
