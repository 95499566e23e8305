// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
	"github.com/chunkring/chunkring/go/internal/chunkgen"
	"github.com/chunkring/chunkring/go/internal/core"
)

// readAll reads a store from several goroutines, in batches of all sizes, and compares it all.
func readAll(t *testing.T, c *chunkring.Client, chunks []chunk.Chunk) {
	t.Helper()
	check := func(requested []chunk.Chunk) {
		out, err := c.GetChunks(context.Background(), requested)
		if err != nil || len(out) != len(requested) {
			t.Errorf("%d of %d: %v", len(out), len(requested), err)
			return
		}
		for i := range out {
			b, err := out[i].Encoded()
			if err != nil || out[i].ChunkRef != requested[i].ChunkRef || chunkgen.CRC(b) != requested[i].Checksum {
				t.Errorf("chunk %d is wrong: %v", i, err)
				return
			}
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			check(chunks[:1])
			check(chunks[:min(50, len(chunks))])
			check(chunks[:min(200, len(chunks))])
		})
	}
	wg.Wait()
	check(chunks)
}

// fallback opens a client that wants io_uring and must not get it, and checks what it says.
func fallback(t *testing.T, dir, reason string) *chunkring.Client {
	t.Helper()
	var c *chunkring.Client
	for _, backend := range []string{"", chunkring.BackendAuto, chunkring.BackendURing} {
		lines := &logLines{}
		var err error
		c, err = chunkring.New(chunkring.Config{Directory: dir, Backend: backend}, v13, lines, nil)
		require.NoError(t, err)
		t.Cleanup(c.Stop)
		require.Equal(t, chunkring.BackendThreads, c.Backend())
		warnings := lines.with("level=warn")
		require.Len(t, warnings, 1, "exactly one")
		require.Contains(t, warnings[0], "io_uring is not available")
		require.Contains(t, warnings[0], reason)
		require.Contains(t, warnings[0], dir)
	}
	lines := &logLines{}
	asked := ringWith(t, chunkring.Config{Directory: dir, Backend: chunkring.BackendThreads}, v13, lines)
	require.Equal(t, chunkring.BackendThreads, asked.Backend())
	require.Empty(t, lines.with("level=warn"), "it was not wanted")
	return c
}

func setrlimit(t *testing.T, which int, value uint64) {
	t.Helper()
	require.NoError(t, syscall.Setrlimit(which, &syscall.Rlimit{Cur: value, Max: value}))
}

// takeDescriptors opens files until there is no descriptor left.
func takeDescriptors() (taken []*os.File) {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return taken
		}
		taken = append(taken, f)
	}
}

func TestFewDescriptors(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	dir, chunks := smallStore(t, v13, 2000)
	_ = uringRefusal()
	setrlimit(t, unix.RLIMIT_NOFILE, 64)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		readAll(t, ring(t, dir, backend, v13), chunks)
	})
	t.Run("nearly none left", func(t *testing.T) {
		eachBackend(t, func(t *testing.T, backend string) {
			noLeaks(t)
			c := ring(t, dir, backend, v13)
			taken := takeDescriptors()
			for range 3 { // what Go and the batch itself need
				taken[len(taken)-1].Close()
				taken = taken[:len(taken)-1]
			}
			out, err := c.GetChunks(context.Background(), chunks[:300])
			for _, f := range taken {
				f.Close()
			}
			require.NoError(t, err)
			require.Len(t, out, 300)
		})
	})
	t.Run("none left for a moment", func(t *testing.T) {
		eachBackend(t, func(t *testing.T, backend string) {
			noLeaks(t)
			c := ring(t, dir, backend, v13)
			taken := takeDescriptors()
			time.AfterFunc(100*time.Millisecond, func() {
				for _, f := range taken {
					f.Close()
				}
			})
			out, err := c.GetChunks(context.Background(), chunks[:300])
			require.NoError(t, err)
			require.Len(t, out, 300)
		})
	})
	t.Run("none left", func(t *testing.T) {
		eachBackend(t, func(t *testing.T, backend string) {
			noLeaks(t)
			dir, chunks := smallStore(t, v13, 3)
			c := ring(t, dir, backend, v13)
			taken := takeDescriptors()
			begin := time.Now()
			_, err := c.GetChunks(context.Background(), chunks)
			took := time.Since(begin)
			for _, f := range taken {
				f.Close()
			}
			require.ErrorIs(t, err, syscall.EMFILE)
			require.False(t, c.IsChunkNotFoundErr(err))
			require.Less(t, took, 20*time.Second)
		})
	})
}

func TestNoLockedMemory(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	dir, chunks := smallStore(t, v13, 200)
	setrlimit(t, unix.RLIMIT_MEMLOCK, 0)
	lines := &logLines{}
	c := ringWith(t, chunkring.Config{Directory: dir}, v13, lines)
	t.Logf("RLIMIT_MEMLOCK 0: %s %v", c.Backend(), lines.with("level=warn"))
	// Kernels from 5.12 on don't count rings against the limit; before, it is threads with a warning.
	if c.Backend() == chunkring.BackendThreads {
		require.Len(t, lines.with("level=warn"), 1)
	} else {
		require.Empty(t, lines.with("level=warn"))
	}
	readAll(t, c, chunks)
}

