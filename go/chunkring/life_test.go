// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
)

func TestNewRefuses(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	dir := t.TempDir()
	for name, cfg := range map[string]chunkring.Config{
		"directory is empty":        {},
		"unknown backend":           {Directory: dir, Backend: "io_uring"},
		"workers is -1":             {Directory: dir, Workers: -1},
		"workers is 145":            {Directory: dir, Workers: 145},
		"max_chunk_bytes is -1":     {Directory: dir, MaxChunkBytes: -1},
		"max_chunk_bytes is 107374": {Directory: dir, MaxChunkBytes: 1<<30 + 1},
		"max_open_files is -1":      {Directory: dir, MaxOpenFiles: -1},
		"unknown block_path":        {Directory: dir, BlockPath: "on"},
		`block_path "false": use off, decompress, in_place or filter ("off" in quotes`: {Directory: dir, BlockPath: "false"},
		`seal "false": use resident, always or off ("off" in quotes`:                   {Directory: dir, Seal: "false"},
		"block_buffer_bytes is -1": {Directory: dir, BlockBufferBytes: -1},
		"pooled_bytes is -1":       {Directory: dir, PooledBytes: -1},
		"ring_entries is 8192":     {Directory: dir, RingEntries: 8192},
		"ring_entries 100 is not":  {Directory: dir, RingEntries: 100},
		"ring_entries -3 is not":   {Directory: dir, RingEntries: -3},
		"not a directory":          {Directory: file},
		"store directory":          {Directory: filepath.Join(file, "below")},
		"no such file":             {Directory: "/proc/nowhere"}, // can't be made
	} {
		_, err := chunkring.New(cfg, v13, nil, nil)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "chunkring: ")
	}
}

func TestConfigFlags(t *testing.T) {
	var cfg chunkring.Config
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	cfg.RegisterFlagsWithPrefix("store.", fs)
	require.NoError(t, fs.Parse([]string{"-store.chunkring.directory=/x", "-store.chunkring.backend=threads", "-store.chunkring.workers=3",
		"-store.chunkring.max-chunk-bytes=4", "-store.chunkring.max-open-files=5", "-store.chunkring.pooled-bytes=6",
		"-store.chunkring.block-path=in_place", "-store.chunkring.block-buffer-bytes=7", "-store.chunkring.ring-entries=64",
		"-store.chunkring.seal=off", "-store.chunkring.strict-blocks"}))
	require.Equal(t, chunkring.Config{Directory: "/x", Backend: "threads", Workers: 3, MaxChunkBytes: 4, MaxOpenFiles: 5,
		PooledBytes: 6, BlockPath: "in_place", BlockBufferBytes: 7, Seal: "off", StrictBlocks: true, RingEntries: 64}, cfg)
	require.NoError(t, cfg.Validate())
	cfg = chunkring.Config{}
	cfg.RegisterFlagsWithPrefix("", flag.NewFlagSet("", flag.ContinueOnError))
	require.Equal(t, chunkring.BackendAuto, cfg.Backend)
	require.Equal(t, chunkring.BlockPathFilter, cfg.BlockPath)
	require.Equal(t, chunkring.SealResident, cfg.Seal)
	require.Error(t, cfg.Validate())
}

func TestNewMakesDirectory(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), "a", "b", "chunks")
	c := ring(t, dir, "", v13)
	fi, err := os.Stat(dir)
	require.NoError(t, err)
	require.True(t, fi.IsDir())
	s := sampleNamed(t, "v4-one-entry")
	_, err = c.GetChunks(context.Background(), []chunk.Chunk{s.ref})
	require.True(t, c.IsChunkNotFoundErr(err))
}

// The store directory itself may be a symbolic link, and relative.
func TestNewOfOddDirectories(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	t.Chdir(filepath.Dir(dir))
	for _, d := range []string{link, filepath.Base(dir), "./" + filepath.Base(dir) + "//", link + "/."} {
		eachBackend(t, func(t *testing.T, backend string) {
			c := ring(t, d, backend, v13)
			out, err := c.GetChunks(context.Background(), chunks)
			require.NoError(t, err)
			require.Len(t, out, len(chunks))
			require.NoError(t, c.PutChunks(context.Background(), out[:1]))
		})
	}
}

