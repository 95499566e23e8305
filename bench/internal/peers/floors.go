// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
)

// floor moves the bytes of a batch and does nothing else, on one goroutine a CPU. No reader that hands
// out the files' bytes in memory can be faster than:
//
//	floor-pread-hot       open, one pread, close of every file into a buffer that stays in the CPU's cache
//	floor-pread-rotating  the same into memory that was not touched for as long as a real reader's: one
//	                      that keeps chunks never writes twice to the same place soon
//	floor-memcpy          a copy of as many bytes within memory, between places like the latter's
//
// Its first Get of a store prepares and is no measure.
type floor struct {
	quiet
	name  string
	store Store

	mu      sync.Mutex
	files   map[string]floorFile // by path's key
	largest int
	hot     [][]byte // free buffers, faulted in
	area    []byte   // rotating destinations, faulted in
	source  []byte   // of floor-memcpy
	next    int      // where in area the next batch begins
}

type floorFile struct {
	path string
	size int
}

// A reader's garbage-collected heap is about twice the sum of Loki's embedded chunk cache (100 MB by
// default) and a batch.
const (
	floorCacheBytes = 100 << 20
	floorAreaMax    = 2 << 30
)

func newFloor(name string, s Store) (Peer, error) {
	return &floor{name: name, store: s, files: map[string]floorFile{}}, nil
}

func (f *floor) Info() Info { return Info{Name: f.name, Floor: true} }

func (f *floor) Get(_ context.Context, refs []chunk.Chunk, _ Look) ([]chunk.Chunk, func(), error) {
	files, from, err := f.prepare(refs)
	if err != nil {
		return nil, noRelease, err
	}
	into := func(_ []byte, i int) []byte { return f.area[from[i] : from[i]+files[i].size] }
	move := func(buf []byte, i int) error { return readOnce(files[i].path, buf) }
	start := func() []byte { return nil }
	switch f.name {
	case FloorHot:
		var mine [][]byte
		start = func() []byte {
			b := f.takeHot()
			f.mu.Lock()
			mine = append(mine, b)
			f.mu.Unlock()
			return b
		}
		into = func(hot []byte, i int) []byte { return hot[:files[i].size] }
		defer func() { f.putHot(mine) }()
	case FloorCopy:
		move = func(buf []byte, i int) error {
			copy(buf, f.source[from[i]-from[0]:])
			return nil
		}
	}
	err = each(len(files), workersNow(), start, func(hot []byte, i int) error { return move(into(hot, i), i) })
	return nil, noRelease, err
}

// prepare finds the files and their sizes, once, and says where in the area each of this batch goes.
func (f *floor) prepare(refs []chunk.Chunk) ([]floorFile, []int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files, from, total := make([]floorFile, len(refs)), make([]int, len(refs)), 0
	for i := range refs {
		file, err := f.file(&refs[i])
		if err != nil {
			return nil, nil, err
		}
		files[i], from[i] = file, total
		total += file.size
	}
	if err := f.makeRoom(total); err != nil {
		return nil, nil, err
	}
	if f.next+total > len(f.area) {
		f.next = 0
	}
	for i := range from {
		from[i] += f.next
	}
	f.next += total
	return files, from, nil
}

func (f *floor) file(c *chunk.Chunk) (floorFile, error) {
	key := string(chunkKey(c))
	if file, ok := f.files[key]; ok {
		return file, nil
	}
	path := f.store.path(c)
	fd, size, err := openSized(path)
	if err != nil {
		return floorFile{}, err
	}
	_ = unix.Close(fd) // only read
	f.files[key], f.largest = floorFile{path, size}, max(f.largest, size)
	return f.files[key], nil
}

func (f *floor) makeRoom(total int) error {
	want := max(total, min(2*(floorCacheBytes+total), floorAreaMax))
	if f.name == FloorHot || len(f.area) >= total && len(f.area) >= want/2 {
		return nil
	}
	var err error
	if f.area, err = faultedIn(want); err == nil && f.name == FloorCopy {
		f.source, err = faultedIn(total)
	}
	return err
}

// faultedIn is memory outside of Go's heap; it lives as long as the process. It is touched where it is used:
// on a host that shadows the guest's page tables the kernel's own zeroing (MAP_POPULATE) does not count.
func faultedIn(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap of %d bytes: %w", n, err)
	}
	for i := 0; i < n; i += unix.Getpagesize() {
		b[i] = 1
	}
	return b, nil
}

func (f *floor) takeHot() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.hot); n > 0 && len(f.hot[n-1]) >= f.largest {
		b := f.hot[n-1]
		f.hot = f.hot[:n-1]
		return b
	}
	b := make([]byte, f.largest)
	for i := range b {
		b[i] = 1 // not only reserved
	}
	return b
}

func (f *floor) putHot(buffers [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hot = append(f.hot, buffers...)
}

// readOnce is the fewest system calls that bring a file of known size to memory.
func readOnce(path string, buf []byte) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	err = readFull(fd, buf)
	_ = unix.Close(fd) // only read
	return err
}
