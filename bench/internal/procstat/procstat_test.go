// SPDX-License-Identifier: Apache-2.0

package procstat

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/test/coldcache"
)

// A child that ran two threads at work, one of which ended, has their CPU time; and its peak stays when it
// gives memory back, until it is reset.
func TestCostOfAnotherProcess(t *testing.T) {
	if os.Getenv("PROCSTAT_TEST_CHILD") != "" {
		child()
	}
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=TestCostOfAnotherProcess")
	cmd.Env = append(os.Environ(), "PROCSTAT_TEST_CHILD=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)

	children, err := Children(os.Getpid())
	require.NoError(t, err)
	// The test's process may start one from any of its threads.
	require.Subset(t, []int{cmd.Process.Pid}, children)

	spent, err := CPUTime(cmd.Process.Pid)
	require.NoError(t, err)
	require.Greater(t, spent, childCPU)
	peak, err := PeakRSS(cmd.Process.Pid)
	require.NoError(t, err)
	require.Greater(t, peak, int64(childBytes))
	require.NoError(t, ResetPeak(cmd.Process.Pid))
	after, err := PeakRSS(cmd.Process.Pid)
	require.NoError(t, err)
	require.Less(t, after, peak-childBytes/2)

	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	_, err = CPUTime(cmd.Process.Pid)
	require.Error(t, err, "it is gone")
}

// Anonymous memory is what the process allocated, not files that it maps; its peak outlives it.
func TestAnonymousMemory(t *testing.T) {
	const size = 64 << 20
	pid := os.Getpid()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, make([]byte, size), 0o600))
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	touch := func(m []byte, err error) {
		require.NoError(t, err)
		sum := byte(0)
		for i := 0; i < len(m); i += os.Getpagesize() {
			sum += m[i]
		}
		require.Zero(t, sum)
	}
	before, err := Anonymous(pid)
	require.NoError(t, err)
	stop := WatchAnonymous(pid)
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	touch(mapped, err)
	require.NoError(t, unix.Munmap(mapped))
	most, err := stop()
	require.NoError(t, err)
	require.Less(t, most, before+size/2)

	own, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	for i := 0; i < len(own); i += os.Getpagesize() {
		own[i] = 1
	}
	most, err = WatchAnonymous(pid)()
	require.NoError(t, err)
	require.Greater(t, most, before+size/2)
	require.NoError(t, unix.Munmap(own))

	_, err = WatchAnonymous(-1)()
	require.Error(t, err, "a process that never was")
}

func TestBytesFromTheDisk(t *testing.T) {
	const size = 1 << 20
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, make([]byte, size), 0o600))
	if err := coldcache.Fadvise.Drop([]string{name}); err != nil {
		t.Fatal(err)
	}
	if err := coldcache.Check([]string{name}); err != nil {
		t.Skip("the page cache keeps what it has of files here: ", err)
	}
	read := func() int64 {
		before, err := ReadFromDisk(os.Getpid())
		require.NoError(t, err)
		_, err = os.ReadFile(name)
		require.NoError(t, err)
		after, err := ReadFromDisk(os.Getpid())
		require.NoError(t, err)
		return after - before
	}
	require.GreaterOrEqual(t, read(), int64(size))
	require.Less(t, read(), int64(size), "the page cache has it")
}
