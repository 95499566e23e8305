// SPDX-License-Identifier: Apache-2.0

// Package corpus has the logs that whole Lokis are measured with, and the queries.
//
//	corpus.go   lines, and how pushes are made of them
//	fill.go     stores: of full chunks, of tiny ones, and of many streams
//	queries.go  what is asked, and what the answers must say
package corpus

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/grafana/loki/pkg/push"

	"github.com/chunkring/chunkring/go/test/loglines"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// The logs are those of six hours of a fixed day; those of many streams go on for 24 hours. Every time stamp is used once, so that no answer depends
// on how ties are broken.
var (
	Start = time.Date(2025, 3, 10, 9, 0, 0, 0, time.UTC)
	End   = Start.Add(6 * time.Hour)
)

const (
	seed       = 1
	needle     = "needle=7c9e6679f0b1"
	needles    = 24      // lines with it in a store
	batchBytes = 4 << 20 // of log lines in a push

	wideStreams = 200
	wideApps    = 20
)

// lineMaker makes a line and its structured metadata.
type lineMaker func(m *loglines.Maker, ts time.Time) (string, map[string]string)

// source is a stream of logs.
type source struct {
	labels string
	weight int
	line   lineMaker
}

// Written is what was pushed, to check answers and to tell that a store is complete.
type Written struct {
	Lines   int
	Needles int
	Bytes   int
}

// pusher collects entries to large pushes.
type pusher struct {
	Written
	size     int
	order    []string
	streams  map[string][]push.Entry
	every    int // lines between needles
	expected int // needles by now
}

func newPusher(lines int) *pusher {
	return &pusher{streams: map[string][]push.Entry{}, every: max(1, lines/needles)}
}

// add takes a line, and hides a needle in it when it is time. JSON lines are spared: they would be none.
func (u *pusher) add(labels string, ts time.Time, line string, meta map[string]string) {
	if u.Lines%u.every == u.every/2 && u.expected < needles {
		u.expected++
	}
	if u.Needles < u.expected && !strings.HasPrefix(line, "{") {
		line += " " + needle
		u.Needles++
	}
	if u.streams[labels] == nil {
		u.order = append(u.order, labels)
	}
	e := push.Entry{Timestamp: ts, Line: line}
	for name, value := range meta {
		e.StructuredMetadata = append(e.StructuredMetadata, push.LabelAdapter{Name: name, Value: value})
	}
	u.streams[labels] = append(u.streams[labels], e)
	u.size += len(line)
	u.Bytes += len(line)
	u.Lines++
}

// batch returns what has been collected, if it is enough or the last.
func (u *pusher) batch(last bool) []push.Stream {
	if u.size == 0 || u.size < batchBytes && !last {
		return nil
	}
	var all []push.Stream
	for _, labels := range u.order {
		all = append(all, push.Stream{Labels: labels, Entries: u.streams[labels]})
	}
	u.size, u.order, u.streams = 0, nil, map[string][]push.Entry{}
	return all
}

// busySources are what fills whole chunks: 26 streams, and one for each file of real lines.
func busySources(files []string) ([]source, error) {
	var all []source
	add := func(n, weight int, app string, line lineMaker) {
		for i := range n {
			labels := fmt.Sprintf(`{app="%s", env="%s", instance="%s-%d"}`, app, []string{"prod", "staging"}[i%2], app, i)
			all = append(all, source{labels, weight, line})
		}
	}
	add(8, 4, "api", withoutTrace((*loglines.Maker).JSON))
	add(8, 4, "worker", (*loglines.Maker).Logfmt)
	add(6, 4, "nginx", (*loglines.Maker).Access)
	add(4, 1, "cron", (*loglines.Maker).Logfmt)
	for _, name := range files {
		lines, err := loglines.Read(name)
		if err != nil {
			return nil, err
		}
		if len(lines) == 0 {
			return nil, fmt.Errorf("%s has no lines", name)
		}
		next := 0
		labels := fmt.Sprintf(`{app="real", env="prod", instance=%q}`, strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)))
		all = append(all, source{labels, 4, func(*loglines.Maker, time.Time) (string, map[string]string) {
			next++
			return lines[(next-1)%len(lines)], nil
		}})
	}
	return all, nil
}

// withoutTrace leaves the trace id to the line: as structured metadata, a new one for every line, it would
// be all that a chunk is made of.
func withoutTrace(line lineMaker) lineMaker {
	return func(m *loglines.Maker, ts time.Time) (string, map[string]string) {
		text, meta := line(m, ts)
		delete(meta, "trace_id")
		return text, meta
	}
}

// wideSources are many streams that each say little: 200, of 20 apps.
func wideSources() []source {
	lines := []lineMaker{withoutTrace((*loglines.Maker).JSON), (*loglines.Maker).Logfmt, (*loglines.Maker).Access}
	var all []source
	for i := range wideStreams {
		app := i % wideApps
		labels := fmt.Sprintf(`{app="svc-%d", env="prod", instance="svc-%d-%03d"}`, app, app, i)
		all = append(all, source{labels, 1, lines[app%len(lines)]})
	}
	return all
}

// meanLine is the mean size of a source's lines.
func meanLine(s source) float64 {
	const samples = 300
	m := &loglines.Maker{Rand: rand.New(rand.NewPCG(seed, 2))}
	total := 0
	for range samples {
		line, _ := s.line(m, Start)
		total += len(line)
	}
	return float64(total) / samples
}

// eachLine calls f for every line of a store of about so many bytes, whose times are spread over span.
func eachLine(sources []source, span lokiproc.Span, bytes int, start func(lines int), f func(s source, ts time.Time, line string, meta map[string]string) error) error {
	var weights []int // the index of a source, as often as it weighs
	mean := 0.0
	for i, s := range sources {
		for range s.weight {
			weights = append(weights, i)
		}
		mean += meanLine(s) * float64(s.weight)
	}
	mean /= float64(len(weights))
	n := int(float64(bytes) / mean)
	start(n)
	m := &loglines.Maker{Rand: rand.New(rand.NewPCG(seed, 1))}
	step := int64(span.To.Sub(span.From)) / int64(n+1)
	for i := range n {
		s := sources[weights[m.Rand.IntN(len(weights))]]
		ts := span.From.Add(time.Duration(int64(i+1) * step)).UTC()
		line, meta := s.line(m, ts)
		if err := f(s, ts, line, meta); err != nil {
			return err
		}
	}
	return nil
}
