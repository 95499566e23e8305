// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"time"

	"github.com/go-kit/log/level"
)

// A shortage is over when a copy fits, and none was dropped for so long: where little is free small chunks fit and
// large ones don't, and each would say the opposite of the one before.
const shortageOver = time.Minute

// shortage is a time in which less than min_free_bytes would stay free. It is logged once, when it begins: a cache
// that copies nothing looks like one that has nothing to do. c.changes guards it.
type shortage struct {
	now     bool
	last    time.Time // a copy was dropped, or the shortage began
	dropped int       // copies, since it began
}

func (s *shortage) begin(c *cache) {
	s.last = c.now()
	if s.now {
		return
	}
	avail, least, err := c.folder.free(uint64(c.cfg.MinFreeBytes))
	if err != nil { // a moment ago it was none; the next copy tries again
		c.failed(opWrite, err)
		return
	}
	s.now, s.dropped = true, 0
	level.Warn(c.logger).Log("msg", "the disk cache has no room: nothing is copied; queries go on", "free_bytes", avail, "min_free_bytes", least,
		"hint", "make room on its file system, or lower min_free_bytes (0 means 5 %, at least 1 GiB)")
}

// note takes a copy that was dropped.
func (s *shortage) note(c *cache) {
	s.begin(c)
	s.dropped++
}

// over takes a copy that there is room for.
func (s *shortage) over(c *cache) {
	if !s.now || c.now().Sub(s.last) < shortageOver {
		return
	}
	s.now = false
	level.Info(c.logger).Log("msg", "the disk cache has room again", "dropped", s.dropped)
}
