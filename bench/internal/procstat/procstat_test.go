// SPDX-License-Identifier: Apache-2.0

package procstat

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
