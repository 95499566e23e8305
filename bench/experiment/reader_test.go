// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/bench/internal/peers"
	"github.com/chunkring/chunkring/go/chunkgen"
)

// The tests' own program is the readers', too.
func TestMain(m *testing.M) {
	serveAsChild()
	os.Exit(m.Run())
}

func TestReaderProcess(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	x, err := chunkgen.Write(context.Background(), t.TempDir(), chunkgen.Options{Count: 10, Size: 4_000}, nil)
	require.NoError(t, err)
	cfg := childConfig{Dir: x.Dir(), Peer: peers.Threads, Files: 10, Callers: 1}

	r, err := startReader(context.Background(), exe, cfg.Peer, cfg, 1)
	require.NoError(t, err)
	defer r.stop()
	require.Equal(t, "threads", r.backend)
	pid := r.process.PID()
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(pid, &set))
	require.Equal(t, 1, set.Count(), "confined to one CPU")
	var mine unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &mine))
	require.NotZero(t, mine.Count())

	for range 3 {
		require.Equal(t, "T", processState(t, pid), "stopped between requests")
		rep, err := r.ask(request{Do: doVisit, Ops: 2, Warm: 1})
		require.NoError(t, err)
		require.Len(t, rep.Visit.Walls, 2)
	}
	_, err = r.ask(request{Do: "dance"})
	require.ErrorContains(t, err, "threads: unknown request")
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	time.Sleep(10 * time.Millisecond)
	_, err = r.ask(request{Do: doEnd})
	require.Error(t, err, "a reader that died is no result")

	cfg.Peer = "nobody"
	_, err = startReader(context.Background(), exe, cfg.Peer, cfg, 1)
	require.ErrorContains(t, err, "unknown peer")
}

func processState(t *testing.T, pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), ") ") // the name before may have spaces
	require.True(t, ok)
	return rest[:1]
}
