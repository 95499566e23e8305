// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/internal/core"
	"github.com/chunkring/chunkring/go/test/slowfs"
)

// The size that fstat(2) gives is a hint. These tests run on both twins, too.

// The kernel says 0 bytes of a file of /proc, and 4096 of one of /sys.
func TestSizesOfTheKernelsOwnFiles(t *testing.T) {
	for name, c := range map[string]struct {
		path     string
		said     int64
		wrongCRC core.Status
	}{
		"said to be empty":  {"/proc/sys/kernel/ostype", 0, core.BadCRC},
		"said to be longer": {"/sys/devices/system/cpu/possible", 4096, core.Short},
	} {
		t.Run(name, func(t *testing.T) {
			fi, err := os.Stat(c.path)
			if err != nil {
				t.Skip(err)
			}
			require.Equal(t, c.said, fi.Size())
			content := must(os.ReadFile(c.path))
			require.NotEmpty(t, content)
			eachBackend(t, func(t *testing.T, backend string) {
				r := open(t, filepath.Dir(c.path), core.Options{Backend: backend})
				for _, f := range []struct {
					check  core.Check
					crc    uint32
					status core.Status
				}{
					{core.CheckNone, 0, core.OK},
					{core.CheckCRC, crcOf(content), core.OK},
					{core.CheckCRC, crcOf(content) + 1, c.wrongCRC},
				} {
					files := []core.File{{Path: filepath.Base(c.path), CRC: f.crc}}
					require.NoError(t, read(r, files, f.check, core.NewBuffer, nil))
					require.Equal(t, f.status, files[0].Status, "%+v", f)
					if f.status == core.Short {
						require.Nil(t, files[0].Buf)
						require.Zero(t, files[0].GotCRC)
						continue
					}
					require.Equal(t, content, files[0].Buf)
				}
			})
		})
	}
}

// A size that stays wrong: an old one, where another machine wrote.
func TestSizesThatStayWrong(t *testing.T) {
	for name, lie := range map[string]func(string, int64) int64{
		"0":      func(string, int64) int64 { return 0 },
		"half":   func(_ string, n int64) int64 { return n / 2 },
		"double": func(_ string, n int64) int64 { return 2 * n },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, slow, _ := mountSlow(t, 5, 300_000, slowfs.Options{Size: lie})
			eachBackend(t, func(t *testing.T, backend string) {
				r := open(t, dir, core.Options{Backend: backend})
				for _, check := range []core.Check{core.CheckNone, core.CheckCRC} {
					files := slices.Clone(slow)
					require.NoError(t, read(r, files, check, core.NewBuffer, nil))
					requireStatus(t, core.OK, files)
					for _, f := range files {
						require.Equal(t, f.CRC, crcOf(f.Buf))
					}
				}
				// What counts is how large it is, not how large it is said to be.
				r = open(t, dir, core.Options{Backend: backend, MaxFileBytes: 200_000})
				files := slices.Clone(slow)
				require.NoError(t, read(r, files, core.CheckCRC, core.NewBuffer, nil))
				requireStatus(t, core.TooBig, files)
			})
		})
	}
}

