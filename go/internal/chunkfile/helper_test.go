// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		runChild(role) // does not return
	}
	os.Exit(m.Run())
}

// content is the one content of a generation: length, ends and every byte between depend on it, so
// a mixture of two generations, or a part of one, is recognised by parse.
func content(generation uint64, size int) []byte {
	b := bytes.Repeat([]byte{byte(generation)*2 + 1}, max(size, 24))
	binary.BigEndian.PutUint64(b, generation)
	binary.BigEndian.PutUint64(b[8:], uint64(len(b)))
	binary.BigEndian.PutUint64(b[len(b)-8:], generation)
	return b
}

func parse(b []byte) (generation uint64, err error) {
	if len(b) < 24 {
		return 0, fmt.Errorf("torn: %d bytes", len(b))
	}
	generation = binary.BigEndian.Uint64(b)
	if !bytes.Equal(b, content(generation, int(binary.BigEndian.Uint64(b[8:])%(64<<20)))) {
		return 0, fmt.Errorf("torn: %d bytes, generation %d", len(b), generation)
	}
	return generation, nil
}

func mustOpen(t testing.TB, dir string) *Dir {
	t.Helper()
	d, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// fastDir is a directory where fsync costs nothing, for tests that race and do not crash.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "chunkfile")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// temporaries returns the temporary files below dir.
func temporaries(t testing.TB, dir string) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && IsTemporary(e.Name()) {
			found = append(found, p)
		}
		return err
	}))
	return found
}

func requireFile(t testing.TB, file string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%s: %d bytes, want %d", file, len(got), len(want))
}

// nameOf is the path of an open descriptor.
func nameOf(fd int) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		panic(err)
	}
	return name
}

// everywhere is a sweep's visit that leaves out nothing.
func everywhere(string) bool { return true }
