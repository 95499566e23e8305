// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// lease takes a write lease on a file, as Samba does for a client's oplock: others can't open it.
func lease(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	require.NoError(t, err)
	return f
}

// What can't be opened is not damaged: nothing is known about it, nobody is told to move it.
func TestUnreadableIsNotDamaged(t *testing.T) {
	for _, c := range []struct {
		name  string
		close func(*testing.T, string)
		errno syscall.Errno
		text  string
	}{
		{"no permission", func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0)) }, syscall.EACCES, "Permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := smallStore(t)
			closed, damaged := x.Path(x.Refs[0]), x.Path(x.Refs[1])
			flip(500)(t, damaged)
			c.close(t, closed)
			for _, backend := range []string{"uring", "threads"} {
				out := runUnprivileged(t, "verify", "--json", "--settle", "0", "--backend", backend, x.Dir())
				r := parseReport(t, out)
				require.Equal(t, exitTrouble, r.code)
				require.Len(t, r.unreadable, 1)
				u := r.unreadable[0]
				require.Equal(t, []string{closed, x.Dir(), x.Refs[0].Path, x.Refs[0].Tenant},
					[]string{u.str("path"), u.str("root"), u.str("file"), u.str("tenant")})
				require.Equal(t, int64(c.errno), u.num("errno"))
				require.Contains(t, u.str("detail"), c.text)
				for _, f := range r.findings {
					require.Equal(t, damaged, f.str("path"))
				}
				require.Equal(t, []int64{39, 1, 1}, []int64{r.summary.num("chunks"), r.summary.num("files_error"), r.summary.num("unreadable")})
				require.False(t, r.summary["sound"].(bool))

				text := runUnprivileged(t, "verify", "--settle", "0", x.Dir())
				require.Equal(t, exitTrouble, text.code)
				require.Contains(t, text.stdout, closed+": unreadable: ")
				require.Contains(t, text.stdout, "1 file or folder could not be read")
				require.Contains(t, text.stdout, "1 damaged file: ")
				require.NotContains(t, text.stdout, "\nsound")

				report := filepath.Join(t.TempDir(), "report.json")
				write(t, report, []byte(out.stdout))
				require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(report)), 0o755))
				q := runUnprivileged(t, "quarantine", x.Dir(), "--from", report)
				require.NotContains(t, q.stdout, x.Refs[0].Path)
				require.Contains(t, q.stdout, "would move "+x.Refs[1].Path)
			}
			// nor does a report that was written when it could be read move it
			report := filepath.Join(t.TempDir(), "older.json")
			write(t, report, []byte(`{"type":"finding","kind":"bad_crc","root":`+strconv.Quote(x.Dir())+`,"file":`+strconv.Quote(x.Refs[0].Path)+"}\n"))
			q := runUnprivileged(t, "quarantine", x.Dir(), "--from", report)
			require.Equal(t, exitFindings, q.code)
			require.Contains(t, q.stdout, "failed "+x.Refs[0].Path+": ")

			for _, args := range [][]string{{"ls", x.Dir()}, {"cat", x.Dir()}, {"info", closed}, {"salvage", closed, "-o", "-"}, {"bench", "--rounds", "1", x.Dir()}} {
				r := runUnprivileged(t, args...)
				require.Equal(t, exitTrouble, r.code, "%v", args)
				require.Contains(t, r.stderr, closed+": ", "%v", args)
				require.Contains(t, r.stderr, c.text, "%v", args)
			}
		})
	}
}

