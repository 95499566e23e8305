// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"net/url"
	"strconv"
	"time"
)

// Query is one HTTP request whose answer must be the same from every Loki.
type Query struct {
	Name   string
	Path   string
	Params url.Values
	// Unordered: Loki collects this answer in maps, so its lists have no order.
	Unordered bool
	// Chunks: the answer is made from chunks, not from the index.
	Chunks bool
	// MayBeEmpty: an empty answer is right.
	MayBeEmpty bool
}

// Directions of log queries.
const (
	Backward = "backward"
	Forward  = "forward"
)

// Span is a range of time.
type Span struct{ From, To time.Time }

func (s Span) params() url.Values {
	return url.Values{"start": {nanoseconds(s.From)}, "end": {nanoseconds(s.To)}}
}

func nanoseconds(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// Logs asks for lines.
func Logs(name string, s Span, direction string, limit int, expr string) Query {
	p := s.params()
	p.Set("query", expr)
	p.Set("direction", direction)
	p.Set("limit", strconv.Itoa(limit))
	return Query{Name: name, Path: "/loki/api/v1/query_range", Params: p, Chunks: true}
}

// Metric asks for series.
func Metric(name string, s Span, step string, expr string) Query {
	p := s.params()
	p.Set("query", expr)
	p.Set("step", step)
	return Query{Name: name, Path: "/loki/api/v1/query_range", Params: p, Chunks: true}
}

// Instant asks for the values at one time.
func Instant(name string, at time.Time, expr string) Query {
	p := url.Values{"query": {expr}, "time": {nanoseconds(at)}}
	return Query{Name: name, Path: "/loki/api/v1/query", Params: p, Chunks: true}
}

// Endpoint asks anything else; extra are names and values of parameters.
func Endpoint(name, path string, s Span, chunks bool, extra ...string) Query {
	p := s.params()
	for i := 0; i < len(extra); i += 2 {
		p.Add(extra[i], extra[i+1])
	}
	return Query{Name: name, Path: path, Params: p, Unordered: true, Chunks: chunks}
}
