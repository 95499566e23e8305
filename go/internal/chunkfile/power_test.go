// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A power loss, as xfstests makes it: ext4 in a file, and an ioctl that stops every write to it, the
// journal's too. What is then found after a mount is what had reached the disk. A file written
// without sync is the control: were it whole, nothing was lost and the test would prove nothing.
func TestPowerLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("mounts a file system")
	}
	image := filepath.Join(t.TempDir(), "ext4")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 64<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v %s", err, out)
	}
	dir := t.TempDir()
	for round := range 3 {
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			t.Skipf("mount -o loop: %v %s", err, out)
		}
		mounted := true
		unmount := func() {
			if mounted {
				require.NoError(t, unix.Unmount(dir, 0))
			}
			mounted = false
		}
		t.Cleanup(unmount)
		acked := losePower(t, dir, round)
		unmount()
		require.NoError(t, exec.Command("mount", "-o", "loop", image, dir).Run())
		mounted = true
		checkAfterPowerLoss(t, dir, round, acked)
		unmount()
	}
}

const powerWriters = 4

// losePower puts until the power goes, and returns how many generations of each writer's names were
// acknowledged. Every other name is in a folder of its own, so folders are lost or kept too.
func losePower(t *testing.T, dir string, round int) (acked [powerWriters]uint64) {
	d, err := Open(dir)
	require.NoError(t, err)
	root, err := os.Open(dir)
	require.NoError(t, err)
	var wg, started sync.WaitGroup
	started.Add(powerWriters)
	for w := range powerWriters {
		wg.Go(func() {
			for g := uint64(1); ; g++ {
				size := int(g%5) * 30000
				if d.Put(ctx, powerName(round, w, g), content(g, size)) != nil ||
					d.Put(ctx, powerSame(round, w), content(g, size)) != nil {
					return
				}
				if acked[w] = g; g == 2 {
					started.Done()
				}
			}
		})
	}
	started.Wait()
	time.Sleep(150 * time.Millisecond)
	require.NoError(t, os.WriteFile(dir+"/control", content(uint64(round)+100, 50000), 0o644))
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	require.NoError(t, unix.IoctlSetPointerInt(int(root.Fd()), shutdown, noLogFlush))
	wg.Wait()
	require.NoError(t, root.Close())
	require.NoError(t, d.Close())
	return acked
}

func powerName(round, w int, g uint64) string { return fmt.Sprintf("r%d/%d-%d/c", round, w, g%40) }
func powerSame(round, w int) string           { return fmt.Sprintf("r%d/%d/same", round, w) }

func checkAfterPowerLoss(t *testing.T, dir string, round int, acked [powerWriters]uint64) {
	b, err := os.ReadFile(dir + "/control")
	if err == nil {
		_, err = parse(b)
	}
	require.Error(t, err, "the control was kept: no power was lost")
	require.NoError(t, os.RemoveAll(dir+"/control"))

	puts := uint64(0)
	for w, last := range acked {
		puts += last
		checkGeneration(t, filepath.Join(dir, powerSame(round, w)), last)
		for g := last; g > 0 && g+39 > last; g-- {
			checkGeneration(t, filepath.Join(dir, powerName(round, w, g)), g)
		}
	}
	files := 0
	top := fmt.Sprintf("%s/r%d", dir, round)
	require.NoError(t, filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && !IsTemporary(e.Name()) {
			files++
			b, readErr := os.ReadFile(p)
			require.NoError(t, readErr)
			_, err = parse(b)
		}
		return err
	}), "a final name is never torn")
	d := mustOpen(t, dir)
	left := len(temporaries(t, dir))
	removed, err := d.CleanTemporaries(ctx, -time.Hour, everywhere)
	require.NoError(t, err)
	require.Equal(t, left, removed)
	require.NoError(t, d.Close())
	t.Logf("round %d: %d puts acknowledged, %d files whole, %d leftovers", round, 2*puts, files, left)
}

// checkGeneration: what was acknowledged, or what was being put when the power went.
func checkGeneration(t *testing.T, file string, acked uint64) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err, "acknowledged and lost")
	got, err := parse(b)
	require.NoError(t, err)
	require.GreaterOrEqual(t, got, acked, file)
}
