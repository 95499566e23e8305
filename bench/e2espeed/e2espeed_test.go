// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/memgroup"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

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
		{Version: manifestKnows, Codec: "gzip", WantBytes: 5, Logs: []string{"a"}, Wide: true},
	} {
		require.False(t, found.sameAs(other))
	}
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
		{"-crowd", "-1"}, {"-crowd-mib", "10"}, {"-crowd-rounds", "0"}, {"-crowd-time", "1ms"}, {"-wide-bytes", "10"},
		{"-drop", "all"}, {"-shapes", "("}, {"-pairs", "0"}, {"-loki", "/nonexistent/loki"}, {"more"},
	} {
		_, err := parse(append(good, bad...))
		require.Error(t, err, bad)
	}
}

// Every setup's queries have names of their own, so that rows can be told apart and -shapes can choose them.
func TestSetupsOfAStore(t *testing.T) {
	full, tiny, wide := store{}, store{manifest: manifest{Tiny: 5}}, store{manifest: manifest{Wide: true}}
	for _, s := range []store{full, tiny, wide} {
		names := map[string]bool{}
		for _, how := range s.setups() {
			for _, q := range how.queries {
				require.False(t, names[q.Name], q.Name)
				names[q.Name] = true
			}
		}
	}
	b := &bench{options: options{shapes: regexp.MustCompile("splits of 15m"), crowd: 16}}
	setups := full.setups()
	require.Len(t, setups, 2)
	require.Empty(t, setups[0].chosen(b))
	require.Len(t, setups[1].chosen(b), 2)
	require.Contains(t, setups[1].args, "-querier.split-queries-by-interval=15m")
	require.Empty(t, b.crowdsOf(full))

	b.shapes = regexp.MustCompile("16 needles")
	require.Len(t, b.crowdsOf(full), 1)
	require.Empty(t, b.crowdsOf(tiny))
	require.Empty(t, b.crowdsOf(wide))
	b.crowd = 0
	require.Empty(t, b.crowdsOf(full))
}

func TestWhatOneAnswerReads(t *testing.T) {
	c := &contender{Proc: &lokiproc.Proc{}, anon: 5e6, disk: 30e6, tally: lokiproc.Tally{Asked: 3, Bytes: 6e6},
		samples: []result.E2ESample{{WallMs: 1}}}
	cost := costOf(c)
	require.Equal(t, []float64{5, 2, 10}, []float64{cost.AnonMB, cost.ReadMB, cost.DiskMB})
}

// fakeLoki answers as it is told, and can be killed.
type fakeLoki struct {
	*lokiproc.Proc
	group *memgroup.Group
}

// startFake runs a program in the place of a Loki, in a group of its own, and a server that answers for it.
func startFake(t *testing.T, b *bench, argv []string, answer http.HandlerFunc) fakeLoki {
	t.Helper()
	g, err := b.newGroup()
	if err != nil {
		t.Skip(err)
	}
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	p, err := b.Launch(lokiproc.Build{Name: "fake", Bin: "loki", Wrap: append(g.Wrap(), argv...)}, "fake", lokiproc.Config{HTTP: port})
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill()
		require.NoError(t, g.Remove())
	})
	return fakeLoki{p, g}
}

// What becomes of a Loki with little memory: it answers, or is killed for want of memory, or is late; and whatever
// else happens is an error.
func TestWhatBecomesOfACrowd(t *testing.T) {
	const good = `{"status":"success","data":{"result":[1]}}`
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }
	b := &bench{options: options{crowdMiB: 64, crowdTime: 3 * time.Second}}
	b.Root = t.TempDir()
	queries := []corpus.Query{{Query: lokiproc.Query{Name: "q", Path: "/"}}, {Query: lokiproc.Query{Name: "q", Path: "/"}}}
	c := &crowd{Crowd: corpus.Crowd{Queries: queries}, bench: b, want: map[string][]byte{}}
	a, err := lokiproc.ParseAnswer([]byte(good), false)
	require.NoError(t, err)
	c.want["q"] = a.Text
	var running *lokiproc.Proc
	ask := func(script string, answer http.HandlerFunc) (l result.E2ECrowdLoki, err error) {
		f := startFake(t, b, []string{"/bin/sh", "-c", script}, answer)
		require.Eventually(t, func() bool { return f.group.Check(f.PID(), b.limit()) == nil }, time.Minute, time.Millisecond)
		running = f.Proc
		err = c.ask(context.Background(), f.Proc, f.group, &l)
		return l, err
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	breakOff := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		require.NoError(t, err)
		_ = conn.Close()
	}

	l, err := ask("exec sleep 60", ok)
	require.NoError(t, err)
	require.Equal(t, 2, l.Answered)
	require.Len(t, l.Walls, 1)
	require.Zero(t, l.Killed+l.Late)

	l, err = ask("exec sleep 60", hang)
	require.NoError(t, err)
	require.Equal(t, 1, l.Late)
	require.Zero(t, l.Killed)
	require.Empty(t, l.Walls)

	l, err = ask("sleep 0.5; exec tail /dev/zero", func(w http.ResponseWriter, _ *http.Request) {
		running.WaitKilled(time.Minute)
		breakOff(w)
	})
	require.NoError(t, err)
	require.Equal(t, 1, l.Killed)
	require.Zero(t, l.Late+l.Answered)
	require.Empty(t, l.Walls)

	_, err = ask("exec sleep 60", func(w http.ResponseWriter, _ *http.Request) {
		running.Kill()
		breakOff(w)
	})
	require.ErrorContains(t, err, "not for want of memory")

	_, err = ask("exec sleep 60", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
	require.ErrorContains(t, err, "500")

	_, err = ask("exec sleep 60", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Replace(good, "1", "2", 1))
	})
	require.ErrorContains(t, err, "differs from stock's")
}