// Every option that Validate accepts works.
func TestOptions(t *testing.T) {
	dir, chunks := smallStore(t, v13, 120)
	eachBackend(t, func(t *testing.T, backend string) {
		for _, cfg := range []chunkring.Config{
			{Workers: 1}, {Workers: 64}, {RingEntries: 1}, {RingEntries: 2}, {RingEntries: 4096}, {MaxOpenFiles: 1}, {MaxOpenFiles: 2},
			{MaxOpenFiles: 1 << 20}, {MaxChunkBytes: 1 << 30}, {RingEntries: 1}, {PooledBytes: 1},
		} {
			noLeaks(t)
			cfg.Directory, cfg.Backend = dir, backend
			c := ringWith(t, cfg, v13, nil)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					out, err := c.GetChunks(context.Background(), chunks)
					if err != nil || len(out) != len(chunks) {
						t.Errorf("%+v: %d of %d: %v", cfg, len(out), len(chunks), err)
					}
				})
			}
			wg.Wait()
			c.Stop()
		}
		c := ringWith(t, chunkring.Config{Directory: dir, Backend: backend, MaxChunkBytes: 1500}, v13, nil)
		out, err := c.GetChunks(context.Background(), chunks)
		require.ErrorIs(t, err, chunkring.ErrTooBig)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		require.Less(t, len(out), len(chunks))
	})
}

func TestAfterStop(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		good, err := c.GetChunks(context.Background(), chunks)
		require.NoError(t, err)
		c.Stop()
		c.Stop()
		out, err := c.GetChunks(context.Background(), chunks)
		require.ErrorIs(t, err, chunkring.ErrStopped)
		require.Empty(t, out)
		require.False(t, c.IsChunkNotFoundErr(err))
		b, err := c.GetChunksPooled(context.Background(), chunks)
		require.ErrorIs(t, err, chunkring.ErrStopped)
		b.Release()
		require.ErrorIs(t, c.PutChunks(context.Background(), good), chunkring.ErrStopped)
		require.ErrorIs(t, c.DeleteChunk(context.Background(), "fake", v13.ExternalKey(chunks[0].ChunkRef)), chunkring.ErrStopped)
		require.Equal(t, backend, c.Backend())
		require.FileExists(t, filePath(dir, v13, chunks[0]))
	})
}

// Stop comes while batches, puts and deletes run: each ends well or with ErrStopped.
func TestStopWhileBusy(t *testing.T) {
	dir, chunks := smallStore(t, v13, 300)
	eachBackend(t, func(t *testing.T, backend string) {
		for round := range 3 {
			noLeaks(t)
			c := ring(t, dir, backend, v13)
			var wg sync.WaitGroup
			var whole, stopped atomic.Int64
			begun := make(chan struct{}, 100)
			for caller := range 6 {
				wg.Go(func() {
					for {
						var out []chunk.Chunk
						var err error
						switch caller {
						case 0:
							s := forTenant(t, sampleNamed(t, "v4-one-entry"), "busy")
							require.NoError(t, s.ref.Decode(chunk.NewDecodeContext(), s.bytes))
							err = c.PutChunks(context.Background(), []chunk.Chunk{s.ref})
						case 1:
							err = c.DeleteChunk(context.Background(), "nobody", "nobody/1/2:3:4")
							if c.IsChunkNotFoundErr(err) {
								err = nil
							}
						default:
							if out, err = c.GetChunks(context.Background(), chunks[:50*caller]); err == nil && len(out) != 50*caller {
								t.Errorf("%d of %d chunks and no error", len(out), 100*caller)
							}
						}
						select {
						case begun <- struct{}{}:
						default:
						}
						if errors.Is(err, chunkring.ErrStopped) {
							stopped.Add(1)
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						whole.Add(1)
					}
				})
			}
			<-begun
			time.Sleep(time.Duration(round) * 3 * time.Millisecond)
			var stops sync.WaitGroup
			for range 3 {
				stops.Go(c.Stop)
			}
			stops.Wait()
			wg.Wait()
			require.EqualValues(t, 6, stopped.Load())
			require.Positive(t, whole.Load())
		}
	})
}

// Threads, rings and descriptors go with Stop, however often.
func TestStopGivesAllBack(t *testing.T) {
	dir, chunks := lightStore(t, v13)
	eachBackend(t, func(t *testing.T, backend string) {
		cycle := func() {
			c := ring(t, dir, backend, v13)
			_, err := c.GetChunks(context.Background(), chunks)
			require.NoError(t, err)
			c.Stop()
		}
		for range 3 {
			cycle() // Go's own threads
		}
		noLeaks(t)
		runtime.GC()
		before := threads(t)
		for range 20 {
			cycle()
		}
		// The Go runtime may have started a few more of its own in the meantime; one of ours left
		// behind each time would be at least 20.
		comesTrue(t, func() bool { return threads(t) <= before+5 }, func() string { return "threads are left" })

		c := ring(t, dir, backend, v13)
		during := openFDs(t)
		for range 10 {
			_, err := c.GetChunks(context.Background(), chunks)
			require.NoError(t, err)
		}
		comesTrue(t, func() bool { return openFDs(t) <= during }, func() string { return "a batch leaves descriptors" })
		c.Stop()
	})
}

// asNobody makes the rest of a child process's test run as a user without rights.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	require.NoError(t, syscall.Setgroups(nil))
	require.NoError(t, syscall.Setresgid(nobody, nobody, nobody))
	require.NoError(t, syscall.Setresuid(nobody, nobody, nobody))
}

