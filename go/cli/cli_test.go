// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func parseN(args []string) (int, error) {
	f := Flags("prog", "FILE", "0 well; 1 not")
	n := f.Int("n", 1, "how `many`")
	err := Parse(f, args, 1)
	return *n, err
}

func TestExitCodes(t *testing.T) {
	special := WithCode(3, errors.New("special"))
	for _, c := range []struct {
		args []string
		err  error
		code int
		says string
	}{
		{[]string{"file"}, nil, ExitOK, ""},
		{[]string{"-help"}, nil, ExitOK, ""},
		{[]string{"-nonsense", "file"}, nil, ExitUsage, "prog: flag provided but not defined: -nonsense\nprog: see prog -help\n"},
		{[]string{"file", "more"}, nil, ExitUsage, "prog: unexpected argument \"more\"\nprog: see prog -help\n"},
		{nil, nil, ExitUsage, "prog: an argument is missing\nprog: see prog -help\n"},
		{[]string{"file"}, errors.New("no luck"), ExitFailed, "prog: FAILED: no luck\n"},
		{[]string{"file"}, fmt.Errorf("point 7: %w", special), 3, "prog: FAILED: point 7: special\n"},
	} {
		var stderr bytes.Buffer
		code := status("prog", &stderr, c.args, parseN, func(context.Context, int) error { return c.err })
		require.Equal(t, c.code, code, "%q", c.args)
		require.Equal(t, c.says, stderr.String(), "%q", c.args)
	}
	require.ErrorIs(t, fmt.Errorf("x: %w", special), special)
}

func TestASignalEndsTheContext(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		var stderr bytes.Buffer
		code := status("prog", &stderr, []string{"file"}, parseN, func(ctx context.Context, _ int) error {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				return err
			}
			<-ctx.Done()
			return errors.New("half a result")
		})
		require.Equal(t, ExitFailed, code)
		require.Equal(t, "prog: interrupted: half a result\n", stderr.String())
	}
}

func TestUsageNamesOperandsFlagsAndExitCodes(t *testing.T) {
	f := Flags("prog", "FILE", "0 well; 1 not")
	f.Int("n", 1, "how `many`")
	var out bytes.Buffer
	f.SetOutput(&out)
	f.Usage()
	require.Equal(t, "usage: prog [flags] FILE\n\n  -n many\n    \thow many (default 1)\n\nexit codes: 0 well; 1 not\n", out.String())
	_, err := parseN([]string{"-h"})
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestGivenLeavesOutWhereThingsAre(t *testing.T) {
	f := Flags("prog", "", "")
	f.Int("n", 1, "")
	f.Bool("quick", false, "")
	f.String("dir", "", "")
	f.String("unused", "x", "")
	require.NoError(t, Parse(f, []string{"-quick", "-dir", "/here", "-n", "2"}, 0))
	require.Equal(t, []string{"-n", "2", "-quick"}, Given(f, "dir"))
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	step := progress(&out, false, "reading")
	require.Empty(t, out.String(), "nothing is done yet")
	step(1, 2)
	step(2, 2)
	require.Equal(t, "reading ...\n", out.String(), "not a terminal: once")

	out.Reset()
	step = progress(&out, true, "reading")
	step(5, 10)
	step(11, 10)
	require.Equal(t, "\r\033[Kreading ["+strings.Repeat("#", 15)+strings.Repeat(".", 15)+"] 5/10"+
		"\r\033[Kreading ["+strings.Repeat("#", 30)+"] 10/10\n", out.String())
	step(0, 0)
}

func TestMachineNamesCPUAndKernel(t *testing.T) {
	require.Contains(t, Machine(), "CPUs, Linux "+kernel())
	require.NotEqual(t, "?", kernel())
}

func TestOneRunAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	unlock, err := Lock(dir)
	require.NoError(t, err)
	_, err = Lock(dir)
	require.ErrorContains(t, err, "in use by another run")
	unlock()
	unlock, err = Lock(dir)
	require.NoError(t, err)
	unlock()
}
