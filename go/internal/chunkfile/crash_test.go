// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The test binary starts itself as a child with a role and a store directory in the environment.
const childEnv = "CHUNKFILE_TEST_CHILD"

var crashOld, crashNew = content(1, 10000), content(2, writeBytesMax+100000)

func child(role, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+role, "CHUNKFILE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func runChild(role string) {
	d, err := Open(os.Getenv("CHUNKFILE_TEST_DIR"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	verb, arg, _ := strings.Cut(role, ":")
	switch verb {
	case "die": // die:<step>:<which call of it>
		name, nth, _ := strings.Cut(arg, ":")
		left, _ := strconv.Atoi(nth)
		d.fault = func(at step) error {
			if at == step(name) {
				if left--; left == 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
					select {}
				}
			}
			return nil
		}
		err = d.Put(ctx, "t/f/c", crashNew)
	case "loop": // puts generation after generation and says which are acknowledged
		for g := uint64(2); err == nil; g++ {
			if err = d.Put(ctx, "t/f/c", content(g, int(g%50)*20000)); err == nil {
				fmt.Println(g)
			}
		}
	case "limit": // a file may have 64 KiB
		limit := unix.Rlimit{Cur: 65536, Max: 65536}
		if err = unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err == nil {
			err = d.Put(ctx, "t/f/c", crashNew)
		}
		if errors.Is(err, unix.EFBIG) {
			os.Exit(0)
		}
	}
	fmt.Fprintf(os.Stderr, "child %s: still alive: %v\n", role, err)
	os.Exit(3)
}

func requireKilled(t *testing.T, err error) {
	t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
}

// kill -9 just before each step, and between two writes.
func TestKilledAtEveryStep(t *testing.T) {
	at := []string{}
	for _, s := range putSteps {
		at = append(at, string(s)+":1")
		if s == stepWrite || s == stepMakeFolder {
			at = append(at, string(s)+":2")
		}
	}
	for _, where := range at {
		for _, exists := range []bool{false, true} {
			s := step(where[:len(where)-2])
			if exists && (s == stepMakeFolder || s == stepSyncParent) {
				continue
			}
			killAt(t, where, s, exists)
		}
	}
}

func killAt(t *testing.T, where string, s step, exists bool) {
	t.Helper()
	dir := fastDir(t)
	d := mustOpen(t, dir)
	file := dir + "/t/f/c"
	if exists {
		require.NoError(t, d.Put(ctx, "t/f/c", crashOld))
	}
	requireKilled(t, child("die:"+where, dir).Run())

	switch {
	case s == stepSyncFolder:
		requireFile(t, file, crashNew)
	case exists:
		requireFile(t, file, crashOld)
	default:
		require.NoFileExists(t, file)
	}
	left := 0
	if slices.Contains([]step{stepWrite, stepSync, stepClose, stepRename}, s) {
		left = 1
	}
	require.Len(t, temporaries(t, dir), left, where)
	removed, err := d.CleanTemporaries(ctx, time.Hour, everywhere)
	require.NoError(t, err)
	require.Zero(t, removed, "young: it may be a live process's")
	removed, err = d.CleanTemporaries(ctx, 0, everywhere)
	require.NoError(t, err)
	require.Equal(t, left, removed)
	require.Empty(t, temporaries(t, dir))
	if left == 1 && !exists {
		require.NoDirExists(t, dir+"/t", "nothing of it stays")
	}
	require.NoError(t, d.Put(ctx, "t/f/c", crashNew))
	requireFile(t, file, crashNew)
	require.NoError(t, d.Close())
}

// kill -9 at any time: what was acknowledged is there, or something newer, whole.
func TestKilledAnytime(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	for range 8 {
		require.NoError(t, d.Put(ctx, "t/f/c", content(1, 10)))
		cmd := child("loop", dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan())
		time.AfterFunc(time.Duration(rand.IntN(30000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		acked := uint64(0)
		for more := true; more; more = lines.Scan() {
			acked, err = strconv.ParseUint(lines.Text(), 10, 64)
			require.NoError(t, err)
		}
		requireKilled(t, cmd.Wait())
		b, err := os.ReadFile(dir + "/t/f/c")
		require.NoError(t, err)
		got, err := parse(b)
		require.NoError(t, err)
		require.True(t, got == acked || got == acked+1, "have %d, acknowledged %d", got, acked)
		require.LessOrEqual(t, len(temporaries(t, dir)), 1)
		_, err = d.CleanTemporaries(ctx, 0, everywhere)
		require.NoError(t, err)
		require.Empty(t, temporaries(t, dir))
	}
}

// SIGXFSZ does not end a Go program; the write fails with EFBIG like on any other full disk.
func TestFileSizeLimit(t *testing.T) {
	dir := fastDir(t)
	d := mustOpen(t, dir)
	require.NoError(t, d.Put(ctx, "t/f/c", crashOld))
	require.NoError(t, child("limit", dir).Run())
	requireFile(t, dir+"/t/f/c", crashOld)
	require.Empty(t, temporaries(t, dir))
}