// A symbolic link in the place of a file is followed by no command, wherever it leads, and called so. It is a finding of info, too, so that
// what verify reports can be given to it.
func TestSymbolicLinks(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 4, Size: 2000, Tenants: 1, Streams: 1})
	link := x.Path(x.Refs[0])
	for _, target := range []string{os.DevNull, x.Path(x.Refs[1]), link} {
		require.NoError(t, os.Remove(link))
		require.NoError(t, os.Symlink(target, link))
		for _, args := range [][]string{{"cat", link}, {"cat", "--since", "2000-01-01", link}, {"cat", "--match", `{app!=""}`, link}, {"ls", link}, {"salvage", link, "-o", "-"}} {
			r := run(t, args...)
			require.Equal(t, exitTrouble, r.code, "%v", args)
			require.Contains(t, r.stderr, link+": a symbolic link: not followed\n", "%v", args)
			require.Empty(t, r.stdout, "%v", args)
		}
		report := filepath.Join(t.TempDir(), "report.json")
		v := run(t, "verify", "--json", "--settle", "0", x.Dir())
		write(t, report, []byte(v.stdout))
		require.Equal(t, []string{"symlink"}, parseReport(t, v).kinds())
		q := run(t, "quarantine", x.Dir(), "--from", report, "--kinds", "symlink")
		require.Contains(t, q.stdout, "failed "+x.Refs[0].Path+": a symbolic link: not followed\n")

		r := runInput(t, link+"\n", "info", "-")
		require.Equal(t, exitFindings, r.code, r.stderr)
		require.Contains(t, r.stdout, "warning: symlink: ")
		require.NotContains(t, r.stdout, "CRC32C ")
		o := objects(t, run(t, "info", "--json", link).stdout)[0]
		require.Equal(t, "symlink", object(o["findings"].([]any)[0].(map[string]any)).str("kind"))
		require.NotContains(t, o, "size")
	}
	require.Equal(t, exitTrouble, run(t, "info", x.Dir()).code)
}

// A holder that gives its lease up when it is asked to (by the open itself), as Samba does.
func TestVerifyWaitsForALease(t *testing.T) {
	x := smallStore(t)
	flip(500)(t, x.Path(x.Refs[1]))
	var held []*os.File
	for _, ref := range x.Refs[:2] {
		old := time.Now().Add(-time.Hour) // not written just now
		require.NoError(t, os.Chtimes(x.Path(ref), old, old))
		held = append(held, lease(t, x.Path(ref)))
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		for _, f := range held {
			for now := unix.F_WRLCK; now == unix.F_WRLCK; time.Sleep(time.Millisecond) {
				now, _ = unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0) // what it is to become
			}
		}
		time.Sleep(300 * time.Millisecond)
		for _, f := range held {
			_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		}
	}()
	r := parseReport(t, run(t, "verify", "--json", "--settle", "1", x.Dir()))
	<-released
	require.Empty(t, r.unreadable)
	require.Equal(t, exitFindings, r.code)
	require.Equal(t, []int64{40, 1, 0}, []int64{r.summary.num("chunks"), r.summary.num("files_error"), r.summary.num("busy")})
}

// A store that can't be opened, and one of which nothing can.
func TestVerifyReadsNothing(t *testing.T) {
	x := smallStore(t)
	r := run(t, "verify", filepath.Join(x.Dir(), "nowhere"))
	require.Equal(t, exitTrouble, r.code)
	require.Contains(t, r.stderr, "No such file")
	for _, ref := range x.Refs {
		require.NoError(t, os.Chmod(x.Path(ref), 0))
	}
	v := parseReport(t, runUnprivileged(t, "verify", "--json", x.Dir()))
	require.Equal(t, exitTrouble, v.code)
	require.Empty(t, v.findings)
	require.Equal(t, []int64{0, 40}, []int64{v.summary.num("chunks"), v.summary.num("unreadable")})
	q := run(t, "quarantine", x.Dir(), "--from", "x", "--kinds", "unreadable")
	require.Equal(t, exitTrouble, q.code)
	require.Contains(t, q.stderr, "no such finding")
}

// What is no file is called so by each command, and none waits for the writer of a FIFO.
func TestNoFile(t *testing.T) {
	x := smallStore(t)
	fifo := x.Path(x.Refs[0])
	require.NoError(t, os.Remove(fifo))
	require.NoError(t, unix.Mkfifo(fifo, 0o644))

	for _, args := range [][]string{{"cat", fifo}, {"ls", fifo}, {"salvage", fifo, "-o", filepath.Join(t.TempDir(), "lines")}} {
		r := run(t, args...)
		require.Equal(t, exitTrouble, r.code, args[0])
		require.Equal(t, "chunkctl "+args[0]+": "+fifo+": a FIFO, a socket or a device, not a file\n", r.stderr)
	}
	info := run(t, "info", fifo)
	require.Equal(t, exitFindings, info.code)
	require.Contains(t, info.stdout, ": error: not_a_file: ")
	for _, backend := range []string{"uring", "threads"} {
		r := verify(t, "--settle", "0", "--backend", backend, x.Dir())
		require.Equal(t, exitFindings, r.code)
		require.Equal(t, []string{"not_a_file"}, r.kinds())
	}
}
