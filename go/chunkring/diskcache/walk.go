// SPDX-License-Identifier: Apache-2.0

package diskcache

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/storage/config"

	"github.com/chunkring/chunkring/go/internal/chunkfile"
)

// After walkBatch files the walk rests for as long as they took: half of a disk's time is the queries'.
const walkBatch = 512

type walkFile struct {
	ref   logproto.ChunkRef
	bytes uint64
	mtime time.Time
}

// walk returns the copies that a folder has, the oldest first, and removes what killed processes left
// behind: nobody else writes here. foreign are the files that are no copies, inPlace what is no file and has the
// name of one. It goes on after errors, and returns the first.
func (f *folder) walk(ctx context.Context, schema config.SchemaConfig) (files []walkFile, foreign, inPlace int, first error) {
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	seen, begin := 0, time.Now()
	err := filepath.WalkDir(f.path, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			note(err)
			return nil // what is in it is not known, and not ours to delete
		}
		rel, err := filepath.Rel(f.path, path)
		if err != nil || rel == "." {
			return err
		}
		if isOurs(rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		ref, ok := refOf(schema, rel)
		if ok && !e.Type().IsRegular() {
			inPlace++
		}
		if e.IsDir() {
			return nil
		}
		if seen++; seen%walkBatch == 0 {
			rest(ctx, time.Since(begin))
			begin = time.Now()
		}
		if chunkfile.IsTemporary(e.Name()) && e.Type().IsRegular() {
			note(ignoreGone(os.Remove(path)))
			return nil
		}
		if !ok || !e.Type().IsRegular() {
			foreign++
			return nil
		}
		info, err := e.Info()
		if err != nil {
			note(ignoreGone(err))
			return nil
		}
		files = append(files, walkFile{ref, sizeOf(info), info.ModTime()})
		return nil
	})
	note(err)
	slices.SortStableFunc(files, func(a, b walkFile) int { return a.mtime.Compare(b.mtime) })
	return files, foreign, inPlace, first
}

func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
