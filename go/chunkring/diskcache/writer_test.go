// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// faulty has every put fail with err, while it is not nil.
func faulty(c *Client, err *error) {
	c.changes.Lock()
	defer c.changes.Unlock()
	c.put = func(rel string, data []byte) (uint64, error) {
		if *err != nil {
			return 0, fmt.Errorf("put %s: %w", rel, *err)
		}
		return c.folder.put(rel, data)
	}
}

// setNow gives the cache a clock.
func setNow(c *Client, now func() time.Time) {
	c.changes.Lock()
	defer c.changes.Unlock()
	c.now = now
}

func TestRoomByBytes(t *testing.T) {
	chunks := someChunks(t, 40, 3000) // 4096 bytes each on the disk
	o := originOf(t, chunks)
	cfg := configOf(t.TempDir())
	cfg.MaxBytes = bytesSize(10 * 4096)
	c := openClient(t, cfg, o)
	for i := range chunks {
		get(t, c, chunks[i:i+1])
		settle(t, c)
		_, held := copies(t, cfg.Directory)
		require.LessOrEqual(t, held, uint64(cfg.MaxBytes))
	}
	files, held := copies(t, cfg.Directory)
	require.Len(t, files, 10)
	require.EqualValues(t, held, value(c.metrics.bytes))
	require.EqualValues(t, 30, value(c.metrics.evicted))
	require.EqualValues(t, 30*4096, value(c.metrics.evictedBytes))
}

func TestRoomByFiles(t *testing.T) {
	chunks := someChunks(t, 20, 1000)
	cfg := configOf(t.TempDir())
	cfg.MaxFiles = 7
	c := openClient(t, cfg, originOf(t, chunks))
	get(t, c, chunks)
	settle(t, c)
	files, _ := copies(t, cfg.Directory)
	require.Len(t, files, 7)
}

func TestTooLarge(t *testing.T) {
	chunks := someChunks(t, 1, 20000)
	cfg := configOf(t.TempDir())
	cfg.MaxBytes = 8192
	c := openClient(t, cfg, originOf(t, chunks))
	get(t, c, chunks)
	settle(t, c)
	require.EqualValues(t, 1, value(c.metrics.dropped[dropTooLarge]))
	files, _ := copies(t, cfg.Directory)
	require.Empty(t, files)
}

// Space that must stay free stays free: the cache gives back some, and writes nothing.
func TestMinFreeBytes(t *testing.T) {
	chunks, dir := someChunks(t, 30, 3000), t.TempDir()
	o := originOf(t, chunks)
	warm(t, configOf(dir), o, chunks[:20]).Stop()
	cfg := configOf(dir)
	cfg.MinFreeBytes = 1 << 60
	c := openClient(t, cfg, o)
	get(t, c, chunks[:10])
	o.requireGets(t, chunks[:10], 1)
	get(t, c, chunks[20:21])
	settle(t, c)
	require.EqualValues(t, 1, value(c.metrics.dropped[dropNoRoom]))
	require.EqualValues(t, giveBackTimes, value(c.metrics.evicted), "not all at once")
	require.NoFileExists(t, c.fileOf(chunks[20]))
	for i := 21; i < 30; i++ {
		get(t, c, chunks[i:i+1])
		settle(t, c)
	}
	files, _ := copies(t, dir)
	require.Empty(t, files)
}

