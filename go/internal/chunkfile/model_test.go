// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A model of a disk that forgets. A recorder stands between a Dir and the system and notes every call
// that changes something, in the order in which they returned. From that follows what a power loss after
// each of them may leave behind, when a file system promises no more than POSIX does:
//
//   - what was written to a file and not synced by an fsync of that file may be there, in part, as zeros
//     of the right length, or not;
//   - a name that was made, removed or replaced may be as before or as after until its folder was
//     synced, whatever became of the folder's other names, and a rename's two halves need not keep
//     together;
//   - after an fsync that failed, nothing that was unsynced then is sure any more, however many succeed
//     later (the kernel may have dropped the pages and called them clean).
//
// Every combination is looked at, or a random sample where there are too many. No real file system
// forgets as much; TestPowerLoss asks one that is at hand.

type kind int

const (
	makeDir kind = iota
	makeFile
	writeFile
	syncAny
	syncFailed
	renameName
	removeName
	wantOneOf // no call: from here on a name may hold these generations (0: nothing)
)

// event is one call. Nodes are numbers that the recorder gives out; inode numbers come again.
type event struct {
	kind       kind
	node       int    // the file written or synced, or the folder whose name is made or removed
	name, next string // next: the name a rename gives
	child      int    // of makeDir and makeFile
	data       []byte
	oneOf      []uint64
}

type inode struct{ dev, ino uint64 }

// recorder is the system with a record.
type recorder struct {
	root string

	mu     sync.Mutex
	nodes  map[inode]int
	isDir  map[int]bool
	events []event
}

const rootNode = 1

// record puts a recorder under d, whose store directory is empty.
func record(d *Dir) *recorder {
	r := &recorder{root: d.Path(), nodes: map[inode]int{}, isDir: map[int]bool{rootNode: true}}
	r.nodes[inodeOf(unix.AT_FDCWD, r.root)] = rootNode
	d.sys = r.system(d.sys)
	return r
}

func inodeOf(dirfd int, path string) inode {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, path, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	if err != nil {
		panic(fmt.Sprintf("stat %s: %v", path, err))
	}
	return inode{uint64(st.Dev), st.Ino}
}

// node of an open descriptor.
func (r *recorder) node(fd int) int {
	n, ok := r.nodes[inodeOf(fd, "")]
	if !ok {
		panic("a file or folder that was made past the recorder")
	}
	return n
}

func (r *recorder) made(dirfd int, path string, k kind) {
	child := len(r.isDir) + rootNode
	r.isDir[child] = k == makeDir
	r.nodes[inodeOf(dirfd, path)] = child
	r.events = append(r.events, event{kind: k, node: r.node(dirfd), name: path, child: child})
}

// system makes calls one after the other: so the record's order is theirs.
func (r *recorder) system(sys system) system {
	locked := func(call func() error, note func()) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		err := call()
		if err == nil {
			note()
		}
		return err
	}
	return system{
		mkdirat: func(dirfd int, path string, mode uint32) error {
			return locked(func() error { return sys.mkdirat(dirfd, path, mode) }, func() { r.made(dirfd, path, makeDir) })
		},
		openat: func(dirfd int, path string, flags int, mode uint32) (fd int, err error) {
			err = locked(func() error { fd, err = sys.openat(dirfd, path, flags, mode); return err },
				func() { r.made(dirfd, path, makeFile) })
			return fd, err
		},
		write: func(fd int, p []byte) (n int, err error) {
			err = locked(func() error { n, err = sys.write(fd, p); return err },
				func() {
					r.events = append(r.events, event{kind: writeFile, node: r.node(fd), data: bytes.Clone(p[:max(n, 0)])})
				})
			return n, err
		},
		fsync: func(fd int) error {
			err := locked(func() error { return sys.fsync(fd) }, func() { r.events = append(r.events, event{kind: syncAny, node: r.node(fd)}) })
			if err != nil && err != unix.EINTR {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.events = append(r.events, event{kind: syncFailed, node: r.node(fd)})
			}
			return err
		},
		renameat: func(olddirfd int, oldpath string, newdirfd int, newpath string) error {
			return locked(func() error { return sys.renameat(olddirfd, oldpath, newdirfd, newpath) }, func() {
				if r.node(olddirfd) != r.node(newdirfd) {
					panic("renamed into another folder")
				}
				r.events = append(r.events, event{kind: renameName, node: r.node(olddirfd), name: oldpath, next: newpath})
			})
		},
		unlinkat: func(dirfd int, path string, flags int) error {
			return locked(func() error { return sys.unlinkat(dirfd, path, flags) },
				func() { r.events = append(r.events, event{kind: removeName, node: r.node(dirfd), name: path}) })
		},
	}
}

