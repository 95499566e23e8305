// SPDX-License-Identifier: Apache-2.0

package slowfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cacheLong is longer than any test.
const cacheLong = time.Hour

// contents is what the file at path holds: more than the kernel reads ahead at once, different everywhere.
func contents(path string) []byte {
	return bytes.Repeat([]byte(path+"\n"), 300_000/len(path))
}

// mount mounts a folder with the files at paths.
func mount(t *testing.T, opts Options, paths ...string) (*FS, string) {
	t.Helper()
	if err := Unavailable(); err != nil {
		t.Skip(err)
	}
	dir, at := t.TempDir(), t.TempDir()
	for _, p := range paths {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, p), contents(p), 0o644))
	}
	f, err := Mount(dir, at, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close(), "nothing of the mount may still be open") })
	return f, at
}

func requireFile(t *testing.T, at, path string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(at, path))
	require.NoError(t, err)
	require.True(t, bytes.Equal(contents(path), b), path)
}

func TestFilesAreReadAndCounted(t *testing.T) {
	f, at := mount(t, Options{CacheTime: cacheLong}, "a/b/one", "a/b/two")
	requireFile(t, at, "a/b/one")
	c := f.Counts()
	require.Equal(t, 1, c.Files["a"].Lookups)
	require.Equal(t, 1, c.Files["a/b"].Lookups)
	one := c.Files["a/b/one"]
	require.Equal(t, 1, one.Lookups)
	require.Equal(t, 1, one.Opens)
	require.Greater(t, one.Reads, 1, "more than is read ahead at once")
	require.Len(t, contents("a/b/one"), int(one.Bytes), "no byte came from elsewhere, none twice")
	require.NotContains(t, c.Files, "a/b/two")
	require.Positive(t, c.Most)

	entries, err := os.ReadDir(filepath.Join(at, "a/b"))
	require.NoError(t, err)
	require.Len(t, entries, 2)
	_, err = os.ReadFile(filepath.Join(at, "a/none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, os.WriteFile(filepath.Join(at, "a/new"), nil, 0o644), syscall.EROFS)
}

func TestNamesAreKnownUntilForgotten(t *testing.T) {
	f, at := mount(t, Options{CacheTime: cacheLong}, "a/b/one", "two")
	lookups := func() int {
		f.Reset()
		requireFile(t, at, "a/b/one")
		requireFile(t, at, "two")
		c := f.Counts()
		require.Len(t, contents("a/b/one"), int(c.Files["a/b/one"].Bytes), "what files hold is read each time")
		return c.Files["a"].Lookups + c.Files["a/b"].Lookups + c.Files["a/b/one"].Lookups + c.Files["two"].Lookups
	}
	require.Equal(t, 4, lookups())
	require.Zero(t, lookups())
	for range 3 {
		require.NoError(t, f.Forget())
		require.Equal(t, 4, lookups())
	}
	require.NoError(t, f.Forget())
	require.NoError(t, f.Forget(), "what is forgotten already")
}

func TestBytesAreKeptUntilForgotten(t *testing.T) {
	f, at := mount(t, Options{CacheTime: cacheLong, KeepCache: true}, "a/one")
	fetched := func() int64 {
		f.Reset()
		requireFile(t, at, "a/one")
		return f.Counts().Files["a/one"].Bytes
	}
	whole := int64(len(contents("a/one")))
	require.Equal(t, whole, fetched())
	require.Zero(t, fetched())
	require.NoError(t, f.Forget())
	require.Equal(t, whole, fetched())

	open, err := os.Open(filepath.Join(at, "a/one"))
	require.NoError(t, err)
	defer open.Close()
	require.NoError(t, f.Forget())
	f.Reset()
	data, err := io.ReadAll(open)
	require.NoError(t, err)
	require.True(t, bytes.Equal(contents("a/one"), data))
	require.Equal(t, whole, f.Counts().Files["a/one"].Bytes, "of a file that stayed open, too")
}

func TestWithoutCacheTimeTheKernelAsksEachTime(t *testing.T) {
	f, at := mount(t, Options{}, "a/one")
	requireFile(t, at, "a/one")
	f.Reset()
	requireFile(t, at, "a/one")
	c := f.Counts()
	require.Positive(t, c.Files["a"].Lookups)
	require.Positive(t, c.Files["a/one"].Lookups)
}

func TestEachRequestTakesItsLatency(t *testing.T) {
	latency := map[Op]time.Duration{Lookup: 1, Getattr: 2, Open: 3, Read: 4}
	f, at := mount(t, Options{Latency: latency}, "a/one")
	var mu sync.Mutex
	slept := map[time.Duration]int{}
	f.sleep = func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		slept[d]++
	}
	f.Reset()
	requireFile(t, at, "a/one")
	_, err := os.Stat(filepath.Join(at, "a/one"))
	require.NoError(t, err)
	want := map[time.Duration]int{}
	for _, c := range f.Counts().Files {
		want[latency[Lookup]] += c.Lookups
		want[latency[Getattr]] += c.Getattrs
		want[latency[Open]] += c.Opens
		want[latency[Read]] += c.Reads
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, want, slept)
	for op, d := range latency {
		require.Positive(t, slept[d], "some %s came", op)
	}
}

// Each READ is held up until all files' are under way: one that waited for another would wait for ever.
func TestRequestsHoldUpNoOthers(t *testing.T) {
	const files = 200
	arrived, all, hung := make(chan struct{}, files), make(chan struct{}), make(chan struct{})
	var once sync.Once
	opts := Options{DirectIO: true, Fail: func(op Op, _ string) syscall.Errno {
		if op != Read {
			return 0
		}
		arrived <- struct{}{}
		select {
		case <-all:
			return 0
		case <-time.After(30 * time.Second):
			once.Do(func() { close(hung) })
		case <-hung:
		}
		return syscall.ETIMEDOUT
	}}
	var paths []string
	for i := range files {
		paths = append(paths, fmt.Sprintf("%03d", i))
	}
	f, at := mount(t, opts, paths...)
	var wg sync.WaitGroup
	for _, p := range paths {
		wg.Go(func() {
			file, err := os.Open(filepath.Join(at, p))
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			if _, err := file.Read(make([]byte, 100)); err != nil {
				t.Error(err)
			}
		})
	}
	for range files {
		<-arrived
	}
	close(all)
	wg.Wait()
	require.Equal(t, files, f.Counts().UnderWay[Read])
	require.GreaterOrEqual(t, f.Counts().Most, files)
	f.Reset()
	require.Zero(t, f.Counts().Most)
}

func TestRequestsFailAsAsked(t *testing.T) {
	for op, errno := range map[Op]syscall.Errno{Lookup: syscall.ENOENT, Open: syscall.ESTALE, Read: syscall.EIO, Getattr: syscall.EACCES} {
		t.Run(string(op), func(t *testing.T) {
			_, at := mount(t, Options{Fail: func(o Op, path string) syscall.Errno {
				if o == op && path == "bad" {
					return errno
				}
				return 0
			}}, "bad", "good")
			requireFile(t, at, "good")
			_, err := readAndStat(filepath.Join(at, "bad"))
			require.ErrorIs(t, err, errno)
		})
	}
}

func readAndStat(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Stat(); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

func TestSizesLie(t *testing.T) {
	for name, lie := range map[string]func(int64) int64{
		"0":      func(int64) int64 { return 0 },
		"half":   func(n int64) int64 { return n / 2 },
		"double": func(n int64) int64 { return 2 * n },
	} {
		t.Run(name, func(t *testing.T) {
			_, at := mount(t, Options{DirectIO: true, Size: func(_ string, n int64) int64 { return lie(n) }}, "one")
			fi, err := os.Stat(filepath.Join(at, "one"))
			require.NoError(t, err)
			require.Equal(t, lie(int64(len(contents("one")))), fi.Size())
			requireFile(t, at, "one")
		})
	}
}

func TestOpensAreRefusedWithEAGAIN(t *testing.T) {
	_, at := mount(t, Options{OpensAgain: 3}, "one", "two")
	for _, p := range []string{"one", "two"} {
		for range 3 {
			_, err := syscall.Open(filepath.Join(at, p), syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
			require.ErrorIs(t, err, syscall.EAGAIN)
			requireFile(t, at, p) // without O_NONBLOCK
		}
		fd, err := syscall.Open(filepath.Join(at, p), syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, syscall.Close(fd))
	}
}

// The tests that use a mount look for leaks of their own.
func TestCloseLeavesNothingOpen(t *testing.T) {
	if err := Unavailable(); err != nil {
		t.Skip(err)
	}
	dir, at := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one"), contents("one"), 0o644))
	// The kernel may never send the last RELEASE and RELEASEDIR.
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	const rounds = 20
	before := 0
	for range rounds {
		f, err := Mount(dir, at, Options{})
		require.NoError(t, err)
		requireFile(t, at, "one")
		d, err := os.Open(at)
		require.NoError(t, err)
		require.NoError(t, d.Close())
		require.NoError(t, f.Close())
		if before == 0 {
			before = open()
		}
		entries, err := os.ReadDir(at)
		require.NoError(t, err)
		require.Empty(t, entries, "unmounted")
	}
	// The runtime may open one or two for itself meanwhile; a leak is one a round at least.
	require.Less(t, open(), before+rounds/2)
}

func TestMountRefusesWhatIsNoFolder(t *testing.T) {
	if err := Unavailable(); err != nil {
		t.Skip(err)
	}
	at := t.TempDir()
	_, err := Mount(filepath.Join(at, "none"), at, Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	name := filepath.Join(at, "file")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	_, err = Mount(name, at, Options{})
	require.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = Mount(at, filepath.Join(at, "none"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
}
