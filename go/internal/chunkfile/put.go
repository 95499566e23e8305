// SPDX-License-Identifier: Apache-2.0

package chunkfile

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

const (
	verbPut = "put chunk"

	// A Put starts over when a folder or its temporary file vanishes under it. One restart is
	// normal: the first file of a folder finds it missing. More take a delete in another process
	// that hits a window of microseconds every time.
	putAttemptsMax = 64

	// Bytes per write call: few calls, and a cancelled Put of a big chunk on a slow disk ends soon.
	writeBytesMax = 1 << 20
)

// put is one call of Put.
type put struct {
	d                 *Dir
	ctx               context.Context
	rel, folder, name string
	madeFolder        bool

	sized  bool  // blocks is wanted
	blocks int64 // of 512 bytes, that the file takes; 0: not known
}

// Put stores data under rel, a path relative to the store directory, and makes missing folders. An
// existing file is replaced atomically; so is a symbolic link, itself, not what it points to. A
// directory of that name is an error. data may be empty, is not kept and is not changed.
//
// When Put returns nil, the file survives a power loss, as far as its file system can promise that: see
// NotSynced. When it returns an error, see invariant 3 of the package: the name holds the old content,
// whole, or, with ErrNotDurable, the new one. ctx is looked at before every step that
// changes something and ignored from the rename on, where giving up would only lose the answer.
//
// An error is an *fs.PathError: Op names the step, and errors.Is finds the errno (syscall.ENOSPC),
// the ctx error, ErrInvalidPath, or ELOOP for a symbolic link among the folders. After Close:
// fs.ErrClosed.
func (d *Dir) Put(ctx context.Context, rel string, data []byte) error {
	return (&put{d: d, ctx: ctx, rel: rel}).run(data)
}

// PutSized is Put, and returns how many blocks of 512 bytes the file takes, as stat(2) says it; 0 if it can't.
func (d *Dir) PutSized(ctx context.Context, rel string, data []byte) (blocks int64, err error) {
	p := &put{d: d, ctx: ctx, rel: rel, sized: true}
	err = p.run(data)
	return p.blocks, err
}

func (p *put) run(data []byte) (err error) {
	d, rel := p.d, p.rel
	if p.folder, p.name, err = splitPath(rel); err != nil {
		return d.fail(verbPut, stepCheckPath, rel, err)
	}
	if !d.enter() {
		return d.fail(verbPut, stepOpenFolder, rel, fs.ErrClosed)
	}
	defer d.leave()
	for again, attempt := true, 0; again && attempt < putAttemptsMax; attempt++ {
		again, err = p.try(data)
	}
	if err != nil && p.madeFolder {
		_ = d.removeEmptyFolders(verbPut, rel, p.folder) // a full disk must not fill with folders too
	}
	return err
}

// try runs the steps once. again means that a name vanished and starting over makes sense.
func (p *put) try(data []byte) (again bool, err error) {
	folder, tmp, tmpName, again, err := p.createTemp()
	if err != nil {
		return again, err
	}
	defer unix.Close(folder)
	if err = p.fill(tmp, data); err == nil {
		again, err = p.rename(folder, tmpName)
	}
	if err != nil {
		// Best effort: what cannot be removed now is a leftover, and removed as one.
		_ = ignoreEINTR(func() error { return p.d.sys.unlinkat(folder, tmpName, 0) })
		return again, err
	}
	// From here on the new content is visible; only its durability is open. No unlink, no ctx.
	if err = p.d.syncFolder(stepSyncFolder, folder, p.folder); err != nil {
		return false, p.fail(stepSyncFolder, fmt.Errorf("%w: %w", ErrNotDurable, err))
	}
	if p.sized {
		p.blocks = blocksOf(folder, p.name)
	}
	return false, nil
}

// createTemp opens the folder and creates a temporary file in it. If the folder is missing it is
// made, and again is set.
func (p *put) createTemp() (folder, tmp int, tmpName string, again bool, err error) {
	if err = p.ctx.Err(); err != nil {
		return -1, -1, "", false, p.fail(stepOpenFolder, err)
	}
	lock := p.d.lockOf(p.folder)
	lock.RLock()
	err = p.d.do(stepOpenFolder, func() (err error) {
		folder, err = p.d.openFolderToSync(p.folder)
		return err
	})
	at := stepOpenFolder
	if err == nil {
		at = stepCreate
		if tmp, tmpName, err = p.d.createTemp(folder); err != nil {
			_ = unix.Close(folder)
		}
	}
	lock.RUnlock()
	if err == nil {
		return folder, tmp, tmpName, false, nil
	}
	if again = isGone(err); again && p.folder != "" {
		made, remake, makeErr := p.d.makeFolders(verbPut, p.rel, p.folder)
		p.madeFolder = p.madeFolder || made
		if makeErr != nil {
			return -1, -1, "", remake, makeErr
		}
	}
	return -1, -1, "", again, p.fail(at, err)
}

// fill writes, syncs and closes the temporary file. It closes it on error too.
func (p *put) fill(tmp int, data []byte) error {
	at, err := stepWrite, p.writeAll(tmp, data)
	if err == nil {
		at, err = stepSync, p.ctx.Err()
	}
	if err == nil && !p.d.cache {
		err = p.d.do(stepSync, func() error { return p.d.sys.fsync(tmp) })
	}
	if err != nil {
		_ = unix.Close(tmp)
		return p.fail(at, err)
	}
	closed := false
	err = p.d.do(stepClose, func() error {
		closed = true
		// Linux frees the number even on EINTR, so never close twice; the bytes are synced.
		if err := unix.Close(tmp); err != unix.EINTR {
			return err
		}
		return nil
	})
	if !closed {
		_ = unix.Close(tmp) // a test's fault came first
	}
	if err != nil {
		return p.fail(stepClose, err)
	}
	return nil
}

func (p *put) writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		n := 0
		err := p.d.do(stepWrite, func() (err error) {
			n, err = p.d.sys.write(fd, data[:min(len(data), writeBytesMax)])
			return err
		})
		if err != nil {
			return err
		}
		if n <= 0 {
			return io.ErrShortWrite // POSIX has no such answer to a non-empty write; do not spin
		}
		data = data[n:]
	}
	return nil
}

// rename gives the finished file its name. again: the temporary file or the folder was removed.
func (p *put) rename(folder int, tmpName string) (again bool, err error) {
	if err = p.ctx.Err(); err == nil {
		err = p.d.do(stepRename, func() error {
			return p.d.sys.renameat(folder, tmpName, folder, p.name)
		})
	}
	if err != nil {
		return isGone(err), p.fail(stepRename, err)
	}
	return false, nil
}

// blocksOf asks for a file by its name, after it was closed: XFS gives back only then what it set aside for more
// to come.
func blocksOf(folder int, name string) int64 {
	var st unix.Stat_t
	err := ignoreEINTR(func() error { return unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil { // somebody else deletes here
		return 0
	}
	return st.Blocks
}

func (p *put) fail(s step, err error) error { return p.d.fail(verbPut, s, p.rel, err) }
