// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/core"
)

// These tests run on both twins: `go test` and `CGO_ENABLED=0 go test`. What they expect is written
// once.

func open(t testing.TB, dir string, o core.Options) *core.Reader {
	t.Helper()
	r, err := core.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// eachBackend runs test on each back-end that there is.
func eachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	t.Helper()
	for _, backend := range []string{"uring", "threads"} {
		t.Run(backend, func(t *testing.T) {
			r := open(t, t.TempDir(), core.Options{Backend: backend})
			if r.Backend() != backend {
				errno, step := r.Fallback()
				t.Skipf("%s: %s: %v", core.Built, step, errno)
			}
			test(t, backend)
		})
	}
}

func TestCRC32C(t *testing.T) {
	t.Logf("%s: %s", core.Built, core.CRC32CKernel())
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1<<20+128)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	check := func(from, n int) {
		p := data[from : from+n]
		seed := r.Uint32()
		if want, got := crc32.Update(seed, castagnoli, p), core.CRC32C(seed, p); want != got {
			t.Fatalf("%d bytes at +%d, continuing %08x: %08x, want %08x", n, from, seed, got, want)
		}
		if want, got := crc32.Checksum(p, castagnoli), core.CRC32C(0, p); want != got {
			t.Fatalf("%d bytes at +%d: %08x, want %08x", n, from, got, want)
		}
	}
	for n := range 600 {
		for _, from := range []int{0, 1, 3, 7, 8, 15, 63} {
			check(from, n)
		}
	}
	for range 400 {
		check(r.IntN(128), 1<<r.IntN(20)+r.IntN(300))
	}
	check(1, 1<<20)
	require.EqualValues(t, 0xE3069283, core.CRC32C(0, []byte("123456789")))
	require.EqualValues(t, 0x8A9136AA, core.CRC32C(0, make([]byte, 32)), "RFC 3720 B.4")
	require.EqualValues(t, 7, core.CRC32C(7, nil))
}

func TestNewBuffer(t *testing.T) {
	type span struct{ from, to uintptr }
	var spans []span
	var keep [][]byte
	for n := range 300 {
		for _, size := range []int{n, n * 97, 1 << (n % 22)} {
			b := core.NewBuffer(size)
			require.NotNil(t, b)
			require.Len(t, b, size)
			require.Equal(t, size, cap(b))
			for i := range b {
				b[i] = byte(n)
			}
			keep = append(keep, b)
			if size > 0 {
				p := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
				spans = append(spans, span{p, p + uintptr(size)})
			}
		}
		if n%100 == 0 {
			runtime.GC()
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(int64(a.from) - int64(b.from)) })
	for i := 1; i < len(spans); i++ {
		require.LessOrEqual(t, spans[i-1].to, spans[i].from)
	}
	for i, b := range keep {
		for k := range b {
			if b[k] != byte(i/3) {
				t.Fatalf("buffer %d changed", i)
			}
		}
	}
	require.EqualValues(t, 1, testing.AllocsPerRun(50, func() { keep[0] = core.NewBuffer(1000) }))
}

// ---- the same table for both twins ----

type want struct {
	status core.Status
	errno  syscall.Errno
}

