// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/errors"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var ctx = context.Background()

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	for rel, data := range map[string][]byte{
		"flat":                            content(1, 100),
		"fake/1a2b/MTk6OmFi":              content(2, 3*writeBytesMax+5),
		"fake/1a2b/empty":                 {},
		"a/b/c/d/e":                       content(3, 4096),
		"t/f/" + strings.Repeat("n", 255): content(4, 10), // the temporary name must not be longer
	} {
		require.NoError(t, d.Put(ctx, rel, data), rel)
		requireFile(t, filepath.Join(dir, rel), data)
		require.NoError(t, d.Put(ctx, rel, content(9, 50)), rel)
		requireFile(t, filepath.Join(dir, rel), content(9, 50))
	}
	require.Empty(t, temporaries(t, dir))
	require.NoError(t, d.CheckWritable())
	require.Empty(t, temporaries(t, dir))
}

func TestOpenMakesTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "y")
	d := mustOpen(t, dir+"//")
	require.Equal(t, dir, d.Path())
	require.NoError(t, d.Put(ctx, "a/b", nil))
	requireFile(t, filepath.Join(dir, "a/b"), []byte{})

	_, err := Open(filepath.Join(dir, "a/b"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

func TestModesUnderUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o027, 0o077} {
		dir := t.TempDir()
		d := mustOpen(t, dir)
		before := syscall.Umask(umask)
		err := d.Put(ctx, "tenant/fp/chunk", []byte("x"))
		syscall.Umask(before)
		require.NoError(t, err)
		for rel, mode := range map[string]int{"tenant": 0o777, "tenant/fp": 0o777, "tenant/fp/chunk": 0o644} {
			fi, err := os.Stat(filepath.Join(dir, rel))
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(mode&^umask), fi.Mode().Perm(), "%s umask %o", rel, umask)
		}
	}
}

// Both ways of opening folders must refuse the same paths.
func TestContainment(t *testing.T) {
	for _, byHand := range []bool{false, true} {
		base := t.TempDir()
		dir, outside := filepath.Join(base, "store"), filepath.Join(base, "outside")
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "real/fp"), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Join(outside, "fp"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(outside, "x"), []byte("keep"), 0o644))
		require.NoError(t, os.Symlink(outside, filepath.Join(dir, "abs")))
		require.NoError(t, os.Symlink("../outside", filepath.Join(dir, "rel")))
		require.NoError(t, os.Symlink("real", filepath.Join(dir, "inside")))
		require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
		require.NoError(t, os.Symlink(outside+"/x", filepath.Join(dir, "real/link")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("keep"), 0o644))
		d := mustOpen(t, dir)
		d.noOpenat2.Store(byHand)

		for rel, want := range map[string]error{
			"": ErrInvalidPath, "/": ErrInvalidPath, ".": ErrInvalidPath, "..": ErrInvalidPath,
			"/etc/x": ErrInvalidPath, "../x": ErrInvalidPath, "../outside/x": ErrInvalidPath,
			"a/../x": ErrInvalidPath, "a/../../x": ErrInvalidPath, "a//x": ErrInvalidPath, "a/": ErrInvalidPath,
			"a/./x": ErrInvalidPath, "./x": ErrInvalidPath, "a/..": ErrInvalidPath, "a\x00b": ErrInvalidPath,
			"a/.chunkring-1-2.tmp": ErrInvalidPath, strings.Repeat("a/", depthMax) + "x": ErrInvalidPath,
			strings.Repeat("n", 256): unix.ENAMETOOLONG, strings.Repeat("n", 5000): unix.ENAMETOOLONG,
			"abs/x": unix.ELOOP, "abs/fp/x": unix.ELOOP, "rel/x": unix.ELOOP, "inside/fp/x": unix.ELOOP,
			"inside/new/x": unix.ELOOP, "dangling/x": unix.ELOOP, "real/link/x": unix.ELOOP,
			"file/x": unix.ENOTDIR, "file/x/y": unix.ENOTDIR,
		} {
			for verb, err := range map[string]error{"put": d.Put(ctx, rel, []byte("bad")), "delete": d.Delete(rel)} {
				require.ErrorIs(t, err, want, "%s %q", verb, rel)
				require.False(t, os.IsNotExist(errors.Cause(err)), "%s %q: a refusal is not a not-found", verb, rel)
			}
		}
		// A final name that is a link is replaced, or deleted, itself.
		require.NoError(t, d.Put(ctx, "real/link", []byte("new")))
		require.NoError(t, os.Remove(filepath.Join(dir, "real/link")))
		require.NoError(t, os.Symlink(outside+"/x", filepath.Join(dir, "real/link")))
		require.NoError(t, d.Delete("real/link"))
		// Names with dots that are none of the forbidden ones.
		require.NoError(t, d.Put(ctx, "..a/.b/...", []byte("fine")))

		requireFile(t, filepath.Join(outside, "x"), []byte("keep"))
		requireFile(t, filepath.Join(dir, "file"), []byte("keep"))
		entries, err := os.ReadDir(base)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		entries, err = os.ReadDir(outside)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		require.Equal(t, byHand, d.noOpenat2.Load(), "openat2 is there: it must not have been given up")
	}
}

func TestPutOnDirectory(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	require.NoError(t, d.Put(ctx, "a/b/c", []byte("x")))
	err := d.Put(ctx, "a/b", []byte("y"))
	require.ErrorIs(t, err, unix.EISDIR)
	require.Equal(t, "put chunk: rename "+dir+"/a/b: is a directory", err.Error())
	require.Error(t, d.Delete("a/b"))
	requireFile(t, filepath.Join(dir, "a/b/c"), []byte("x"))
	require.Empty(t, temporaries(t, dir))
}