// want notes that rel may hold these generations from now on, after a power loss too.
func (r *recorder) want(rel string, generations ...uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{kind: wantOneOf, name: rel, oneOf: slices.Clone(generations)})
}

// ---- what is on the disk ----

type change struct {
	name     string
	node     int  // 0: removed
	doubtful bool // an fsync failed after it: no later one makes it sure
}

// node is a file or folder as the disk has it: what is synced, and what is pending.
type node struct {
	dir      bool
	names    map[string]int // synced
	changes  []change
	synced   []byte
	written  []byte // all of it
	doubtful bool   // an fsync of the file failed
}

type disk map[int]*node

func newDisk() disk { return disk{rootNode: {dir: true, names: map[string]int{}}} }

func (d disk) apply(e event) {
	n := d[e.node]
	switch e.kind {
	case makeDir, makeFile:
		d[e.child] = &node{dir: e.kind == makeDir, names: map[string]int{}}
		n.changes = append(n.changes, change{name: e.name, node: e.child})
	case writeFile:
		n.written = append(n.written, e.data...)
	case renameName:
		n.changes = append(n.changes, change{name: e.next, node: n.now()[e.name]}, change{name: e.name})
	case removeName:
		n.changes = append(n.changes, change{name: e.name})
	case syncFailed:
		n.doubtful = true
		for i := range n.changes {
			n.changes[i].doubtful = true
		}
	case syncAny:
		n.sync()
	}
}

// sync makes sure what no failed fsync has made doubtful before. Of a file with any such part nothing
// becomes sure: it is to be thrown away. A folder's name is sure again by a later change of that name.
func (n *node) sync() {
	if !n.dir {
		if !n.doubtful {
			n.synced = n.written
		}
		return
	}
	var left []change
	for i, c := range n.changes {
		switch {
		case !c.doubtful:
			set(n.names, c)
		case !slices.ContainsFunc(n.changes[i+1:], func(later change) bool { return later.name == c.name && !later.doubtful }):
			left = append(left, c)
		}
	}
	n.changes = left
}

// now is the folder as the running system sees it.
func (n *node) now() map[string]int {
	names := maps.Clone(n.names)
	for _, c := range n.changes {
		set(names, c)
	}
	return names
}

func set(names map[string]int, c change) {
	if c.node == 0 {
		delete(names, c.name)
	} else {
		names[c.name] = c.node
	}
}

// outcomes is how many ways there are for a node to come out of a power loss; crashed is the i-th.
func (n *node) outcomes() int {
	switch {
	case n.dir:
		return 1 << min(len(n.changes), 16)
	case bytes.Equal(n.synced, n.written):
		return 1
	}
	return 4
}

func (n *node) crashed(i int) (names map[string]int, data []byte) {
	if n.dir {
		names = maps.Clone(n.names)
		for bit, c := range n.changes {
			if i>>bit&1 == 1 {
				set(names, c)
			}
		}
		return names, nil
	}
	switch i {
	case 0:
		return nil, n.written
	case 1:
		return nil, n.synced
	case 2:
		return nil, n.written[:len(n.synced)+(len(n.written)-len(n.synced))/2]
	}
	return nil, append(slices.Clone(n.synced), make([]byte, len(n.written)-len(n.synced))...)
}

