// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// readArgs are Loki's defaults where the end-to-end test's configuration has other values, and room for
// slow queries.
var readArgs = []string{
	"-querier.query-ingesters-within=3h", "-querier.tsdb-max-bytes-per-shard=600MB",
	"-querier.query-timeout=5m", "-server.http-write-timeout=5m",
}

// shape is a query that is measured.
type shape struct {
	lokiproc.Query
	// check compares an answer with what was pushed.
	check func(a lokiproc.Answer, w written) error
}

var (
	whole    = lokiproc.Span{From: dataStart, To: dataEnd}
	lastHour = lokiproc.Span{From: dataEnd.Add(-time.Hour), To: dataEnd}
	fiveMins = lokiproc.Span{From: dataStart.Add(200 * time.Minute), To: dataStart.Add(205 * time.Minute)}
)

const everything = `{app=~".+"}`

// shapes of a store. Ranges of 256 s: dividing by a power of two is exact, so that sums don't depend on the
// order in which the parts of an answer arrive.
func shapes(s store) []shape {
	all := []shape{
		{lokiproc.Logs("short range", fiveMins, lokiproc.Backward, 1000, everything), nil},
		{lokiproc.Logs("needle", whole, lokiproc.Backward, 1000, everything+` |= "`+needle+`"`), checkNeedles},
		{lokiproc.Metric("count", whole, "300", `sum(count_over_time(`+everything+`[5m]))`), checkCount},
		{lokiproc.Logs("last hour", lastHour, lokiproc.Backward, 1000, everything), nil},
		{lokiproc.Endpoint("label values", "/loki/api/v1/label/instance/values", whole, false, "query", everything), nil},
	}
	if s.Tiny > 0 {
		return all
	}
	return append(all,
		shape{lokiproc.Metric("rate by app", whole, "256", `sum by (app) (rate(`+everything+`[256s]))`), nil},
		shape{lokiproc.Logs("json filter", whole, lokiproc.Backward, 1000,
			`{app="api"} | json | status=503 | duration_ms > 1980 | method="DELETE"`), nil},
		shape{lokiproc.Logs("logfmt filter", whole, lokiproc.Backward, 1000,
			`{app="worker"} | logfmt | level="error" | attempts=5 | queue="billing" | job_id < 2000`), nil},
	)
}

// values are the part of an answer that has them.
func values[T any](a lokiproc.Answer) ([]T, error) {
	var doc struct{ Data struct{ Result []T } }
	err := json.Unmarshal(a.Text, &doc)
	return doc.Data.Result, err
}

func checkNeedles(a lokiproc.Answer, w written) error {
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
func checkCount(a lokiproc.Answer, w written) error {
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
