// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
)

// line is one log line. text is valid until the next call of next.
type line struct {
	text  []byte
	level string
	trace string // "" for most: few applications put a trace on every line
}

// source makes the lines of one chunk.
type source interface {
	next(r *rand.Rand) line
}

// kinds are the made-up applications. Streams take them in turn, so that a store has all of them.
// The mixture of repeated words with ids, addresses and numbers makes snappy reach a ratio of 2 to
// 4 and gzip about twice that, as real logs do; it also keeps text, and so time, per chunk low.
var kinds = []struct {
	name string
	new  func() source
}{
	{"access", func() source { return &accessLog{} }},
	{"logfmt", func() source { return &logfmtLog{} }},
	{"json", func() source { return &jsonLog{} }},
	{"java", func() source { return &javaLog{} }},
}

// streamLabels are the labels of stream n, as an agent on Kubernetes would set them.
func streamLabels(n int) labels.Labels {
	app := kinds[n%len(kinds)].name
	return labels.FromStrings(
		"app", app,
		"cluster", "eu-central-1",
		"container", app+"-server",
		"filename", fmt.Sprintf("/var/log/pods/%s-%d/0.log", app, n),
		"namespace", namespaces[n%len(namespaces)],
		"pod", fmt.Sprintf("%s-%d", app, n),
		"service_name", app,
	)
}

var (
	namespaces = []string{"shop", "payments", "search", "monitoring", "ingress"}
	methods    = []string{"GET", "GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD"}
	statuses   = []string{"200", "200", "200", "200", "200", "204", "301", "304", "404", "500", "503"}
	paths      = []string{
		"/api/v1/orders/", "/api/v1/users/", "/api/v2/carts/", "/static/js/main.", "/healthz?probe=",
		"/images/products/", "/search?q=", "/login?next=", "/loki/api/v1/push?id=", "/metrics?t=",
	}
	agents = []string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
		"kube-probe/1.30", "Go-http-client/2.0", "curl/8.7.1", "okhttp/4.12.0", "Prometheus/2.53.0",
	}
	components = []string{"ingester", "querier", "distributor", "compactor", "frontend", "scheduler"}
	callers    = []string{"flush.go:187", "metrics.go:244", "table.go:81", "engine.go:311", "http.go:467", "ring.go:92"}
	messages   = []string{
		"request completed", "flushed stream", "cache miss, loading from store", "connection reset by peer",
		"retrying after back-off", "uploading table", "lease renewed", "token refreshed", "slow query",
	}
	classes = []string{
		"com.example.shop.order.OrderService", "com.example.shop.cart.CartRepository",
		"org.springframework.web.servlet.DispatcherServlet", "org.apache.kafka.clients.NetworkClient",
		"com.zaxxer.hikari.pool.HikariPool", "io.netty.channel.AbstractChannelHandlerContext",
	}
	exceptions = []string{
		"java.lang.IllegalStateException: no connection available",
		"java.util.concurrent.TimeoutException: waited 30000 ms",
		"org.postgresql.util.PSQLException: deadlock detected",
	}
	calls = []string{"invoke", "process", "doFilter", "handleRequest", "run", "fireChannelRead", "accept"}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// levelOf draws a level: most lines are informational.
func levelOf(r *rand.Rand) string {
	switch n := r.IntN(100); {
	case n < 80:
		return "info"
	case n < 92:
		return "debug"
	case n < 98:
		return "warn"
	}
	return "error"
}

// appendHex appends n random bytes, at most 8, in hexadecimal.
func appendHex(b []byte, r *rand.Rand, n int) []byte {
	var raw [8]byte
	for i, v := 0, r.Uint64(); i < n; i++ {
		raw[i] = byte(v >> (8 * i))
	}
	return hex.AppendEncode(b, raw[:n])
}