// parentDir is a directory that the parent made for its child, which may not be able to remove it.
const parentDirEnv = "CHUNKRING_TEST_DIR"

func TestNoPermission(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		n := newBetween(t, v13)
		require.NoError(t, openUp(n.dir))
		s := sampleNamed(t, "v4-one-entry")
		require.NoError(t, os.Chmod(place(t, n.dir, v13, s.ref, s.bytes), 0))
		closed := forTenant(t, s, "closed")
		folder := filepath.Dir(place(t, n.dir, v13, closed.ref, closed.bytes))
		require.NoError(t, os.Chmod(folder, 0))
		defer func() { require.NoError(t, os.Chmod(folder, 0o755)) }() // so that who is not root can remove it
		require.False(t, inChild(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, parentDirEnv+"="+n.dir) }))
		return
	}
	dir := os.Getenv(parentDirEnv)
	s := sampleNamed(t, "v4-one-entry")
	closed := forTenant(t, s, "closed")
	neighbour := forTenant(t, sampleNamed(t, "v4-snappy"), "neighbour-0")
	_ = uringRefusal() // while it may still make a directory
	asNobody(t)
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, dir, backend, v13)
		for _, bad := range []chunk.Chunk{s.ref, closed.ref} {
			out, err := c.GetChunks(context.Background(), []chunk.Chunk{bad, neighbour.ref})
			require.Len(t, out, 1)
			require.ErrorIs(t, err, fs.ErrPermission)
			require.ErrorIs(t, err, syscall.EACCES)
			require.NotErrorIs(t, err, fs.ErrNotExist)
			_, err = c.GetChunks(context.Background(), []chunk.Chunk{bad})
			require.ErrorIs(t, err, fs.ErrPermission)
		}
	})
}

// openUp lets everybody reach dir, which t.TempDir keeps to its user.
func openUp(dir string) error {
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// readOnlyStore is what a client must do on a directory that it cannot write to.
func readOnlyStore(t *testing.T, dir string, want error) {
	t.Helper()
	s := forTenant(t, sampleNamed(t, "v4-snappy"), "neighbour-0")
	eachBackend(t, func(t *testing.T, backend string) {
		c := ring(t, dir, backend, v13)
		out, err := c.GetChunks(context.Background(), []chunk.Chunk{s.ref, s.ref})
		require.NoError(t, err)
		require.Len(t, out, 2)
		other := forTenant(t, s2(t), "new tenant")
		require.NoError(t, other.ref.Decode(chunk.NewDecodeContext(), other.bytes))
		for _, put := range []chunk.Chunk{out[0], other.ref} {
			err = c.PutChunks(context.Background(), []chunk.Chunk{put})
			require.ErrorIs(t, err, want)
			require.ErrorContains(t, err, filePath(dir, v13, put))
			require.ErrorContains(t, err, v13.ExternalKey(put.ChunkRef))
			require.False(t, c.IsChunkNotFoundErr(err))
		}
		err = c.DeleteChunk(context.Background(), s.ref.UserID, v13.ExternalKey(s.ref.ChunkRef))
		require.ErrorIs(t, err, want)
		require.False(t, c.IsChunkNotFoundErr(err))
	})
	_, err := chunkring.New(chunkring.Config{Directory: filepath.Join(dir, "missing")}, v13, nil, nil)
	require.ErrorIs(t, err, want)
}

func s2(t testing.TB) sample { return sampleNamed(t, "v4-one-entry") }

func TestReadOnlyDirectory(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		n := newBetween(t, v13)
		require.NoError(t, openUp(n.dir))
		require.NoError(t, filepath.WalkDir(n.dir, func(path string, e fs.DirEntry, err error) error {
			if e.IsDir() {
				return errors.Join(err, os.Chmod(path, 0o555))
			}
			return err
		}))
		t.Cleanup(func() {
			_ = filepath.WalkDir(n.dir, func(path string, _ fs.DirEntry, _ error) error { return os.Chmod(path, 0o755) })
		})
		require.False(t, inChild(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, parentDirEnv+"="+n.dir) }))
		return
	}
	_ = uringRefusal()
	asNobody(t)
	readOnlyStore(t, os.Getenv(parentDirEnv), syscall.EACCES)
}

func TestReadOnlyMount(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		if os.Getuid() != 0 {
			t.Skip("mounting needs root")
		}
		n := newBetween(t, v13)
		require.False(t, inChild(t, func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, parentDirEnv+"="+n.dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		}))
		return
	}
	dir := os.Getenv(parentDirEnv)
	err := unix.Mount(dir, dir, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		t.Skipf("mount: %v", err)
	}
	readOnlyStore(t, dir, syscall.EROFS)
}
