// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// Commands that take a store, and whether no chunk can be allowed there.
var storeCommands = []struct {
	args  []string
	allow bool
}{
	{[]string{"verify", "--settle", "0"}, true}, {[]string{"verify", "--json"}, true}, {[]string{"verify", "--quiet"}, true},
	{[]string{"ls"}, true}, {[]string{"ls", "--totals", "tenant"}, true}, {[]string{"ls", "--json", "--sort", "size"}, true},
	{[]string{"cat"}, true}, {[]string{"doctor"}, true}, {[]string{"bench"}, false},
}

// Where there is nothing to look at nothing is sound.
func TestNothingThere(t *testing.T) {
	odd := t.TempDir()
	write(t, filepath.Join(odd, "fstab"), []byte("x"))
	write(t, filepath.Join(odd, "ssl", "certs", "a.pem"), []byte("x"))
	require.NoError(t, os.Symlink("ssl", filepath.Join(odd, "link")))
	for _, dir := range []string{t.TempDir(), odd} {
		for _, c := range storeCommands {
			r := run(t, append(slices.Clone(c.args), dir)...)
			require.Equal(t, exitTrouble, r.code, "%v", c.args)
			require.Contains(t, r.stderr, dir+": no chunk was found there: is it the directory", "%v", c.args)
			require.NotContains(t, r.stdout, "sound\n", "%v", c.args)
			require.NotContains(t, r.stdout, `"sound":true`, "%v", c.args)
			if !c.allow {
				continue
			}
			r = run(t, append(slices.Clone(c.args), "--allow-empty", dir)...)
			require.NotContains(t, r.stderr, "no chunk", "%v", c.args)
			if c.args[0] != "doctor" && dir != odd { // the machine may not be all well; the link is a finding
				require.Equal(t, exitSound, r.code, "%v: %s", c.args, r.stdout)
			} else {
				require.NotEqual(t, exitTrouble, r.code, "%v: %s", c.args, r.stdout)
			}
		}
	}
	require.Contains(t, run(t, "verify", "--json", "--allow-empty", t.TempDir()).stdout, `"sound":true`)
	require.Contains(t, run(t, "verify", "--allow-empty", t.TempDir()).stdout, "nothing to check")
}

// One store of several that is not mounted does not hide behind the others.
func TestOneOfSeveralIsEmpty(t *testing.T) {
	x, empty := smallStore(t), t.TempDir()
	for _, args := range [][]string{{"verify", x.Dir(), empty}, {"verify", empty, x.Dir()}, {"ls", x.Dir(), empty}, {"cat", x.Dir(), empty}} {
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code, "%v", args)
		require.Contains(t, r.stderr, empty+": no chunk was found there", "%v", args)
		require.NotContains(t, r.stderr, x.Dir()+":", "%v", args)
		require.Equal(t, exitSound, run(t, append(args, "--allow-empty")...).code, "%v", args)
	}
	r := verify(t, x.Dir(), empty)
	require.Equal(t, []int64{40, 1}, []int64{r.summary.num("chunks"), r.summary.num("empty")})
	require.False(t, r.summary["sound"].(bool))
}

// The folder above a store and those inside it: the message names the store.
func TestTheStoreThatWasMeant(t *testing.T) {
	for _, schema := range []string{"v11", "v13"} {
		x := generate(t, chunkgen.Options{Count: 10, Size: 2000, Tenants: 2, Schema: schema})
		top := t.TempDir()
		store := filepath.Join(top, "loki", "chunks")
		require.NoError(t, os.MkdirAll(filepath.Dir(store), 0o755))
		require.NoError(t, os.Rename(x.Dir(), store))
		require.NoError(t, os.MkdirAll(filepath.Join(top, "loki", "compactor", "deletes"), 0o755))
		write(t, filepath.Join(store, "index", "index_19700", "x"), []byte("x"))
		require.NoError(t, os.MkdirAll(filepath.Join(store, "nobody", "abc"), 0o755))
		for _, dir := range []string{
			filepath.Dir(store), top, filepath.Join(store, "index"), filepath.Join(store, "index", "index_19700"),
			filepath.Join(store, "nobody"), filepath.Join(store, "nobody", "abc"),
		} {
			for _, c := range storeCommands {
				r := run(t, append(slices.Clone(c.args), dir)...)
				require.Equal(t, exitTrouble, r.code, "%v %s", c.args, dir)
				require.Contains(t, r.stderr, "did you mean "+store+"?", "%v %s", c.args, dir)
			}
		}
		require.Equal(t, exitSound, run(t, "verify", store).code)
	}
}

