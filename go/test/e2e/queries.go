// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"

	"github.com/chunkring/chunkring/go/test/lokiproc"
)

const (
	backward = lokiproc.Backward
	forward  = lokiproc.Forward
)

// span is a part of the data's six hours, in minutes.
type span struct{ from, to int }

var (
	whole  = span{-10, 370}
	hour   = span{60, 120}
	short  = span{200, 205}
	middle = span{90, 270}
)

func minute(n int) time.Time { return dataStart.Add(time.Duration(n) * time.Minute) }

func (s span) times() lokiproc.Span { return lokiproc.Span{From: minute(s.from), To: minute(s.to)} }

func logs(name string, s span, direction string, limit int, expr string) lokiproc.Query {
	return lokiproc.Logs(name, s.times(), direction, limit, expr)
}

func metric(name string, s span, step string, expr string) lokiproc.Query {
	return lokiproc.Metric(name, s.times(), step, expr)
}

func instant(name string, atMinute int, expr string) lokiproc.Query {
	return lokiproc.Instant(name, minute(atMinute), expr)
}

func endpoint(name, path string, s span, chunks bool, extra ...string) lokiproc.Query {
	return lokiproc.Endpoint(name, path, s.times(), chunks, extra...)
}

// queries: ranges of 256 s and 1024 s instead of 5 and 15 minutes because dividing by a power of two
// is exact, so that sums don't depend on the order in which parts of an answer arrive. topk takes
// bytes because counts are often equal, and then Loki takes any.
func queries() []lokiproc.Query {
	const all = `{env=~"prod|staging"}`
	return []lokiproc.Query{
		logs("everything backward", whole, backward, 500, `{app=~".+"}`),
		logs("everything forward", whole, forward, 500, `{app=~".+"}`),
		logs("limit 1", whole, backward, 1, `{app=~".+"}`),
		logs("short range, many streams", short, backward, 1000, `{app=~".+"}`),
		logs("short range forward", short, forward, 1000, `{app=~".+"}`),
		logs("all lines of a stream", whole, forward, 5000, `{instance="worker-0"}`),
		logs("tiny streams", whole, backward, 5000, `{app="cron"}`),
		logs("odd lines", whole, forward, 5000, `{app="db"}`),
		logs("label not equal", hour, backward, 300, `{app="api", env!="prod"}`),

		logs("|= needle", whole, backward, 100, `{app=~".+"} |= "leader election"`),
		logs("|= unicode", whole, forward, 100, `{app="db"} |= "待機"`),
		logs("!= chain", middle, backward, 400, `{app="nginx"} != "GET" != "healthz" |= "HTTP/1.1\" 500"`),
		logs("|~ regex", whole, backward, 400, all+` |~ "(?i)TIMEOUT.*quorum"`),
		logs("!~ regex", hour, forward, 400, `{app="worker"} !~ "level=(debug|info)"`),
		logs("or filter", whole, forward, 200, `{app="api"} |= "deadlock" or "rollback checkpoint"`),
		logs("ip filter", whole, backward, 300, `{app="nginx"} |= ip("10.2.0.0/18")`),
		logs("filter in a narrow range", span{133, 134}, backward, 100, all+` |= "retry"`),

		logs("json", hour, backward, 200, `{app="api"} | json | status >= 500 and method = "POST"`),
		logs("json fields", hour, forward, 200, `{app="api"} | json tier="user.tier", id="user.id" | tier="pro" and id < 20`),
		logs("logfmt", middle, backward, 200, `{app="worker"} | logfmt | attempts > 4 | duration > 4s`),
		logs("logfmt fields", middle, forward, 200, `{app="worker"} | logfmt q="queue", level | q="billing" | level="error"`),
		logs("regexp", middle, backward, 200, "{app=\"nginx\"} | regexp `\"(?P<method>\\w+) (?P<path>\\S+) HTTP/1.1\" (?P<status>\\d{3})` | status=\"503\""),
		logs("pattern", middle, forward, 200, "{app=\"nginx\"} | pattern `<ip> - - [<_>] \"<method> <path> <_>\" <status> <size> <_>` | size > 200000"),
		logs("pattern filter", whole, forward, 100, "{app=\"worker\"} |> `<_>level=error<_>queue=mail`"),
		logs("line_format", hour, backward, 150, `{app="api"} | json | line_format "{{.method | lower}} {{.path}} {{.status}} {{.duration_ms}}ms"`),
		logs("label_format", hour, forward, 150, `{app="worker"} | logfmt | label_format job="{{.queue}}-{{.attempts}}", lvl=level | keep job, lvl, instance`),
		logs("drop, decolorize", whole, backward, 150, `{app="db"} | decolorize |= "ERROR" | drop sqlstate`),
		logs("structured metadata", middle, backward, 200, `{app=~"api|worker"} | region="eu" | detected_level="error"`),
		logs("structured metadata regex", whole, forward, 200, `{app="worker"} | pod=~"worker-[a-c].*" | region!="us"`),
		logs("needle by trace id", whole, backward, 100, `{app="api"} | trace_id=~"00.*"`),

		metric("count_over_time", whole, "300", `count_over_time({app="nginx"} |= "POST" [5m])`),
		metric("count by level", whole, "600", `sum by (detected_level) (count_over_time(`+all+`[10m]))`),
		metric("rate", whole, "512", `sum by (app) (rate({app=~".+"}[256s]))`),
		metric("rate of a filter", middle, "256", `sum(rate(`+all+` |= "error" [256s]))`),
		metric("bytes_over_time", whole, "900", `sum by (instance) (bytes_over_time({app=~".+"}[15m]))`),
		metric("bytes_rate", middle, "512", `sum by (app) (bytes_rate({app=~".+"}[1024s]))`),
		metric("topk", whole, "3600", `topk(3, sum by (instance) (bytes_over_time({app=~"api|worker|nginx"} |= "a" [1h])))`),
		metric("unwrap sum", middle, "600", `sum by (method) (sum_over_time({app="api"} | json | unwrap duration_ms [10m]))`),
		metric("unwrap duration", middle, "1024", `max by (queue) (max_over_time({app="worker"} | logfmt | unwrap duration_seconds(duration) [1024s]))`),
		metric("quantile", middle, "1800", `quantile_over_time(0.95, {app="api"} | json | unwrap bytes [30m]) by (env)`),
		metric("avg_over_time", hour, "600", `avg_over_time({app="nginx"} | pattern "<_> \"<method> <_>\" <status> <size> <_>" | unwrap size [10m]) by (instance)`),
		metric("first and last", hour, "600", `first_over_time({app="api"} | json | unwrap status [10m]) by (instance) + last_over_time({app="api"} | json | unwrap status [10m]) by (instance)`),
		metric("ratio", whole, "1024", `sum by (instance) (count_over_time({app="api"} | json | status >= 500 [1024s])) / sum by (instance) (count_over_time({app="api"}[1024s]))`),
		metric("offset and comparison", middle, "1800", `sum by (app) (count_over_time({app=~".+"}[30m] offset 10m)) > 100`),
		metric("absent_over_time", whole, "3600", `absent_over_time({app="nothing"}[10m])`),
		instant("count of all lines", 370, totalLines),
		instant("count of all bytes", 370, `sum by (app) (bytes_over_time({app=~".+"}[7h]))`),
		instant("vector topk", 300, `topk(2, sum by (instance) (bytes_over_time({app=~".+"} |= "error" [4h])))`),

		endpoint("series", "/loki/api/v1/series", whole, false, "match[]", `{app=~".+"}`),
		endpoint("labels", "/loki/api/v1/labels", whole, false),
		endpoint("label values", "/loki/api/v1/label/instance/values", whole, false, "query", `{app=~".+", env!="expired"}`),
		endpoint("index stats", "/loki/api/v1/index/stats", middle, false, "query", `{app=~"api|db"}`),
		endpoint("index volume", "/loki/api/v1/index/volume", whole, false, "query", all, "targetLabels", "instance"),
		endpoint("volume range", "/loki/api/v1/index/volume_range", whole, false, "query", all, "targetLabels", "app", "step", "3600"),
		endpoint("detected fields", "/loki/api/v1/detected_fields", hour, true, "query", `{app="worker"}`),
		endpoint("detected labels", "/loki/api/v1/detected_labels", whole, false),
	}
}

// totalLines is compared with what was pushed, too, so that a store of which half is missing is found
// although both Lokis agree on it.
const totalLines = `sum(count_over_time({app=~".+"}[7h]))`

// countAll is the query for totalLines.
func countAll() lokiproc.Query {
	all := queries()
	return all[slices.IndexFunc(all, func(q lokiproc.Query) bool { return q.Params.Get("query") == totalLines })]
}

// someQueries is a cross-section for passes that only repeat others under other conditions.
func someQueries(every int) []lokiproc.Query {
	var some []lokiproc.Query
	for i, q := range queries() {
		if i%every == 0 || q.Params.Get("query") == totalLines {
			some = append(some, q)
		}
	}
	return some
}

// fromChunks are the queries that are answered with the lines of chunks, not from the index.
func fromChunks() []lokiproc.Query {
	return slices.DeleteFunc(queries(), func(q lokiproc.Query) bool { return !q.Chunks })
}
