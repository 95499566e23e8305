// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/test/loglines"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// collect returns what a store of busy streams would get: lines by stream, and every time stamp once.
func collect(t *testing.T, bytes int) (*pusher, map[string][]string) {
	real := filepath.Join(t.TempDir(), "real.log")
	require.NoError(t, os.WriteFile(real, []byte("one\n\n two \n"), 0o666))
	sources, err := busySources([]string{real})
	require.NoError(t, err)
	require.Len(t, sources, 27)
	var u *pusher
	lines, stamps := map[string][]string{}, map[time.Time]bool{}
	drain := func(last bool) {
		for _, s := range u.batch(last) {
			for _, e := range s.Entries {
				require.False(t, stamps[e.Timestamp], "every time stamp is used once")
				require.True(t, !e.Timestamp.Before(Start) && e.Timestamp.Before(End))
				stamps[e.Timestamp] = true
				lines[s.Labels] = append(lines[s.Labels], e.Line)
			}
		}
	}
	err = eachLine(sources, whole, bytes, func(n int) { u = newPusher(n) }, func(s source, ts time.Time, line string, meta map[string]string) error {
		require.NotContains(t, meta, "trace_id")
		u.add(s.labels, ts, line, meta)
		drain(false)
		return nil
	})
	require.NoError(t, err)
	drain(true)
	return u, lines
}

func TestBusyStreamsAreTheSameEveryTime(t *testing.T) {
	u, one := collect(t, 6e6)
	_, two := collect(t, 6e6)
	require.Equal(t, one, two)
	require.Len(t, one, 27)
	require.InEpsilon(t, 6e6, u.Bytes, 0.1)
	total, found := 0, 0
	for labels, lines := range one {
		total += len(lines)
		for _, line := range lines {
			if strings.Contains(line, needle) {
				found++
				require.NotContains(t, labels, `app="api"`, "JSON stays JSON")
			}
		}
	}
	require.Equal(t, u.Lines, total)
	require.Equal(t, needles, found)
	require.Equal(t, needles, u.Needles)
}

func TestTinyChunksNeverShareATimeStamp(t *testing.T) {
	for _, minutes := range []int{2, 29} {
		const n = 644 // where lines of several streams would meet, but for the nanoseconds
		tiny := Tiny{Chunks: n, Lines: 46, Length: time.Duration(minutes) * time.Minute}
		u, m := newPusher(n*tiny.Lines), &loglines.Maker{Rand: rand.New(rand.NewPCG(1, 1))}
		for i := range n {
			tiny.chunk(u, m, Start, i, n)
		}
		stamps := map[time.Time]bool{}
		streams := u.batch(true)
		require.Len(t, streams, n)
		for _, s := range streams {
			require.Len(t, s.Entries, tiny.Lines)
			first, last := s.Entries[0].Timestamp, s.Entries[tiny.Lines-1].Timestamp
			require.LessOrEqual(t, last.Sub(first), tiny.Length)
			require.Less(t, last, Start.Add(tinyRound), "within the round")
			for _, e := range s.Entries {
				require.False(t, stamps[e.Timestamp])
				stamps[e.Timestamp] = true
			}
		}
		require.Equal(t, needles, u.Needles)
	}
}

func TestAnswersAreCheckedAgainstWhatWasPushed(t *testing.T) {
	w := Written{Lines: 12, Needles: 3}
	lines := func(values string) lokiproc.Answer {
		return lokiproc.Answer{Text: []byte(`{"data":{"result":[{"stream":{"a":"1"},"values":[["1","x"]]},{"stream":{"a":"2"},"values":[` + values + `]}]}}`)}
	}
	require.NoError(t, checkNeedles(lines(`["2","y"],["3","z"]`), w))
	require.ErrorContains(t, checkNeedles(lines(`["2","y"]`), w), "2 lines found, 3 were pushed")
	count := func(last string) lokiproc.Answer {
		return lokiproc.Answer{Text: []byte(`{"data":{"result":[{"metric":{},"values":[[1,"7"],[2,"` + last + `"]]}]}}`)}
	}
	require.NoError(t, checkCount(count("5"), w))
	require.ErrorContains(t, checkCount(count("4"), w), "11 lines counted, 12 were pushed")
}

// A store of many streams has lines of each of them from its first hour to its last.
func TestWideStreamsCoverTheDay(t *testing.T) {
	first, last := map[string]time.Time{}, map[string]time.Time{}
	var stamp time.Time
	err := eachLine(wideSources(), day, 8e6, func(int) {}, func(s source, ts time.Time, _ string, _ map[string]string) error {
		require.True(t, ts.After(stamp), "every time stamp is used once")
		stamp = ts
		if first[s.labels].IsZero() {
			first[s.labels] = ts
		}
		last[s.labels] = ts
		return nil
	})
	require.NoError(t, err)
	require.Len(t, first, wideStreams)
	for labels := range first {
		require.Less(t, first[labels].Sub(day.From), time.Hour, labels)
		require.Less(t, day.To.Sub(last[labels]), time.Hour, labels)
		require.True(t, last[labels].Before(day.To))
	}
}

// The regular expression that is measured matches some lines of the store, and needs a look at others.
func TestTheRegularExpressionMatches(t *testing.T) {
	_, text, _ := strings.Cut(regexpQuery().Params.Get("query"), "|~ `")
	text, _, _ = strings.Cut(text, "`")
	expr := regexp.MustCompile(text)
	_, lines := collect(t, 6e6)
	matches, all := 0, 0
	for labels, some := range lines {
		for _, line := range some {
			all++
			if expr.MatchString(line) {
				matches++
				require.Contains(t, labels, `app="api"`)
			}
		}
	}
	require.InDelta(t, 1.0/18, float64(matches)/float64(all), 1.0/60)
}

func TestCrowdsAreAsLargeAsAsked(t *testing.T) {
	crowds := Crowds(6)
	require.Len(t, crowds, 2)
	for _, c := range crowds {
		require.Len(t, c.Queries, 6)
		require.Contains(t, c.Name, "6 ")
	}
	require.Equal(t, "needle", crowds[0].Queries[5].Name)
	names := map[string]int{}
	for _, q := range crowds[1].Queries {
		names[q.Name]++
	}
	require.Equal(t, map[string]int{"needle": 2, "count": 2, "short range": 1, "regexp": 1}, names)
}
