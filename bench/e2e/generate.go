// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
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
	g := &generator{rng: rand.New(rand.NewPCG(seed, 1)), step: int64(dataEnd.Sub(dataStart)) / int64(n+1)}
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
	rng     *rand.Rand
	step    int64
	streams []*source
	total   int // of the weights
}

// source is a stream that is being filled.
type source struct {
	*stream
	weight int
	line   func(g *generator, ts time.Time) (string, map[string]string)
}

func (g *generator) add(weight int, line func(*generator, time.Time) (string, map[string]string), labels ...string) {
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
		g.add(24, jsonLine, "app", "api", "env", []string{"prod", "staging"}[i%2], "instance", fmt.Sprint("api-", i))
	}
	for i := range 3 {
		g.add(20, logfmtLine, "app", "worker", "env", "prod", "instance", fmt.Sprint("worker-", i))
	}
	for i := range 2 {
		g.add(24, accessLine, "app", "nginx", "env", "prod", "instance", fmt.Sprint("nginx-", i))
	}
	g.add(16, oddLine, "app", "db", "env", "prod", "instance", "db-0")
	g.add(8, logfmtLine, "app", "old", "env", "expired", "instance", "old-0")
	for i := range 16 {
		g.add(1, logfmtLine, "app", "cron", "env", "prod", "instance", fmt.Sprintf("cron-%02d", i))
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
		lines, err := readLines(name)
		if err != nil {
			return nil, err
		}
		g.add(16, nil, "app", "loghub", "env", "prod", "instance", strings.TrimSuffix(filepath.Base(name), ".log"))
		real[g.streams[len(g.streams)-1]] = lines
	}
	return real, nil
}

func readLines(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := strings.ToValidUTF8(strings.TrimSpace(s.Text()), "?"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// tick adds the i-th line to some stream. One in fifty comes up to ten minutes late, so that chunks
// of a stream overlap.
func (g *generator) tick(i int, real map[*source][]string) {
	ts := dataStart.UnixNano() + int64(i+1)*g.step + int64(g.rng.IntN(1000))
	n := g.rng.IntN(g.total)
	var s *source
	for _, s = range g.streams {
		if n -= s.weight; n < 0 {
			break
		}
	}
	if g.rng.IntN(50) == 0 {
		ts -= int64(g.rng.IntN(int(10*time.Minute/time.Microsecond)))*1000 + 499
		ts = max(ts, dataStart.UnixNano()+int64(i))
	}
	if s.line == nil {
		lines := real[s]
		s.entries = append(s.entries, entry{ts, lines[len(s.entries)%len(lines)], nil})
		return
	}
	line, meta := s.line(g, time.Unix(0, ts).UTC())
	s.entries = append(s.entries, entry{ts, line, meta})
}

func pick[T any](g *generator, of []T) T { return of[g.rng.IntN(len(of))] }

var (
	levels  = []string{"debug", "info", "info", "info", "info", "info", "info", "warn", "error"}
	methods = []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	paths   = []string{"/api/v1/users", "/api/v1/orders", "/api/v1/items", "/healthz", "/login", "/api/v2/search"}
	states  = []int{200, 200, 200, 200, 201, 204, 302, 400, 404, 500, 503}
	words   = strings.Fields("connection timeout while reading response header from upstream replica " +
		"shard segment compaction lock acquired released query plan cache miss retry backoff commit " +
		"rollback checkpoint leader election heartbeat quorum snapshot restored partition consumer")
)

func (g *generator) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(pick(g, words))
	}
	return b.String()
}

func (g *generator) hex(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(strconv.FormatUint(g.rng.Uint64(), 16))
	}
	return b.String()[:n]
}

func jsonLine(g *generator, ts time.Time) (string, map[string]string) {
	trace := g.hex(16)
	state := pick(g, states)
	line, err := json.Marshal(map[string]any{
		"ts": ts.Format(time.RFC3339Nano), "level": pick(g, levels), "method": pick(g, methods),
		"path": fmt.Sprintf("%s/%d", pick(g, paths), g.rng.IntN(50)), "status": state,
		"duration_ms": g.rng.IntN(2000), "bytes": g.rng.IntN(1 << 16), "trace_id": trace,
		"user":    map[string]any{"id": g.rng.IntN(200), "tier": pick(g, []string{"free", "pro", "team"})},
		"message": g.words(3 + g.rng.IntN(9)),
	})
	if err != nil {
		panic(err) // a map of strings and numbers
	}
	return string(line), map[string]string{"trace_id": trace, "region": pick(g, []string{"eu", "us", "ap"})}
}

func logfmtLine(g *generator, ts time.Time) (string, map[string]string) {
	line := fmt.Sprintf(`ts=%s level=%s caller=worker.go:%d msg="%s" job_id=%d duration=%dms attempts=%d queue=%s`,
		ts.Format(time.RFC3339Nano), pick(g, levels), 10+g.rng.IntN(300), g.words(2+g.rng.IntN(6)),
		g.rng.IntN(100000), g.rng.IntN(5000), 1+g.rng.IntN(5), pick(g, []string{"mail", "billing", "thumbs"}))
	if g.rng.IntN(3) == 0 {
		return line, nil
	}
	return line, map[string]string{"pod": fmt.Sprintf("worker-%s", g.hex(3)), "region": pick(g, []string{"eu", "us"})}
}

func accessLine(g *generator, ts time.Time) (string, map[string]string) {
	return fmt.Sprintf(`10.%d.%d.%d - - [%s] "%s %s/%d HTTP/1.1" %d %d "-" "Mozilla/5.0 (X11; Linux x86_64) rv:%d.0"`,
		g.rng.IntN(4), g.rng.IntN(256), g.rng.IntN(256), ts.Format("02/Jan/2006:15:04:05 -0700"), pick(g, methods),
		pick(g, paths), g.rng.IntN(50), pick(g, states), g.rng.IntN(1<<18), 90+g.rng.IntN(40)), nil
}

// oddLine: what breaks decoders: empty and huge lines, tabs, quotes, colours, many alphabets.
func oddLine(g *generator, _ time.Time) (string, map[string]string) {
	switch g.rng.IntN(8) {
	case 0:
		return "\tat org.postgresql.Driver.connect(Driver.java:" + strconv.Itoa(g.rng.IntN(999)) + ")", nil
	case 1:
		return "\x1b[31mERROR\x1b[0m deadlock detected: \"" + g.words(4) + "\"", map[string]string{"sqlstate": "40P01"}
	case 2:
		return "naïve Größe ждать 待機 🔥 " + g.words(2), nil
	case 3:
		return "x", nil
	case 4:
		if g.rng.IntN(20) == 0 {
			return "DUMP " + g.hex(20000), nil // as large as a whole chunk of this test
		}
	}
	return fmt.Sprintf("LOG: duration: %d ms statement: SELECT %s FROM t%d", g.rng.IntN(900), g.words(2), g.rng.IntN(9)),
		map[string]string{"pid": strconv.Itoa(g.rng.IntN(40))}
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