// A cache that copies nothing says so: at start, or when the first copy is dropped; and once until there is room.
func TestNoRoomIsSaid(t *testing.T) {
	const noRoom, again = "the disk cache has no room: nothing is copied; queries go on", "the disk cache has room again"
	for name, least := range map[string]uint64{"at start": 1 << 60, "later": 1} {
		t.Run(name, func(t *testing.T) {
			chunks := someChunks(t, 9, 3000)
			cfg := configOf(t.TempDir())
			cfg.MinFreeBytes = bytesSize(int(least))
			var said bytes.Buffer // read while nobody writes
			c, err := New(cfg, originOf(t, chunks), schema, bucket, log.NewLogfmtLogger(log.NewSyncWriter(&said)), nil)
			require.NoError(t, err)
			t.Cleanup(c.Stop)
			settle(t, c)
			next, now := 0, time.Now()
			setNow(c, func() time.Time { return now })
			lines := func(message string) (found []string) {
				c.changes.Lock()
				defer c.changes.Unlock()
				for line := range strings.Lines(said.String()) {
					if strings.Contains(line, `msg="`+message+`"`) {
						found = append(found, line)
					}
				}
				return found
			}
			copyOne := func(least uint64) {
				c.changes.Lock()
				c.cfg.MinFreeBytes = bytesSize(int(least))
				c.changes.Unlock()
				get(t, c, chunks[next:next+1])
				next++
				settle(t, c)
			}

			start := lines("disk cache of chunks")
			require.Len(t, start, 1)
			require.Regexp(t, fmt.Sprintf(` free_bytes=[1-9]\d* min_free_bytes=%d `, least), start[0])
			require.Equal(t, name == "at start", len(lines(noRoom)) == 1)
			copyOne(1 << 60)
			copyOne(1 << 60)
			require.Len(t, lines(noRoom), 1)
			require.Regexp(t, fmt.Sprintf(`level=warn .* free_bytes=[1-9]\d* min_free_bytes=%d hint=".*min_free_bytes`, 1<<60), lines(noRoom)[0])

			copyOne(1) // it fits, but that does not mean that the next one does
			copyOne(1 << 60)
			require.Len(t, lines(noRoom), 1)
			require.Empty(t, lines(again))
			now = now.Add(shortageOver)
			copyOne(1)
			copyOne(1)
			require.Len(t, lines(again), 1)
			require.Contains(t, lines(again)[0], "level=info")
			require.Contains(t, lines(again)[0], "dropped=3\n")
			require.EqualValues(t, 3, value(c.metrics.dropped[dropNoRoom]))
			copyOne(1 << 60)
			require.Len(t, lines(noRoom), 2)
		})
	}
}

func TestMinFreeDefault(t *testing.T) {
	f, err := openFolder(t.TempDir(), bucket)
	require.NoError(t, err)
	defer f.close()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(f.path, &st))
	_, least, err := f.free(0)
	require.NoError(t, err)
	require.Equal(t, max(1<<30, st.Blocks*uint64(st.Bsize)/20), least)
	_, least, err = f.free(12345)
	require.NoError(t, err)
	require.EqualValues(t, 12345, least)
}

// Writing pauses after failures of the disk, for longer each time, and goes on; queries don't notice.
func TestPauses(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			chunks := someChunks(t, 30, 1000)
			o := originOf(t, chunks)
			c := openClient(t, configOf(t.TempDir()), o)
			now, failure := time.Now(), error(errno)
			setNow(c, func() time.Time { return now })
			faulty(c, &failure)
			next := 0
			one := func() {
				get(t, c, chunks[next:next+1])
				next++
				settle(t, c)
			}
			for range troublesToPause {
				require.Zero(t, value(c.metrics.pauses))
				one()
			}
			require.EqualValues(t, 1, value(c.metrics.pauses))
			require.EqualValues(t, 1, value(c.metrics.paused))
			require.EqualValues(t, troublesToPause, value(c.metrics.errors[opWrite]))
			one()
			require.EqualValues(t, 1, value(c.metrics.dropped[dropPaused]))

			now = now.Add(pauseLeast)
			one() // fails at once: a pause twice as long
			require.EqualValues(t, 2, value(c.metrics.pauses))
			now = now.Add(pauseLeast)
			one()
			require.EqualValues(t, 2, value(c.metrics.dropped[dropPaused]))

			now, failure = now.Add(pauseLeast), nil
			one()
			require.Zero(t, value(c.metrics.paused))
			require.EqualValues(t, 1, value(c.metrics.written))
			failure = errno
			one() // the count begins anew
			require.EqualValues(t, 2, value(c.metrics.pauses))
			require.Equal(t, next, o.all())
		})
	}
}

