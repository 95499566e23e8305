// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// command runs genstore with standard error in a file, which is no terminal.
func command(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer f.Close()
	var out bytes.Buffer
	code = run(ctx, args, &out, f)
	b, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return code, out.String(), string(b)
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("a line\n"), 0o644))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name, want string
		ctx        context.Context
		args       []string
		code       int
	}{
		{"help", "", t.Context(), []string{"-help"}, exitOK},
		{"no directory", "-dir is missing", t.Context(), nil, exitUsage},
		{"argument", "unexpected argument", t.Context(), []string{"-dir", dir, "x"}, exitUsage},
		{"zero", "-count 0", t.Context(), []string{"-dir", dir, "-count", "0"}, exitUsage},
		{"codec", "invalid encoding: lzma", t.Context(), []string{"-dir", dir, "-codec", "lzma"}, exitUsage},
		{"format 1", "always gzip", t.Context(), []string{"-dir", dir, "-format", "1"}, exitUsage},
		{"flag", "not defined", t.Context(), []string{"-nope"}, exitUsage},
		{"other files", "give an empty directory", t.Context(), []string{"-dir", dir}, exitFailed},
		{"under a file", "not a directory", t.Context(), []string{"-dir", file + "/x"}, exitFailed},
		{"no logs", "file names given to -logs", t.Context(), []string{"-dir", dir + "/s", "-logs", dir + "/nope"}, exitFailed},
		{"interrupted", "begins again", canceled, []string{"-dir", dir + "/i", "-count", "2", "-size", "2000"}, exitFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := command(t, c.ctx, c.args...)
			require.Equal(t, c.code, code, stderr)
			require.Contains(t, stderr, c.want)
		})
	}
}

func TestHelpDocumentsExitCodes(t *testing.T) {
	_, stdout, _ := command(t, t.Context(), "-help")
	require.Contains(t, stdout, "exit codes:")
	require.Contains(t, stdout, "-streams")
}

func TestSummary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	args := []string{"-dir", dir, "-count", "3", "-size", "2000", "-codec", "zstd", "-json"}
	for _, existing := range []bool{false, true} {
		code, stdout, stderr := command(t, t.Context(), args...)
		require.Zero(t, code, stderr)
		require.Equal(t, map[bool]string{false: "writing chunks ...\n", true: ""}[existing], stderr, "no progress bar without a terminal")
		var s summary
		require.NoError(t, json.Unmarshal([]byte(stdout), &s))
		require.Equal(t, existing, s.Existing)
		require.Equal(t, 3, s.Chunks)
	}
	x, err := chunkgen.LoadIndex(dir)
	require.NoError(t, err)
	require.Len(t, x.Chunks(), 3)
}

// The flags that README and docs give genstore are its own.
func TestPagesNameRealFlags(t *testing.T) {
	_, help, _ := command(t, t.Context(), "-help")
	seen := 0
	for _, page := range []string{"../../README.md", "../../bench/README.md", "../../docs/operations.md", "../../docs/performance.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile("genstore ((?:-[a-z]+ [^ \n`)]+ ?)+)").FindAllStringSubmatch(string(text), -1) {
			for _, name := range regexp.MustCompile(`-[a-z]+ `).FindAllString(m[1]+" ", -1) {
				require.Contains(t, help, "  "+name, "%s: genstore %s", page, m[1])
				seen++
			}
		}
	}
	require.Greater(t, seen, 3)
}
