// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/go-kit/log/level"

	"github.com/grafana/loki/v3/pkg/logproto"
)

const (
	queueBytesMax = 64 << 20

	expiryEvery = time.Hour

	// For min_free_bytes a write deletes at most so many times what it wants to write: where space that was freed
	// is told late (btrfs, snapshots), the folder would be emptied else.
	giveBackTimes = 4

	// After ENOSPC or EDQUOT in spite of all reckoning one of so many bytes makes room for the next write.
	squeezePart = 100

	troublesToPause = 3
	pauseLeast      = 5 * time.Second
	pauseMost       = 5 * time.Minute
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// job is a copy to write. Its bytes are those of a chunk that a query may still read; nobody writes to them.
type job struct {
	ref  logproto.ChunkRef
	data []byte
}

// queue holds at most max bytes, with what is being written.
type queue struct {
	max   int // queueBytesMax
	mu    sync.Mutex
	jobs  []job
	data  map[logproto.ChunkRef][]byte // of jobs, and of the one that is being written
	bytes int
	wake  chan struct{} // holds one
}

func (q *queue) push(j job) bool {
	q.mu.Lock()
	fits := q.bytes+len(j.data) <= q.max
	if fits {
		q.jobs = append(q.jobs, j)
		q.data[j.ref] = j.data
		q.bytes += len(j.data)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it will look
	}
	return fits
}

func (q *queue) pop() (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 {
		return job{}, false
	}
	j := q.jobs[0]
	q.jobs[0] = job{} // what was written is garbage
	q.jobs = q.jobs[1:]
	return j, true
}

// finish gives back the room of a job that was popped.
func (q *queue) finish(j job) {
	q.mu.Lock()
	q.bytes -= len(j.data)
	delete(q.data, j.ref)
	q.mu.Unlock()
}

// find returns the bytes of a chunk that waits to be written, or nil.
func (q *queue) find(ref logproto.ChunkRef) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.data[ref]
}

// forget takes a chunk out, and returns how many bytes that were.
func (q *queue) forget(ref logproto.ChunkRef) (bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = slices.DeleteFunc(q.jobs, func(j job) bool {
		if j.ref == ref {
			bytes += len(j.data)
			return true
		}
		return false
	})
	delete(q.data, ref)
	q.bytes -= bytes
	return bytes
}

// offer has a copy written, some time, or not.
func (c *cache) offer(ref logproto.ChunkRef, data []byte) {
	switch {
	case c.tooOld(ref):
	case c.trouble.pauses(c.now()):
		c.metrics.dropped[dropPaused].Inc()
	case !c.queue.push(job{ref, data}):
		c.metrics.dropped[dropQueueFull].Inc()
	default:
		c.metrics.queueBytes.Add(float64(len(data)))
	}
}

// write is the writer. It begins with what the folder has: until that is known nobody knows what may be added.
func (c *cache) write() {
	defer close(c.done)
	c.lookAround()
	expiry := time.NewTicker(expiryEvery)
	defer expiry.Stop()
	for {
		c.writeQueued()
		select {
		case <-c.queue.wake:
		case <-expiry.C:
			c.expire()
		case <-c.ctx.Done():
			c.writeQueued() // of calls that ended before the stop
			return
		}
	}
}

// lookAround is the walk at start.
func (c *cache) lookAround() {
	begin := time.Now()
	files, foreign, inPlace, err := c.folder.walk(c.ctx, c.schema)
	if c.ctx.Err() != nil {
		return // nobody knows what may be written
	}
	if err != nil {
		c.failed(opWalk, err)
	}
	c.changes.Lock()
	defer c.changes.Unlock()
	for _, f := range files {
		if c.tooOld(f.ref) {
			c.remove(f.ref)
			c.metrics.expired.Inc()
			continue
		}
		err := c.index.add(f.ref, f.bytes, true)
		if errors.Is(err, syscall.ENOSPC) { // more than max_files: the newest stay
			c.evict(math.MaxUint64, uint64(c.cfg.MaxFiles)-1)
			err = c.index.add(f.ref, f.bytes, true)
		}
		if err != nil { // it can't be told from another file, or is larger than any chunk: nobody would ever delete it
			c.remove(f.ref)
		}
	}
	c.index.walkIsOver(err == nil && inPlace == 0)
	c.evict(uint64(c.cfg.MaxBytes), uint64(c.cfg.MaxFiles))
	held, bytes := c.index.held()
	avail, least, err := c.folder.free(uint64(c.cfg.MinFreeBytes))
	if err != nil {
		c.failed(opWalk, err)
	}
	level.Info(c.logger).Log("msg", "disk cache of chunks", "store", c.id, "files", held, "bytes", bytes,
		"max_bytes", uint64(c.cfg.MaxBytes), "free_bytes", avail, "min_free_bytes", least,
		"foreign_files", foreign, "seconds", time.Since(begin).Seconds())
	if err == nil && avail+bytes < least { // not even if all copies were deleted
		c.shortage.begin(c)
	}
}

func (c *cache) writeQueued() {
	for {
		j, ok := c.queue.pop()
		if !ok {
			return
		}
		if reason := c.store(j); reason != "" {
			c.metrics.dropped[reason].Inc()
		}
		c.queue.finish(j)
		c.metrics.queueBytes.Sub(float64(len(j.data)))
	}
}