func TestDelete(t *testing.T) {
	for _, byHand := range []bool{false, true} {
		dir := t.TempDir()
		d := mustOpen(t, dir)
		d.noOpenat2.Store(byHand)
		for _, rel := range []string{"t/f1/a", "t/f1/b", "t/f2/a", "flat", "u/f/a"} {
			require.NoError(t, d.Put(ctx, rel, []byte("x")))
		}
		for _, rel := range []string{"t/f1/none", "t/none/a", "none/f/a", "none"} {
			err := d.Delete(rel)
			require.True(t, os.IsNotExist(errors.Cause(err)), "%s: %v", rel, err)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.ErrorContains(t, err, dir+"/"+rel)
		}
		require.NoError(t, d.Delete("t/f1/a"))
		require.DirExists(t, filepath.Join(dir, "t/f1"))
		require.NoError(t, d.Delete("t/f1/b"))
		require.NoDirExists(t, filepath.Join(dir, "t/f1"))
		require.FileExists(t, filepath.Join(dir, "t/f2/a"))
		require.NoError(t, d.Delete("t/f2/a"))
		require.NoDirExists(t, filepath.Join(dir, "t"))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "u/f/keep"), 0o755)) // not ours, not recursive
		require.NoError(t, d.Delete("u/f/a"))
		require.DirExists(t, filepath.Join(dir, "u/f/keep"))
		require.NoError(t, d.Delete("flat"))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "u")))
		require.NoError(t, d.Put(ctx, "last", nil))
		require.NoError(t, d.Delete("last"))
		require.DirExists(t, dir, "the store directory stays, even empty")
	}
}

func leftover(t *testing.T, file string, age time.Duration) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("torn"), 0o644))
	when := time.Now().Add(-age)
	require.NoError(t, os.Chtimes(file, when, when))
}

func TestDeleteTakesOldLeftoversAlong(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	for _, rel := range []string{"old/f/a", "young/f/a"} {
		require.NoError(t, d.Put(ctx, rel, []byte("x")))
	}
	leftover(t, dir+"/old/f/.chunkring-1-1.tmp", 2*LeftoverAge)
	leftover(t, dir+"/young/f/.chunkring-1-1.tmp", LeftoverAge/2)
	require.NoError(t, d.Delete("old/f/a"))
	require.NoDirExists(t, dir+"/old")
	require.NoError(t, d.Delete("young/f/a"))
	require.FileExists(t, dir+"/young/f/.chunkring-1-1.tmp")
}

func TestCleanTemporaries(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	require.NoError(t, d.Put(ctx, "t/f/a", []byte("x")))
	leftover(t, dir+"/.chunkring-7-1.tmp", 2*time.Hour)
	leftover(t, dir+"/t/f/.chunkring-7-2.tmp", 2*time.Hour)
	leftover(t, dir+"/only/left/.chunkring-7-3.tmp", 2*time.Hour)
	leftover(t, dir+"/t/f/.chunkring-7-4.tmp", time.Minute)
	leftover(t, dir+"/.chunkring-tenant.tmp/f/.chunkring-7-5.tmp", 2*time.Hour) // a tenant may be named so
	leftover(t, dir+"/.chunkring-tenant.tmp/f/b", 2*time.Hour)
	leftover(t, dir+"/t/other.tmp", 2*time.Hour)
	leftover(t, dir+"/t/.chunkring-other", 2*time.Hour)
	outside := t.TempDir()
	leftover(t, outside+"/.chunkring-7-6.tmp", 2*time.Hour)
	require.NoError(t, os.Symlink(outside, dir+"/link"))
	require.NoError(t, os.Symlink(outside+"/.chunkring-7-6.tmp", dir+"/.chunkring-7-7.tmp"))

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	removed, err := d.CleanTemporaries(cancelled, time.Hour, everywhere)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, removed)

	removed, err = d.CleanTemporaries(ctx, time.Hour, everywhere)
	require.NoError(t, err)
	require.Equal(t, 4, removed)
	require.Equal(t, []string{dir + "/t/f/.chunkring-7-4.tmp"}, temporaries(t, dir))
	require.NoDirExists(t, dir+"/only")
	for _, keep := range []string{
		dir + "/.chunkring-tenant.tmp/f/b", dir + "/t/other.tmp", dir + "/t/.chunkring-other",
		outside + "/.chunkring-7-6.tmp", dir + "/t/f/a",
	} {
		require.FileExists(t, keep)
	}
}

// A sweep looks only into the folders that its caller wants.
func TestCleanTemporariesVisits(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	for _, folder := range []string{"", "/t", "/t/f", "/t/f/deep", "/index", "/index/table"} {
		leftover(t, dir+folder+"/.chunkring-7-1.tmp", 2*time.Hour)
	}
	var asked []string
	removed, err := d.CleanTemporaries(ctx, time.Hour, func(folder string) bool {
		asked = append(asked, folder)
		return folder == "t" || folder == "t/f"
	})
	require.NoError(t, err)
	require.Equal(t, 3, removed)
	require.ElementsMatch(t, []string{"t", "t/f", "t/f/deep", "index"}, asked)
	require.ElementsMatch(t, []string{dir + "/t/f/deep/.chunkring-7-1.tmp", dir + "/index/.chunkring-7-1.tmp",
		dir + "/index/table/.chunkring-7-1.tmp"}, temporaries(t, dir))
}

func TestClosed(t *testing.T) {
	d, err := Open(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Put(ctx, "a", nil), fs.ErrClosed)
	require.ErrorIs(t, d.Delete("a"), fs.ErrClosed)
	require.ErrorIs(t, d.CheckWritable(), fs.ErrClosed)
	_, err = d.CleanTemporaries(ctx, 0, everywhere)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, d.Close(), fs.ErrClosed)
}