const crashesMax = 512 // of one moment; more are sampled

// crashes calls look with each way that a power loss now may end, or some of them.
func (d disk) crashes(r *rand.Rand, look func(get func(rel string) (data []byte, exists bool)) error) error {
	var open []int // nodes with something pending
	total := 1
	for _, id := range slices.Sorted(maps.Keys(d)) {
		if n := d[id].outcomes(); n > 1 {
			open = append(open, id)
			total = min(total*n, 1<<30)
		}
	}
	for i := range min(total, crashesMax) {
		choice, which := map[int]int{}, i
		for _, id := range open {
			n := d[id].outcomes()
			if choice[id] = which % n; total > crashesMax {
				choice[id] = r.IntN(n)
			}
			which /= n
		}
		get := func(rel string) ([]byte, bool) {
			at := rootNode
			for c := range strings.SplitSeq(rel, "/") {
				names, _ := d[at].crashed(choice[at])
				if at = names[c]; at == 0 {
					return nil, false
				}
			}
			_, data := d[at].crashed(choice[at])
			return data, true
		}
		if err := look(get); err != nil {
			return err
		}
	}
	return nil
}

// check says how a power loss at some moment of the record breaks a promise; nil if none does.
func (r *recorder) check() error {
	random := rand.New(rand.NewPCG(1, 2))
	d, want := newDisk(), map[string][]uint64{}
	for i, e := range r.events {
		if e.kind == wantOneOf {
			want[e.name] = e.oneOf
		} else {
			d.apply(e)
		}
		err := d.crashes(random, func(get func(string) ([]byte, bool)) error {
			for rel, oneOf := range want {
				generation := uint64(0)
				if data, exists := get(rel); exists {
					var err error
					if generation, err = parse(data); err != nil {
						return fmt.Errorf("%s is %w", rel, err)
					}
				}
				if !slices.Contains(oneOf, generation) {
					return fmt.Errorf("%s holds generation %d, not one of %v", rel, generation, oneOf)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("power lost after event %d of %d: %w\n%s", i+1, len(r.events), err, r.list(i+1))
		}
	}
	return r.complete(d)
}

// complete compares the model with the real directory: a call that went past the recorder shows.
func (r *recorder) complete(d disk) error {
	modelled, real := map[string]string{}, map[string]string{}
	var walk func(id int, at string)
	walk = func(id int, at string) {
		for name, child := range d[id].now() {
			p := filepath.Join(at, name)
			if modelled[p] = "folder"; !d[child].dir {
				modelled[p] = string(d[child].written)
			}
			walk(child, p)
		}
	}
	walk(rootNode, "")
	err := filepath.WalkDir(r.root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == r.root {
			return err
		}
		rel, _ := filepath.Rel(r.root, p)
		if real[rel] = "folder"; !e.IsDir() {
			b, err := os.ReadFile(p)
			real[rel] = string(b)
			return err
		}
		return nil
	})
	if err == nil && !maps.Equal(modelled, real) {
		err = fmt.Errorf("the record is not complete: %d names by the record, %d in the directory", len(modelled), len(real))
	}
	return err
}

func (r *recorder) list(n int) string {
	var b strings.Builder
	for i, e := range r.events[:n] {
		verb := [...]string{"mkdir", "create", "write", "fsync", "fsync failed", "rename", "remove", "WANT"}[e.kind]
		fmt.Fprintf(&b, "  %3d %s node %d %s", i+1, verb, e.node, e.name)
		if e.next != "" {
			fmt.Fprintf(&b, " -> %s", e.next)
		}
		if e.child != 0 {
			fmt.Fprintf(&b, " (node %d)", e.child)
		}
		if e.data != nil {
			fmt.Fprintf(&b, " %d bytes", len(e.data))
		}
		if e.oneOf != nil {
			fmt.Fprintf(&b, " one of %v", e.oneOf)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