// Alloc is called between fstat(2) and the first read: what changes the file there makes the size a lie.
func TestFilesThatChangeBehindTheirSize(t *testing.T) {
	const limit = 200_000
	before, added := strings.Repeat("before", 10_000), strings.Repeat("added", 10_000)
	for name, c := range map[string]struct {
		change  func(t *testing.T, path string, call int)
		noRoom  int    // this call of Alloc and later ones give none; 0: all give some
		cancel  int    // this call stops the batch
		content string // in the end, as far as it is read
		// with the CRC of content, with another one, without a check
		right, wrong, unchecked core.Status
		allocs                  int // without a check
	}{
		"the same": {
			content: before, right: core.OK, wrong: core.BadCRC, unchecked: core.OK, allocs: 1,
		},
		"grown once": {
			change: func(t *testing.T, path string, call int) {
				if call == 1 {
					appendTo(t, path, added)
				}
			},
			content: before + added, right: core.OK, wrong: core.BadCRC, unchecked: core.OK, allocs: 2,
		},
		"grown each time": {
			change: func(t *testing.T, path string, _ int) { appendTo(t, path, "x") },
			// read four times in all
			content: before + "xxx", right: core.OK, wrong: core.BadCRC, unchecked: core.OK, allocs: 4,
		},
		"grown beyond the limit": {
			change:  func(t *testing.T, path string, _ int) { appendTo(t, path, strings.Repeat("x", limit)) },
			content: "nothing", right: core.TooBig, wrong: core.TooBig, unchecked: core.TooBig, allocs: 1,
		},
		"grown, and no more room": {
			change: func(t *testing.T, path string, _ int) { appendTo(t, path, added) }, noRoom: 2,
			content: "nothing", right: core.TooSmall, wrong: core.TooSmall, unchecked: core.TooSmall, allocs: 2,
		},
		"grown, and stopped": {
			change: func(t *testing.T, path string, _ int) { appendTo(t, path, added) }, cancel: 2,
			content: "nothing", right: core.Canceled, wrong: core.Canceled, unchecked: core.Canceled, allocs: 2,
		},
		"cut": {
			change:  func(t *testing.T, path string, _ int) { require.NoError(t, os.Truncate(path, 6)) },
			content: "before", right: core.OK, wrong: core.Short, unchecked: core.OK, allocs: 1,
		},
		"emptied": {
			change:  func(t *testing.T, path string, _ int) { require.NoError(t, os.Truncate(path, 0)) },
			content: "", right: core.OK, wrong: core.Short, unchecked: core.OK, allocs: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				dir := t.TempDir()
				r := open(t, dir, core.Options{Backend: backend, MaxFileBytes: limit})
				once := func(check core.Check, crc uint32) (f core.File, allocs int) {
					path := filepath.Join(dir, "f")
					require.NoError(t, os.WriteFile(path, []byte(before), 0o644))
					var cancel uint32
					files := []core.File{{Path: "f", CRC: crc}}
					require.NoError(t, read(r, files, check, func(size int) []byte {
						allocs++
						if c.change != nil {
							c.change(t, path, allocs)
						}
						if allocs == c.cancel {
							atomic.StoreUint32(&cancel, 1)
						}
						if c.noRoom != 0 && allocs >= c.noRoom {
							return nil
						}
						return core.NewBuffer(size)
					}, &cancel))
					return files[0], allocs
				}
				judge := func(f core.File, status core.Status) {
					t.Helper()
					require.Equal(t, status, f.Status)
					switch status {
					case core.OK, core.BadCRC:
						require.Equal(t, c.content, string(f.Buf))
					default:
						require.Nil(t, f.Buf)
					}
				}
				f, _ := once(core.CheckCRC, crcOf([]byte(c.content)))
				judge(f, c.right)
				f, _ = once(core.CheckCRC, 1)
				judge(f, c.wrong)
				f, allocs := once(core.CheckNone, 0)
				judge(f, c.unchecked)
				require.Equal(t, c.allocs, allocs)
			})
		})
	}
}

// Bytes that are right need no look behind them: whoever appends to a chunk's file has not damaged the chunk.
func TestRightBytesAreNotReadAgain(t *testing.T) {
	content := bytes.Repeat([]byte("right"), 1000)
	eachBackend(t, func(t *testing.T, backend string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		require.NoError(t, os.WriteFile(path, content, 0o644))
		r := open(t, dir, core.Options{Backend: backend})
		files, allocs := []core.File{{Path: "f", CRC: crcOf(content)}}, 0
		require.NoError(t, read(r, files, core.CheckCRC, func(size int) []byte {
			allocs++
			appendTo(t, path, "more")
			return core.NewBuffer(size)
		}, nil))
		require.Equal(t, core.OK, files[0].Status)
		require.Equal(t, content, files[0].Buf)
		require.Equal(t, 1, allocs)
	})
}

func appendTo(t testing.TB, path, more string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.WriteString(more)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// A batch whose time has passed begins nothing new.
func TestTimeout(t *testing.T) {
	dir := t.TempDir()
	r, err := core.Open(dir, core.Options{})
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 3<<20), 0o644))
	for _, n := range []int{1, 50} {
		files := make([]core.File, n)
		for i := range files {
			files[i].Path = "f"
		}
		_, err := r.Read(core.Batch{Files: files, Timeout: 20 * time.Millisecond, Alloc: func(size int) []byte {
			time.Sleep(30 * time.Millisecond)
			return core.NewBuffer(size)
		}})
		require.NoError(t, err)
		for i := range files {
			require.Equal(t, core.TimedOut, files[i].Status, "file %d", i)
		}
		_, err = r.Read(core.Batch{Files: files, Timeout: time.Hour, Alloc: core.NewBuffer})
		require.NoError(t, err)
		for i := range files {
			require.Equal(t, core.OK, files[i].Status, "file %d", i)
		}
	}
}
