// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/chunkring/chunkring/go/test/loglines"
)

// The logs are those of six hours of a fixed day, so that the same seed makes the same store and the
// same answers. Every time stamp is used once, so that no answer depends on how ties are broken.
var (
	dataStart = time.Date(2025, 3, 10, 9, 0, 0, 0, time.UTC)
	dataEnd   = dataStart.Add(6 * time.Hour)
)

type entry struct {
	ts   int64 // ns
	line string
	meta map[string]string
}

type stream struct {
	labels  map[string]string
	entries []entry // in the order of their arrival, which is not always that of time
}

// corpus is what one tenant gets.
type corpus struct {
	streams []*stream
	lines   int
	bytes   int
}

// makeCorpus makes about n lines. Lines of files in loghub, if given, become streams of their own.
func makeCorpus(n int, seed uint64, loghub string) (*corpus, error) {
	g := &generator{Maker: loglines.Maker{Rand: rand.New(rand.NewPCG(seed, 1))}, step: int64(dataEnd.Sub(dataStart)) / int64(n+1)}
	g.addStreams()
	real, err := addLoghub(g, loghub)
	if err != nil {
		return nil, err
	}
	for i := range n {
		g.tick(i, real)
	}
	c := &corpus{}
	for _, s := range g.streams {
		if len(s.entries) == 0 {
			continue
		}
		c.streams = append(c.streams, s.stream)
		c.lines += len(s.entries)
		for _, e := range s.entries {
			c.bytes += len(e.line)
		}
	}
	return c, nil
}

type generator struct {
	loglines.Maker
	step    int64
	streams []*source
	total   int // of the weights
}

// source is a stream that is being filled.
type source struct {
	*stream
	weight int
	line   func(m *loglines.Maker, ts time.Time) (string, map[string]string)
}

func (g *generator) add(weight int, line func(*loglines.Maker, time.Time) (string, map[string]string), labels ...string) {
	s := &source{stream: &stream{labels: map[string]string{}}, weight: weight, line: line}
	for i := 0; i < len(labels); i += 2 {
		s.labels[labels[i]] = labels[i+1]
	}
	g.streams = append(g.streams, s)
	g.total += weight
}

// addStreams: busy streams that fill several chunks, and idle ones that leave a tiny chunk each.
func (g *generator) addStreams() {
	for i := range 4 {
		g.add(24, (*loglines.Maker).JSON, "app", "api", "env", []string{"prod", "staging"}[i%2], "instance", fmt.Sprint("api-", i))
	}
	for i := range 3 {
		g.add(20, (*loglines.Maker).Logfmt, "app", "worker", "env", "prod", "instance", fmt.Sprint("worker-", i))
	}
	for i := range 2 {
		g.add(24, (*loglines.Maker).Access, "app", "nginx", "env", "prod", "instance", fmt.Sprint("nginx-", i))
	}
	g.add(16, (*loglines.Maker).Odd, "app", "db", "env", "prod", "instance", "db-0")
	g.add(8, (*loglines.Maker).Logfmt, "app", "old", "env", "expired", "instance", "old-0")
	for i := range 16 {
		g.add(1, (*loglines.Maker).Logfmt, "app", "cron", "env", "prod", "instance", fmt.Sprintf("cron-%02d", i))
	}
}

// addLoghub adds a stream a file, and returns the lines of each.
func addLoghub(g *generator, dir string) (map[*source][]string, error) {
	if dir == "" {
		return nil, nil
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no *.log in %s (%v)", dir, err)
	}
	real := map[*source][]string{}
	for _, name := range names {
		lines, err := loglines.Read(name)
		if err != nil {
			return nil, err
		}
		g.add(16, nil, "app", "loghub", "env", "prod", "instance", strings.TrimSuffix(filepath.Base(name), ".log"))
		real[g.streams[len(g.streams)-1]] = lines
	}
	return real, nil
}

// tick adds the i-th line to some stream. One in fifty comes up to ten minutes late, so that chunks
// of a stream overlap.
func (g *generator) tick(i int, real map[*source][]string) {
	ts := dataStart.UnixNano() + int64(i+1)*g.step + int64(g.Rand.IntN(1000))
	n := g.Rand.IntN(g.total)
	var s *source
	for _, s = range g.streams {
		if n -= s.weight; n < 0 {
			break
		}
	}
	if g.Rand.IntN(50) == 0 {
		ts -= int64(g.Rand.IntN(int(10*time.Minute/time.Microsecond)))*1000 + 499
		ts = max(ts, dataStart.UnixNano()+int64(i))
	}
	if s.line == nil {
		lines := real[s]
		s.entries = append(s.entries, entry{ts, lines[len(s.entries)%len(lines)], nil})
		return
	}
	line, meta := s.line(&g.Maker, time.Unix(0, ts).UTC())
	s.entries = append(s.entries, entry{ts, line, meta})
}

// pushBatches cuts the corpus into pushes of about n lines each, in the order of arrival, for the
// share of the corpus between two fractions.
func (c *corpus) pushBatches(n int, from, to float64) [][]byte {
	type arrival struct {
		s *stream
		i int
	}
	var all []arrival
	for _, s := range c.streams {
		for i := range s.entries {
			all = append(all, arrival{s, i})
		}
	}
	// Streams advance together; within one, the order stays.
	sort.SliceStable(all, func(a, b int) bool {
		return float64(all[a].i)/float64(len(all[a].s.entries)) < float64(all[b].i)/float64(len(all[b].s.entries))
	})
	all = all[int(from*float64(len(all))):int(to*float64(len(all)))]
	var bodies [][]byte
	for part := range slices.Chunk(all, n) {
		values := map[*stream][]any{}
		var order []*stream
		for _, a := range part {
			e := a.s.entries[a.i]
			v := []any{timeText(e.ts), e.line}
			if e.meta != nil {
				v = append(v, e.meta)
			}
			if values[a.s] == nil {
				order = append(order, a.s)
			}
			values[a.s] = append(values[a.s], v)
		}
		var streams []any
		for _, s := range order {
			streams = append(streams, map[string]any{"stream": s.labels, "values": values[s]})
		}
		body, err := json.Marshal(map[string]any{"streams": streams})
		if err != nil {
			panic(err) // strings only
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func timeText(ns int64) string { return strconv.FormatInt(ns, 10) }
