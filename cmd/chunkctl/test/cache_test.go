// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/chunkgen"
)

const (
	cacheMarker = ".chunkring-cache.json"
	cacheText   = `{"format":1,"kind":"s3","endpoint":"s3.example.com","bucket":"loki","prefix":"chunks/"}`
	cacheWhose  = `s3 bucket "loki" at "s3.example.com", prefix "chunks/"`
)

// cacheOf is a folder with the marker of a disk cache and one damaged chunk among some.
func cacheOf(t *testing.T, marker string) (dir, damaged string) {
	t.Helper()
	x := generate(t, chunkgen.Options{Count: 5, Size: 3000})
	require.NoError(t, os.WriteFile(filepath.Join(x.Dir(), cacheMarker), []byte(marker), 0o600))
	damaged = x.Path(x.Refs[0])
	require.NoError(t, os.Truncate(damaged, 1000))
	return x.Dir(), damaged
}

func TestCacheIsNamed(t *testing.T) {
	dir, damaged := cacheOf(t, cacheText)
	r := run(t, "doctor", dir)
	require.Contains(t, r.stdout, "copies of the chunks of "+cacheWhose, r.stderr)
	require.NotContains(t, r.stdout, "strange files")

	r = run(t, "ls", "--totals", "tenant", dir)
	require.Contains(t, r.stdout, "is a disk cache of "+cacheWhose)
	require.Equal(t, cacheWhose, typed(t, run(t, "ls", "--totals", "none", "--json", dir), "cache").str("store"))

	r = run(t, "verify", "--settle", "0", dir)
	require.Equal(t, exitFindings, r.code)
	require.Contains(t, r.stdout, "is a disk cache of "+cacheWhose+": what is damaged there is only a miss")
	require.NotContains(t, r.stdout, "quarantine", "no advice to move what heals by itself")
	o := typed(t, run(t, "verify", "--settle", "0", "--json", dir), "cache")
	require.Equal(t, []string{dir, cacheWhose}, []string{o.str("root"), o.str("store")})

	stream := filepath.Dir(damaged) // of a tenant's folder and a stream's as well
	for _, inner := range []string{stream, filepath.Dir(stream)} {
		require.Contains(t, run(t, "ls", "--totals", "none", inner).stdout, "is a disk cache of "+cacheWhose)
	}
}

func TestCacheIsNotQuarantined(t *testing.T) {
	dir, damaged := cacheOf(t, cacheText)
	report := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, os.WriteFile(report, []byte(run(t, "verify", "--settle", "0", "--json", dir).stdout), 0o600))
	for _, args := range [][]string{{"--from", report, "--yes"}, {"--from", report}, {"--restore", "--yes"}} {
		r := run(t, append([]string{"quarantine", dir}, args...)...)
		require.Equal(t, exitTrouble, r.code)
		require.Contains(t, r.stderr, "is a disk cache of "+cacheWhose)
	}
	require.FileExists(t, damaged)
	require.NoDirExists(t, filepath.Join(dir, ".chunkctl-quarantine"))

	require.NoError(t, os.Remove(filepath.Join(dir, cacheMarker))) // the same of a store
	require.Equal(t, exitSound, run(t, "quarantine", dir, "--from", report, "--yes").code)
	require.NoFileExists(t, damaged)
}

// A cache that is empty is no folder that is not a store.
func TestEmptyCache(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, cacheMarker), []byte(cacheText), 0o600))
	for _, c := range storeCommands {
		r := run(t, append(slices.Clone(c.args), dir)...)
		require.Equal(t, exitTrouble, r.code, "%v", c.args)
		require.Equal(t, "chunkctl "+c.args[0]+": "+dir+": the disk cache is empty\n", r.stderr)
		require.NotContains(t, r.stdout, "storage_config.filesystem", "%v", c.args)
	}
	r := run(t, "doctor", "--allow-empty", dir)
	require.Empty(t, r.stderr)
	require.Contains(t, r.stdout, "none: the disk cache is empty")
}

// doctor says of a full disk what holds for a cache, and for a store.
func TestDoctorOfFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a tmpfs can't be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	marker := filepath.Join(dir, cacheMarker)
	require.NoError(t, os.WriteFile(marker, []byte(cacheText), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1000<<10), 0o600))
	r := run(t, "doctor", dir)
	require.Regexp(t, `change  space +\S+ .* free; min_free_bytes is 1\S* \S+ by default\n +below min_free_bytes the disk cache copies nothing`, r.stdout)
	require.NotContains(t, r.stdout, "Loki lose")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	r = run(t, "doctor", dir)
	require.Contains(t, r.stdout, "read-only: Loki can't copy chunks")

	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
	require.NoError(t, os.Remove(marker))
	require.Contains(t, run(t, "doctor", dir).stdout, "a full disk makes Loki lose what it flushes")
}

// What a marker says is shown, but not obeyed by a terminal; a damaged one is a marker still.
func TestCacheMarkersAreHostile(t *testing.T) {
	for marker, whose := range map[string]string{
		"": "an unknown store", "{": "an unknown store", "[]": "an unknown store", "{}": "an unknown store",
		`{"kind":"\u001b[2J","bucket":"a\nb"}`: `\x1b[2J bucket "a\nb"`,
	} {
		dir, _ := cacheOf(t, marker)
		r := run(t, "doctor", dir)
		require.Contains(t, r.stdout, whose, "%q", marker)
		require.NotContains(t, r.stdout, "\x1b")
		require.Equal(t, exitTrouble, run(t, "quarantine", dir, "--from", "/dev/null").code)
	}
}

// typed is the only object of a type.
func typed(t *testing.T, r result, kind string) (found object) {
	t.Helper()
	for _, o := range objects(t, r.stdout) {
		if o.str("type") == kind {
			require.Nil(t, found)
			found = o
		}
	}
	require.NotNil(t, found, r.stdout)
	return found
}
