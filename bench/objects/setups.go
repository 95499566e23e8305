// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/bench/internal/result"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// keeps is what a warm cache is expected to spare the object store. It is what proves that the cache was
// used; how well it did is a result.
type keeps int

const (
	keepsNothing keeps = iota // there is no cache
	keepsAny                  // it is too small for all
	keepsHalf                 // of the GETs, unless the query has a limit: what a limit cuts off, Loki does not cache
	keepsAll                  // but for 5 %
)

// setup is a Loki and what stands in front of the object store.
type setup struct {
	name, about string
	patched     bool
	cacheMB     int    // Loki's embedded chunk cache
	program     string // of a cache that is a process
	files       bool   // no object store at all
	disk        bool   // chunkring's disk cache
	warm        keeps
}

const (
	memcachedProgram = "memcached"
	nginxProgram     = "nginx"
	embeddedAllMB    = 4096
)

// allSetups: the first is what the others are compared with.
var allSetups = []setup{
	{name: "stock", about: "Loki without a chunk cache"},
	{name: "block path", about: "Loki with chunkring's block path, without a chunk cache", patched: true},
	{name: "embedded 100 MB", about: "Loki, its embedded chunk cache as large as it is by default", cacheMB: 100, warm: keepsAny},
	{name: "embedded all", about: "Loki, its embedded chunk cache with room for all", cacheMB: embeddedAllMB, warm: keepsHalf},
	{name: "memcached", about: "Loki, memcached with extstore on the same disk", program: memcachedProgram, warm: keepsHalf},
	{name: "nginx", about: "Loki, nginx with proxy_cache on the same disk", program: nginxProgram, warm: keepsAll},
	{name: "disk cache", about: "Loki with chunkring, its disk cache and block path", patched: true, disk: true, warm: keepsAll},
	{name: "filesystem", about: "Loki with chunkring, the same chunks in a filesystem store: no object store", patched: true, files: true, warm: keepsAll},
}

// build is the Loki of a setup.
func (s *setup) build(b *bench) lokiproc.Build {
	build := lokiproc.Build{Name: s.name, Bin: b.stock, Args: slices.Clone(corpus.ReadArgs)}
	if s.patched {
		build.Bin, build.Patched = b.ours, true
	}
	return build
}

// chooseSetups leaves out what is not wanted or not installed, and says so.
func (b *bench) chooseSetups() ([]setup, error) {
	var some []setup
	for i, s := range allSetups {
		if i > 0 && !b.setups.MatchString(s.name) {
			continue
		}
		if s.program != "" {
			if _, err := programPath(s.program); err != nil {
				why := fmt.Sprintf("%s is not installed (Debian: apt-get install %s)", s.program, s.program)
				fmt.Fprintf(os.Stderr, "objects: %q is left out: %s\n", s.name, why)
				b.Skipped = append(b.Skipped, result.ObjectsSkip{Setup: s.name, Why: why})
				continue
			}
		}
		some = append(some, s)
	}
	return some, nil
}

// programPath finds a server, which need not be on a user's PATH.
func programPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	path = "/usr/sbin/" + name
	_, err = os.Stat(path)
	return path, err
}
