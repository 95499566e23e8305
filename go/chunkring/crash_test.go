// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/grafana/loki/v3/pkg/storage/chunk"

	"github.com/chunkring/chunkring/go/chunkring"
)

// numbered is a chunk of its own tenant, ready to be put.
func numbered(t testing.TB, n int) chunk.Chunk {
	t.Helper()
	names := []string{"v4-snappy", "v3-gzip", "v4-none", "v4-one-entry"}
	s := forTenant(t, sampleNamed(t, names[n%len(names)]), fmt.Sprintf("n%d", n))
	require.NoError(t, s.ref.Decode(chunk.NewDecodeContext(), s.bytes))
	return s.ref
}

// requireStored reads chunks with chunkring and with Loki's own client.
func requireStored(t testing.TB, dir string, chunks ...chunk.Chunk) {
	t.Helper()
	want := byKey(t, chunks)
	out, err := ring(t, dir, "", v13).GetChunks(context.Background(), refs(chunks))
	require.NoError(t, err)
	requireAnswer(t, want, chunks, out)
	crossed, err := stock(t, dir, v13).GetChunks(context.Background(), refs(chunks))
	require.NoError(t, err)
	require.Equal(t, want, byKey(t, crossed))
}

// requireNothingTorn looks at all files of a store but temporary ones: each is one of these chunks, whole.
func requireNothingTorn(t testing.TB, dir string, chunks []chunk.Chunk) (whole, temporaries int) {
	t.Helper()
	want := map[string]string{}
	for i := range chunks {
		want[filePath(dir, v13, chunks[i])] = string(encoded(t, &chunks[i]))
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || e.IsDir():
			return err
		case strings.HasPrefix(e.Name(), ".chunkring-"):
			temporaries++
			return nil
		}
		whole++
		b, err := os.ReadFile(path)
		require.Contains(t, want, path)
		require.True(t, want[path] == string(b), "%s is torn: %d bytes", path, len(b))
		return err
	}))
	return whole, temporaries
}

// ---- death and refusal at a system call, by seccomp: the whole client, and nothing in it knows ----

// call is a system call that a filter tells from the others; the fourth, if any, is an argument's value.
type call struct {
	name string
	nr   uint32
	arg  int // -1: any
	is   uint32
}

// changingCalls are those by which a client changes something. data is how long the chunk is: so the
// filter finds the write of it.
func changingCalls(data int) []call {
	return []call{
		{"mkdirat", unix.SYS_MKDIRAT, -1, 0},
		{"write", unix.SYS_WRITE, 2, uint32(data)},
		{"fsync", unix.SYS_FSYNC, -1, 0},
		{"renameat", unix.SYS_RENAMEAT, -1, 0},
		{"unlinkat", unix.SYS_UNLINKAT, -1, 0},
	}
}

// filterCall makes the kernel answer one call with action, in all threads of this process and for good.
func filterCall(c call, action uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.nr, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(16 + 8*max(c.arg, 0))}, // low half, little endian
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.is, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: action},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if c.arg < 0 {
		filter[1].Jt = 2 // whatever the arguments
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}

// victim starts the calling test again as a process that is to die.
func victim(t *testing.T, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

const (
	victimDir  = "CHUNKRING_TEST_DIR"
	victimCall = "CHUNKRING_TEST_CALL"
)

// The process ends at each system call that changes something: put of a new chunk, put over an old one,
// delete. The name holds the whole content or nothing, and a new process goes on.
func TestDeathAtEverySystemCall(t *testing.T) {
	chunk0 := numbered(t, 0)
	calls := changingCalls(len(encoded(t, &chunk0)))
	if os.Getenv(childEnv) != "" {
		dieAt(t, calls, chunk0)
		return
	}
	for i, c := range calls {
		for _, exists := range []bool{false, true} {
			dir := t.TempDir()
			client := ring(t, dir, "", v13)
			if exists {
				require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{chunk0}))
			}
			out, err := victim(t, victimDir+"="+dir, victimCall+"="+strconv.Itoa(i)).CombinedOutput()
			if strings.Contains(string(out), "no seccomp") {
				t.Skipf("%s", out)
			}
			if exists && c.name == "mkdirat" {
				require.NoError(t, err, "%s", out) // nothing to make
				continue
			}
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s: it lives: %s", c.name, out)
			require.Equal(t, syscall.SIGSYS, exit.Sys().(syscall.WaitStatus).Signal(), "%s: %s", c.name, out)
			whole, left := requireNothingTorn(t, dir, []chunk.Chunk{chunk0})
			require.LessOrEqual(t, left, 1)
			if exists || c.name == "unlinkat" { // which a put needs not: it died in the delete
				require.Equal(t, 1, whole, c.name)
			} else {
				require.Zero(t, whole, c.name)
			}
			require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{chunk0}))
			requireStored(t, dir, chunk0)
			client.Stop()
		}
	}
}

