// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client"
)

// path is where Loki's client would look for a chunk.
func (s Store) path(c *chunk.Chunk) string {
	return filepath.Join(s.Dir, filepath.FromSlash(client.FSEncoder(s.Schema, *c)))
}

// openSized opens a file and says how large it is, by two plain system calls.
func openSized(path string) (fd, size int, err error) {
	if fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return -1, 0, fmt.Errorf("open %s: %w", path, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, 0, fmt.Errorf("fstat %s: %w", path, err)
	}
	return fd, int(st.Size), nil
}

// readFull fills buf from the file's beginning.
func readFull(fd int, buf []byte) error {
	for got := 0; got < len(buf); {
		n, err := unix.Pread(fd, buf[got:], int64(got))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("pread: %w", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			got += n
		}
	}
	return nil
}

// notZeroed returns n bytes that nobody zeroed, as go/internal/core does: strings.Builder is the one
// public way to ask Go for them. n > 0.
func notZeroed(n int) []byte {
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}

// workersNow is how many workers chunkring's strategy takes: one a CPU.
func workersNow() int { return runtime.GOMAXPROCS(0) }

// each calls do(i) for every i below n on the given number of goroutines, each with its own state from
// start, and returns the first error, after all have ended.
func each[S any](n, workers int, start func() S, do func(state S, i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	work := func() {
		state := start()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := do(state, i); err != nil {
				once.Do(func() { first = err })
			}
		}
	}
	for range min(workers, n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return first
}

var decodeContexts = sync.Pool{New: func() any { return chunk.NewDecodeContext() }}