// store writes one copy, or returns why not.
func (c *cache) store(j job) (dropped string) {
	c.changes.Lock()
	defer c.changes.Unlock()
	rel, need := pathOf(c.schema, j.ref), allocated(int64(len(j.data)), 0)
	switch {
	case !c.index.walked:
		return dropStopped
	case c.trouble.pauses(c.now()):
		return dropPaused
	case crc32.Checksum(j.data, castagnoli) != j.ref.Checksum:
		return dropChecksum
	case c.index.has(j.ref) && c.folder.has(rel, len(j.data)):
		return "" // another call fetched it, too
	}
	defer c.showHeld()
	if dropped := c.makeRoom(need); dropped != "" {
		return dropped
	}
	bytes, err := c.put(rel, j.data)
	if err != nil {
		c.failed(opWrite, err)
		c.trouble.note(c, err)
		return dropError
	}
	c.trouble.over(c)
	if err := c.index.add(j.ref, bytes, false); err != nil {
		c.remove(j.ref)
		return dropError
	}
	c.metrics.written.Inc()
	c.metrics.writtenBytes.Add(float64(len(j.data)))
	c.evict(uint64(c.cfg.MaxBytes), uint64(c.cfg.MaxFiles)) // it may have taken more than its bytes
	return ""
}

// makeRoom deletes copies until so many bytes may be written, or returns why they may not. c.changes is held.
func (c *cache) makeRoom(need uint64) (dropped string) {
	most := uint64(c.cfg.MaxBytes)
	if need > most {
		return dropTooLarge
	}
	keep := most - need
	if _, held := c.index.held(); c.trouble.squeeze {
		keep = min(keep, held-min(held, max(2*need, held/squeezePart)))
		c.trouble.squeeze = false
	}
	if !c.evict(keep, uint64(c.cfg.MaxFiles)-1) {
		return dropError
	}
	short, err := c.short(need)
	if err == nil && short > 0 {
		_, held := c.index.held()
		if !c.evict(held-min(held, short, giveBackTimes*need), uint64(c.cfg.MaxFiles)-1) {
			return dropError
		}
		short, err = c.short(need)
	}
	switch {
	case err != nil:
		c.failed(opWrite, err)
		return dropError
	case short > 0:
		c.shortage.note(c)
		return dropNoRoom
	}
	c.shortage.over(c)
	return ""
}

// short is how many bytes are missing on the file system for so many to be written.
func (c *cache) short(need uint64) (uint64, error) {
	avail, least, err := c.folder.free(uint64(c.cfg.MinFreeBytes))
	if err != nil || avail >= least+need {
		return 0, err
	}
	return least + need - avail, nil
}

// evict deletes copies while there are more than so many bytes or files. False: one could not be deleted.
// c.changes is held.
func (c *cache) evict(keepBytes, keepFiles uint64) bool {
	defer c.showHeld()
	for {
		ref, bytes, ok := c.index.victim(keepBytes, keepFiles)
		if !ok {
			return true
		}
		if err := c.folder.remove(pathOf(c.schema, ref)); err != nil {
			c.failed(opDelete, err)
			c.trouble.note(c, err)
			_ = c.index.add(ref, bytes, false) // it had a slot a moment ago, and still takes room
			return false
		}
		c.metrics.evicted.Inc()
		c.metrics.evictedBytes.Add(float64(bytes))
	}
}

// expire deletes what is older than max_age.
func (c *cache) expire() {
	before, ok := c.oldest()
	if !ok {
		return
	}
	for _, ref := range c.index.olderThan(before) {
		if c.ctx.Err() != nil {
			return
		}
		c.changes.Lock()
		if c.index.has(ref) {
			c.remove(ref)
			c.metrics.expired.Inc()
		}
		c.changes.Unlock()
	}
}

// trouble counts failures of the disk in a row, and has writing pause. mu guards until; c.changes the rest.
type trouble struct {
	mu      sync.Mutex
	until   time.Time
	inRow   int
	pause   time.Duration
	paused  bool // as the metric says
	squeeze bool // the disk was fuller than reckoned
}

func (t *trouble) pauses(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.until)
}

// note takes a failed write or delete. Other errors than these are of one file.
func (t *trouble) note(c *cache, err error) {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if !full && !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EIO) {
		return
	}
	t.squeeze = t.squeeze || full
	if t.inRow++; t.inRow < troublesToPause {
		return
	}
	t.pause = min(max(2*t.pause, pauseLeast), pauseMost)
	t.mu.Lock()
	t.until = c.now().Add(t.pause)
	t.mu.Unlock()
	c.metrics.pauses.Inc()
	if !t.paused {
		t.paused = true
		c.metrics.paused.Inc()
	}
	level.Warn(c.logger).Log("msg", "writing to the disk cache pauses; queries go on, and what is there is used", "for", t.pause, "failures", t.inRow, "err", err)
}

// over takes a write that succeeded.
func (t *trouble) over(c *cache) {
	if t.paused {
		level.Info(c.logger).Log("msg", "the disk cache is written to again", "failures", t.inRow)
	}
	t.end(c)
}

func (t *trouble) end(c *cache) {
	if t.paused {
		t.paused = false
		c.metrics.paused.Dec()
	}
	t.inRow, t.pause = 0, 0
}
