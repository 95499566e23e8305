// SPDX-License-Identifier: Apache-2.0

package childproc

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests' own program is the child, too: it doubles numbers, and ends on 0.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "double" {
		os.Exit(double(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

func double(in io.Reader, out io.Writer) int {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var n int
		if requests.Decode(&n) != nil {
			return 0
		}
		if n == 0 {
			return 3
		}
		if replies.Encode(2*n) != nil {
			return 1
		}
	}
}

func start(t *testing.T) *Process {
	t.Helper()
	p, err := Start("double", exec.Command(os.Args[0], "double"))
	require.NoError(t, err)
	return p
}

func state(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), ") ") // the name before may have spaces
	require.True(t, ok)
	return rest[:1]
}

func TestAProcessAnswersAndCanBeFrozen(t *testing.T) {
	p := start(t)
	for n := 1; n < 4; n++ {
		require.NoError(t, p.Freeze())
		require.Equal(t, "T", state(t, p.PID()))
		require.NoError(t, p.Thaw())
		var doubled int
		require.NoError(t, p.Ask(n, &doubled))
		require.Equal(t, 2*n, doubled)
	}
	require.NoError(t, p.Freeze())
	require.NoError(t, p.Stop(), "a frozen child ends, too")
}

func TestAProcessThatEndsIsAnError(t *testing.T) {
	p := start(t)
	var doubled int
	require.ErrorContains(t, p.Ask(0, &doubled), "the process of double ended")
	require.ErrorContains(t, p.Stop(), "double: exit status 3")
	_, err := Start("nothing", exec.Command("/nonexistent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
