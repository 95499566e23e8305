// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"os"
	"path/filepath"
	"strconv"
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

// A list of everything in a store's folder names the index, too: it is no damaged chunk, and nothing moves
// it.
func TestForeignFilesInLists(t *testing.T) {
	x := smallStore(t)
	foreign := []string{"index/index_19700/1-compactor.tsdb.gz", "loki_cluster_seed.json", "rules/fake/a.yaml", "index/empty"}
	list := paths(x)
	for i, name := range foreign {
		path := filepath.Join(x.Dir(), name)
		write(t, path, []byte(strings.Repeat("\x1f\x8b not a chunk", 100*(3-i))))
		list = append(list, path)
	}
	input := strings.Join(list, "\n")
	r := parseReport(t, runInput(t, input, "verify", "--json", "--settle", "0", "-"))
	require.Equal(t, exitSound, r.code)
	require.Equal(t, []int64{40, 4}, []int64{r.summary.num("chunks"), r.summary.num("other_files")})
	for _, command := range []string{"ls", "cat"} {
		r := runInput(t, input, command, "-")
		require.Equal(t, exitSound, r.code, "%s: %s", command, r.stderr)
		require.Contains(t, r.stderr, "left alone 4 files", command)
		require.Equal(t, strings.Count(run(t, command, x.Dir()).stdout, "\n"), strings.Count(r.stdout, "\n"), command)
	}
	for _, command := range []string{"verify", "ls", "cat"} {
		r := run(t, command, filepath.Join(x.Dir(), foreign[0]))
		require.Equal(t, exitTrouble, r.code, command)
		require.Contains(t, r.stderr, "no chunk", command)
	}
	report := filepath.Join(t.TempDir(), "report")
	write(t, report, []byte(`{"type":"finding","kind":"meta_length","root":`+strconv.Quote(x.Dir())+`,"file":"`+foreign[0]+"\"}\n"))
	q := run(t, "quarantine", x.Dir(), "--from", report, "--yes")
	require.Equal(t, exitSound, q.code)
	require.Contains(t, q.stdout, "skipped "+foreign[0])
	require.FileExists(t, filepath.Join(x.Dir(), foreign[0]))
}
