// SPDX-License-Identifier: Apache-2.0

// Package memgroup runs a program in a control group of its own with a limit of memory, as a container would.
// It knows cgroup v2 and v1, and needs the right to make groups: root, or a group that was delegated.
package memgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// version is where a kernel's version of control groups keeps what is needed here.
type version struct {
	limit, peak, events string // files of a group
	swap                string // what may be swapped out, or with v1 memory and swap together; none without swap accounting
	swapIsSum           bool
}

var (
	v2 = version{limit: "memory.max", peak: "memory.peak", events: "memory.events", swap: "memory.swap.max"}
	v1 = version{limit: "memory.limit_in_bytes", peak: "memory.max_usage_in_bytes", events: "memory.oom_control",
		swap: "memory.memsw.limit_in_bytes", swapIsSum: true}
)

// ErrUnavailable is wrapped by New's error where no group can be made.
var ErrUnavailable = errors.New("no control group with a limit of memory can be made here")

// peakSlack: the kernel charges some allocations that can't wait beyond the limit; seen is one page.
const peakSlack = 64

// Group is a control group.
type Group struct {
	version
	dir string
}

// New makes a group whose processes get at most so many bytes, page cache included and without swap. It lies
// below the group of this process, whose own limits stay in force; with cgroup v2, which has no processes beside
// groups, below the nearest group above that hands out the control of memory.
func New(name string, bytes int64) (*Group, error) {
	parent, v, err := find("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	g := &Group{version: v, dir: filepath.Join(parent, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := g.setLimit(bytes); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), g.Remove())
	}
	return g, nil
}

func (g *Group) setLimit(bytes int64) error {
	text := strconv.FormatInt(bytes, 10)
	if err := g.write(g.limit, text); err != nil {
		return err
	}
	if !g.swapIsSum {
		text = "0"
	}
	if err := g.write(g.swap, text); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	got, err := g.Limit()
	if err == nil && got != bytes {
		err = fmt.Errorf("the limit of %s is %d, not %d", g.dir, got, bytes)
	}
	return err
}

// Wrap is a program, with arguments that another program and its arguments follow: it enters the group and then
// becomes the other program, so that the group has all that this one ever allocates.
func (g *Group) Wrap() []string {
	return []string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}
}

// Check fails unless the process is in the group, and the group has this limit and has counted memory.
func (g *Group) Check(pid int, bytes int64) error {
	procs, err := g.read("cgroup.procs")
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(procs), strconv.Itoa(pid)) {
		return fmt.Errorf("process %d is not in %s", pid, g.dir)
	}
	limit, err := g.Limit()
	if err != nil {
		return err
	}
	peak, err := g.Peak()
	if err != nil {
		return err
	}
	if limit != bytes || peak <= 0 || peak > limit+limit/peakSlack {
		return fmt.Errorf("%s has a limit of %d bytes and a peak of %d; the limit was to be %d", g.dir, limit, peak, bytes)
	}
	return nil
}

// Limit is what the kernel says.
func (g *Group) Limit() (int64, error) { return g.number(g.limit) }

// Peak is the most memory that the group had, page cache included.
func (g *Group) Peak() (int64, error) { return g.number(g.peak) }

// Kills are the processes of the group that the kernel killed, because there was no memory left.
func (g *Group) Kills() (int, error) {
	text, err := g.read(g.events)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, fmt.Errorf("%s of %s says nothing of oom_kill", g.events, g.dir)
}

// Remove removes the group, whose processes have ended.
func (g *Group) Remove() error {
	const tries, pause = 100, 20 * time.Millisecond
	var err error
	for range tries { // a process that has ended leaves its group a little later
		if err = os.Remove(g.dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(pause)
	}
	return err
}

func (g *Group) write(file, text string) error {
	return os.WriteFile(filepath.Join(g.dir, file), []byte(text), 0)
}

func (g *Group) read(file string) (string, error) {
	data, err := os.ReadFile(filepath.Join(g.dir, file))
	return string(data), err
}

func (g *Group) number(file string) (int64, error) {
	text, err := g.read(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
}

// find returns the folder below which a group with a limit of memory can be made.
func find(groupsFile, mountsFile string) (string, version, error) {
	groups, err := os.ReadFile(groupsFile)
	if err != nil {
		return "", version{}, err
	}
	mounts, err := os.ReadFile(mountsFile)
	if err != nil {
		return "", version{}, err
	}
	unified := ""
	for line := range strings.Lines(string(groups)) { // number:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if slices.Contains(strings.Split(parts[1], ","), "memory") {
			dir, err := folder(string(mounts), "cgroup", "memory", parts[2])
			return dir, v1, err
		}
		if parts[1] == "" {
			unified = parts[2]
		}
	}
	if unified == "" {
		return "", version{}, fmt.Errorf("%s names no control group for memory", groupsFile)
	}
	dir, err := folder(string(mounts), "cgroup2", "", unified)
	if err != nil {
		return "", version{}, err
	}
	dir, err = delegating(dir)
	return dir, v2, err
}

// folder is where a group of this process lies: at the mount of such a file system whose options have want.
func folder(mounts, fstype, want, group string) (string, error) {
	for line := range strings.Lines(mounts) { // id parent dev root mountpoint options [optional] - type source superoptions
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		at, what := strings.Fields(before), strings.Fields(after)
		if len(at) < 5 || len(what) < 3 || what[0] != fstype {
			continue
		}
		if want != "" && !slices.Contains(strings.Split(what[2], ","), want) {
			continue
		}
		below, err := filepath.Rel(at[3], group)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			continue // the mount shows other groups
		}
		return filepath.Join(at[4], below), nil
	}
	return "", fmt.Errorf("no %s file system with group %s is mounted", fstype, group)
}

// delegating is the nearest folder from dir upwards whose groups may limit memory.
func delegating(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		data, err := os.ReadFile(filepath.Join(at, "cgroup.subtree_control"))
		if err != nil {
			return "", fmt.Errorf("no group from %s upwards hands out the control of memory: %w", dir, err)
		}
		if slices.Contains(strings.Fields(string(data)), "memory") {
			return at, nil
		}
	}
}