// hostileDir makes a directory of everything that a path can lead to.
func hostileDir(t testing.TB) (dir string, table map[string]want) {
	t.Helper()
	above := t.TempDir()
	dir = filepath.Join(above, "store")
	ok := func(err error) { t.Helper(); require.NoError(t, err) }
	write := func(name, content string) { ok(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)) }
	link := func(target, name string) { ok(os.Symlink(target, filepath.Join(dir, name))) }
	ok(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	ok(os.WriteFile(filepath.Join(above, "outside"), []byte("secret"), 0o644))
	write("file", "content")
	write("a/b/file", "deep")
	write("empty", "")
	write("big", strings.Repeat("0123456789", 20_000))
	write("limit", "")
	ok(os.Truncate(filepath.Join(dir, "limit"), 256<<10))
	write("limit+1", "")
	ok(os.Truncate(filepath.Join(dir, "limit+1"), 256<<10+1))
	write("sparse", "")
	ok(os.Truncate(filepath.Join(dir, "sparse"), 8<<30))
	link("file", "link")
	link("../outside", "link-out")
	link("/etc/passwd", "link-abs")
	link("nowhere", "link-dangling")
	link("link-loop", "link-loop")
	link("a", "link-dir")
	link("/proc/self/exe", "link-magic")
	ok(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	ok(unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o644, 0))
	long := strings.Repeat("x", 255)
	write(long, "long name")

	table = map[string]want{
		"file":                              {core.OK, 0},
		"a/b/file":                          {core.OK, 0},
		"empty":                             {core.OK, 0},
		"big":                               {core.OK, 0},
		"limit":                             {core.OK, 0},
		long:                                {core.OK, 0},
		"limit+1":                           {core.TooBig, 0},
		"sparse":                            {core.TooBig, 0},
		"missing":                           {core.NotFound, 0},
		"missing/file":                      {core.NotFound, 0},
		"a/missing":                         {core.NotFound, 0},
		"file/below":                        {core.IO, syscall.ENOTDIR},
		"fifo/below":                        {core.IO, syscall.ENOTDIR},
		"a":                                 {core.NotRegular, 0},
		"a/b":                               {core.NotRegular, 0},
		"fifo":                              {core.NotRegular, 0},
		"socket":                            {core.NotRegular, 0},
		"link":                              {core.Refused, syscall.ELOOP},
		"link-out":                          {core.Refused, syscall.ELOOP},
		"link-abs":                          {core.Refused, syscall.ELOOP},
		"link-dangling":                     {core.Refused, syscall.ELOOP},
		"link-loop":                         {core.Refused, syscall.ELOOP},
		"link-dir/b/file":                   {core.Refused, syscall.ELOOP},
		"link-dir":                          {core.Refused, syscall.ELOOP},
		"link-magic":                        {core.Refused, syscall.ELOOP},
		"":                                  {core.BadPath, 0},
		".":                                 {core.BadPath, 0},
		"..":                                {core.BadPath, 0},
		"../outside":                        {core.BadPath, 0},
		"a/../file":                         {core.BadPath, 0},
		"a/./b/file":                        {core.BadPath, 0},
		"./file":                            {core.BadPath, 0},
		"a//b/file":                         {core.BadPath, 0},
		"/file":                             {core.BadPath, 0},
		"/etc/passwd":                       {core.BadPath, 0},
		"file/":                             {core.BadPath, 0},
		"a/":                                {core.BadPath, 0},
		"a/..":                              {core.BadPath, 0},
		"file\x00":                          {core.BadPath, 0},
		"fi\x00le":                          {core.BadPath, 0},
		"\x00":                              {core.BadPath, 0},
		long + "x":                          {core.BadPath, 0},
		strings.Repeat("y/", 2047):          {core.BadPath, 0},  // 4094 bytes, ends in a slash
		strings.Repeat("y/", 2047) + "z":    {core.NotFound, 0}, // 4095: the longest there is
		strings.Repeat("y/", 2048):          {core.BadPath, 0},
		strings.Repeat("y/", 100_000) + "z": {core.BadPath, 0},
		"...":                               {core.NotFound, 0},
		"..a/b":                             {core.NotFound, 0},
		"a b":                               {core.NotFound, 0},
		"\xff\xfe":                          {core.NotFound, 0},
	}
	for name, dev := range map[string][2]uint32{"dev-null": {1, 3}, "dev-zero": {1, 5}, "dev-none": {4000, 1}} {
		if unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o644, int(unix.Mkdev(dev[0], dev[1]))) != nil {
			t.Logf("no devices here: not root")
			break
		}
		table[name] = want{core.NotRegular, 0}
	}
	return dir, table
}

func read(r *core.Reader, files []core.File, check core.Check, alloc func(int) []byte, cancel *uint32) error {
	_, err := r.Read(core.Batch{Files: files, Check: check, Alloc: alloc, Cancel: cancel})
	return err
}

