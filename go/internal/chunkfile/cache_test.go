// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Nothing of a cache is synced, and all of it is its owner's alone.
func TestCacheIsPrivateAndNotSynced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	d, err := OpenCache(dir)
	require.NoError(t, err)
	defer d.Close()
	d.sys.fsync = func(int) error {
		t.Error("fsync was called")
		return nil
	}
	require.NoError(t, d.Put(context.Background(), "tenant/folder/file", []byte("content")))
	got, err := os.ReadFile(filepath.Join(dir, "tenant/folder/file"))
	require.NoError(t, err)
	require.Equal(t, "content", string(got))
	for rel, mode := range map[string]fs.FileMode{"": 0o700, "tenant": 0o700, "tenant/folder": 0o700, "tenant/folder/file": 0o600} {
		info, err := os.Stat(filepath.Join(dir, rel))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), rel)
	}
	require.NoError(t, d.Delete("tenant/folder/file"))
	require.NoDirExists(t, filepath.Join(dir, "tenant"))
}

// What a put says of a file's size on the disk is what stat(2) says, of a new file and of one that is replaced.
func TestPutSized(t *testing.T) {
	d, err := OpenCache(t.TempDir())
	require.NoError(t, err)
	defer d.Close()
	for i, size := range []int{70_000, 5000, 24} {
		blocks, err := d.PutSized(context.Background(), "tenant/folder/file", content(uint64(i), size))
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Stat(filepath.Join(d.Path(), "tenant/folder/file"), &st))
		require.Equal(t, st.Blocks, blocks, "%d bytes", size)
		require.EqualValues(t, size, st.Size)
	}
	_, err = d.PutSized(context.Background(), "../file", nil)
	require.ErrorIs(t, err, ErrInvalidPath)
}