// refuse makes the kernel answer some system calls with an errno, in all threads of this process
// and for good.
func refuse(t *testing.T, errno syscall.Errno, calls ...uint32) {
	t.Helper()
	const number = 0 // offset of the call's number in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
	}
	for _, nr := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if err != 0 {
		t.Skipf("seccomp: %v", err)
	}
	for _, nr := range calls {
		_, _, err := unix.RawSyscall(uintptr(nr), 0, 0, 0)
		require.Equal(t, errno, err)
	}
}

// The same numbers on every architecture.
const (
	ioURingSetup = 425
	openat2      = 437
)

// refused is what must hold where io_uring_setup fails with errno, as in containers.
func refused(t *testing.T, errno syscall.Errno, calls ...uint32) {
	t.Helper()
	if !inChild(t, nil) {
		return
	}
	dir, chunks := smallStore(t, v13, 150)
	refuse(t, errno, calls...)
	reason := "io_uring_setup: " + errno.Error()
	if core.Built != "cgo" {
		reason = "without cgo"
	}
	c := fallback(t, dir, reason)
	readAll(t, c, chunks)
	hostileStill(t, c, dir)
	require.NoError(t, c.PutChunks(context.Background(), must(c.GetChunks(context.Background(), chunks[:2]))))
}

// hostileStill: containment does not hang on openat2.
func hostileStill(t *testing.T, c *chunkring.Client, dir string) {
	t.Helper()
	s := forTenant(t, sampleNamed(t, "v4-one-entry"), "linked")
	outside := t.TempDir()
	name := place(t, outside, v13, s.ref, s.bytes)
	require.NoError(t, os.Symlink(outside+"/linked", dir+"/linked"))
	flat := forTenant(t, sampleNamed(t, "v4-one-entry"), "file")
	inside := place(t, dir, v13, flat.ref, flat.bytes)
	require.NoError(t, os.Remove(inside))
	require.NoError(t, os.Symlink(name, inside))
	up := forTenant(t, sampleNamed(t, "v4-one-entry"), "..")
	for _, batch := range [][]chunk.Chunk{{s.ref}, {flat.ref}, {up.ref}, {s.ref, flat.ref, up.ref}} {
		out, err := c.GetChunks(context.Background(), batch)
		require.Empty(t, out)
		var be *chunkring.BatchError
		require.ErrorAs(t, err, &be)
		for _, f := range be.Failed {
			require.ErrorIs(t, f, chunkring.ErrRefused)
		}
	}
}

func TestIoURingRefusedEPERM(t *testing.T)  { refused(t, syscall.EPERM, ioURingSetup) }
func TestIoURingRefusedENOSYS(t *testing.T) { refused(t, syscall.ENOSYS, ioURingSetup) }
func TestIoURingRefusedENOMEM(t *testing.T) { refused(t, syscall.ENOMEM, ioURingSetup) }
func TestBothRefusedEPERM(t *testing.T)     { refused(t, syscall.EPERM, ioURingSetup, openat2) }
func TestBothRefusedENOSYS(t *testing.T)    { refused(t, syscall.ENOSYS, ioURingSetup, openat2) }

// Without openat2 alone (a ring opens by itself, past the filter) both back-ends work.
func TestOpenat2Refused(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	dir, chunks := smallStore(t, v13, 200)
	_ = uringRefusal()
	refuse(t, syscall.ENOSYS, openat2)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		c := ring(t, dir, backend, v13)
		readAll(t, c, chunks)
		out, err := c.GetChunks(context.Background(), chunks[:3])
		require.NoError(t, err)
		require.NoError(t, c.PutChunks(context.Background(), out))
		require.NoError(t, c.DeleteChunk(context.Background(), out[0].UserID, v13.ExternalKey(out[0].ChunkRef)))
		require.NoError(t, c.PutChunks(context.Background(), out[:1]))
		require.NoError(t, os.RemoveAll(dir+"/linked"))
		require.NoError(t, os.RemoveAll(dir+"/file"))
		hostileStill(t, c, dir)
	})
}

func TestOneProc(t *testing.T) {
	if !inChild(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GOMAXPROCS=1") }) {
		return
	}
	require.Equal(t, 1, runtime.GOMAXPROCS(0))
	dir, chunks := smallStore(t, v13, 300)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		readAll(t, ring(t, dir, backend, v13), chunks)
	})
}

// Signals at every moment: the profiler's, and storms of the one Go preempts goroutines with.
func TestSignals(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	dir, chunks := smallStore(t, v13, 150)
	coldDir, cold, cool := coldStore(t, 20)
	eachBackend(t, func(t *testing.T, backend string) {
		noLeaks(t)
		var profile bytes.Buffer
		require.NoError(t, pprof.StartCPUProfile(&profile))
		stop := make(chan struct{})
		var storm sync.WaitGroup
		for range 2 {
			storm.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					// To each thread, C's among them (which block it), and to the process.
					for _, task := range listProc(t, "/proc/self/task") {
						var tid int
						_, _ = fmt.Sscan(task.Name(), &tid)
						_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
					}
					_ = unix.Kill(os.Getpid(), unix.SIGURG)
				}
			})
		}
		c, cc := ring(t, dir, backend, v13), ring(t, coldDir, backend, v13)
		for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); {
			readAll(t, c, chunks)
			cool()
			readAll(t, cc, cold)
		}
		close(stop)
		storm.Wait()
		pprof.StopCPUProfile()
		require.NotZero(t, profile.Len())
	})
}
