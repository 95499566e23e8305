// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/stretchr/testify/require"
)

func TestFolderIsThePrivateOne(t *testing.T) {
	chunks, dir := someChunks(t, 2, 2000), filepath.Join(t.TempDir(), "new")
	warm(t, configOf(dir), originOf(t, chunks), chunks)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		require.Equal(t, want, info.Mode().Perm(), path)
		return nil
	}))
}

func TestWhoseFolder(t *testing.T) {
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		errors  []string // what the message says besides the folder; none: it opens
	}{
		"missing":               {func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir)) }, nil},
		"empty":                 {func(*testing.T, string) {}, nil},
		"new file system":       {func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(dir+"/lost+found", 0)) }, nil},
		"killed before":         {write(".chunkring-12-00ff.tmp", "{"), nil},
		"own":                   {write(markerName, `{"format":1,"kind":"s3","endpoint":"s3.example.com","bucket":"loki","prefix":"chunks/"}`), nil},
		"a file":                {write("photo.jpg", "x"), []string{"not empty", "photo.jpg", "empty folder"}},
		"a filesystem store":    {write("tenant/ff/MToxOjE=", "x"), []string{"not empty", "tenant"}},
		"another bucket":        {write(markerName, `{"format":1,"kind":"s3","endpoint":"s3.example.com","bucket":"other","prefix":"chunks/"}`), []string{"another store", `"other"`, `"loki"`, "delete all that is in it"}},
		"another prefix":        {write(markerName, `{"format":1,"kind":"s3","endpoint":"s3.example.com","bucket":"loki","prefix":""}`), []string{"another store"}},
		"a format to come":      {write(markerName, `{"format":2}`), []string{"format 2", "delete all that is in it"}},
		"a damaged marker":      {write(markerName, "\x00\x00"), []string{markerName, "delete all that is in"}},
		"a marker that is none": {func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(dir+"/"+markerName, 0o700)) }, []string{"is a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			require.NoError(t, os.Mkdir(dir, 0o700))
			c.prepare(t, dir)
			before, _ := os.ReadDir(dir)
			o := originOf(t, nil)
			cache, err := New(configOf(dir), o, schema, bucket, nil, nil)
			if len(c.errors) == 0 {
				require.NoError(t, err)
				cache.Stop()
				cache, err = New(configOf(dir), o, schema, bucket, nil, nil)
				require.NoError(t, err, "again")
				cache.Stop()
				return
			}
			require.ErrorContains(t, err, dir)
			for _, text := range c.errors {
				require.ErrorContains(t, err, text)
			}
			after, _ := os.ReadDir(dir)
			require.Equal(t, len(before), len(after), "a folder that is refused is not touched")
			require.Zero(t, o.stopped, "origin is still the caller's")
		})
	}
}

// A second process is refused while the first one runs, and let in when it was killed.
func TestTwoProcesses(t *testing.T) {
	arg, cmd := inChild(t, t.TempDir())
	if cmd == nil {
		_, err := New(configOf(arg), originOf(t, nil), schema, bucket, nil, nil)
		fmt.Printf("child: %v\n", err)
		time.Sleep(time.Minute) // until it is killed
		return
	}
	dir := cmd.Env[len(cmd.Env)-1][len(childEnv)+1:]
	first := startChild(t, cmd)
	_, err := New(configOf(dir), originOf(t, nil), schema, bucket, nil, nil)
	require.ErrorContains(t, err, "in use by another process")
	require.ErrorContains(t, err, dir)
	first()
	openClient(t, configOf(dir), originOf(t, nil))
}

// startChild runs a child until it has written a line, and returns what kills it.
func startChild(t *testing.T, cmd *exec.Cmd) (kill func()) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "child: <nil>\n", line)
	kill = func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	return kill
}