func TestPauseIsBounded(t *testing.T) {
	c := openClient(t, configOf(t.TempDir()), originOf(t, nil))
	c.changes.Lock()
	defer c.changes.Unlock()
	for range 30 {
		c.trouble.note(c.cache, syscall.EIO)
	}
	require.Equal(t, pauseMost, c.trouble.pause)
	require.False(t, c.trouble.squeeze)
	for range 30 { // of one file, not of the disk
		c.trouble.end(c.cache)
		c.trouble.note(c.cache, syscall.EISDIR)
	}
	require.Zero(t, c.trouble.pause)
}

// A disk that is fuller than it says (a quota) has the cache shrink, not stand still.
func TestQuota(t *testing.T) {
	chunks := someChunks(t, 30, 3000)
	o := originOf(t, chunks)
	c := warm(t, configOf(t.TempDir()), o, chunks[:20])
	failure := error(syscall.EDQUOT)
	faulty(c, &failure)
	get(t, c, chunks[20:21])
	settle(t, c)
	failure = nil
	get(t, c, chunks[21:22])
	settle(t, c)
	require.EqualValues(t, 2, value(c.metrics.evicted))
	require.FileExists(t, c.fileOf(chunks[21]))
	require.Zero(t, value(c.metrics.pauses))
}

// A real full disk: whatever it refuses, queries go on, and it is used as far as it goes.
func TestFullDisk(t *testing.T) {
	for name, options := range map[string]string{"blocks": "size=256k", "inodes": "size=64m,nr_inodes=30"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
				t.Skipf("a tmpfs can't be mounted: %v", err)
			}
			t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
			chunks := someChunks(t, 100, 6000)
			cfg := configOf(filepath.Join(dir, "cache"))
			c := openClient(t, cfg, originOf(t, chunks))
			t.Cleanup(c.Stop) // before the unmount
			for i := range chunks {
				get(t, c, chunks[i:i+1])
				settle(t, c)
			}
			files, _ := copies(t, cfg.Directory)
			require.NotEmpty(t, files)
			if name == "inodes" { // statfs does not tell of these
				require.Positive(t, value(c.metrics.errors[opWrite]))
			} else {
				require.Zero(t, value(c.metrics.errors[opWrite]))
				require.Positive(t, value(c.metrics.evicted))
			}
			get(t, c, chunks)
		})
	}
}

// At no moment the folder takes more than it may, the file that is being written included.
func TestDiskUseAtEveryMoment(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a tmpfs can't be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	used := func() uint64 {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Error(err)
		}
		return (st.Blocks - st.Bfree) * uint64(st.Bsize)
	}
	chunks := append(someChunks(t, 60, 3000), someChunks(t, 20, 60000)...)
	cfg := configOf(filepath.Join(dir, "cache"))
	cfg.MaxBytes = bytesSize(300 << 10)
	c := openClient(t, cfg, originOf(t, chunks))
	t.Cleanup(c.Stop) // before the unmount
	base, most, over := used(), make(chan uint64), make(chan struct{})
	go func() {
		seen := uint64(0)
		for {
			select {
			case <-over:
				most <- seen
				return
			default:
				seen = max(seen, used()-base)
			}
		}
	}()
	for round := range 20 {
		for i := range chunks {
			n := (i*37 + round*11) % len(chunks)
			get(t, c, chunks[n:n+1])
			if i%9 == 0 {
				_ = os.Truncate(c.fileOf(chunks[n]), 100)
			}
		}
	}
	close(over)
	seen := <-most
	const beingRead = 64 << 10 // one that is deleted meanwhile takes its room until it is closed
	require.LessOrEqual(t, seen, uint64(cfg.MaxBytes)+beingRead)
	require.Greater(t, seen, uint64(cfg.MaxBytes)*8/10)
}

