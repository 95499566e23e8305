// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"context"
	"errors"
	"io/fs"

	"github.com/go-kit/log/level"
	"golang.org/x/time/rate"

	"github.com/chunkring/chunkring/go/internal/chunkfile"
)

// A sweep opens, lists and closes a folder a stream, in a store of millions over NFS as well. It is in
// no hurry: leftovers take room and do no harm. A million folders take an hour and a half.
const (
	sweepFoldersPerSecond = 200
	sweepFoldersBurst     = 50
)

// sweepOnce removes, in the background, what killed processes left behind in mid-write. The first put or
// delete starts it: whoever only reads has no business there, and often no permission.
func (s *store) sweepOnce() {
	s.sweepBegun.Do(func() {
		s.sweep.Go(func() {
			n, err := s.dir.CleanTemporaries(s.background, chunkfile.LeftoverAge, sweepVisits(s.background))
			if n > 0 {
				level.Info(s.logger).Log("msg", "removed leftovers of interrupted writes", "files", n)
			}
			if err != nil && !ctxError(err) && !errors.Is(err, fs.ErrPermission) {
				level.Warn(s.logger).Log("msg", "looking for leftovers of interrupted writes failed", "err", err)
			}
		})
	})
}

// sweepVisits tells a sweep which folders to look into, and when. Once ctx ends it is none.
func sweepVisits(ctx context.Context) func(folder string) bool {
	pace := rate.NewLimiter(sweepFoldersPerSecond, sweepFoldersBurst)
	return func(folder string) bool { return mayHoldChunks(folder) && pace.Wait(ctx) == nil }
}