// A process that is killed while it writes leaves no torn file under a name of a chunk, and what it leaves else
// is gone after the next start, which is warm.
func TestKilledWhileItWrites(t *testing.T) {
	arg, cmd := inChild(t, t.TempDir())
	if cmd == nil {
		chunks := someChunks(t, 30, 200<<10)
		c := openClient(t, configOf(arg), originOf(t, chunks))
		fmt.Println("child: <nil>")
		for { // each copy is written over and over
			for i := range chunks {
				_, _ = c.folder.put(pathOf(schema, chunks[i].ChunkRef), encoded(t, chunks[i]))
			}
		}
	}
	dir := cmd.Env[len(cmd.Env)-1][len(childEnv)+1:]
	kill := startChild(t, cmd)
	comesTrue(t, func() bool {
		files, _ := copies(t, dir)
		return len(files) > 10
	})
	kill()
	whole := 0
	files, _ := copies(t, dir)
	for _, path := range files {
		rel, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		ref, ok := refOf(schema, rel)
		if !ok {
			require.Equal(t, ".tmp", filepath.Ext(path), path)
			continue
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, ref.Checksum, crc32.Checksum(data, castagnoli), "torn: %s", path)
		whole++
	}
	require.Greater(t, whole, 9)
	chunks := someChunks(t, 30, 200<<10)
	o := originOf(t, chunks)
	c := openClient(t, configOf(dir), o)
	get(t, c, chunks)
	require.Equal(t, 30-whole, o.all())
	settle(t, c)
	files, _ = copies(t, dir)
	require.Len(t, files, 30, "nothing is left of what was being written")
}

// Whatever lies among the copies is neither counted nor touched.
func TestForeignFiles(t *testing.T) {
	chunks, dir := someChunks(t, 3, 2000), t.TempDir()
	o := originOf(t, chunks)
	warm(t, configOf(dir), o, chunks).Stop()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "tenant", "link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "tenant", "fifo"), 0o600))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "loop")))
	cfg := configOf(dir)
	cfg.MaxFiles = 1
	c := openClient(t, cfg, o)
	files, _ := c.index.held()
	require.EqualValues(t, 1, files)
	for _, name := range []string{"README", "tenant/link", "tenant/fifo", "loop", markerName} {
		_, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err, name)
	}
}

// Of more files than may be, those that were written last stay; and hits before the walk count.
func TestWalkKeepsTheNewest(t *testing.T) {
	chunks, dir := someChunks(t, 10, 2000), t.TempDir()
	o := originOf(t, chunks)
	first := warm(t, configOf(dir), o, chunks)
	for i := range chunks {
		at := time.Now().Add(time.Duration(i-100) * time.Hour)
		require.NoError(t, os.Chtimes(first.fileOf(chunks[i]), at, at))
	}
	first.Stop()
	cfg := configOf(dir)
	cfg.MaxFiles = 4
	c := openClient(t, cfg, o)
	get(t, c, chunks[6:])
	o.requireGets(t, chunks[6:], 1)
	require.NoFileExists(t, c.fileOf(chunks[5]))
}

func TestHitsBeforeTheWalkCount(t *testing.T) {
	chunks := someChunks(t, 3, 2000)
	x, err := newIndex(10)
	require.NoError(t, err)
	defer x.close()
	x.touch(chunks[:1])
	for i := range chunks {
		require.NoError(t, x.add(chunks[i].ChunkRef, 100, true))
	}
	x.walkIsOver(true)
	ref, _, ok := x.victim(0, 0)
	require.True(t, ok)
	require.Equal(t, chunks[1].ChunkRef, ref, "the first one was read")
}

// A cache that is stopped before it knows what there is writes nothing.
func TestStopDuringWalk(t *testing.T) {
	chunks, dir := someChunks(t, 4, 2000), t.TempDir()
	warm(t, configOf(dir), originOf(t, chunks), chunks[:3]).Stop()
	c, err := open(configOf(dir), bucket, schema, log.NewNopLogger(), nil)
	require.NoError(t, err)
	c.offer(chunks[3].ChunkRef, encoded(t, chunks[3]))
	c.end()
	c.write()
	c.close()
	require.EqualValues(t, 1, value(c.metrics.dropped[dropStopped]))
	files, _ := copies(t, dir)
	require.Len(t, files, 3)
}
