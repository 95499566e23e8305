// SPDX-License-Identifier: Apache-2.0

package coldcache

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const fileBytes = 1 << 20

// newFile is a file that was just written, so that none of it need be on the disk.
func newFile(t *testing.T) string {
	dir := t.TempDir()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	if int64(st.Type) == unix.TMPFS_MAGIC {
		t.Skipf("%s is a tmpfs, whose files are nowhere but in the page cache", dir)
	}
	name := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(name, make([]byte, fileBytes), 0o600))
	return name
}

func TestAFileThatWasJustWrittenIsColdAfterDrop(t *testing.T) {
	name := newFile(t)
	cached, size, err := cachedBytes([]string{name})
	require.NoError(t, err)
	require.EqualValues(t, fileBytes, size)
	require.EqualValues(t, fileBytes, cached)
	require.ErrorContains(t, Check([]string{name}), "still in the page cache")
	require.NoError(t, Fadvise.Drop([]string{name}))
	require.NoError(t, Check([]string{name}))
}

func TestErrors(t *testing.T) {
	none := []string{filepath.Join(t.TempDir(), "none")}
	require.ErrorIs(t, Fadvise.Drop(none), os.ErrNotExist)
	require.ErrorIs(t, Check(none), os.ErrNotExist)
}

func TestChoose(t *testing.T) {
	for _, how := range []How{Caches, Fadvise} {
		got, err := Choose(how)
		require.NoError(t, err)
		require.Equal(t, how, got)
	}
	got, err := Choose(Auto)
	require.NoError(t, err)
	want := Fadvise
	if f, err := os.OpenFile(dropCaches, os.O_WRONLY, 0); err == nil {
		require.NoError(t, f.Close())
		want = Caches
	}
	require.Equal(t, want, got)
	require.NotEqual(t, Caches.Describe(), Fadvise.Describe())
	_, err = Choose("hot")
	require.ErrorContains(t, err, `"hot" is none of auto, caches, fadvise`)
}