// Done is told of each good file that is large enough, once, when it is final; on any goroutine.
func TestDone(t *testing.T) {
	dir := t.TempDir()
	files := make([]core.File, 200)
	for i := range files {
		files[i] = core.File{Path: fmt.Sprint(i)}
		content := bytes.Repeat([]byte{byte(i)}, i*500)
		files[i].CRC = crcOf(content)
		require.NoError(t, os.WriteFile(filepath.Join(dir, files[i].Path), content, 0o644))
	}
	files[150].CRC++
	files[151].Path = "missing"
	eachBackend(t, func(t *testing.T, backend string) {
		r, err := core.Open(dir, core.Options{Backend: backend})
		require.NoError(t, err)
		defer r.Close()
		var told [200]atomic.Int32
		_, err = r.Read(core.Batch{
			Files: files, Check: core.CheckCRC, Alloc: core.NewBuffer, DoneBytesMin: 50_000,
			Done: func(i int) {
				told[i].Add(1)
				f := files[i]
				if f.Status != core.OK || len(f.Buf) != i*500 || bytes.Count(f.Buf, []byte{byte(i)}) != i*500 {
					t.Errorf("file %d was not final: %v, %d bytes", i, f.Status, len(f.Buf))
				}
			},
		})
		require.NoError(t, err)
		for i := range told {
			want := core.Built == "cgo" && i >= 100 && i != 150 && i != 151
			require.Equal(t, want, told[i].Load() == 1, "file %d was told %d times", i, told[i].Load())
		}
	})
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func TestHostileDirectory(t *testing.T) {
	dir, table := hostileDir(t)
	var paths []string
	for path := range table {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	judge := func(t *testing.T, f core.File, check core.Check) {
		t.Helper()
		w := table[f.Path]
		if w.status == core.OK && check != core.CheckNone && f.CRC == 1 {
			w.status = core.BadCRC
		}
		if w.status != f.Status || w.errno != f.Errno {
			t.Errorf("%.40q: %v, errno %d (%v); want %v, errno %d", f.Path, f.Status, uint(f.Errno), f.Errno, w.status, uint(w.errno))
		}
		wantOp := core.OpNone
		if w.status == core.IO {
			wantOp = core.OpOpen
		}
		require.Equal(t, wantOp, f.Op, "%.40q", f.Path)
		if w.status != core.OK && w.status != core.BadCRC {
			require.Nil(t, f.Buf)
			return
		}
		content, err := os.ReadFile(filepath.Join(dir, f.Path))
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, f.Buf), "%.40q: other bytes", f.Path)
		if check != core.CheckNone {
			require.Equal(t, crcOf(content), f.GotCRC)
		}
	}
	eachBackend(t, func(t *testing.T, backend string) {
		fds := len(must(os.ReadDir("/proc/self/fd")))
		r, err := core.Open(dir, core.Options{Backend: backend, MaxFileBytes: 256 << 10})
		require.NoError(t, err)
		for _, check := range []core.Check{core.CheckNone, core.CheckCRC} {
			for _, times := range []int{1, 3, 40} {
				files := make([]core.File, 0, len(paths)*times)
				for range times {
					for _, p := range paths {
						// What an earlier use left in a File says nothing.
						f := core.File{Path: p, CRC: 1, Buf: []byte("old"), Status: core.IO, Errno: 5, GotCRC: 9, Reason: 9, BlocksOK: true}
						if table[p].status == core.OK && len(files)%2 == 0 && check == core.CheckCRC {
							f.CRC = crcOf(must(os.ReadFile(filepath.Join(dir, p))))
						}
						files = append(files, f)
					}
				}
				require.NoError(t, read(r, files, check, core.NewBuffer, nil))
				for i := range files {
					judge(t, files[i], check)
				}
			}
			for _, p := range paths { // a batch of one takes another way
				files := []core.File{{Path: p, CRC: 1}}
				require.NoError(t, read(r, files, check, core.NewBuffer, nil))
				judge(t, files[0], check)
			}
		}
		r.Close()
		require.Len(t, must(os.ReadDir("/proc/self/fd")), fds)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func fill(t testing.TB, n, size int) (dir string, files []core.File) {
	t.Helper()
	dir = t.TempDir()
	r := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		b := make([]byte, size+i%7)
		for k := 0; k < len(b); k += 1 + k/64 {
			b[k] = byte(r.Uint32())
		}
		name := fmt.Sprintf("f%d", i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		files = append(files, core.File{Path: name, CRC: crcOf(b)})
	}
	return dir, files
}

func TestReadSizes(t *testing.T) {
	dir := t.TempDir()
	var files []core.File
	for _, size := range []int{0, 1, 2, 3, 4, 15, 16, 17, 4095, 4096, 4097, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 5} {
		b := bytes.Repeat([]byte{byte(size), 2, 3}, size/3+1)[:size]
		name := fmt.Sprint(size)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		files = append(files, core.File{Path: name, CRC: crcOf(b)})
	}
	eachBackend(t, func(t *testing.T, backend string) {
		r := open(t, dir, core.Options{Backend: backend})
		for _, check := range []core.Check{core.CheckNone, core.CheckCRC} {
			for n := 1; n <= len(files); n += 5 {
				batch := slices.Clone(files[len(files)-n:])
				require.NoError(t, read(r, batch, check, core.NewBuffer, nil))
				for _, f := range batch {
					require.Equal(t, core.OK, f.Status, "%s", f.Path)
					require.Equal(t, f.Path, fmt.Sprint(len(f.Buf)))
					require.Equal(t, f.CRC, crcOf(f.Buf))
				}
			}
		}
	})
}

func TestReadMisuse(t *testing.T) {
	dir, files := fill(t, 40, 100)
	eachBackend(t, func(t *testing.T, backend string) {
		r := open(t, dir, core.Options{Backend: backend})
		require.NoError(t, read(r, nil, core.CheckNone, core.NewBuffer, nil))
		require.ErrorIs(t, read(r, make([]core.File, core.BatchMax+1), core.CheckNone, core.NewBuffer, nil), syscall.EINVAL)
		for _, n := range []int{1, 40} { // no buffer for one in three
			batch := slices.Clone(files[:n])
			var calls atomic.Int32
			refuse := func(size int) []byte {
				if calls.Add(1)%3 == 1 {
					return nil
				}
				return core.NewBuffer(size)
			}
			require.NoError(t, read(r, batch, core.CheckCRC, refuse, nil))
			failed := 0
			for _, f := range batch {
				if f.Status == core.NoBuffer {
					failed++
					require.Nil(t, f.Buf)
					continue
				}
				require.Equal(t, core.OK, f.Status)
			}
			require.Equal(t, (n+2)/3, failed)
		}
	})
	_, err := core.Open(dir, core.Options{Backend: "other"})
	require.ErrorContains(t, err, "other")
	for _, o := range []core.Options{{MaxFileBytes: 1<<30 + 1}, {Workers: 145}, {RingEntries: 3}, {RingEntries: 8192}} {
		_, err := core.Open(dir, o)
		require.ErrorIs(t, err, syscall.EINVAL, "%+v", o)
	}
	for path, errno := range map[string]syscall.Errno{filepath.Join(dir, "missing"): syscall.ENOENT, filepath.Join(dir, "f0"): syscall.ENOTDIR} {
		_, err := core.Open(path, core.Options{})
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, path)
	}
}

// Cancelled at any moment, Read returns with each file read whole or cancelled, and nothing writes
// to a buffer afterwards.
func TestCancel(t *testing.T) {
	dir, files := fill(t, 300, 100_000)
	pattern := bytes.Repeat([]byte{0x5A}, 110_000)
	eachBackend(t, func(t *testing.T, backend string) {
		r := open(t, dir, core.Options{Backend: backend})
		cut := 0
		for round := range 8 {
			for _, f := range files {
				fd := must(os.Open(filepath.Join(dir, f.Path)))
				_ = unix.Fadvise(int(fd.Fd()), 0, 0, unix.FADV_DONTNEED)
				fd.Close()
			}
			batch := slices.Clone(files)
			var mu sync.Mutex
			var buffers [][]byte
			alloc := func(n int) []byte {
				b := core.NewBuffer(n)
				mu.Lock()
				defer mu.Unlock()
				buffers = append(buffers, b)
				return b
			}
			cancel := new(uint32)
			time.AfterFunc(time.Duration(round)*time.Millisecond, func() { atomic.StoreUint32(cancel, 1) })
			require.NoError(t, read(r, batch, core.CheckCRC, alloc, cancel))
			for _, b := range buffers {
				copy(b, pattern)
			}
			canceled := 0
			for _, f := range batch {
				if f.Status == core.Canceled {
					canceled++
					require.Nil(t, f.Buf)
					continue
				}
				require.Equal(t, core.OK, f.Status)
				require.Equal(t, f.CRC, f.GotCRC)
			}
			if canceled > 0 {
				cut++
			}
			time.Sleep(3 * time.Millisecond)
			for _, b := range buffers {
				if !bytes.Equal(b, pattern[:len(b)]) {
					t.Fatal("somebody wrote into a buffer after Read had returned")
				}
			}
		}
		require.Positive(t, cut)
		all := uint32(1)
		batch := slices.Clone(files)
		require.NoError(t, read(r, batch, core.CheckNone, func(int) []byte { t.Error("alloc after cancel"); return nil }, &all))
		for _, f := range batch {
			require.Equal(t, core.Canceled, f.Status)
		}
	})
}

// A file that is replaced, cut or removed while it is read gives its old bytes, its new ones, or a
// status; never anything else.
func TestFilesChangeUnderneath(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		dir, files := fill(t, 50, 300_000)
		r := open(t, dir, core.Options{Backend: backend})
		stop := make(chan struct{})
		var changer sync.WaitGroup
		changer.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := filepath.Join(dir, files[i%len(files)].Path)
				switch {
				case i%12 == 1:
					_ = os.Remove(name)
				case i%4 == 0:
					_ = os.Truncate(name, int64(i%300_000))
				default:
					_ = os.WriteFile(name, make([]byte, 300_000), 0o644)
				}
			}
		})
		seen := map[core.Status]int{}
		for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
			batch := slices.Clone(files)
			require.NoError(t, read(r, batch, core.CheckCRC, core.NewBuffer, nil))
			for _, f := range batch {
				seen[f.Status]++
				switch f.Status {
				case core.OK, core.BadCRC:
					require.Equal(t, crcOf(f.Buf), f.GotCRC)
				case core.NotFound, core.Short:
				default:
					t.Errorf("%v %v", f.Status, f.Errno)
				}
			}
		}
		close(stop)
		changer.Wait()
		t.Log(seen)
	})
}

func TestManyReaders(t *testing.T) {
	dir, files := fill(t, 500, 5000)
	eachBackend(t, func(t *testing.T, backend string) {
		r := open(t, dir, core.Options{Backend: backend, MaxOpenFiles: 50})
		var wg sync.WaitGroup
		for caller := range 16 {
			wg.Go(func() {
				for round := range 4 {
					from := (caller*31 + round*77) % 400
					batch := slices.Clone(files[from : from+1+caller*6])
					if err := read(r, batch, core.CheckCRC, core.NewBuffer, nil); err != nil {
						t.Error(err)
					}
					for _, f := range batch {
						if f.Status != core.OK || crcOf(f.Buf) != f.CRC {
							t.Errorf("%s: %v", f.Path, f.Status)
							return
						}
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestStatusNames(t *testing.T) {
	seen := map[string]bool{}
	for s := core.Pending; s <= core.IO; s++ {
		require.NotContains(t, s.String(), "status")
		require.False(t, seen[s.String()])
		seen[s.String()] = true
	}
	require.Equal(t, "status 15", (core.IO + 1).String())
}
