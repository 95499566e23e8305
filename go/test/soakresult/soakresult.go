// SPDX-License-Identifier: Apache-2.0

// Package soakresult is the file that go/test/soak leaves and bench/mkreport draws.
package soakresult

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Run is one run of the soak.
type Run struct {
	Begin   time.Time         `json:"begin"`
	Seconds float64           `json:"seconds"` // of load
	Machine string            `json:"machine"`
	Go      string            `json:"go"`
	Limits  map[string]string `json:"limits"` // descriptors, memory: how much and by what
	Corpus  string            `json:"corpus"`
	Clients []string          `json:"clients"` // what ran: back-end and options

	Samples []Sample `json:"samples"`
	Counts  Counts   `json:"counts"`

	Wrong    []string `json:"wrong"`    // what must not be: the first few, in full
	WrongN   int64    `json:"wrong_n"`  // and how many there were
	Verdicts []string `json:"verdicts"` // on leaks and growth, one line each
}

// Failed tells whether anything was wrong.
func (s *Run) Failed() bool { return s.WrongN > 0 }

// Counts is what was done, and how the operations that did not succeed ended.
type Counts struct {
	Chunks       int64            `json:"chunks_compared"` // each byte of each
	Bytes        int64            `json:"bytes_compared"`
	Retained     int64            `json:"chunks_compared_again"` // after later batches, under a live chunk
	Blocks       int64            `json:"blocks_compared"`       // each entry of each, of queries
	PartlyRead   int64            `json:"chunks_partly_read"`    // for queries; 0 with an unmodified Loki
	Outcomes     map[string]int64 `json:"outcomes"`              // by operation and how it ended
	Restarts     int64            `json:"clients_stopped_and_opened"`
	Unsettled    int64            `json:"chunks_changed_during_a_read"` // any whole outcome is right
	Hogged       int64            `json:"all_descriptors_taken"`
	NoDescriptor int64            `json:"refused_for_want_of_descriptors"`
}

// Sample is the process at one moment and the operations since the last one.
type Sample struct {
	Seconds    float64            `json:"seconds"`
	AnonMB     float64            `json:"rss_anon_mb"` // without mapped files
	HeapMB     float64            `json:"go_heap_mb"`  // live at the last garbage collection
	GroupMB    float64            `json:"cgroup_mb"`   // with page cache; 0 where there is no group
	FDs        int                `json:"fds"`
	Threads    int                `json:"threads"`
	Goroutines int                `json:"goroutines"`
	Ops        map[string]Latency `json:"ops"`
}

// Latency is of one kind of operation within one interval, in milliseconds.
type Latency struct {
	N   int64   `json:"n"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// Ops are the kinds of operations, in the order of tables.
var Ops = []string{"get", "get pooled", "query", "put", "delete"}

// Save writes dir/soak.json and dir/soak.csv.
func Save(dir string, s *Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "soak.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	b, err = s.csv()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "soak.csv"), b, 0o644)
}

// Load reads what Save wrote.
func Load(file string) (*Run, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s Run
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &s, nil
}

func (s *Run) csv() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := []string{"seconds", "rss_anon_mb", "go_heap_mb", "cgroup_mb", "fds", "threads", "goroutines"}
	for _, op := range Ops {
		head = append(head, op+" n", op+" p50_ms", op+" p99_ms", op+" max_ms")
	}
	_ = w.Write(head) // w.Error below has it
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	for _, x := range s.Samples {
		row := []string{number(x.Seconds), number(x.AnonMB), number(x.HeapMB), number(x.GroupMB),
			strconv.Itoa(x.FDs), strconv.Itoa(x.Threads), strconv.Itoa(x.Goroutines)}
		for _, op := range Ops {
			l := x.Ops[op]
			row = append(row, strconv.FormatInt(l.N, 10), number(l.P50), number(l.P99), number(l.Max))
		}
		_ = w.Write(row)
	}
	w.Flush()
	return b.Bytes(), w.Error()
}