// Filters that leave nothing.
func TestNothingLeft(t *testing.T) {
	x := smallStore(t)
	for _, command := range []string{"verify", "ls", "cat", "bench"} {
		for filter, want := range map[string]string{
			"--tenant=nobody": "none of a tenant", "--since=2100-01-01": "of its 40 chunks none", "--until=1999-01-01": "of its 40 chunks none",
		} {
			r := run(t, command, filter, x.Dir())
			require.Equal(t, exitTrouble, r.code, "%s %s", command, filter)
			require.Contains(t, r.stderr, want, "%s %s", command, filter)
			if command != "bench" {
				r = run(t, command, filter, "--allow-empty", x.Dir())
				require.Equal(t, exitSound, r.code, "%s %s", command, filter)
			}
		}
	}
	for _, args := range [][]string{{"ls"}, {"ls", "--totals", "none"}, {"cat"}} {
		args = append(args, "--match", `{app="nothere"}`, x.Dir())
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code, "%v", args)
		require.Contains(t, r.stderr, "--match", "%v", args)
		require.Equal(t, exitSound, run(t, append(args, "--allow-empty")...).code, "%v", args)
	}
	// lines that were read and not wanted are another matter
	require.Equal(t, exitSound, run(t, "cat", "--grep", "nothere", x.Dir()).code)
}

func TestEmptyLists(t *testing.T) {
	x := smallStore(t)
	for _, args := range [][]string{{"verify", "-"}, {"verify", "-0", "-"}, {"ls", "-"}, {"cat", "-"}, {"info", "-"}} {
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code, "%v", args)
		require.Contains(t, r.stderr, "names no file", "%v", args)
		require.Equal(t, exitSound, run(t, append(args, "--allow-empty")...).code, "%v", args)
	}
	// all that it names were deleted before they were looked at
	for _, command := range []string{"verify", "ls", "cat"} {
		r := runInput(t, x.Path(x.Refs[0])+"gone\n", command, "-")
		require.Equal(t, exitTrouble, r.code, command)
		require.Contains(t, r.stderr, "deleted meanwhile", command)
	}
	require.Equal(t, exitSound, runInput(t, x.Path(x.Refs[0])+"gone\n"+x.Path(x.Refs[0]), "verify", "-").code)
}

func TestQuarantineOfNothing(t *testing.T) {
	x, y := smallStore(t), smallStore(t)
	sound := filepath.Join(t.TempDir(), "sound")
	write(t, sound, []byte(run(t, "verify", "--json", x.Dir()).stdout))
	r := run(t, "quarantine", x.Dir(), "--from", sound, "--yes")
	require.Equal(t, exitSound, r.code, "a sound store is well: %s", r.stderr)

	flip(500)(t, y.Path(y.Refs[0]))
	foreign := filepath.Join(t.TempDir(), "foreign")
	write(t, foreign, []byte(run(t, "verify", "--json", "--settle", "0", y.Dir()).stdout))
	for _, args := range [][]string{
		{"quarantine", x.Dir(), "--from", os.DevNull}, {"quarantine", x.Dir(), "--from", foreign}, {"quarantine", x.Dir(), "--restore"},
	} {
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code, "%v", args)
		require.Equal(t, 1, strings.Count(r.stderr, "\n"), r.stderr)
		require.Equal(t, exitSound, run(t, append(args, "--allow-empty")...).code, "%v", args)
	}
}

// A file that is no chunk by name or content, and a chunk of which nothing is left.
func TestSalvageOfNothing(t *testing.T) {
	x := smallStore(t)
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, []byte("a file like any other"))
	r := run(t, "salvage", other, "-o", other+".new")
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "it is no chunk")
	require.NoFileExists(t, other+".new")
	write(t, x.Path(x.Refs[0]), make([]byte, 1000))
	r = run(t, "salvage", x.Path(x.Refs[0]), "-o", other+".new")
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stderr, "nothing can be saved")
}
