// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
)

// GET answers with the Counts in JSON, DELETE resets them. No bucket has such a name.
const (
	adminPath  = "/-/"
	countsPath = adminPath + "counts"
)

// Counts is what was sent in answers to GETs of objects since the last reset.
type Counts struct {
	Objects     map[string]Count // by bucket/key
	Unavailable int64            // GETs that got 503
	Truncated   int64            // GETs whose connection was cut
}

// Count is of one object.
type Count struct {
	GETs  int
	Bytes int64 // of bodies
}

type counts struct {
	unavailable, truncated atomic.Int64

	mu      sync.Mutex
	objects map[string]Count
}

func (c *counts) add(name string, bytes int, cut bool) {
	if cut {
		c.truncated.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.objects[name]
	c.objects[name] = Count{n.GETs + 1, n.Bytes + int64(bytes)}
}

// Counts are those until now.
func (s *Server) Counts() Counts {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	return Counts{maps.Clone(s.counts.objects), s.counts.unavailable.Load(), s.counts.truncated.Load()}
}

// ResetCounts begins anew.
func (s *Server) ResetCounts() {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	s.counts.objects = map[string]Count{}
	s.counts.unavailable.Store(0)
	s.counts.truncated.Store(0)
}

func (s *Server) serveCounts(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != countsPath:
		http.NotFound(w, r)
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Counts()) // to a client that may have left
	case r.Method == http.MethodDelete:
		s.ResetCounts()
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "GET or DELETE", http.StatusMethodNotAllowed)
	}
}