func appendInt(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

func appendIP(b []byte, r *rand.Rand) []byte {
	v := r.Uint32()
	b = append(b, "10."...)
	b = append(appendInt(b, int(v&0x0f)), '.')
	b = append(appendInt(b, int(v>>8&0xff)), '.')
	return appendInt(b, int(v>>16&0xff))
}

// trace gives one line in 24 an id of its own.
func trace(r *rand.Rand) string {
	if r.IntN(24) != 0 {
		return ""
	}
	return string(appendHex(appendHex(nil, r, 8), r, 8))
}

// accessLog is a reverse proxy's log, with the request id most of them are configured to print.
type accessLog struct {
	buf []byte
	sec int
}

func (l *accessLog) next(r *rand.Rand) line {
	l.sec += r.IntN(2)
	b := appendIP(l.buf[:0], r)
	b = append(b, " - - [12/Mar/2024:10:"...)
	b = append(append(b, byte('0'+l.sec/600%6), byte('0'+l.sec/60%10), ':'), byte('0'+l.sec/10%6), byte('0'+l.sec%10))
	b = append(b, " +0000] \""...)
	b = append(append(b, pick(r, methods)...), ' ')
	b = appendHex(append(b, pick(r, paths)...), r, 4)
	b = append(b, " HTTP/1.1\" "...)
	status := pick(r, statuses)
	b = append(append(b, status...), ' ')
	b = append(appendInt(b, r.IntN(90000)), " \"-\" \""...)
	b = append(append(b, pick(r, agents)...), "\" rt=0."...)
	b = append(appendInt(b, r.IntN(1000)), " id="...)
	l.buf = appendHex(appendHex(b, r, 8), r, 8)
	level := "info"
	if status[0] == '5' {
		level = "error"
	}
	return line{l.buf, level, trace(r)}
}

// logfmtLog is the log of a Go service, such as Loki itself.
type logfmtLog struct {
	buf []byte
	ms  int
}

func (l *logfmtLog) next(r *rand.Rand) line {
	l.ms += r.IntN(40)
	level := levelOf(r)
	b := append(l.buf[:0], "ts=2024-03-12T10:"...)
	b = append(append(b, byte('0'+l.ms/600000%6), byte('0'+l.ms/60000%10), ':'), byte('0'+l.ms/10000%6), byte('0'+l.ms/1000%10), '.')
	b = append(appendInt(b, r.IntN(1e9)), "Z level="...)
	b = append(append(b, level...), " caller="...)
	b = append(append(b, pick(r, callers)...), " component="...)
	b = append(append(b, pick(r, components)...), " msg=\""...)
	b = append(append(b, pick(r, messages)...), "\" user="...)
	b = append(appendInt(b, r.IntN(5000)), " fp="...)
	b = append(appendHex(b, r, 8), " duration="...)
	b = append(appendInt(b, r.IntN(4000)), "."...)
	b = append(appendInt(b, r.IntN(1000)), "ms bytes="...)
	b = append(appendInt(b, r.IntN(1<<21)), " remote="...)
	b = append(appendIP(b, r), ':')
	l.buf = appendInt(b, 1024+r.IntN(60000))
	return line{l.buf, level, trace(r)}
}

// jsonLog is the structured log of a web service.
type jsonLog struct{ buf []byte }

func (l *jsonLog) next(r *rand.Rand) line {
	level := levelOf(r)
	b := append(l.buf[:0], `{"level":"`...)
	b = append(append(b, level...), `","time":`...)
	b = append(appendInt(b, 1710237600000+r.IntN(3600000)), `,"msg":"`...)
	b = append(append(b, pick(r, messages)...), `","http":{"method":"`...)
	b = append(append(b, pick(r, methods)...), `","path":"`...)
	b = appendHex(append(b, pick(r, paths)...), r, 3)
	b = append(append(append(b, `","status":`...), pick(r, statuses)...), `},"user":{"id":"`...)
	b = append(appendHex(b, r, 6), `","ip":"`...)
	b = append(appendIP(b, r), `"},"session":"`...)
	b = append(appendHex(appendHex(b, r, 8), r, 8), `","ms":`...)
	b = append(appendInt(b, r.IntN(9000)), `,"bytes":`...)
	l.buf = append(appendInt(b, r.IntN(1<<20)), '}')
	return line{l.buf, level, trace(r)}
}

// javaLog is a log4j log. One line in thirty is an error, followed by the lines of its stack, each
// an entry of its own as agents without multi-line rules send them.
type javaLog struct {
	buf   []byte
	ms    int
	stack int // lines of a stack trace still to come
}

func (l *javaLog) next(r *rand.Rand) line {
	if l.stack > 0 {
		l.stack--
		b := append(l.buf[:0], "\tat "...)
		b = append(append(b, pick(r, classes)...), '.')
		b = append(append(b, pick(r, calls)...), "(Source.java:"...)
		b = appendInt(b, 20+r.IntN(900))
		l.buf = append(append(b, ") ~[app.jar!/:1."...), byte('0'+r.IntN(10)), ']')
		return line{l.buf, "error", ""}
	}
	l.ms += r.IntN(60)
	level := levelOf(r)
	failed := r.IntN(30) == 0
	if failed {
		level, l.stack = "error", 8+r.IntN(12)
	}
	b := append(l.buf[:0], "2024-03-12 10:"...)
	b = append(append(b, byte('0'+l.ms/600000%6), byte('0'+l.ms/60000%10), ':'), byte('0'+l.ms/10000%6), byte('0'+l.ms/1000%10), ',')
	b = append(appendInt(b, 100+r.IntN(900)), ' ')
	b = append(append(b, level...), " [http-nio-8080-exec-"...)
	b = append(append(appendInt(b, r.IntN(200)), "] "...), pick(r, classes)...)
	b = append(b, " - "...)
	if failed {
		b = append(append(b, "request failed: "...), pick(r, exceptions)...)
	} else {
		b = append(append(append(b, pick(r, messages)...), " order="...), "ORD-"...)
		b = append(appendHex(b, r, 8), " customer="...)
		b = append(appendHex(b, r, 6), " took="...)
		b = append(appendInt(b, r.IntN(5000)), "ms"...)
	}
	l.buf = b
	return line{l.buf, level, trace(r)}
}

// Bounds on given log files: they are held in memory, and Loki itself cuts lines at 256 KiB.
const (
	logsBytesMax = 1 << 30
	lineBytesMax = 256 << 10
)

// fileLog replays given files from a line of its own choice, round and round.
type fileLog struct {
	lines [][]byte
	at    int // -1 until the first line is chosen
}

func (l *fileLog) next(r *rand.Rand) line {
	if l.at < 0 {
		l.at = r.IntN(len(l.lines))
	}
	text := l.lines[l.at]
	l.at = (l.at + 1) % len(l.lines)
	return line{text, guessLevel(text), trace(r)}
}

// guessLevel finds a level the way a person would at a glance; detected_level needs some value.
func guessLevel(text []byte) string {
	text = text[:min(len(text), 256)]
	for _, level := range []string{"error", "warn", "debug", "info"} {
		if bytes.Contains(text, []byte(level)) || bytes.Contains(text, bytes.ToUpper([]byte(level))) {
			return level
		}
	}
	return "unknown"
}

// readLogs reads all lines of the given files.
func readLogs(names []string) (all []byte, lines [][]byte, err error) {
	for _, name := range names {
		fi, err := os.Stat(name)
		if err != nil {
			return nil, nil, err
		}
		if int64(len(all))+fi.Size() > logsBytesMax {
			return nil, nil, fmt.Errorf("%s: the log files are larger than %d bytes together; give fewer or shorter ones", name, logsBytesMax)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		all = append(append(all, b...), '\n')
	}
	for text := range bytes.Lines(all) {
		text = bytes.TrimRight(text, "\r\n")
		if len(text) > 0 {
			lines = append(lines, text[:min(len(text), lineBytesMax)])
		}
	}
	if len(lines) == 0 {
		return nil, nil, fmt.Errorf("no lines in %v", names)
	}
	return all, lines, nil
}
