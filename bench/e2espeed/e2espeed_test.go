// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/bench/internal/result"
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
				require.True(t, !e.Timestamp.Before(dataStart) && e.Timestamp.Before(dataEnd))
				stamps[e.Timestamp] = true
				lines[s.Labels] = append(lines[s.Labels], e.Line)
			}
		}
	}
	err = eachBusy(sources, bytes, func(n int) { u = newPusher(n) }, func(s source, ts time.Time, line string, meta map[string]string) error {
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
	for _, minutes := range []int{jobMinutes, podMinutes} {
		const n = 644 // where lines of several streams would meet, but for the nanoseconds
		length := time.Duration(minutes) * time.Minute
		u, m := newPusher(n*tinyLines), &loglines.Maker{Rand: rand.New(rand.NewPCG(1, 1))}
		for i := range n {
			tinyChunk(u, m, dataStart, length, i, n)
		}
		stamps := map[time.Time]bool{}
		streams := u.batch(true)
		require.Len(t, streams, n)
		for _, s := range streams {
			require.Len(t, s.Entries, tinyLines)
			first, last := s.Entries[0].Timestamp, s.Entries[tinyLines-1].Timestamp
			require.LessOrEqual(t, last.Sub(first), length)
			require.Less(t, last, dataStart.Add(tinyRound), "within the round")
			for _, e := range s.Entries {
				require.False(t, stamps[e.Timestamp])
				stamps[e.Timestamp] = true
			}
		}
		require.Equal(t, needles, u.Needles)
	}
}

func TestAnswersAreCheckedAgainstWhatWasPushed(t *testing.T) {
	w := written{Lines: 12, Needles: 3}
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

func TestStoresOfOtherFlagsAreNotUsed(t *testing.T) {
	dir := t.TempDir()
	found, err := readManifest(dir)
	require.NoError(t, err)
	want := manifest{Version: manifestKnows, Codec: "gzip", WantBytes: 5, Logs: []string{"a"}}
	require.False(t, found.sameAs(want), "no manifest, no store")
	require.NoError(t, os.WriteFile(filepath.Join(dir, manifestName),
		[]byte(fmt.Sprintf(`{"Version":%d,"Codec":"gzip","WantBytes":5,"Logs":["a"],"Chunks":9}`, manifestKnows)), 0o666))
	found, err = readManifest(dir)
	require.NoError(t, err)
	require.True(t, found.sameAs(want))
	require.Equal(t, 9, found.Chunks)
	for _, other := range []manifest{
		{Version: manifestKnows - 1, Codec: "gzip", WantBytes: 5, Logs: []string{"a"}},
		{Version: manifestKnows, Codec: "zstd", WantBytes: 5, Logs: []string{"a"}},
		{Version: manifestKnows, Codec: "gzip", WantBytes: 6, Logs: []string{"a"}},
		{Version: manifestKnows, Codec: "gzip", WantBytes: 5},
		{Version: manifestKnows, Codec: "gzip", Tiny: 5, Minutes: 2},
	} {
		require.False(t, found.sameAs(other))
	}
}

// A child that ran two threads at work, one of which ended, has their CPU time; and its peak stays when it
// gives memory back, until it is reset.
func TestCostOfAnotherProcess(t *testing.T) {
	if os.Getenv("E2ESPEED_TEST_CHILD") != "" {
		child()
	}
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=TestCostOfAnotherProcess")
	cmd.Env = append(os.Environ(), "E2ESPEED_TEST_CHILD=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)

	spent, err := cpuTime(cmd.Process.Pid)
	require.NoError(t, err)
	require.Greater(t, spent, childCPU)
	peak, err := peakRSS(cmd.Process.Pid)
	require.NoError(t, err)
	require.Greater(t, peak, int64(childBytes))
	require.NoError(t, resetPeak(cmd.Process.Pid))
	after, err := peakRSS(cmd.Process.Pid)
	require.NoError(t, err)
	require.Less(t, after, peak-childBytes/2)

	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	_, err = cpuTime(cmd.Process.Pid)
	require.Error(t, err, "it is gone")
}

func TestRatiosAreThoseOfPairs(t *testing.T) {
	side := func(name string, wall ...float64) *contender {
		c := &contender{Proc: &lokiproc.Proc{Build: lokiproc.Build{Name: name}}}
		for _, w := range wall {
			c.samples = append(c.samples, result.E2ESample{WallMs: w, CPUMs: 2 * w})
		}
		return c
	}
	var r result.E2E
	addRow(&r, side("stock", 10, 30, 60), side("ours", 10, 10, 30), result.E2ERow{Store: "s"})
	require.Len(t, r.Rows, 1)
	require.Equal(t, "ours", r.Rows[0].Contender)
	require.Equal(t, 3, r.Rows[0].Pairs)
	require.Equal(t, result.Spread{P50: 2, P10: 1, P90: 3}, r.Rows[0].WallRatio)
	require.Equal(t, result.Spread{P50: 30, P10: 10, P90: 60}, r.Rows[0].Stock.WallMs)
	require.Equal(t, result.Spread{P50: 20, P10: 20, P90: 60}, r.Rows[0].Other.CPUMs)
}

func TestWrongFlagsAreRefused(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	good := []string{"-stock", self, "-loki", self}
	_, err = parse(good)
	require.NoError(t, err)
	for _, bad := range [][]string{
		{"-states", "hot"}, {"-backend", "auto"}, {"-bytes", "10"}, {"-tiny", "-1"}, {"-tiny", "100000000"},
		{"-drop", "all"}, {"-shapes", "("}, {"-pairs", "0"}, {"-loki", "/nonexistent/loki"}, {"more"},
	} {
		_, err := parse(append(good, bad...))
		require.Error(t, err, bad)
	}
}

func TestOneRunAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	unlock, err := lock(dir)
	require.NoError(t, err)
	_, err = lock(dir)
	require.ErrorContains(t, err, "in use by another run")
	unlock()
	unlock, err = lock(dir)
	require.NoError(t, err)
	unlock()
}
