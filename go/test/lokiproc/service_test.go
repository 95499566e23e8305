// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const listenEnv = "LOKIPROC_TEST_LISTEN"

// TestMain is a service, if it is asked to be one: it takes connections until it is killed.
func TestMain(m *testing.M) {
	address := os.Getenv(listenEnv)
	if address == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		if _, err := l.Accept(); err != nil {
			os.Exit(1)
		}
	}
}

func TestAServiceIsKilledWithItsChildrenAndStartedAgain(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	ports, err := FreePorts(1)
	require.NoError(t, err)
	address, dir := fmt.Sprintf("127.0.0.1:%d", ports[0]), t.TempDir()
	child := filepath.Join(dir, "child")
	f := &Fleet{Root: dir}
	defer f.KillAll()
	ctx := context.Background()
	s, err := f.StartService(ctx, "listener", address, "sh", "-c",
		fmt.Sprintf("sleep 1000 & echo $! > %s; %s=%s exec %s", child, listenEnv, address, self))
	require.NoError(t, err)
	text, err := os.ReadFile(child)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, 0), "the child runs")

	s.Kill()
	_, err = net.Dial("tcp", address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Eventually(t, func() bool { return ended(pid) }, time.Minute, time.Millisecond, "its child goes on")
	require.NoError(t, s.Run(ctx))
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// ended: a process that nobody waited for is still there, as a zombie.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestAServiceThatEndsSaysWhy(t *testing.T) {
	ports, err := FreePorts(1)
	require.NoError(t, err)
	f := &Fleet{Root: t.TempDir()}
	_, err = f.StartService(context.Background(), "listener", fmt.Sprintf("127.0.0.1:%d", ports[0]), "sh", "-c", "echo no licence; exit 3")
	require.ErrorContains(t, err, "listener: it ended")
	require.ErrorContains(t, err, "no licence")
}

func TestWhatATestDidToALokiIsNoAlarm(t *testing.T) {
	log := filepath.Join(t.TempDir(), "loki.log")
	require.NoError(t, os.WriteFile(log, []byte(`level=info component=chunkring msg=fine
level=error msg="failed downloading chunks" err="dial tcp: connection refused"
level=error component=chunkring msg="chunk is damaged"
`), 0o666))
	p := &Proc{Label: "read-1", log: log}
	f := &Fleet{all: []*Proc{p}}
	require.Len(t, f.Alarming(), 2)
	p.Excuses = []string{"connection refused"}
	require.Equal(t, []string{`read-1: level=error component=chunkring msg="chunk is damaged"`}, f.Alarming())
}

func TestALokiThatMustNotStart(t *testing.T) {
	start := func(script string) *Proc {
		f := &Fleet{Root: t.TempDir()}
		bin := filepath.Join(f.Root, "loki")
		require.NoError(t, os.WriteFile(bin, []byte("#!/bin/sh\n"+script), 0o777))
		p, err := f.Launch(Build{Bin: bin}, "stranger", Config{Store: f.Root})
		require.NoError(t, err)
		t.Cleanup(f.KillAll)
		return p
	}
	ctx := context.Background()
	require.NoError(t, start("echo the folder is in use; exit 1").WaitRefused(ctx, "is in use"))
	require.ErrorContains(t, start("echo something else; exit 1").WaitRefused(ctx, "is in use"), "something else")
	require.ErrorContains(t, start("echo the folder is in use; exit 0").WaitRefused(ctx, "is in use"), "ended (<nil>)")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, start("echo the folder is in use; exec sleep 1000").WaitRefused(short, "is in use"), "runs")
}
