// SPDX-License-Identifier: Apache-2.0

package chunkring_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/chunkring"
)

// syscallNumbers is this architecture's table, from the source of x/sys, which has them all.
func syscallNumbers(t *testing.T) map[string]uint32 {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+runtime.GOARCH+".go"))
	require.NoError(t, err)
	numbers := map[string]uint32{}
	for _, m := range regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+= (\d+)`).FindAllStringSubmatch(string(source), -1) {
		nr, err := strconv.ParseUint(m[2], 10, 32)
		require.NoError(t, err)
		numbers[strings.ToLower(m[1])] = uint32(nr)
	}
	return numbers
}

// profile reads ops/seccomp.json: the numbers of the calls it allows.
func profile(t *testing.T) []uint32 {
	t.Helper()
	var p struct {
		DefaultAction   string
		DefaultErrnoRet int
		Syscalls        []struct {
			Names  []string
			Action string
		}
	}
	b, err := os.ReadFile("ops/seccomp.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &p))
	require.Equal(t, "SCMP_ACT_ERRNO", p.DefaultAction)
	require.Equal(t, int(syscall.EPERM), p.DefaultErrnoRet)
	numbers := syscallNumbers(t)
	var allowed []uint32
	seen := map[string]bool{}
	for _, group := range p.Syscalls {
		require.Equal(t, "SCMP_ACT_ALLOW", group.Action)
		for _, name := range group.Names {
			require.False(t, seen[name], "%s twice", name)
			seen[name] = true
			if nr, ok := numbers[name]; ok { // old calls are missing on new architectures
				allowed = append(allowed, nr)
			}
		}
	}
	require.Greater(t, len(allowed), len(seen)*3/4, "names are misspelled")
	return allowed
}

// allowOnly makes every other system call EPERM, in all threads of this process and for good.
func allowOnly(t *testing.T, calls []uint32) {
	t.Helper()
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number
	for _, nr := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(syscall.EPERM)})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if err != 0 {
		t.Skipf("seccomp: %v", err)
	}
}

// TestSeccompProfile: under ops/seccomp.json everything works, with io_uring, and what the profile
// does not name is refused.
func TestSeccompProfile(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	dir, chunks := smallStore(t, v13, 200)
	_ = uringRefusal() // before, for eachBackend
	allowOnly(t, profile(t))
	for _, nr := range []uintptr{unix.SYS_MOUNT, unix.SYS_PTRACE, unix.SYS_BPF, unix.SYS_UNSHARE, unix.SYS_PERF_EVENT_OPEN} {
		_, _, errno := unix.RawSyscall(nr, ^uintptr(0), ^uintptr(0), ^uintptr(0))
		require.Equal(t, syscall.EPERM, errno, "%d", nr)
	}
	eachBackend(t, func(t *testing.T, backend string) {
		lines := &logLines{}
		c := ringWith(t, chunkring.Config{Directory: dir, Backend: backend}, v13, lines)
		require.Equal(t, backend, c.Backend())
		require.Empty(t, lines.with("level=warn"))
		readAll(t, c, chunks)
		two := must(c.GetChunks(context.Background(), chunks[:2]))
		require.NoError(t, c.PutChunks(context.Background(), two))
		require.NoError(t, c.DeleteChunk(context.Background(), chunks[0].UserID, v13.ExternalKey(chunks[0].ChunkRef)))
		require.NoError(t, c.PutChunks(context.Background(), two[:1]))
		readAll(t, c, chunks)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer server.Close()
	answer, err := http.Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusNoContent, answer.StatusCode)
}
