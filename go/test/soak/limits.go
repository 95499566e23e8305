// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// group is a control group with limited memory, made below this process's own.
type group struct {
	dir   string
	about string
	usage string // file with the memory in use
}

// makeGroup makes a group of cgroup v2, or of v1 where memory is still there.
func makeGroup(bytes int64) (*group, error) {
	own, err := ownGroups()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("chunkring-soak-%d", os.Getpid())
	for _, v := range []struct{ version, parent, limit, usage string }{
		{"v2", own[""], "memory.max", "memory.current"},
		{"v1", own["memory"], "memory.limit_in_bytes", "memory.usage_in_bytes"},
	} {
		if v.parent == "" {
			continue
		}
		g := &group{dir: filepath.Join(v.parent, name)}
		if mkErr := os.Mkdir(g.dir, 0o755); mkErr != nil {
			err = errors.Join(err, mkErr)
			continue
		}
		limitErr := os.WriteFile(filepath.Join(g.dir, v.limit), []byte(strconv.FormatInt(bytes, 10)), 0o644)
		if limitErr == nil {
			g.about, g.usage = fmt.Sprintf("cgroup %s, %d MiB", v.version, bytes>>20), filepath.Join(g.dir, v.usage)
			return g, nil
		}
		err = errors.Join(err, limitErr)
		g.remove()
	}
	if err == nil {
		err = errors.New("no cgroup file system is mounted")
	}
	return nil, err
}

func (g *group) join(pid int) error {
	return os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

func (g *group) remove() { _ = os.Remove(g.dir) } // empty by then, or the system keeps it

// ownGroups are this process's groups by controller; v2 has "".
func ownGroups() (map[string]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	within := map[string]string{}
	for line := range strings.Lines(string(self)) { // number:controllers:path
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				within[c] = f[2]
			}
		}
	}
	own := map[string]string{}
	for line := range strings.Lines(string(mounts)) { // ... root mount-point options ... - type source options
		before, after, _ := strings.Cut(line, " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if len(b) < 5 || len(a) < 3 {
			continue
		}
		at := func(path string) string {
			if rel, err := filepath.Rel(b[3], path); err == nil && !strings.HasPrefix(rel, "..") {
				return filepath.Join(b[4], rel)
			}
			return b[4]
		}
		switch a[0] {
		case "cgroup2":
			own[""] = at(within[""])
		case "cgroup":
			for c := range strings.SplitSeq(a[2], ",") {
				if path, ok := within[c]; ok {
					own[c] = at(path)
				}
			}
		}
	}
	return own, nil
}

// limitAddressSpace stands in for a group: it bounds what is mapped, of which Go maps more than it uses.
func limitAddressSpace(bytes int64) (string, error) {
	total := uint64(bytes) + 2<<30
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: total, Max: total}); err != nil {
		return "", err
	}
	return fmt.Sprintf("GOMEMLIMIT and RLIMIT_AS %d MiB", total>>20), nil
}

func limitDescriptors(n uint64) error {
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
}