func dieAt(t *testing.T, calls []call, c chunk.Chunk) {
	dir := os.Getenv(victimDir)
	which, err := strconv.Atoi(os.Getenv(victimCall))
	require.NoError(t, err)
	client := ring(t, dir, "", v13)
	if err := filterCall(calls[which], unix.SECCOMP_RET_KILL_PROCESS); err != nil {
		fmt.Println("no seccomp here:", err)
		os.Exit(0)
	}
	err = client.PutChunks(context.Background(), []chunk.Chunk{c})
	if calls[which].name == "unlinkat" {
		err = errors.Join(err, client.DeleteChunk(context.Background(), c.UserID, v13.ExternalKey(c.ChunkRef)))
	}
	fmt.Println(err)
	if err != nil {
		os.Exit(3)
	}
	os.Exit(0) // without t.TempDir's unlinkat
}

// The system refuses each of these calls, with each errno that matters: an error that says so, never a
// success; what was stored stays, readers go on, nothing is left behind.
func TestSystemRefusesChanges(t *testing.T) {
	chunk0, other := numbered(t, 0), numbered(t, 1)
	calls := changingCalls(len(encoded(t, &chunk0)))
	if os.Getenv(childEnv) != "" {
		refusedAt(t, calls, chunk0, other)
		return
	}
	for i, c := range calls {
		for _, errno := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.ESTALE} {
			dir := t.TempDir()
			client := ring(t, dir, "", v13)
			require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{other}))
			if c.name != "mkdirat" {
				require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{chunk0}))
			}
			before := tree(t, dir)
			out, err := victim(t, victimDir+"="+dir, fmt.Sprintf("%s=%d %d", victimCall, i, errno)).CombinedOutput()
			require.NoError(t, err, "%s %v: %s", c.name, errno, out)
			if strings.Contains(string(out), "no seccomp") {
				t.Skipf("%s", out)
			}
			require.Equal(t, before, tree(t, dir), "%s %v", c.name, errno)
			require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{chunk0}))
			requireStored(t, dir, chunk0, other)
			client.Stop()
		}
	}
}

func refusedAt(t *testing.T, calls []call, chunk0, other chunk.Chunk) {
	var which, number int
	_, err := fmt.Sscan(os.Getenv(victimCall), &which, &number)
	require.NoError(t, err)
	errno, dir := syscall.Errno(number), os.Getenv(victimDir)
	client := ring(t, dir, "", v13)
	if err := filterCall(calls[which], unix.SECCOMP_RET_ERRNO|uint32(errno)); err != nil {
		fmt.Println("no seccomp here:", err)
		return
	}
	if calls[which].name == "unlinkat" {
		err = client.DeleteChunk(context.Background(), chunk0.UserID, v13.ExternalKey(chunk0.ChunkRef))
	} else {
		err = client.PutChunks(context.Background(), []chunk.Chunk{chunk0})
		var be *chunkring.BatchError
		require.ErrorAs(t, err, &be)
	}
	require.ErrorIs(t, err, errno)
	require.ErrorContains(t, err, filePath(dir, v13, chunk0))
	require.False(t, client.IsChunkNotFoundErr(err))
	out, err := client.GetChunks(context.Background(), refs([]chunk.Chunk{other, other}))
	require.NoError(t, err)
	require.Len(t, out, 2)
}

