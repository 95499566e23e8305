// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/chunkring/chunkring/go/internal/core"
)

// newFD is a descriptor of its own.
func newFD(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	return fd
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// A descriptor is open until its last block was read, others need its place, or the store is closed; and who has
// taken it has it alone.
func TestKeptFiles(t *testing.T) {
	k := &keptFiles{max: 2}
	fds := []int{newFD(t), newFD(t), newFD(t)}
	one, two := k.keep(fds[0]), k.keep(fds[1])
	require.Equal(t, fds[0], one.take())
	require.Zero(t, one.take(), "it is taken")
	one.giveBack(fds[0], true) // is used last now
	three := k.keep(fds[2])
	require.False(t, isOpen(fds[1]), "it was used first of three")
	require.Zero(t, two.take())
	require.Equal(t, fds[0], one.take())
	require.True(t, isOpen(fds[0]))
	one.giveBack(fds[0], false)
	require.False(t, isOpen(fds[0]), "there is no more to read")
	require.Zero(t, one.take())

	require.Equal(t, fds[2], three.take())
	k.close()
	require.True(t, isOpen(fds[2]), "it is taken")
	three.giveBack(fds[2], true)
	require.False(t, isOpen(fds[2]))
	fd := newFD(t)
	require.Zero(t, k.keep(fd).take())
	require.False(t, isOpen(fd))

	var none *keptFiles
	require.Nil(t, none.keep(5))
	require.Nil(t, k.keep(0), "no descriptor")
	require.Zero(t, (*keptFile)(nil).take())
	(*keptFile)(nil).giveBack(0, true)
	none.close()
}

// Batches that are being read keep no more together than there is room for.
func TestKeptFilesOfBatches(t *testing.T) {
	k := &keptFiles{max: 3}
	require.True(t, k.promise(2))
	require.False(t, k.promise(2))
	require.True(t, k.promise(1))
	k.kept(2)
	require.True(t, k.promise(2))
	require.False(t, (*keptFiles)(nil).promise(1))
}

// A descriptor may fail where the path does not: the server has forgotten who has the file open, or another file has
// the name now.
func TestKeptFilesThatFail(t *testing.T) {
	for _, status := range []core.BlockReadStatus{core.BlockReadIO, core.BlockReadBadCRC, core.BlockReadShort} {
		b := &fileBlock{fileBlocks: &fileBlocks{}, fd: 7}
		var fds []int
		r := b.read(nil, func(r *core.BlockRead) {
			fds = append(fds, r.FD)
			if r.Status = core.BlockReadOK; r.FD != 0 {
				r.Status = status
			}
		})
		require.Equal(t, core.BlockReadOK, r.Status)
		require.Equal(t, []int{7, 0}, fds)
	}
	b, tries := &fileBlock{fileBlocks: &fileBlocks{}}, 0
	r := b.read(nil, func(r *core.BlockRead) { tries, r.Status = tries+1, core.BlockReadIO })
	require.Equal(t, core.BlockReadIO, r.Status)
	require.Equal(t, 1, tries, "by its path it fails for good")
}

// What nobody uses is closed, and what was used a moment ago is not.
func TestKeptFilesExpire(t *testing.T) {
	k := &keptFiles{max: 5}
	defer k.close()
	fds := []int{newFD(t), newFD(t)}
	old, young := k.keep(fds[0]), k.keep(fds[1])
	require.True(t, k.expiring)
	k.mu.Lock()
	old.used = old.used.Add(-keptIdle)
	k.mu.Unlock()
	k.expire()
	require.False(t, isOpen(fds[0]))
	require.True(t, isOpen(fds[1]))
	require.True(t, k.expiring, "it comes again")
	require.Equal(t, fds[1], young.take())
	k.expire()
	require.False(t, k.expiring, "there is nothing left")
	young.giveBack(fds[1], true)
	require.True(t, k.expiring)
	require.WithinDuration(t, time.Now(), young.used, keptIdle)
}

func TestWhereFilesAreKept(t *testing.T) {
	k, left := newKeptFiles(t.TempDir(), 100)
	require.Nil(t, k, "an open costs next to nothing here")
	require.Equal(t, 100, left)
	keepOpenAlways = true
	defer func() { keepOpenAlways = false }()
	for most, want := range map[int]int{100: 25, 100_000: keptMax, 3: 0} {
		k, left = newKeptFiles("", most)
		if want == 0 {
			require.Nil(t, k)
		} else {
			require.Equal(t, want, k.max)
		}
		require.Equal(t, most, left+want)
	}
	k, left = newKeptFiles("", 0)
	require.Positive(t, k.max)
	require.Positive(t, left)
}
