// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
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