// kill -9 at any time, while batches are put, put again and deleted from several goroutines: what was
// acknowledged is there, whole, and nothing is torn. Loki's own client says the same.
func TestKilledWhilePutting(t *testing.T) {
	const chunks, writers = 24, 3
	var all []chunk.Chunk
	for n := range chunks {
		all = append(all, numbered(t, n))
	}
	if os.Getenv(childEnv) != "" {
		putForever(t, os.Getenv(victimDir), all, writers)
	}
	dir := t.TempDir()
	for round := range 6 {
		cmd := victim(t, victimDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		// Each writer owns every third chunk. It says "put N" or "delete N" before and "done N" after.
		state := map[int]string{}
		lines, said := bufio.NewScanner(out), 0
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			n := -1
			if len(f) == 2 {
				n, err = strconv.Atoi(f[1])
			}
			if n < 0 || err != nil {
				continue // go test's own
			}
			if f[0] == "done" {
				f[0] = state[n] + ", done"
			}
			state[n] = f[0]
			if said++; said == 20 {
				time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "round %d after %d lines", round, said)

		whole, left := requireNothingTorn(t, dir, all)
		var there []chunk.Chunk
		for n, s := range state {
			_, err := os.Stat(filePath(dir, v13, all[n]))
			switch s {
			case "put, done":
				require.NoError(t, err, "acknowledged and lost: %d", n)
				there = append(there, all[n])
			case "delete, done":
				require.ErrorIs(t, err, fs.ErrNotExist)
			}
		}
		if len(there) > 0 {
			requireStored(t, dir, there...)
		}
		t.Logf("killed after %d lines: %d files whole, %d acknowledged last, %d leftovers", said, whole, len(there), left)
		require.LessOrEqual(t, left, (round+1)*writers*2)
	}
}

// putForever never returns.
func putForever(t *testing.T, dir string, all []chunk.Chunk, writers int) {
	client := ring(t, dir, "", v13)
	var mu sync.Mutex
	say := func(verb string, n int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(verb, n)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				first := (w + i*2*writers) % len(all)
				batch := []chunk.Chunk{all[first], all[(first+writers)%len(all)]}
				for _, c := range batch {
					say("put", number(c))
				}
				if err := client.PutChunks(context.Background(), batch); err != nil {
					panic(err)
				}
				for _, c := range batch {
					say("done", number(c))
				}
				if i%3 == 2 {
					say("delete", number(batch[0]))
					if err := client.DeleteChunk(context.Background(), batch[0].UserID, v13.ExternalKey(batch[0].ChunkRef)); err != nil {
						panic(err)
					}
					say("done", number(batch[0]))
				}
			}
		})
	}
	wg.Wait()
}

func number(c chunk.Chunk) int {
	n, err := strconv.Atoi(strings.TrimPrefix(c.UserID, "n"))
	if err != nil {
		panic(err)
	}
	return n
}

// ---- a disk of its own, where mounting is permitted ----

// onSmallDisk runs the calling test in a process with a tmpfs of its own, and returns false in the parent.
func onSmallDisk(t *testing.T, options string) (dir string, ok bool) {
	t.Helper()
	if os.Getenv(childEnv) == "" {
		if os.Getuid() != 0 {
			t.Skip("mounting needs root; TestSystemRefusesChanges has the errnos")
		}
		dir := t.TempDir()
		require.False(t, inChild(t, func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, victimDir+"="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		}))
		return "", false
	}
	dir = os.Getenv(victimDir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	return dir, true
}

