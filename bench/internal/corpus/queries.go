// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// ReadArgs are Loki's defaults where the end-to-end test's configuration has other values, and room for
// slow queries.
var ReadArgs = []string{
	"-querier.query-ingesters-within=3h", "-querier.tsdb-max-bytes-per-shard=600MB",
	"-querier.query-timeout=5m", "-server.http-write-timeout=5m",
}

// Query is a query that is measured.
type Query struct {
	lokiproc.Query
	// Check compares an answer with what was pushed; nil if nothing can. A query that has one reads all chunks.
	Check func(a lokiproc.Answer, w Written) error
}

var (
	whole    = lokiproc.Span{From: Start, To: End}
	day      = lokiproc.Span{From: Start, To: Start.Add(24 * time.Hour)}
	lastHour = lokiproc.Span{From: End.Add(-time.Hour), To: End}
	fiveMins = lokiproc.Span{From: Start.Add(200 * time.Minute), To: Start.Add(205 * time.Minute)}
)

const everything = `{app=~".+"}`

func needleQuery(name string) Query {
	return Query{lokiproc.Logs(name, whole, lokiproc.Backward, 1000, everything+` |= "`+needle+`"`), checkNeedles}
}

func countQuery(name string) Query {
	return Query{lokiproc.Metric(name, whole, "300", `sum(count_over_time(`+everything+`[5m]))`), checkCount}
}

func shortRange() Query {
	return Query{lokiproc.Logs("short range", fiveMins, lokiproc.Backward, 1000, everything), nil}
}

// regexpQuery looks at every line; one in 18 matches, a JSON line of an API that answered 5xx.
func regexpQuery() Query {
	return Query{lokiproc.Metric("regexp", whole, "300", `sum(count_over_time(`+everything+" |~ `status[=\": ]+5[0-9][0-9]` [5m]))"), nil}
}

// IndexQuery reads the index of all, and no chunk.
func IndexQuery() lokiproc.Query {
	return lokiproc.Endpoint("index stats", "/loki/api/v1/index/stats", whole, false, "query", everything)
}

// Queries of a store of tiny or of full chunks. Ranges of 256 s: dividing by a power of two is exact, so
// that sums don't depend on the order in which the parts of an answer arrive.
func Queries(tiny bool) []Query {
	all := []Query{
		shortRange(),
		needleQuery("needle"),
		countQuery("count"),
		{lokiproc.Logs("last hour", lastHour, lokiproc.Backward, 1000, everything), nil},
		{lokiproc.Endpoint("label values", "/loki/api/v1/label/instance/values", whole, false, "query", everything), nil},
	}
	if tiny {
		return all
	}
	return append(all,
		Query{lokiproc.Metric("rate by app", whole, "256", `sum by (app) (rate(`+everything+`[256s]))`), nil},
		Query{lokiproc.Logs("json filter", whole, lokiproc.Backward, 1000,
			`{app="api"} | json | status=503 | duration_ms > 1980 | method="DELETE"`), nil},
		Query{lokiproc.Logs("logfmt filter", whole, lokiproc.Backward, 1000,
			`{app="worker"} | logfmt | level="error" | attempts=5 | queue="billing" | job_id < 2000`), nil},
	)
}

// FullQueries are those of a store of full chunks, and what is asked of such a store alone.
func FullQueries() []Query { return append(Queries(false), regexpQuery()) }

// WideQueries are those of a store of 200 streams: the last lines of a day of them all.
func WideQueries() []Query {
	var all []Query
	for _, limit := range []int{1, 100} {
		all = append(all, Query{lokiproc.Logs(fmt.Sprintf("24 h, limit %d", limit), day, lokiproc.Backward, limit, everything), nil})
	}
	return all
}

// SplitQueries read all of a store of full chunks, for a Loki that splits queries by less than a chunk covers.
func SplitQueries(interval string) []Query {
	return []Query{needleQuery("needle, splits of " + interval), countQuery("count, splits of " + interval)}
}

// Crowd is a number of queries that are asked at the same time.
type Crowd struct {
	Name    string
	Queries []Query
}

// Crowds are what is asked of a store of full chunks where memory is short: the same needle, which reads all, and
// a mixture.
func Crowds(n int) []Crowd {
	kinds := []Query{needleQuery("needle"), countQuery("count"), shortRange(), regexpQuery()}
	needles, mixed := Crowd{Name: fmt.Sprintf("%d needles at once", n)}, Crowd{Name: fmt.Sprintf("%d mixed at once", n)}
	for i := range n {
		needles.Queries = append(needles.Queries, kinds[0])
		mixed.Queries = append(mixed.Queries, kinds[i%len(kinds)])
	}
	return []Crowd{needles, mixed}
}

// values are the part of an answer that has them.
func values[T any](a lokiproc.Answer) ([]T, error) {
	var doc struct{ Data struct{ Result []T } }
	err := json.Unmarshal(a.Text, &doc)
	return doc.Data.Result, err
}

func checkNeedles(a lokiproc.Answer, w Written) error {
	streams, err := values[struct{ Values []any }](a)
	if err != nil {
		return err
	}
	n := 0
	for _, s := range streams {
		n += len(s.Values)
	}
	if n != w.Needles {
		return fmt.Errorf("%d lines found, %d were pushed", n, w.Needles)
	}
	return nil
}

// checkCount: every line is in exactly one of the steps, as these are as long as the range, but for those
// that Loki's alignment of the splits leaves out at the start.
func checkCount(a lokiproc.Answer, w Written) error {
	series, err := values[struct{ Values [][2]any }](a)
	if err != nil {
		return err
	}
	total := 0
	for _, s := range series {
		for _, v := range s.Values {
			text, _ := v[1].(string)
			n, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			total += n
		}
	}
	if total != w.Lines {
		return fmt.Errorf("%d lines counted, %d were pushed", total, w.Lines)
	}
	return nil
}
