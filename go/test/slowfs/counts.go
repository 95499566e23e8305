// SPDX-License-Identifier: Apache-2.0

package slowfs

import (
	"maps"
	"sync"
)

// Counts are requests that came.
type Counts struct {
	Files    map[string]FileCounts `json:"files"`     // by path, folders too
	UnderWay map[Op]int            `json:"under_way"` // the most of a kind at once
	Most     int                   `json:"most"`      // the most of all kinds at once
}

// FileCounts are the requests for one file or folder.
type FileCounts struct {
	Lookups  int   `json:"lookups"`
	Getattrs int   `json:"getattrs"`
	Opens    int   `json:"opens"` // those that failed, too
	Reads    int   `json:"reads"`
	Bytes    int64 `json:"bytes"` // that READs returned
}

// counter counts, for many goroutines.
type counter struct {
	mu      sync.Mutex
	counts  Counts
	now     map[Op]int // under way
	all     int
	refused map[string]int // OPENs by EAGAIN; survives reset
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts = Counts{Files: map[string]FileCounts{}, UnderWay: map[Op]int{}}
	c.now, c.all = map[Op]int{}, 0
}

func (c *counter) get() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{Files: maps.Clone(c.counts.Files), UnderWay: maps.Clone(c.counts.UnderWay), Most: c.counts.Most}
}

// begin counts a request, which is under way until end.
func (c *counter) begin(op Op, path string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.counts.Files[path]
	switch op {
	case Lookup:
		f.Lookups++
	case Getattr:
		f.Getattrs++
	case Open:
		f.Opens++
	case Read:
		f.Reads++
	}
	c.counts.Files[path] = f
	c.now[op]++
	c.all++
	c.counts.UnderWay[op] = max(c.counts.UnderWay[op], c.now[op])
	c.counts.Most = max(c.counts.Most, c.all)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now[op]--
		c.all--
	}
}

func (c *counter) read(path string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.counts.Files[path]
	f.Bytes += int64(n)
	c.counts.Files[path] = f
}

// refuse reports whether the file at path was refused fewer than times so far, and counts one more.
func (c *counter) refuse(path string, times int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused[path] >= times {
		return false
	}
	if c.refused == nil {
		c.refused = map[string]int{}
	}
	c.refused[path]++
	return true
}