// The disk fills up under several writers: what was acknowledged can be read, what failed says ENOSPC and
// is not there, and with room again everything works again.
func TestDiskFull(t *testing.T) {
	dir, ok := onSmallDisk(t, "size=192k")
	if !ok {
		return
	}
	client := ring(t, dir, "", v13)
	const chunks, writers = 120, 3
	var all []chunk.Chunk
	for n := range chunks {
		all = append(all, numbered(t, n))
	}
	stored := make([]bool, chunks)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := w; n < chunks; n += writers {
				err := client.PutChunks(context.Background(), []chunk.Chunk{all[n]})
				if stored[n] = err == nil; err != nil && !errors.Is(err, unix.ENOSPC) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var there, failed []chunk.Chunk
	for n := range all {
		if stored[n] {
			there = append(there, all[n])
		} else {
			failed = append(failed, all[n])
		}
	}
	require.NotEmpty(t, there)
	require.NotEmpty(t, failed, "the disk is too large")
	whole, left := requireNothingTorn(t, dir, there)
	require.Equal(t, len(there), whole)
	require.Zero(t, left)
	requireStored(t, dir, there...)
	_, err := client.GetChunks(context.Background(), refs(failed))
	require.True(t, client.IsChunkNotFoundErr(err))

	for _, c := range there {
		require.NoError(t, client.DeleteChunk(context.Background(), c.UserID, v13.ExternalKey(c.ChunkRef)), "a full disk can be emptied")
	}
	require.NoError(t, client.PutChunks(context.Background(), failed[:3]))
	requireStored(t, dir, failed[:3]...)
	client.Stop()
}

// The file system turns read-only under writers, as ext4 does after an error: puts and deletes say
// EROFS, readers go on, nothing acknowledged is lost; writable again, everything works again.
func TestRemountedReadOnly(t *testing.T) {
	dir, ok := onSmallDisk(t, "size=8m")
	if !ok {
		return
	}
	client := ring(t, dir, "", v13)
	var acknowledged, refused atomic.Int64
	var wg sync.WaitGroup
	first := numbered(t, 0)
	require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{first}))
	const writers, each = 3, 60
	var all [writers * each]chunk.Chunk
	var stored [writers * each]atomic.Bool
	for n := range all {
		all[n] = numbered(t, 1+n)
	}
	end := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for n := w; ; n = (n + writers) % len(all) {
				err := client.PutChunks(context.Background(), []chunk.Chunk{all[n]})
				switch {
				case err == nil:
					stored[n].Store(true)
					acknowledged.Add(1)
				case errors.Is(err, unix.EROFS):
					refused.Add(1)
				default:
					t.Error(err)
					return
				}
				select {
				case <-end:
					return
				default:
				}
			}
		})
	}
	comesTrue(t, func() bool { return acknowledged.Load() > 20 || t.Failed() }, func() string { return "no puts" })
	remount := func(flags uintptr) func() bool { // EBUSY while a file is open for writing
		return func() bool { return unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "") == nil }
	}
	comesTrue(t, remount(unix.MS_RDONLY), func() string { return "always busy" })
	comesTrue(t, func() bool { return refused.Load() > 20 || t.Failed() }, func() string { return "no refusals" })
	require.ErrorIs(t, client.DeleteChunk(context.Background(), first.UserID, v13.ExternalKey(first.ChunkRef)), unix.EROFS)
	requireStored(t, dir, first)
	before := acknowledged.Load()
	comesTrue(t, remount(0), func() string { return "not writable again" })
	comesTrue(t, func() bool { return acknowledged.Load() > before+20 || t.Failed() }, func() string { return "no puts any more" })
	close(end)
	wg.Wait()
	there := []chunk.Chunk{first}
	for n := range all {
		if stored[n].Load() {
			there = append(there, all[n])
		}
	}
	requireStored(t, dir, there...)
	requireNothingTorn(t, dir, append(all[:], first))
	client.Stop()
}

// Somebody removes the store directory under a running client. It says so, stores nothing elsewhere and
// makes nothing up; a new client begins again.
func TestStoreDirectoryRemoved(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "store")
	eachBackend(t, func(t *testing.T, backend string) {
		client := ring(t, dir, backend, v13)
		c := numbered(t, 0)
		require.NoError(t, client.PutChunks(context.Background(), []chunk.Chunk{c}))
		require.NoError(t, os.RemoveAll(dir))
		for range 2 { // missing, then made again by somebody: not the one that was opened
			_, err := client.GetChunks(context.Background(), refs([]chunk.Chunk{c, c}))
			require.True(t, client.IsChunkNotFoundErr(err), "%v", err)
			err = client.PutChunks(context.Background(), []chunk.Chunk{c})
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.ErrorContains(t, err, dir)
			err = client.DeleteChunk(context.Background(), c.UserID, v13.ExternalKey(c.ChunkRef))
			require.True(t, client.IsChunkNotFoundErr(err), "%v", err)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.Empty(t, tree(t, dir))
		}
		again := ring(t, dir, backend, v13)
		require.NoError(t, again.PutChunks(context.Background(), []chunk.Chunk{c}))
		requireStored(t, dir, c)
		again.Stop()
		client.Stop()
	})
}
