// SPDX-License-Identifier: Apache-2.0

package memgroup

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const testLimit = 64 << 20

// The kernel kills a program that needs more than the limit, and no other: one that stays below it ends well.
func TestTheLimitIsInForce(t *testing.T) {
	if text := os.Getenv("MEMGROUP_TEST_BYTES"); text != "" {
		child(text)
	}
	g, err := New(fmt.Sprintf("chunkring-test-%d", os.Getpid()), testLimit)
	if err != nil {
		require.ErrorIs(t, err, ErrUnavailable)
		t.Skip(err)
	}
	defer func() { require.NoError(t, g.Remove()) }()
	start := func(bytes int) (*exec.Cmd, io.Closer) {
		self, err := os.Executable()
		require.NoError(t, err)
		argv := append(g.Wrap(), self, "-test.run=TestTheLimitIsInForce")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "MEMGROUP_TEST_BYTES="+strconv.Itoa(bytes))
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, _ = out.Read(make([]byte, 1)) // nothing, if it is killed
		return cmd, in
	}

	cmd, in := start(8 << 20)
	require.NoError(t, g.Check(cmd.Process.Pid, testLimit))
	require.ErrorContains(t, g.Check(cmd.Process.Pid, testLimit/2), "the limit was to be")
	require.ErrorContains(t, g.Check(os.Getpid(), testLimit), "is not in")
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	kills, err := g.Kills()
	require.NoError(t, err)
	require.Zero(t, kills)
	peak, err := g.Peak()
	require.NoError(t, err)
	require.Greater(t, peak, int64(8<<20))

	cmd, _ = start(2 * testLimit)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
	kills, err = g.Kills()
	require.NoError(t, err)
	require.Equal(t, 1, kills)
}

// child touches so many bytes, says so, and waits for the end of its input.
func child(text string) {
	bytes, err := strconv.Atoi(text)
	if err != nil {
		os.Exit(1)
	}
	m, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		os.Exit(1)
	}
	for i := 0; i < len(m); i += os.Getpagesize() {
		m[i] = 1
	}
	fmt.Print("x")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestWhereAGroupCanBeMade(t *testing.T) {
	root := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	mounts := file("mounts", "20 1 0:20 / "+root+"/v1/cpu rw - cgroup cgroup rw,cpu\n"+
		"21 1 0:21 /outer "+root+"/v1/memory rw shared:5 - cgroup cgroup rw,memory\n"+
		"22 1 0:22 / "+root+"/v2 rw - cgroup2 cgroup2 rw\n")
	file("v2/cgroup.subtree_control", "cpu memory\n")
	file("v2/a.slice/cgroup.subtree_control", "cpu memory pids\n")
	file("v2/a.slice/b.scope/cgroup.subtree_control", "\n")
	for about, c := range map[string]struct {
		groups, dir string
		version     version
		err         string
	}{
		"v1, below the mount's root":    {"4:memory:/outer/x\n3:cpu:/\n0::/\n", "v1/memory/x", v1, ""},
		"v1, not below the mount":       {"4:memory:/elsewhere\n", "", v1, "no cgroup file system"},
		"v2, the parent hands it out":   {"0::/a.slice/b.scope\n", "v2/a.slice", v2, ""},
		"v2, its own group does":        {"0::/a.slice\n", "v2/a.slice", v2, ""},
		"v2, no group there":            {"0::/none\n", "", v2, "hands out the control of memory"},
		"neither":                       {"3:cpu:/\n", "", version{}, "names no control group"},
		"v1 without memory beside v2":   {"3:cpu:/\n0::/a.slice\n", "v2/a.slice", v2, ""},
		"v1, several controllers":       {"4:cpu,memory:/outer\n", "v1/memory", v1, ""},
		"v1, a name that only looks so": {"4:name=memory:/\n0::/\n", "v2", v2, ""},
	} {
		dir, v, err := find(file("groups", c.groups), mounts)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, about)
			continue
		}
		require.NoError(t, err, about)
		require.Equal(t, filepath.Join(root, c.dir), dir, about)
		require.Equal(t, c.version, v, about)
	}
}

// A group that says another limit than was asked for is no group.
func TestALimitThatIsNotTakenIsAnError(t *testing.T) {
	g := &Group{version: v2, dir: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(g.dir, "memory.max"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), nil, 0o644))
	require.NoError(t, g.setLimit(5))
	swap, err := g.read("memory.swap.max")
	require.NoError(t, err)
	require.Equal(t, "0", swap)

	null := filepath.Join(g.dir, "memory.max")
	require.NoError(t, os.Remove(null))
	require.NoError(t, os.Symlink("/dev/null", null)) // takes what is written, and forgets it
	require.Error(t, g.setLimit(5))
}
