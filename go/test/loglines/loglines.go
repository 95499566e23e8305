// SPDX-License-Identifier: Apache-2.0

// Package loglines makes log lines that look like real ones.
package loglines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// Maker makes lines and their structured metadata; the same random numbers make the same lines.
type Maker struct{ Rand *rand.Rand }

func pick[T any](m *Maker, of []T) T { return of[m.Rand.IntN(len(of))] }

var (
	levels  = []string{"debug", "info", "info", "info", "info", "info", "info", "warn", "error"}
	methods = []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	paths   = []string{"/api/v1/users", "/api/v1/orders", "/api/v1/items", "/healthz", "/login", "/api/v2/search"}
	states  = []int{200, 200, 200, 200, 201, 204, 302, 400, 404, 500, 503}
	words   = strings.Fields("connection timeout while reading response header from upstream replica " +
		"shard segment compaction lock acquired released query plan cache miss retry backoff commit " +
		"rollback checkpoint leader election heartbeat quorum snapshot restored partition consumer")
)

func (m *Maker) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(pick(m, words))
	}
	return b.String()
}

func (m *Maker) hex(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(strconv.FormatUint(m.Rand.Uint64(), 16))
	}
	return b.String()[:n]
}

// JSON is an API's line, with a trace id and a region as structured metadata.
func (m *Maker) JSON(ts time.Time) (string, map[string]string) {
	trace := m.hex(16)
	state := pick(m, states)
	line, err := json.Marshal(map[string]any{
		"ts": ts.Format(time.RFC3339Nano), "level": pick(m, levels), "method": pick(m, methods),
		"path": fmt.Sprintf("%s/%d", pick(m, paths), m.Rand.IntN(50)), "status": state,
		"duration_ms": m.Rand.IntN(2000), "bytes": m.Rand.IntN(1 << 16), "trace_id": trace,
		"user":    map[string]any{"id": m.Rand.IntN(200), "tier": pick(m, []string{"free", "pro", "team"})},
		"message": m.words(3 + m.Rand.IntN(9)),
	})
	if err != nil {
		panic(err) // a map of strings and numbers
	}
	return string(line), map[string]string{"trace_id": trace, "region": pick(m, []string{"eu", "us", "ap"})}
}

// Logfmt is a worker's line; two in three have structured metadata.
func (m *Maker) Logfmt(ts time.Time) (string, map[string]string) {
	line := fmt.Sprintf(`ts=%s level=%s caller=worker.go:%d msg="%s" job_id=%d duration=%dms attempts=%d queue=%s`,
		ts.Format(time.RFC3339Nano), pick(m, levels), 10+m.Rand.IntN(300), m.words(2+m.Rand.IntN(6)),
		m.Rand.IntN(100000), m.Rand.IntN(5000), 1+m.Rand.IntN(5), pick(m, []string{"mail", "billing", "thumbs"}))
	if m.Rand.IntN(3) == 0 {
		return line, nil
	}
	return line, map[string]string{"pod": fmt.Sprintf("worker-%s", m.hex(3)), "region": pick(m, []string{"eu", "us"})}
}

// Access is a web server's line.
func (m *Maker) Access(ts time.Time) (string, map[string]string) {
	return fmt.Sprintf(`10.%d.%d.%d - - [%s] "%s %s/%d HTTP/1.1" %d %d "-" "Mozilla/5.0 (X11; Linux x86_64) rv:%d.0"`,
		m.Rand.IntN(4), m.Rand.IntN(256), m.Rand.IntN(256), ts.Format("02/Jan/2006:15:04:05 -0700"), pick(m, methods),
		pick(m, paths), m.Rand.IntN(50), pick(m, states), m.Rand.IntN(1<<18), 90+m.Rand.IntN(40)), nil
}

// Odd is what breaks decoders: empty and huge lines, tabs, quotes, colours, many alphabets.
func (m *Maker) Odd(_ time.Time) (string, map[string]string) {
	switch m.Rand.IntN(8) {
	case 0:
		return "\tat org.postgresql.Driver.connect(Driver.java:" + strconv.Itoa(m.Rand.IntN(999)) + ")", nil
	case 1:
		return "\x1b[31mERROR\x1b[0m deadlock detected: \"" + m.words(4) + "\"", map[string]string{"sqlstate": "40P01"}
	case 2:
		return "naïve Größe ждать 待機 🔥 " + m.words(2), nil
	case 3:
		return "x", nil
	case 4:
		if m.Rand.IntN(20) == 0 {
			return "DUMP " + m.hex(20000), nil // as large as a whole chunk of this test
		}
	}
	return fmt.Sprintf("LOG: duration: %d ms statement: SELECT %s FROM t%d", m.Rand.IntN(900), m.words(2), m.Rand.IntN(9)),
		map[string]string{"pid": strconv.Itoa(m.Rand.IntN(40))}
}

// Read returns the lines of a file that are not empty, cleaned of what JSON could not carry.
func Read(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if line := strings.ToValidUTF8(strings.TrimSpace(s.Text()), "?"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, s.Err()
}
