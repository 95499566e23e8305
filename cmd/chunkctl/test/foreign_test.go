// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lock makes a folder, with a file in it, that only root can read.
func lock(t *testing.T, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, "x"), []byte("x"))
	require.NoError(t, os.Chmod(dir, 0))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
}

// Folders in which no chunk can lie need not be readable: every command says once that it passed them
// over, and its answer is that of the store without them.
func TestUnreadableForeignFolders(t *testing.T) {
	x := smallStore(t)
	want := map[string]result{}
	commands := [][]string{{"verify"}, {"ls"}, {"cat"}, {"bench", "--rounds", "1"}, {"doctor"}}
	for _, args := range commands {
		want[args[0]] = runUnprivileged(t, append(args, x.Dir())...)
	}
	names := []string{"lost+found", ".snapshot", ".Trash-0", "index", "rules", "wal", "compactor",
		"tsdb-shipper-cache", "System Volume Information", strings.Repeat("x", 151), "fake\x1b[2J\n"}
	for _, name := range names {
		lock(t, filepath.Join(x.Dir(), name))
	}
	for _, args := range commands {
		r := runUnprivileged(t, append(args, x.Dir())...)
		require.Equal(t, want[args[0]].code, r.code, "%v: %s", args, r.stderr)
		require.Equal(t, 1, strings.Count(r.stderr, "passed over"), "%v: %s", args, r.stderr)
		require.Contains(t, r.stderr, x.Dir()+"/", "%v", args)
		require.NotContains(t, r.stderr, "run it as", "%v", args)
	}
	r := parseReport(t, runUnprivileged(t, "verify", "--json", x.Dir()))
	require.Equal(t, exitSound, r.code)
	require.True(t, r.summary["sound"].(bool))
	require.Equal(t, []int64{40, int64(len(names))}, []int64{r.summary.num("chunks"), r.summary.num("passed_over")})
	require.Empty(t, runUnprivileged(t, "verify", "--quiet", x.Dir()).stderr)
}

// A folder that may hold chunks is trouble: not everything was looked at.
func TestUnreadableStoreFolders(t *testing.T) {
	x := smallStore(t)
	tenant := filepath.Join(x.Dir(), x.Refs[0].Tenant)
	for _, dir := range []string{filepath.Dir(x.Path(x.Refs[0])), tenant, filepath.Join(x.Dir(), "another-tenant")} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.Chmod(dir, 0))
		for _, command := range []string{"verify", "ls", "cat", "doctor"} {
			r := runUnprivileged(t, command, x.Dir())
			require.Equal(t, exitTrouble, r.code, "%s %s", command, dir)
			require.Contains(t, r.stdout+r.stderr, dir, command)
			require.Contains(t, r.stdout+r.stderr, "Permission denied", command)
		}
		r := parseReport(t, runUnprivileged(t, "verify", "--json", x.Dir()))
		require.False(t, r.summary["sound"].(bool), dir)
		require.Equal(t, int64(1), r.summary.num("unreadable"), dir)
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	// whoever asks for one by name is to know
	lock(t, filepath.Join(x.Dir(), "lost+found"))
	require.Equal(t, exitTrouble, runUnprivileged(t, "verify", "--tenant", "lost+found", x.Dir()).code)
}
