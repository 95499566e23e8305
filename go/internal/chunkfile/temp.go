// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Temporary files have plain names beside the final one. O_TMPFILE would leave no name after most
// crashes, but linkat cannot replace, so a re-put needs a temporary name anyway; NFS and older
// overlayfs lack it; and btrfs of most kernels in use skips fsync on a file without a name
// (btrfs_log_inode_parent, i_nlink == 0), which is the one thing that must not be skipped. One
// folder for all of them at the root would be quicker to sweep, but a file would get the ACL, group,
// quota project and block group of that folder, and tenants may be mounts of their own (EXDEV).
//
// No base64 has a '.', so no chunk has such a name, and readers never ask for one. The length does
// not depend on the final name, which may have all 255 bytes.
const (
	tempPrefix = ".chunkring-"
	tempSuffix = ".tmp"

	tempNamesMax = 16 // tries for a free one of 2^64; only a broken file system needs a second

	sweepBatch    = 256 // names read at once
	cleanFewNames = 64  // names a Delete looks at
)

// LeftoverAge is the age from which a temporary file is a crash's leftover, since its last write.
// A live Put writes more often by far, even on a disk that is about to fail. Should it not (a
// suspended machine, a clock set forward, an NFS server's other clock), nothing is lost: the Put
// finds its temporary file gone, and starts over.
const LeftoverAge = time.Hour

// IsTemporary says whether a file name is one that Put writes before the rename, for those who list.
func IsTemporary(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// tempPrefixOfPID has the pid, which tells an operator whose file it was.
var tempPrefixOfPID = fmt.Sprintf("%s%d-", tempPrefix, os.Getpid())

// createTemp creates an empty temporary file in an open folder; the caller closes it. The random part of its name
// makes it unique, as every container's pid is 1.
func (d *Dir) createTemp(folder int) (fd int, name string, err error) {
	for range tempNamesMax {
		name = fmt.Sprintf("%s%016x%s", tempPrefixOfPID, rand.Uint64(), tempSuffix)
		err = d.do(stepCreate, func() (err error) {
			const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
			fd, err = d.sys.openat(folder, name, flags, d.fileMode())
			return err
		})
		if err != unix.EEXIST {
			break
		}
	}
	if err != nil {
		return -1, "", err
	}
	return fd, name, nil
}

// CleanTemporaries removes temporary files that were last written more than olderThan ago (usually
// LeftoverAge) from the folders of the store, and folders that this left empty. Before each folder but
// the store directory it asks visit, which may take its time; false leaves out the folder and what is in
// it. Run it in the background. Without it leftovers still go, later: each Delete looks through a
// handful of names in its folder, so a folder's last chunk takes them along. It goes on after an error
// in one folder and returns the count and the first errors; ctx ends it.
func (d *Dir) CleanTemporaries(ctx context.Context, olderThan time.Duration, visit func(folder string) bool) (removed int, err error) {
	if !d.enter() {
		return 0, fs.ErrClosed
	}
	defer d.leave()
	s := &sweep{d: d, ctx: ctx, visit: visit, cutoff: time.Now().Add(-olderThan)}
	s.folder("", depthMax)
	return s.removed, errors.Join(append(s.errs, ctx.Err())...)
}

const sweepErrorsMax = 16 // kept; a broken disk has one for every folder

type sweep struct {
	d       *Dir
	ctx     context.Context
	visit   func(folder string) bool
	cutoff  time.Time
	removed int
	errs    []error
}

func (s *sweep) fail(rel string, err error) {
	if err != nil && !isGone(err) && len(s.errs) < sweepErrorsMax {
		s.errs = append(s.errs, s.d.fail("sweep", stepSweep, rel, err))
	}
}

// folder cleans one folder and those in it. It holds one fd a level, so levels are bounded.
func (s *sweep) folder(rel string, levels int) {
	fd, err := s.d.openFolder(rel, unix.O_RDONLY)
	if err != nil {
		s.fail(rel, err)
		return
	}
	f := os.NewFile(uintptr(fd), s.d.path+"/"+rel)
	before := s.removed
	for err == nil && s.ctx.Err() == nil {
		var entries []fs.DirEntry
		entries, err = f.ReadDir(sweepBatch)
		for _, e := range entries {
			switch {
			case s.ctx.Err() != nil:
			case e.IsDir():
				if below := path.Join(rel, e.Name()); levels > 1 && s.visit(below) {
					s.folder(below, levels-1)
				}
			case IsTemporary(e.Name()):
				s.file(fd, rel, e.Name())
			}
		}
	}
	_ = f.Close() // read-only: nothing is lost
	if err != io.EOF {
		s.fail(rel, err)
	}
	if s.removed > before {
		s.fail(rel, s.d.removeEmptyFolders("sweep", rel, rel))
	}
}

func (s *sweep) file(folder int, rel, name string) {
	gone, err := s.d.removeLeftover(folder, name, s.cutoff)
	if gone {
		s.removed++
	}
	s.fail(path.Join(rel, name), err)
}

// removeLeftover removes a temporary file that is old enough. A tenant may be named like one, so
// it must be a regular file.
func (d *Dir) removeLeftover(folder int, name string, cutoff time.Time) (bool, error) {
	var st unix.Stat_t
	err := ignoreEINTR(func() error { return unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || !time.Unix(st.Mtim.Unix()).Before(cutoff) {
		return false, nil
	}
	err = ignoreEINTR(func() error { return d.sys.unlinkat(folder, name, 0) })
	return err == nil, err
}

// cleanFew removes leftovers among the first names of a folder that a delete wants to remove. A
// folder with more names than that is not about to become empty.
func (d *Dir) cleanFew(folder string) (removed int) {
	fd, err := d.openFolder(folder, unix.O_RDONLY)
	if err != nil {
		return 0
	}
	f := os.NewFile(uintptr(fd), d.path+"/"+folder)
	defer f.Close()
	names, _ := f.ReadDir(cleanFewNames) // what it could not read, it does not clean
	cutoff := time.Now().Add(-LeftoverAge)
	for _, e := range names {
		if IsTemporary(e.Name()) {
			if gone, _ := d.removeLeftover(fd, e.Name(), cutoff); gone {
				removed++
			}
		}
	}
	return removed
}