// A copy that can't be deleted still takes room, so nothing is written in its place.
func TestEvictionFails(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("as root: by a folder in place of the file")
	}
	chunks := someChunks(t, 3, 3000)
	cfg := configOf(t.TempDir())
	cfg.MaxBytes = bytesSize(2 * 4096)
	c := warm(t, cfg, originOf(t, chunks), chunks[:2])
	for i := range 2 {
		require.NoError(t, os.Remove(c.fileOf(chunks[i])))
		require.NoError(t, os.MkdirAll(filepath.Join(c.fileOf(chunks[i]), "in"), 0o700))
	}
	get(t, c, chunks[2:])
	settle(t, c)
	require.EqualValues(t, 1, value(c.metrics.dropped[dropError]))
	require.EqualValues(t, 1, value(c.metrics.errors[opDelete]))
	files, bytes := c.index.held()
	require.EqualValues(t, 2, files)
	require.EqualValues(t, 2*4096, bytes)
}

func TestQueueIsBounded(t *testing.T) {
	chunks := someChunks(t, 40, 20000)
	o := originOf(t, chunks)
	c := openClient(t, configOf(t.TempDir()), o)
	goOn := holdWriter(t, c)
	require.Equal(t, queueBytesMax, c.queue.max)
	c.queue.max = 640000
	get(t, c, chunks)
	c.queue.mu.Lock()
	bytes := c.queue.bytes
	c.queue.mu.Unlock()
	require.LessOrEqual(t, bytes, c.queue.max)
	require.Greater(t, bytes, c.queue.max-21000)
	dropped := int(value(c.metrics.dropped[dropQueueFull]))
	require.Positive(t, dropped)
	get(t, c, chunks) // what is queued, out of the queue
	require.Equal(t, 40+dropped, o.all())
	goOn()
	settle(t, c)
	files, _ := copies(t, c.cfg.Directory)
	require.Len(t, files, 40-dropped)
}

// Bytes that are not what the name says are not written, whoever gave them.
func TestWrongBytesAreNotWritten(t *testing.T) {
	chunks := someChunks(t, 1, 2000)
	c := openClient(t, configOf(t.TempDir()), originOf(t, nil))
	data := encoded(t, chunks[0])
	c.offer(chunks[0].ChunkRef, data[:len(data)-1])
	settle(t, c)
	require.EqualValues(t, 1, value(c.metrics.dropped[dropChecksum]))
	files, _ := copies(t, c.cfg.Directory)
	require.Empty(t, files)
}

func TestMaxAge(t *testing.T) {
	chunks, dir := someChunks(t, 10, 2000), t.TempDir() // an hour each from 2025-03-01 on
	o := originOf(t, chunks)
	cfg := configOf(dir)
	cfg.MaxAge = model.Duration(day)
	now := chunks[0].Through.Time()
	c := openClient(t, cfg, o)
	setNow(c, func() time.Time { return now })
	get(t, c, chunks)
	settle(t, c)
	files, _ := copies(t, dir)
	require.Len(t, files, 10)

	now = now.Add(day + 270*time.Minute) // the first five are too old
	c.expire()
	files, _ = copies(t, dir)
	require.Len(t, files, 5)
	require.EqualValues(t, 5, value(c.metrics.expired))
	get(t, c, chunks)
	settle(t, c)
	get(t, c, chunks)
	o.requireGets(t, chunks[:5], 3) // not kept
	o.requireGets(t, chunks[5:], 1)
	files, _ = copies(t, dir)
	require.Len(t, files, 5)
	require.Zero(t, value(c.metrics.damaged))

	c.Stop() // all are too old for a clock of today, at start
	c = openClient(t, cfg, o)
	files, _ = copies(t, dir)
	require.Empty(t, files)
	require.EqualValues(t, 5, value(c.metrics.expired))
}

// A copy that became too old since it was written is not an answer: its tenant may be deleted.
func TestTooOldIsNoHit(t *testing.T) {
	chunks := someChunks(t, 1, 2000)
	o := originOf(t, chunks)
	cfg := configOf(t.TempDir())
	cfg.MaxAge = model.Duration(day)
	now := chunks[0].Through.Time()
	c := openClient(t, cfg, o)
	setNow(c, func() time.Time { return now })
	get(t, c, chunks)
	settle(t, c)
	now = now.Add(2 * day)
	o.mu.Lock()
	clear(o.objects)
	o.mu.Unlock()
	_, err := c.GetChunks(t.Context(), refsOf(chunks))
	require.True(t, errors.Is(err, errNotFound))
}
